// Package tenancy holds the rules between a Tenant and its namespaces: names,
// prefixes, peers, quotas.
package tenancy

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Reserved says whether a namespace's name belongs to the system.
func Reserved(namespace string) bool { return false }

// PrefixesOverlap says whether a namespace's name could be under both prefixes.
func PrefixesOverlap(a, b string) bool { return false }

// CheckName says why a tenant cannot have a namespace of this name.
func CheckName(t *v1alpha1.Tenant, namespace string) error { return nil }

// MutualPeers are the tenants that t names as peers and that name t too, by name.
func MutualPeers(t *v1alpha1.Tenant, get func(name string) *v1alpha1.Tenant) []string { return nil }

// QuotaOf is the quota of a namespace: its size's, with its overrides.
func QuotaOf(ns *v1alpha1.TenantNamespace, p *v1alpha1.NamespaceProfile) (corev1.ResourceList, error) {
	return nil, nil
}

// Admit says which namespaces do not fit into the tenant's limits, and why.
func Admit(t *v1alpha1.Tenant, all []*v1alpha1.TenantNamespace, profile func(string) *v1alpha1.NamespaceProfile) map[string]error {
	return nil
}
