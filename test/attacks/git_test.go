package attacks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// The other way in: what a tenant may commit to its own directory. Each attack is
// added to a good fleet, and judged by what is rendered in the end, since it is
// that which is applied.

const (
	evilNamespace = "apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: %s}\nspec: {tenant: %s, size: small}\n"
	evilTenant    = "apiVersion: aetherplatform.cloud/v1alpha1\nkind: Tenant\nmetadata: {name: %s}\n"
)

// goodFleet has two tenants, of which acme turns evil in each case.
func goodFleet() fleet.Tree {
	return fleet.Tree{
		"_platform/profiles.yaml":     file("apiVersion: aetherplatform.cloud/v1alpha1\nkind: NamespaceProfile" + profileYAML),
		"acme/tenant.yaml":            file(evilTenant+"spec: {owners: [{kind: Group, name: acme-admins, role: admin}]}\n", "acme"),
		"acme/namespaces/web.yaml":    file(evilNamespace, "acme-web", "acme"),
		"globex/tenant.yaml":          file(evilTenant+"spec: {owners: [{kind: Group, name: globex-admins, role: admin}]}\n", "globex"),
		"globex/namespaces/bill.yaml": file(evilNamespace, "globex-bill", "globex"),
	}
}

func file(format string, args ...any) fleet.File {
	return fleet.File{Data: fmt.Appendf(nil, format, args...)}
}

// withSpec is acme's namespace with a field added to its spec.
func withSpec(yaml string) fleet.Tree {
	return fleet.Tree{"acme/namespaces/web.yaml": file(
		"apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: acme-web}\nspec:\n  tenant: acme\n  size: small\n  %s\n", yaml)}
}

// withMetadata is acme's namespace with a field added to its metadata.
func withMetadata(yaml string) fleet.Tree {
	return fleet.Tree{"acme/namespaces/web.yaml": file(
		"apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: acme-web, %s}\nspec: {tenant: acme, size: small}\n", yaml)}
}

// kustomized is acme with a kustomization over its namespace.
func kustomized(kustomization string, files fleet.Tree) fleet.Tree {
	tree := fleet.Tree{"acme/namespaces/kustomization.yaml": file("%s", kustomization)}
	maps.Copy(tree, files)
	return tree
}

func one(path string, content fleet.File) fleet.Tree { return fleet.Tree{path: content} }

var gitAttacks = map[string]struct {
	why  string
	tree fleet.Tree
}{
	"a namespace of another tenant":              {"the file says whose it is; the directory decides", one("acme/x.yaml", file(evilNamespace, "acme-x", "globex"))},
	"a namespace under another tenant's prefix":  {"names are how people know namespaces", one("acme/x.yaml", file(evilNamespace, "globex-x", "acme"))},
	"another tenant's very namespace":            {"one namespace, two claims in one commit", one("acme/x.yaml", file(evilNamespace, "globex-bill", "acme"))},
	"another tenant's namespace, as it is there": {"the same object from another directory", one("acme/x.yaml", file(evilNamespace, "globex-bill", "globex"))},
	"another tenant itself":                      {"it would set its limits", one("acme/x.yaml", file(evilTenant, "globex"))},
	"a third tenant in its directory":            {"a tenant nobody reviewed", one("acme/x.yaml", file(evilTenant, "initech"))},
	"itself twice":                               {"which of the two was reviewed", one("acme/x.yaml", file(evilTenant, "acme"))},
	"kube-system":                                {"the cluster itself", one("acme/x.yaml", file(evilNamespace, "kube-system", "acme"))},
	"default":                                    {"where others' things are", one("acme/x.yaml", file(evilNamespace, "default", "acme"))},
	"the operator's own namespace":               {"its identity", one("acme/x.yaml", file(evilNamespace, v1alpha1.SystemNamespace, "acme"))},
	"a name of 64 characters":                    {"what is cut off decides the name", one("acme/x.yaml", file(evilNamespace, "acme-"+strings.Repeat("x", 59), "acme"))},
	"a name with an upper-case letter":           {"lists that fold case differ from lists that do not (GHSA-gjw4-3v3v-rqxg)", one("acme/x.yaml", file(evilNamespace, "Acme-x", "acme"))},
	"a name with a Cyrillic letter":              {"it looks like another's", one("acme/x.yaml", file(evilNamespace, "acme-wеb", "acme"))},
	"a name that climbs":                         {"names become paths", one("acme/x.yaml", file(evilNamespace, "acme-../globex", "acme"))},

	"the prefix of another tenant":       {"capsule#2058", one("acme/tenant.yaml", file(evilTenant+"spec: {namespaces: {prefix: globex-}}\n", "acme"))},
	"a prefix within another's":          {"foo- and foo-bar-", one("acme/tenant.yaml", file(evilTenant+"spec: {namespaces: {prefix: globex-x-}}\n", "acme"))},
	"a newcomer inside another's prefix": {"foo-bar beside foo: the incumbent stays", one("globex-x/tenant.yaml", file(evilTenant, "globex-x"))},
	"the prefix of the system":           {"kube-", one("acme/tenant.yaml", file(evilTenant+"spec: {namespaces: {prefix: kube-}}\n", "acme"))},
	"an empty prefix":                    {"every name begins with it", one("acme/tenant.yaml", file(evilTenant+"spec: {namespaces: {prefix: \"-\"}}\n", "acme"))},

	"a ClusterRoleBinding":        {"CVE-2026-22872", one("acme/x.yaml", file("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: x}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n"))},
	"a RoleBinding":               {"tenants commit specs, not objects", one("acme/x.yaml", file("apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: x, namespace: globex-bill}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n"))},
	"a Namespace":                 {"without isolation", one("acme/x.yaml", file("apiVersion: v1\nkind: Namespace\nmetadata: {name: acme-x}\n"))},
	"a profile":                   {"the platform team's", one("acme/x.yaml", file("apiVersion: aetherplatform.cloud/v1alpha1\nkind: NamespaceProfile\nmetadata: {name: mine}\nspec: {base: {path: profiles/default}, podSecurity: privileged, sizes: {huge: {quota: {pods: \"9999\"}}}}\n"))},
	"the profile in use":          {"every tenant's isolation", one("acme/x.yaml", file("apiVersion: aetherplatform.cloud/v1alpha1\nkind: NamespaceProfile\nmetadata: {name: default}\nspec: {base: {path: profiles/default}, podSecurity: privileged, sizes: {small: {quota: {pods: \"9999\"}}}}\n"))},
	"a TenantSource":              {"it would bring its own fleet", one("acme/x.yaml", file("apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantSource\nmetadata: {name: x, namespace: aether-system}\nspec: {sourceRef: {kind: GitRepository, name: mine}}\n"))},
	"a List of what is refused":   {"a wrapper hides the kind (CVE-2026-65835)", one("acme/x.yaml", file("apiVersion: v1\nkind: List\nitems:\n- apiVersion: rbac.authorization.k8s.io/v1\n  kind: ClusterRoleBinding\n  metadata: {name: x}\n"))},
	"a List of a foreign tenant":  {"the same by our own kinds", one("acme/x.yaml", file("apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespaceList\nitems:\n- metadata: {name: globex-x}\n  spec: {tenant: globex, size: small}\n"))},
	"an unknown version":          {"not checked by the rules of this one", one("acme/x.yaml", file("apiVersion: aetherplatform.cloud/v9\nkind: TenantNamespace\nmetadata: {name: acme-x}\nspec: {tenant: acme, size: small}\n"))},
	"a group that looks alike":    {"case tricks", one("acme/x.yaml", file("apiVersion: AetherPlatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: acme-x}\nspec: {tenant: acme, size: small}\n"))},
	"a second document":           {"the reviewer saw the first", one("acme/x.yaml", file(evilNamespace+"---\n"+evilNamespace, "acme-x", "acme", "globex-x", "globex"))},
	"a key twice":                 {"readers differ on which counts", one("acme/x.yaml", file("apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: acme-x}\nspec: {tenant: acme, size: small, tenant: globex}\n"))},
	"a key in another case":       {"JSON readers fold case", one("acme/x.yaml", file("apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: acme-x}\nspec: {tenant: acme, Tenant: globex, size: small}\n"))},
	"an alias bomb":               {"309 bytes that become gigabytes", one("acme/x.yaml", file("%s", aliasBomb()))},
	"a directory in another case": {"Acme and acme on a file system that folds", one("Acme/tenant.yaml", file(evilTenant, "Acme"))},
	"a file beside the tenants":   {"whose would it be", one("x.yaml", file(evilNamespace, "globex-x", "globex"))},
	"a symlink to another tenant": {"the path is inside, the content is not", one("acme/x.yaml", fleet.File{Link: "../globex/tenant.yaml"})},
	"a symlinked directory":       {"the same for all of it", one("acme/x", fleet.File{Link: "../globex"})},
	"a symlink out of the tree":   {"the controller's own files", one("acme/x.yaml", fleet.File{Link: "/var/run/secrets/kubernetes.io/serviceaccount/token"})},

	"the tenant label in metadata":    {"it is what selects", withMetadata("labels: {aetherplatform.cloud/tenant: globex}")},
	"the mark of the operator":        {"it decides what may be deleted", withMetadata("labels: {aetherplatform.cloud/managed-by: namespace-operator}")},
	"a removal it did not go through": {"deletion before its time", withMetadata("annotations: {aetherplatform.cloud/removed-at: \"2020-01-01T00:00:00Z\"}")},
	"an owner":                        {"the garbage collector deletes what loses it", withMetadata("ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: x, uid: x}]")},
	"a finalizer":                     {"what nobody can delete", withMetadata("finalizers: [example.com/x]")},
	"a generated name":                {"a name that is not reviewed", one("acme/x.yaml", file("apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {generateName: globex-}\nspec: {tenant: acme, size: small}\n"))},
	"a status":                        {"what is observed is not asked for", one("acme/x.yaml", file(evilNamespace+"status: {observedGeneration: 9}\n", "acme-x", "acme"))},
	"the tenant label on a Namespace": {"spec.labels reach the Namespace", withSpec("labels: {aetherplatform.cloud/tenant: globex}")},
	"an open seal":                    {"Pods before isolation", withSpec("labels: {aetherplatform.cloud/sealed: \"false\"}")},
	"privileged Pod Security":         {"the node", withSpec("labels: {pod-security.kubernetes.io/enforce: privileged}")},
	"a node selector":                 {"others' nodes", withSpec("annotations: {scheduler.alpha.kubernetes.io/node-selector: dedicated=globex}")},
	"a label in capitals":             {"prefixes are compared in lower case, or are they", withSpec("annotations: {AetherPlatform.Cloud/tenant-uid: x}")},
	"a tracking label of Flux":        {"Flux prunes by it", withSpec("labels: {kustomize.toolkit.fluxcd.io/name: flux-system}")},

	"access for system:masters":            {"group names are strings", withSpec("access: [{kind: Group, name: \"system:masters\", role: admin}]")},
	"access for everybody":                 {"system:unauthenticated", withSpec("access: [{kind: Group, name: \"system:unauthenticated\", role: viewer}]")},
	"access for an account as a user":      {"system:serviceaccount:…", withSpec("access: [{kind: User, name: \"system:serviceaccount:globex-bill:deploy\", role: admin}]")},
	"access for another tenant's account":  {"same name, other namespace (CVE-2023-46254)", withSpec("access: [{kind: ServiceAccount, name: deploy, namespace: globex-bill, role: admin}]")},
	"access for Flux":                      {"a system account", withSpec("access: [{kind: ServiceAccount, name: kustomize-controller, namespace: flux-system, role: admin}]")},
	"access with a role that is not there": {"cluster-admin is a name like any other", withSpec("access: [{kind: User, name: eve@example.com, role: cluster-admin}]")},

	"ingress from a tenant that is no peer": {"peering is mutual", withSpec("network: {ingress: [{from: [{tenant: globex, namespace: globex-bill}], ports: [{port: 80, protocol: TCP}]}]}")},
	"egress to another tenant as its own":   {"a namespace is a name", withSpec("network: {egress: [{to: [{namespace: globex-bill}], ports: [{port: 80, protocol: TCP}]}]}")},
	"egress to the metadata service":        {"the node's credentials", withSpec("network: {egress: [{to: [{cidr: 169.254.169.254/32}]}]}")},
	"egress to it in IPv6":                  {"fe80::/10", withSpec("network: {egress: [{to: [{cidr: \"fe80::1/128\"}]}]}")},
	"egress to every host name":             {"a wildcard is the world", withSpec("network: {egress: [{to: [{fqdn: \"*\"}], ports: [{port: 443, protocol: TCP}]}]}")},

	"a profile it may not use":    {"privileged ones are for few", withSpec("profile: privileged")},
	"a size that is not there":    {"a quota of nothing is no quota", withSpec("overrides: {quota: {pods: \"9999\"}}")},
	"a Pod Security override":     {"the profile allows none", withSpec("overrides: {podSecurity: privileged}")},
	"secrets of another tenant":   {"path traversal", withSpec("secrets: [{name: db, path: ../globex/db, keys: {A: a}}]")},
	"a manifest path that climbs": {"spec.gitops.path", withSpec("gitops: {url: \"https://git.example.com/x.git\", path: ../../globex}")},
	"a repository on the disk":    {"file:///", withSpec("gitops: {url: \"file:///var/run/secrets\", path: ./}")},

	"resources of another tenant by kustomize":    {"a path out", kustomized("resources: [../../globex/namespaces/bill.yaml]\n", nil)},
	"another tenant's directory by kustomize":     {"a base out", kustomized("resources: [../../globex/namespaces]\n", nil)},
	"an absolute path by kustomize":               {"a path out", kustomized("resources: [/etc/passwd]\n", nil)},
	"a remote base by kustomize":                  {"https", kustomized("resources: [\"https://git.example.com/evil//base?ref=main\"]\n", nil)},
	"a remote file by kustomize":                  {"SSRF", kustomized("resources: [\"http://169.254.169.254/latest\"]\n", nil)},
	"a remote component by kustomize":             {"another field", kustomized("components: [\"github.com/evil/base\"]\nresources: [web.yaml]\n", nil)},
	"a remote patch by kustomize":                 {"yet another", kustomized("resources: [web.yaml]\npatches: [{path: \"https://git.example.com/p.yaml\"}]\n", nil)},
	"a schema by kustomize":                       {"it poisons every other build", kustomized("resources: [web.yaml]\nopenapi: {path: schema.json}\n", one("acme/namespaces/schema.json", file("{}")))},
	"a Helm chart by kustomize":                   {"it runs a program", kustomized("resources: [web.yaml]\nhelmCharts: [{name: x, repo: \"https://charts.example.com\"}]\n", nil)},
	"a generator by kustomize":                    {"it runs a program", kustomized("resources: [web.yaml]\ngenerators: [gen.yaml]\n", one("acme/namespaces/gen.yaml", file("apiVersion: v1\nkind: X\nmetadata: {name: x, annotations: {config.kubernetes.io/function: \"exec: {path: /bin/sh}\"}}\n")))},
	"a cycle by kustomize":                        {"it never ends", kustomized("resources: [web.yaml, sub]\n", one("acme/namespaces/sub/kustomization.yaml", file("resources: [..]\n")))},
	"a ConfigMap from another's file":             {"reading is enough", kustomized("resources: [web.yaml]\nconfigMapGenerator: [{name: x, files: [../../globex/tenant.yaml]}]\n", nil)},
	"another tenant's name by a patch":            {"input was fine, output is not", kustomized("resources: [web.yaml]\npatches:\n- target: {kind: TenantNamespace}\n  patch: '[{op: replace, path: /metadata/name, value: globex-bill}]'\n", nil)},
	"another tenant's namespace by a patch":       {"the same for the tenant", kustomized("resources: [web.yaml]\npatches:\n- target: {kind: TenantNamespace}\n  patch: '[{op: replace, path: /spec/tenant, value: globex}]'\n", nil)},
	"another kind by a patch":                     {"the same for the kind", kustomized("resources: [web.yaml]\npatches:\n- target: {kind: TenantNamespace}\n  options: {allowKindChange: true, allowNameChange: true}\n  patch: '{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: x}}'\n", nil)},
	"a system namespace by a name prefix":         {"kube- in front", kustomized("resources: [web.yaml]\nnamePrefix: kube-\n", nil)},
	"another tenant's namespace by a prefix":      {"globex- in front", kustomized("resources: [web.yaml]\nnamePrefix: globex-\n", nil)},
	"the tenant label by kustomize":               {"labels for all", kustomized("resources: [web.yaml]\nlabels: [{pairs: {aetherplatform.cloud/tenant: globex}}]\n", nil)},
	"an annotation of Aether's by kustomize":      {"annotations for all", kustomized("resources: [web.yaml]\ncommonAnnotations: {aetherplatform.cloud/removed-at: x}\n", nil)},
	"a reference to another's field by kustomize": {"replacements copy", kustomized("resources: [web.yaml]\nreplacements: [{path: ../../globex/r.yaml}]\n", nil)},
}

func aliasBomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	return b.String()
}

// incumbents are the tenants of a result, applied.
func incumbents(of *render.Result) map[string]tenancy.Holding {
	held := map[string]tenancy.Holding{}
	for _, tenant := range of.Tenants {
		held[tenant.Name] = tenancy.HoldingOf(tenant.Object.Value)
	}
	return held
}

func TestTenantCommitsWhatIsNotItsOwn(t *testing.T) {
	good := render.New(render.Options{}).Render(goodFleet(), nil)
	for _, tenant := range good.Tenants { // the control: without an attack all of it is rendered
		if len(tenant.Errors) > 0 || len(tenant.Applied) != 2 || len(tenant.Children()) < 5 {
			t.Fatalf("the good fleet: %s has %d objects, errors %v", tenant.Name, len(tenant.Applied), tenant.Errors)
		}
	}
	for what, attack := range gitAttacks {
		t.Run(what, func(t *testing.T) {
			tree := goodFleet()
			maps.Copy(tree, attack.tree)
			result := render.New(render.Options{}).Render(tree, incumbents(good))
			errs := slices.Clone(result.Fleet.PlatformErrors)
			for _, tenant := range result.Tenants {
				errs = append(errs, tenant.Errors...)
				staysInside(t, tenant)
				if tenant.Name == "globex" && tenant.Digest != tenantOf(good, "globex").Digest {
					t.Errorf("it changed what is rendered for globex")
				}
				if tenant.Name == "globex" && len(tenant.Errors) > 0 {
					t.Errorf("it made globex fail: %v", tenant.Errors)
				}
			}
			if len(errs) == 0 {
				t.Errorf("nobody is told; it matters because: %s", attack.why)
			}
			for _, err := range errs {
				if len(err.Message) > 400 || strings.Contains(err.Message, "\n") {
					t.Errorf("not one clear line: %q", err.Message)
				}
			}
		})
	}
}

func tenantOf(r *render.Result, name string) *render.TenantResult {
	i := slices.IndexFunc(r.Tenants, func(t *render.TenantResult) bool { return t.Name == name })
	return r.Tenants[i]
}

// staysInside is the invariant on what is applied: whatever was committed, a
// tenant's objects are of its own kinds, names, labels and namespaces.
func staysInside(t *testing.T, tenant *render.TenantResult) {
	t.Helper()
	mine := func(name string) bool { return strings.HasPrefix(name, tenant.Name+"-") }
	for _, o := range tenant.Objects() {
		labels := o.GetLabels()
		switch {
		case o.GroupVersionKind().Group != v1alpha1.GroupVersion.Group:
			t.Errorf("%s applies a %s", tenant.Name, o.GroupVersionKind())
		case o.GetKind() == v1alpha1.KindTenant && o.GetName() != tenant.Name,
			o.GetKind() == v1alpha1.KindTenantNamespace && !mine(o.GetName()):
			t.Errorf("%s applies %s %s", tenant.Name, o.GetKind(), o.GetName())
		case !slices.Contains([]string{v1alpha1.KindTenant, v1alpha1.KindTenantNamespace, v1alpha1.KindWorkloadCluster}, o.GetKind()):
			t.Errorf("%s applies a %s", tenant.Name, o.GetKind())
		}
		if got, ok := labels[v1alpha1.LabelTenant]; ok && got != tenant.Name {
			t.Errorf("%s applies %s %s labelled as %s's", tenant.Name, o.GetKind(), o.GetName(), got)
		}
		if owner, _, _ := unstructured.NestedString(o.Object, "spec", "tenant"); o.GetKind() != v1alpha1.KindTenant && owner != tenant.Name {
			t.Errorf("%s applies %s %s of tenant %q", tenant.Name, o.GetKind(), o.GetName(), owner)
		}
		ourMetadataOnly(t, o)
	}
	for _, o := range tenant.Children() {
		place := o.GetNamespace()
		if o.GetKind() == "Namespace" {
			place = o.GetName()
		}
		if !mine(place) {
			t.Errorf("%s renders %s %s into %q", tenant.Name, o.GetKind(), o.GetName(), place)
		}
		if got := o.GetLabels()[v1alpha1.LabelTenant]; got != tenant.Name {
			t.Errorf("%s renders %s %s labelled as %q's", tenant.Name, o.GetKind(), o.GetName(), got)
		}
		if strings.HasPrefix(o.GetKind(), "Cluster") {
			t.Errorf("%s renders a %s", tenant.Name, o.GetKind())
		}
		if level := o.GetLabels()["pod-security.kubernetes.io/enforce"]; o.GetKind() == "Namespace" && level != "restricted" {
			t.Errorf("%s renders Namespace %s at Pod Security %q", tenant.Name, o.GetName(), level)
		}
		ourMetadataOnly(t, o)
	}
}

// ourMetadataOnly: no owners, no finalizers, and none of the marks that only a
// controller sets.
func ourMetadataOnly(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	if len(o.GetOwnerReferences())+len(o.GetFinalizers()) > 0 {
		t.Errorf("%s %s has owners or finalizers", o.GetKind(), o.GetName())
	}
	for _, key := range []string{v1alpha1.LabelSealed, v1alpha1.LabelAdoptableBy} {
		if _, ok := o.GetLabels()[key]; ok {
			t.Errorf("%s %s is labelled %s", o.GetKind(), o.GetName(), key)
		}
	}
	for key := range o.GetAnnotations() {
		if slices.Contains([]string{v1alpha1.AnnotationRemovedAt, v1alpha1.AnnotationRemovedIn, v1alpha1.AnnotationTenantUID}, strings.ToLower(key)) {
			t.Errorf("%s %s is annotated %s", o.GetKind(), o.GetName(), key)
		}
	}
}

// A tenant's text is data, whatever it looks like.
func TestTenantsTextBecomesNoExpression(t *testing.T) {
	const text = "${tenant.name}"
	tree := goodFleet()
	maps.Copy(tree, withSpec("annotations: {example.com/note: \"${tenant.name}\", example.com/yaml: \"a: {b: c}\\n---\\nkind: ClusterRole\"}"))
	acme := tenantOf(render.New(render.Options{}).Render(tree, nil), "acme")
	if len(acme.Errors) > 0 {
		t.Fatalf("refused: %v", acme.Errors)
	}
	for _, o := range acme.Children() {
		if o.GetKind() != "Namespace" {
			continue
		}
		if got := o.GetAnnotations()["example.com/note"]; got != text {
			t.Errorf("the text %q became %q", text, got)
		}
	}
	staysInside(t, acme)
}
