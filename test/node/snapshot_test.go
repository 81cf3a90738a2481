//go:build node

package node

import (
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/local"
)

// What a cluster held when a snapshot was taken is in the new control plane that begins
// with it, and what came later is not. Who takes snapshots and who restores them run as
// the Pod Security Standard restricted allows, behind policies that Cilium enforces.
func TestASnapshotOfAHostedControlPlaneBecomesAnother(t *testing.T) {
	w := newWorld(t)
	class := "acme-old-snapshots"
	old := w.asks("acme-old", 1, 1, func(s *cpv1.AetherControlPlaneSpec) {
		s.Etcd.Snapshots = &cpv1.Snapshots{Schedule: "17 3 * * *", Keep: 3, Volume: cpv1.SnapshotVolume{Size: volumeSize, StorageClassName: &class}}
	})
	old.hasVolumes(class, 1)
	old.becomesReady("it was asked for")
	inside := old.connects()
	old.writes(inside)
	name := old.snapshots()
	later := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: remembered.Namespace, Name: "later"}}
	if err := inside.Create(t.Context(), later); err != nil {
		t.Fatal(err)
	}

	again := &hosted{world: w, name: "acme-again", in: old.namespace()}
	again.hasVolumes(again.name, 1)
	again.begins(1, 1, func(s *cpv1.AetherControlPlaneSpec) {
		s.Etcd.RestoreFrom = &cpv1.RestoreFrom{ClaimName: "acme-old-snapshots", Snapshot: name}
	})
	again.becomesReady("it was asked to begin with " + name)
	restored := again.connects()
	again.holds(restored)
	if err := restored.Get(t.Context(), client.ObjectKeyFromObject(later), &corev1.ConfigMap{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("what came after the snapshot is answered with %v, want that it is not there", err)
	}
	if err := restored.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: remembered.Namespace, Name: "new"}}); err != nil {
		t.Errorf("the restored cluster takes nothing new: %v", err)
	}
	old.holds(inside) // and the one that the snapshot is of runs on
}

// snapshots takes one as `kubectl create job --from` does, and returns its name.
func (h *hosted) snapshots() string {
	h.Helper()
	schedule := &batchv1.CronJob{}
	if err := h.Client.Get(h.Context(), client.ObjectKey{Namespace: h.namespace(), Name: h.name + "-snapshot"}, schedule); err != nil {
		h.Fatal(err)
	}
	h.makes(&batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: h.namespace(), Name: h.name + "-now", Labels: schedule.Spec.JobTemplate.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(schedule, batchv1.SchemeGroupVersion.WithKind("CronJob"))},
		},
		Spec: schedule.Spec.JobTemplate.Spec,
	})
	cp := &cpv1.AetherControlPlane{}
	h.await("a snapshot", func() (bool, error) {
		if err := h.Client.Get(h.Context(), client.ObjectKey{Namespace: h.namespace(), Name: h.name}, cp); err != nil {
			return false, err
		}
		return cp.Status.LastSnapshot != nil, fmt.Errorf("%+v", cp.Status.Conditions)
	})
	h.Logf("took %s of %d bytes on %s", cp.Status.LastSnapshot.Name, cp.Status.LastSnapshot.Size, local.NodeName(1))
	return cp.Status.LastSnapshot.Name
}
