package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/secret"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// This file holds what spec.secrets can be checked for before OpenBao is asked.

// secret checks one entry. Package secret says what a template may be; it is asked of
// each by itself, since it stops at the first fault.
func (f *findings) secret(at string, s *v1alpha1.NamespaceSecret) {
	f.objectName(at+".name", s.Name)
	f.labels(at+".labels", s.Labels)
	for _, key := range sortedKeys(s.Keys) {
		f.secretKey(at+".keys", key)
	}
	for i, w := range s.Rollout {
		f.objectName(fmt.Sprintf("%s.rollout[%d].name", at, i), w.Name)
	}
	for _, key := range sortedKeys(s.Template) {
		text := s.Template[key]
		before := f.expressions
		f.expressions += strings.Count(string(text), "${")
		if f.expressions > MaxExpressions {
			if before <= MaxExpressions { // once
				f.at(at+".template", fmt.Sprintf("brings the templates of one tenant's secrets above %d ${…}; take keys as they are under keys", MaxExpressions))
			}
			return
		}
		if !f.secretKey(at+".template", key) {
			continue
		}
		alone := v1alpha1.SecretSource{Template: map[string]v1alpha1.SecretTemplate{key: text}}
		if _, err := secret.Compile(at, &alone); err != nil {
			_, message, _ := strings.Cut(err.Error(), "]: ") // it begins with the field; the key holds no bracket
			f.at(fmt.Sprintf("%s.template[%s]", at, key), message)
		}
	}
}

// secretKey wants a key that a Secret can have.
func (f *findings) secretKey(at, key string) bool {
	if len(validation.IsConfigMapKey(key)) == 0 {
		return true
	}
	f.at(fmt.Sprintf("%s[%s]", at, key), fmt.Sprintf("%q is no key of a Secret; use letters, digits, '-', '_' and '.'", shorten(key)))
	return false
}

// checkGenerate wants a profile that lets the namespace make secrets in OpenBao.
func checkGenerate(fail failFunc, n *v1alpha1.TenantNamespace, p *v1alpha1.NamespaceProfile) {
	if p.Spec.OpenBao != nil && p.Spec.OpenBao.Generate {
		return
	}
	for i, s := range n.Spec.Secrets {
		if len(s.Generate) > 0 {
			fail(fmt.Sprintf("spec.secrets[%d].generate", i), "profile %q lets nothing be made in OpenBao; write the secret there and remove this, or set spec.openBao.generate of the profile", p.Name)
		}
	}
}

// checkMount wants the tenant's mount in OpenBao to be open in each profile of its
// namespaces with secrets.
func (c *checker) checkMount(namespaces []*Object[*v1alpha1.TenantNamespace]) {
	used := map[string]bool{}
	for _, ns := range namespaces {
		if len(ns.Value.Spec.Secrets) > 0 && !ns.mistyped.covers("spec.profile") {
			used[ns.Value.Spec.Profile] = true
		}
	}
	mount := tenancy.PlaceOf(c.owner.Value).Mount
	for _, name := range sortedKeys(used) {
		p := c.profiles[name]
		if p == nil {
			continue // the namespace has that error
		}
		if open := tenancy.MountsOf(p.Value); !slices.Contains(open, mount) {
			failing(c, c.owner)("spec.secrets.mount", "%q is not open in profile %q, which the tenant has secrets in; use %s", mount, name, either(open))
		}
	}
}

// checkPlaces wants no tenant's place in OpenBao to be at or below another's: who has
// the outer one could read the inner. The default, the tenant's own name, goes before
// what others write; but whoever is applied already goes first.
func checkPlaces(l *lines, tenants []*Tenant, checks map[string]*checked, incumbents map[string]string) {
	if !slices.ContainsFunc(tenants, func(t *Tenant) bool {
		owner := checks[t.Name].owner
		return owner != nil && owner.Value.Spec.Secrets != nil
	}) {
		return // names are never alike
	}
	last := func(is bool) int {
		if is {
			return 1
		}
		return 0
	}
	rank := func(t *Tenant) (newcomer, written int) {
		_, incumbent := incumbents[t.Name]
		return last(!incumbent), last(tenancy.PlaceOf(checks[t.Name].owner.Value).Path != t.Name)
	}
	var order []*Tenant
	for _, t := range tenants {
		if checks[t.Name].owner != nil {
			order = append(order, t)
		}
	}
	slices.SortStableFunc(order, func(a, b *Tenant) int {
		aNew, aWritten := rank(a)
		bNew, bWritten := rank(b)
		return cmp.Or(cmp.Compare(aNew, bNew), cmp.Compare(aWritten, bWritten))
	})
	taken := places{}
	for _, t := range order {
		owner := checks[t.Name].owner
		place := tenancy.PlaceOf(owner.Value)
		if other := taken.overlapping(place); other != nil {
			field := "spec.secrets.path"
			if s := owner.Value.Spec.Secrets; s == nil || s.Path == "" {
				field = "metadata.name"
			}
			theirs := checks[other.Name].owner
			if !owner.mistyped.covers(field) {
				t.fail(l, owner.Position, owner.doc, field, fmt.Sprintf("%s in OpenBao overlaps with %s of Tenant %q (%s); choose a spec.secrets.path such that neither is at or below the other",
					place, tenancy.PlaceOf(theirs.Value), other.Name, theirs.Position))
			}
			continue
		}
		// What a newcomer with errors asks for is not applied, and takes nothing.
		if _, incumbent := incumbents[t.Name]; incumbent || len(t.Errors) == 0 {
			taken.add(place, t)
		}
	}
}

// places finds overlaps without comparing all with all: a tenant is noted at its
// place, and under everything that the place is below.
type places map[string]struct{ at, below *Tenant }

// outer calls for a place and each that it is below, until that returns false.
func outer(p tenancy.Place, visit func(key string, itself bool) bool) {
	key := p.Mount + "\x00/" + p.Path
	for itself := true; visit(key, itself); itself = false {
		i := strings.LastIndexByte(key, '/')
		if i <= len(p.Mount)+1 {
			return
		}
		key = key[:i]
	}
}

func (taken places) add(p tenancy.Place, t *Tenant) {
	outer(p, func(key string, itself bool) bool {
		noted := taken[key]
		if itself {
			noted.at = t
		} else if noted.below == nil {
			noted.below = t
		}
		taken[key] = noted
		return true
	})
}

func (taken places) overlapping(p tenancy.Place) (other *Tenant) {
	outer(p, func(key string, itself bool) bool {
		noted := taken[key]
		if other = noted.at; other == nil && itself {
			other = noted.below
		}
		return other == nil
	})
	return other
}
