package namespace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/artifact"
	"github.com/aetherplatform/aether/internal/bases"
	"github.com/aetherplatform/aether/internal/fair"
	"github.com/aetherplatform/aether/internal/observe"
	"github.com/aetherplatform/aether/internal/wakeup"
)

// Options of the controllers.
type Options struct {
	// Cluster that this process runs in; "" is the one that the fleet is reconciled
	// in. Namespaces that are placed elsewhere are left alone.
	Cluster string
	// Concurrency is how many namespaces are worked on side by side. Default 32.
	Concurrency int
	// Namespace that Flux sources of bases are read from. Default aether-system.
	Namespace string
}

// Bounds of the retries of one object.
const (
	minRetry = 100 * time.Millisecond
	maxRetry = time.Minute
)

// lull is how long a tenant's sum waits for more of its namespaces to change. It
// is not on the way of a namespace to Ready.
const lull = 500 * time.Millisecond

type queue = wakeup.Queue

// Setup adds the controllers of Tenants, NamespaceProfiles and TenantNamespaces
// to a manager. The manager's client should not limit itself (QPS -1): the API
// server's priority and fairness does that, and knows when it is needed.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Concurrency <= 0 {
		opts.Concurrency = 32
	}
	if opts.Namespace == "" {
		opts.Namespace = v1alpha1.SystemNamespace
	}
	if err := errors.Join(v1alpha1.AddToScheme(mgr.GetScheme()), sourcev1.AddToScheme(mgr.GetScheme())); err != nil {
		return fmt.Errorf("cannot register kinds: %w", err)
	}
	if err := index(mgr.GetFieldIndexer()); err != nil {
		return err
	}
	sources, err := sourceCache(mgr, opts.Namespace)
	if err != nil {
		return err
	}

	waker := &wakeup.Source{}
	applier, err := apply.New(mgr.GetConfig(), mgr.GetRESTMapper(), v1alpha1.FieldOwnerNamespace)
	if err != nil {
		return err
	}
	observer, err := observe.New(observe.Options{
		Config: mgr.GetConfig(), Mapper: mgr.GetRESTMapper(), Log: mgr.GetLogger().WithName("observe"),
		Changed: func(namespace string) { waker.Wake(request(namespace).NamespacedName) },
	})
	if err != nil {
		return err
	}
	if err := mgr.Add(observer); err != nil {
		return fmt.Errorf("cannot add the observer: %w", err)
	}
	templates := &Templates{bases: bases.New(sources).Get}

	r := &Reconciler{
		Client: mgr.GetClient(), applier: applier, observer: observer, templates: templates,
		recorder: mgr.GetEventRecorder("aether-namespace"), now: time.Now,
		published: publishedIn(sources), cluster: opts.Cluster,
	}
	return errors.Join(
		r.setup(mgr, opts, waker),
		setupTenants(mgr),
		setupProfiles(mgr, r, sources, waker),
	)
}

// index lets TenantNamespaces and TenantExceptions be found by their tenant, and
// Tenants by their prefix.
func index(indexer client.FieldIndexer) error {
	err := indexer.IndexField(context.Background(), &v1alpha1.TenantNamespace{}, indexTenant, func(o client.Object) []string {
		return []string{o.(*v1alpha1.TenantNamespace).Spec.Tenant}
	})
	if err != nil {
		return fmt.Errorf("cannot index TenantNamespaces by %s: %w", indexTenant, err)
	}
	err = indexer.IndexField(context.Background(), &v1alpha1.TenantException{}, indexTenant, func(o client.Object) []string {
		return []string{o.(*v1alpha1.TenantException).Spec.Tenant}
	})
	if err != nil {
		return fmt.Errorf("cannot index TenantExceptions by %s: %w", indexTenant, err)
	}
	return indexTenants(indexer)
}

// sourceCache holds Flux sources of one namespace. They have informers of their
// own, so that those of the tenants' GitOps, of which there may be thousands, do
// not come in.
func sourceCache(mgr ctrl.Manager, namespace string) (cache.Cache, error) {
	sources, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		DefaultNamespaces: map[string]cache.Config{namespace: {}, v1alpha1.SystemNamespace: {}},
		DefaultTransform:  cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the cache of sources: %w", err)
	}
	if err := mgr.Add(sources); err != nil {
		return nil, fmt.Errorf("cannot add the cache of sources: %w", err)
	}
	return sources, nil
}

func (r *Reconciler) setup(mgr ctrl.Manager, opts Options, waker *wakeup.Source) error {
	fairly := fair.ByTenant(mgr.GetCache(), func(of reconcile.Request) string { return of.Name })
	c, err := newController("tenantnamespace", mgr, r, opts.Concurrency, fairly)
	if err != nil {
		return err
	}
	return watchAll(c,
		source.Kind(mgr.GetCache(), &v1alpha1.TenantNamespace{}, &handler.TypedEnqueueRequestForObject[*v1alpha1.TenantNamespace]{}),
		source.Kind(mgr.GetCache(), &v1alpha1.TenantNamespace{}, r.onSibling()),
		source.Kind(mgr.GetCache(), &v1alpha1.Tenant{}, r.onTenant()),
		source.Kind(mgr.GetCache(), &v1alpha1.TenantException{}, r.onException()),
		source.Kind(mgr.GetCache(), &v1alpha1.SecretSync{}, onSecretSync()),
		waker,
	)
}

func setupTenants(mgr ctrl.Manager) error {
	r := &TenantReconciler{Client: mgr.GetClient(), now: time.Now}
	c, err := newController("tenant", mgr, r, 4, nil)
	if err != nil {
		return err
	}
	return watchAll(c,
		source.Kind(mgr.GetCache(), &v1alpha1.Tenant{}, r.onTenant()),
		source.Kind(mgr.GetCache(), &v1alpha1.TenantNamespace{}, sumUp()),
		source.Kind(mgr.GetCache(), &v1alpha1.NamespaceProfile{}, r.onProfile(), predicate.TypedGenerationChangedPredicate[*v1alpha1.NamespaceProfile]{}),
	)
}

func setupProfiles(mgr ctrl.Manager, namespaces *Reconciler, sources cache.Cache, waker *wakeup.Source) error {
	r := &ProfileReconciler{Client: mgr.GetClient(), templates: namespaces.templates, now: time.Now}
	c, err := newController("namespaceprofile", mgr, r, 1, nil)
	if err != nil {
		return err
	}
	w := &sourceWatch{cache: sources, mapper: mgr.GetRESTMapper(), controller: c, handler: r.onSource()}
	r.watchSource = w.watch
	r.changed = func(ctx context.Context, profile string) {
		var all v1alpha1.TenantNamespaceList
		if err := r.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
			logf(ctx).Error(err, "cannot wake the namespaces of a profile", "profile", profile)
		}
		for i := range all.Items {
			if tn := &all.Items[i]; tn.Spec.Profile == profile || wantsRoom(tn) {
				waker.Wake(client.ObjectKeyFromObject(tn))
			}
		}
	}
	return watchAll(c, source.Kind(mgr.GetCache(), &v1alpha1.NamespaceProfile{}, &handler.TypedEnqueueRequestForObject[*v1alpha1.NamespaceProfile]{}))
}

func newController(name string, mgr ctrl.Manager, r reconcile.Reconciler, concurrency int, queue fair.NewQueue) (controller.Controller, error) {
	c, err := controller.New(name, mgr, controller.Options{
		Reconciler:              r,
		MaxConcurrentReconciles: concurrency,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
		NewQueue:                queue,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the controller %s: %w", name, err)
	}
	return c, nil
}

func watchAll(c controller.Controller, sources ...source.Source) error {
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("cannot watch %v: %w", s, err)
		}
	}
	return nil
}

func request(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Name: name}}
}

// onSibling wakes the namespaces that had no room when one makes some.
func (r *Reconciler) onSibling() handler.TypedEventHandler[*v1alpha1.TenantNamespace, reconcile.Request] {
	wake := func(ctx context.Context, q queue, tn *v1alpha1.TenantNamespace) {
		all, err := r.siblings(ctx, tn.Spec.Tenant)
		if err != nil {
			logf(ctx).Error(err, "cannot wake the namespaces of a tenant", "tenant", tn.Spec.Tenant)
		}
		for _, other := range all {
			if wantsRoom(other) {
				q.Add(request(other.Name))
			}
		}
	}
	return handler.TypedFuncs[*v1alpha1.TenantNamespace, reconcile.Request]{
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*v1alpha1.TenantNamespace], q queue) {
			if e.ObjectOld.Generation != e.ObjectNew.Generation {
				wake(ctx, q, e.ObjectNew)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*v1alpha1.TenantNamespace], q queue) {
			wake(ctx, q, e.Object)
		},
	}
}

// wantsRoom is whether a namespace did not fit into its tenant's limits.
func wantsRoom(tn *v1alpha1.TenantNamespace) bool {
	ready := meta.FindStatusCondition(tn.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && (ready.Reason == v1alpha1.ReasonQuotaExceeded || ready.Reason == v1alpha1.ReasonTooManyNamespaces)
}

// onTenant wakes the namespaces of a tenant that changed, of those that it peers
// or peered with, since peering is mutual, and of those whose prefix meets its own.
func (r *Reconciler) onTenant() handler.TypedEventHandler[*v1alpha1.Tenant, reconcile.Request] {
	return wakeup.OnGeneration(func(ctx context.Context, q queue, versions ...*v1alpha1.Tenant) {
		names := map[string]bool{}
		for _, t := range versions {
			names[t.Name] = true
			for _, peer := range t.Spec.Network.Peers {
				names[peer.Tenant] = true
			}
		}
		for _, t := range neighbours(ctx, r, versions) {
			names[t] = true
		}
		for name := range names {
			r.wakeTenant(ctx, q, name)
		}
	})
}

// wakeTenant wakes the namespaces of a tenant.
func (r *Reconciler) wakeTenant(ctx context.Context, q queue, tenant string) {
	all, err := r.siblings(ctx, tenant)
	if err != nil {
		logf(ctx).Error(err, "cannot wake the namespaces of a tenant", "tenant", tenant)
	}
	for _, tn := range all {
		q.Add(request(tn.Name))
	}
}

// onTenant wakes a tenant that changed, and those whose prefix meets its own.
func (r *TenantReconciler) onTenant() handler.TypedEventHandler[*v1alpha1.Tenant, reconcile.Request] {
	wake := func(ctx context.Context, q queue, versions ...*v1alpha1.Tenant) {
		for _, t := range neighbours(ctx, r, versions) {
			q.Add(request(t))
		}
	}
	return handler.TypedFuncs[*v1alpha1.Tenant, reconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*v1alpha1.Tenant], q queue) {
			if e.IsInInitialList {
				q.Add(request(e.Object.Name))
				return
			}
			// Its namespaces come with it: it is summed up together with them.
			q.AddAfter(request(e.Object.Name), lull)
			wake(ctx, q, e.Object)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*v1alpha1.Tenant], q queue) {
			switch {
			case e.ObjectOld.Generation != e.ObjectNew.Generation:
				q.Add(request(e.ObjectNew.Name))
				wake(ctx, q, e.ObjectOld, e.ObjectNew)
			case !equality.Semantic.DeepEqual(e.ObjectOld.Status, e.ObjectNew.Status):
				// Ours, or one of before that a restored etcd brought back.
				q.AddAfter(request(e.ObjectNew.Name), lull)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*v1alpha1.Tenant], q queue) {
			q.Add(request(e.Object.Name))
			wake(ctx, q, e.Object)
		},
	}
}

// neighbours are the names of the other tenants whose prefix meets one of a tenant's.
func neighbours(ctx context.Context, from client.Reader, versions []*v1alpha1.Tenant) []string {
	var names []string
	for _, t := range versions {
		others, err := overlapping(ctx, from, t)
		if err != nil {
			logf(ctx).Error(err, "cannot wake the tenants whose prefix meets another's", "tenant", t.Name)
		}
		for _, other := range others {
			names = append(names, other.Name)
		}
	}
	return names
}

// onProfile wakes all tenants: any of them may use the profile's sizes.
func (r *TenantReconciler) onProfile() handler.TypedEventHandler[*v1alpha1.NamespaceProfile, reconcile.Request] {
	return handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, _ *v1alpha1.NamespaceProfile) []reconcile.Request {
		var all v1alpha1.TenantList
		if err := r.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
			logf(ctx).Error(err, "cannot list Tenants")
		}
		requests := make([]reconcile.Request, len(all.Items))
		for i := range all.Items {
			requests[i] = request(all.Items[i].Name)
		}
		return requests
	})
}

// sumUp wakes the tenant of a namespace whose state is another, once for all that
// change in a short while.
func sumUp() handler.TypedEventHandler[*v1alpha1.TenantNamespace, reconcile.Request] {
	wake := func(q queue, tn *v1alpha1.TenantNamespace) { q.AddAfter(request(tn.Spec.Tenant), lull) }
	return handler.TypedFuncs[*v1alpha1.TenantNamespace, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*v1alpha1.TenantNamespace], q queue) {
			if !e.IsInInitialList {
				wake(q, e.Object)
			}
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*v1alpha1.TenantNamespace], q queue) {
			_, was := e.ObjectOld.Annotations[v1alpha1.AnnotationRemovedAt]
			_, is := e.ObjectNew.Annotations[v1alpha1.AnnotationRemovedAt]
			if was != is || e.ObjectOld.Generation != e.ObjectNew.Generation || isReady(e.ObjectOld) != isReady(e.ObjectNew) {
				wake(q, e.ObjectNew)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*v1alpha1.TenantNamespace], q queue) {
			wake(q, e.Object)
		},
	}
}

// onSource wakes the profiles whose base is in a Flux source.
func (r *ProfileReconciler) onSource() func(kind string) handler.EventHandler {
	return func(kind string) handler.EventHandler {
		return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			if o.GetNamespace() != v1alpha1.SystemNamespace {
				return nil
			}
			var all v1alpha1.NamespaceProfileList
			if err := r.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
				logf(ctx).Error(err, "cannot list NamespaceProfiles")
			}
			var requests []reconcile.Request
			for i := range all.Items {
				if ref := all.Items[i].Spec.Base.SourceRef; ref != nil && *ref == (v1alpha1.BaseSourceRef{Kind: kind, Name: o.GetName()}) {
					requests = append(requests, request(all.Items[i].Name))
				}
			}
			return requests
		})
	}
}

// sourceWatch watches a Flux kind from when a profile first names it.
type sourceWatch struct {
	cache      cache.Cache
	mapper     meta.RESTMapper
	controller controller.Controller
	handler    func(kind string) handler.EventHandler

	mu      sync.Mutex
	watched map[string]bool
}

func (w *sourceWatch) watch(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gvk := sourcev1.GroupVersion.WithKind(kind)
	o, err := artifact.NewSource(kind)
	if err != nil || w.watched[kind] {
		return
	}
	if _, err := w.mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err != nil {
		return // the profile says that its base is not there
	}
	if err := w.controller.Watch(source.Kind[client.Object](w.cache, o, w.handler(kind))); err != nil {
		return
	}
	if w.watched == nil {
		w.watched = map[string]bool{}
	}
	w.watched[kind] = true
}

// publishedIn finds when Flux made the artifact that last changed a namespace;
// zero when another has taken its place.
func publishedIn(sources client.Reader) func(context.Context, *v1alpha1.TenantNamespace) time.Time {
	return func(ctx context.Context, tn *v1alpha1.TenantNamespace) time.Time {
		namespace, name, ok := strings.Cut(tn.Labels[v1alpha1.LabelSource], ".")
		if !ok {
			return time.Time{}
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second) // a metric holds nothing up
		defer cancel()
		ts := &v1alpha1.TenantSource{}
		if err := sources.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, ts); err != nil {
			return time.Time{}
		}
		s, err := artifact.GetSource(ctx, sources, ts.Spec.SourceRef.Kind, client.ObjectKey{Namespace: namespace, Name: ts.Spec.SourceRef.Name})
		if err != nil || s.GetArtifact() == nil || s.GetArtifact().Revision != tn.Annotations[v1alpha1.AnnotationRevision] {
			return time.Time{}
		}
		return s.GetArtifact().LastUpdateTime.Time
	}
}
