package live

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/review"
)

// defaultRetention is what the schema sets where spec.deletion.retention is left out.
const defaultRetention = 30 * 24 * time.Hour

// leavers are what Aether has put into the cluster and head does not render. They
// are added to base, so that they show as deleted. What has left Git before and is
// kept, as it should be, is a finding and no change.
func (c *cluster) leavers(base, head *review.Side, report *review.Report) {
	l := &leaving{cluster: c, base: base, head: head, rendered: map[id]bool{}}
	for p := range head.Platform() {
		l.rendered[id{ours(p.Kind), "", p.Name}] = true
	}
	for _, t := range head.Tenants {
		for i := range t.Objects {
			l.rendered[keyOf(&t.Objects[i])] = true
		}
	}
	if len(head.Result.Fleet.PlatformErrors) > 0 {
		return // what is missing may only be unreadable
	}
	for _, key := range sorted(c.asked) {
		l.asked(key)
	}
	for _, key := range sorted(c.children) {
		l.child(key)
	}
	report.Findings = append(report.Findings, l.findings...)
	if len(l.orphans) > 0 {
		report.Findings = append(report.Findings, review.Finding{
			Risk: review.Info, Category: Orphaned, Namespaces: slices.Sorted(maps.Keys(l.orphans)),
			Title: "Objects carry Aether's label in namespaces that no TenantNamespace asks for: they stay as they are",
		})
	}
}

// leaving is one look at what leaves.
type leaving struct {
	*cluster
	base, head *review.Side
	rendered   map[id]bool
	findings   []review.Finding
	orphans    map[string]bool
	// used are profiles that namespaces of the cluster use.
	used map[string]bool
}

// asked is an object that came from Git.
func (l *leaving) asked(key id) {
	live := l.cluster.asked[key]
	tenant := l.ownerOf(live)
	if l.rendered[key] || sourceOf(live) == "" || sourceOf(live) != l.source || live.GetDeletionTimestamp() != nil || !l.compared(tenant) {
		return
	}
	place := l.placeOf(live, l.head.Path)
	if live.GetAnnotations()[v1alpha1.AnnotationRemovedAt] != "" {
		l.findings = append(l.findings, l.kept(key, live, tenant))
		return
	}
	switch key.Kind {
	case v1alpha1.KindNamespaceProfile:
		if l.inUse(key.name) {
			l.findings = append(l.findings, review.Finding{
				Risk: review.Info, Category: review.SoftDeleted, Place: place,
				Title: fmt.Sprintf("NamespaceProfile %s leaves Git: kept until no namespace uses it", key.name),
			})
			return
		}
	case v1alpha1.KindTenantNamespace:
		l.findings = append(l.findings, review.Finding{
			Risk: review.Medium, Category: review.SoftDeleted, Tenants: []string{tenant}, Namespaces: []string{key.name}, Place: place,
			Title:   fmt.Sprintf("%s leaves Git: %s", key.name, l.fate(tenant)),
			Details: []string{"Write access is withdrawn, no new Pods are admitted, and GitOps is suspended at once", "Putting its file back restores it"},
		})
		if ns := l.namespaces[key.name]; ns != nil && ns.GetLabels()[v1alpha1.LabelTenant] == tenant {
			l.add(ns, tenant)
		}
	}
	l.add(live, tenant)
}

// child is an object that the operator made in a namespace.
func (l *leaving) child(key id) {
	live := l.children[key]
	tn := l.cluster.asked[id{ours(v1alpha1.KindTenantNamespace), "", key.namespace}]
	tenant := live.GetLabels()[v1alpha1.LabelTenant]
	switch {
	case l.rendered[key] || live.GetDeletionTimestamp() != nil || !l.compared(tenant):
	case tn == nil:
		if l.orphans == nil {
			l.orphans = map[string]bool{}
		}
		l.orphans[key.namespace] = true
	case sourceOf(tn) != l.source || l.source == "", tn.GetAnnotations()[v1alpha1.AnnotationRemovedAt] != "":
	case l.isUnserved(key.GroupKind):
	default:
		l.add(live, tenant)
	}
}

// compared is whether a tenant is: it has no errors, and was asked for.
func (l *leaving) compared(tenant string) bool {
	if want := l.cluster.Head.Tenant; want != "" && tenant != want {
		return false
	}
	t := l.head.Tenants[tenant]
	return t == nil || len(t.Errors) == 0
}

func (l *leaving) isUnserved(kind schema.GroupKind) bool {
	for k := range l.unserved {
		if k.GroupKind() == kind {
			return true
		}
	}
	return false
}

// add puts an object of the cluster into base, and nothing in its place.
func (l *leaving) add(live *unstructured.Unstructured, tenant string) {
	o := review.Rendered{
		Object: review.Object{
			Tenant: tenant, Cluster: l.name, APIVersion: live.GetAPIVersion(), Kind: live.GetKind(), Namespace: live.GetNamespace(), Name: live.GetName(),
		},
		Content: content(live), Component: live.GetAnnotations()[v1alpha1.AnnotationComponent], Place: l.placeOf(live, l.head.Path),
	}
	o.Digest = digestOf(o.Content)
	switch o.Kind {
	case v1alpha1.KindNamespaceProfile, v1alpha1.KindTenantException:
		l.base.AddPlatform(o)
		return
	case "Namespace", v1alpha1.KindTenantNamespace:
		o.Namespace = o.Name
	}
	add(l.base, l.head, o)
}

// ownerOf is the directory that an object came from.
func (l *leaving) ownerOf(live *unstructured.Unstructured) string {
	switch live.GetKind() {
	case v1alpha1.KindTenant:
		return live.GetName()
	case v1alpha1.KindNamespaceProfile, v1alpha1.KindTenantException:
		return v1alpha1.PlatformDirectory
	}
	tenant, _, _ := unstructured.NestedString(live.Object, "spec", "tenant")
	return tenant
}

// inUse is whether a namespace of the cluster uses a profile.
func (l *leaving) inUse(profile string) bool {
	if l.used == nil {
		l.used = map[string]bool{}
		for key, o := range l.cluster.asked {
			if key.Kind == v1alpha1.KindTenantNamespace {
				name, _, _ := unstructured.NestedString(o.Object, "spec", "profile")
				l.used[name] = true
			}
		}
	}
	return l.used[profile]
}

// fate is what becomes of a namespace of a tenant that leaves Git.
func (l *leaving) fate(tenant string) string {
	retention, deleted := l.retention(tenant)
	if !deleted {
		return "cordoned, and kept until a person deletes its TenantNamespace"
	}
	return fmt.Sprintf("cordoned, kept for %s after the merge, then deleted with all its data", retention)
}

// retention is how long namespaces that left Git are kept, and false where it is
// until a person deletes them.
func (l *leaving) retention(tenant string) (time.Duration, bool) {
	t := typed[v1alpha1.Tenant](l.cluster.asked[id{ours(v1alpha1.KindTenant), "", tenant}])
	if now := l.head.Tenants[tenant]; now != nil && now.Tenant != nil && now.Object != nil {
		t = now.Object.Value // what holds once head is applied
	}
	if t == nil || t.Spec.Deletion.Policy != v1alpha1.DeletionDelete {
		return 0, false
	}
	if d := t.Spec.Deletion.Retention; d != nil {
		return d.Duration, true
	}
	return defaultRetention, true
}

// kept is what is said of an object that has left Git and is there as it should be.
func (l *leaving) kept(key id, live *unstructured.Unstructured, tenant string) review.Finding {
	f := review.Finding{Risk: review.Info, Category: review.SoftDeleted, Tenants: []string{tenant}, Place: l.placeOf(live, l.head.Path)}
	at := live.GetAnnotations()[v1alpha1.AnnotationRemovedAt]
	f.Title = fmt.Sprintf("%s %s left Git at %s", key.Kind, key.name, at)
	switch key.Kind {
	case v1alpha1.KindTenant:
		f.Title += ": it will be kept until none of its namespaces and clusters is left"
	case v1alpha1.KindTenantNamespace:
		f.Namespaces = []string{key.name}
		f.Title += ": it will be kept until a person deletes it"
		removed, err := time.Parse(time.RFC3339, at)
		if retention, deleted := l.retention(tenant); deleted && err == nil {
			f.Title = fmt.Sprintf("%s %s left Git at %s: it will be kept until %s, then deleted with all its data",
				key.Kind, key.name, at, removed.Add(retention).UTC().Format(time.RFC3339))
		}
	}
	return f
}

// unservedKinds says which kinds there is nothing to compare with.
func (c *cluster) unservedKinds(report *review.Report) {
	for kind, count := range c.unserved {
		if count > 0 {
			report.Findings = append(report.Findings, review.Finding{
				Risk: review.Info, Category: NotCompared,
				Title: fmt.Sprintf("The cluster does not serve %s.%s/%s: %d objects are not compared, and will not be applied", kind.Kind, kind.Group, kind.Version, count),
			})
		}
	}
}

// sorted are the keys in a stable order.
func sorted(objects map[id]*unstructured.Unstructured) []id {
	return slices.SortedFunc(maps.Keys(objects), func(a, b id) int {
		return strings.Compare(a.namespace+"/"+a.Kind+"/"+a.name, b.namespace+"/"+b.Kind+"/"+b.name)
	})
}
