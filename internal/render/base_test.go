package render

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// rolesOf is the rules of every built-in role of a profile.
func rolesOf(t *testing.T, path string) map[string][]rbacv1.PolicyRule {
	t.Helper()
	in := example(t)
	in.Tenant.Spec.Owners = nil
	in.Namespace.Spec.Access = nil
	for _, role := range []v1alpha1.Role{"admin", "editor", "viewer"} {
		in.Namespace.Spec.Access = append(in.Namespace.Spec.Access, v1alpha1.Access{Subject: v1alpha1.Subject{Kind: "User", Name: string(role)}, Role: role})
	}
	roles := map[string][]rbacv1.PolicyRule{}
	for _, o := range mustRender(t, mustCompile(t, path), in) {
		if o.GetKind() == "Role" {
			var role rbacv1.Role
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
				t.Fatal(err)
			}
			roles[role.Name] = role.Rules
		}
	}
	return roles
}

func may(rules []rbacv1.PolicyRule, verb, group, resource string) bool {
	covered, _ := validation.Covers(rules, []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}}})
	return covered
}

func TestNoRoleLoosensWhatConfinesIt(t *testing.T) {
	writes := []string{"create", "update", "patch", "delete", "deletecollection"}
	walls := []struct{ group, resource string }{
		{"", "resourcequotas"}, {"", "limitranges"}, {"", "endpoints"}, {"", "namespaces"}, {"", "nodes"}, {"", "events"},
		{"", "serviceaccounts/token"}, {"", "pods/proxy"}, {"", "services/proxy"}, {"", "pods/ephemeralcontainers"}, {"", "bindings"}, {"", "pods/binding"},
		{"discovery.k8s.io", "endpointslices"},
		{"networking.k8s.io", "networkpolicies"}, {"cilium.io", "ciliumnetworkpolicies"}, {"cilium.io", "ciliumendpoints"},
		{"rbac.authorization.k8s.io", "roles"}, {"rbac.authorization.k8s.io", "rolebindings"},
		{"source.toolkit.fluxcd.io", "gitrepositories"}, {"kustomize.toolkit.fluxcd.io", "kustomizations"}, {"helm.toolkit.fluxcd.io", "helmreleases"},
		{"gateway.networking.k8s.io", "gateways"}, {"gateway.networking.k8s.io", "referencegrants"},
		{"aetherplatform.cloud", "tenantnamespaces"},
	}
	for _, profile := range []string{"default", "restricted"} {
		for name, rules := range rolesOf(t, "profiles/"+profile) {
			for _, wall := range walls {
				for _, verb := range writes {
					if may(rules, verb, wall.group, wall.resource) {
						t.Errorf("%s: %s may %s %s.%s", profile, name, verb, wall.resource, wall.group)
					}
				}
			}
			for _, rule := range rules {
				if all := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs); slices.Contains(all, "*") {
					t.Errorf("%s: %s has a wildcard: %v", profile, name, rule)
				}
				for _, verb := range []string{"impersonate", "escalate", "bind", "approve", "sign", "use"} {
					if slices.Contains(rule.Verbs, verb) {
						t.Errorf("%s: %s may %s", profile, name, verb)
					}
				}
			}
		}
	}
}

func TestRolesGrowFromViewerToAdmin(t *testing.T) {
	for _, profile := range []string{"default", "restricted"} {
		roles := rolesOf(t, "profiles/"+profile)
		for _, pair := range [][2]string{{"viewer", "editor"}, {"editor", "admin"}, {"deploy", "editor"}} {
			if ok, missing := validation.Covers(roles[pair[1]], roles[pair[0]]); !ok {
				t.Errorf("%s: %s may what %s may not: %v", profile, pair[0], pair[1], missing)
			}
		}
	}
}

func TestAViewerOnlyReadsAndNeverSecrets(t *testing.T) {
	viewer := rolesOf(t, "profiles/default")["viewer"]
	if may(viewer, "get", "", "secrets") || may(viewer, "list", "", "secrets") || may(viewer, "create", "", "pods/exec") || may(viewer, "get", "", "pods/exec") {
		t.Error("a viewer reads Secrets, or runs commands")
	}
	for _, rule := range viewer {
		for _, verb := range rule.Verbs {
			if !slices.Contains([]string{"get", "list", "watch"}, verb) {
				t.Errorf("a viewer may %s %v", verb, rule.Resources)
			}
		}
	}
}

func TestNobodyGetsAShellInARestrictedNamespace(t *testing.T) {
	shells := []string{"pods/exec", "pods/attach", "pods/portforward"}
	for name, rules := range rolesOf(t, "profiles/restricted") {
		for _, resource := range shells {
			for _, verb := range []string{"get", "create"} {
				if may(rules, verb, "", resource) {
					t.Errorf("%s may %s %s", name, verb, resource)
				}
			}
		}
	}
	if !may(rolesOf(t, "profiles/default")["editor"], "create", "", "pods/exec") {
		t.Error("an editor of an ordinary namespace gets no shell; the case above shows nothing")
	}
}

func TestRestrictedIsRestrictedWhateverTheProfileSays(t *testing.T) {
	p := parse[v1alpha1.NamespaceProfile](t, profileYAML)
	p.Spec.Base.Path = "profiles/restricted"
	p.Spec.PodSecurity = v1alpha1.PodSecurityPrivileged
	template, err := Compile(p, EmbeddedBase())
	if err != nil {
		t.Fatal(err)
	}
	objects := mustRender(t, template, example(t))
	labels := field(t, find(t, objects, "Namespace", "acme-payments"), "metadata", "labels").(map[string]any)
	for _, mode := range []string{"enforce", "audit", "warn"} {
		if got := labels["pod-security.kubernetes.io/"+mode]; got != "restricted" {
			t.Errorf("%s: got %v, want restricted", mode, got)
		}
	}
	if got := field(t, find(t, objects, "ResourceQuota", "closed"), "spec", "hard", "services.nodeports"); got != "0" {
		t.Errorf("services.nodeports: got %v, want 0", got)
	}
}

func TestGitOpsRunsAsDeployAndStopsWithACordon(t *testing.T) {
	template := mustCompile(t, "profiles/default")
	for _, cordoned := range []bool{false, true} {
		in := example(t)
		in.Cordoned = cordoned
		objects := mustRender(t, template, in)
		spec := find(t, objects, "Kustomization", "app")["spec"].(map[string]any)
		if spec["serviceAccountName"] != "deploy" || spec["targetNamespace"] != "acme-payments" || spec["suspend"] != cordoned {
			t.Errorf("cordoned %v: got %v", cordoned, spec)
		}
		if ref := spec["sourceRef"].(map[string]any); ref["namespace"] != nil {
			t.Errorf("the source is in another namespace: %v", ref)
		}
	}
}

func TestEveryComponentSaysWhatItGuarantees(t *testing.T) {
	base := EmbeddedBase().FS
	components, err := fs.ReadDir(base, "namespace")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range components {
		data, err := fs.ReadFile(base, "namespace/"+c.Name()+"/README.md")
		if err != nil {
			t.Error(err)
			continue
		}
		if first, _, _ := strings.Cut(string(data), "\n"); !strings.HasPrefix(first, "Guarantees ") || !strings.HasSuffix(first, ".") {
			t.Errorf("namespace/%s/README.md begins with %q; want what it guarantees, in one sentence", c.Name(), first)
		}
	}
}
