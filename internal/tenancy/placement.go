package tenancy

import (
	"slices"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// PlacedIn is whether a namespace is to be in a cluster; "" is the one that the fleet is
// reconciled in.
func PlacedIn(n *v1alpha1.TenantNamespace, cluster string) bool {
	if cluster == "" {
		return len(n.Spec.Clusters) == 0
	}
	return slices.Contains(n.Spec.Clusters, cluster)
}
