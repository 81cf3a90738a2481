// Package sample generates the fleet that docs/benchmarks.md measures with: ten
// namespaces a tenant, each in a file of its own, with access and network rules as
// a team would write them.
package sample

import (
	"fmt"
	"path"

	"github.com/aetherplatform/aether/internal/fleet"
)

// NamespacesPerTenant is what every figure in docs/benchmarks.md was measured with.
const NamespacesPerTenant = 10

// pods is the quota of the generated profile.
const pods = 20

// Fleet makes a tree of so many namespaces. Names begin with prefix, so that two
// fleets can live in one cluster.
func Fleet(prefix string, namespaces int) fleet.Tree {
	tree := fleet.Tree{ProfilesFile: {Data: Profiles(0)}}
	for i := range namespaces / NamespacesPerTenant {
		tenant := Tenant(prefix, i)
		tree[path.Join(tenant, "tenant.yaml")] = fleet.File{Data: fmt.Appendf(nil, tenantYAML, tenant, tenant, tenant)}
		for j := range NamespacesPerTenant {
			name := fmt.Sprintf("%s-ns%d", tenant, j)
			tree[NamespaceFile(name, tenant)] = fleet.File{Data: Namespace(name, tenant, 0)}
		}
	}
	return tree
}

// Tenant is the name of the i-th tenant.
func Tenant(prefix string, i int) string { return fmt.Sprintf("%s%04d", prefix, i) }

// NamespaceFile is where a namespace is in the tree.
func NamespaceFile(name, tenant string) string {
	return path.Join(tenant, "namespaces", name+".yaml")
}

// Namespace is a TenantNamespace; another edition of it opens another port.
func Namespace(name, tenant string, edition int) []byte {
	return fmt.Appendf(nil, namespaceYAML, name, tenant, tenant, 8000+edition%1000)
}

// ProfilesFile is where Profiles is in the tree.
const ProfilesFile = "_platform/profiles.yaml"

// Profiles is the platform's file; another edition of it grants another quota to
// every namespace.
func Profiles(edition int) []byte { return fmt.Appendf(nil, profilesYAML, pods+edition) }

const profilesYAML = `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
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
  namespaces: {max: 20}
  quota: {hard: {requests.cpu: "64", requests.memory: 128Gi}}
`

const namespaceYAML = `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: %s}
spec:
  tenant: %s
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
