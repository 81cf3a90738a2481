package attacks

import (
	"context"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

func TestDeployAccountBindsItselfToClusterAdmin(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	deploy := w.as(t, ns.Name+":deploy")
	self := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "deploy", Namespace: ns.Name}}
	root := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}
	for what, attempt := range map[string]client.Object{
		"in the whole cluster":       &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "pwned"}, RoleRef: root, Subjects: self},
		"in its namespace":           &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "pwned", Namespace: ns.Name}, RoleRef: root, Subjects: self},
		"in the system's":            &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "pwned", Namespace: "kube-system"}, RoleRef: root, Subjects: self},
		"by a role of its own":       &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "pwned", Namespace: ns.Name}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}},
		"by an aggregated role":      &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "pwned", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-admin": "true"}}},
		"with the operator's rights": &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "pwned", Labels: map[string]string{"aetherplatform.cloud/aggregate-to-namespace-operator": "true"}}},
	} {
		t.Run(what, func(t *testing.T) {
			w.refuses(t, attempt, "cannot create resource", func(ctx context.Context) error { return deploy.Create(ctx, attempt.DeepCopyObject().(client.Object)) })
		})
	}
	w.allows(t, deploy.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: ns.Name}}))
}

func TestDeployAccountReachesOutOfItsNamespace(t *testing.T) {
	w := newWorld(t)
	ns, other := w.namespace(t, "acme"), w.namespace(t, "globex")
	deploy := w.as(t, ns.Name+":deploy")
	w.must(t, w.Client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: other.Name}}))
	for what, attempt := range map[string]func(ctx context.Context) error{
		"reads another tenant's Secret": func(ctx context.Context) error {
			return deploy.Get(ctx, client.ObjectKey{Namespace: other.Name, Name: "db"}, &corev1.Secret{})
		},
		"writes into another tenant's namespace": func(ctx context.Context) error {
			return deploy.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: other.Name}})
		},
		"lists Secrets of the whole cluster": func(ctx context.Context) error { return deploy.List(ctx, &corev1.SecretList{}) },
		"creates a Namespace": func(ctx context.Context) error {
			return deploy.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "acme-mine"}})
		},
		"creates a Tenant": func(ctx context.Context) error {
			return deploy.Create(ctx, &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "mine"}})
		},
		"creates a TenantNamespace": func(ctx context.Context) error {
			return deploy.Create(ctx, &v1alpha1.TenantNamespace{
				ObjectMeta: metav1.ObjectMeta{Name: "globex-mine"}, Spec: v1alpha1.TenantNamespaceSpec{Tenant: "globex", Size: "small"},
			})
		},
		"takes a token of the operator": func(ctx context.Context) error {
			return deploy.SubResource("token").Create(ctx, &corev1.ServiceAccount{
				ObjectMeta: metav1.ObjectMeta{Name: "namespace-operator", Namespace: v1alpha1.SystemNamespace},
			}, &authenticationv1.TokenRequest{})
		},
		"switches a policy off": func(ctx context.Context) error {
			return deploy.Delete(ctx, object(bindingKind, "", "aether-sealed-pods", nil))
		},
	} {
		t.Run(what, func(t *testing.T) { w.refuses(t, other, "cannot", attempt) })
	}
	w.allows(t, deploy.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: ns.Name}}))
}

// Trusting a service account's name without its namespace was CVE-2023-46254.
func TestServiceAccountOfSameNameInAnotherNamespace(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	for _, impostor := range []string{
		"system:serviceaccount:" + ns.Name + ":namespace-operator",
		"system:serviceaccount:plain:namespace-operator",
		"system:serviceaccount:" + v1alpha1.SystemNamespace + ":namespace-operator2",
		"system:serviceaccount:" + v1alpha1.SystemNamespace + ":default",
		"namespace-operator",
		"System:serviceaccount:" + v1alpha1.SystemNamespace + ":namespace-operator",
	} {
		t.Run(impostor, func(t *testing.T) {
			open := func(ctx context.Context) error {
				to := w.fresh(t, ns.Name)
				to.Labels["pod-security.kubernetes.io/enforce"] = "privileged"
				return w.as(t, impostor).Update(ctx, to)
			}
			w.refuses(t, ns, "cannot update resource", open)
			w.grant(t, impostor, "namespaces", "update") // and with all the rights it could be given
			w.refuses(t, ns, "only Aether sets", open)
		})
	}
	to := w.fresh(t, ns.Name)
	to.Labels["pod-security.kubernetes.io/enforce"] = "baseline"
	w.allows(t, apply(t.Context(), w.operator(t), to))
}

func TestTenantsServiceAccountInAnotherTenantsNamespace(t *testing.T) {
	w := newWorld(t)
	ns, other := w.namespace(t, "acme"), w.namespace(t, "globex")
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: ns.Name}}
	w.refuses(t, theirs, "cannot create resource", func(ctx context.Context) error { return w.as(t, other.Name+":deploy").Create(ctx, theirs.DeepCopy()) })
	w.allows(t, w.as(t, ns.Name+":deploy").Create(t.Context(), theirs))
}

func TestImpersonatingSystemMasters(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	w.intrude(t, ns.Name)
	for who, config := range map[string]*rest.Config{
		"by a tenant's admin":             w.As(t, tenantAdmin, "acme-admins"),
		"by one with all rights in it":    w.As(t, intruder),
		"by its deploy account":           w.As(t, "system:serviceaccount:"+ns.Name+":deploy", "system:serviceaccounts", "system:serviceaccounts:"+ns.Name),
		"by the operator itself, even":    w.As(t, operatorUser, "system:serviceaccounts", "system:serviceaccounts:"+v1alpha1.SystemNamespace),
		"by a platform admin of Aether's": w.As(t, platformUser),
	} {
		for as, impersonated := range map[string]rest.ImpersonationConfig{
			"system:masters":     {UserName: "root", Groups: []string{"system:masters"}},
			"the operator":       {UserName: operatorUser},
			"a cluster admin":    {UserName: clusterAdmin},
			"controller manager": {UserName: "system:kube-controller-manager"},
		} {
			t.Run(as+" "+who, func(t *testing.T) {
				stolen := rest.CopyConfig(config)
				stolen.Impersonate = impersonated
				// With the kinds that are known already: discovery would be refused first.
				c, err := client.New(stolen, client.Options{Scheme: w.Scheme, Mapper: w.Client.RESTMapper()})
				w.must(t, err)
				w.refuses(t, ns, "cannot impersonate", func(ctx context.Context) error {
					return c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: ns.Name}})
				})
			})
		}
	}
	legit := w.As(t, clusterAdmin, "system:masters")
	legit.Impersonate = rest.ImpersonationConfig{UserName: tenantAdmin, Groups: []string{"acme-admins"}}
	c, err := client.New(legit, client.Options{Scheme: w.Scheme})
	w.must(t, err)
	w.allows(t, c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-", Namespace: ns.Name}}))
}

func TestTenantAdminGivesRightsAway(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	stranger := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "everyone", Namespace: ns.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:unauthenticated"}},
	}
	w.refuses(t, stranger, "cannot create resource", func(ctx context.Context) error { return w.as(t, tenantAdmin).Create(ctx, stranger.DeepCopy()) })
	testenv.Eventually(t, func(ctx context.Context) error {
		return w.as(t, tenantAdmin).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-", Namespace: ns.Name}})
	})
}
