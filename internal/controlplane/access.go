package controlplane

import (
	rbacv1 "k8s.io/api/rbac/v1"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
)

// Who the cluster controller is in the cluster that control planes run in
// (config/rbac/cluster-controller.yaml).
const (
	// ServiceAccount of the cluster controller, in SystemNamespace.
	ServiceAccount = "cluster-controller"
	// secretsRole is the ClusterRole with which it reads Secrets, where it is bound.
	secretsRole = "aether-cluster-controller-secrets"
)

// SecretsAccess lets the cluster controller read the Secrets of the control plane's
// namespace. It has a right to Secrets nowhere else.
func SecretsAccess(cp *cpv1.AetherControlPlane) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: (&Plan{cp: cp}).meta(secretsRole, ""),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: secretsRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: SystemNamespace, Name: ServiceAccount}},
	}
}
