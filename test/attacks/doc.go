// Package attacks tries to break tenancy, on a real API server, with the admission
// policies and the RBAC that Aether installs and none of its processes running. Those on
// secrets have the operator's controllers and an OpenBao in the middle.
//
// Each test is named for what it tries. It asserts that the attempt is refused and
// that nothing has changed, and beside it a control shows that the legitimate
// neighbour of the attack works, so that no test passes because nothing does.
// TestWithoutPoliciesTheAttacksSucceed shows that the tests can fail.
//
// The list comes from the advisories of operators of this kind: CVE-2022-46167,
// CVE-2023-46254, CVE-2024-39690, CVE-2025-55205, CVE-2026-22872, CVE-2026-65835,
// GHSA-2ww6-hf35-mfjm and GHSA-gjw4-3v3v-rqxg among them.
package attacks
