package controlplane

import (
	"slices"
	"testing"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
)

// Who takes snapshots reads all that a cluster holds: it reaches etcd and nothing else,
// and nobody reaches it. Without snapshots that door is closed.
func TestWhoTakesSnapshotsReachesEtcdAlone(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cpv1.AetherControlPlaneSpec)
		want   []string
	}{
		"with snapshots":    {everything, []string{APIServer, Etcd, Snapshot}},
		"without snapshots": {func(*cpv1.AetherControlPlaneSpec) {}, []string{APIServer, Etcd}},
	} {
		t.Run(name, func(t *testing.T) {
			var in []string
			for _, policy := range planOf(t, controlPlane("acme-prod", test.change)).NetworkPolicies() {
				switch policy.Spec.PodSelector.MatchLabels[LabelComponent] {
				case Etcd:
					for _, rule := range policy.Spec.Ingress {
						for _, from := range rule.From {
							in = append(in, from.PodSelector.MatchLabels[LabelComponent])
						}
					}
				case Snapshot:
					out := policy.Spec.Egress
					if len(policy.Spec.Ingress) > 0 || len(out) != 1 || len(out[0].To) != 1 || out[0].To[0].PodSelector.MatchLabels[LabelComponent] != Etcd || len(out[0].Ports) != 1 {
						t.Errorf("who takes snapshots: in %v, out %v", policy.Spec.Ingress, out)
					}
				}
			}
			slices.Sort(in)
			if !slices.Equal(in, test.want) {
				t.Errorf("etcd is reached by %v, want %v", in, test.want)
			}
		})
	}
}

// A member whose volume is lost later would otherwise come back with the past.
func TestASnapshotIsRestoredOnlyBeforeTheMembersHaveBegun(t *testing.T) {
	p := planOf(t, controlPlane("acme-prod", everything))
	if got := p.RestoreMap(false).Data["snapshot"]; got != "20261127T120000Z-42.db" {
		t.Errorf("before, %q is restored", got)
	}
	if got := p.RestoreMap(true).Data; len(got) > 0 {
		t.Errorf("after, %v is restored", got)
	}
}

func TestSnapshotsOutliveTheirControlPlane(t *testing.T) {
	claim, schedule := planOf(t, controlPlane("acme-prod", everything)).SnapshotObjects()
	if len(claim.OwnerReferences) > 0 {
		t.Errorf("the volume of snapshots goes with %v", claim.OwnerReferences)
	}
	if len(schedule.OwnerReferences) != 1 {
		t.Error("what takes snapshots does not go with the control plane")
	}
}
