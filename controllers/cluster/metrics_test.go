package cluster

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
)

// What is not there any more is not measured any more: an authority that was dropped
// would alert for as long as the process lives.
func TestWhatIsGoneIsNotMeasured(t *testing.T) {
	with := func(certificates ...string) *cpv1.AetherControlPlane {
		cp := &cpv1.AetherControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: "aether-cluster-measured", Name: "measured"}}
		for _, name := range certificates {
			ends := ptr.To(metav1.NewTime(time.Unix(1800000000, 0)))
			cp.Status.Certificates = append(cp.Status.Certificates, cpv1.CertificateStatus{Name: name, NotAfter: ends, RenewalTime: ends})
		}
		return cp
	}
	rotates := with("ca", "ca-2", "apiserver")
	rotates.Status.Rotation = &cpv1.Rotation{Phase: cpv1.RotationDropping, Since: metav1.NewTime(time.Unix(1700000000, 0))}
	const own = 2 // of each control plane: whether it is available, and whether an upgrade failed
	for _, step := range []struct {
		before, now *cpv1.AetherControlPlane
		want        int
	}{
		{with(), with("ca", "apiserver"), own + 2*2},
		{with("ca", "apiserver"), rotates, own + 2*3 + 1},
		{rotates, with("ca-2", "apiserver"), own + 2*2},
	} {
		measure(step.before, step.now)
		if got := series(t, "measured"); got != step.want {
			t.Errorf("%d series, want %d", got, step.want)
		}
	}
	unmeasure(types.NamespacedName{Namespace: "aether-cluster-measured", Name: "measured"})
	if got := series(t, "measured"); got != 0 {
		t.Errorf("%d series are left", got)
	}
}

// series counts what is measured of a control plane.
func series(t *testing.T, name string) int {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "name" && label.GetValue() == name {
					n++
				}
			}
		}
	}
	return n
}
