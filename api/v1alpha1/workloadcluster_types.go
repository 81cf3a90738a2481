package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WorkloadCluster asks for a Kubernetes cluster of a tenant. The cluster controller gives
// it a control plane that runs as Pods in the cluster of the WorkloadCluster. This release
// makes no nodes of it and opens no public endpoint: status says so where they are asked
// for.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories={aether},shortName={wlc}
// +kubebuilder:printcolumn:name="Tenant",type=string,JSONPath=`.spec.tenant`
// +kubebuilder:printcolumn:name="Region",type=string,JSONPath=`.spec.region`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.metadata.annotations.aetherplatform\.cloud/source-revision`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 48",message="metadata.name: a cluster's name has at most 48 characters"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name: Services are named after a cluster, so its name begins with a letter and has no dots; write one such as acme-prod"
// +kubebuilder:validation:XValidation:rule="self.spec.version == oldSelf.spec.version || !self.spec.version.matches('^v1[.][0-9]+[.][0-9]+$') || [has(oldSelf.status) && has(oldSelf.status.controlPlane) && has(oldSelf.status.controlPlane.version) ? oldSelf.status.controlPlane.version : oldSelf.spec.version].all(runs, int(self.spec.version.split('.')[1]) == int(runs.split('.')[1]) ? int(self.spec.version.split('.')[2]) >= int(runs.split('.')[2]) : int(self.spec.version.split('.')[1]) == int(runs.split('.')[1]) + 1)",message="spec.version: a cluster goes up by one minor version at a time, and never back but to the version that its API servers still run"
type WorkloadCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the tenant asks for.
	Spec WorkloadClusterSpec `json:"spec"`

	// Status is what has been observed.
	//
	// +optional
	Status WorkloadClusterStatus `json:"status,omitempty"`
}

// WorkloadClusterSpec is what a tenant asks for.
//
// +kubebuilder:validation:XValidation:rule="self.?controlPlane.?pki.?generation.orValue(1) >= oldSelf.?controlPlane.?pki.?generation.orValue(1) && self.?controlPlane.?pki.?generation.orValue(1) <= oldSelf.?controlPlane.?pki.?generation.orValue(1) + 1",message="controlPlane.pki.generation: authorities are changed one generation at a time, and never back; write what it was plus one"
type WorkloadClusterSpec struct {
	// Tenant that the cluster belongs to. It cannot be changed.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a cluster cannot move to another tenant; create one there"
	Tenant string `json:"tenant"`

	// Region to run in, such as dk-1.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Region string `json:"region"`

	// Version of Kubernetes, such as v1.36.3. It goes up by one minor version at a time,
	// and never back but to the version that the API servers still run, as after an upgrade
	// that failed.
	//
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^v1[.][0-9]+[.][0-9]+$')",message="write a full version such as v1.36.3"
	Version string `json:"version"`

	// Hibernated ends all programs of the control plane, and keeps what they stored. Taken
	// away, the cluster wakes as it was. Default false.
	//
	// +optional
	Hibernated bool `json:"hibernated,omitempty"`

	// ControlPlane is the size of the hosted control plane.
	//
	// +optional
	ControlPlane ControlPlane `json:"controlPlane,omitempty"`

	// Network is the cluster's address ranges. They cannot be changed.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the address ranges of a cluster cannot be changed; make another cluster"
	Network ClusterNetwork `json:"network,omitempty"`

	// Endpoint is how the API server is reached. Default: privately only.
	//
	// +optional
	Endpoint Endpoint `json:"endpoint,omitempty"`

	// NodePools are the groups of worker nodes.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	NodePools []NodePool `json:"nodePools,omitempty"`
}

// ControlPlane is the size of a hosted control plane.
type ControlPlane struct {
	// Replicas of the API server. Default 2.
	//
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=9
	Replicas int32 `json:"replicas,omitempty"`

	// Resources of each API server. Default: requests of 250m and 512Mi.
	//
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// Etcd is the size of the cluster's own etcd.
	//
	// +optional
	Etcd Etcd `json:"etcd,omitempty"`

	// PKI is the generation of the cluster's authorities.
	//
	// +optional
	PKI PKI `json:"pki,omitempty"`
}

// PKI is about the authorities of a cluster.
type PKI struct {
	// Generation of the authorities. One more than it was changes all of them, without
	// a healthy node being cut off. It goes up by one at a time, and never back.
	// Default 1.
	//
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Generation int32 `json:"generation,omitempty"`
}

// Etcd is the size of an etcd.
type Etcd struct {
	// Replicas is 1 or 3. It cannot be changed. Default 3.
	//
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Enum=1;3
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the number of etcd's members cannot be changed"
	Replicas int32 `json:"replicas,omitempty"`

	// Storage of each member. It cannot be changed. Default 8Gi.
	//
	// +optional
	// +kubebuilder:default="8Gi"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the volumes of etcd cannot be changed"
	Storage *resource.Quantity `json:"storage,omitempty"`

	// Snapshots of it. Default: none are taken.
	//
	// +optional
	Snapshots *EtcdSnapshots `json:"snapshots,omitempty"`
}

// EtcdSnapshots are copies of an etcd that are kept on a volume of their own. They go
// with the cluster.
type EtcdSnapshots struct {
	// Schedule of them as cron has it, in UTC. Default every six hours.
	//
	// +optional
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=100
	Schedule string `json:"schedule,omitempty"`

	// Keep is how many there are before the oldest is removed. Default 28.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Keep int32 `json:"keep,omitempty"`

	// Size of the volume. Each snapshot takes about what the etcd holds. It cannot be changed.
	//
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the volume of snapshots cannot be changed"
	Size resource.Quantity `json:"size"`
}

// ClusterNetwork is a cluster's address ranges.
type ClusterNetwork struct {
	// PodCIDR is the range of the Pods' addresses. Default 10.100.0.0/16.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="write a CIDR such as 10.100.0.0/16"
	PodCIDR string `json:"podCIDR,omitempty"`

	// ServiceCIDR is the range of the Services' addresses. Default 10.101.0.0/16.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="write a CIDR such as 10.101.0.0/16"
	ServiceCIDR string `json:"serviceCIDR,omitempty"`

	// Domain of the cluster's Services. Default cluster.local.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Domain string `json:"domain,omitempty"`
}

// Endpoint is how an API server is reached.
type Endpoint struct {
	// Public opens the API server to networks outside.
	//
	// +optional
	Public PublicEndpoint `json:"public,omitempty"`
}

// PublicEndpoint is an API server's way from outside.
type PublicEndpoint struct {
	// Enabled opens it. Default false.
	//
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// Host is its name, where it is not <cluster>.<org>.<region>.<domain>.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`

	// AuthorizedNetworks that may reach it.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="write CIDRs such as 198.51.100.0/24"
	AuthorizedNetworks []string `json:"authorizedNetworks,omitempty"`
}

// NodePool is a group of worker nodes.
type NodePool struct {
	// Name of the pool.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name"`

	// Replicas is how many nodes there are.
	//
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=5000
	Replicas int32 `json:"replicas"`

	// Machine is what each node is.
	Machine Machine `json:"machine"`

	// Labels of the nodes.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]string `json:"labels,omitempty"`
}

// Machine is what a node is.
type Machine struct {
	// Type of the machine, as the region offers it.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Type string `json:"type"`
}

// WorkloadClusterStatus is what has been observed of a cluster.
type WorkloadClusterStatus struct {
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

	// ControlPlane is where the control plane runs.
	//
	// +optional
	ControlPlane *ControlPlaneStatus `json:"controlPlane,omitempty"`
}

// ControlPlaneStatus is where a control plane runs, and what it is.
type ControlPlaneStatus struct {
	// Namespace of the AetherControlPlane, which has the cluster's name.
	Namespace string `json:"namespace"`

	// Endpoint of the API server, as https://host:port.
	//
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// Version of the oldest API server. It is empty until there has been one.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Version string `json:"version,omitempty"`
}

// WorkloadClusterList is a list of WorkloadClusters.
//
// +kubebuilder:object:root=true
type WorkloadClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []WorkloadCluster `json:"items"`
}
