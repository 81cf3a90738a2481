package secret

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// put writes the Secret, unless it is as it shall be.
func (r *Reconciler) put(ctx context.Context, s *scope, data map[string][]byte) error {
	key := client.ObjectKey{Namespace: s.ss.Namespace, Name: s.ss.SecretName()}
	if s.known == nil {
		made := s.dress(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}, data)
		if err := r.secrets.Create(ctx, made, client.FieldOwner(v1alpha1.FieldOwnerSecret)); err != nil {
			return s.refused("create", err, data)
		}
		s.wrote(made)
		return nil
	}
	there := &corev1.Secret{}
	if err := r.secrets.Get(ctx, key, there); err != nil {
		return s.refused("read", err, nil)
	}
	if err := s.ours(there); err != nil {
		return err
	}
	if there.Immutable != nil && *there.Immutable && !s.ss.Spec.Immutable {
		return stalled(v1alpha1.ReasonInvalidSpec, "Secret %q is immutable, and stays so; for one that follows OpenBao, use another name", there.Name)
	}
	wanted := s.dress(there.DeepCopy(), data)
	changed := !equality.Semantic.DeepEqual(there.Data, wanted.Data)
	if changed && len(s.ss.Spec.Rollout) > 0 {
		// A version of OpenBao's, and which spec made this of it.
		wanted.Annotations[v1alpha1.AnnotationRollout] = fmt.Sprintf("%d.%d", s.version, s.ss.Generation)
	}
	if equality.Semantic.DeepEqual(there, wanted) {
		s.observed(there)
		s.known.Annotations = there.Annotations
		return nil
	}
	if err := r.secrets.Update(ctx, wanted, client.FieldOwner(v1alpha1.FieldOwnerSecret)); err != nil {
		return s.refused("update", err, data)
	}
	s.wrote(wanted)
	return nil
}

// wrote remembers a Secret as it was written.
func (s *scope) wrote(o *corev1.Secret) {
	s.observed(o)
	s.memory.wrote = true
	s.known = &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: o.ObjectMeta}
	secretsWritten.Inc()
}

// dress puts on a Secret all that is ours.
func (s *scope) dress(o *corev1.Secret, data map[string][]byte) *corev1.Secret {
	// Nobody else may set any: see the policy owned-objects.
	o.Labels = map[string]string{}
	maps.Copy(o.Labels, s.ss.Spec.Labels)
	o.Labels[v1alpha1.LabelManagedBy] = v1alpha1.ManagedBySecretSync
	o.Labels[v1alpha1.LabelTenant] = s.subject.Tenant
	o.Labels[v1alpha1.LabelSecretSync] = labelOf(s.ss)
	pending, isPending := o.Annotations[v1alpha1.AnnotationRollout]
	o.Annotations = map[string]string{v1alpha1.AnnotationVersion: strconv.FormatInt(s.version, 10)}
	if isPending {
		o.Annotations[v1alpha1.AnnotationRollout] = pending
	}

	o.OwnerReferences = nil
	if s.ss.Spec.OnDelete != v1alpha1.OnDeleteRetain {
		controller := true
		o.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.KindSecretSync, Name: s.ss.Name, UID: s.ss.UID, Controller: &controller,
		}}
	}
	o.Type = corev1.SecretType(s.ss.Spec.Type)
	if o.Type == "" {
		o.Type = corev1.SecretTypeOpaque
	}
	if s.ss.Spec.Immutable {
		o.Immutable = &s.ss.Spec.Immutable
	}
	o.Data = data
	return o
}

// labelOf names a SecretSync in a label, which has less room than a name. What stands for
// a long one is no name that another could have.
func labelOf(ss *v1alpha1.SecretSync) string {
	const most = 63
	if len(ss.Name) <= most {
		return ss.Name
	}
	return "uid_" + string(ss.UID)
}

// made is whether this SecretSync made a Secret, by its labels.
func (s *scope) made(o metav1.Object) bool {
	labels := o.GetLabels()
	return labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBySecretSync && labels[v1alpha1.LabelSecretSync] == labelOf(s.ss)
}

// ours is an error where a Secret is not this SecretSync's to write.
func (s *scope) ours(o metav1.Object) error {
	labels := o.GetLabels()
	switch {
	case s.made(o):
		return nil
	case labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBySecretSync:
		return stalled(v1alpha1.ReasonSecretTaken, "Secret %q is made by SecretSync %q; give this one another spec.secretName", o.GetName(), labels[v1alpha1.LabelSecretSync])
	default:
		return stalled(v1alpha1.ReasonSecretTaken, "Secret %q is there and was not made by a SecretSync, so it is left as it is; delete it, or give this one another spec.secretName", o.GetName())
	}
}

// refused is why the API server did not take a request, without what it holds: a
// message of the API server's, or of a policy's, may quote a value.
func (s *scope) refused(verb string, err error, data map[string][]byte) error {
	name := s.ss.SecretName()
	var status apierrors.APIStatus
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return &again{}
	case !errors.As(err, &status):
		return fmt.Errorf("cannot %s Secret %q: the API server did not answer", verb, name)
	case apierrors.IsInvalid(err):
		var fields []string
		if d := status.Status().Details; d != nil {
			for _, c := range d.Causes {
				fields = append(fields, c.Field)
			}
		}
		return failed(v1alpha1.ReasonInvalidSecret, "the API server does not take Secret %q: %s", name, strings.Join(fields, ", "))
	case apierrors.IsForbidden(err) && strings.Contains(status.Status().Message, "cannot "+verb+" resource"):
		return waiting(v1alpha1.ReasonProvisioning, "Waiting for the Role %q of Namespace %q, which a profile with the component namespace/openbao-sync makes where secrets are listed or spec.openBao is set",
			v1alpha1.SecretSyncAccount, s.ss.Namespace)
	case quotes(status.Status().Message, data):
		return failed(v1alpha1.ReasonApplyFailed, "the API server refuses to %s Secret %q (%s); what it says is not shown, since it quotes a value", verb, name, status.Status().Reason)
	}
	return failed(v1alpha1.ReasonApplyFailed, "the API server refuses to %s Secret %q: %s", verb, name, status.Status().Message)
}

// telling is how many bytes of a value in a row are taken for a part of it.
const telling = 6

// quotes is whether a text holds a value, or a part of one: policies of the platform
// team's own, and webhooks, say what they like.
func quotes(text string, data map[string][]byte) bool {
	parts := map[string]bool{}
	for i := range len(text) - telling + 1 {
		parts[text[i:i+telling]] = true
	}
	for _, value := range data {
		for _, written := range []string{string(value), base64.StdEncoding.EncodeToString(value)} {
			if written != "" && len(written) < telling && strings.Contains(text, written) {
				return true
			}
			for i := range len(written) - telling + 1 {
				if parts[written[i:i+telling]] {
					return true
				}
			}
		}
	}
	return false
}
