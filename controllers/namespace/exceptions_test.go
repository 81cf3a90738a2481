package namespace

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// exception lets a tenant take images from elsewhere until a moment.
func exception(name, tenant, registry string, expires time.Time) *v1alpha1.TenantException {
	return &v1alpha1.TenantException{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ExceptionSpec{
		Tenant: tenant, Allow: v1alpha1.Allowance{Registries: []string{registry}},
		Owner: "platform@example.com", Reason: "until it is mirrored", Expires: metav1.NewTime(expires),
	}}
}

// granted waits until a Namespace carries these exceptions and nothing is left to
// do, and returns when it wants to be looked at again.
func (w *world) granted(name, want string) time.Duration {
	w.Helper()
	w.reconcileUntil(name, func() error {
		if got := w.namespace(name).Annotations[v1alpha1.AnnotationExceptions]; got != want {
			return fmt.Errorf("exceptions are %q, want %q", got, want)
		}
		return nil
	})
	w.settled(name) // what was applied, before it is said to be in place
	w.ready(name)
	w.settled(name)
	var result ctrl.Result
	w.writesNothing(func() { result, _ = w.reconcile(name) })
	return result.RequeueAfter
}

func TestAnExceptionEndsByItself(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("excepted"), tenant("bystander"),
		tenantNamespace("excepted-web"), tenantNamespace("bystander-web"))
	w.ready("excepted-web")
	w.ready("bystander-web")

	ends := w.clock.Now().Add(2 * time.Hour).UTC()
	e := exception("mirrored-later", "excepted", "quay.io/excepted", ends)
	w.create(e)
	w.cachedSees(e)
	if again := w.granted("excepted-web", "registries:quay.io/excepted@"+ends.Format(time.RFC3339)); again != 2*time.Hour {
		t.Errorf("it is looked at again in %s, want 2 h", again)
	}
	w.writesNothing(func() { _, _ = w.reconcile("bystander-web") })

	w.recorder.take()
	w.clock.advance(2 * time.Hour)
	if again := w.granted("excepted-web", ""); again != 0 {
		t.Errorf("it is looked at again in %s, though none is left", again)
	}
	told := slices.ContainsFunc(w.recorder.take(), func(event string) bool {
		return strings.Contains(event, "ExceptionEnded") && strings.Contains(event, "mirrored-later") && strings.Contains(event, "platform@example.com")
	})
	if !told {
		t.Error("no event tells that it has ended")
	}
}

func TestAnExceptionThatIsTakenBackIsGone(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("revoked"), tenantNamespace("revoked-web"))
	w.ready("revoked-web")
	ends := w.clock.Now().Add(time.Hour).UTC()
	e := exception("revoked-soon", "revoked", "quay.io/revoked", ends)
	w.create(e)
	w.cachedSees(e)
	w.granted("revoked-web", "registries:quay.io/revoked@"+ends.Format(time.RFC3339))
	w.must(w.Delete(t.Context(), e))
	w.granted("revoked-web", "")
}
