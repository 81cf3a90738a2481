package secret

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	secretsWritten = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aether_secrets_written_total",
		Help: "Secrets created, changed or put back.",
	})

	failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "aether_secret_sync_failures_total",
		Help: "Tries to sync a Secret that did not end with it synced, by tenant and reason.",
	}, []string{"tenant", "reason"})

	changeToSecretSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "aether_secret_change_to_synced_seconds",
		Help:    "Time from when a version was written in OpenBao until its Secret was.",
		Buckets: prometheus.ExponentialBuckets(0.5, 2, 12),
	})
)

func init() { metrics.Registry.MustRegister(secretsWritten, failures, changeToSecretSeconds) }

// collector tells how old what Secrets hold is, by tenant: a series for each Secret
// would be ten thousand.
type collector struct{ r *Reconciler }

var (
	syncsDesc = prometheus.NewDesc("aether_secret_syncs",
		"SecretSyncs of a tenant by state: synced or failing.", []string{"tenant", "state"}, nil)
	ageDesc = prometheus.NewDesc("aether_secret_unconfirmed_seconds",
		"Time since OpenBao was last found to have what the Secret holds, of the tenant's Secret where that is longest.", []string{"tenant"}, nil)
)

// Describe implements prometheus.Collector.
func (collector) Describe(descs chan<- *prometheus.Desc) { descs <- syncsDesc; descs <- ageDesc }

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	type sum struct {
		synced, failing int
		oldest          time.Duration
	}
	sums := map[string]*sum{}
	now := c.r.now()
	c.r.memories.each(func(m *memory) {
		if m.tenant == "" {
			return
		}
		of := sums[m.tenant]
		if of == nil {
			of = &sum{}
			sums[m.tenant] = of
		}
		if m.failing {
			of.failing++
		} else {
			of.synced++
		}
		if !m.confirmed.IsZero() {
			of.oldest = max(of.oldest, now.Sub(m.confirmed))
		}
	})
	for tenant, of := range sums {
		out <- prometheus.MustNewConstMetric(syncsDesc, prometheus.GaugeValue, float64(of.synced), tenant, "synced")
		out <- prometheus.MustNewConstMetric(syncsDesc, prometheus.GaugeValue, float64(of.failing), tenant, "failing")
		out <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, of.oldest.Seconds(), tenant)
	}
}

// measure keeps what the collector tells.
func (r *Reconciler) measure(s *scope, outcome *condition, now time.Time) {
	r.memories.measured(s.memory, s.tenant(), outcome != nil, func() time.Time {
		switch {
		case outcome == nil:
			return now
		case s.ss.Status.SyncedTime != nil && s.memory.confirmed.IsZero():
			return s.ss.Status.SyncedTime.Time // of another process
		}
		return s.memory.confirmed
	}())
}
