package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Role is what a subject may do in a namespace: admin, editor or viewer, or a
// role that the namespace's profile adds.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be admin, editor, viewer, or the name of a role of the profile: lower-case letters, digits and '-'"
type Role string

// The built-in roles. The profile may add others, never redefine these.
const (
	// RoleAdmin may do everything an editor may, and read and delete more.
	RoleAdmin Role = "admin"
	// RoleEditor may change workloads, configuration and Secrets.
	RoleEditor Role = "editor"
	// RoleViewer may read all but Secrets.
	RoleViewer Role = "viewer"
)

// Subject names a user, a group or a service account.
//
// +kubebuilder:validation:XValidation:rule="self.kind == 'ServiceAccount' ? has(self.namespace) : !has(self.namespace)",message="namespace is required for kind ServiceAccount and must be left out for User and Group"
// +kubebuilder:validation:XValidation:rule="!self.name.startsWith('system:')",message="names that begin with 'system:' belong to Kubernetes; name a user or group of your identity provider"
type Subject struct {
	// Kind is User, Group or ServiceAccount.
	//
	// +kubebuilder:validation:Enum=User;Group;ServiceAccount
	Kind string `json:"kind"`

	// Name as the cluster's authentication presents it, case and prefix included.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Namespace of a ServiceAccount. It must be one of the tenant's own.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// Access grants a role to a subject.
type Access struct {
	Subject `json:",inline"`

	// Role is admin, editor, viewer, or a role of the profile.
	Role Role `json:"role"`
}

// Deletion is what happens to namespaces that leave Git.
type Deletion struct {
	// Policy is Retain (the default: a namespace that leaves Git is cordoned and
	// kept until a person deletes its TenantNamespace) or Delete (it is cordoned, kept for
	// retention, then deleted). Either way, putting the file back restores it.
	//
	// +optional
	// +kubebuilder:default=Retain
	// +kubebuilder:validation:Enum=Retain;Delete
	Policy DeletionPolicy `json:"policy,omitempty"`

	// Retention is how long a removed namespace is kept under policy Delete.
	// A Go duration; default 720h (30 days).
	//
	// +optional
	// +kubebuilder:default="720h"
	Retention *metav1.Duration `json:"retention,omitempty"`
}

// DeletionPolicy is Retain or Delete.
type DeletionPolicy string

// Deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)
