package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// restart tells workloads to restart by an annotation on their Pods. That it is to be
// done stands on the Secret until it is: what is asked for survives this process.
func (r *Reconciler) restart(ctx context.Context, s *scope) error {
	stamp, pending := s.known.Annotations[v1alpha1.AnnotationRollout]
	if !pending {
		return nil
	}
	var errs []error
	for _, w := range s.ss.Spec.Rollout {
		err := r.annotate(ctx, s, w, stamp)
		if apierrors.IsNotFound(err) {
			r.recorder.Eventf(s.ss, nil, eventWarning, "RolloutSkipped", "Rollout", "%s %q of spec.rollout is not there", w.Kind, w.Name)
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.recorder.Eventf(s.ss, nil, eventNormal, "Restarted", "Rollout", "%s %q is restarted for version %d", w.Kind, w.Name, s.version)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	body := fmt.Appendf(nil, `[{"op":"test","path":"/metadata/uid","value":%q},{"op":"remove","path":"/metadata/annotations/%s"}]`,
		s.known.UID, strings.ReplaceAll(v1alpha1.AnnotationRollout, "/", "~1"))
	done := &metav1.PartialObjectMetadata{TypeMeta: s.known.TypeMeta}
	done.Namespace, done.Name = s.known.Namespace, s.known.Name
	if err := r.secrets.Patch(ctx, done, client.RawPatch(types.JSONPatchType, body), client.FieldOwner(v1alpha1.FieldOwnerSecret)); err != nil {
		return s.refused("patch", err, nil)
	}
	s.observed(done)
	return nil
}

// annotate puts a stamp of what the Secret holds now on the Pods of a workload.
func (r *Reconciler) annotate(ctx context.Context, s *scope, w v1alpha1.Workload, stamp string) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{rolloutKey(s.ss.SecretName()): stamp},
	}}}})
	if err != nil {
		return fmt.Errorf("cannot restart: %w", err)
	}
	o := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: w.Kind}}
	o.Namespace, o.Name = s.ss.Namespace, w.Name
	err = r.secrets.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(v1alpha1.FieldOwnerSecret))
	if err != nil && !apierrors.IsNotFound(err) {
		return failed(v1alpha1.ReasonApplyFailed, "cannot restart %s %q of spec.rollout: %v", w.Kind, w.Name, apierrors.ReasonForError(err))
	}
	return err
}

// rolloutKey is the annotation for one Secret; a long name is cut to the room there is.
func rolloutKey(secret string) string {
	const suffix, most = ".secret.aetherplatform.cloud/version", 253
	if room := most - len(".secret.aetherplatform.cloud"); len(secret) > room {
		secret = strings.TrimRight(secret[:room], ".-")
	}
	return secret + suffix
}
