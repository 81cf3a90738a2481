package policies

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

//go:embed kyverno/*/policy.yaml
var kyverno embed.FS

// Kyverno returns every policy that Kyverno holds where it runs, by folder.
func Kyverno() ([]*unstructured.Unstructured, error) {
	paths, err := fs.Glob(kyverno, "kyverno/*/policy.yaml")
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, path := range paths {
		data, err := kyverno.ReadFile(path)
		if err != nil {
			return nil, err
		}
		decoded, err := decode(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		objects = append(objects, decoded...)
	}
	return objects, nil
}

// InstallKyverno applies the policies that Kyverno holds, and returns once it says of
// each that it has compiled it and that its webhook is there. That is a moment before
// it refuses everything: what must be refused at every moment is in Install.
func InstallKyverno(ctx context.Context, c client.Client) error {
	objects, err := Kyverno()
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner(fieldOwner), client.ForceOwnership); err != nil {
			return fmt.Errorf("cannot apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	var waiting []string
	err = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		waiting = nil
		for _, o := range objects {
			now := &unstructured.Unstructured{}
			now.SetGroupVersionKind(o.GroupVersionKind())
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
				return false, err
			}
			if ready, _, _ := unstructured.NestedBool(now.Object, "status", "conditionStatus", "ready"); !ready {
				waiting = append(waiting, now.GetName()+state(now))
			}
		}
		return len(waiting) == 0, nil
	})
	if err != nil && len(waiting) > 0 {
		return fmt.Errorf("Kyverno is not ready to hold %s: %w", strings.Join(waiting, ", "), err)
	}
	return err
}

// state is what Kyverno says a policy waits for.
func state(policy *unstructured.Unstructured) string {
	conditions, _, _ := unstructured.NestedSlice(policy.Object, "status", "conditionStatus", "conditions")
	var missing []string
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["status"] != "True" {
			missing = append(missing, fmt.Sprintf("%v: %v", c["type"], c["message"]))
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return " (" + strings.Join(missing, "; ") + ")"
}
