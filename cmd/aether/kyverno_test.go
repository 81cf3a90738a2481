package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/root"
	policytest "github.com/aetherplatform/aether/internal/policytest/kyverno"
	"github.com/aetherplatform/aether/internal/repository/gittest"
	"github.com/aetherplatform/aether/internal/review/kyverno"
)

// Kyverno more than doubles a program, and a controller has no use for it. Tests of
// the commands do not wait for it to be linked either: it is this program's alone.
func TestOnlyThisProgramLinksKyverno(t *testing.T) {
	for pattern, want := range map[string]bool{
		"github.com/aetherplatform/aether/cmd/aether":             true,
		"github.com/aetherplatform/aether/cmd/namespace-operator": false,
		"github.com/aetherplatform/aether/controllers/...":        false,
		"github.com/aetherplatform/aether/internal/cli/...":       false,
		"github.com/aetherplatform/aether/internal/policytest":    false,
		"github.com/aetherplatform/aether/internal/render/...":    false,
	} {
		out, err := exec.Command("go", "list", "-deps", pattern).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", pattern, err)
		}
		if got := bytes.Contains(out, []byte("github.com/kyverno/kyverno/")); got != want {
			t.Errorf("%s: links Kyverno is %v, want %v", pattern, got, want)
		}
	}
}

var fleet = gittest.Files{
	"tenants/_platform/profiles.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  podSecurity: restricted
  sizes:
    small: {quota: {requests.cpu: "2", pods: "20"}}
`,
	"tenants/acme/tenant.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata: {name: acme}
spec:
  owners: [{kind: Group, name: admins, role: admin}]
  namespaces: {max: 10, profiles: [default]}
`,
	"tenants/acme/web.yaml": namespaces("contact: web", "team: web", "team: shop"),
	// Kyverno as it is recommended now, and as it was.
	"policies/team.yaml": `apiVersion: policies.kyverno.io/v1
kind: ValidatingPolicy
metadata: {name: team}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [namespaces], operations: [CREATE, UPDATE]}]
  validations: [{expression: "'team' in object.metadata.labels", message: "name your team: labels.team"}]
`,
	"policies/contact.yaml": `apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: contact}
spec:
  validationFailureAction: Audit
  rules:
  - name: contact
    match: {any: [{resources: {kinds: [Namespace]}}]}
    validate: {message: "say whom to call", pattern: {metadata: {labels: {contact: "?*"}}}}
`,
}

// namespaces of acme with labels: old, web and shop.
func namespaces(old, web, shop string) string {
	text := ""
	for i, labels := range []string{old, web, shop} {
		text += `---
apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-` + []string{"old", "web", "shop"}[i] + `}
spec:
  tenant: acme
  size: small
  labels: {` + labels + `}
`
	}
	return strings.TrimPrefix(text, "---\n")
}

func aether(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := &cli.Env{Out: &stdout, Err: &stderr, Now: time.Now, Kyverno: kyverno.Engine{}, KyvernoTests: policytest.Tests{}}
	code = root.Execute(t.Context(), env, args)
	return code, stdout.String() + stderr.String()
}

// What Aether renders of the example fleet is what its own policies let it write,
// those of Kyverno and those of the API server.
func TestAethersOwnPoliciesRefuseNothingOfTheExampleFleet(t *testing.T) {
	files := gittest.Files{}
	for _, dir := range []string{"policies", "tenants"} {
		root := os.DirFS(filepath.Join("..", ".."))
		err := fs.WalkDir(root, dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".yaml") {
				return err
			}
			data, err := fs.ReadFile(root, name)
			files[name] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	g := gittest.NewBare(t)
	policies := gittest.Files{}
	for name, data := range files {
		if !strings.HasPrefix(name, "tenants/") || strings.HasPrefix(name, "tenants/_platform/") {
			policies[name] = data
		}
	}
	main := g.Commit("main", policies)
	g.Commit("fleet", files, main)
	code, out := aether(t, "diff", "--repo", g.Dir, "--base", "main", "--head", "fleet", "--no-cache")
	if code != cli.ExitFindings || strings.Contains(out, "Policy violations") || strings.Contains(out, "not evaluated") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if !strings.Contains(out, "+ Namespace acme-web") {
		t.Errorf("nothing of it is new:\n%s", out)
	}
}

// What this repository expects of its own policies and of its example fleet is so.
func TestThisRepositoryPassesItsOwnTests(t *testing.T) {
	code, out := aether(t, "test", filepath.Join("..", ".."))
	if code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for _, text := range []string{
		"met      payments           acme-payments reaches nothing else\n",
		"met      hostnames          aether-hostnames refuses Gateway host-acme/no-hostname\n",
		"met      exposure           aether-exposure refuses CronJob exp-closed/host-port-cronjob\n",
		" 0 not\n",
	} {
		if !strings.Contains(out, text) {
			t.Errorf("does not say %q", text)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// Tests of policies are told like those of isolation, and a tenant has none.
func TestTestsOfPoliciesAreHeldWithThoseOfTheFleet(t *testing.T) {
	suite := func(result string) string {
		return `apiVersion: cli.kyverno.io/v1alpha1
kind: Test
metadata: {name: team}
policies: [../team.yaml]
resources: [objects.yaml]
results:
- policy: team
  isValidatingPolicy: true
  kind: Namespace
  result: ` + result + `
  resources: [web]
`
	}
	files := fleet.With(gittest.Files{
		"policies/tests/objects.yaml":      "apiVersion: v1\nkind: Namespace\nmetadata: {name: web, labels: {contact: web}}\n",
		"policies/tests/kyverno-test.yaml": suite("fail"),
	})
	for name, c := range map[string]struct {
		files gittest.Files
		args  []string
		code  int
		says  []string
	}{
		"met": {files, nil, cli.ExitOK, []string{"met      team   team refuses Namespace web\n", "1 expectation in 1 test: 1 met, 0 not\n"}},
		"not met": {files.With(gittest.Files{"policies/tests/kyverno-test.yaml": suite("pass")}), nil, cli.ExitFindings, []string{
			"NOT MET   team   team passes Namespace web\n",
			"policies/tests/kyverno-test.yaml:11: team: team passes Namespace web\n  v1/Namespace//web: expected pass, got fail: name your team: labels.team\n",
		}},
		"for programs": {files.With(gittest.Files{"policies/tests/kyverno-test.yaml": suite("pass")}), []string{"-o", "json"}, cli.ExitFindings, []string{
			`"policy": "team",
    "resource": "web",
    "want": "pass",
    "got": "fail"`,
		}},
		"for CI": {files.With(gittest.Files{"policies/tests/kyverno-test.yaml": suite("pass")}), []string{"-o", "junit"}, cli.ExitFindings, []string{
			`<failure message="v1/Namespace//web: expected pass, got fail: name your team: labels.team">`,
		}},
		"a tenant's": {files.With(gittest.Files{"tenants/acme/kyverno-test.yaml": suite("pass")}), nil, cli.ExitUsage, []string{
			`tenants/acme/kyverno-test.yaml:2: acme: kind: "Test" is not a kind that may be here; use Tenant, TenantNamespace or WorkloadCluster` + "\n",
		}},
		"beside the profiles": {files.With(gittest.Files{"tenants/_platform/kyverno-test.yaml": suite("pass")}), nil, cli.ExitUsage, []string{
			`tenants/_platform/kyverno-test.yaml:2: _platform: kind: "Test" is not a kind that may be here; use NamespaceProfile or TenantException` + "\n",
		}},
		"cannot be read": {files.With(gittest.Files{"policies/tests/kyverno-test.yaml": strings.Replace(suite("fail"), "../team.yaml", "https://example.com/team.yaml", 1)}), nil, cli.ExitUsage, []string{
			`policies/tests/kyverno-test.yaml:4: policies[0]: "https://example.com/team.yaml" is a URL, and nothing is fetched: put the file into the repository, and write its path` + "\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				file := filepath.Join(dir, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, out := aether(t, append([]string{"test", dir}, c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, text := range c.says {
				if !strings.Contains(out, text) {
					t.Errorf("does not say %q", text)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// The check of a pull request is what Kyverno would do to it once it is merged,
// by the policies and exceptions that it is merged into.
func TestDiffSaysWhatKyvernoWouldRefuse(t *testing.T) {
	g := gittest.NewBare(t)
	main := g.Commit("main", fleet)
	exception := `apiVersion: policies.kyverno.io/v1
kind: PolicyException
metadata: {name: web, namespace: kyverno}
spec:
  policyRefs: [{kind: ValidatingPolicy, name: team}]
  matchConditions: [{name: web, expression: "object.metadata.name == 'acme-web'"}]
`
	g.Commit("breaks", fleet.With(gittest.Files{
		"tenants/acme/web.yaml":   namespaces("contact: all", "contact: web", "team: shop, contact: shop"),
		"policies/exception.yaml": exception,
	}), main)
	g.Commit("warned", fleet.With(gittest.Files{
		"tenants/acme/web.yaml": namespaces("contact: web", "team: web, tier: one", "team: shop"),
	}), main)
	excepted := g.Commit("excepted", fleet.With(gittest.Files{"policies/exception.yaml": exception}))
	g.Commit("allowed", fleet.With(gittest.Files{
		"tenants/acme/web.yaml":   namespaces("contact: web", "contact: web", "team: shop"),
		"policies/exception.yaml": exception,
	}), excepted)

	for name, c := range map[string]struct {
		why        string
		base, head string
		code       int
		says       []string
		never      []string
	}{
		"a new violation": {
			why: "one is new, one is old, and an exception holds once it is merged", base: "main", head: "breaks", code: cli.ExitRefused,
			says: []string{
				"new  Namespace acme-web: policy team: name your team: labels.team\n       tenants/acme/web.yaml:9\n",
				"old  Namespace acme-old: policy team: name your team: labels.team\n       tenants/acme/web.yaml:1\n",
				"Policies change: PolicyException web is new",
			},
			never: []string{"new  Namespace acme-old", "Namespace acme-shop: policy", "is not evaluated"},
		},
		"a warning": {
			why: "Audit refuses nothing", base: "main", head: "warned", code: cli.ExitFindings,
			says:  []string{`Policy "contact" warns of 1 object and refuses none`, "Namespace acme-web: contact: validation error: say whom to call."},
			never: []string{"Policy violations"},
		},
		"an exception of base": {
			why: "it holds", base: "excepted", head: "allowed", code: cli.ExitFindings,
			never: []string{"Policy violations", "is not evaluated"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := aether(t, "diff", "--repo", g.Dir, "--base", c.base, "--head", c.head, "--no-cache")
			if code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, c.why)
			}
			for _, text := range c.says {
				if !strings.Contains(out, text) {
					t.Errorf("does not say %q", text)
				}
			}
			for _, text := range c.never {
				if strings.Contains(out, text) {
					t.Errorf("says %q", text)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}
