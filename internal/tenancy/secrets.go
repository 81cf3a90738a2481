package tenancy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// defaultMount is where secrets are when neither a Tenant nor a profile says.
const defaultMount = "secret"

// Place is where in OpenBao a tenant's secrets are.
type Place struct {
	// Mount of a KV v2 engine, and a path below it.
	Mount, Path string
}

// PlaceOf is where in OpenBao a tenant's secrets are.
func PlaceOf(t *v1alpha1.Tenant) Place {
	p := Place{Mount: defaultMount, Path: t.Name}
	if s := t.Spec.Secrets; s != nil {
		p = Place{Mount: cmp.Or(s.Mount, p.Mount), Path: cmp.Or(s.Path, p.Path)}
	}
	return p
}

// String is the place as people write it: "secret/teams/acme".
func (p Place) String() string { return p.Mount + "/" + p.Path }

// Below is a path of the tenant's, whole: "secret/teams/acme/payments/db".
func (p Place) Below(path string) string { return p.String() + "/" + path }

// Overlaps is whether who may read one place may read the other, or a part of it. It
// goes by whole segments: acme-b is beside acme.
func (p Place) Overlaps(other Place) bool {
	return p.Mount == other.Mount && (strings.HasPrefix(p.Path+"/", other.Path+"/") || strings.HasPrefix(other.Path+"/", p.Path+"/"))
}

// MountsOf are the mounts in OpenBao that are open to tenants in a profile.
func MountsOf(p *v1alpha1.NamespaceProfile) []string {
	if o := p.Spec.OpenBao; o != nil && len(o.Mounts) > 0 {
		return slices.Clone(o.Mounts)
	}
	return []string{defaultMount}
}
