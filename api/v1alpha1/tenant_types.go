package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Tenant is an organisation or a team: who owns it, how much it may use, what
// it may reach.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories={aether},shortName={tnt}
// +kubebuilder:printcolumn:name="Display Name",type=string,JSONPath=`.spec.displayName`,priority=1
// +kubebuilder:printcolumn:name="Namespaces",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.metadata.annotations.aetherplatform\.cloud/source-revision`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40",message="metadata.name: a tenant's name has at most 40 characters, so that its namespaces' names have room"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name: a tenant's name begins with a letter and holds lower-case letters, digits and '-' only, since its namespaces' names begin with it"
// +kubebuilder:validation:XValidation:rule="!(self.metadata.name in ['kube','default','aether','flux','kyverno','cilium','openshift'])",message="metadata.name: this name is reserved for the system; choose another"
type Tenant struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the platform team grants the tenant.
	//
	// +optional
	// +kubebuilder:default={}
	Spec TenantSpec `json:"spec,omitempty"`

	// Status is what has been observed.
	//
	// +optional
	Status TenantStatus `json:"status,omitempty"`
}

// TenantSpec is what the platform team grants a tenant.
type TenantSpec struct {
	// DisplayName is the name people know the tenant by. Default: metadata.name.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	DisplayName string `json:"displayName,omitempty"`

	// Owners get their role in every namespace of the tenant.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Owners []Access `json:"owners,omitempty"`

	// Namespaces bounds how many namespaces there may be, what they are called and
	// which profiles they may use.
	//
	// +optional
	// +kubebuilder:default={}
	Namespaces TenantNamespaces `json:"namespaces,omitempty"`

	// Quota is the budget of the whole tenant.
	//
	// +optional
	Quota *TenantQuota `json:"quota,omitempty"`

	// Network is what all the tenant's namespaces may reach, and which tenants it
	// peers with.
	//
	// +optional
	Network TenantNetwork `json:"network,omitempty"`

	// Registries that images may come from: "<host>[:<port>]/<path>", matched at
	// path boundaries. Empty: any.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Registries []string `json:"registries,omitempty"`

	// Hostnames that the tenant's routes may use. A leading "*." stands for one or
	// more labels. Empty: none may be used.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(h, h.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+$'))",message="write host names in lower case without a trailing dot, such as app.example.com or *.example.com (internationalised names in their xn-- form)"
	Hostnames []string `json:"hostnames,omitempty"`

	// StorageClasses the tenant may use. Empty: any.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	StorageClasses []string `json:"storageClasses,omitempty"`

	// PriorityClasses the tenant may use. Empty: any but those of the system.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	PriorityClasses []string `json:"priorityClasses,omitempty"`

	// NodeSelector is the labels that the tenant's Pods must select their node by.
	// Empty: they may run anywhere.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Secrets is where in OpenBao the tenant's secrets are.
	//
	// +optional
	Secrets *TenantSecrets `json:"secrets,omitempty"`

	// Cordoned closes the tenant for change without stopping it: its namespaces
	// admit no new Pods, write access is withdrawn and GitOps is suspended.
	// Nothing that runs is stopped, nothing is deleted. Default false.
	//
	// +optional
	Cordoned bool `json:"cordoned,omitempty"`

	// Deletion is what happens to namespaces that leave Git. Default: Retain.
	//
	// +optional
	// +kubebuilder:default={policy: Retain}
	Deletion Deletion `json:"deletion,omitempty"`
}

// TenantNamespaces bounds a tenant's namespaces.
type TenantNamespaces struct {
	// Max is how many namespaces the tenant may have, those kept after removal
	// included. Default 10.
	//
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Max *int32 `json:"max,omitempty"`

	// Prefix that every namespace of the tenant begins with. Default "<tenant>-".
	// No tenant's prefix may begin with another's.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=50
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?-$')",message="a prefix begins with a letter, holds lower-case letters, digits and '-', and ends with '-', such as acme-"
	// +kubebuilder:validation:XValidation:rule="!(self in ['kube-','default-','aether-','flux-','kyverno-','cilium-','openshift-'])",message="this prefix is reserved for the system; choose another, such as <tenant>-"
	Prefix string `json:"prefix,omitempty"`

	// Profiles that the tenant's namespaces may use. Default: [default].
	//
	// +optional
	// +listType=set
	// +kubebuilder:default={default}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Profiles []string `json:"profiles,omitempty"`
}

// TenantQuota is a budget.
type TenantQuota struct {
	// Hard is the sum that the quotas of the tenant's namespaces must fit in, by
	// resource as in a ResourceQuota. A resource that is not named is not bounded.
	//
	// +kubebuilder:validation:XValidation:rule="self.size() >= 1 && self.size() <= 64",message="name 1 to 64 resources, such as requests.cpu: \"4\""
	Hard corev1.ResourceList `json:"hard"`
}

// TenantNetwork is what a whole tenant may reach.
type TenantNetwork struct {
	// Egress that every namespace of the tenant is allowed, beside its own.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Egress []EgressRule `json:"egress,omitempty"`

	// Peers are tenants whose namespaces may be named in network rules. It takes
	// effect when the other tenant names this one too.
	//
	// +optional
	// +listType=map
	// +listMapKey=tenant
	// +kubebuilder:validation:MaxItems=64
	Peers []Peer `json:"peers,omitempty"`
}

// Peer is one side of a mutual agreement between two tenants.
type Peer struct {
	// Tenant is the other tenant's name.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Tenant string `json:"tenant"`
}

// TenantSecrets is a place in OpenBao.
type TenantSecrets struct {
	// Mount of the KV v2 engine: one that the profiles of the tenant's namespaces
	// list. Default: secret.
	//
	// +optional
	// +kubebuilder:default=secret
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$')",message="write the mount as `bao secrets list` shows it, without a leading or trailing '/', such as secret"
	Mount string `json:"mount,omitempty"`

	// Path below the mount that the tenant's secrets are under. Default: the
	// tenant's name.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$')",message="write a plain path such as teams/acme: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"
	Path string `json:"path,omitempty"`
}

// TenantStatus is what has been observed of a tenant.
type TenantStatus struct {
	// ObservedGeneration is the generation that the status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Reconciling, Stalled.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Summary is "<ready>/<all>" of the tenant's namespaces.
	//
	// +optional
	Summary string `json:"summary,omitempty"`

	// Namespaces counts the tenant's namespaces.
	//
	// +optional
	Namespaces NamespaceCounts `json:"namespaces,omitempty"`

	// Used is the sum of the quotas of the tenant's namespaces.
	//
	// +optional
	Used corev1.ResourceList `json:"used,omitempty"`
}

// NamespaceCounts counts namespaces by state.
type NamespaceCounts struct {
	// Total is all of them, the removed ones included.
	//
	// +optional
	Total int32 `json:"total"`
	// Ready is how many are Ready.
	//
	// +optional
	Ready int32 `json:"ready"`
	// Removed is how many have left Git and are kept.
	//
	// +optional
	Removed int32 `json:"removed"`
}

// Prefix is what the names of the tenant's namespaces begin with.
func (t *Tenant) Prefix() string {
	if p := t.Spec.Namespaces.Prefix; p != "" {
		return p
	}
	return t.Name + "-"
}

// GetConditions implements fluxcd/pkg/runtime/conditions.Getter.
func (t *Tenant) GetConditions() []metav1.Condition { return t.Status.Conditions }

// SetConditions implements fluxcd/pkg/runtime/conditions.Setter.
func (t *Tenant) SetConditions(c []metav1.Condition) { t.Status.Conditions = c }

// TenantList is a list of Tenants.
//
// +kubebuilder:object:root=true
type TenantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Tenant `json:"items"`
}
