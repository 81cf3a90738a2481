package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TenantSource is the Flux source and path that tenants come from.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,categories={aether},shortName={tsrc}
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Tenants",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.lastAppliedRevision`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TenantSource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is where to read tenants from.
	Spec TenantSourceSpec `json:"spec"`

	// Status is what was read and applied last.
	//
	// +optional
	Status TenantSourceStatus `json:"status,omitempty"`
}

// TenantSourceSpec is where tenants are read from.
type TenantSourceSpec struct {
	// SourceRef is the Flux source, in the namespace of the TenantSource.
	SourceRef SourceRef `json:"sourceRef"`

	// Path of the tenants' directories in the source. Default: ./tenants
	//
	// +optional
	// +kubebuilder:default="./tenants"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.contains('..')",message="write a path inside the source, such as ./tenants"
	Path string `json:"path,omitempty"`

	// Interval between full checks that what was applied is still there. Changes
	// in Git and in the cluster are acted on at once, whatever it is. A check may
	// come up to a tenth later, so that those of many sources are not all at the
	// same time. A Go duration, at least 1m; default 10m.
	//
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m')",message="write a duration of at least 1m"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// Suspend stops reading the source. Default false.
	//
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// Prune is what happens when objects leave Git.
	//
	// +optional
	// +kubebuilder:default={enabled: true, max: "10%"}
	Prune Prune `json:"prune,omitempty"`
}

// SourceRef names a Flux source in the same namespace.
type SourceRef struct {
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

// Prune bounds removal.
type Prune struct {
	// Enabled removes what has left Git: namespaces are cordoned and kept as their
	// tenant's deletion policy says. Default true.
	//
	// +optional
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`

	// Max is how many objects one revision may remove: a count, or a percentage
	// (rounded up) of the objects that this source has applied. A revision that
	// would remove more removes nothing, until its newest commit carries the
	// trailer "Aether-Prune: <count>" or max is raised. Default 10%.
	//
	// +optional
	// +kubebuilder:default="10%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : self.matches('^(100|[1-9]?[0-9])%$')",message="write a count such as 5, or a percentage such as 10%"
	Max *Budget `json:"max,omitempty"`
}

// TenantSourceStatus is what was read and applied last.
type TenantSourceStatus struct {
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

	// LastAttemptedRevision is the revision that was looked at last. Where it is not
	// LastAppliedRevision, Ready says why.
	//
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// LastAppliedRevision is the last revision that was applied in full, the failing
	// tenants aside: nothing was left to try again, and no removal was held back by
	// spec.prune.max.
	//
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`

	// Digest of the render of LastAppliedRevision, as "aether render" prints it.
	//
	// +optional
	Digest string `json:"digest,omitempty"`

	// Summary is "<applied>/<all>" of the tenants.
	//
	// +optional
	Summary string `json:"summary,omitempty"`

	// Tenants counts the tenants.
	//
	// +optional
	Tenants TenantCounts `json:"tenants,omitempty"`

	// Failures lists the tenants that have errors, the first 50 by name.
	//
	// +optional
	// +listType=map
	// +listMapKey=tenant
	Failures []TenantFailure `json:"failures,omitempty"`

	// Warnings lists the tenants that ask for what is allowed and is likely not what
	// was meant, such as a rule that names a namespace which is not there: the first
	// 50 by name. Ready does not depend on them.
	//
	// +optional
	// +listType=map
	// +listMapKey=tenant
	Warnings []TenantWarning `json:"warnings,omitempty"`

	// PendingPrune lists what would be removed, while that is more than the budget:
	// the first 100, as "<kind>/<name>".
	//
	// +optional
	// +listType=atomic
	PendingPrune []string `json:"pendingPrune,omitempty"`

	// LastHandledReconcileAt is the last value of the annotation
	// reconcile.fluxcd.io/requestedAt that was acted on.
	//
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// TenantCounts counts tenants.
type TenantCounts struct {
	// Total is all tenant directories.
	//
	// +optional
	Total int32 `json:"total"`
	// Failed is how many have errors.
	//
	// +optional
	Failed int32 `json:"failed"`
}

// TenantFailure is what is wrong with one tenant's directory.
type TenantFailure struct {
	// Tenant is the directory's name.
	Tenant string `json:"tenant"`

	// Errors, each "<file>:<line>: <message>", the first 10.
	//
	// +listType=atomic
	Errors []string `json:"errors"`

	// Total is how many errors there are.
	Total int32 `json:"total"`
}

// TenantWarning is what is likely not meant in one tenant's directory.
type TenantWarning struct {
	// Tenant is the directory's name.
	Tenant string `json:"tenant"`

	// Warnings, each "<file>:<line>: <message>", the first 10.
	//
	// +listType=atomic
	Warnings []string `json:"warnings"`

	// Total is how many warnings there are.
	Total int32 `json:"total"`
}

// GetConditions implements fluxcd/pkg/runtime/conditions.Getter.
func (s *TenantSource) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions implements fluxcd/pkg/runtime/conditions.Setter.
func (s *TenantSource) SetConditions(c []metav1.Condition) { s.Status.Conditions = c }

// TenantSourceList is a list of TenantSources.
//
// +kubebuilder:object:root=true
type TenantSourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TenantSource `json:"items"`
}
