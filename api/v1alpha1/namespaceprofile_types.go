package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NamespaceProfile is how the platform team wants namespaces built.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories={aether},shortName={nsp}
// +kubebuilder:printcolumn:name="Base",type=string,JSONPath=`.spec.base.path`
// +kubebuilder:printcolumn:name="Pod Security",type=string,JSONPath=`.spec.podSecurity`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name: a profile's name has at most 63 characters"
type NamespaceProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the platform team offers.
	Spec NamespaceProfileSpec `json:"spec"`

	// Status is what has been observed.
	//
	// +optional
	Status NamespaceProfileStatus `json:"status,omitempty"`
}

// NamespaceProfileSpec is what the platform team offers.
type NamespaceProfileSpec struct {
	// Base is the Kustomize directory that namespaces are built from.
	Base Base `json:"base"`

	// Sizes by name. A namespace names one of them.
	//
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	Sizes map[string]Size `json:"sizes"`

	// Roles that subjects may be given beside admin, editor and viewer, by name.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="!('admin' in self) && !('editor' in self) && !('viewer' in self) && !('deploy' in self)",message="admin, editor, viewer and deploy are built in; give the role another name"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 40 && k.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",message="a role's name holds lower-case letters, digits and '-', at most 40 characters"
	Roles map[string]Rules `json:"roles,omitempty"`

	// Labels for every Namespace of the profile.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations for every Namespace of the profile.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]string `json:"annotations,omitempty"`

	// PodSecurity is the Pod Security level that is enforced. Default: restricted.
	//
	// +optional
	// +kubebuilder:default=restricted
	PodSecurity PodSecurityLevel `json:"podSecurity,omitempty"`

	// IngressController is where the cluster's ingress controller runs, for rules
	// that name it.
	//
	// +optional
	// +kubebuilder:default={namespace: ingress-nginx}
	IngressController IngressController `json:"ingressController,omitempty"`

	// Exposure is what the profile's namespaces may open beside what their network
	// rules say. Default: none.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=5
	Exposure []Exposure `json:"exposure,omitempty"`

	// Exceptions that the profile grants to tenants which use it. They are the same
	// as a TenantException, and go with the profile.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Exceptions []ProfileException `json:"exceptions,omitempty"`

	// OpenBao is where the profile's namespaces have their secrets, as far as it is
	// not what the operator was started with.
	//
	// +optional
	OpenBao *ProfileOpenBao `json:"openBao,omitempty"`

	// Overridable lists the fields of spec.overrides that a namespace may set.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	Overridable []Overridable `json:"overridable,omitempty"`
}

// ProfileOpenBao is an OpenBao, and what of it is open to tenants.
type ProfileOpenBao struct {
	// Address, such as https://openbao.example.com:8200. Default: the operator's
	// openBao.address.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^https://[^@/?# ]+/?$')",message="write https://host or https://host:port; secrets do not travel in the clear"
	Address string `json:"address,omitempty"`

	// CABundle is the certificates, in PEM, that the server's is checked against.
	// Default: the operator's openBao.caFile where the address is the operator's
	// too, and else the system's.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`

	// Namespace of OpenBao. Default: the operator's openBao.namespace.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$')",message="write the namespace without a leading or trailing '/', such as platform/prod"
	Namespace string `json:"namespace,omitempty"`

	// AuthMount is where Kubernetes authentication is mounted for this cluster.
	// Default: the operator's openBao.authMount.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$')",message="write the mount as `bao auth list` shows it, without a leading or trailing '/', such as kubernetes"
	AuthMount string `json:"authMount,omitempty"`

	// Mounts of KV v2 engines that a Tenant may name in spec.secrets.mount. Default:
	// secret.
	//
	// +optional
	// +listType=set
	// +kubebuilder:default={secret}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Mounts []string `json:"mounts,omitempty"`

	// Generate lets namespaces have secrets made in OpenBao (spec.secrets[].generate).
	// Default: false.
	//
	// +optional
	Generate bool `json:"generate,omitempty"`
}

// ProfileException is an exception for one tenant's namespaces of the profile.
type ProfileException struct {
	// Name to call it by.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	ExceptionSpec `json:",inline"`
}

// Base is a Kustomize directory.
type Base struct {
	// SourceRef is the Flux source that holds the base. Left out: the base embedded
	// in the binary.
	//
	// +optional
	SourceRef *BaseSourceRef `json:"sourceRef,omitempty"`

	// Path below base/, such as profiles/default.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.contains('..')",message="write a path below base/, such as profiles/default"
	Path string `json:"path"`
}

// BaseSourceRef names a Flux source in aether-system.
type BaseSourceRef struct {
	// Kind is GitRepository, OCIRepository or Bucket.
	//
	// +kubebuilder:validation:Enum=GitRepository;OCIRepository;Bucket
	Kind string `json:"kind"`

	// Name of the source.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Size is a quota and its limits.
type Size struct {
	// Quota is the hard part of the namespace's ResourceQuota.
	//
	// +kubebuilder:validation:XValidation:rule="self.size() >= 1 && self.size() <= 64",message="name 1 to 64 resources, such as requests.cpu: \"4\""
	Quota corev1.ResourceList `json:"quota"`

	// Limits are the items of the namespace's LimitRange.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Limits []corev1.LimitRangeItem `json:"limits,omitempty"`
}

// Rules of a role.
//
// +listType=atomic
// +kubebuilder:validation:MinItems=1
// +kubebuilder:validation:MaxItems=64
type Rules []rbacv1.PolicyRule

// PodSecurityLevel is privileged, baseline or restricted.
//
// +kubebuilder:validation:Enum=privileged;baseline;restricted
type PodSecurityLevel string

// Pod Security levels, the laxest first.
const (
	PodSecurityPrivileged PodSecurityLevel = "privileged"
	PodSecurityBaseline   PodSecurityLevel = "baseline"
	PodSecurityRestricted PodSecurityLevel = "restricted"
)

// IngressController is where an ingress controller runs.
type IngressController struct {
	// Namespace of its Pods. Default: ingress-nginx.
	//
	// +optional
	// +kubebuilder:default=ingress-nginx
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// PodLabels of its Pods. Empty: all Pods of the namespace.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	PodLabels map[string]string `json:"podLabels,omitempty"`
}

// Overridable is a field of spec.overrides.
//
// +kubebuilder:validation:Enum=quota;limits;podSecurity
type Overridable string

// Fields that a profile may let a namespace override.
const (
	OverrideQuota       Overridable = "quota"
	OverrideLimits      Overridable = "limits"
	OverridePodSecurity Overridable = "podSecurity"
)

// NamespaceProfileStatus is what has been observed of a profile.
type NamespaceProfileStatus struct {
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

	// BaseRevision is the revision of the base that is compiled: "embedded" and
	// its digest, or the source's revision.
	//
	// +optional
	BaseRevision string `json:"baseRevision,omitempty"`
}

// GetConditions implements fluxcd/pkg/runtime/conditions.Getter.
func (p *NamespaceProfile) GetConditions() []metav1.Condition { return p.Status.Conditions }

// SetConditions implements fluxcd/pkg/runtime/conditions.Setter.
func (p *NamespaceProfile) SetConditions(c []metav1.Condition) { p.Status.Conditions = c }

// NamespaceProfileList is a list of NamespaceProfiles.
//
// +kubebuilder:object:root=true
type NamespaceProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NamespaceProfile `json:"items"`
}
