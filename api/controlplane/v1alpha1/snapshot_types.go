package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Snapshots are copies of the store that are kept apart from it.
type Snapshots struct {
	// Schedule of them as cron has it, in UTC. Default every six hours.
	//
	// +optional
	// +kubebuilder:default="17 */6 * * *"
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=100
	Schedule string `json:"schedule,omitempty"`

	// Keep is how many there are before the oldest is removed. Default 28.
	//
	// +optional
	// +kubebuilder:default=28
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Keep int32 `json:"keep,omitempty"`

	// Volume that they are kept on.
	Volume SnapshotVolume `json:"volume"`
}

// SnapshotVolume is a PersistentVolumeClaim, <control plane>-snapshots. It stays when the
// control plane is deleted, and goes with its namespace.
type SnapshotVolume struct {
	// Size of it. Each snapshot takes about what the store holds. It cannot be changed.
	//
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the volume of snapshots cannot be changed"
	Size resource.Quantity `json:"size"`

	// StorageClassName of it. Default: the cluster's default class. It cannot be changed.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the volume of snapshots cannot be changed"
	StorageClassName *string `json:"storageClassName,omitempty"`
}

// RestoreFrom is a snapshot that a new control plane begins with.
type RestoreFrom struct {
	// ClaimName of the PersistentVolumeClaim with snapshots, in the namespace of the control
	// plane: that of another one is called <control plane>-snapshots.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClaimName string `json:"claimName"`

	// Snapshot is the name of its file, as in status.lastSnapshot.name of the control plane
	// that it was taken of.
	//
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[0-9A-Za-z][-.0-9A-Za-z]*[.]db$`
	Snapshot string `json:"snapshot"`
}

// SnapshotStatus is a snapshot that was taken and checked.
type SnapshotStatus struct {
	// Name of its file.
	//
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Time when it was complete.
	Time metav1.Time `json:"time"`

	// Size of it in bytes.
	Size int64 `json:"size"`

	// Revision of the store that it holds.
	Revision int64 `json:"revision"`

	// Job that took it.
	//
	// +kubebuilder:validation:MaxLength=253
	Job string `json:"job"`
}
