package fleet

import (
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// The builders write objects with defaults, so that a case shows what matters.
// What a case adds to the spec begins at the line that they say.

// platform has a profile "default" with the sizes small and large, and a profile
// "open" that is overridable and has a role of its own.
const platform = `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  labels: {cost-center: shared}
  sizes:
    small: {quota: {requests.cpu: "2", requests.memory: 4Gi, pods: "20"}}
    large: {quota: {requests.cpu: "16", requests.memory: 64Gi, pods: "200"}}
---
apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: open}
spec:
  base: {path: profiles/default}
  overridable: [quota]
  sizes:
    small: {quota: {requests.cpu: "2", requests.memory: 4Gi, pods: "20"}}
  roles:
    oncall: [{apiGroups: [""], resources: [pods/exec], verbs: [create]}]
`

// tenant is a Tenant; spec begins at line 5.
func tenant(name, spec string) string {
	return yamlOf("Tenant", name, "  displayName: "+name, spec)
}

// namespace is a TenantNamespace of Tenant acme; spec begins at line 7.
func namespace(name, spec string) string {
	return yamlOf("TenantNamespace", name, "  tenant: acme\n  size: small", spec)
}

// cluster is a WorkloadCluster of Tenant acme; spec begins at line 8.
func cluster(name, spec string) string {
	return yamlOf("WorkloadCluster", name, "  tenant: acme\n  region: dk-1\n  version: v1.36.3", spec)
}

func yamlOf(kind, name, first, spec string) string {
	text := "apiVersion: aetherplatform.cloud/v1alpha1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec:\n" + first + "\n"
	for line := range strings.Lines(spec) {
		text += "  " + line
	}
	return strings.TrimSuffix(text, "\n") + "\n"
}

// fleetOf is a fleet of the platform and of Tenant acme with acme-web, with the
// files of a case in place or added. An empty text removes a file.
func fleetOf(files map[string]string) Tree {
	all := map[string]string{
		"_platform/profiles.yaml": platform,
		"acme/tenant.yaml":        tenant("acme", ""),
		"acme/web.yaml":           namespace("acme-web", ""),
	}
	maps.Copy(all, files)
	tree := Tree{}
	for name, text := range all {
		switch target, link := strings.CutPrefix(text, "-> "); {
		case link:
			tree[name] = File{Link: target}
		case text != "":
			tree[name] = File{Data: []byte(text)}
		}
	}
	return tree
}

// says is every error and warning of a fleet, as people read it.
func says(f *Fleet) []string {
	var out []string
	for _, err := range f.Errors() {
		out = append(out, err.Error())
	}
	for _, w := range f.Warnings() {
		out = append(out, "warning: "+w.Error())
	}
	return out
}

// applied are tenants of the cluster with what they have by default.
func applied(names ...string) map[string]tenancy.Holding {
	held := map[string]tenancy.Holding{}
	for _, name := range names {
		held[name] = tenancy.HoldingOf(&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return held
}

// at is incumbents of which one has its secrets at another path.
func at(incumbents map[string]tenancy.Holding, name, path string) map[string]tenancy.Holding {
	held := incumbents[name]
	held.Place.Path = path
	incumbents[name] = held
	return incumbents
}
