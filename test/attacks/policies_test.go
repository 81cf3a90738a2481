package attacks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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

// TestWithoutPoliciesTheAttacksSucceed is the sanity of this package: each change
// that is refused elsewhere goes through by each way where no policy is installed.
func TestWithoutPoliciesTheAttacksSucceed(t *testing.T) {
	w := buildWorld(t, testenv.Start(t))
	admin := w.as(t, clusterAdmin)
	for _, attack := range []struct {
		fresh   func() *corev1.Namespace
		changes map[string]change
	}{
		{func() *corev1.Namespace { return w.bareNamespace(t, "acme") }, hijacks},
		{func() *corev1.Namespace { return w.plain(t) }, claims},
	} {
		for what, change := range attack.changes {
			for how, write := range ways {
				if change.removes && how == "server-side apply of status" {
					continue
				}
				from := w.fresh(t, attack.fresh().Name)
				to := from.DeepCopy()
				change.do(w, to)
				if err := write(t.Context(), admin, from, to); err != nil {
					t.Errorf("%s by %s fails even without policies: %v", what, how, err)
				}
				if how != "dry run" && cmp.Equal(w.read(t, from), before(t, from)) {
					t.Errorf("%s by %s has no effect even without policies", what, how)
				}
			}
		}
	}
	for what, change := range finalizations {
		ns := w.fresh(t, w.bareNamespace(t, "acme").Name)
		if err := finalize(t.Context(), admin, ns, change.to...); err != nil {
			t.Errorf("%s fails even without policies: %v", what, err)
		}
		if got := w.fresh(t, ns.Name).Spec.Finalizers; !slices.Equal(got, change.to) {
			t.Errorf("%s leaves spec.finalizers %q even without policies", what, got)
		}
	}
}

// before is what read gave before a change.
func before(t *testing.T, ns *corev1.Namespace) map[string]any {
	t.Helper()
	u, err := applied(env.Client, ns)
	if err != nil {
		t.Fatal(err)
	}
	unstructured.SetNestedField(u.Object, ns.CreationTimestamp.UTC().Format("2006-01-02T15:04:05Z"), "metadata", "creationTimestamp") //nolint:errcheck // metadata is a map
	return u.Object
}
