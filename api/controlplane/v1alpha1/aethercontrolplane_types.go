package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindAetherControlPlane is the kind of a hosted control plane.
const KindAetherControlPlane = "AetherControlPlane"

// AetherControlPlane is the control plane of a Kubernetes cluster that runs as Pods
// in this one: an etcd of its own, API servers, controller manager and scheduler, and
// the certificates by which they know each other, which cert-manager issues.
//
// The cluster controller makes one of each WorkloadCluster. Cluster API's Clusters
// may refer to one that somebody else made.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:categories={aether,cluster-api},shortName={acp}
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1alpha1"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Initialized",type=boolean,JSONPath=`.status.initialization.controlPlaneInitialized`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].message`
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.spec.controlPlaneEndpoint.host`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 48",message="metadata.name: a control plane's name has at most 48 characters"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name: Services are named after a control plane, so it begins with a letter and has no dots; write one such as acme-prod"
// +kubebuilder:validation:XValidation:rule="self.spec.version == oldSelf.spec.version || !self.spec.version.matches('^v1[.][0-9]+[.][0-9]+$') || [has(oldSelf.status) && has(oldSelf.status.version) ? oldSelf.status.version : oldSelf.spec.version].all(runs, int(self.spec.version.split('.')[1]) == int(runs.split('.')[1]) ? int(self.spec.version.split('.')[2]) >= int(runs.split('.')[2]) : int(self.spec.version.split('.')[1]) == int(runs.split('.')[1]) + 1)",message="spec.version: a cluster goes up by one minor version at a time, and never back but to the version that its API servers still run"
type AetherControlPlane struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	Spec AetherControlPlaneSpec `json:"spec"`

	// Status is what has been observed.
	//
	// +optional
	Status AetherControlPlaneStatus `json:"status,omitempty"`
}

// AetherControlPlaneSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.controlPlaneEndpoint) || has(self.controlPlaneEndpoint)",message="controlPlaneEndpoint: nodes know the cluster by it, so it stays; write what it was"
type AetherControlPlaneSpec struct {
	// Version of Kubernetes, such as v1.36.3. It goes up by one minor version at a time, and
	// never back but to the version that the API servers still run, as after an upgrade that
	// failed.
	//
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^v1[.][0-9]+[.][0-9]+$')",message="write a full version such as v1.36.3"
	Version string `json:"version"`

	// Replicas of the API server, of the controller manager and of the scheduler.
	// Default 2.
	//
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=9
	Replicas *int32 `json:"replicas,omitempty"`

	// Resources of each API server. Default: requests of 250m and 512Mi.
	//
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// Etcd is the control plane's own.
	//
	// +optional
	// +kubebuilder:default={}
	Etcd EtcdSpec `json:"etcd,omitempty"`

	// Network is the cluster's address ranges. They cannot be changed.
	//
	// +optional
	// +kubebuilder:default={}
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the address ranges of a cluster cannot be changed; make another cluster"
	Network Network `json:"network,omitempty"`

	// Hibernated ends all programs of the control plane, and keeps its volumes, certificates
	// and addresses. Taken away, it wakes as it was. Default false.
	//
	// +optional
	Hibernated bool `json:"hibernated,omitempty"`

	// Upgrade is how another version comes in.
	//
	// +optional
	// +kubebuilder:default={}
	Upgrade *UpgradeSpec `json:"upgrade,omitempty"`

	// PKI is the generation of the authorities that all of the control plane trusts.
	//
	// +optional
	// +kubebuilder:default={}
	PKI PKISpec `json:"pki,omitempty"`

	// ControlPlaneEndpoint is where clients find the API servers. Default: the Service
	// of the API servers, which the cluster controller writes here.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="nodes know the cluster by its endpoint, so it cannot be changed"
	ControlPlaneEndpoint *APIEndpoint `json:"controlPlaneEndpoint,omitempty"`
}

// EtcdSpec is the store of a control plane.
//
// +kubebuilder:validation:XValidation:rule="has(self.restoreFrom) == has(oldSelf.restoreFrom) && (!has(self.restoreFrom) || self.restoreFrom == oldSelf.restoreFrom)",message="restoreFrom: a store is restored once, when it is new; make another control plane to restore another snapshot"
type EtcdSpec struct {
	// Replicas is 1 or 3. It cannot be changed. Default 3.
	//
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Enum=1;3
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the number of etcd's members cannot be changed"
	Replicas int32 `json:"replicas,omitempty"`

	// Storage of each member. Default 8Gi.
	//
	// +optional
	// +kubebuilder:default="8Gi"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the volumes of etcd cannot be changed"
	Storage *resource.Quantity `json:"storage,omitempty"`

	// StorageClassName of the members' volumes. Default: the cluster's default class.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the volumes of etcd cannot be changed"
	StorageClassName *string `json:"storageClassName,omitempty"`

	// Snapshots of the store. Default: none are taken.
	//
	// +optional
	Snapshots *Snapshots `json:"snapshots,omitempty"`

	// RestoreFrom is a snapshot that the store begins with. It is looked at once, when the
	// control plane is new, and cannot be changed.
	//
	// +optional
	RestoreFrom *RestoreFrom `json:"restoreFrom,omitempty"`
}

// PKISpec is about the authorities of a control plane.
type PKISpec struct {
	// Generation of the authorities. One more than it was changes all of them, without
	// a healthy node being cut off. It goes up by one at a time, and never back.
	// Default 1.
	//
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +kubebuilder:validation:XValidation:rule="self >= oldSelf && self <= oldSelf + 1",message="authorities are changed one generation at a time, and never back; write what it was plus one"
	Generation int32 `json:"generation,omitempty"`
}

// Network is a cluster's address ranges.
type Network struct {
	// PodCIDR is the range of the Pods' addresses. Default 10.100.0.0/16.
	//
	// +optional
	// +kubebuilder:default="10.100.0.0/16"
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="write a CIDR such as 10.100.0.0/16"
	PodCIDR string `json:"podCIDR,omitempty"`

	// ServiceCIDR is the range of the Services' addresses. Default 10.101.0.0/16.
	//
	// +optional
	// +kubebuilder:default="10.101.0.0/16"
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="write a CIDR such as 10.101.0.0/16"
	ServiceCIDR string `json:"serviceCIDR,omitempty"`

	// Domain of the cluster's Services. Default cluster.local.
	//
	// +optional
	// +kubebuilder:default="cluster.local"
	// +kubebuilder:validation:MaxLength=253
	Domain string `json:"domain,omitempty"`
}

// APIEndpoint is where an API server is found.
type APIEndpoint struct {
	// Host is a name or an address.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Host string `json:"host"`

	// Port of it.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// AetherControlPlaneStatus is what has been observed of a control plane.
type AetherControlPlaneStatus struct {
	// ObservedGeneration is the generation that the status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Available, Ready, Reconciling and Stalled; CertificatesReady,
	// EtcdReady, APIServerReady and ControllersReady say how far it has come;
	// SnapshotsReady, where they are asked for; AuthoritiesCurrent; Hibernated; Paused.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Initialization is what Cluster API waits for.
	//
	// +optional
	Initialization Initialization `json:"initialization,omitempty"`

	// ExternalManagedControlPlane is true: no Machine runs this control plane.
	//
	// +optional
	ExternalManagedControlPlane *bool `json:"externalManagedControlPlane,omitempty"`

	// Version that the oldest API server has. It is empty until there has been one.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Version string `json:"version,omitempty"`

	// Versions of the API servers, the oldest first.
	//
	// +optional
	// +listType=map
	// +listMapKey=version
	// +kubebuilder:validation:MaxItems=8
	Versions []VersionCount `json:"versions,omitempty"`

	// Components are the programs of Kubernetes, each with the oldest version of it that runs.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Components []ComponentVersion `json:"components,omitempty"`

	// LastSnapshot of etcd.
	//
	// +optional
	LastSnapshot *SnapshotStatus `json:"lastSnapshot,omitempty"`

	// RestoredFrom is the snapshot that the store has begun with.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RestoredFrom string `json:"restoredFrom,omitempty"`

	// Upgrade that is under way, or that has failed.
	//
	// +optional
	Upgrade *UpgradeStatus `json:"upgrade,omitempty"`

	// Selector of the Pods of the API servers, as a string.
	//
	// +optional
	Selector string `json:"selector,omitempty"`

	// Replicas of the API server that there are.
	//
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// ReadyReplicas are those that are ready.
	//
	// +optional
	ReadyReplicas *int32 `json:"readyReplicas,omitempty"`

	// AvailableReplicas are those that have been ready for a while.
	//
	// +optional
	AvailableReplicas *int32 `json:"availableReplicas,omitempty"`

	// UpToDateReplicas are those that are as the newest spec has them.
	//
	// +optional
	UpToDateReplicas *int32 `json:"upToDateReplicas,omitempty"`

	// Certificates that cert-manager keeps, and when each ends.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Certificates []CertificateStatus `json:"certificates,omitempty"`

	// Rotation is how far a change of the authorities has come; nothing when there is
	// none.
	//
	// +optional
	Rotation *Rotation `json:"rotation,omitempty"`
}

// Rotation is how far a change of the authorities has come.
type Rotation struct {
	// Phase is Trusting, until all trust the new authorities beside the old ones;
	// Reissuing, until all certificates are of the new ones and in use; Proving, until
	// nobody is seen to need the old ones; or Dropping, until they are gone.
	//
	// +kubebuilder:validation:Enum=Trusting;Reissuing;Proving;Dropping
	Phase RotationPhase `json:"phase"`

	// Generation of the new authorities.
	Generation int32 `json:"generation"`

	// Authority is the new authority of the cluster, as nodes say whom they trust: the
	// hash of its public key, as kubeadm writes it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Authority string `json:"authority,omitempty"`

	// Message says what it waits for.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message,omitempty"`

	// Since is when the phase began.
	Since metav1.Time `json:"since"`
}

// RotationPhase is a step of a change of authorities.
type RotationPhase string

// Phases of a change of authorities, in their order.
const (
	RotationTrusting  RotationPhase = "Trusting"
	RotationReissuing RotationPhase = "Reissuing"
	RotationProving   RotationPhase = "Proving"
	RotationDropping  RotationPhase = "Dropping"
)

// Annotations of a Node in the cluster of a control plane, by which it says that a
// change of authorities may go on. Both hold hashes as Rotation.Authority has them.
const (
	// AnnotationTrusts lists the authorities that the node and what runs on it trust,
	// separated by commas.
	AnnotationTrusts = "controlplane.aetherplatform.cloud/trusts"
	// AnnotationCredentialFrom is the authority that its kubelet's certificate is from.
	AnnotationCredentialFrom = "controlplane.aetherplatform.cloud/credential-from"
)

// Initialization is what Cluster API waits for.
type Initialization struct {
	// ControlPlaneInitialized is true once the API server has answered.
	//
	// +optional
	ControlPlaneInitialized *bool `json:"controlPlaneInitialized,omitempty"`
}

// VersionCount is how many API servers have a version.
type VersionCount struct {
	// Version of Kubernetes.
	//
	// +kubebuilder:validation:MaxLength=32
	Version string `json:"version"`

	// Replicas that have it.
	//
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
}

// CertificateStatus is what is known of a certificate.
type CertificateStatus struct {
	// Name of the Certificate.
	//
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Ready is whether it is issued, and valid.
	Ready bool `json:"ready"`

	// NotAfter is when it ends.
	//
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`

	// RenewalTime is when cert-manager renews it.
	//
	// +optional
	RenewalTime *metav1.Time `json:"renewalTime,omitempty"`
}

// AetherControlPlaneList is a list of AetherControlPlanes.
//
// +kubebuilder:object:root=true
type AetherControlPlaneList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AetherControlPlane `json:"items"`
}

// Endpoint is where clients find the API servers; the zero APIEndpoint until that is
// known.
func (c *AetherControlPlane) Endpoint() APIEndpoint {
	if c.Spec.ControlPlaneEndpoint == nil {
		return APIEndpoint{}
	}
	return *c.Spec.ControlPlaneEndpoint
}
