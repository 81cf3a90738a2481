package namespace

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

var (
	reconcileSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "aether_namespace_reconcile_duration_seconds",
		Help:    "Time of one reconcile of a TenantNamespace, its writes included.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 3, 12),
	})

	pushToReadySeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "aether_namespace_push_to_ready_seconds",
		Help: "Time from Flux's artifact of the revision that last changed a TenantNamespace until it was Ready, " +
			"once a generation; from its creation where that artifact is not the newest any more.",
		Buckets: prometheus.ExponentialBuckets(0.1, 1.8, 12),
	})

	objectsApplied = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aether_namespace_objects_applied_total",
		Help: "Objects created, changed or put back in tenants' namespaces.",
	})

	objectsRepaired = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aether_namespace_objects_repaired_total",
		Help: "Objects put back because somebody else had changed or deleted them.",
	})

	objectsPruned = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aether_namespace_objects_pruned_total",
		Help: "Objects deleted because they are not asked for any more.",
	})

	failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "aether_namespace_failures_total",
		Help: "Reconciles of TenantNamespaces that failed or need a person.",
	}, []string{"tenant"})

	tenantNamespaces = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_tenant_namespaces",
		Help: "Namespaces of a tenant by state: ready, not_ready or removed.",
	}, []string{"tenant", "state"})
)

func init() {
	metrics.Registry.MustRegister(reconcileSeconds, pushToReadySeconds, objectsApplied, objectsRepaired, objectsPruned, failures, tenantNamespaces)
}

// measure counts how long a generation took to be Ready, once.
func (r *Reconciler) measure(ctx context.Context, s *scope) {
	if s.memory.counted == s.tn.Generation || !s.memory.working {
		return
	}
	s.memory.counted, s.memory.working = s.tn.Generation, false
	since := r.published(ctx, s.tn)
	if since.IsZero() && s.tn.Generation == 1 {
		since = s.tn.CreationTimestamp.Time
	}
	if !since.IsZero() {
		pushToReadySeconds.Observe(r.now().Sub(since).Seconds())
	}
}

func measureTenant(name string, c v1alpha1.NamespaceCounts) {
	for state, n := range map[string]int32{"ready": c.Ready, "not_ready": c.Total - c.Ready - c.Removed, "removed": c.Removed} {
		tenantNamespaces.WithLabelValues(name, state).Set(float64(n))
	}
}

func forgetTenant(name string) {
	tenantNamespaces.DeletePartialMatch(prometheus.Labels{"tenant": name})
	failures.DeletePartialMatch(prometheus.Labels{"tenant": name})
}
