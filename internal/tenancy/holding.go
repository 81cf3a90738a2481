package tenancy

import "github.com/aetherplatform/aether/api/v1alpha1"

// Holding is what a tenant has to itself: no other may have what overlaps with it.
type Holding struct {
	// Prefix that the names of its namespaces begin with.
	Prefix string
	// Place in OpenBao that its secrets are at.
	Place Place
}

// HoldingOf is what a tenant has to itself.
func HoldingOf(t *v1alpha1.Tenant) Holding {
	return Holding{Prefix: t.Prefix(), Place: PlaceOf(t)}
}
