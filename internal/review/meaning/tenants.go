package meaning

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// What is asked for in Git: the specs of a tenant's directory on both sides.

func specOf(t *review.Tenant) *v1alpha1.TenantSpec {
	if t == nil || t.Tenant == nil || t.Object == nil || t.Object.Value == nil {
		return nil
	}
	return &t.Object.Value.Spec
}

func prefixOf(t *review.Tenant) string {
	if specOf(t) == nil {
		return ""
	}
	return t.Object.Value.Prefix()
}

func namespacesOf(t *review.Tenant) map[string]*fleet.Object[*v1alpha1.TenantNamespace] {
	out := map[string]*fleet.Object[*v1alpha1.TenantNamespace]{}
	if t != nil && t.Tenant != nil {
		for _, n := range t.Namespaces {
			if n != nil && n.Value != nil {
				out[n.Value.Name] = n
			}
		}
	}
	return out
}

func clustersOf(t *review.Tenant) map[string]*fleet.Object[*v1alpha1.WorkloadCluster] {
	out := map[string]*fleet.Object[*v1alpha1.WorkloadCluster]{}
	if t != nil && t.Tenant != nil {
		for _, c := range t.Clusters {
			if c != nil && c.Value != nil {
				out[c.Value.Name] = c
			}
		}
	}
	return out
}

// placeOf is a position in a tenants' directory, as a file of the repository.
func placeOf(p fleet.Position) review.Place {
	if p.File == "" {
		return review.Place{}
	}
	return review.Place{File: "tenants/" + p.File, Line: p.Line}
}

func (t *tenantPair) place() review.Place {
	for _, side := range []*review.Tenant{t.head, t.base} {
		if side == nil {
			continue
		}
		for i := range side.Objects {
			if o := &side.Objects[i]; o.Kind == v1alpha1.KindTenant && groupOf(o) == v1alpha1.GroupVersion.Group {
				return o.Place
			}
		}
		if specOf(side) != nil {
			return placeOf(side.Object.Position)
		}
	}
	return review.Place{}
}

// unknown says that a tenant's base cannot be compared with.
func (w *world) unknown(f *facts, t *tenantPair) {
	if w.unreadable[t.name] {
		f.add(fact{
			risk: review.Medium, category: review.IsolationEroded,
			text: "What tenant " + markWho + " has now cannot be told, since its directory has errors at base: all that it has at head counts as gained",
			who:  prose.Plain(t.name), noun: "tenants", tenant: t.name, place: t.place(),
		})
	}
}

// placements are the clusters that a namespace is on.
func placements(n *v1alpha1.TenantNamespace) []string {
	if len(n.Spec.Clusters) == 0 {
		return []string{""}
	}
	return n.Spec.Clusters
}

// shortRetention is what is too short for somebody to notice.
const shortRetention = 24 * time.Hour

const defaultRetention = 30 * 24 * time.Hour

// removals says what becomes of what leaves Git.
func (w *world) removals(f *facts, t *tenantPair) {
	if t.base == nil || w.unreadable[t.name] {
		return
	}
	spec := specOf(t.head) // what holds once the change is merged
	if spec == nil {
		spec = specOf(t.base)
	}
	head := namespacesOf(t.head)
	leaving := 0
	if t.head == nil {
		leaving++
		f.add(fact{
			risk: review.Medium, category: review.SoftDeleted, who: prose.Plain(t.name), noun: "tenants",
			text:   "Tenant " + markWho + " " + markLeaves + " Git: kept until none of " + markIts + " namespaces and clusters is left",
			tenant: t.name, place: t.place(),
		})
	}
	type gone struct {
		place review.Place
		key   scopeKey
	}
	var left []gone
	for name, n := range namespacesOf(t.base) {
		for _, cluster := range placements(n.Value) {
			if at := head[name]; at == nil || !slices.Contains(placements(at.Value), cluster) {
				left = append(left, gone{placeOf(n.Position), scopeKey{cluster, name}})
			}
		}
		if head[name] == nil {
			leaving++
		}
	}
	clusters := clustersOf(t.head)
	for name, c := range clustersOf(t.base) {
		if clusters[name] != nil {
			continue
		}
		leaving++
		f.add(fact{
			risk: review.High, category: review.DataDeleted, tenant: t.name, place: placeOf(c.Position),
			who: prose.Plain(name), noun: "clusters",
			text:   "WorkloadCluster " + markWho + " " + markLeaves + " Git: marked as removed, and what runs there goes too",
			detail: []string{"Until the cluster controller has taken it down, putting its file back restores it"},
		})
	}
	for _, g := range left {
		one := fact{
			risk: review.Medium, category: review.SoftDeleted, tenant: t.name, scope: g.key, place: g.place,
			text:   markWhere + " " + markLeaves + " Git: cordoned, and kept until a person deletes " + markIts + " TenantNamespace",
			detail: []string{"Write access is withdrawn, no new Pods are admitted, and GitOps is suspended at once", "Putting its file back restores it"},
		}
		if spec != nil && spec.Deletion.Policy == v1alpha1.DeletionDelete {
			retention := defaultRetention
			if r := spec.Deletion.Retention; r != nil {
				retention = r.Duration
			}
			one.risk = review.High
			one.text = fmt.Sprintf("%s %s Git: cordoned, kept for %s after the merge, then deleted with all %s data", markWhere, markLeaves, days(retention), markIts)
			if retention < shortRetention {
				one.category = review.DataDeleted
			}
			if retention <= 0 {
				one.text = markWhere + " " + markLeaves + " Git: deleted with all " + markIts + " data at once"
			}
		}
		if leaving > 0 {
			one.detail = append(one.detail, fmt.Sprintf("Where more leaves Git than spec.prune.max of the TenantSource allows, nothing is removed until the newest commit's message says %q with the number of objects", v1alpha1.TrailerPrune+": N"))
		}
		f.add(one)
	}
}

// days writes a duration as people say it.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == day:
		return "1 day"
	case d > 0 && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// names says which names a tenant takes, and which it lets go.
func (w *world) names(f *facts, t *tenantPair) {
	claim := func(risk review.Risk, text, who, noun string, s scopeKey, place review.Place) {
		f.add(fact{risk: risk, category: review.NameClaimed, text: text, who: prose.Plain(who), noun: noun, tenant: t.name, scope: s, place: place})
	}
	release := func(risk review.Risk, text, who, noun string, s scopeKey, place review.Place) {
		f.add(fact{risk: risk, category: review.NameReleased, text: text, who: prose.Plain(who), noun: noun, tenant: t.name, scope: s, place: place})
	}
	if w.unreadable[t.name] {
		return
	}
	before, after := specOf(t.base), specOf(t.head)
	switch was, is := prefixOf(t.base), prefixOf(t.head); {
	case before == nil && after != nil:
		claim(review.Low, "Tenant "+markWho+" is new", fmt.Sprintf("%s, with all names that begin with %q,", t.name, is), "tenants", scopeKey{}, t.place())
	case before != nil && after == nil:
		release(review.Low, "Names that begin with "+markWho+" are free once the tenant is gone", fmt.Sprintf("%q", was), "prefixes", scopeKey{}, t.place())
	case was != is:
		claim(review.Medium, "Tenant "+prose.Plain(t.name)+" takes all names that begin with "+markWho, fmt.Sprintf("%q instead of %q", is, was), "prefixes", scopeKey{}, t.place())
	}

	hosts := func(spec *v1alpha1.TenantSpec) []string {
		if spec == nil {
			return nil
		}
		return spec.Hostnames
	}
	for _, host := range hosts(after) {
		if slices.Contains(hosts(before), host) {
			continue
		}
		risk, from := review.Medium, ""
		for _, other := range w.tenants {
			if other.name != t.name && slices.Contains(hosts(specOf(other.base)), host) {
				risk, from = review.High, ", which tenant "+prose.Plain(other.name)+" had"
			}
		}
		claim(risk, "Tenant "+prose.Plain(t.name)+" may use the hostname "+markWho+from, host, "hostnames", scopeKey{}, t.place())
	}
	for _, host := range hosts(before) {
		if !slices.Contains(hosts(after), host) {
			release(review.Low, "Tenant "+prose.Plain(t.name)+" may no longer use the hostname "+markWho, host, "hostnames", scopeKey{}, t.place())
		}
	}

	old, now := namespacesOf(t.base), namespacesOf(t.head)
	for name, n := range now {
		if old[name] != nil {
			continue
		}
		risk, from := review.Low, ""
		for _, other := range w.tenants {
			if other.name != t.name && namespacesOf(other.base)[name] != nil {
				risk, from = review.High, ", from tenant "+prose.Plain(other.name)+", which fails: a namespace cannot move to another tenant"
			}
		}
		claim(risk, "Tenant "+prose.Plain(t.name)+" takes the namespace"+markS+" "+markWhere+from, "", "", scopeKey{"", name}, placeOf(n.Position))
	}
	had, has := clustersOf(t.base), clustersOf(t.head)
	for name, c := range has {
		if had[name] == nil {
			claim(review.Low, "Tenant "+prose.Plain(t.name)+" takes the cluster's name "+markWho, name, "clusters", scopeKey{}, placeOf(c.Position))
		}
	}
	for name, n := range old {
		if now[name] == nil {
			release(review.Info, "The name"+markS+" "+markWhere+" "+markIs+" free once the namespace"+markS+" "+markIs+" gone", "", "", scopeKey{"", name}, placeOf(n.Position))
		}
	}
	for name, c := range had {
		if has[name] == nil {
			release(review.Info, "The cluster's name "+markWho+" is free once the cluster is gone", name, "clusters", scopeKey{}, placeOf(c.Position))
		}
	}
}

// sources finds namespaces that are deployed from elsewhere.
func (w *world) sources(f *facts, t *tenantPair) {
	old := namespacesOf(t.base)
	for name, n := range namespacesOf(t.head) {
		if was := old[name]; was != nil { // of a new one, names says so
			one := fact{tenant: t.name, scope: scopeKey{"", name}, place: placeOf(n.Position)}
			w.deployedFrom(f, one, was.Value.Spec.GitOps, n.Value.Spec.GitOps)
		}
	}
}

func (w *world) deployedFrom(f *facts, one fact, was, is *v1alpha1.GitOps) {
	one.category = DeploySource
	one.risk = review.Medium
	switch {
	case was == nil && is == nil:
		return
	case was == nil:
		one.text = markWhere + " is now deployed from " + repository(is)
	case is == nil:
		one.text = markWhere + " is no longer deployed from " + repository(was) + "; what runs there stays"
	case repository(was) != repository(is) || was.URL != is.URL:
		one.text = markWhere + " is deployed from " + repository(is) + " instead of " + repository(was)
	case was.SecretName != is.SecretName:
		one.category = review.SecretSource
		one.text = "The credentials for the repository of " + markWhere + " come from another Secret"
	default:
		return
	}
	f.add(one)
}

// repository names where a namespace is deployed from, without credentials.
func repository(g *v1alpha1.GitOps) string {
	where := "a repository"
	if u, err := url.Parse(g.URL); err == nil && u.Host != "" {
		where = u.Host + u.Path
	}
	return prose.Plain(strings.TrimSuffix(where+" branch "+cmp.Or(g.Branch, "main")+" path "+cmp.Or(g.Path, "./"), " "))
}

// limits finds what the platform team grants a tenant otherwise than before.
func (w *world) limits(f *facts, t *tenantPair) {
	before, after := specOf(t.base), specOf(t.head)
	if before == nil || after == nil {
		return
	}
	var lines []string
	risk := review.Low
	say := func(r review.Risk, format string, args ...any) {
		lines = append(lines, fmt.Sprintf(format, args...))
		if r.Weight() < risk.Weight() {
			risk = r
		}
	}
	was, is := budgetOf(t.base), budgetOf(t.head)
	if moves, _ := moved(was, is); len(moves) > 0 {
		r := review.Low
		for name, q := range was {
			if now, ok := is[name]; !ok || now.Cmp(q) > 0 {
				r = review.Medium
			}
		}
		say(r, "budget: %s", strings.Join(moves, ", "))
	}
	limit := func(m *int32) int32 {
		if m == nil {
			return tenancy.DefaultMaxNamespaces
		}
		return *m
	}
	if a, b := limit(before.Namespaces.Max), limit(after.Namespaces.Max); a != b {
		say(review.Low, "namespaces: %d → %d", a, b)
	}
	// An empty list of some kinds allows all, and so may allow more.
	lists := []struct {
		name       string
		was, is    []string
		emptyIsAll bool
	}{
		{"profiles", before.Namespaces.Profiles, after.Namespaces.Profiles, false},
		{"registries", before.Registries, after.Registries, true},
		{"storage classes", before.StorageClasses, after.StorageClasses, true},
		{"priority classes", before.PriorityClasses, after.PriorityClasses, true},
		{"peers", peersOf(before), peersOf(after), false},
	}
	for _, l := range lists {
		added, removed := beside(l.is, l.was), beside(l.was, l.is)
		if len(added) > 0 {
			say(review.Medium, "%s added: %s", l.name, prose.List(added))
		}
		if len(removed) > 0 {
			r, end := review.Low, ""
			if l.emptyIsAll && len(l.is) == 0 {
				r, end = review.Medium, "; with none listed, any may be used"
			}
			say(r, "%s removed: %s%s", l.name, prose.List(removed), end)
		}
	}
	if !maps.Equal(before.NodeSelector, after.NodeSelector) {
		say(review.Medium, "its Pods run on other nodes (nodeSelector)")
	}
	if before.Cordoned != after.Cordoned {
		say(review.Medium, "%s", map[bool]string{true: "cordoned: no new Pods, no write access, GitOps suspended", false: "no longer cordoned"}[after.Cordoned])
	}
	retention := func(d v1alpha1.Deletion) time.Duration {
		if d.Retention == nil {
			return defaultRetention
		}
		return d.Retention.Duration
	}
	switch a, b := before.Deletion, after.Deletion; {
	case a.Policy != v1alpha1.DeletionDelete && b.Policy == v1alpha1.DeletionDelete:
		say(review.High, "deletion: what has left Git is deleted after %s, also what left before", days(retention(b)))
	case a.Policy == v1alpha1.DeletionDelete && b.Policy != v1alpha1.DeletionDelete:
		say(review.Low, "deletion: what leaves Git is kept")
	case b.Policy == v1alpha1.DeletionDelete && retention(b) < retention(a):
		say(review.High, "deletion: what has left Git is kept for %s instead of %s", days(retention(b)), days(retention(a)))
	case b.Policy == v1alpha1.DeletionDelete && retention(b) > retention(a):
		say(review.Low, "deletion: what has left Git is kept for %s instead of %s", days(retention(b)), days(retention(a)))
	}
	if len(lines) == 0 {
		return
	}
	f.add(fact{
		risk: risk, category: review.TenantLimits, text: "Limits of tenant " + markWho, who: prose.Plain(t.name) + ": " + lines[0] + more(len(lines)-1),
		noun: "tenants change", tenant: t.name, place: t.place(), detail: lines[min(1, len(lines)):],
	})
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

func peersOf(spec *v1alpha1.TenantSpec) []string {
	var out []string
	for _, p := range spec.Network.Peers {
		out = append(out, p.Tenant)
	}
	return out
}

// beside is what is in one list and not in the other.
func beside(all, others []string) []string {
	var out []string
	for _, one := range all {
		if !slices.Contains(others, one) {
			out = append(out, prose.Plain(one))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
