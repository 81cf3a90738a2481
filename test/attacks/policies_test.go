package attacks

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/aetherplatform/aether/internal/testenv"
)

// TestPoliciesTypeCheck asks the API server's own type checker, which knows the
// schemas of the kinds that the policies name.
func TestPoliciesTypeCheck(t *testing.T) {
	w := newWorld(t)
	testenv.Eventually(t, func(ctx context.Context) error {
		var list admissionv1.ValidatingAdmissionPolicyList
		if err := w.Client.List(ctx, &list); err != nil {
			return err
		}
		for _, p := range list.Items {
			if strings.HasPrefix(p.Name, "aether-") && (p.Status.TypeChecking == nil || p.Status.ObservedGeneration != p.Generation) {
				return fmt.Errorf("%s has not been type-checked", p.Name)
			}
		}
		for _, p := range list.Items {
			if p.Status.TypeChecking == nil {
				continue
			}
			for _, warning := range p.Status.TypeChecking.ExpressionWarnings {
				t.Errorf("%s: %s: %s", p.Name, warning.FieldRef, warning.Warning)
			}
		}
		return nil
	})
}

func TestNamespaceIsMade(t *testing.T) {
	w := newWorld(t)
	w.namespace(t, "acme")
}
