package cluster

import (
	"context"
	"errors"
	"fmt"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// controlPlaneFinalizer holds an AetherControlPlane until the keys that cert-manager made
// for it are bound to go.
const controlPlaneFinalizer = "controlplane.aetherplatform.cloud/keys"

// hold sets the finalizer, before there is any key.
func (r *Reconciler) hold(ctx context.Context, cp *cpv1.AetherControlPlane) error {
	if controllerutil.ContainsFinalizer(cp, controlPlaneFinalizer) {
		return nil
	}
	changed := cp.DeepCopy()
	controllerutil.AddFinalizer(changed, controlPlaneFinalizer)
	if err := r.Patch(ctx, changed, client.MergeFromWithOptions(cp, client.MergeFromWithOptimisticLock{}), client.FieldOwner(fieldOwner)); err != nil {
		return fmt.Errorf("cannot set the finalizer: %w", err)
	}
	cp.ResourceVersion, cp.Finalizers = changed.ResourceVersion, changed.Finalizers
	return nil
}

// end lets a control plane go. What it owns goes with it, and its data with its namespace;
// the Secrets of cert-manager belong to nobody, so each is given to its Certificate: it
// then goes after that, and cert-manager does not issue it anew. Nothing is asked of the
// control plane itself, which may be dead.
func (r *Reconciler) end(ctx context.Context, cp *cpv1.AetherControlPlane) error {
	if !controllerutil.ContainsFinalizer(cp, controlPlaneFinalizer) {
		return nil
	}
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.reader.Get(ctx, client.ObjectKey{Name: cp.Namespace}, namespace); err != nil {
		return fmt.Errorf("cannot get Namespace %s: %w", cp.Namespace, err)
	}
	if namespace.DeletionTimestamp == nil { // with which all Secrets go, and the right to read them
		if err := r.bequeath(ctx, cp); err != nil {
			return err
		}
	}
	changed := cp.DeepCopy()
	controllerutil.RemoveFinalizer(changed, controlPlaneFinalizer)
	if err := r.Patch(ctx, changed, client.MergeFromWithOptions(cp, client.MergeFromWithOptimisticLock{}), client.FieldOwner(fieldOwner)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot take the finalizer off: %w", err)
	}
	return nil
}

// bequeath gives the Secrets of cert-manager to their Certificates.
func (r *Reconciler) bequeath(ctx context.Context, cp *cpv1.AetherControlPlane) error {
	secrets := &metav1.PartialObjectMetadataList{} // who they are, and not what they hold
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := r.reader.List(ctx, secrets, client.InNamespace(cp.Namespace), client.MatchingLabels{
		controlplane.LabelManagedBy: controlplane.ManagedBy, controlplane.LabelCluster: controlplane.ClusterName(cp),
	})
	if apierrors.IsForbidden(err) { // the right to read them may have gone before
		err = errors.Join(err, r.put(ctx, controlplane.SecretsAccess(cp)))
	}
	if err != nil {
		return fmt.Errorf("cannot list Secrets: %w", err)
	}
	for i := range secrets.Items {
		if err := r.give(ctx, cp, &secrets.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// give a Secret of cert-manager to its Certificate; to the control plane where that is gone.
func (r *Reconciler) give(ctx context.Context, cp *cpv1.AetherControlPlane, secret *metav1.PartialObjectMetadata) error {
	name := secret.Annotations[certmanager.CertificateNameKey]
	if name == "" || len(secret.OwnerReferences) > 0 {
		return nil // ours, which goes anyway, or given already
	}
	owner := metav1.OwnerReference{APIVersion: cpv1.GroupVersion.String(), Kind: cpv1.KindAetherControlPlane, Name: cp.Name, UID: cp.UID}
	c := &unstructured.Unstructured{}
	c.SetGroupVersionKind(certmanager.SchemeGroupVersion.WithKind(certmanager.CertificateKind))
	switch err := r.reader.Get(ctx, client.ObjectKey{Namespace: cp.Namespace, Name: name}, c); {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("cannot get Certificate %s: %w", name, err)
	case err == nil && !metav1.IsControlledBy(c, cp):
		return nil // of another control plane of the cluster's name
	case err == nil:
		owner = metav1.OwnerReference{APIVersion: c.GetAPIVersion(), Kind: c.GetKind(), Name: name, UID: c.GetUID()}
	}
	changed := secret.DeepCopy()
	changed.OwnerReferences = []metav1.OwnerReference{owner}
	// Of this very Secret, as it was seen.
	patch := client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{})
	if err := r.Patch(ctx, changed, patch, client.FieldOwner(fieldOwner)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot give Secret %s to its Certificate: %w", secret.Name, err)
	}
	return nil
}
