package policies

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kyverno returns every policy that Kyverno holds where it runs, by folder.
func Kyverno() ([]*unstructured.Unstructured, error) { return read("kyverno") }

// InstallKyverno applies the policies that Kyverno holds, and returns once it says of
// each that it has compiled it and that its webhook is there. That is a moment before
// it refuses everything: what must be refused at every moment is in Install.
func InstallKyverno(ctx context.Context, c client.Client) error {
	objects, err := Kyverno()
	if err != nil {
		return err
	}
	if err := apply(ctx, c, objects); err != nil {
		return err
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
			if ready, waitsFor := Ready(now); !ready {
				waiting = append(waiting, now.GetName()+waitsFor)
			}
		}
		return len(waiting) == 0, nil
	})
	if err != nil && len(waiting) > 0 {
		return fmt.Errorf("Kyverno is not ready to hold %s: %w", strings.Join(waiting, ", "), err)
	}
	return err
}

// Ready tells whether Kyverno holds a policy, and else what it says that it waits for.
func Ready(policy *unstructured.Unstructured) (ready bool, waitsFor string) {
	if ready, _, _ = unstructured.NestedBool(policy.Object, "status", "conditionStatus", "ready"); ready {
		return true, ""
	}
	conditions, _, _ := unstructured.NestedSlice(policy.Object, "status", "conditionStatus", "conditions")
	var missing []string
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["status"] != "True" {
			missing = append(missing, fmt.Sprintf("%v: %v", c["type"], c["message"]))
		}
	}
	if len(missing) == 0 {
		return false, ""
	}
	return false, " (" + strings.Join(missing, "; ") + ")"
}
