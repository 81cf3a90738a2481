package apply

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/observe"
)

// DryRun returns what Apply and Repair would leave of an object, as the API server
// answers it, and changes nothing. An error is the API server's own, so that its
// callers can tell a refusal of the object from a missing right.
func (a *Applier) DryRun(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	client, err := a.resource(o)
	if err != nil {
		return nil, err
	}
	answer, err := client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: a.owner, Force: true, DryRun: []string{metav1.DryRunAll}})
	kind := o.GroupVersionKind().GroupKind()
	if apierrors.IsInvalid(err) && remakable.Has(kind) {
		if rehearsed, unfit := a.rehearse(ctx, o); unfit == nil {
			return named(rehearsed, o), nil
		}
	}
	if err != nil {
		return nil, err
	}
	if kind == observe.NamespaceKind {
		withoutSurplus(answer, o)
		return answer, nil
	}

	claim, err := claimOf(answer, a.owner)
	if err != nil || claim == nil {
		return answer, err
	}
	// Others have added to it, and what they added goes.
	if kind.Group == v1alpha1.GroupVersion.Group {
		answer.Object["spec"] = o.Object["spec"] // it is rendered with its defaults
		withoutSurplus(answer, o)
		return answer, nil
	}
	rehearsed, err := a.rehearse(ctx, o)
	if err != nil {
		return nil, err
	}
	for field := range answer.Object {
		if _, there := rehearsed.Object[field]; !there && observe.IsContent(kind, field) {
			delete(answer.Object, field)
		}
	}
	for field, value := range rehearsed.Object {
		if field != "metadata" && observe.IsContent(kind, field) {
			answer.Object[field] = value
		}
	}
	withoutSurplus(answer, o)
	answer.SetOwnerReferences(o.GetOwnerReferences())
	return answer, nil
}

// withoutSurplus takes away labels and annotations that only Aether may set, and
// did not.
func withoutSurplus(answer, o *unstructured.Unstructured) {
	kind := o.GroupVersionKind().GroupKind()
	labels, annotations := answer.GetLabels(), answer.GetAnnotations()
	for _, key := range surplus(kind, "labels", labels, o.GetLabels()) {
		delete(labels, key)
	}
	for _, key := range surplus(kind, "annotations", annotations, o.GetAnnotations()) {
		delete(annotations, key)
	}
	answer.SetLabels(labels)
	answer.SetAnnotations(annotations)
}

// named is a rehearsed object under the name that it rehearses for.
func named(rehearsed, o *unstructured.Unstructured) *unstructured.Unstructured {
	rehearsed.SetGenerateName("")
	rehearsed.SetName(o.GetName())
	return rehearsed
}
