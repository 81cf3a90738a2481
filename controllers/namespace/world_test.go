package namespace

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/observe"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testenv.Main(m, &env)
}

// world is an API server and one process of the operator, of which the reconciler
// is called by hand.
type world struct {
	testing.TB
	client.Client // a cluster admin's
	config        *rest.Config
	process
	clock *clock
}

// process is what is lost when the operator is killed.
type process struct {
	*Reconciler
	tenants  *TenantReconciler
	observer *blinkers
	wire     *wire
	recorder *recorder
	cached   client.Client
	kill     context.CancelFunc
}

// newWorld holds objects, with the operator's process running beside.
func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	return newWorldIn(t, env.Client, env.Config, objects...)
}

func newWorldIn(t *testing.T, admin client.Client, config *rest.Config, objects ...client.Object) *world {
	t.Helper()
	w := &world{TB: t, Client: admin, config: config, clock: &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}}
	for _, o := range objects {
		w.create(o)
	}
	w.start()
	t.Cleanup(func() { w.kill() })
	return w
}

// start runs a process of the operator.
func (w *world) start() {
	w.Helper()
	wire := &wire{}
	config := rest.CopyConfig(w.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return wire.over(next) })

	c, err := cluster.New(config, func(o *cluster.Options) {
		o.Scheme = env.Scheme
		o.Cache = cache.Options{DefaultTransform: cache.TransformStripManagedFields()}
		o.Logger = logr.Discard()
	})
	w.must(err)
	w.must(index(c.GetFieldIndexer()))
	applier, err := apply.New(config, c.GetRESTMapper(), v1alpha1.FieldOwnerNamespace)
	w.must(err)
	o, err := observe.New(observe.Options{Config: config, Mapper: c.GetRESTMapper(), Changed: func(string) {}, Log: logr.Discard()})
	w.must(err)

	ctx, kill := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = c.Start(ctx) })
	done.Go(func() { _ = o.Start(ctx) })
	for _, kind := range []client.Object{&v1alpha1.Tenant{}, &v1alpha1.TenantNamespace{}, &v1alpha1.NamespaceProfile{}, &v1alpha1.TenantException{}} {
		_, err := c.GetCache().GetInformer(ctx, kind)
		w.must(err)
	}
	if !c.GetCache().WaitForCacheSync(ctx) {
		w.Fatal("the caches are not filled")
	}
	rec := &recorder{}
	eyes := &blinkers{Observer: o}
	w.process = process{
		Reconciler: &Reconciler{
			Client: c.GetClient(), applier: applier, observer: eyes, recorder: rec, now: w.clock.Now,
			templates: &Templates{bases: baseOf},
			published: func(context.Context, *v1alpha1.TenantNamespace) time.Time { return time.Time{} },
		},
		tenants:  &TenantReconciler{Client: c.GetClient(), now: w.clock.Now},
		observer: eyes, wire: wire, recorder: rec, cached: c.GetClient(),
		kill: func() { kill(); done.Wait() },
	}
}

// baseOf is the embedded base, and of a profile that names a source one without
// component that syncs secrets.
func baseOf(_ context.Context, ref *v1alpha1.BaseSourceRef) (render.Base, error) {
	embedded := render.EmbeddedBase()
	if ref == nil {
		return embedded, nil
	}
	files := fstest.MapFS{}
	err := fs.WalkDir(embedded.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(embedded.FS, name)
		files[name] = &fstest.MapFile{Data: bytes.ReplaceAll(data, []byte("- ../../namespace/openbao-sync\n"), nil)}
		return err
	})
	return render.Base{FS: files, Revision: "without-openbao"}, err
}

// restart kills the process and starts another.
func (w *world) restart() {
	w.Helper()
	w.kill()
	w.start()
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.Client.Create(w.Context(), o); client.IgnoreAlreadyExists(err) != nil {
		w.Fatalf("cannot create %T %s: %v", o, o.GetName(), err)
	}
}

// reconcile once, as the queue would.
func (w *world) reconcile(namespace string) (ctrl.Result, error) {
	return w.Reconciler.Reconcile(w.Context(), request(namespace))
}

// until reconciles as watches would wake it, until the namespace is so.
func (w *world) until(namespace string, is func(*v1alpha1.TenantNamespace) error) *v1alpha1.TenantNamespace {
	w.Helper()
	tn := &v1alpha1.TenantNamespace{}
	eventually(w, func(ctx context.Context) error {
		_, err := w.Reconciler.Reconcile(ctx, request(namespace))
		if got := w.Client.Get(ctx, client.ObjectKey{Name: namespace}, tn); got != nil {
			return got
		}
		if why := is(tn); why != nil {
			return fmt.Errorf("%w (the reconcile said: %v)", why, err)
		}
		return nil
	})
	return tn
}

// ready reconciles until the namespace is Ready.
func (w *world) ready(namespace string) *v1alpha1.TenantNamespace {
	w.Helper()
	return w.until(namespace, func(tn *v1alpha1.TenantNamespace) error {
		if !isReady(tn) {
			return fmt.Errorf("not ready: %+v", tn.Status.Conditions)
		}
		return nil
	})
}

// says reconciles until Ready has a reason and a message.
func (w *world) says(namespace, reason, message string) *v1alpha1.TenantNamespace {
	w.Helper()
	return w.until(namespace, func(tn *v1alpha1.TenantNamespace) error {
		c := meta.FindStatusCondition(tn.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Reason != reason || c.Message != message {
			return fmt.Errorf("Ready is %+v,\nwant %s: %s", c, reason, message)
		}
		return nil
	})
}

// cachedSees waits until the operator's cache has what was written last.
func (w *world) cachedSees(o client.Object) {
	w.Helper()
	eventually(w, func(ctx context.Context) error {
		copied := o.DeepCopyObject().(client.Object)
		if err := w.cached.Get(ctx, client.ObjectKeyFromObject(o), copied); err != nil {
			return err
		}
		if copied.GetResourceVersion() != o.GetResourceVersion() {
			return fmt.Errorf("the cache has %s at %s, not %s", o.GetName(), copied.GetResourceVersion(), o.GetResourceVersion())
		}
		return nil
	})
}

// update changes an object of Aether's, as controllers/source would.
func update[T client.Object](w *world, o T, change func(T)) {
	w.Helper()
	w.must(w.Client.Get(w.Context(), client.ObjectKeyFromObject(o), o))
	change(o)
	w.must(w.Client.Update(w.Context(), o))
	w.cachedSees(o)
}

// namespace is the Namespace as it is.
func (w *world) namespace(name string) *corev1.Namespace {
	w.Helper()
	ns := &corev1.Namespace{}
	w.must(w.Client.Get(w.Context(), client.ObjectKey{Name: name}, ns))
	return ns
}

func (w *world) isSealed(name string) bool {
	w.Helper()
	return w.namespace(name).Labels[v1alpha1.LabelSealed] != opened
}

// contents are the objects of ours in a namespace, "Kind/name", as the API server
// has them, with their content.
func (w *world) contents(namespace string) map[string]string {
	w.Helper()
	found := map[string]string{}
	for _, kind := range childKinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		w.must(w.Client.List(w.Context(), list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}))
		for i := range list.Items {
			o := &list.Items[i]
			found[o.GetKind()+"/"+o.GetName()] = observe.HashOf(o).String()
		}
	}
	return found
}

var childKinds = []schema.GroupVersionKind{
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
	{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"},
	{Version: "v1", Kind: "ResourceQuota"},
	{Version: "v1", Kind: "LimitRange"},
	{Version: "v1", Kind: "ServiceAccount"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
	{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"},
	{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"},
}

// writesNothing fails if a request is sent that may change something.
func (w *world) writesNothing(do func()) {
	w.Helper()
	w.wire.writes()
	do()
	if sent := w.wire.writes(); len(sent) > 0 {
		w.Errorf("wrote %d times, want silence:\n%s", len(sent), strings.Join(sent, "\n"))
	}
}

// wire counts and cuts the connection to the API server.
type wire struct {
	mu   sync.Mutex
	sent []string
	// cut is after how many writes the process is dead; 0 is never. When late, the
	// last write still reaches the API server, and only its answer is lost.
	cut  int
	late bool
	dead bool
}

// writes are those since the last call.
func (w *wire) writes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

func (w *wire) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodGet {
			return next.RoundTrip(req)
		}
		w.mu.Lock()
		w.sent = append(w.sent, req.Method+" "+req.URL.Path)
		last := w.cut > 0 && len(w.sent) >= w.cut
		dead := w.dead
		w.dead = w.dead || last
		w.mu.Unlock()
		if dead || last && !w.late {
			return nil, errKilled
		}
		res, err := next.RoundTrip(req)
		if last && err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			return nil, errKilled
		}
		return res, err
	})
}

var errKilled = fmt.Errorf("killed")

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// blinkers hide objects from the operator, as a watch that is late does.
type blinkers struct {
	*observe.Observer
	mu     sync.Mutex
	hidden map[string]bool
}

func (b *blinkers) hide(names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hidden = map[string]bool{}
	for _, n := range names {
		b.hidden[n] = true
	}
}

func (b *blinkers) Find(kind schema.GroupKind, namespace, name string) observe.Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.Observer.Find(kind, namespace, name)
	if b.hidden[kind.Kind+"/"+name] {
		o.Pending = true
	}
	return o
}

// recorder remembers events.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Eventf(_, _ runtime.Object, _, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, reason+": "+fmt.Sprintf(note, args...))
}

// take is the events since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// profile with two sizes.
func profile(name string) *v1alpha1.NamespaceProfile {
	return &v1alpha1.NamespaceProfile{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.NamespaceProfileSpec{
			Base: v1alpha1.Base{Path: "profiles/default"},
			Sizes: map[string]v1alpha1.Size{
				"small": {
					Quota:  corev1.ResourceList{"requests.cpu": resource.MustParse("2"), "pods": resource.MustParse("20")},
					Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{"cpu": resource.MustParse("50m")}}},
				},
				"large": {Quota: corev1.ResourceList{"requests.cpu": resource.MustParse("16"), "pods": resource.MustParse("200")}},
			},
			Roles: map[string]v1alpha1.Rules{
				"oncall": {rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"create"}}},
			},
		},
	}
}

func tenant(name string, change ...func(*v1alpha1.TenantSpec)) *v1alpha1.Tenant {
	many := int32(1000)
	t := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TenantSpec{
			Owners:     []v1alpha1.Access{{Subject: v1alpha1.Subject{Kind: "Group", Name: name + "-admins"}, Role: v1alpha1.RoleAdmin}},
			Namespaces: v1alpha1.TenantNamespaces{Max: &many, Profiles: []string{"default"}},
		},
	}
	for _, c := range change {
		c(&t.Spec)
	}
	return t
}

func tenantNamespace(name string, change ...func(*v1alpha1.TenantNamespace)) *v1alpha1.TenantNamespace {
	owner, _, _ := strings.Cut(name, "-")
	tn := &v1alpha1.TenantNamespace{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Finalizers: []string{v1alpha1.FinalizerNamespace},
			Annotations: map[string]string{v1alpha1.AnnotationRevision: "main@sha1:0001", v1alpha1.AnnotationPath: owner + "/" + name + ".yaml:3"},
		},
		Spec: v1alpha1.TenantNamespaceSpec{
			Tenant: owner, Profile: "default", Size: "small",
			Access: []v1alpha1.Access{{Subject: v1alpha1.Subject{Kind: "User", Name: "dev@example.com"}, Role: v1alpha1.RoleEditor}},
		},
	}
	for _, c := range change {
		c(tn)
	}
	return tn
}

func sorted(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// reconcileUntil reconciles until something is so.
func (w *world) reconcileUntil(namespace string, is func() error) {
	w.Helper()
	eventually(w, func(ctx context.Context) error {
		_, err := w.Reconciler.Reconcile(ctx, request(namespace))
		if why := is(); why != nil {
			return fmt.Errorf("%w (the reconcile said: %v)", why, err)
		}
		return nil
	})
}

// settled waits until the operator has seen everything that is there.
func (w *world) settled(namespace string) {
	w.Helper()
	w.cachedSees(w.current(namespace))
	eventually(w, func(ctx context.Context) error {
		for _, kind := range append(childKinds, namespaceKind) {
			if state, err := w.observer.Watch(kind, namespace); state != observe.Synced {
				return fmt.Errorf("%s is %v: %w", kind.Kind, state, err)
			}
		}
		ns := &unstructured.Unstructured{}
		ns.SetGroupVersionKind(namespaceKind)
		if err := w.Client.Get(ctx, client.ObjectKey{Name: namespace}, ns); err != nil {
			return err
		}
		if seen := w.observer.Find(observe.NamespaceKind, namespace, namespace); seen.Pending || seen.Version != ns.GetResourceVersion() {
			return fmt.Errorf("the Namespace is seen at %s, not at %s", seen.Version, ns.GetResourceVersion())
		}
		for name, hash := range w.contents(namespace) {
			kind, name, _ := strings.Cut(name, "/")
			for _, gvk := range childKinds {
				if seen := w.observer.Find(gvk.GroupKind(), namespace, name); gvk.Kind == kind && (seen.Pending || seen.Hash.String() != hash) {
					return fmt.Errorf("%s/%s is seen as %s, not as %s", kind, name, seen.Hash, hash)
				}
			}
		}
		return nil
	})
}

// untilDead reconciles until the process is dead, and says whether it had
// finished before.
func (w *world) untilDead(namespace string) (finished bool) {
	w.Helper()
	eventually(w, func(ctx context.Context) error {
		_, _ = w.Reconciler.Reconcile(ctx, request(namespace))
		w.wire.mu.Lock()
		dead := w.wire.dead
		w.wire.mu.Unlock()
		if finished = !dead && isReady(w.current(namespace)); finished || dead {
			return nil
		}
		return fmt.Errorf("neither dead nor ready")
	})
	return finished
}

// current is the TenantNamespace as it is.
func (w *world) current(name string) *v1alpha1.TenantNamespace {
	w.Helper()
	tn := &v1alpha1.TenantNamespace{}
	w.must(w.Client.Get(w.Context(), client.ObjectKey{Name: name}, tn))
	return tn
}

// missing fails if there is a Namespace.
func (w *world) missing(name string) {
	w.Helper()
	if err := testenv.Gone(w.Client.Get(w.Context(), client.ObjectKey{Name: name}, &corev1.Namespace{})); err != nil {
		w.Errorf("Namespace %s: %v", name, err)
	}
}

// gone reconciles until the TenantNamespace is gone.
func (w *world) gone(name string) {
	w.Helper()
	w.reconcileUntil(name, func() error {
		return testenv.Gone(w.Client.Get(w.Context(), client.ObjectKey{Name: name}, &v1alpha1.TenantNamespace{}))
	})
}

func (w *world) nsObject(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// sumsUp reconciles a tenant until it has a summary.
func (w *world) sumsUp(tenant, summary string) {
	w.Helper()
	got := &v1alpha1.Tenant{}
	eventually(w, func(ctx context.Context) error {
		if _, err := w.tenants.Reconcile(ctx, request(tenant)); err != nil {
			return err
		}
		if err := w.Client.Get(ctx, client.ObjectKey{Name: tenant}, got); err != nil {
			return err
		}
		if got.Status.Summary != summary || !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("status is %+v", got.Status)
		}
		return nil
	})
	w.cachedSees(got)
}

// eventually is testenv.Eventually, with the last thing that was not so in its
// message rather than the request that ran out of time.
func eventually(t testing.TB, check func(ctx context.Context) error) {
	t.Helper()
	var last error
	testenv.Eventually(t, func(ctx context.Context) error {
		err := check(ctx)
		if ctx.Err() != nil {
			return last
		}
		last = err
		return err
	})
}
