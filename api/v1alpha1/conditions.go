package v1alpha1

// Condition types, as kstatus reads them.
const (
	// ConditionReady sums an object up.
	//
	// True: Reconciled, and all that the object needs has been observed.
	// False: a reason below; someone must act, or the next attempt will tell.
	// Unknown: Progressing, or waiting for what the message names.
	ConditionReady = "Ready"

	// ConditionReconciling is True while work is under way or being retried, and
	// absent otherwise.
	ConditionReconciling = "Reconciling"

	// ConditionStalled is True when only a person can help, and absent otherwise.
	ConditionStalled = "Stalled"

	// ConditionIsolated on a TenantNamespace is True when every isolation object
	// has been observed in place, and the Namespace admits Pods.
	ConditionIsolated = "Isolated"
)

// Reasons of Ready on every kind.
const (
	// ReasonReconciled (True): observed as asked for.
	ReasonReconciled = "Reconciled"
	// ReasonProgressing (Unknown): work is under way.
	ReasonProgressing = "Progressing"
	// ReasonSuspended (False): spec.suspend is set.
	ReasonSuspended = "Suspended"
	// ReasonInvalidSpec (False, Stalled): the spec cannot be used as it is.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonApplyFailed (False): the API server refused an object, or was away.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonRemovedFromGit (False): the object has left Git and is kept, cordoned.
	ReasonRemovedFromGit = "RemovedFromGit"
	// ReasonCordoned (True): in place, and cordoned by its Tenant.
	ReasonCordoned = "Cordoned"
)

// Reasons of TenantNamespace.
const (
	// ReasonTenantNotFound (Unknown): spec.tenant names no Tenant yet.
	ReasonTenantNotFound = "TenantNotFound"
	// ReasonProfileNotFound (Unknown): spec.profile names no NamespaceProfile yet.
	ReasonProfileNotFound = "ProfileNotFound"
	// ReasonProfileNotReady (Unknown): the profile's base is not compiled.
	ReasonProfileNotReady = "ProfileNotReady"
	// ReasonProfileNotAllowed (False, Stalled): the Tenant may not use the profile.
	ReasonProfileNotAllowed = "ProfileNotAllowed"
	// ReasonNameNotAllowed (False, Stalled): the name is not under the tenant's
	// prefix, or is a system namespace's.
	ReasonNameNotAllowed = "NameNotAllowed"
	// ReasonNamespaceNotOwned (False, Stalled): the Namespace exists, and neither
	// belongs to this Tenant nor permits adoption.
	ReasonNamespaceNotOwned = "NamespaceNotOwned"
	// ReasonNamespaceTerminating (Unknown): the Namespace is being deleted.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonQuotaExceeded (False, Stalled): the tenant's budget has no room left.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonTooManyNamespaces (False, Stalled): the tenant's namespaces.max is used up.
	ReasonTooManyNamespaces = "TooManyNamespaces"
	// ReasonRenderFailed (False, Stalled): the profile cannot be rendered for this
	// namespace.
	ReasonRenderFailed = "RenderFailed"
	// ReasonKindNotServed (Unknown): the cluster lacks a kind that the profile uses.
	ReasonKindNotServed = "KindNotServed"
	// ReasonWaitingForObjects (Unknown): applied, not yet observed.
	ReasonWaitingForObjects = "WaitingForObjects"
	// ReasonSecretsNotServed (False, Stalled): spec.secrets is set, and the profile
	// has no component that syncs them.
	ReasonSecretsNotServed = "SecretsNotServed"
)

// Reasons of Tenant.
const (
	// ReasonNamespacesNotReady (Unknown): some namespaces are not Ready.
	ReasonNamespacesNotReady = "NamespacesNotReady"
	// ReasonPrefixTaken (False, Stalled): another Tenant's prefix overlaps.
	ReasonPrefixTaken = "PrefixTaken"
)

// Reasons of NamespaceProfile.
const (
	// ReasonBaseNotFound (Unknown): the base's source or path is not there.
	ReasonBaseNotFound = "BaseNotFound"
	// ReasonBaseInvalid (False, Stalled): the base does not build or type-check.
	ReasonBaseInvalid = "BaseInvalid"
)

// Reasons of TenantSource.
const (
	// ReasonSourceNotFound (Unknown): spec.sourceRef names nothing yet.
	ReasonSourceNotFound = "SourceNotFound"
	// ReasonArtifactNotReady (Unknown): the Flux source has no artifact yet.
	ReasonArtifactNotReady = "ArtifactNotReady"
	// ReasonFetchFailed (False): the artifact could not be fetched or verified.
	ReasonFetchFailed = "FetchFailed"
	// ReasonTreeEmpty (False): the path holds no tenant while tenants exist;
	// nothing was changed.
	ReasonTreeEmpty = "TreeEmpty"
	// ReasonPlatformInvalid (False): the platform directory has errors; its last
	// good state is used.
	ReasonPlatformInvalid = "PlatformInvalid"
	// ReasonTenantsFailing (False): some tenants have errors; the others are applied.
	ReasonTenantsFailing = "TenantsFailing"
	// ReasonPruneBlocked (False): more would be removed than spec.prune.max.
	ReasonPruneBlocked = "PruneBlocked"
)
