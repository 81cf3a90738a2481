package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultProgressDeadline is how long API servers of another version have to become
// healthy.
const DefaultProgressDeadline = 10 * time.Minute

// UpgradeSpec is how another version comes in.
type UpgradeSpec struct {
	// ProgressDeadline is how long the API servers have to be of another version, ready and
	// answering, before they are given back the version that they had. Default 10m.
	//
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="write how long, such as 10m"
	ProgressDeadline *metav1.Duration `json:"progressDeadline,omitempty"`
}

// UpgradeStatus is an upgrade that is under way, or that has failed.
type UpgradeStatus struct {
	// From is the version that all had before.
	//
	// +kubebuilder:validation:MaxLength=32
	From string `json:"from"`

	// To is the version that is asked for.
	//
	// +kubebuilder:validation:MaxLength=32
	To string `json:"to"`

	// Generation of the spec that asked for it first.
	Generation int64 `json:"generation"`

	// Snapshot of etcd that was taken before.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Snapshot string `json:"snapshot,omitempty"`

	// StartedAt is when API servers began to be replaced. The deadline counts from here.
	//
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// APIServersAt is when all API servers were of the new version, and one had answered.
	// From here on there is no way back.
	//
	// +optional
	APIServersAt *metav1.Time `json:"apiServersAt,omitempty"`

	// Failure is what was seen when it was given up. Another version in the spec begins
	// another upgrade.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Failure string `json:"failure,omitempty"`
}

// ComponentVersion is the version of a program of Kubernetes.
type ComponentVersion struct {
	// Name of it: apiserver, controller-manager or scheduler.
	//
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// Version that the oldest one has.
	//
	// +kubebuilder:validation:MaxLength=32
	Version string `json:"version"`
}

// Deadline is how long API servers of another version have to become healthy.
func (u *UpgradeSpec) Deadline() time.Duration {
	if u == nil || u.ProgressDeadline == nil {
		return DefaultProgressDeadline
	}
	return u.ProgressDeadline.Duration
}
