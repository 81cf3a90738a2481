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

	// ConditionSecretsSynced on a TenantNamespace with spec.secrets is True when
	// each of them holds what OpenBao has. Ready does not depend on it: the namespace
	// is there and closed, and what runs in it runs on, whether OpenBao is there or
	// not.
	ConditionSecretsSynced = "SecretsSynced"
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
	// ReasonSecretsNotSynced (False, of SecretsSynced): some of spec.secrets hold
	// nothing yet, or what OpenBao had before.
	ReasonSecretsNotSynced = "SecretsNotSynced"
)

// Reasons of SecretSync. Whatever the reason, a Secret that was synced once keeps
// what it holds.
const (
	// ReasonSynced (True): the Secret holds what OpenBao has.
	ReasonSynced = "Synced"
	// ReasonOpenBaoNotConfigured (False, Stalled): neither the operator nor the
	// profile names an OpenBao.
	ReasonOpenBaoNotConfigured = "OpenBaoNotConfigured"
	// ReasonOpenBaoUnavailable (False): OpenBao is away, sealed, busy or failing.
	ReasonOpenBaoUnavailable = "OpenBaoUnavailable"
	// ReasonProvisioning (Unknown): the namespace has no role in OpenBao yet.
	ReasonProvisioning = "Provisioning"
	// ReasonNoTenant (False, Stalled): the SecretSync is in no tenant's namespace.
	ReasonNoTenant = "NoTenant"
	// ReasonMountNotAllowed (False, Stalled): the profile does not list the mount that
	// the Tenant names.
	ReasonMountNotAllowed = "MountNotAllowed"
	// ReasonPathTaken (False, Stalled): the tenant's path in OpenBao belongs to
	// another tenant, or to an earlier one of the same name.
	ReasonPathTaken = "PathTaken"
	// ReasonAccessDenied (False): OpenBao refuses the namespace.
	ReasonAccessDenied = "AccessDenied"
	// ReasonSecretNotFound (False): OpenBao has nothing at the path.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonVersionGone (False): the version was deleted or destroyed in OpenBao.
	ReasonVersionGone = "VersionGone"
	// ReasonKeyNotFound (False): OpenBao's secret lacks a key.
	ReasonKeyNotFound = "KeyNotFound"
	// ReasonInvalidSecret (False): what was read makes no Secret: a key that cannot
	// be one, a value that its type does not take, or too much.
	ReasonInvalidSecret = "InvalidSecret"
	// ReasonSecretTaken (False, Stalled): there is a Secret of that name which this
	// SecretSync did not make.
	ReasonSecretTaken = "SecretTaken"
	// ReasonGenerateNotAllowed (False, Stalled): the profile does not permit
	// generate.
	ReasonGenerateNotAllowed = "GenerateNotAllowed"
)

// Reasons of Tenant.
const (
	// ReasonNamespacesNotReady (Unknown): some namespaces are not Ready.
	ReasonNamespacesNotReady = "NamespacesNotReady"
	// ReasonPrefixTaken (False, Stalled): another Tenant's prefix overlaps.
	ReasonPrefixTaken = "PrefixTaken"
)

// Reasons of WorkloadCluster.
const (
	// ReasonNotSupported (False, Stalled): it asks for what nothing makes yet.
	ReasonNotSupported = "NotSupported"
	// ReasonStillInGit (False, Stalled): it is being deleted while Git asks for it, so
	// what it holds is kept.
	ReasonStillInGit = "StillInGit"
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
