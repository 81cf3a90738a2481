package cluster

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// asleep are the stages of a control plane that hibernates: its certificates are renewed,
// so that it can wake at any time.
func (r *Reconciler) asleep() []stage {
	return []stage{
		{cpv1.ConditionCertificatesReady, "All certificates are issued", r.certificates},
		{cpv1.ConditionHibernated, "None of its programs runs; its volumes, certificates and addresses are kept", r.sleep},
	}
}

// sleep ends all programs, etcd last: API servers write until they end.
func (r *Reconciler) sleep(ctx context.Context, s *scope) error {
	cp := s.cp
	for _, condition := range []string{cpv1.ConditionEtcdReady, cpv1.ConditionAPIServerReady, cpv1.ConditionControllersReady} {
		r.set(cp, condition, metav1.ConditionFalse, cpv1.ReasonHibernated, "It hibernates")
	}
	r.met.forget(client.ObjectKeyFromObject(cp)) // it is greeted again when it wakes
	s.plan.Use(r.interrupted(cp))
	if err := r.snapshots(ctx, s); err != nil { // none is taken meanwhile
		return err
	}
	deployments := s.plan.Deployments()
	if err := r.put(ctx, deployments[0], deployments[1], deployments[2]); err != nil {
		return err
	}
	for _, d := range deployments {
		if err := r.applied(ctx, d, d.Name); err != nil {
			return err
		}
		if d.Status.ObservedGeneration < d.Generation || d.Status.Replicas > 0 {
			return &waiting{reason: cpv1.ReasonWaiting, message: fmt.Sprintf("Waiting for %d of %s to end", d.Status.Replicas, d.Labels[controlplane.LabelComponent])}
		}
	}
	set := s.plan.EtcdStatefulSet()
	if err := r.ended(ctx, s, set); err != nil {
		return err
	}
	set.Spec.Replicas = ptr.To[int32](0)
	if err := r.put(ctx, set); err != nil {
		return err
	}
	if err := r.applied(ctx, set, "etcd"); err != nil {
		return err
	}
	if set.Status.ObservedGeneration < set.Generation || set.Status.Replicas > 0 {
		return &waiting{reason: cpv1.ReasonWaiting, message: fmt.Sprintf("Waiting for %d members of etcd to end", set.Status.Replicas)}
	}
	return nil
}

// ended waits until the last API server has, as long as etcd runs: a Deployment does not
// count those that are still ending.
func (r *Reconciler) ended(ctx context.Context, s *scope, set *appsv1.StatefulSet) error {
	is := &appsv1.StatefulSet{}
	switch err := r.read(ctx, client.ObjectKeyFromObject(set), is); {
	case client.IgnoreNotFound(err) != nil:
		return err
	case err != nil || ptr.Deref(is.Spec.Replicas, 1) == 0:
		return nil //nolint:nilerr // it is not there, or has ended
	}
	var pods corev1.PodList
	if err := r.reader.List(ctx, &pods, client.InNamespace(s.cp.Namespace), client.MatchingLabels(s.plan.Selector(controlplane.APIServer))); err != nil {
		return fmt.Errorf("cannot list the Pods of the API servers: %w", err)
	}
	if n := len(pods.Items); n > 0 {
		return &waiting{reason: cpv1.ReasonWaiting, after: soon, message: fmt.Sprintf("Waiting for %d of %s to end", n, controlplane.APIServer)}
	}
	return nil
}

// interrupted is the version that programs wake with: an upgrade that had not been seen
// healthy begins anew then, with another snapshot, and with all of its time.
func (r *Reconciler) interrupted(cp *cpv1.AetherControlPlane) string {
	u := cp.Status.Upgrade
	switch {
	case u != nil && u.APIServersAt != nil:
		return u.To
	case u != nil:
		u.StartedAt = nil
		return u.From
	case cp.Status.Version != "":
		return cp.Status.Version
	}
	return cp.Spec.Version
}

// wake lets go of what was said of a control plane while it hibernated. Its etcd is the
// first to come back, as when it was new.
func (r *Reconciler) wake(cp *cpv1.AetherControlPlane) {
	if !meta.RemoveStatusCondition(&cp.Status.Conditions, cpv1.ConditionHibernated) {
		return
	}
	if u := cp.Status.Upgrade; u != nil && u.APIServersAt != nil {
		u.APIServersAt = ptr.To(metav1.NewTime(r.now().Truncate(time.Second)))
	}
}
