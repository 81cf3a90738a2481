package v1alpha1

// Conditions of an AetherControlPlane.
const (
	// ConditionAvailable is whether clients can use the API server: what Cluster API
	// shows as the control plane's state.
	ConditionAvailable = "Available"
	// ConditionCertificatesReady is whether cert-manager has issued all certificates.
	ConditionCertificatesReady = "CertificatesReady"
	// ConditionEtcdReady is whether all members of etcd are ready.
	ConditionEtcdReady = "EtcdReady"
	// ConditionAPIServerReady is whether all API servers are, and one has answered.
	ConditionAPIServerReady = "APIServerReady"
	// ConditionControllersReady is whether controller manager and scheduler are ready.
	ConditionControllersReady = "ControllersReady"
	// ConditionSnapshotsReady is whether the newest snapshot of etcd was taken and checked.
	ConditionSnapshotsReady = "SnapshotsReady"
	// ConditionHibernated is whether all programs have ended, where that is asked for.
	ConditionHibernated = "Hibernated"
	// ConditionAuthoritiesCurrent is whether all that is trusted is of the generation of
	// authorities that is asked for.
	ConditionAuthoritiesCurrent = "AuthoritiesCurrent"
	// ConditionPaused is whether the control plane is left as it is, for Cluster API.
	ConditionPaused = "Paused"
)

// Reasons of the conditions of an AetherControlPlane.
const (
	// ReasonAvailable: it is there, as it is asked for.
	ReasonAvailable = "Available"
	// ReasonWaiting: it is on its way; the message says what for.
	ReasonWaiting = "Waiting"
	// ReasonFailed: the API server refused something; it is tried again.
	ReasonFailed = "Failed"
	// ReasonInvalidSpec: the message says what to write.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonCertManagerMissing: the cluster has no cert-manager.
	ReasonCertManagerMissing = "CertManagerMissing"
	// ReasonConflict: an object of somebody else has a name that is needed.
	ReasonConflict = "Conflict"
	// ReasonUnreachable: the API servers do not answer.
	ReasonUnreachable = "Unreachable"
	// ReasonUpgrading: another version is prepared, or being brought in.
	ReasonUpgrading = "Upgrading"
	// ReasonUpgradeFailed: another version did not become healthy. API servers have the
	// version that they had before.
	ReasonUpgradeFailed = "UpgradeFailed"
	// ReasonSnapshotFailed: a snapshot of etcd could not be taken.
	ReasonSnapshotFailed = "SnapshotFailed"
	// ReasonHibernated: it is asked to hibernate, so it does not run.
	ReasonHibernated = "Hibernated"
	// ReasonRotating: the authorities are being changed; the message says what that
	// waits for.
	ReasonRotating = "Rotating"
	// ReasonPaused and ReasonNotPaused are those of ConditionPaused, as Cluster API's.
	ReasonPaused    = "Paused"
	ReasonNotPaused = "NotPaused"
)
