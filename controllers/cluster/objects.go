package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
)

// annotationDigest is of what was applied. What an object was to have earlier and is not
// to have any more shows nowhere else.
const annotationDigest = "controlplane.aetherplatform.cloud/digest"

// put applies objects in their order, each only if it is not as it shall be.
func (r *Reconciler) put(ctx context.Context, objects ...client.Object) error {
	for _, o := range objects {
		want, err := encode(o, r.Scheme())
		if err != nil {
			return err
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(want.GroupVersionKind())
		switch err := r.Get(ctx, client.ObjectKeyFromObject(want), live); {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("cannot get %s %s: %w", want.GetKind(), want.GetName(), err)
		case live.GetDeletionTimestamp() != nil:
			return &waiting{reason: cpv1.ReasonWaiting, message: fmt.Sprintf("%s %s is being deleted; it is made anew when it is gone", want.GetKind(), want.GetName())}
		default:
			if r.applier.InPlace(want, live) {
				continue
			}
		}
		if _, err := r.applier.Apply(ctx, want); err != nil {
			return err
		}
		objectsApplied.Inc()
	}
	return nil
}

// applied reads an object as it is, once it is seen as put applied it: until then what its
// status says is about what it was before.
func (r *Reconciler) applied(ctx context.Context, o client.Object, what string) error {
	want, err := encode(o, r.Scheme())
	if err != nil {
		return err
	}
	if err := r.read(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return unseen(err, what)
	}
	if o.GetAnnotations()[annotationDigest] != want.GetAnnotations()[annotationDigest] {
		return &waiting{reason: cpv1.ReasonWaiting, message: fmt.Sprintf("Waiting to see %s as applied", what)}
	}
	return nil
}

// encode is an object as it is applied, with its digest.
func encode(o client.Object, scheme *runtime.Scheme) (*unstructured.Unstructured, error) {
	u, err := plain(o, scheme)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(u.Object) // with sorted keys
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s %s: %w", u.GetKind(), o.GetName(), err)
	}
	sum := sha256.Sum256(data)
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationDigest] = hex.EncodeToString(sum[:16])
	u.SetAnnotations(annotations)
	return u, nil
}

// plain is an object as fields, without what only the API server writes.
func plain(o client.Object, scheme *runtime.Scheme) (*unstructured.Unstructured, error) {
	gvk, err := apiutil.GVKForObject(o, scheme)
	if err != nil {
		return nil, fmt.Errorf("cannot tell the kind of %T: %w", o, err)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s %s: %w", gvk.Kind, o.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(gvk)
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "spec", "template", "metadata", "creationTimestamp")
	return u, nil
}

// read gets an object of a kind that is cached as it came, into its type.
func (r *Reconciler) read(ctx context.Context, name client.ObjectKey, o client.Object) error {
	gvk, err := apiutil.GVKForObject(o, r.Scheme())
	if err != nil {
		return fmt.Errorf("cannot tell the kind of %T: %w", o, err)
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(gvk)
	if err := r.Get(ctx, name, live); err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, o); err != nil {
		return fmt.Errorf("cannot read %s %s: %w", gvk.Kind, name, err)
	}
	return nil
}
