package local

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// A tenant's sum is written a moment after its namespaces are ready. Who prints
// it before then prints a contradiction.
func TestNothingIsSettledWhileATenantDisagreesWithItsNamespaces(t *testing.T) {
	const (
		ready   = v1alpha1.ConditionReady
		stalled = v1alpha1.ConditionStalled
	)
	for name, c := range map[string]struct {
		tenant     v1alpha1.Tenant
		namespaces []v1alpha1.TenantNamespace
		want       bool
	}{
		"the sum of before there were any": {
			tenantWith(v1alpha1.NamespaceCounts{}, ready), namespacesWith(ready, ready), false,
		},
		"the sum of a moment ago": {
			tenantWith(v1alpha1.NamespaceCounts{Total: 2, Ready: 1}, v1alpha1.ConditionReconciling), namespacesWith(ready, ready), false,
		},
		"the sum of now": {
			tenantWith(v1alpha1.NamespaceCounts{Total: 2, Ready: 2}, ready), namespacesWith(ready, ready), true,
		},
		"the sum of now, and a tenant that is not done": {
			tenantWith(v1alpha1.NamespaceCounts{Total: 2, Ready: 2}, v1alpha1.ConditionReconciling), namespacesWith(ready, ready), false,
		},
		"a tenant that waits for a namespace that only a person can help": {
			tenantWith(v1alpha1.NamespaceCounts{Total: 2, Ready: 1}, v1alpha1.ConditionReconciling), namespacesWith(ready, stalled), true,
		},
		"a tenant that waits for a namespace that is on its way": {
			tenantWith(v1alpha1.NamespaceCounts{Total: 2, Ready: 1}, v1alpha1.ConditionReconciling), namespacesWith(ready, v1alpha1.ConditionReconciling), false,
		},
		"a namespace that has left, and is not counted so yet": {
			tenantWith(v1alpha1.NamespaceCounts{Total: 1, Ready: 1}, ready), []v1alpha1.TenantNamespace{removed()}, false,
		},
		"a namespace that has left": {
			tenantWith(v1alpha1.NamespaceCounts{Total: 1, Removed: 1}, ready), []v1alpha1.TenantNamespace{removed()}, true,
		},
		"no namespaces": {
			tenantWith(v1alpha1.NamespaceCounts{}, ready), nil, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := &Outcome{Tenants: []v1alpha1.Tenant{c.tenant}, Namespaces: c.namespaces}
			if got := o.settled(); got != c.want {
				t.Errorf("settled is %t, want %t", got, c.want)
			}
		})
	}
}

func tenantWith(counts v1alpha1.NamespaceCounts, condition string) v1alpha1.Tenant {
	t := v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	t.Status.Namespaces = counts
	t.Status.Conditions = conditions(condition, "")
	return t
}

func namespacesWith(each ...string) (all []v1alpha1.TenantNamespace) {
	for _, condition := range each {
		n := v1alpha1.TenantNamespace{Spec: v1alpha1.TenantNamespaceSpec{Tenant: "acme"}}
		n.Status.Conditions = conditions(condition, "")
		all = append(all, n)
	}
	return all
}

func removed() v1alpha1.TenantNamespace {
	n := v1alpha1.TenantNamespace{Spec: v1alpha1.TenantNamespaceSpec{Tenant: "acme"}}
	n.Annotations = map[string]string{v1alpha1.AnnotationRemovedAt: "2026-01-01T00:00:00Z"}
	n.Status.Conditions = conditions(v1alpha1.ConditionStalled, v1alpha1.ReasonRemovedFromGit)
	return n
}

// conditions of an object that is Ready, Stalled or Reconciling.
func conditions(condition, reason string) []metav1.Condition {
	if condition == v1alpha1.ConditionReady {
		return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	}
	return []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason},
		{Type: condition, Status: metav1.ConditionTrue},
	}
}
