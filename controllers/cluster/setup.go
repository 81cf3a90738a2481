package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// Options of the controllers.
type Options struct {
	// ControlPlane is where images come from.
	ControlPlane controlplane.Options
	// Dial opens connections to the API servers of control planes, for a process outside of
	// the cluster that they run in: names of Services mean nothing there. Default: as the
	// system does.
	Dial Dial
	// Concurrency is how many control planes are worked on side by side. Default 8.
	Concurrency int
}

// Bounds of the retries of one control plane.
const (
	minRetry = 200 * time.Millisecond
	maxRetry = time.Minute
)

// Kinds that a control plane consists of.
var (
	ownKinds = []schema.GroupVersionKind{
		appsv1.SchemeGroupVersion.WithKind("Deployment"),
		appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		batchv1.SchemeGroupVersion.WithKind("CronJob"),
		corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		corev1.SchemeGroupVersion.WithKind("Service"),
		networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
		policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
		rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
	}
	certManagerKinds = []schema.GroupVersionKind{
		certmanager.SchemeGroupVersion.WithKind(certmanager.IssuerKind),
		certmanager.SchemeGroupVersion.WithKind(certmanager.CertificateKind),
	}
)

// AddToScheme registers the kinds that the controllers read and write.
func AddToScheme(s *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{
		cpv1.AddToScheme, v1alpha1.AddToScheme, certmanager.AddToScheme,
		appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return fmt.Errorf("cannot register kinds: %w", err)
		}
	}
	return nil
}

// CacheOptions are those of the manager's cache: of the cluster's objects it holds what
// the cluster controller made, with the managed fields by which put tells whose an
// object's content is.
func CacheOptions() cache.Options {
	return cache.Options{
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{controlplane.LabelManagedBy: controlplane.ManagedBy}),
		ByObject: map[client.Object]cache.ByObject{
			&cpv1.AetherControlPlane{}:  {Label: labels.Everything()},
			&v1alpha1.WorkloadCluster{}: {Label: labels.Everything()},
		},
	}
}

// ClientOptions are those of the manager's client: it reads from the cache what put
// compares, and Secrets never.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{Unstructured: true, DisableFor: []client.Object{&corev1.Secret{}}}}
}

// Setup adds the controllers of WorkloadClusters and AetherControlPlanes to a manager
// that was made with AddToScheme, CacheOptions and ClientOptions.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Concurrency <= 0 {
		opts.Concurrency = 8
	}
	applier, err := apply.New(mgr.GetConfig(), mgr.GetRESTMapper(), fieldOwner)
	if err != nil {
		return err
	}
	r := &Reconciler{
		Client: mgr.GetClient(), reader: mgr.GetAPIReader(), applier: applier, recorder: mgr.GetEventRecorder("aether-cluster"),
		now: time.Now, opts: opts.ControlPlane, reach: opts.Dial.reach,
	}
	return errors.Join(r.setup(mgr, opts.Concurrency), setupWorkloads(mgr, applier))
}

// setupWorkloads adds the controller of WorkloadClusters.
func setupWorkloads(mgr ctrl.Manager, applier *apply.Applier) error {
	r := &WorkloadReconciler{Client: mgr.GetClient(), applier: applier, now: time.Now}
	c, err := controller.New("workloadcluster", mgr, controller.Options{
		Reconciler:  r,
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
	})
	if err != nil {
		return fmt.Errorf("cannot make the controller: %w", err)
	}
	// Both are found by the label of their cluster.
	ofCluster := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		if o.GetLabels()[controlplane.LabelManagedBy] != controlplane.ManagedBy {
			return nil
		}
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: o.GetLabels()[controlplane.LabelCluster]}}}
	})
	namespace := &unstructured.Unstructured{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	for _, s := range []source.Source{
		source.Kind(mgr.GetCache(), &v1alpha1.WorkloadCluster{}, &handler.TypedEnqueueRequestForObject[*v1alpha1.WorkloadCluster]{}),
		source.Kind[client.Object](mgr.GetCache(), &cpv1.AetherControlPlane{}, ofCluster),
		source.Kind[client.Object](mgr.GetCache(), namespace, ofCluster),
	} {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("cannot watch for WorkloadClusters: %w", err)
		}
	}
	return nil
}

func (r *Reconciler) setup(mgr ctrl.Manager, concurrency int) error {
	c, err := controller.New("aethercontrolplane", mgr, controller.Options{
		Reconciler:              r,
		MaxConcurrentReconciles: concurrency,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
	})
	if err != nil {
		return fmt.Errorf("cannot make the controller: %w", err)
	}
	if err := c.Watch(source.Kind(mgr.GetCache(), &cpv1.AetherControlPlane{}, &handler.TypedEnqueueRequestForObject[*cpv1.AetherControlPlane]{})); err != nil {
		return fmt.Errorf("cannot watch AetherControlPlanes: %w", err)
	}
	owned := &ownedWatch{mgr: mgr, controller: c}
	for _, kind := range ownKinds {
		if err := owned.watch(kind); err != nil {
			return err
		}
	}
	if err := owned.watchBy(batchv1.SchemeGroupVersion.WithKind("Job"), ofJob); err != nil {
		return err
	}
	r.watch = owned.certManager
	clusters := &clusterWatch{mgr: mgr, controller: c}
	r.watchClusters = clusters.begin
	return nil
}

// ownedWatch watches what control planes own.
type ownedWatch struct {
	mgr        ctrl.Manager
	controller controller.Controller

	mu      sync.Mutex
	watched bool
}

func (w *ownedWatch) watch(kind schema.GroupVersionKind) error {
	return w.watchBy(kind, handler.EnqueueRequestForOwner(w.mgr.GetScheme(), w.mgr.GetRESTMapper(), &cpv1.AetherControlPlane{}, handler.OnlyControllerOwner()))
}

// watchBy has a handler say which control plane an object is of.
func (w *ownedWatch) watchBy(kind schema.GroupVersionKind, owner handler.EventHandler) error {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	if err := w.controller.Watch(source.Kind[client.Object](w.mgr.GetCache(), o, owner)); err != nil {
		return fmt.Errorf("cannot watch %s: %w", kind.Kind, err)
	}
	return nil
}

// certManager watches cert-manager's kinds from when the cluster has them, and says
// whether it does.
func (w *ownedWatch) certManager() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched {
		return true
	}
	for _, kind := range certManagerKinds {
		if _, err := w.mgr.GetRESTMapper().RESTMapping(kind.GroupKind(), kind.Version); err != nil {
			return false
		}
	}
	for _, kind := range certManagerKinds {
		if err := w.watch(kind); err != nil {
			w.mgr.GetLogger().Error(err, "cannot watch cert-manager's objects")
			return false
		}
	}
	w.watched = true
	return true
}

// clusterWatch watches Cluster API's Clusters, by which their control planes are paused.
// They carry no label of ours, and so have a cache of their own.
type clusterWatch struct {
	mgr        ctrl.Manager
	controller controller.Controller

	mu      sync.Mutex
	watched bool
}

func (w *clusterWatch) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched {
		return nil
	}
	clusters, err := cache.New(w.mgr.GetConfig(), cache.Options{Scheme: w.mgr.GetScheme(), Mapper: w.mgr.GetRESTMapper(), HTTPClient: w.mgr.GetHTTPClient()})
	if err != nil {
		return fmt.Errorf("cannot make a cache of Cluster API's Clusters: %w", err)
	}
	if err := w.mgr.Add(clusters); err != nil {
		return fmt.Errorf("cannot start the cache of Cluster API's Clusters: %w", err)
	}
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(clusterKind)
	controlPlane := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name, _, _ := unstructured.NestedString(o.(*unstructured.Unstructured).Object, "spec", "controlPlaneRef", "name")
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: name}}}
	})
	if err := w.controller.Watch(source.Kind[client.Object](clusters, o, controlPlane)); err != nil {
		return fmt.Errorf("cannot watch Cluster API's Clusters: %w", err)
	}
	w.watched = true
	return nil
}
