package compare

import (
	"cmp"
	"context"
	"maps"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/review"
)

// identity is what makes two objects the same object. The version of the API is
// not part of it, nor is the tenant.
type identity struct{ group, kind, namespace, name, cluster string }

func identityOf(o review.Object) identity {
	return identity{groupOf(o.APIVersion), o.Kind, o.Namespace, o.Name, o.Cluster}
}

func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// pair is an object on both sides; nil where it is not.
type pair struct{ old, new *review.Rendered }

// changes compares what the sides hold, sorted for reading.
func changes(ctx context.Context, base, head *review.Side) ([]review.Change, error) {
	pairs := pairs(base, head)
	found := make([]*review.Change, len(pairs))
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	const batch = 512
	for from := 0; from < len(pairs); from += batch {
		work.Go(func() error {
			for i := from; i < min(from+batch, len(pairs)); i++ {
				found[i] = pairs[i].change()
			}
			return ctx.Err()
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	out := []review.Change{}
	for _, c := range found {
		if c != nil {
			out = append(out, *c)
		}
	}
	slices.SortFunc(out, func(a, b review.Change) int { return byName(a.Object, b.Object) })
	return out, nil
}

func byName(a, b review.Object) int {
	return cmp.Or(
		strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Cluster, b.Cluster),
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Kind, b.Kind),
		strings.Compare(a.Name, b.Name), strings.Compare(a.APIVersion, b.APIVersion))
}

// pairs matches the objects of both sides: by identity, and what is then left
// over with the same content on another cluster. What is the same is left out.
func pairs(base, head *review.Side) []pair {
	old := objects(base, head)
	var out []pair
	var created []*review.Rendered
	for _, o := range current(head) {
		was := old[identityOf(o.Object)]
		if was == nil {
			created = append(created, o)
			continue
		}
		delete(old, identityOf(o.Object))
		if was.Digest != o.Digest || was.Tenant != o.Tenant || was.Place.File != o.Place.File {
			out = append(out, pair{was, o})
		}
	}

	type content struct {
		identity
		digest string
	}
	elsewhere := map[content][]*review.Rendered{}
	for _, was := range slices.SortedFunc(maps.Values(old), func(a, b *review.Rendered) int { return byName(a.Object, b.Object) }) {
		key := content{identityOf(was.Object), was.Digest}
		key.cluster = ""
		elsewhere[key] = append(elsewhere[key], was)
	}
	for _, o := range created {
		key := content{identityOf(o.Object), o.Digest}
		key.cluster = ""
		p := pair{new: o}
		if from := elsewhere[key]; len(from) > 0 {
			p.old, elsewhere[key] = from[0], from[1:]
			delete(old, identityOf(p.old.Object))
		}
		out = append(out, p)
	}
	for _, was := range old {
		out = append(out, pair{old: was})
	}
	return out
}

// objects are those of base, by identity. A tenant, or a platform directory, that
// has errors at head keeps what it has, so its objects are left out.
func objects(base, head *review.Side) map[identity]*review.Rendered {
	out := map[identity]*review.Rendered{}
	for name, t := range base.Tenants {
		if now := head.Tenants[name]; now != nil && len(now.Errors) > 0 {
			continue
		}
		for i := range t.Objects {
			out[identityOf(t.Objects[i].Object)] = &t.Objects[i]
		}
	}
	readable := map[identity]bool{}
	for p := range head.Platform() {
		readable[identityOf(p.Object)] = true
	}
	for p := range base.Platform() {
		if id := identityOf(p.Object); readable[id] || len(head.Result.Fleet.PlatformErrors) == 0 {
			out[id] = p
		}
	}
	return out
}

// current are the objects of head, in a stable order.
func current(head *review.Side) []*review.Rendered {
	out := slices.Collect(head.Platform())
	for _, name := range slices.Sorted(maps.Keys(head.Tenants)) {
		t := head.Tenants[name]
		for i := range t.Objects {
			out = append(out, &t.Objects[i])
		}
	}
	return out
}

// change is what becomes of a pair, or nil.
func (p pair) change() *review.Change {
	switch {
	case p.old == nil:
		c := &review.Change{Object: p.new.Object, Action: review.Created, Place: p.new.Place, Content: shown(p.new)}
		c.Key = keyOf(c, p.new.Component)
		return c
	case p.new == nil:
		c := &review.Change{Object: p.old.Object, Action: review.Deleted, Place: p.old.Place, Content: shown(p.old)}
		c.Key = keyOf(c, p.old.Component)
		return c
	}
	c := &review.Change{Object: p.new.Object, Action: review.Changed, Place: p.new.Place}
	if p.old.Object != p.new.Object && (p.old.Tenant != p.new.Tenant || p.old.Cluster != p.new.Cluster) {
		from := p.old.Object
		c.From = &from
	}
	if p.old.Digest != p.new.Digest {
		c.Fields, c.Unchanged = fields(p.old, p.new)
	}
	moved := c.From != nil && onlyOwner(c.Fields)
	switch {
	case moved:
		c.Action = review.Moved
	case len(c.Fields) > 0:
	case p.old.Place.File != p.new.Place.File && p.new.Component == "":
		// What is made of it did not move: it has no file of its own.
		from := p.old.Object
		c.Action, c.From = review.Moved, &from
	default:
		return nil
	}
	c.Key = keyOf(c, p.new.Component)
	return c
}

// onlyOwner says whether the fields are but those that name the tenant.
func onlyOwner(fields []review.Field) bool {
	return !slices.ContainsFunc(fields, func(f review.Field) bool {
		return f.Path != "spec.tenant" && f.Path != "metadata.labels["+v1alpha1.LabelTenant+"]"
	})
}

// OnlyFile says whether a change is of the file that holds an object, and of
// nothing that is applied.
func OnlyFile(c *review.Change) bool {
	return c.Action == review.Moved && c.From != nil && *c.From == c.Object
}

func summarise(changes []review.Change) review.Summary {
	var s review.Summary
	tenants, namespaces := map[string]bool{}, map[string]bool{}
	for i := range changes {
		c := &changes[i]
		switch c.Action {
		case review.Created:
			s.Created++
		case review.Changed:
			s.Changed++
		case review.Deleted:
			s.Deleted++
		case review.Moved:
			s.Moved++
		}
		if OnlyFile(c) {
			continue
		}
		if c.Tenant != v1alpha1.PlatformDirectory {
			tenants[c.Tenant] = true
		}
		if c.Namespace != "" {
			namespaces[c.Namespace] = true
		}
	}
	s.Tenants, s.Namespaces = len(tenants), len(namespaces)
	return s
}
