package meaning

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

// scopeKey is a namespace on a cluster; without a namespace it is the cluster.
type scopeKey struct{ cluster, namespace string }

// String is "acme-web" or "acme-web on acme-prod".
func (k scopeKey) String() string {
	name := prose.Plain(k.namespace)
	if name == "" {
		name = "the whole cluster"
	}
	if k.cluster != "" {
		name += " on " + prose.Plain(k.cluster)
	}
	return name
}

// class is the objects that one question is about.
type class int

const (
	classNamespace class = iota
	classRights
	classNetwork
	classQuota
	classOther
	classes
)

// scope is what a namespace consists of on both sides.
type scope struct {
	scopeKey
	// tenant that has it at head, or had it at base.
	tenant string
	// base and head by class, in the order of the render.
	base, head [classes][]*review.Rendered
	// new: nothing of it was there before, so there is no data in it.
	new bool
}

// world is both sides, by namespace and by tenant.
type world struct {
	before, after *review.Side
	scopes        []*scope
	byKey         map[scopeKey]*scope
	tenants       []*tenantPair
	// owners is whose a namespace is, as far as the fleets say.
	owners map[string]string
	// controllers are the namespaces of ingress controllers.
	controllers map[string]bool
	// unreadable are tenants of which base says nothing.
	unreadable map[string]bool
	memory     *rightsMemory
}

// tenantPair is one tenant on both sides; nil where it is not.
type tenantPair struct {
	name       string
	base, head *review.Tenant
}

func newWorld(base, head *review.Side) *world {
	if base == nil {
		base = &review.Side{}
	}
	if head == nil {
		head = &review.Side{}
	}
	w := &world{
		before: base, after: head,
		byKey:      map[scopeKey]*scope{},
		owners:     map[string]string{},
		unreadable: map[string]bool{},
		memory:     newRightsMemory(),
	}
	names := map[string]bool{}
	for name := range base.Tenants {
		names[name] = true
	}
	for name := range head.Tenants {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		pair := &tenantPair{name: name, base: base.Tenants[name], head: head.Tenants[name]}
		if pair.head != nil && len(pair.head.Errors) > 0 {
			continue // nothing of it would be applied
		}
		if pair.base != nil && len(pair.base.Errors) > 0 {
			w.unreadable[name] = true
		}
		w.tenants = append(w.tenants, pair)
		w.take(pair.base, func(s *scope) *[classes][]*review.Rendered { return &s.base })
		w.take(pair.head, func(s *scope) *[classes][]*review.Rendered { return &s.head })
	}
	w.learn(base)
	w.learn(head)
	for _, s := range w.byKey {
		s.new = s.empty(s.base) && !w.unreadable[s.tenant]
		w.scopes = append(w.scopes, s)
	}
	slices.SortFunc(w.scopes, func(a, b *scope) int {
		return cmp.Or(strings.Compare(a.cluster, b.cluster), strings.Compare(a.namespace, b.namespace))
	})
	return w
}

func (s *scope) empty(side [classes][]*review.Rendered) bool {
	for _, objects := range side {
		if len(objects) > 0 {
			return false
		}
	}
	return true
}

// gone: the namespace is no longer rendered. What becomes of it is for removals.
func (s *scope) gone() bool { return s.empty(s.head) }

// take sorts a tenant's objects into scopes.
func (w *world) take(t *review.Tenant, side func(*scope) *[classes][]*review.Rendered) {
	if t == nil {
		return
	}
	for i := range t.Objects {
		o := &t.Objects[i]
		if groupOf(o) == v1alpha1.GroupVersion.Group {
			continue // what is asked for, not what is made of it
		}
		k := scopeKey{o.Cluster, o.Namespace}
		s := w.byKey[k]
		if s == nil {
			s = &scope{scopeKey: k}
			w.byKey[k] = s
		}
		s.tenant = t.Name
		c := classOf(o)
		side(s)[c] = append(side(s)[c], o)
	}
}

// learn notes whose the namespaces are, and where ingress controllers run.
func (w *world) learn(side *review.Side) {
	note := func(t *fleet.Tenant) {
		if t == nil {
			return
		}
		for _, n := range t.Namespaces {
			if n != nil && n.Value != nil {
				w.owners[n.Value.Name] = t.Name
			}
		}
	}
	if w.controllers == nil {
		w.controllers = map[string]bool{"ingress-nginx": true}
	}
	for _, t := range side.Tenants {
		if t != nil {
			note(t.Tenant)
		}
	}
	if side.Result == nil {
		return
	}
	for _, t := range side.Result.Tenants {
		if t != nil {
			note(t.Tenant)
		}
	}
	if side.Result.Fleet == nil {
		return
	}
	for _, p := range side.Result.Fleet.Profiles {
		if p != nil && p.Value != nil && p.Value.Spec.IngressController.Namespace != "" {
			w.controllers[p.Value.Spec.IngressController.Namespace] = true
		}
	}
}

func groupOf(o *review.Rendered) string {
	group, _, ok := strings.Cut(o.APIVersion, "/")
	if !ok {
		return ""
	}
	return group
}

func classOf(o *review.Rendered) class {
	switch group := groupOf(o); {
	case group == "" && o.Kind == "Namespace":
		return classNamespace
	case group == rbacGroup:
		return classRights
	case group == "networking.k8s.io" && o.Kind == "NetworkPolicy", group == "cilium.io" && o.Kind == "CiliumNetworkPolicy":
		return classNetwork
	case group == "" && (o.Kind == "ResourceQuota" || o.Kind == "LimitRange"):
		return classQuota
	}
	return classOther
}

// same says whether a class holds the same objects on both sides, in any order.
func (s *scope) same(c class) bool {
	a, b := s.base[c], s.head[c]
	if len(a) != len(b) {
		return false
	}
	inOrder := true
	for i := range a {
		if a[i].Digest == "" || b[i].Digest == "" {
			return false
		}
		inOrder = inOrder && a[i].Digest == b[i].Digest && a[i].Kind == b[i].Kind
	}
	if inOrder {
		return true
	}
	count := map[[2]string]int{}
	for i := range a {
		count[[2]string{a[i].Kind, a[i].Digest}]++
		count[[2]string{b[i].Kind, b[i].Digest}]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// pair is an object on both sides; nil where it is not.
type pair struct{ base, head *review.Rendered }

func (p pair) any() *review.Rendered { return cmp.Or(p.head, p.base) }

// pairs are the objects of a class that differ, by kind and name.
func (s *scope) pairs(c class) []pair {
	if s.same(c) {
		return nil
	}
	type key struct{ group, kind, name string }
	all := map[key]*pair{}
	var order []*pair
	at := func(o *review.Rendered) *pair {
		k := key{groupOf(o), o.Kind, o.Name}
		if all[k] == nil {
			all[k] = &pair{}
			order = append(order, all[k])
		}
		return all[k]
	}
	for _, o := range s.base[c] {
		at(o).base = o
	}
	for _, o := range s.head[c] {
		at(o).head = o
	}
	var out []pair
	for _, p := range order {
		if p.base == nil || p.head == nil || p.base.Digest == "" || p.base.Digest != p.head.Digest {
			out = append(out, *p)
		}
	}
	return out
}

// place is where a class of objects comes from.
func (s *scope) place(c class) review.Place {
	for _, side := range [][]*review.Rendered{s.head[c], s.base[c]} {
		for _, o := range side {
			if o.Place != (review.Place{}) {
				return o.Place
			}
		}
	}
	return review.Place{}
}
