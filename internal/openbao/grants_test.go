package openbao_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/openbao"
)

const (
	uid     = "11111111-0000-4000-8000-000000000000"
	cluster = "c0ffee00-0000-4000-8000-000000000001"
)

var acme = openbao.Grant{Tenant: "acme", TenantUID: uid, Cluster: cluster, Mount: "secret", Path: "teams/acme"}

const policy = `# Written by Aether, which puts changes back.
# tenant: acme
# tenant UID: 11111111-0000-4000-8000-000000000000
# cluster: c0ffee00-0000-4000-8000-000000000001

path "secret/data/teams/acme/*" {
  capabilities = ["read"]
}

path "secret/metadata/teams/acme/*" {
  capabilities = ["read"]
}
`

func TestATenantsPolicyIsItsPathAndNothingElse(t *testing.T) {
	got, err := acme.Policy()
	if diff := cmp.Diff(policy, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	got, err = acme.GeneratePolicy()
	want := strings.SplitAfter(policy, "\n\n")[0] + `path "secret/data/teams/acme/*" {
  capabilities = ["create"]
}
`
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("to generate: %v (-want +got):\n%s", err, diff)
	}
	if got := openbao.GeneratePolicyName("acme", uid); got != "aether-tenant-acme-"+uid+"-generate" {
		t.Errorf("its name is %s", got)
	}
}

func TestNothingGetsIntoAPolicyThatIsNotPlain(t *testing.T) {
	for _, bad := range []string{
		"", "*", "+", "acme*", "a+b", "acme/", "/acme", "a//b", "..", "../x", "x/../..", "acme\"\n}\npath \"*", "acme\n", "acme ", "{{identity.entity.id}}", "аcme", "a\x00",
	} {
		for name, change := range map[string]func(*openbao.Grant){
			"tenant": func(g *openbao.Grant) { g.Tenant = bad }, "UID": func(g *openbao.Grant) { g.TenantUID = "x" + "\n" },
			"cluster": func(g *openbao.Grant) { g.Cluster = bad }, "mount": func(g *openbao.Grant) { g.Mount = bad }, "path": func(g *openbao.Grant) { g.Path = bad },
		} {
			g := acme
			change(&g)
			if text, err := g.Policy(); err == nil {
				t.Errorf("%s %q: %s", name, bad, text)
			}
		}
	}
}

func TestAPolicyIsOfTheClusterInItsHeader(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"ours":                       {policy, cluster},
		"changed below the header":   {strings.Replace(policy, "read", "sudo", 1), cluster},
		"no header":                  {`path "x" {}`, ""},
		"no tenant":                  {strings.Replace(policy, "# tenant: acme\n", "", 1), ""},
		"a header below a rule":      {"path \"x\" {}\n" + policy, ""},
		"nothing":                    {"", ""},
		"another cluster's":          {strings.Replace(policy, cluster, "other", 1), "other"},
		"a longer id that begins so": {strings.Replace(policy, cluster, cluster+"0", 1), cluster + "0"},
	} {
		if got := openbao.ClusterOf(c.text); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestARoleIsForOneAccountOfOneNamespace(t *testing.T) {
	want := openbao.Role{
		Accounts: []string{"aether-secret-sync"}, Namespaces: []string{"acme-web"}, Audience: "openbao", AliasNameSource: "serviceaccount_uid",
		Policies: []string{"p", "q"}, NoDefaultPolicy: true, TokenType: "batch", TTL: 20 * 60e9, MaxTTL: 20 * 60e9,
	}
	got := openbao.RoleFor("acme-web", "openbao", "p", "q")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("role (-want +got):\n%s", diff)
	}
	got.Policies = []string{"q", "p"}
	if !got.Equal(want) {
		t.Error("the order of policies makes a difference")
	}
	for name, change := range map[string]func(*openbao.Role){
		"account": func(r *openbao.Role) { r.Accounts = []string{"aether-secret-sync", "default"} }, "any account": func(r *openbao.Role) { r.Accounts = []string{"*"} },
		"namespace": func(r *openbao.Role) { r.Namespaces = []string{"*"} }, "selector": func(r *openbao.Role) { r.NamespaceSelector = "{}" },
		"audience": func(r *openbao.Role) { r.Audience = "" }, "alias": func(r *openbao.Role) { r.AliasNameSource = "serviceaccount_name" },
		"policies": func(r *openbao.Role) { r.Policies = []string{"p"} }, "default policy": func(r *openbao.Role) { r.NoDefaultPolicy = false },
		"type": func(r *openbao.Role) { r.TokenType = "service" }, "TTL": func(r *openbao.Role) { r.TTL = 0 }, "max TTL": func(r *openbao.Role) { r.MaxTTL = 0 },
		"explicit": func(r *openbao.Role) { r.ExplicitMaxTTL = 1 }, "period": func(r *openbao.Role) { r.Period = 1 }, "uses": func(r *openbao.Role) { r.NumUses = 1 },
		"CIDRs": func(r *openbao.Role) { r.BoundCIDRs = []string{"192.0.2.0/24"} },
	} {
		other := want
		change(&other)
		if other.Equal(want) {
			t.Errorf("%s: makes no difference", name)
		}
	}
}

// What is let through has no second reading: not in a URL, not in a policy.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"acme/db", "..", "a/../b", "%2e%2e", "a//b", "*", "+", "а", "a\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if openbao.CheckPath(path) != nil {
			return
		}
		if path == "" || strings.ContainsAny(path, "*+%?#\\\"'{} \n\r\t\x00") || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") ||
			strings.Contains(path, "//") || strings.Contains("/"+path+"/", "/../") || strings.Contains("/"+path+"/", "/./") {
			t.Errorf("%q is let through", path)
		}
	})
}
