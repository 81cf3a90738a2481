// Package sample generates the fleet that docs/benchmarks.md measures with: ten
// namespaces a tenant, each in a file of its own, with access and network rules as
// a team would write them.
package sample

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/fleet"
)

// NamespacesPerTenant is what every figure in docs/benchmarks.md was measured with.
const NamespacesPerTenant = 10

const (
	// pods is the quota of the generated profile.
	pods = 20
	// port is the first that a generated namespace opens.
	port = 8000
)

// Fleet makes a tree of so many namespaces. Names begin with prefix, so that two
// fleets can live in one cluster.
func Fleet(prefix string, namespaces int) fleet.Tree {
	return FleetOf("default", prefix, namespaces)
}

// FleetOf is a Fleet whose profile has a name of its own, as each repository's must
// where a cluster reads several.
func FleetOf(profile, prefix string, namespaces int) fleet.Tree {
	tree := fleet.Tree{ProfilesFile: {Data: fmt.Appendf(nil, profilesYAML, profile, pods)}}
	for i := range namespaces / NamespacesPerTenant {
		tenant := Tenant(prefix, i)
		tree[path.Join(tenant, "tenant.yaml")] = fleet.File{Data: fmt.Appendf(nil, tenantYAML, tenant, tenant, tenant, profile)}
		for j := range NamespacesPerTenant {
			name := fmt.Sprintf("%s-ns%d", tenant, j)
			tree[NamespaceFile(name, tenant)] = fleet.File{Data: fmt.Appendf(nil, namespaceYAML, name, tenant, profile, tenant, port)}
		}
	}
	return tree
}

// Packed has the files of each tenant in one, as documents of it.
func Packed(tree fleet.Tree) fleet.Tree {
	packed := fleet.Tree{}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		tenant, _, _ := strings.Cut(name, "/")
		file := path.Join(tenant, "all.yaml")
		packed[file] = fleet.File{Data: slices.Concat(packed[file].Data, []byte("---\n"), tree[name].Data)}
	}
	return packed
}

// Tenant is the name of the i-th tenant.
func Tenant(prefix string, i int) string { return fmt.Sprintf("%s%04d", prefix, i) }

// NamespaceFile is where a namespace is in the tree.
func NamespaceFile(name, tenant string) string {
	return path.Join(tenant, "namespaces", name+".yaml")
}

// Namespace is a TenantNamespace; another edition of it opens another port.
func Namespace(name, tenant string, edition int) []byte {
	return fmt.Appendf(nil, namespaceYAML, name, tenant, "default", tenant, port+edition%1000)
}

// ProfilesFile is where Profiles is in the tree.
const ProfilesFile = "_platform/profiles.yaml"

// Profiles is the platform's file; another edition of it grants another quota to
// every namespace.
func Profiles(edition int) []byte { return fmt.Appendf(nil, profilesYAML, "default", pods+edition) }

const profilesYAML = `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: %s}
spec:
  base: {path: profiles/default}
  podSecurity: restricted
  sizes:
    small:
      quota: {requests.cpu: "2", requests.memory: 4Gi, pods: "%d"}
      limits: [{type: Container, defaultRequest: {cpu: 50m, memory: 64Mi}}]
`

const tenantYAML = `apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata: {name: %s}
spec:
  displayName: Tenant %s
  owners: [{kind: Group, name: %s-admins, role: admin}]
  namespaces: {max: 20, profiles: [%s]}
  quota: {hard: {requests.cpu: "64", requests.memory: 128Gi}}
`

const namespaceYAML = `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: %s}
spec:
  tenant: %s
  profile: %s
  size: small
  access:
  - {kind: User, name: dev@example.com, role: editor}
  network:
    ingress:
    - from: [{ingressController: true}, {namespace: %s-ns0}]
      ports: [{port: %d}]
    egress:
    - to: [{fqdn: api.example.com}, {cidr: 203.0.113.0/24}]
      ports: [{port: 443}]
`
