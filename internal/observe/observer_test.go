package observe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	testenv.Main(m, &env, testenv.WithoutCRDs("ciliumnetworkpolicies.yaml"))
}

var (
	policies = schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}
	cilium   = schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"}
)

// calls are the namespaces that were woken.
type calls struct {
	mu    sync.Mutex
	names []string
}

func (c *calls) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, name)
}

// of takes how often a namespace was woken since the last call.
func (c *calls) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.names)
	c.names = slices.DeleteFunc(c.names, func(s string) bool { return s == name })
	return n - len(c.names)
}

func observer(t *testing.T) (*Observer, *calls) {
	t.Helper()
	woken := &calls{}
	o, err := New(Options{Config: env.Config, Mapper: env.Client.RESTMapper(), Changed: woken.add, Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = o.Start(ctx) })
	t.Cleanup(func() { stop(); done.Wait() })
	return o, woken
}

func synced(t *testing.T, o *Observer, kind schema.GroupVersionKind, namespace string) {
	t.Helper()
	testenv.Eventually(t, func(context.Context) error {
		if state, err := o.Watch(kind, namespace); state != Synced {
			return fmt.Errorf("%s is %v: %w", kind.Kind, state, err)
		}
		return nil
	})
}

func networkPolicy(namespace, name string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
}

func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := env.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangesOfOthersWakeTheNamespace(t *testing.T) {
	create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "woken"}})
	o, woken := observer(t)
	synced(t, o, policies, "woken")
	woken.of("woken")

	np := networkPolicy("woken", "a")
	foreign := networkPolicy("woken", "b")
	foreign.Labels = nil
	create(t, foreign, np)
	seen := func() Object { return o.Find(policies.GroupKind(), "woken", "a") }
	testenv.Eventually(t, func(context.Context) error {
		if !seen().Seen {
			return fmt.Errorf("not seen")
		}
		return nil
	})
	if got := woken.of("woken"); got != 1 {
		t.Errorf("woken %d times by an object that appeared, want 1", got)
	}
	if got := o.In("woken"); len(got) != 1 || got[0].Name != "a" || got[0].UID != np.UID {
		t.Errorf("seen %+v, want ours alone", got)
	}

	hash := seen().Hash
	np.Annotations = map[string]string{"example.com/x": "y"}
	if err := env.Client.Update(t.Context(), np); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func(context.Context) error {
		if seen().Version != np.ResourceVersion {
			return fmt.Errorf("seen at %s", seen().Version)
		}
		return nil
	})
	if got := woken.of("woken"); got != 0 || seen().Hash != hash {
		t.Errorf("woken %d times by what is not ours, want silence", got)
	}

	if err := env.Client.Delete(t.Context(), np); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func(context.Context) error {
		if seen().Seen {
			return fmt.Errorf("still seen")
		}
		return nil
	})
	if got := woken.of("woken"); got != 1 {
		t.Errorf("woken %d times by a deletion, want 1", got)
	}
}

func TestOurWritesWakeOnceAndOnlyWhenAllAreBack(t *testing.T) {
	o, woken := testObserver()
	k := newKind(policies)
	o.kinds[policies.GroupKind()] = k

	a, b := answer("a", "10"), answer("b", "11")
	o.Wrote(a)
	o.Wrote(b)
	if got := o.Find(policies.GroupKind(), "ns", "a"); got.Seen || !got.Pending {
		t.Errorf("written and not back: %+v", got)
	}
	s := &store{o, k}
	must(t, s.Add(a))
	if got := woken.of("ns"); got != 0 {
		t.Errorf("woken %d times while a write is not back, want 0", got)
	}
	must(t, s.Add(b))
	if got := woken.of("ns"); got != 1 {
		t.Errorf("woken %d times when all writes are back, want 1", got)
	}

	newer := answer("a", "12")
	o.Wrote(newer)
	must(t, s.Update(answer("a", "9")))
	if got := o.Find(policies.GroupKind(), "ns", "a"); !got.Pending || got.Version != "10" {
		t.Errorf("an older event: %+v", got)
	}
	must(t, s.Delete(answer("a", "13")))
	if got := o.Find(policies.GroupKind(), "ns", "a"); got.Pending || got.Seen {
		t.Errorf("deleted after our write: %+v", got)
	}
	if got := woken.of("ns"); got != 1 {
		t.Errorf("woken %d times by a deletion after our write, want 1", got)
	}
}

func TestAnEventBeforeItsAnswerIsNotWaitedFor(t *testing.T) {
	o, _ := testObserver()
	k := newKind(policies)
	o.kinds[policies.GroupKind()] = k
	must(t, (&store{o, k}).Add(answer("a", "10")))
	o.Wrote(answer("a", "10"))
	if got := o.Find(policies.GroupKind(), "ns", "a"); got.Pending {
		t.Errorf("pending though it is back: %+v", got)
	}
}

func TestAListForgetsWhatItDoesNotName(t *testing.T) {
	o, woken := testObserver()
	k := newKind(policies)
	o.kinds[policies.GroupKind()] = k
	s := &store{o, k}
	must(t, s.Replace([]any{answer("a", "10"), answer("b", "11")}, "11"))
	if got := woken.of("ns"); got != 0 {
		t.Errorf("woken %d times by the first list, want 0: nobody waited", got)
	}
	o.Wrote(answer("c", "20"))
	must(t, s.Replace([]any{answer("a", "10")}, "15"))
	if got := o.Find(policies.GroupKind(), "ns", "b"); got.Seen {
		t.Errorf("gone, but %+v", got)
	}
	if got := o.Find(policies.GroupKind(), "ns", "c"); !got.Pending {
		t.Errorf("written after the list, but %+v", got)
	}
	if got := len(o.In("ns")); got != 1 {
		t.Errorf("%d objects, want 1", got)
	}
}

// The CRD's event can come before the API server stops to serve its kind: then
// the list that follows it works, and only the next one says that the kind went.
func TestAKindThatIsNotFoundAnyMoreIsLookedForAnew(t *testing.T) {
	o, _ := testObserver()
	k := newKind(cilium)
	o.kinds[cilium.GroupKind()] = k
	stopped := 0
	k.state, k.stop = Synced, func() { stopped++ }

	o.failed(k, apierrors.NewServiceUnavailable("starting"))
	if stopped != 0 || k.state != Synced {
		t.Errorf("after an API server that is away: stopped %d times, state %v", stopped, k.state)
	}
	gone := apierrors.NewNotFound(schema.GroupResource{Group: cilium.Group, Resource: "ciliumnetworkpolicies"}, "")
	o.failed(k, gone)
	o.failed(k, gone)
	if stopped != 1 {
		t.Errorf("the watch of a kind that went was stopped %d times, want 1", stopped)
	}
}

func TestKindsComeAndGoWithTheirDefinitions(t *testing.T) {
	o, woken := observer(t)
	// Like every caller: it asks again whenever it was woken.
	notServed := func(context.Context) error {
		woken.of("waits")
		if state, err := o.Watch(cilium, "waits"); state != NotServed {
			return fmt.Errorf("state %v: %w", state, err)
		}
		return nil
	}
	testenv.Eventually(t, notServed)
	if state, err := o.Watch(cilium, "waits"); err != nil {
		t.Fatalf("Watch = %v, %v", state, err)
	}

	crd := &apiextensionsv1.CustomResourceDefinition{}
	data, err := os.ReadFile(filepath.Join(testenv.Root(), "bin", "crds", "ciliumnetworkpolicies.yaml"))
	must(t, err)
	must(t, yaml.Unmarshal(data, crd))
	for range 2 { // it may go and come back
		fresh := crd.DeepCopy()
		create(t, fresh)
		testenv.Eventually(t, func(context.Context) error {
			if woken.of("waits") == 0 {
				return fmt.Errorf("not woken")
			}
			return nil
		})
		synced(t, o, cilium, "waits")
		must(t, env.Client.Delete(t.Context(), fresh))
		testenv.Eventually(t, func(ctx context.Context) error {
			if err := testenv.Gone(env.Client.Get(ctx, client.ObjectKeyFromObject(fresh), fresh)); err != nil {
				return err
			}
			return notServed(ctx)
		})
	}
}

func TestAllNamespacesAreSeenWithWhoseTheyAre(t *testing.T) {
	create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:        "whose",
		Labels:      map[string]string{v1alpha1.LabelTenant: "acme", v1alpha1.LabelSealed: "true", v1alpha1.LabelAdoptableBy: "globex"},
		Annotations: map[string]string{v1alpha1.AnnotationTenantUID: "1-2-3"},
	}})
	o, _ := observer(t)
	synced(t, o, corev1.SchemeGroupVersion.WithKind("Namespace"), "whose")
	got := o.Find(NamespaceKind, "whose", "whose")
	want := Namespace{Tenant: "acme", TenantUID: "1-2-3", AdoptableBy: "globex", Sealed: "true"}
	if !got.Seen || got.Namespace == nil || *got.Namespace != want {
		t.Errorf("seen %+v (%+v), want %+v", got, got.Namespace, want)
	}
	if system := o.Find(NamespaceKind, "kube-system", "kube-system"); !system.Seen {
		t.Error("a namespace that is not ours is not seen, and could be taken")
	}
}

// BenchmarkMemory holds what is known of ten thousand namespaces of thirteen
// objects.
func BenchmarkMemory(b *testing.B) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		o, _ := testObserver()
		k := newKind(policies)
		for n := range 10_000 {
			for i := range 13 {
				o.see(k, sightingOf(answerIn(fmt.Sprintf("tenant-%04d", n), fmt.Sprintf("object-%d", i), "10")))
			}
		}
		b.ReportMetric(float64(heap()-before)/(1<<20), "MiB")
		b.ReportMetric(float64(heap()-before)/130_000, "B/object")
		runtime.KeepAlive(o)
	}
}

func testObserver() (*Observer, *calls) {
	woken := &calls{}
	return &Observer{
		changed: woken.add, log: logr.Discard(),
		kinds: map[schema.GroupKind]*kind{}, objects: map[string][]entry{}, pending: map[string]int{},
	}, woken
}

func answer(name, version string) *unstructured.Unstructured { return answerIn("ns", name, version) }

func answerIn(namespace, name, version string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"a": name}}}
	o.SetGroupVersionKind(policies)
	o.SetNamespace(namespace)
	o.SetName(name)
	o.SetUID("b0a4f6d2-7f0c-4f7c-9a53-0a4dfd1e5a01")
	o.SetResourceVersion(version)
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
