package policies

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// fieldOwner is who applies the policies.
const fieldOwner = "aether-policies"

// Install applies the policies and returns once the API server enforces them,
// which it does a moment after they are stored.
func Install(ctx context.Context, c client.Client) error {
	objects, err := Admission()
	if err != nil {
		return err
	}
	if err := apply(ctx, c, objects); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		return Enforced(ctx, c)
	})
}

func apply(ctx context.Context, c client.Client, objects []*unstructured.Unstructured) error {
	for _, o := range objects { // the answer is written into what is sent
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner(fieldOwner), client.ForceOwnership); err != nil {
			return fmt.Errorf("cannot apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// Enforced tries, as a dry run, what only the canary refuses: who may install
// policies may permit adoptions, but not of a system namespace. It takes the right to
// create namespaces.
func Enforced(ctx context.Context, c client.Client) (bool, error) {
	forbidden := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "kube-canary-",
		Labels:       map[string]string{v1alpha1.LabelAdoptableBy: "canary"},
	}}
	err := c.Create(ctx, forbidden, client.DryRunAll)
	switch {
	case err == nil:
		return false, nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), canary):
		return true, nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy"):
		return false, nil // another of ours was quicker
	default:
		return false, fmt.Errorf("cannot tell whether the policies are enforced: %w", err)
	}
}
