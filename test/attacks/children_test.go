package attacks

import (
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// children is what the operator puts into a namespace, one object a kind.
func children(tenant, namespace string) []client.Object {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{
			v1alpha1.LabelTenant:    tenant,
			v1alpha1.LabelManagedBy: v1alpha1.ManagedBy,
		}, Annotations: map[string]string{v1alpha1.AnnotationComponent: "test"}}
	}
	binding := func(role string, subjects ...rbacv1.Subject) client.Object {
		return &rbacv1.RoleBinding{
			ObjectMeta: meta("aether-" + role),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "aether-" + role},
			Subjects:   subjects,
		}
	}
	write := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	workloads := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps", "secrets", "services", "pods", "serviceaccounts"}, Verbs: write},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: write},
	}
	flux := []rbacv1.PolicyRule{
		{APIGroups: []string{"kustomize.toolkit.fluxcd.io"}, Resources: []string{"kustomizations"}, Verbs: write},
		{APIGroups: []string{"source.toolkit.fluxcd.io"}, Resources: []string{"gitrepositories"}, Verbs: write},
	}
	return []client.Object{
		&networkingv1.NetworkPolicy{ObjectMeta: meta("default-deny"), Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		}},
		&corev1.ResourceQuota{ObjectMeta: meta("budget"), Spec: corev1.ResourceQuotaSpec{
			Hard: corev1.ResourceList{"pods": resource.MustParse("20"), "requests.memory": resource.MustParse("4Gi")},
		}},
		&corev1.LimitRange{ObjectMeta: meta("limits"), Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type:           corev1.LimitTypeContainer,
			DefaultRequest: corev1.ResourceList{"memory": resource.MustParse("64Mi")},
		}}}},
		&corev1.ServiceAccount{ObjectMeta: meta("deploy")},
		&rbacv1.Role{ObjectMeta: meta("aether-admin"), Rules: append(workloads, flux...)},
		&rbacv1.Role{ObjectMeta: meta("aether-deploy"), Rules: append(workloads, flux...)},
		binding("admin", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: tenant + "-admins"}),
		binding("deploy", rbacv1.Subject{Kind: "ServiceAccount", Name: "deploy", Namespace: namespace}),
		&sourcev1.GitRepository{ObjectMeta: meta("app"), Spec: sourcev1.GitRepositorySpec{
			URL: "https://git.example.com/" + tenant + "/app.git", Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		}},
		&kustomizev1.Kustomization{ObjectMeta: meta("app"), Spec: kustomizev1.KustomizationSpec{
			ServiceAccountName: "deploy", TargetNamespace: namespace, Path: "./deploy", Prune: true,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"},
		}},
	}
}
