package source

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// unit is what is applied or left alone as one: a tenant's directory, or the
// platform team's.
type unit struct {
	// name of the directory.
	name string
	// digest changes when the objects do.
	digest string
	// objects in the order that they are applied.
	objects []*object
	// errors in Git. With any, nothing of the unit is changed.
	errors []*fleet.Error
	// warnings are of what is applied all the same.
	warnings []*fleet.Error
	// from is the key of the render that it was made of.
	from string
}

// unitsOf is what a render asks for in one cluster, the platform directory first,
// then tenants by name. Objects of a tenant that was rendered from the same
// before, for the same cluster and source, are those of known.
func unitsOf(result *render.Result, cluster, source string, known map[string]*unit) []*unit {
	platform := &unit{name: v1alpha1.PlatformDirectory, errors: result.Fleet.PlatformErrors, warnings: result.Fleet.PlatformWarnings}
	var digests []string
	for i := range result.Platform {
		a := &result.Platform[i]
		platform.objects = append(platform.objects, &object{
			key: key{a.Kind, a.Value.GetName()}, tenant: v1alpha1.PlatformDirectory, position: a.Position,
			rendered: a, spec: a.Value, source: source,
		})
		digests = append(digests, a.Digest)
	}
	platform.digest = strings.Join(digests, " ")

	units := []*unit{platform}
	here := placedHere(result.Tenants, cluster)
	for _, t := range result.Tenants {
		if !here[t.Name] && len(t.Errors) == 0 {
			continue
		}
		if k := known[t.Name]; k != nil && k.from == t.Key {
			units = append(units, &unit{name: t.Name, digest: t.Digest, objects: k.objects, errors: t.Errors, warnings: t.Warnings, from: t.Key})
			continue
		}
		units = append(units, unitOf(t, cluster, source))
	}
	slices.SortStableFunc(units[1:], func(a, b *unit) int { return cmp.Compare(a.name, b.name) })
	return units
}

func unitOf(t *render.TenantResult, cluster, source string) *unit {
	u := &unit{name: t.Name, digest: t.Digest, errors: t.Errors, warnings: t.Warnings, from: t.Key}
	if len(t.Errors) > 0 || t.Object == nil {
		return u
	}
	add := func(kind string) {
		for i := range t.Applied {
			a := &t.Applied[i]
			n, namespace := a.Value.(*v1alpha1.TenantNamespace)
			if a.Kind != kind || namespace && !tenancy.PlacedIn(n, cluster) {
				continue
			}
			u.objects = append(u.objects, &object{
				key: key{kind, a.Value.GetName()}, tenant: t.Name, position: a.Position, rendered: a, spec: a.Value, source: source,
			})
		}
	}
	add(v1alpha1.KindTenant)
	if cluster == "" {
		add(v1alpha1.KindWorkloadCluster)
	}
	add(v1alpha1.KindTenantNamespace)
	return u
}

// placedHere says which tenants a cluster needs to know: all of them where the
// fleet is reconciled; elsewhere those with a namespace there, and their peers,
// so that mutual peering can be seen.
func placedHere(tenants []*render.TenantResult, cluster string) map[string]bool {
	here := map[string]bool{}
	for _, t := range tenants {
		with := func(n *fleet.Object[*v1alpha1.TenantNamespace]) bool { return tenancy.PlacedIn(n.Value, cluster) }
		if cluster == "" || slices.ContainsFunc(t.Namespaces, with) {
			here[t.Name] = true
			for _, peer := range t.Peers {
				here[peer] = true
			}
		}
	}
	return here
}

// refusal says why an object may not be taken for a source, or nothing.
//
// An object belongs to the TenantSource that its label names, for as long as
// there is such a TenantSource. One without the label was made by a person, and
// is taken only when nothing in its spec would change, or when it carries our
// digest: then it was ours, and someone has stripped the label.
func (o *object) refusal(live client.Object, exists func(source string) bool) string {
	if live == nil {
		return ""
	}
	holder, labelled := live.GetLabels()[v1alpha1.LabelSource]
	switch {
	case holder == o.source:
		return ""
	case labelled && exists(holder):
		return claimed(o.key, holder)
	case labelled, live.GetAnnotations()[v1alpha1.AnnotationDigest] != "",
		equality.Semantic.DeepEqual(specOf(o.spec), specOf(live)):
		return ""
	}
	return fmt.Sprintf("%s %q is in the cluster already, made by hand, and differs: make its spec equal, or label it %s=%s to hand it over",
		o.kind, o.name, v1alpha1.LabelSource, o.source)
}

// wrong is an error at the place where the object is written.
func (o *object) wrong(message string) *fleet.Error {
	return &fleet.Error{Position: o.position, Tenant: o.tenant, Message: message}
}

func claimed(k key, holder string) string {
	return fmt.Sprintf("%s %q is already claimed by TenantSource %s: remove it from one of the two",
		k.kind, k.name, strings.Replace(holder, ".", "/", 1))
}

// holdingsOf are the tenants that may be applied, and what they have to themselves.
func holdingsOf(units []*unit) map[string]tenancy.Holding {
	held := map[string]tenancy.Holding{}
	for _, u := range units {
		if len(u.errors) > 0 || len(u.objects) == 0 {
			continue
		}
		if t, ok := u.objects[0].spec.(*v1alpha1.Tenant); ok {
			held[t.Name] = tenancy.HoldingOf(t)
		}
	}
	return held
}

// contested are the objects of units with errors: whatever happens to one in the
// cluster may be what mends its unit.
func contested(units []*unit) map[key]string {
	by := map[key]string{}
	for _, u := range units {
		for _, o := range u.objects {
			if len(u.errors) > 0 {
				by[o.key] = u.name
			}
		}
	}
	return by
}

// leavers are the objects of a source that Git does not ask for any more.
type leavers struct {
	// unmarked have left since; they are the ones that the budget is for. Tenants,
	// namespaces and clusters are to be marked, profiles and exceptions to be deleted.
	unmarked []client.Object
	// marked left before.
	marked []client.Object
	// finished are marked Tenants of which nothing is left, to be deleted.
	finished []client.Object
	// inUse are profiles that have left Git while namespaces use them.
	inUse []client.Object
	// applied is how many objects of the source there are, the marked ones aside:
	// what a percentage is of.
	applied int
}

// leaversOf finds what has left. A directory with errors has lost nothing, and
// while the platform directory has errors nothing has left at all: what is
// missing may only be unreadable.
func leaversOf(w world, units []*unit) leavers {
	wanted, broken := map[key]bool{}, map[string]bool{}
	for _, u := range units {
		broken[u.name] = len(u.errors) > 0
		for _, o := range u.objects {
			wanted[o.key] = true
		}
	}

	var l leavers
	for k, o := range w.own {
		marked := removalOf(o) != nil
		if !marked {
			l.applied++
		}
		switch {
		case wanted[k], broken[tenantOf(o)], broken[v1alpha1.PlatformDirectory], !o.GetDeletionTimestamp().IsZero():
		case k.kind == v1alpha1.KindNamespaceProfile && w.isUsed(k.name):
			l.inUse = append(l.inUse, o)
		case k.kind == v1alpha1.KindTenant && marked && !w.holdsSome(k.name):
			l.finished = append(l.finished, o)
		case marked:
			l.marked = append(l.marked, o)
		default:
			l.unmarked = append(l.unmarked, o)
		}
	}
	for _, list := range [][]client.Object{l.unmarked, l.marked, l.finished, l.inUse} {
		slices.SortFunc(list, func(a, b client.Object) int { return cmp.Compare(keyOf(a).String(), keyOf(b).String()) })
	}
	return l
}

// empty says why a tree cannot be meant, or nothing. It is not a matter of
// budget: no commit may remove the last tenant.
func empty(result *render.Result, files int, w world, path string) string {
	if len(result.Fleet.Tenants) > 0 {
		return ""
	}
	if files == 0 {
		return fmt.Sprintf("spec.path: %q holds no file; write the path of the tenants' directories", path)
	}
	tenants := 0
	for k, o := range w.own {
		if k.kind == v1alpha1.KindTenant && removalOf(o) == nil {
			tenants++
		}
	}
	if tenants == 0 {
		return ""
	}
	return fmt.Sprintf("%q holds no tenant, and the cluster has %d from it; nothing was changed. To remove the last tenants, delete their TenantNamespaces and Tenants by hand",
		path, tenants)
}

// remember returns what is to be kept in place from now on: what the units ask
// for, and of units with errors and of leavers what was there before.
func remember(w world, units []*unit, before map[key]*object, source string) (map[key]*object, error) {
	want := make(map[key]*object, len(before))
	broken := map[string]bool{}
	for _, u := range units {
		broken[u.name] = len(u.errors) > 0
		for _, o := range u.objects {
			if !broken[u.name] {
				want[o.key] = o
			}
		}
	}
	for k, live := range w.own {
		if want[k] != nil {
			continue
		}
		// The informers may lag behind a mark that we have set; never the other way.
		if o := before[k]; o != nil && (o.removed != nil || removalOf(live) == nil) {
			want[k] = o
			continue
		}
		o, err := snapshot(live, source)
		if err != nil {
			return nil, err
		}
		want[k] = o
	}
	// One that was deleted by hand while its directory has errors comes back as it was.
	maps.Copy(want, onlyBroken(before, want, broken))
	return want, nil
}

func onlyBroken(before, want map[key]*object, broken map[string]bool) map[key]*object {
	kept := map[key]*object{}
	for k, o := range before {
		if want[k] == nil && broken[o.tenant] && o.removed == nil {
			kept[k] = o
		}
	}
	return kept
}
