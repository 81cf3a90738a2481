package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// snapshots keeps what takes snapshots of etcd, and reports the newest. A snapshot that
// cannot be taken holds up nothing but an upgrade.
func (r *Reconciler) snapshots(ctx context.Context, s *scope) error {
	claim, schedule := s.plan.SnapshotObjects()
	if claim == nil {
		meta.RemoveStatusCondition(&s.cp.Status.Conditions, cpv1.ConditionSnapshotsReady)
		return r.takeAway(ctx, s, s.plan.SnapshotLeavings()...)
	}
	if err := r.put(ctx, claim, schedule); err != nil {
		return err
	}
	jobs, err := r.snapshotJobs(ctx, s)
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		if s.cp.Status.LastSnapshot == nil {
			r.set(s.cp, cpv1.ConditionSnapshotsReady, metav1.ConditionUnknown, cpv1.ReasonWaiting, "Waiting for the first snapshot")
		}
		return nil
	}
	newest := jobs[0]
	if newest.failed {
		r.set(s.cp, cpv1.ConditionSnapshotsReady, metav1.ConditionFalse, cpv1.ReasonSnapshotFailed, r.whyFailed(ctx, s, newest.Job))
	} else {
		r.set(s.cp, cpv1.ConditionSnapshotsReady, metav1.ConditionTrue, cpv1.ReasonAvailable, "The newest snapshot was taken and checked")
	}
	for _, j := range jobs {
		last := s.cp.Status.LastSnapshot
		if j.failed {
			continue
		}
		if last != nil && (last.Job == j.Name || !j.ended.After(last.Time.Time)) {
			break
		}
		said, err := r.reported(ctx, s, j.Job)
		if err != nil {
			return err
		}
		if said != nil && said.Name != "" {
			s.cp.Status.LastSnapshot = &cpv1.SnapshotStatus{Name: said.Name, Time: said.Time, Size: said.Size, Revision: said.Revision, Job: j.Name}
			break
		}
	}
	return nil
}

// ended is a Job that is over.
type ended struct {
	*batchv1.Job
	ended  time.Time
	failed bool
}

// snapshotJobs that are over, the newest first.
func (r *Reconciler) snapshotJobs(ctx context.Context, s *scope) ([]ended, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("JobList"))
	if err := r.List(ctx, list, client.InNamespace(s.cp.Namespace), client.MatchingLabels(s.plan.SnapshotJobs())); err != nil {
		return nil, fmt.Errorf("cannot list the Jobs that take snapshots: %w", err)
	}
	var all []ended
	for _, o := range list.Items {
		job := &batchv1.Job{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, job); err != nil {
			return nil, fmt.Errorf("cannot read Job %s: %w", o.GetName(), err)
		}
		if e, is := over(job); is {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b ended) int { return cmp.Or(b.ended.Compare(a.ended), cmp.Compare(a.Name, b.Name)) })
	return all, nil
}

func over(job *batchv1.Job) (ended, bool) {
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return ended{job, c.LastTransitionTime.Time, c.Type == batchv1.JobFailed}, true
		}
	}
	return ended{}, false
}

// report is what aether-etcd says when it ends.
type report struct {
	Name     string      `json:"name"`
	Time     metav1.Time `json:"time"`
	Size     int64       `json:"size"`
	Revision int64       `json:"revision"`
	Error    string      `json:"error"`
}

// reported is what the newest Pod of a Job has said; nil when there is none any more.
func (r *Reconciler) reported(ctx context.Context, s *scope, job *batchv1.Job) (*report, error) {
	var pods corev1.PodList
	if err := r.reader.List(ctx, &pods, client.InNamespace(s.cp.Namespace), client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
		return nil, fmt.Errorf("cannot list the Pods of Job %s: %w", job.Name, err)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			said := &report{}
			if t := c.State.Terminated; t != nil && json.Unmarshal([]byte(t.Message), said) == nil {
				return said, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // that there is none is an answer
}

// whyFailed is what a Job that failed has said of it.
func (r *Reconciler) whyFailed(ctx context.Context, s *scope, job *batchv1.Job) string {
	why := "it was not finished in time, or its Pod could not run"
	if said, err := r.reported(ctx, s, job); err == nil && said != nil && said.Error != "" {
		why = said.Error
	}
	return shorten(fmt.Sprintf("Job %s could not take a snapshot: %s", job.Name, why), 1000)
}

// snapshotBefore has a snapshot taken before an upgrade, and returns its name once it is
// there; "" where no snapshots are asked for.
func (r *Reconciler) snapshotBefore(ctx context.Context, s *scope) (string, error) {
	if s.cp.Spec.Etcd.Snapshots == nil {
		return "", nil
	}
	u := s.cp.Status.Upgrade
	want := s.plan.SnapshotBefore(u.Generation)
	job := &batchv1.Job{}
	if err := r.read(ctx, client.ObjectKeyFromObject(want), job); client.IgnoreNotFound(err) != nil {
		return "", err
	} else if err != nil {
		// Made once: what a Job runs cannot be changed.
		if err := r.put(ctx, want); err != nil {
			return "", err
		}
	}
	e, is := over(job)
	switch {
	case !is:
		return "", &waiting{reason: cpv1.ReasonUpgrading, message: fmt.Sprintf("The upgrade to %s waits for a snapshot of etcd", u.To)}
	case e.failed:
		return "", &waiting{reason: cpv1.ReasonSnapshotFailed, stuck: true, message: fmt.Sprintf(
			"The upgrade to %s waits for a snapshot of etcd. %s. Delete the Job to have it tried again", u.To, r.whyFailed(ctx, s, job))}
	}
	if last := s.cp.Status.LastSnapshot; last != nil && last.Job == job.Name {
		return last.Name, nil
	}
	said, err := r.reported(ctx, s, job)
	if err != nil {
		return "", err
	}
	if said == nil || said.Name == "" {
		return job.Name, nil // it is there, though nothing tells its name any more
	}
	return said.Name, nil
}

// restore has members that have no data begin with a snapshot, for as long as they have
// not begun.
func (r *Reconciler) restore(ctx context.Context, s *scope, begun bool) error {
	cm := s.plan.RestoreMap(begun || s.cp.Status.RestoredFrom != "")
	if cm == nil {
		return nil
	}
	if err := r.put(ctx, cm); err != nil {
		return err
	}
	if begun {
		s.cp.Status.RestoredFrom = s.cp.Spec.Etcd.RestoreFrom.Snapshot
	}
	return nil
}

// takeAway deletes objects of the control plane that are not asked for any more.
func (r *Reconciler) takeAway(ctx context.Context, s *scope, objects ...client.Object) error {
	for _, o := range objects {
		gvk, err := apiutil.GVKForObject(o, r.Scheme())
		if err != nil {
			return fmt.Errorf("cannot tell the kind of %T: %w", o, err)
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(gvk)
		switch err := r.Get(ctx, client.ObjectKeyFromObject(o), live); {
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("cannot get %s %s: %w", gvk.Kind, o.GetName(), err)
		case err != nil, live.GetDeletionTimestamp() != nil, !metav1.IsControlledBy(live, s.cp):
			continue
		}
		if err := r.applier.Delete(ctx, gvk, live.GetNamespace(), live.GetName(), live.GetUID()); err != nil {
			return err
		}
	}
	return nil
}

// ofJob leads from a Job that takes snapshots to its control plane: a CronJob owns it.
var ofJob = handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[controlplane.LabelName]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
})
