package cluster

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
)

var (
	available = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_control_plane_available",
		Help: "Whether the API server of a hosted control plane can be used: 1 or 0.",
	}, []string{"namespace", "name"})
	expiry = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_control_plane_certificate_expiry_seconds",
		Help: "When a certificate of a hosted control plane ends, in seconds since 1970.",
	}, []string{"namespace", "name", "certificate"})
	snapshotTime = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_control_plane_last_snapshot_timestamp_seconds",
		Help: "When the newest snapshot of etcd of a hosted control plane was taken, in seconds since 1970.",
	}, []string{"namespace", "name"})
	snapshotSize = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_control_plane_last_snapshot_size_bytes",
		Help: "Size of the newest snapshot of etcd of a hosted control plane.",
	}, []string{"namespace", "name"})
	upgradeFailed = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_control_plane_upgrade_failed",
		Help: "Whether the version that a hosted control plane is asked to have failed: 1 or 0.",
	}, []string{"namespace", "name"})
	renewal = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_control_plane_certificate_renewal_seconds",
		Help: "When cert-manager renews a certificate of a hosted control plane, in seconds since 1970.",
	}, []string{"namespace", "name", "certificate"})
	rotationSince = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "aether_control_plane_rotation_since_seconds",
		Help: "When the phase began in which the authorities of a hosted control plane are changed, in seconds since 1970.",
	}, []string{"namespace", "name", "phase"})
	objectsApplied = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "aether_control_plane_objects_applied_total",
		Help: "Objects of hosted control planes that were written.",
	})
)

func init() {
	metrics.Registry.MustRegister(available, expiry, renewal, rotationSince, snapshotTime, snapshotSize, upgradeFailed, objectsApplied)
}

// measure says what a control plane is, and no more of it what it was before.
func measure(before, cp *cpv1.AetherControlPlane) {
	is := 0.0
	if meta.IsStatusConditionTrue(cp.Status.Conditions, cpv1.ConditionAvailable) {
		is = 1
	}
	available.WithLabelValues(cp.Namespace, cp.Name).Set(is)
	if last := cp.Status.LastSnapshot; last != nil {
		snapshotTime.WithLabelValues(cp.Namespace, cp.Name).Set(float64(last.Time.Unix()))
		snapshotSize.WithLabelValues(cp.Namespace, cp.Name).Set(float64(last.Size))
	}
	failed := 0.0
	if u := cp.Status.Upgrade; u != nil && u.Failure != "" {
		failed = 1
	}
	upgradeFailed.WithLabelValues(cp.Namespace, cp.Name).Set(failed)
	for _, c := range before.Status.Certificates {
		if !slices.ContainsFunc(cp.Status.Certificates, func(is cpv1.CertificateStatus) bool { return is.Name == c.Name }) {
			expiry.DeleteLabelValues(cp.Namespace, cp.Name, c.Name)
			renewal.DeleteLabelValues(cp.Namespace, cp.Name, c.Name)
		}
	}
	for _, c := range cp.Status.Certificates {
		if c.NotAfter != nil {
			expiry.WithLabelValues(cp.Namespace, cp.Name, c.Name).Set(float64(c.NotAfter.Unix()))
		}
		if c.RenewalTime != nil {
			renewal.WithLabelValues(cp.Namespace, cp.Name, c.Name).Set(float64(c.RenewalTime.Unix()))
		}
	}
	rotationSince.DeletePartialMatch(prometheus.Labels{"namespace": cp.Namespace, "name": cp.Name})
	if is := cp.Status.Rotation; is != nil {
		rotationSince.WithLabelValues(cp.Namespace, cp.Name, string(is.Phase)).Set(float64(is.Since.Unix()))
	}
}

func unmeasure(name types.NamespacedName) {
	labels := prometheus.Labels{"namespace": name.Namespace, "name": name.Name}
	for _, vec := range []*prometheus.GaugeVec{available, expiry, renewal, rotationSince, snapshotTime, snapshotSize, upgradeFailed} {
		vec.DeletePartialMatch(labels)
	}
}
