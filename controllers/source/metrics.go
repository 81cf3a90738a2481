package source

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/aetherplatform/aether/internal/fleet"
)

var (
	reconcileSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "aether_source_reconcile_duration_seconds",
		Help:    "Time from the start of a reconcile of a TenantSource to its status.",
		Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 10),
	}, []string{"source"})

	tenantErrors = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_source_tenant_errors",
		Help: "Errors of a tenant's directory. Only tenants that have some are listed.",
	}, []string{"source", "tenant"})

	notReady = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_source_not_ready",
		Help: "1 for a TenantSource that is not Ready, with the reason. Only those that are not are listed.",
	}, []string{"source", "reason"})

	objectsApplied = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aether_source_objects_applied_total",
		Help: "Objects created or changed because Git asked for it, or put back.",
	})

	objectsRemoved = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aether_source_objects_removed_total",
		Help: "Objects marked as removed, or deleted, because they have left Git.",
	})

	lastApplied = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_source_last_applied_timestamp_seconds",
		Help: "When a TenantSource last changed something in the cluster.",
	}, []string{"source"})
)

func init() {
	metrics.Registry.MustRegister(reconcileSeconds, tenantErrors, notReady, objectsApplied, objectsRemoved, lastApplied)
}

func countApplied() { objectsApplied.Inc() }
func countRemoved() { objectsRemoved.Inc() }

func observeReconcile(source string, took time.Duration) {
	reconcileSeconds.WithLabelValues(source).Observe(took.Seconds())
}

func observeApplied(source string, at time.Time) {
	lastApplied.WithLabelValues(source).Set(float64(at.Unix()))
}

// observeOutcome says why a source is not Ready, in place of the reason that it had.
// One that stays is left alone: a scrape in between would begin the alert anew.
func observeOutcome(source string, m *memory, o *outcome) {
	reason := o.reason
	if o.ready == metav1.ConditionTrue {
		reason = ""
	}
	if m.notReady != "" && m.notReady != reason {
		notReady.DeleteLabelValues(source, m.notReady)
	}
	if m.notReady = reason; reason != "" {
		notReady.WithLabelValues(source, reason).Set(1)
	}
}

// observeFailures replaces what is known of a source's failing tenants.
func observeFailures(source string, failures map[string][]*fleet.Error) {
	tenantErrors.DeletePartialMatch(prometheus.Labels{"source": source})
	for tenant, errs := range failures {
		tenantErrors.WithLabelValues(source, tenant).Set(float64(len(errs)))
	}
}

func forgetMetrics(source string) {
	for _, m := range []*prometheus.MetricVec{reconcileSeconds.MetricVec, tenantErrors.MetricVec, notReady.MetricVec, lastApplied.MetricVec} {
		m.DeletePartialMatch(prometheus.Labels{"source": source})
	}
}
