package doctor

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/version"
)

func TestAVersionIsOldOrNewOrTested(t *testing.T) {
	for version, want := range map[string]struct {
		outcome Outcome
		says    string
	}{
		"v1.30.9":            {Failed, "v1.30.9 is too old: Aether needs Kubernetes 1.31 or newer"},
		"v1.31.0":            {OK, "v1.31.0; Aether runs with 1.31 and newer, and is tested with 1.36"},
		"v1.36.4":            {OK, "v1.36.4, which Aether is tested with"},
		"v1.34.2-gke.100+ab": {OK, "v1.34.2-gke.100+ab; "},
		"v1.40.0":            {OK, "newer than what Aether is tested with (1.36)"},
		"unknown":            {Warning, `"unknown", which is no version`},
	} {
		c := &cluster{version: info(version)}
		got := c.checkVersion(t.Context())
		if len(got) != 1 || got[0].Outcome != want.outcome || !strings.Contains(got[0].Message, want.says) {
			t.Errorf("%s: %+v, want %s: %s", version, got, want.outcome, want.says)
		}
	}
}

func info(git string) version.Info { return version.Info{GitVersion: git} }

func TestFieldsOfCRDsAreNamedAsPeopleWriteThem(t *testing.T) {
	const schema = "versions[v1alpha1].schema.openAPIV3Schema.properties."
	for path, want := range map[string]string{
		schema + "spec.properties.owners.items.properties.role": "spec.owners[].role",
		schema + "spec.required[2]":                             "spec.required[2]",
		"versions[v1alpha1].additionalPrinterColumns[Age]":      "versions[v1alpha1].additionalPrinterColumns[Age]",
	} {
		if got := fieldOf(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestWebhooksAreAskedAboutWhatTheirRulesCover(t *testing.T) {
	for pattern, names := range map[string][2]string{ // covers the first, and not the second
		"*":           {"tenants", "tenants/status"},
		"*/*":         {"tenants/status", ""},
		"*/status":    {"tenants/status", "tenants"},
		"tenants/*":   {"tenants/status", "tenants"},
		"tenants":     {"tenants", "tenantsources"},
		"pods/status": {"pods/status", "tenants/status"},
	} {
		if !covers(pattern, names[0]) || names[1] != "" && covers(pattern, names[1]) {
			t.Errorf("%s: covers %s is %v, covers %s is %v", pattern, names[0], covers(pattern, names[0]), names[1], covers(pattern, names[1]))
		}
	}
}
