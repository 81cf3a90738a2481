package secret

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// hold puts a finalizer on a SecretSync whose Secret is to stay when it goes, and
// takes it off one whose Secret goes with it.
func (r *Reconciler) hold(ctx context.Context, s *scope) error {
	retain := s.ss.Spec.OnDelete == v1alpha1.OnDeleteRetain
	if retain == slices.Contains(s.ss.Finalizers, v1alpha1.FinalizerSecretSync) {
		return nil
	}
	finalizers := slices.DeleteFunc(slices.Clone(s.ss.Finalizers), func(f string) bool { return f == v1alpha1.FinalizerSecretSync })
	if retain {
		finalizers = append(finalizers, v1alpha1.FinalizerSecretSync)
	}
	return r.setFinalizers(ctx, s.ss, finalizers)
}

// release leaves the Secret of a SecretSync that goes to the team: without our marks,
// anyone may change it who may change Secrets. A Namespace that goes takes it along.
func (r *Reconciler) release(ctx context.Context, ss *v1alpha1.SecretSync) error {
	if !slices.Contains(ss.Finalizers, v1alpha1.FinalizerSecretSync) {
		return nil
	}
	if err := r.leave(ctx, ss); err != nil {
		return err
	}
	return r.setFinalizers(ctx, ss, slices.DeleteFunc(slices.Clone(ss.Finalizers), func(f string) bool { return f == v1alpha1.FinalizerSecretSync }))
}

func (r *Reconciler) leave(ctx context.Context, ss *v1alpha1.SecretSync) error {
	ns := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	err := r.live.Get(ctx, client.ObjectKey{Name: ss.Namespace}, ns)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot get Namespace: %w", err)
	}
	if !ns.DeletionTimestamp.IsZero() {
		return nil
	}
	s := &scope{ss: ss, memory: &memory{}}
	o := &corev1.Secret{}
	err = r.secrets.Get(ctx, client.ObjectKey{Namespace: ss.Namespace, Name: ss.SecretName()}, o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return s.refused("read", err, nil)
	}
	if !s.made(o) {
		return nil
	}
	for _, label := range []string{v1alpha1.LabelManagedBy, v1alpha1.LabelTenant, v1alpha1.LabelSecretSync} {
		delete(o.Labels, label)
	}
	o.Annotations, o.OwnerReferences = nil, nil
	if err := r.secrets.Update(ctx, o, client.FieldOwner(v1alpha1.FieldOwnerSecret)); err != nil {
		return s.refused("update", err, o.Data)
	}
	return nil
}

// setFinalizers writes them as the account of the namespace where the SecretSync is the
// team's own, since the operator changes only what it made (the policy owned-objects).
func (r *Reconciler) setFinalizers(ctx context.Context, ss *v1alpha1.SecretSync, finalizers []string) error {
	body, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": ss.UID},
		{"op": "test", "path": "/metadata/resourceVersion", "value": ss.ResourceVersion},
		{"op": "add", "path": "/metadata/finalizers", "value": append([]string{}, finalizers...)},
	})
	if err != nil {
		return fmt.Errorf("cannot write finalizers: %w", err)
	}
	writer := r.secrets
	if ss.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy {
		writer = r.Client
	}
	answer := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.KindSecretSync}}
	answer.Namespace, answer.Name = ss.Namespace, ss.Name
	err = writer.Patch(ctx, answer, client.RawPatch(types.JSONPatchType, body), client.FieldOwner(v1alpha1.FieldOwnerSecret))
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("cannot write finalizers: %w", err)
	}
	ss.Finalizers, ss.ResourceVersion = finalizers, answer.ResourceVersion
	return nil
}
