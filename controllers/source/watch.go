package source

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
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
	"github.com/aetherplatform/aether/internal/artifact"
	"github.com/aetherplatform/aether/internal/bases"
	"github.com/aetherplatform/aether/internal/wakeup"
)

// Options of the controller.
type Options struct {
	// Cluster that this process runs in; "" is the one that the fleet is reconciled
	// in. Namespaces that are placed elsewhere are left out.
	Cluster string
	// Concurrency is how many tenants are applied side by side. Default 16.
	Concurrency int
	// Namespace that TenantSources and their Flux sources are read from. Default
	// aether-system: whoever may write there may claim tenants.
	Namespace string
}

// Bounds of the retries of one TenantSource.
const (
	minRetry = 500 * time.Millisecond
	maxRetry = 2 * time.Minute
)

// Setup adds the controller to a manager. The manager's client should not limit
// itself (QPS -1): the API server's priority and fairness does that, and knows
// when it is needed.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Concurrency <= 0 {
		opts.Concurrency = 16
	}
	if opts.Namespace == "" {
		opts.Namespace = v1alpha1.SystemNamespace
	}
	for _, add := range []func() error{
		func() error { return v1alpha1.AddToScheme(mgr.GetScheme()) },
		func() error { return sourcev1.AddToScheme(mgr.GetScheme()) },
	} {
		if err := add(); err != nil {
			return fmt.Errorf("cannot register kinds: %w", err)
		}
	}

	// Sources have informers of their own, so that neither those of the tenants'
	// GitOps, of which there may be thousands, nor the right to read them come in.
	sources, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		DefaultNamespaces: map[string]cache.Config{opts.Namespace: {}, v1alpha1.SystemNamespace: {}},
		DefaultTransform:  cache.TransformStripManagedFields(),
	})
	if err != nil {
		return fmt.Errorf("cannot make the cache of sources: %w", err)
	}
	if err := mgr.Add(sources); err != nil {
		return fmt.Errorf("cannot add the cache of sources: %w", err)
	}

	stores, err := storesOf(mgr.GetCache())
	if err != nil {
		return err
	}
	r := &Reconciler{
		Client: mgr.GetClient(), stores: stores, sources: sources, bases: bases.New(sources),
		commits: remoteCommits{mgr.GetAPIReader()}, recorder: mgr.GetEventRecorder("aether-source"),
		now: time.Now, opts: opts,
	}
	c, err := controller.New("tenantsource", mgr, controller.Options{
		Reconciler:              r,
		MaxConcurrentReconciles: 4, // a source that hangs does not hold up the others
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
	})
	if err != nil {
		return fmt.Errorf("cannot make the controller: %w", err)
	}
	w := &watches{cache: sources, mapper: mgr.GetRESTMapper(), controller: c, handler: r.onSource(opts.Namespace)}
	r.serve = w.serve
	if err := c.Watch(&r.waker); err != nil {
		return fmt.Errorf("cannot let TenantSources wake each other: %w", err)
	}

	asked := predicate.Or(predicate.GenerationChangedPredicate{}, requested)
	if err := c.Watch(source.Kind[client.Object](sources, &v1alpha1.TenantSource{}, &handler.EnqueueRequestForObject{}, inNamespace(opts.Namespace), asked)); err != nil {
		return fmt.Errorf("cannot watch TenantSources: %w", err)
	}
	for _, kind := range fromGit {
		if err := c.Watch(source.Kind(mgr.GetCache(), kind, r.onObject())); err != nil {
			return fmt.Errorf("cannot watch %T: %w", kind, err)
		}
	}
	return nil
}

// requested passes a new value of reconcile.fluxcd.io/requestedAt.
var requested = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return true },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetAnnotations()[meta.ReconcileRequestAnnotation] != e.ObjectNew.GetAnnotations()[meta.ReconcileRequestAnnotation]
	},
}

func inNamespace(namespace string) predicate.Predicate {
	return predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetNamespace() == namespace })
}

type queue = wakeup.Queue

// onObject wakes the TenantSources whose object is not as they want it. Changes
// of status, and our own writes, wake nobody.
func (r *Reconciler) onObject() handler.EventHandler {
	seen := func(q queue, o client.Object, gone bool) {
		for k, m := range r.memories.all() {
			if m.seen(o, gone) {
				q.Add(reconcile.Request{NamespacedName: k})
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { seen(q, e.Object, false) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectNew.GetResourceVersion() != e.ObjectOld.GetResourceVersion() {
				seen(q, e.ObjectNew, false)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { seen(q, e.Object, true) },
	}
}

// onSource wakes the TenantSources that read from a Flux source, or whose
// profiles' base is in it, when its artifact has changed.
func (r *Reconciler) onSource(namespace string) func(kind string) handler.EventHandler {
	return func(kind string) handler.EventHandler {
		wake := func(ctx context.Context, q queue, o client.Object) {
			var list v1alpha1.TenantSourceList
			if err := r.sources.List(ctx, &list, client.InNamespace(namespace)); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "cannot list TenantSources")
				return
			}
			for _, ts := range list.Items {
				reads := ts.Spec.SourceRef == v1alpha1.SourceRef{Kind: kind, Name: o.GetName()} && o.GetNamespace() == namespace
				builds := o.GetNamespace() == v1alpha1.SystemNamespace && r.memories.of(client.ObjectKeyFromObject(&ts)).uses(kind, o.GetName())
				if reads || builds {
					q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&ts)})
				}
			}
		}
		return handler.Funcs{
			CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { wake(ctx, q, e.Object) },
			UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
				if digestOf(e.ObjectOld) != digestOf(e.ObjectNew) {
					wake(ctx, q, e.ObjectNew)
				}
			},
			DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, q, e.Object) },
		}
	}
}

// digestOf tells two artifacts apart.
func digestOf(o client.Object) string {
	s, ok := o.(artifact.Source)
	if !ok || s.GetArtifact() == nil {
		return ""
	}
	return s.GetArtifact().Revision + " " + s.GetArtifact().Digest
}

// watches are those of Flux kinds. One begins when a TenantSource first names the
// kind, since a cluster need not serve all of them, or any yet.
type watches struct {
	cache      cache.Cache
	mapper     apimeta.RESTMapper
	controller controller.Controller
	handler    func(kind string) handler.EventHandler

	mu   sync.Mutex
	kind map[string]bool
}

func (w *watches) serve(kind string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kind[kind] {
		return nil
	}
	o, err := artifact.NewSource(kind)
	if err != nil {
		return err
	}
	gvk := sourcev1.GroupVersion.WithKind(kind)
	if _, err := w.mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err != nil {
		return fmt.Errorf("the cluster does not serve %s %s: install Flux's source-controller", gvk.GroupVersion(), kind)
	}
	if err := w.controller.Watch(source.Kind[client.Object](w.cache, o, w.handler(kind))); err != nil {
		return fmt.Errorf("cannot watch %s: %w", kind, err)
	}
	if w.kind == nil {
		w.kind = map[string]bool{}
	}
	w.kind[kind] = true
	return nil
}
