package namespace

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// sum tells what became of spec.secrets, which controllers/secret works on.
func (r *Reconciler) sum(ctx context.Context, s *scope) error {
	wanted := s.tn.Spec.Secrets
	if len(wanted) == 0 {
		s.secrets = &metav1.Condition{}
		return nil
	}
	c := &metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSynced}
	failing, first := 0, ""
	for i := range wanted {
		why, err := r.whyNotSynced(ctx, s.tn.Name, wanted[i].Name)
		if err != nil {
			return err
		}
		if why == "" {
			continue
		}
		if failing++; failing == 1 {
			first = wanted[i].Name + ": " + why
		}
	}
	c.Message = fmt.Sprintf("%d of %d hold what OpenBao has", len(wanted)-failing, len(wanted))
	if failing > 0 {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonSecretsNotSynced
		c.Message += "; " + first
	}
	s.secrets = c
	return nil
}

func (r *Reconciler) whyNotSynced(ctx context.Context, namespace, name string) (string, error) {
	ss := &v1alpha1.SecretSync{}
	err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, ss, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return "its SecretSync is not there yet", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot get SecretSync: %w", err)
	}
	ready := meta.FindStatusCondition(ss.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil || ss.Status.ObservedGeneration != ss.Generation:
		return "it has not been looked at yet", nil
	case ready.Status != metav1.ConditionTrue:
		return ready.Message, nil
	}
	return "", nil
}

// onSecretSync wakes the namespace of a SecretSync that says something else than before,
// once for all that do in a short while.
func onSecretSync() handler.TypedEventHandler[*v1alpha1.SecretSync, reconcile.Request] {
	said := func(ss *v1alpha1.SecretSync) string {
		c := meta.FindStatusCondition(ss.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || ss.Status.ObservedGeneration != ss.Generation {
			return ""
		}
		return string(c.Status) + c.Message
	}
	ours := func(ss *v1alpha1.SecretSync) bool { return ss.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy }
	return handler.TypedFuncs[*v1alpha1.SecretSync, reconcile.Request]{
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*v1alpha1.SecretSync], q queue) {
			before, after := said(e.ObjectOld), said(e.ObjectNew)
			if ours(e.ObjectNew) && after != "" && before != after {
				q.AddAfter(request(e.ObjectNew.Namespace), lull)
			}
		},
	}
}
