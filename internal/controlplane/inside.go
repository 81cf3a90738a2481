package controlplane

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Inside is what every cluster holds from its beginning, as kubeadm has it
// (k8s.io/kubernetes, cmd/kubeadm/app/phases/bootstraptoken and kubeconfig): rights of
// the admins, of API servers on kubelets, and of nodes that join.
func Inside() []*rbacv1.ClusterRoleBinding {
	return []*rbacv1.ClusterRoleBinding{
		binding("kubeadm:cluster-admins", "cluster-admin", group(AdminGroup)),
		binding(AccessGroup, "cluster-admin", group(AccessGroup)),
		// By its name: certificates of kubeadm 1.36 name no group any more.
		binding("kubeadm:apiserver-kubelet-client", "system:kubelet-api-admin",
			rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "kube-apiserver-kubelet-client"}),
		binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", group(bootstrappers)),
		binding("kubeadm:node-autoapprove-bootstrap", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", group(bootstrappers)),
		binding("kubeadm:node-autoapprove-certificate-rotation", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", group("system:nodes")),
	}
}

// AccessGroup is the group of people who hold a short-lived credential of their own. Its
// binding may be emptied, and stays so while its annotation
// rbac.authorization.kubernetes.io/autoupdate is false.
const AccessGroup = "aether:admins"

// bootstrappers is the group of bootstrap tokens that nodes join with.
const bootstrappers = "system:bootstrappers:kubeadm:default-node-token"

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

func binding(name, role string, subject rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{LabelManagedBy: ManagedBy}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{subject},
	}
}
