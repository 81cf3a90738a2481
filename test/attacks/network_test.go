package attacks

import (
	"context"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

var (
	networkPolicyKind = networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy")
	ciliumKind        = schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"}
	roleBindingKind   = rbacv1.SchemeGroupVersion.WithKind("RoleBinding")
	bindingKind       = schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicyBinding"}
)

func TestTenantAddsAllowAllNetworkPolicy(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	allowAll := func(namespace string) map[string]*unstructured.Unstructured {
		return map[string]*unstructured.Unstructured{
			"NetworkPolicy": object(networkPolicyKind, namespace, "allow-all", map[string]any{"spec": map[string]any{
				"podSelector": map[string]any{}, "ingress": []any{map[string]any{}}, "egress": []any{map[string]any{}},
				"policyTypes": []any{"Ingress", "Egress"},
			}}),
			"CiliumNetworkPolicy": object(ciliumKind, namespace, "allow-all", map[string]any{"spec": map[string]any{
				"endpointSelector": map[string]any{},
				"ingress":          []any{map[string]any{"fromEntities": []any{"ingress"}}},
				"egress":           []any{map[string]any{"toCIDRSet": []any{map[string]any{"cidr": "0.0.0.0/0"}}}},
			}}),
		}
	}
	for kind, policy := range allowAll(ns.Name) {
		for how, attempt := range map[string]func(context.Context) error{
			"create":             func(ctx context.Context) error { return mallory.Create(ctx, policy.DeepCopy()) },
			"server-side apply":  func(ctx context.Context) error { return apply(ctx, mallory, policy) },
			"create by an admin": func(ctx context.Context) error { return w.as(t, clusterAdmin).Create(ctx, policy.DeepCopy()) },
		} {
			t.Run(kind+" by "+how, func(t *testing.T) { w.refuses(t, policy, "is closed but for what Git opens", attempt) })
		}
		t.Run(kind+" by a tenant's admin", func(t *testing.T) {
			w.refuses(t, policy, "cannot create resource", func(ctx context.Context) error { return w.as(t, tenantAdmin).Create(ctx, policy.DeepCopy()) })
		})
		t.Run(kind+" by its deploy account", func(t *testing.T) {
			w.refuses(t, policy, "cannot create resource", func(ctx context.Context) error { return w.as(t, ns.Name+":deploy").Create(ctx, policy.DeepCopy()) })
		})
		policy.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelTenant: "acme"})
		w.allows(t, apply(t.Context(), w.operator(t), policy))
	}
	plain := w.plain(t)
	for _, policy := range allowAll(plain.Name) {
		w.allows(t, w.as(t, clusterAdmin).Create(t.Context(), policy))
	}
}

// What was in a Namespace before its adoption stays, and may be taken away, but
// not be opened further.
func TestTenantWidensANetworkPolicyFromBeforeTheAdoption(t *testing.T) {
	w := newWorld(t)
	ns := w.plain(t)
	mallory := w.intrude(t, ns.Name)
	old := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: ns.Name},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
	w.must(t, mallory.Create(t.Context(), old))
	cilium := object(ciliumKind, ns.Name, "old", map[string]any{"spec": map[string]any{"endpointSelector": map[string]any{}, "ingress": []any{map[string]any{}}}})
	w.must(t, mallory.Create(t.Context(), cilium))
	w.adopt(t, ns, "acme")
	w.refuses(t, cilium, "is closed but for what Git opens", func(ctx context.Context) error {
		open := cilium.DeepCopy() // beside spec, which stays as it is
		set([]any{map[string]any{"endpointSelector": map[string]any{}, "ingress": []any{map[string]any{}}}}, "specs")(open)
		return mallory.Update(ctx, open)
	})
	w.refuses(t, old, "is closed but for what Git opens", func(ctx context.Context) error {
		open := old.DeepCopy()
		open.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
		return mallory.Patch(ctx, open, client.MergeFrom(old))
	})
	labelled := old.DeepCopy()
	labelled.Labels = map[string]string{"a": "b"}
	w.allows(t, mallory.Patch(t.Context(), labelled, client.MergeFrom(old)))
	w.allows(t, mallory.Delete(t.Context(), old))
}
