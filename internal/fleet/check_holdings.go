package fleet

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/aetherplatform/aether/internal/tenancy"
)

// checkPrefixes wants no tenant's prefix to begin with another's: their
// namespaces could not be told apart by name.
func checkPrefixes(l *lines, tenants []*Tenant, checks map[string]*checked, incumbents map[string]tenancy.Holding) {
	var taken *holdings // made for the first newcomer
	for _, t := range tenants {
		owner := checks[t.Name].owner
		if owner == nil {
			continue
		}
		prefix := owner.Value.Prefix()
		if incumbents[t.Name].Prefix == prefix {
			continue
		}
		if taken == nil {
			taken = newHoldings(beginnings)
			for _, name := range sortedKeys(incumbents) {
				taken.add(incumbents[name].Prefix, name)
			}
		}
		if other, theirs := taken.overlapping(prefix, t.Name); other != "" {
			field := "spec.namespaces.prefix"
			if owner.Value.Spec.Namespaces.Prefix == "" {
				field = "metadata.name"
			}
			t.fail(l, owner.Position, owner.doc, field,
				fmt.Sprintf("the prefix %q overlaps with %q of Tenant %q; choose one such that neither begins with the other", prefix, theirs, other))
			continue
		}
		if len(t.Errors) == 0 { // who cannot be applied takes nothing from others
			taken.add(prefix, t.Name)
		}
	}
}

// checkPlaces wants no tenant's place in OpenBao to be at or below another's: who has
// the outer one could read the inner. Who is applied there already goes first; of
// newcomers the default, the tenant's own name, goes before what others write.
func checkPlaces(l *lines, tenants []*Tenant, checks map[string]*checked, incumbents map[string]tenancy.Holding) {
	if !anyPlaceIsWritten(tenants, checks, incumbents) {
		return // names are never alike
	}
	taken := newHoldings(folders)
	take := func(t *Tenant) {
		owner := checks[t.Name].owner
		place := tenancy.PlaceOf(owner.Value)
		other, theirs := taken.overlapping(place.String(), t.Name)
		switch {
		case other != "":
			field := "spec.secrets.path"
			if s := owner.Value.Spec.Secrets; s == nil || s.Path == "" {
				field = "metadata.name"
			}
			if !owner.mistyped.covers(field) {
				t.fail(l, owner.Position, owner.doc, field, fmt.Sprintf("%s in OpenBao overlaps with %s of Tenant %q%s; choose a spec.secrets.path such that neither is at or below the other",
					place, theirs, other, whereFound(checks[other])))
			}
		case incumbents[t.Name].Place == place, len(t.Errors) == 0:
			taken.add(place.String(), t.Name)
		}
	}
	var staying, coming []*Tenant
	for _, t := range tenants {
		switch owner := checks[t.Name].owner; {
		case owner == nil:
		case incumbents[t.Name].Place == tenancy.PlaceOf(owner.Value):
			staying = append(staying, t)
		default:
			coming = append(coming, t)
		}
	}
	for _, some := range [][]*Tenant{staying, coming} {
		slices.SortStableFunc(some, func(a, b *Tenant) int {
			written := func(t *Tenant) int {
				if tenancy.PlaceOf(checks[t.Name].owner.Value).Path == t.Name {
					return 0
				}
				return 1
			}
			return cmp.Compare(written(a), written(b))
		})
	}
	for _, t := range staying {
		take(t)
	}
	// What somebody leaves is theirs until what they ask for instead is applied.
	for _, name := range sortedKeys(incumbents) {
		if at := incumbents[name].Place.String(); !taken.has(at, name) {
			taken.add(at, name)
		}
	}
	for _, t := range coming {
		take(t)
	}
}

func anyPlaceIsWritten(tenants []*Tenant, checks map[string]*checked, incumbents map[string]tenancy.Holding) bool {
	for _, t := range tenants {
		if owner := checks[t.Name].owner; owner != nil && owner.Value.Spec.Secrets != nil {
			return true
		}
	}
	for name, held := range incumbents {
		if held.Place.Path != name {
			return true
		}
	}
	return false
}

// whereFound is where a tenant's Tenant is written, in parentheses, if it is.
func whereFound(c *checked) string {
	if c == nil || c.owner == nil {
		return ""
	}
	return fmt.Sprintf(" (%s)", c.owner.Position)
}

// holdings finds overlaps without comparing all with all.
type holdings struct {
	// within are all that something is within, itself included.
	within func(what string) iter.Seq[string]
	// at are the tenants that hold just this; inside, who holds it or what is within.
	at     map[string][]string
	inside map[string][]holding
}

type holding struct{ what, tenant string }

func newHoldings(within func(string) iter.Seq[string]) *holdings {
	return &holdings{within, map[string][]string{}, map[string][]holding{}}
}

// beginnings are all that a text begins with, itself included.
func beginnings(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 1; i <= len(text) && yield(text[:i]); i++ {
		}
	}
}

// folders are those that a path is in, itself included.
func folders(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range path {
			if path[i] == '/' && !yield(path[:i]) {
				return
			}
		}
		yield(path)
	}
}

func (h *holdings) add(what, tenant string) {
	h.at[what] = append(h.at[what], tenant)
	for outer := range h.within(what) {
		h.inside[outer] = append(h.inside[outer], holding{what, tenant})
	}
}

func (h *holdings) has(what, tenant string) bool { return slices.Contains(h.at[what], tenant) }

// overlapping is another tenant that holds what is within this, or what this is within;
// none is empty.
func (h *holdings) overlapping(what, tenant string) (other, theirs string) {
	for _, held := range h.inside[what] {
		if held.tenant != tenant {
			return held.tenant, held.what
		}
	}
	for outer := range h.within(what) {
		for _, holder := range h.at[outer] {
			if holder != tenant {
				return holder, outer
			}
		}
	}
	return "", ""
}
