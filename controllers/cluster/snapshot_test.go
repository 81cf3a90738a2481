package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/snapshot"
	"github.com/aetherplatform/aether/internal/testenv"
)

func TestSnapshots(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	w.operate()
	w.asks("acme-prod", func(cp *cpv1.AetherControlPlane) {
		cp.Spec.Etcd.Snapshots = &cpv1.Snapshots{Volume: cpv1.SnapshotVolume{Size: resource.MustParse("20Gi")}}
	})
	w.comesUp("acme-prod")
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf("acme-prod"), Name: "default"}})
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf("acme-prod"), Name: "acme-prod-snapshots"}}
	schedule := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf("acme-prod"), Name: "acme-prod-snapshot"}}

	w.run("are taken on a schedule, with a certificate of their own, onto a volume of their own", func(w *world) {
		w.there(schedule)
		w.there(claim)
		if schedule.Spec.Schedule != "17 */6 * * *" || len(claim.OwnerReferences) > 0 {
			w.Errorf("the schedule is %q, and the volume goes with %v", schedule.Spec.Schedule, claim.OwnerReferences)
		}
		if c := w.certificate("acme-prod", "etcd-backup"); c.Subject.CommonName != "aether-etcd-backup" {
			w.Errorf("who takes them is %s", c.Subject.CommonName)
		}
		w.says("acme-prod", "SnapshotsReady", metav1.ConditionUnknown, "Waiting for the first snapshot")
		w.silent()
	})
	w.run("are reported once they were taken", func(w *world) {
		w.ends(w.scheduled("acme-prod", schedule, 1), snapshot.Taken{Name: "20261127T120000Z-42.db", Time: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), Size: 4096, Revision: 42}, "")
		w.says("acme-prod", "SnapshotsReady", metav1.ConditionTrue, "The newest snapshot was taken and checked")
		cp, err := w.controlPlane(w.Context(), "acme-prod")
		if err != nil {
			w.Fatal(err)
		}
		if got := cp.Status.LastSnapshot; got == nil || got.Name != "20261127T120000Z-42.db" || got.Size != 4096 || got.Revision != 42 || got.Job != "acme-prod-snapshot-1" {
			w.Errorf("the last snapshot is said to be %+v", got)
		}
		w.silent()
	})
	w.run("that fail are said, and hold up nothing", func(w *world) {
		w.ends(w.scheduled("acme-prod", schedule, 2), snapshot.Taken{}, "no space left on device")
		w.says("acme-prod", "SnapshotsReady", metav1.ConditionFalse, "Job acme-prod-snapshot-2 could not take a snapshot: no space left on device")
		w.says("acme-prod", "Ready", metav1.ConditionTrue, "")
		w.silent()
	})
	w.run("come before an upgrade, which waits for one that fails", func(w *world) {
		w.upgrades("acme-prod", "v1.36.4", 5*time.Minute)
		cp := w.says("acme-prod", "Ready", metav1.ConditionFalse, "The upgrade to v1.36.4 waits for a snapshot of etcd")
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: cp.Namespace, Name: fmt.Sprintf("acme-prod-upgrade-%d", cp.Status.Upgrade.Generation)}}
		w.there(job)
		w.says("acme-prod", "Available", metav1.ConditionTrue, "")
		w.has("acme-prod", "apiserver", "v1.36.3")

		w.ends(job, snapshot.Taken{}, "etcd is away")
		w.says("acme-prod", "Stalled", metav1.ConditionTrue, fmt.Sprintf(
			"The upgrade to v1.36.4 waits for a snapshot of etcd. Job %s could not take a snapshot: etcd is away. Delete the Job to have it tried again", job.Name))
		w.has("acme-prod", "apiserver", "v1.36.3")
		w.silent()

		was := job.UID
		if err := w.Client.Delete(w.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
			w.Fatal(err)
		}
		testenv.Eventually(w.T, func(ctx context.Context) error {
			if err := w.Client.Get(ctx, client.ObjectKeyFromObject(job), job); err != nil {
				return err
			}
			if job.UID == was {
				return fmt.Errorf("it is still the Job that failed")
			}
			return nil
		})
		w.ends(job, snapshot.Taken{Name: "20261127T130000Z-50.db", Time: time.Now(), Size: 8192, Revision: 50}, "")
		w.becomes("acme-prod", "apiserver", "v1.36.4")
		cp, err := w.controlPlane(w.Context(), "acme-prod")
		if err != nil {
			w.Fatal(err)
		}
		if got := cp.Status.Upgrade.Snapshot; got != "20261127T130000Z-50.db" {
			w.Errorf("the snapshot before the upgrade is said to be %q", got)
		}
		w.runs(deploymentOf("acme-prod", "apiserver"))
		for _, component := range []string{"controller-manager", "scheduler"} {
			w.becomes("acme-prod", component, "v1.36.4")
		}
		w.comesUp("acme-prod")
	})
	w.run("that are not asked for any more are not taken, and stay", func(w *world) {
		if err := w.changes("acme-prod", func(cp *cpv1.AetherControlPlane) { cp.Spec.Etcd.Snapshots = nil }); err != nil {
			w.Fatal(err)
		}
		for _, o := range []client.Object{schedule, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf("acme-prod"), Name: "acme-prod-snapshot"}}} {
			testenv.Eventually(w.T, func(ctx context.Context) error {
				return testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(o), o))
			})
		}
		w.there(claim)
		if claim.DeletionTimestamp != nil {
			w.Error("the volume with the snapshots is being deleted")
		}
		w.silent()
	})
}

func TestAControlPlaneBeginsWithASnapshotOnce(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	w.operate()
	w.asks("acme-again", func(cp *cpv1.AetherControlPlane) {
		cp.Spec.Etcd.RestoreFrom = &cpv1.RestoreFrom{ClaimName: "acme-prod-snapshots", Snapshot: "20261127T120000Z-42.db"}
	})
	restore := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf("acme-again"), Name: "acme-again-restore"}}
	w.says("acme-again", "EtcdReady", metav1.ConditionFalse, "Waiting for etcd: 0 of 1 members are ready, 0 up to date; they begin with snapshot 20261127T120000Z-42.db")
	w.there(restore)
	if restore.Data["snapshot"] != "20261127T120000Z-42.db" {
		t.Errorf("the members are told %v", restore.Data)
	}
	cp := w.comesUp("acme-again")
	if cp.Status.RestoredFrom != "20261127T120000Z-42.db" {
		t.Errorf("it is said to have begun with %q", cp.Status.RestoredFrom)
	}
	w.there(restore)
	if len(restore.Data) > 0 {
		t.Errorf("a member whose volume is lost would begin with %v", restore.Data)
	}
	w.silent()
	for name, from := range map[string]*cpv1.RestoreFrom{"another": {ClaimName: "acme-prod-snapshots", Snapshot: "20261128T120000Z-99.db"}, "none": nil} {
		if err := w.changes("acme-again", func(cp *cpv1.AetherControlPlane) { cp.Spec.Etcd.RestoreFrom = from }); err == nil {
			t.Errorf("it can be told of %s", name)
		}
	}
}

// scheduled makes a Job as the CronJob's controller would.
func (w *world) scheduled(name string, of *batchv1.CronJob, n int) *batchv1.Job {
	w.Helper()
	template := of.Spec.JobTemplate
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespaceOf(name), Name: fmt.Sprintf("%s-%d", of.Name, n), Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(of, batchv1.SchemeGroupVersion.WithKind("CronJob"))},
		},
		Spec: template.Spec,
	}
	w.create(job)
	return job
}

// ends says of a Job that its Pod has ended, as the kubelet and its controller would.
func (w *world) ends(job *batchv1.Job, taken snapshot.Taken, failure string) {
	w.Helper()
	said, err := json.Marshal(struct {
		snapshot.Taken
		Error string `json:"error,omitempty"`
	}{taken, failure})
	if err != nil {
		w.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, GenerateName: job.Name + "-", Labels: job.Spec.Template.Labels}, Spec: job.Spec.Template.Spec}
	pod.Labels = map[string]string{batchv1.JobNameLabel: job.Name, controlplane.LabelComponent: controlplane.Snapshot}
	w.create(pod)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "snapshot", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(said)}}}}
	if err := w.Client.Status().Update(w.Context(), pod); err != nil {
		w.Fatal(err)
	}
	before := job.DeepCopy()
	now := metav1.Now()
	first, last := batchv1.JobSuccessCriteriaMet, batchv1.JobComplete
	job.Status.StartTime = &now
	if failure != "" {
		first, last = batchv1.JobFailureTarget, batchv1.JobFailed
		job.Status.Failed = 1
	} else {
		job.Status.Succeeded, job.Status.CompletionTime = 1, &now
	}
	job.Status.UncountedTerminatedPods, job.Status.Ready = &batchv1.UncountedTerminatedPods{}, ptr.To[int32](0)
	for _, kind := range []batchv1.JobConditionType{first, last} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now, LastProbeTime: now})
	}
	if err := w.Client.Status().Patch(w.Context(), job, client.MergeFrom(before)); err != nil {
		w.Fatal(err)
	}
	<-time.After(time.Second) // so that the next one ends in another second
}
