package source

import (
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/tenancy"
)

const us, them = "aether-system.fleet", "aether-system.other"

func TestOnlyWhatGitNoLongerAsksForLeaves(t *testing.T) {
	acme, web := tenant("acme"), namespace("acme", "acme-web")
	broken := &unit{name: "acme", errors: []*fleet.Error{{Message: "bad"}}}

	for name, tc := range map[string]struct {
		why   string
		live  []client.Object
		units []*unit
		want  [4][]string // unmarked, marked, finished, in use
	}{
		"all is asked for": {
			why:   "the steady state",
			live:  []client.Object{acme, web},
			units: []*unit{platform(), unitWith("acme", acme, web)},
		},
		"a namespace's file is gone": {
			why:   "it leaves, its tenant stays",
			live:  []client.Object{acme, web},
			units: []*unit{platform(), unitWith("acme", acme)},
			want:  [4][]string{{"TenantNamespace/acme-web"}},
		},
		"a tenant's directory is gone": {
			why:   "each object counts against the budget",
			live:  []client.Object{acme, web},
			units: []*unit{platform()},
			want:  [4][]string{{"Tenant/acme", "TenantNamespace/acme-web"}},
		},
		"the directory has errors": {
			why:   "what is missing may only be unreadable (invariant 3)",
			live:  []client.Object{acme, web},
			units: []*unit{platform(), broken},
		},
		"the platform directory has errors": {
			why:   "nothing is removed on the word of a tree that cannot be read",
			live:  []client.Object{acme, web},
			units: []*unit{{name: v1alpha1.PlatformDirectory, errors: []*fleet.Error{{Message: "bad"}}}},
		},
		"another source's": {
			why:   "it is not ours to remove",
			live:  []client.Object{of(them, tenant("acme"))},
			units: []*unit{platform()},
		},
		"made by hand": {
			why:   "it is nobody's to remove",
			live:  []client.Object{of("", tenant("acme"))},
			units: []*unit{platform()},
		},
		"marked before": {
			why:   "it is kept as long as its tenant's deletion policy says",
			live:  []client.Object{marked(tenant("acme")), marked(namespace("acme", "acme-web"))},
			units: []*unit{platform()},
			want:  [4][]string{nil, {"Tenant/acme", "TenantNamespace/acme-web"}},
		},
		"a marked tenant without namespaces": {
			why:   "nothing is left of it",
			live:  []client.Object{marked(tenant("acme"))},
			units: []*unit{platform()},
			want:  [4][]string{nil, nil, {"Tenant/acme"}},
		},
		"a marked tenant with a cluster": {
			why:   "a cluster needs its tenant as a namespace does",
			live:  []client.Object{marked(tenant("acme")), marked(cluster("acme", "acme-prod"))},
			units: []*unit{platform()},
			want:  [4][]string{nil, {"Tenant/acme", "WorkloadCluster/acme-prod"}},
		},
		"a profile that a namespace uses": {
			why:   "the namespace could not be built without it",
			live:  []client.Object{acme, web, profile("default")},
			units: []*unit{platform(), unitWith("acme", acme, web)},
			want:  [4][]string{nil, nil, nil, {"NamespaceProfile/default"}},
		},
		"a profile that another source's namespace uses": {
			why:   "profiles are everyone's",
			live:  []client.Object{acme, of(them, namespace("acme", "acme-web")), profile("default")},
			units: []*unit{platform(), unitWith("acme", acme)},
			want:  [4][]string{nil, nil, nil, {"NamespaceProfile/default"}},
		},
		"a profile that no namespace uses": {
			why:   "it is deleted, within the budget",
			live:  []client.Object{acme, web, profile("gold")},
			units: []*unit{platform(), unitWith("acme", acme, web)},
			want:  [4][]string{{"NamespaceProfile/gold"}},
		},
		"being deleted": {
			why:   "it is going already",
			live:  []client.Object{deleting(namespace("acme", "acme-web"))},
			units: []*unit{platform()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := leaversOf(worldOf(t, tc.live...), tc.units)
			got := [4][]string{namesOf(l.unmarked, 9), namesOf(l.marked, 9), namesOf(l.finished, 9), namesOf(l.inUse, 9)}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.why, diff)
			}
		})
	}
}

func TestWhoMayTakeAnObject(t *testing.T) {
	differs := namespace("acme", "acme-web")
	differs.Spec.Size = "large"

	for name, tc := range map[string]struct {
		why  string
		live client.Object
		want string
	}{
		"nobody has it":                  {"it is new", nil, ""},
		"it is ours":                     {"it stays ours", namespace("acme", "acme-web"), ""},
		"another source has it":          {"two sources never fight", of(them, differs.DeepCopy()), `TenantNamespace "acme-web" is already claimed by TenantSource aether-system/other: remove it from one of the two`},
		"another source had it":          {"a claim ends with its TenantSource", of("aether-system.gone", differs.DeepCopy()), ""},
		"a person made it, equal":        {"nothing in it would change", bare(of("", namespace("acme", "acme-web"))), ""},
		"a person made it, different":    {"nobody's work is overwritten unasked", bare(of("", differs.DeepCopy())), `TenantNamespace "acme-web" is in the cluster already, made by hand, and differs: make its spec equal, or label it aetherplatform.cloud/source=aether-system.fleet to hand it over`},
		"someone has stripped the label": {"our digest says whose it is", of("", differs.DeepCopy()), ""},
	} {
		t.Run(name, func(t *testing.T) {
			exists := func(source string) bool { return source == us || source == them }
			if got := want(namespace("acme", "acme-web")).refusal(tc.live, exists); got != tc.want {
				t.Errorf("%s:\ngot  %s\nwant %s", tc.why, got, tc.want)
			}
		})
	}
}

func TestDriftIsWhatMattersToUs(t *testing.T) {
	change := func(f func(*v1alpha1.TenantNamespace)) *v1alpha1.TenantNamespace {
		n := namespace("acme", "acme-web")
		f(n)
		return n
	}
	for name, tc := range map[string]struct {
		why  string
		live *v1alpha1.TenantNamespace
		want bool
	}{
		"untouched":          {"nothing to do", change(func(*v1alpha1.TenantNamespace) {}), true},
		"its status":         {"is the namespace operator's", change(func(n *v1alpha1.TenantNamespace) { n.Status.ObservedGeneration = 7 }), true},
		"another's label":    {"others may label", change(func(n *v1alpha1.TenantNamespace) { n.Labels["example.com/x"] = "y" }), true},
		"an older revision":  {"provenance is when the content changed last", change(func(n *v1alpha1.TenantNamespace) { n.Annotations[v1alpha1.AnnotationRevision] = "old" }), true},
		"its size":           {"spec is Git's", change(func(n *v1alpha1.TenantNamespace) { n.Spec.Size = "large" }), false},
		"an added rule":      {"so is what others add to it", change(func(n *v1alpha1.TenantNamespace) { n.Spec.Labels = map[string]string{"a": "b"} }), false},
		"its tenant's label": {"policies read it", change(func(n *v1alpha1.TenantNamespace) { n.Labels[v1alpha1.LabelTenant] = "globex" }), false},
		"its source's label": {"it says whose it is", change(func(n *v1alpha1.TenantNamespace) { delete(n.Labels, v1alpha1.LabelSource) }), false},
		"its digest":         {"it says what was applied", change(func(n *v1alpha1.TenantNamespace) { n.Annotations[v1alpha1.AnnotationDigest] = "x" }), false},
		"no provenance":      {"each object says where it comes from", change(func(n *v1alpha1.TenantNamespace) { delete(n.Annotations, v1alpha1.AnnotationPath) }), false},
		"a mark of removal":  {"only Git removes", change(func(n *v1alpha1.TenantNamespace) { n.Annotations[v1alpha1.AnnotationRemovedAt] = "now" }), false},
		"being deleted":      {"nothing can be put back until it is gone", deleting(change(func(n *v1alpha1.TenantNamespace) { n.Spec.Size = "large" })), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := want(namespace("acme", "acme-web")).inPlace(tc.live); got != tc.want {
				t.Errorf("%s: in place %t, want %t", tc.why, got, tc.want)
			}
		})
	}
}

func TestFirstSourceToAskKeepsATenant(t *testing.T) {
	var c claims
	if taken := c.hold(us, map[string]tenancy.Holding{"acme": {Prefix: "acme-"}}); len(taken) > 0 {
		t.Errorf("a free tenant is taken: %v", taken)
	}
	if diff := cmp.Diff(map[string]string{"acme": us}, c.hold(them, map[string]tenancy.Holding{"acme": {Prefix: "a-"}, "globex": {Prefix: "globex-"}})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]tenancy.Holding{"globex": {Prefix: "globex-"}}, c.others(us)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	c.hold(us, nil)
	if taken := c.hold(them, map[string]tenancy.Holding{"acme": {Prefix: "a-"}}); len(taken) > 0 {
		t.Errorf("a tenant that was let go is taken: %v", taken)
	}
}

// worldOf is ours among these objects.
func worldOf(t *testing.T, objects ...client.Object) world {
	t.Helper()
	all := stores{}
	for _, kind := range fromGit {
		all[keyOf(kind).kind] = toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, indexers)
	}
	for _, o := range objects {
		if err := all[keyOf(o).kind].Add(o); err != nil {
			t.Fatal(err)
		}
	}
	w, err := all.of(us)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func platform(objects ...client.Object) *unit {
	return unitWith(v1alpha1.PlatformDirectory, objects...)
}

func unitWith(name string, objects ...client.Object) *unit {
	u := &unit{name: name}
	for _, o := range objects {
		u.objects = append(u.objects, want(o))
	}
	return u
}

// want is the object that asks for what a live object is.
func want(live client.Object) *object {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		panic(err)
	}
	body := &unstructured.Unstructured{Object: content}
	labels := body.GetLabels()
	delete(labels, v1alpha1.LabelSource)
	body.SetLabels(labels)
	return &object{key: keyOf(live), tenant: tenantOf(live), body: body, spec: live, source: us}
}

func tenant(name string) *v1alpha1.Tenant {
	return of(us, &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

func namespace(tenant, name string) *v1alpha1.TenantNamespace {
	return of(us, &v1alpha1.TenantNamespace{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.TenantNamespaceSpec{Tenant: tenant, Profile: "default", Size: "small"},
	})
}

func cluster(tenant, name string) *v1alpha1.WorkloadCluster {
	return of(us, &v1alpha1.WorkloadCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.WorkloadClusterSpec{Tenant: tenant},
	})
}

func profile(name string) *v1alpha1.NamespaceProfile {
	return of(us, &v1alpha1.NamespaceProfile{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// of is the object as a source has applied it, or without a source's label.
func of[O client.Object](source string, o O) O {
	o.SetLabels(map[string]string{v1alpha1.LabelTenant: tenantOf(o), v1alpha1.LabelSource: source})
	if source == "" {
		o.SetLabels(nil)
	}
	o.SetAnnotations(map[string]string{
		v1alpha1.AnnotationDigest: "sha256:1", v1alpha1.AnnotationRevision: "main@sha1:1", v1alpha1.AnnotationPath: "acme/x.yaml:1",
	})
	return o
}

// bare is the object without anything of ours.
func bare[O client.Object](o O) O {
	o.SetAnnotations(nil)
	return o
}

func marked[O client.Object](o O) O {
	annotations := o.GetAnnotations()
	annotations[v1alpha1.AnnotationRemovedAt], annotations[v1alpha1.AnnotationRemovedIn] = "2026-01-01T00:00:00Z", "main@sha1:2"
	o.SetAnnotations(annotations)
	return o
}

func deleting[O client.Object](o O) O {
	now := metav1.Unix(1, 0)
	o.SetDeletionTimestamp(&now)
	return o
}

func TestSourcesThatBeganTogetherCompareAtTimesOfTheirOwn(t *testing.T) {
	ts := &v1alpha1.TenantSource{Spec: v1alpha1.TenantSourceSpec{Interval: &metav1.Duration{Duration: 10 * time.Minute}}}
	now := time.Now()
	var all memories
	times := map[time.Duration]bool{}
	for i := range 100 {
		m := all.of(client.ObjectKey{Name: strconv.Itoa(i)})
		m.refresh(ts, now)
		due := m.due(ts, now)
		times[due] = true
		if due < 10*time.Minute || due > 11*time.Minute {
			t.Errorf("due after %s, not between 10 and 11 minutes", due)
		}
		m.settled["acme"] = "a digest"
		if m.refresh(ts, now.Add(due-time.Second)); m.settled["acme"] == "" {
			t.Error("it compares before it is due")
		}
		if m.refresh(ts, now.Add(due)); m.settled["acme"] != "" {
			t.Error("it does not compare when it is due")
		}
	}
	if len(times) < 90 {
		t.Errorf("a hundred sources compare at %d times", len(times))
	}
}

func TestSourcesRememberTheSameTenantsOnce(t *testing.T) {
	of := func(names ...string) map[string]tenancy.Holding {
		held := map[string]tenancy.Holding{}
		for _, name := range names {
			held[name] = tenancy.Holding{Prefix: name + "-"}
		}
		return held
	}
	same := func(a, b map[string]tenancy.Holding) bool {
		return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
	}
	var known incumbents
	first := known.shared(of("acme", "globex"))
	if again := known.shared(of("globex", "acme")); !same(first, again) {
		t.Error("equal tenants are kept twice")
	}
	moved := of("acme", "globex")
	moved["acme"] = tenancy.Holding{Prefix: "acme-inc-"}
	for name, other := range map[string]map[string]tenancy.Holding{"one more": of("acme", "globex", "initech"), "one less": of("acme"), "one that moved": moved} {
		if got := known.shared(other); !same(got, other) {
			t.Errorf("%s: %v is taken for %v", name, got, other)
		}
	}
}
