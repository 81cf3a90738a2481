package main

import (
	"fmt"
	"path"

	"github.com/aetherplatform/aether/internal/fleet"
)

// namespacesPerTenant is what every figure in docs/benchmarks.md was measured with.
const namespacesPerTenant = 10

// generate makes a fleet tree of so many namespaces, ten a tenant, each in a file
// of its own, with access and network rules as a team would write them. Names
// begin with prefix, so that two fleets can live in one cluster.
func generate(prefix string, namespaces int) fleet.Tree {
	tree := fleet.Tree{path.Join("_platform", "profiles.yaml"): {Data: []byte(profiles)}}
	for i := range namespaces / namespacesPerTenant {
		tenant := fmt.Sprintf("%s%04d", prefix, i)
		tree[path.Join(tenant, "tenant.yaml")] = fleet.File{Data: fmt.Appendf(nil, tenantYAML, tenant, tenant, tenant)}
		for j := range namespacesPerTenant {
			name := fmt.Sprintf("%s-ns%d", tenant, j)
			tree[path.Join(tenant, "namespaces", name+".yaml")] = fleet.File{Data: namespace(name, tenant, 0)}
		}
	}
	return tree
}

// namespace is a TenantNamespace; another edition of it opens another port.
func namespace(name, tenant string, edition int) []byte {
	return fmt.Appendf(nil, namespaceYAML, name, tenant, tenant, 8000+edition%1000)
}

const profiles = `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  podSecurity: restricted
  sizes:
    small:
      quota: {requests.cpu: "2", requests.memory: 4Gi, pods: "20"}
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
