package attacks

import (
	"context"
	"fmt"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/tenancy"
	"github.com/aetherplatform/aether/internal/testenv"
)

// The operator is the most useful identity to steal, and the one whose bugs would
// cost most. These tests take it over, and give it all of RBAC: what stays
// refused is refused by the policies.

func (w *world) stolenOperator(t *testing.T) client.WithWatch { return w.stolen(t, operatorUser) }

// stolen is one of our programs that has been taken over, with all of RBAC.
func (w *world) stolen(t *testing.T, program string) client.WithWatch {
	t.Helper()
	w.grantRule(t, program, rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}})
	t.Cleanup(func() { // the other tests want to see its own RBAC
		ctx := context.Background()
		var bindings rbacv1.ClusterRoleBindingList
		w.must(t, w.Client.List(ctx, &bindings))
		for _, b := range bindings.Items {
			if len(b.Subjects) == 1 && b.Subjects[0].Kind == "User" && b.Subjects[0].Name == program {
				w.must(t, w.Client.Delete(ctx, &b))
			}
		}
	})
	return w.as(t, program)
}

func TestOperatorLabelsKubeSystem(t *testing.T) {
	w := newWorld(t)
	operator := w.stolenOperator(t)
	for _, name := range []string{"kube-system", "kube-public", "default", v1alpha1.SystemNamespace, "flux-system"} {
		for what, change := range claims {
			t.Run(name+" "+what, func(t *testing.T) {
				from := w.fresh(t, name)
				to := from.DeepCopy()
				change.do(w, to)
				w.refuses(t, from, "belongs to the system|cannot be taken over", func(ctx context.Context) error { return operator.Update(ctx, to) })
				w.refuses(t, from, "belongs to the system|only Aether sets|adoptable-by is a label", func(ctx context.Context) error {
					return w.as(t, clusterAdmin).Update(ctx, to)
				})
			})
		}
		t.Run(name+" by deleting it", func(t *testing.T) {
			ns := w.fresh(t, name)
			w.refuses(t, ns, "is not Aether's|may not be deleted|is forbidden", func(ctx context.Context) error { return operator.Delete(ctx, ns.DeepCopy()) })
		})
	}
	for _, name := range []string{"kube-new", "kyverno", "kyverno-2", "cilium-secrets", "flux-apps", "aether-x", "openshift-y"} {
		t.Run("new "+name, func(t *testing.T) {
			ns := w.born(t, "acme", name)
			w.refuses(t, ns, "belongs to the system", func(ctx context.Context) error { return operator.Create(ctx, ns.DeepCopy()) })
		})
	}
	w.bareNamespace(t, "acme")
}

func TestPolicyAndCodeAgreeOnSystemNamespaces(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{
		"kube-system", "kube-x", "kube", "default", "aether-system", "aether-x", "aether", "flux-system", "flux-x", "flux",
		"kyverno", "kyverno-x", "cilium", "cilium-x", "openshift", "openshift-x",
		"calico-system", "cert-manager", "gatekeeper-system", "ingress-nginx", "istio-system", "local-path-storage", "metallb-system", "tigera-operator",
		"acme-web", "kubeflow", "defaults", "default-x", "fluxus-web", "aetherius-web", "ciliumx", "my-kube-system",
		"cert-manager-x", "ingress-nginx2", "istio-system-x",
	} {
		err := w.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{v1alpha1.LabelAdoptableBy: "acme"},
		}}, client.DryRunAll)
		refused := err != nil && client.IgnoreAlreadyExists(err) != nil
		if refused != tenancy.Reserved(name) {
			t.Errorf("%s: tenancy.Reserved says %v, the policy: %v", name, tenancy.Reserved(name), err)
		}
	}
}

func TestOperatorCreatesANamespaceThatIsNotSealed(t *testing.T) {
	w := newWorld(t)
	operator := w.stolenOperator(t)
	for what, change := range map[string]func(ns *corev1.Namespace){
		"open":               func(ns *corev1.Namespace) { ns.Labels[v1alpha1.LabelSealed] = "false" },
		"without a seal":     func(ns *corev1.Namespace) { delete(ns.Labels, v1alpha1.LabelSealed) },
		"without a tenant":   func(ns *corev1.Namespace) { delete(ns.Labels, v1alpha1.LabelTenant) },
		"of an empty tenant": func(ns *corev1.Namespace) { ns.Labels[v1alpha1.LabelTenant] = "" },
		"of no life":         func(ns *corev1.Namespace) { ns.Annotations = nil },
	} {
		t.Run(what, func(t *testing.T) {
			ns := w.born(t, "acme", "acme-odd")
			change(ns)
			w.refuses(t, ns, "creates a Namespace only sealed", func(ctx context.Context) error { return operator.Create(ctx, ns.DeepCopy()) })
		})
	}
	w.allows(t, operator.Create(t.Context(), w.born(t, "acme", "acme-even")))
}

func TestOperatorTakesANamespaceThatDoesNotPermitIt(t *testing.T) {
	w := newWorld(t)
	operator := w.stolenOperator(t)
	plain, globex := w.plain(t), w.bareNamespace(t, "globex")
	for what, target := range map[string]*corev1.Namespace{"an unowned one": plain, "another tenant's": globex} {
		t.Run(what, func(t *testing.T) {
			w.refuses(t, target, "cannot be taken over", func(ctx context.Context) error { return apply(ctx, operator, w.born(t, "acme", target.Name)) })
		})
	}
	t.Run("by permitting it itself", func(t *testing.T) {
		w.refuses(t, plain, "cannot be taken over", func(ctx context.Context) error {
			permit := encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelAdoptableBy: "acme"}}})
			return operator.Patch(ctx, plain.DeepCopy(), client.RawPatch(types.MergePatchType, permit))
		})
	})
	t.Run("by deleting it first", func(t *testing.T) {
		w.refuses(t, plain, "is not Aether's", func(ctx context.Context) error { return operator.Delete(ctx, plain.DeepCopy()) })
	})
	w.adopt(t, plain, "acme")
}

// adopt hands a Namespace over as people and the operator do it.
func (w *world) adopt(t *testing.T, ns *corev1.Namespace, tenant string) {
	t.Helper()
	permit := encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelAdoptableBy: tenant}}})
	w.must(t, w.as(t, platformUser).Patch(t.Context(), ns.DeepCopy(), client.RawPatch(types.MergePatchType, permit)))
	w.allows(t, apply(t.Context(), w.operator(t), w.born(t, tenant, ns.Name)))
	// Whether a policy applies in a Namespace the API server asks a cache, which hears of
	// a changed label some milliseconds later.
	allowAll := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: ns.Name}}
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := w.as(t, clusterAdmin).Create(ctx, allowAll.DeepCopy(), client.DryRunAll); !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			return fmt.Errorf("the Namespace is not guarded yet: %v", err)
		}
		return nil
	})
}

// UID reuse: what belonged to a tenant of the same name is not inherited.
func TestTenantRecreatedUnderTheSameNameInherits(t *testing.T) {
	w := newWorld(t)
	ns := w.bareNamespace(t, "acme")
	again := w.born(t, "acme", ns.Name)
	again.Annotations[v1alpha1.AnnotationTenantUID] = "11111111-1111-1111-1111-111111111111"
	w.refuses(t, ns, "belongs to one life of tenant", func(ctx context.Context) error { return apply(ctx, w.operator(t), again) })

	permit := encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelAdoptableBy: "acme"}}})
	w.allows(t, w.as(t, platformUser).Patch(t.Context(), ns.DeepCopy(), client.RawPatch(types.MergePatchType, permit)))
	w.allows(t, apply(t.Context(), w.operator(t), again))
}

// Objects that a tenant's manifests carried to a cluster-admin controller were
// CVE-2026-22872 and CVE-2026-65835.
func TestOperatorWritesOutOfItsPlace(t *testing.T) {
	w := newWorld(t)
	operator := w.stolenOperator(t)
	ns := w.namespace(t, "acme")
	ours := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelTenant: "acme"}
	config := func(namespace string, labels map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: namespace, Labels: labels}}
	}
	root := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}
	for what, attempt := range map[string]struct {
		object client.Object
		want   string
	}{
		"a ClusterRole":           {&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: ours}}, "belong to the whole cluster"},
		"a ClusterRoleBinding":    {&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: ours}, RoleRef: root}, "belong to the whole cluster"},
		"a kube-system object":    {config("kube-system", ours), "into Namespaces of tenants only"},
		"a flux-system object":    {config("flux-system", ours), "into Namespaces of tenants only"},
		"a plain namespace's":     {config("plain", ours), "into Namespaces of tenants only"},
		"an aether-system object": {config(v1alpha1.SystemNamespace, ours), "into Namespaces of tenants only"},
		"an unmarked object":      {config(ns.Name, nil), "carries the label aetherplatform.cloud/managed-by"},
		"another's mark":          {config(ns.Name, map[string]string{v1alpha1.LabelManagedBy: "helm"}), "carries the label aetherplatform.cloud/managed-by"},
	} {
		t.Run(what, func(t *testing.T) {
			w.refuses(t, attempt.object, attempt.want, func(ctx context.Context) error {
				return operator.Create(ctx, attempt.object.DeepCopyObject().(client.Object))
			})
		})
	}
	w.allows(t, operator.Create(t.Context(), config(ns.Name, ours)))
	w.allows(t, operator.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "election", Namespace: v1alpha1.SystemNamespace}}))
	w.allows(t, operator.Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "default"}, InvolvedObject: corev1.ObjectReference{Kind: "Tenant", Name: "acme"},
	}))
}

func TestOperatorDeletesATenantsOwnObject(t *testing.T) {
	w := newWorld(t)
	operator := w.stolenOperator(t)
	ns := w.namespace(t, "acme")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: ns.Name}}
	w.must(t, w.Client.Create(t.Context(), secret))
	w.refuses(t, secret, "deletes only what it made", func(ctx context.Context) error { return operator.Delete(ctx, secret.DeepCopy()) })
	w.refuses(t, secret, "deletes only what it made", func(ctx context.Context) error {
		return operator.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(ns.Name))
	})
	w.allows(t, operator.Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deploy", Namespace: ns.Name}}))
}

func TestOperatorGrantsWhatNoTenantMayHave(t *testing.T) {
	w := newWorld(t)
	operator := w.stolenOperator(t)
	ns := w.namespace(t, "acme")
	meta := metav1.ObjectMeta{Name: "x", Namespace: ns.Name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelTenant: "acme"}}
	role := func(group, resource, verb string) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"apps", group}, Resources: []string{resource}, Verbs: []string{"get", verb}}}}
	}
	binding := func(kind, ref string, subject rbacv1.Subject) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: ref},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "dev@example.com"}, subject},
		}
	}
	user := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: "eve@example.com"}
	group := func(name string) rbacv1.Subject {
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: name}
	}
	account := func(namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
	}
	for what, attempt := range map[string]client.Object{
		"every verb":                role("", "pods", "*"),
		"every group":               role("*", "pods", "list"),
		"escalation":                role(rbacv1.GroupName, "roles", "escalate"),
		"binding":                   role(rbacv1.GroupName, "roles", "bind"),
		"impersonation":             role("", "serviceaccounts", "impersonate"),
		"cluster-admin":             binding("ClusterRole", "cluster-admin", user),
		"a role others change":      binding("ClusterRole", "view", user),
		"rights for system:masters": binding("Role", "admin", group("system:masters")),
		"rights for everybody":      binding("Role", "admin", group("system:unauthenticated")),
		"rights for all accounts":   binding("Role", "admin", group("system:serviceaccounts")),
		"rights for a system user":  binding("Role", "admin", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: "system:node:n1"}),
		"rights for an account as user": binding("Role", "admin", rbacv1.Subject{
			APIGroup: rbacv1.GroupName, Kind: "User", Name: operatorUser,
		}),
		"rights for itself":        binding("Role", "admin", account(v1alpha1.SystemNamespace, "namespace-operator")),
		"rights for Flux":          binding("Role", "admin", account("flux-system", "kustomize-controller")),
		"rights for kube-system's": binding("Role", "admin", account("kube-system", "default")),
	} {
		t.Run(what, func(t *testing.T) {
			w.refuses(t, attempt, "a tenant's role cannot hold|must be a Role of the Namespace|cannot be of the system", func(ctx context.Context) error {
				return operator.Create(ctx, attempt.DeepCopyObject().(client.Object))
			})
		})
	}
	w.allows(t, operator.Create(t.Context(), role("", "pods", "list")))
	w.allows(t, operator.Create(t.Context(), binding("Role", "admin", account(ns.Name, "deploy"))))
}

func TestOperatorsOwnRBACIsLeast(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	operator := w.operator(t)
	testenv.Eventually(t, func(ctx context.Context) error { // until what stolenOperator granted is gone
		if err := operator.List(ctx, &corev1.SecretList{}); err == nil {
			return errNotYet
		}
		return nil
	})
	for what, attempt := range map[string]func(ctx context.Context) error{
		"reads a tenant's Secrets": func(ctx context.Context) error {
			return operator.List(ctx, &corev1.SecretList{}, client.InNamespace(ns.Name))
		},
		"lists its own namespace's Secrets": func(ctx context.Context) error {
			return operator.List(ctx, &corev1.SecretList{}, client.InNamespace(v1alpha1.SystemNamespace))
		},
		"reads a tenant's ConfigMap": func(ctx context.Context) error {
			return operator.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: "kube-root-ca.crt"}, &corev1.ConfigMap{})
		},
		"creates a Pod": func(ctx context.Context) error { return operator.Create(ctx, pod(ns.Name, "x")) },
		"creates a ClusterRole": func(ctx context.Context) error {
			return operator.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
		},
		"switches a policy off": func(ctx context.Context) error {
			return operator.Delete(ctx, object(bindingKind, "", "aether-sealed-pods", nil))
		},
	} {
		t.Run(what, func(t *testing.T) { w.refuses(t, ns, "cannot", attempt) })
	}
}

// A backup holds the labels of the life that was backed up.
func TestRestoreFromABackupBringsATenantsLabelsBack(t *testing.T) {
	w := newWorld(t)
	restored := w.born(t, "acme", "acme-restored")
	restored.Labels[v1alpha1.LabelSealed] = "false"
	w.refuses(t, restored, "only Aether sets", func(ctx context.Context) error { return w.as(t, clusterAdmin).Create(ctx, restored.DeepCopy()) })

	bare := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: restored.Name, Labels: map[string]string{v1alpha1.LabelAdoptableBy: "acme"}}}
	w.allows(t, w.as(t, clusterAdmin).Create(t.Context(), bare))
	w.allows(t, apply(t.Context(), w.operator(t), w.born(t, "acme", restored.Name)))
}
