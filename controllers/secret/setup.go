package secret

import (
	"context"
	"errors"
	"fmt"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fair"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/access"
	"github.com/aetherplatform/aether/internal/wakeup"
)

// Options of the controller.
type Options struct {
	// Cluster that this process runs in; "" is the one that the fleet is reconciled
	// in. SecretSyncs of namespaces that are placed elsewhere are refused.
	Cluster string
	// Concurrency is how many Secrets are worked on side by side. Default 16.
	Concurrency int
	// Connection of profiles that name no other OpenBao. Its Address is "" where there
	// is none.
	Connection openbao.Connection
	// Audience of the service accounts' tokens. Default: openbao.
	Audience string
	// Operator is how the operator itself logs in to the Connection's address, and to
	// that alone. Default: as its service account, to every address that a profile names.
	Operator access.Login
	// CheckInterval is how long what was seen of policies and roles in OpenBao is relied
	// on. What somebody changed lives for at most one and a half times that. Default: 5m.
	CheckInterval time.Duration
	// Rate is how many requests a second one OpenBao gets at the most. Default: 200.
	Rate float64
}

// Setup adds the controller of SecretSyncs to a manager.
func Setup(ctx context.Context, mgr ctrl.Manager, opts Options) error {
	if opts.Concurrency <= 0 {
		opts.Concurrency = 16
	}
	if opts.CheckInterval <= 0 {
		opts.CheckInterval = access.DefaultCheckInterval
	}
	if err := v1alpha1.AddToScheme(mgr.GetScheme()); err != nil {
		return fmt.Errorf("cannot register kinds: %w", err)
	}
	secrets, err := secretsClient(mgr)
	if err != nil {
		return fmt.Errorf("cannot make the client of Secrets: %w", err)
	}
	r := &Reconciler{
		Client: mgr.GetClient(), live: mgr.GetAPIReader(), secrets: secrets,
		settings: Settings{Connection: opts.Connection, OwnAddressOnly: opts.Operator != nil}, cluster: opts.Cluster,
		recorder: mgr.GetEventRecorder("secret-sync"), now: time.Now, started: time.Now(),
	}
	if r.bao, err = newAccess(ctx, mgr, opts); err != nil {
		return err
	}
	sweeper := &sweeper{r: r, interval: opts.CheckInterval / 2, wake: make(chan struct{}, 1)}
	r.sweep = sweeper.soon
	if err := mgr.Add(sweeper); err != nil {
		return fmt.Errorf("cannot add the sweeper: %w", err)
	}
	if err := metrics.Registry.Register(collector{r}); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return fmt.Errorf("cannot register metrics: %w", err)
	}
	return r.watch(mgr, opts.Concurrency)
}

// newAccess is the way into OpenBao of all namespaces.
func newAccess(ctx context.Context, mgr ctrl.Manager, opts Options) (*access.Access, error) {
	system := &corev1.Namespace{}
	if err := mgr.GetAPIReader().Get(ctx, client.ObjectKey{Name: "kube-system"}, system); err != nil {
		return nil, fmt.Errorf("cannot tell which cluster this is: %w", err)
	}
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	request := func(ctx context.Context, namespace, account, audience string, ttl time.Duration) (string, error) {
		seconds := int64(ttl.Seconds())
		answer, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		return answer.Status.Token, nil
	}
	if opts.Operator == nil {
		opts.Operator = access.Kubernetes{Audience: opts.Audience, TokenRequest: request}
	}
	return access.New(access.Options{
		ClusterID: string(system.UID), Audience: opts.Audience, CheckInterval: opts.CheckInterval,
		TokenRequest: request, Operator: opts.Operator, Now: time.Now, Client: openbao.Options{Rate: opts.Rate},
	})
}

func (r *Reconciler) watch(mgr ctrl.Manager, concurrency int) error {
	c, err := controller.New("secretsync", mgr, controller.Options{
		Reconciler:              r,
		MaxConcurrentReconciles: concurrency,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetry, maxRetry),
		NewQueue:                fair.ByTenant(mgr.GetCache(), func(of reconcile.Request) string { return of.Namespace }),
	})
	if err != nil {
		return fmt.Errorf("cannot make the controller of SecretSyncs: %w", err)
	}
	for _, s := range []source.Source{
		source.Kind(mgr.GetCache(), &v1alpha1.SecretSync{}, &handler.TypedEnqueueRequestForObject[*v1alpha1.SecretSync]{}, asked),
		source.Kind(mgr.GetCache(), &v1alpha1.TenantNamespace{}, wakeup.OnGeneration(r.wakeNamespace)),
		source.Kind(mgr.GetCache(), &v1alpha1.Tenant{}, wakeup.OnGeneration(r.wakeTenant)),
		source.Kind(mgr.GetCache(), &v1alpha1.NamespaceProfile{}, wakeup.OnGeneration(r.wakeProfile)),
	} {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("cannot watch %v: %w", s, err)
		}
	}
	return nil
}

// asked passes what may need work: our own statuses are none.
var asked = predicate.TypedFuncs[*v1alpha1.SecretSync]{
	UpdateFunc: func(e event.TypedUpdateEvent[*v1alpha1.SecretSync]) bool {
		return e.ObjectOld.Generation != e.ObjectNew.Generation || requestOf(e.ObjectOld) != requestOf(e.ObjectNew) ||
			!e.ObjectNew.DeletionTimestamp.IsZero() || len(e.ObjectOld.Finalizers) != len(e.ObjectNew.Finalizers)
	},
}

func (r *Reconciler) wakeNamespace(ctx context.Context, q wakeup.Queue, versions ...*v1alpha1.TenantNamespace) {
	r.wakeAll(ctx, q, client.InNamespace(versions[0].Name))
	r.sweep()
}

func (r *Reconciler) wakeTenant(ctx context.Context, q wakeup.Queue, versions ...*v1alpha1.Tenant) {
	r.wakeNamespaces(ctx, q, func(ns *v1alpha1.TenantNamespace) bool { return ns.Spec.Tenant == versions[0].Name })
	r.sweep()
}

func (r *Reconciler) wakeProfile(ctx context.Context, q wakeup.Queue, versions ...*v1alpha1.NamespaceProfile) {
	r.wakeNamespaces(ctx, q, func(ns *v1alpha1.TenantNamespace) bool { return ns.Spec.Profile == versions[0].Name })
}

func (r *Reconciler) wakeNamespaces(ctx context.Context, q wakeup.Queue, which func(*v1alpha1.TenantNamespace) bool) {
	var all v1alpha1.TenantNamespaceList
	if err := r.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list TenantNamespaces")
	}
	for i := range all.Items {
		if which(&all.Items[i]) {
			r.wakeAll(ctx, q, client.InNamespace(all.Items[i].Name))
		}
	}
}

// wakeAll makes SecretSyncs due.
func (r *Reconciler) wakeAll(ctx context.Context, q wakeup.Queue, which ...client.ListOption) {
	var all v1alpha1.SecretSyncList
	if err := r.List(ctx, &all, append(which, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list SecretSyncs")
	}
	for i := range all.Items {
		name := types.NamespacedName{Namespace: all.Items[i].Namespace, Name: all.Items[i].Name}
		r.memories.hurry(name)
		q.Add(reconcile.Request{NamespacedName: name})
	}
}

func requestOf(ss *v1alpha1.SecretSync) string {
	return ss.Annotations[fluxmeta.ReconcileRequestAnnotation]
}
