package reconcile

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

func namespace(name string, status metav1.ConditionStatus, reason string) *v1alpha1.TenantNamespace {
	n := &v1alpha1.TenantNamespace{}
	n.Name = name
	n.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status, Reason: reason, Message: "for a reason"}}
	return n
}

func TestEveryNamespaceIsCountedOnceAndThoseThatAreNotReadyAreNamed(t *testing.T) {
	source := &v1alpha1.TenantSource{}
	source.Namespace, source.Name = "aether-system", "fleet"
	source.Status.PendingPrune = []string{"TenantNamespace/acme-old"}
	got := resultOf(source, []*v1alpha1.TenantNamespace{
		namespace("web", metav1.ConditionFalse, v1alpha1.ReasonTenantNotFound),
		namespace("api", metav1.ConditionTrue, "Ready"),
		namespace("old", metav1.ConditionFalse, v1alpha1.ReasonRemovedFromGit),
		{ObjectMeta: metav1.ObjectMeta{Name: "new"}},
	})
	want := &Result{
		Source:     "aether-system/fleet",
		Ready:      Ready{Status: metav1.ConditionUnknown, Message: "not looked at yet"},
		Namespaces: Namespaces{Total: 3, Ready: 1, Removed: 1},
		Failures:   []Failure{}, PendingPrune: []string{"TenantNamespace/acme-old"},
		NotReady: []NotReady{
			{Namespace: "new", Message: "not looked at yet"},
			{Namespace: "web", Reason: v1alpha1.ReasonTenantNotFound, Message: "for a reason"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}
