// Package status writes what controllers have observed: conditions as kstatus reads
// them, and a whole status with one request.
package status

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// SetConditions sets Ready, and Reconciling and Stalled, which say the same, where
// it is so.
func SetConditions(conditions *[]metav1.Condition, generation int64, now metav1.Time, ready metav1.Condition, working, stuck bool) {
	ready.Type, ready.ObservedGeneration, ready.LastTransitionTime = v1alpha1.ConditionReady, generation, now
	meta.SetStatusCondition(conditions, ready)

	also := ready
	also.Status = metav1.ConditionTrue
	for _, c := range []struct {
		name string
		is   bool
	}{{v1alpha1.ConditionReconciling, working}, {v1alpha1.ConditionStalled, stuck}} {
		if !c.is {
			meta.RemoveStatusCondition(conditions, c.name)
			continue
		}
		also.Type = c.name
		meta.SetStatusCondition(conditions, also)
	}
}

// IsBehind is whether what a cache holds of an object is older than a version that was
// written; "" is none.
func IsBehind(o client.Object, written string) bool {
	if written == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), written)
	return err == nil && order < 0
}

// Write replaces the whole status of the very object that was read, and returns the
// version that the object has since; "" when it is gone. It is a JSON patch, which
// costs an API server less than a server-side apply, and nobody else has a part in
// the status.
func Write(ctx context.Context, c client.Client, o client.Object, status any, owner string) (string, error) {
	body, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": o.GetUID()},
		{"op": "add", "path": "/status", "value": status},
	})
	if err != nil {
		return "", fmt.Errorf("cannot write status: %w", err)
	}
	answer := &metav1.PartialObjectMetadata{}
	gvk, err := c.GroupVersionKindFor(o)
	if err != nil {
		return "", fmt.Errorf("cannot write status: %w", err)
	}
	answer.SetGroupVersionKind(gvk)
	answer.SetName(o.GetName())
	answer.SetNamespace(o.GetNamespace())
	err = c.Status().Patch(ctx, answer, client.RawPatch(types.JSONPatchType, body), client.FieldOwner(owner))
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot write status: %w", err)
	}
	return answer.GetResourceVersion(), nil
}
