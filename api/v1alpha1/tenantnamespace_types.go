package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TenantNamespace asks for one namespace of a tenant. The Namespace has the same
// name.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories={aether},shortName={tns}
// +kubebuilder:printcolumn:name="Tenant",type=string,JSONPath=`.spec.tenant`
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.profile`,priority=1
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.spec.size`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.metadata.annotations.aetherplatform\.cloud/source-revision`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name: a namespace's name begins with a letter, holds lower-case letters, digits and '-' only, and has at most 63 characters"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.matches('^(kube|aether|flux|kyverno|cilium|openshift)-.*$') && self.metadata.name != 'default'",message="metadata.name: this name is reserved for the system; begin it with the tenant's prefix, such as acme-web"
type TenantNamespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the tenant asks for.
	Spec TenantNamespaceSpec `json:"spec"`

	// Status is what has been observed.
	//
	// +optional
	Status TenantNamespaceStatus `json:"status,omitempty"`
}

// TenantNamespaceSpec is what a tenant asks for.
type TenantNamespaceSpec struct {
	// Tenant that the namespace belongs to. It cannot be changed.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a namespace cannot move to another tenant; create one under that tenant's prefix"
	Tenant string `json:"tenant"`

	// Profile is how the namespace is built. Default: default.
	//
	// +optional
	// +kubebuilder:default=default
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Profile string `json:"profile,omitempty"`

	// Size is one of the profile's sizes, and so the namespace's quota and limits.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Size string `json:"size"`

	// Labels for the Namespace. Those of Aether, Kubernetes and the profile cannot
	// be set.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('(?i)^([^/]*[.])?(kubernetes[.]io|k8s[.]io|aetherplatform[.]cloud|cilium[.]io|fluxcd[.]io)/'))",message="labels of kubernetes.io, k8s.io, cilium.io, fluxcd.io and aetherplatform.cloud are set by the platform; use a prefix of your own, such as example.com/team"
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations for the Namespace. Those of Aether, Kubernetes and the profile
	// cannot be set.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('(?i)^([^/]*[.])?(kubernetes[.]io|k8s[.]io|aetherplatform[.]cloud|cilium[.]io|fluxcd[.]io)/'))",message="annotations of kubernetes.io, k8s.io, cilium.io, fluxcd.io and aetherplatform.cloud are set by the platform; use a prefix of your own, such as example.com/team"
	Annotations map[string]string `json:"annotations,omitempty"`

	// Access grants roles in this namespace, beside the tenant's owners.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Access []Access `json:"access,omitempty"`

	// Network is what the namespace opens in its default-deny.
	//
	// +optional
	Network NamespaceNetwork `json:"network,omitempty"`

	// Secrets that are kept equal to OpenBao's.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Secrets []NamespaceSecret `json:"secrets,omitempty"`

	// GitOps is the team's own application repository, applied into this namespace
	// by Flux with rights that end at the namespace.
	//
	// +optional
	GitOps *GitOps `json:"gitops,omitempty"`

	// Overrides of what the profile lets a namespace override.
	//
	// +optional
	Overrides *Overrides `json:"overrides,omitempty"`

	// Clusters are the tenant's workload clusters that the namespace is placed on.
	// Empty: the cluster that the fleet is reconciled in.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Clusters []string `json:"clusters,omitempty"`
}

// NamespaceSecret is one Kubernetes Secret and where in OpenBao it comes from.
type NamespaceSecret struct {
	// Name of the Secret.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	SecretSource `json:",inline"`
}

// GitOps is a repository that Flux applies into one namespace.
type GitOps struct {
	// URL of the repository: https:// or ssh://.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https|http|ssh)://[^@/ ]*(@[^@/ ]+)?/[^ ]*$') && !self.matches('^https?://[^/]*@')",message="write https://host/path or ssh://git@host/path; credentials belong in the Secret that secretName names"
	URL string `json:"url"`

	// Branch to follow. Default: main.
	//
	// +optional
	// +kubebuilder:default=main
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Branch string `json:"branch,omitempty"`

	// Path in the repository. Default: ./
	//
	// +optional
	// +kubebuilder:default="./"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.contains('..')",message="write a path inside the repository, such as ./deploy"
	Path string `json:"path,omitempty"`

	// Interval between looks at the repository. A Go duration; default 5m.
	//
	// +optional
	// +kubebuilder:default="5m"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// SecretName is a Secret of the namespace with the repository's credentials,
	// as Flux's GitRepository.spec.secretRef wants it. Empty: none.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
}

// Overrides of a profile. Each field must be among the profile's overridable.
type Overrides struct {
	// Quota replaces single resources of the size's quota.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.size() >= 1 && self.size() <= 64",message="name 1 to 64 resources, such as requests.cpu: \"4\""
	Quota corev1.ResourceList `json:"quota,omitempty"`

	// Limits replaces the size's limits.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Limits []corev1.LimitRangeItem `json:"limits,omitempty"`

	// PodSecurity replaces the profile's level.
	//
	// +optional
	PodSecurity PodSecurityLevel `json:"podSecurity,omitempty"`
}

// TenantNamespaceStatus is what has been observed of a namespace.
type TenantNamespaceStatus struct {
	// ObservedGeneration is the generation that the status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Reconciling, Stalled, Isolated, SecretsSynced.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Digest of the objects as rendered.
	//
	// +optional
	Digest string `json:"digest,omitempty"`

	// Inventory is every object made for the namespace, recorded before it is made.
	// Until the first status, the Namespace itself says what it was born with.
	//
	// +optional
	// +listType=atomic
	Inventory []InventoryEntry `json:"inventory,omitempty"`
}

// InventoryEntry is one object made for a namespace.
type InventoryEntry struct {
	// ID is "<namespace>_<name>_<group>_<kind>", as in Flux's inventories.
	ID string `json:"id"`

	// Version of the API it was applied with.
	Version string `json:"v"`

	// Digest of the object as it was rendered; empty until it was applied.
	//
	// +optional
	Digest string `json:"digest,omitempty"`

	// Observed is the hash of the object's content as the API server answered it.
	// A live object that differs from it has been changed by someone.
	//
	// +optional
	Observed string `json:"observed,omitempty"`
}

// GetConditions implements fluxcd/pkg/runtime/conditions.Getter.
func (n *TenantNamespace) GetConditions() []metav1.Condition { return n.Status.Conditions }

// SetConditions implements fluxcd/pkg/runtime/conditions.Setter.
func (n *TenantNamespace) SetConditions(c []metav1.Condition) { n.Status.Conditions = c }

// TenantNamespaceList is a list of TenantNamespaces.
//
// +kubebuilder:object:root=true
type TenantNamespaceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TenantNamespace `json:"items"`
}
