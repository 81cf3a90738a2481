package v1alpha1

// Kinds of this group, as they are written in Git.
const (
	KindTenant           = "Tenant"
	KindTenantNamespace  = "TenantNamespace"
	KindNamespaceProfile = "NamespaceProfile"
	KindTenantException  = "TenantException"
	KindTenantSource     = "TenantSource"
	KindWorkloadCluster  = "WorkloadCluster"
	KindSecretSync       = "SecretSync" // in application repositories
)

// Labels that Aether sets. Admission policies keep everyone but its controllers
// from changing them.
const (
	// LabelPrefix begins every label and annotation of Aether's.
	LabelPrefix = "aetherplatform.cloud/"

	// LabelTenant names the tenant that an object belongs to. On TenantNamespaces,
	// Namespaces and everything Aether puts into a Namespace.
	LabelTenant = LabelPrefix + "tenant"

	// LabelManagedBy marks what the namespace operator made; its value is ManagedBy.
	LabelManagedBy = LabelPrefix + "managed-by"

	// LabelSource names the TenantSource that an object was read from, as
	// "<namespace>.<name>".
	LabelSource = LabelPrefix + "source"

	// LabelSealed is on every Namespace of Aether's. Pods are admitted only where
	// it is "false": a Namespace is born with "true" and opened once its isolation
	// has been observed.
	LabelSealed = LabelPrefix + "sealed"

	// LabelAdoptableBy on a Namespace that Aether does not own permits the one
	// tenant it names to take it over. Setting it needs the verb "adopt" on that
	// Tenant.
	LabelAdoptableBy = LabelPrefix + "adoptable-by"

	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "namespace-operator"

	// ManagedBySecretSync is the value of LabelManagedBy on Secrets that a SecretSync
	// made: the account SecretSyncAccount of the namespace alone writes them.
	ManagedBySecretSync = "secret-sync"

	// LabelSecretSync names the SecretSync that made a Secret.
	LabelSecretSync = LabelPrefix + "secret-sync"
)

// Annotations that Aether sets.
const (
	// AnnotationTenantUID ties a Namespace to one life of its Tenant, so that a
	// tenant deleted and created anew under the same name does not inherit.
	AnnotationTenantUID = LabelPrefix + "tenant-uid"

	// AnnotationKinds on a Namespace lists the kinds of what it was born with,
	// "<kind>.<version>.<group>" by comma: recorded with the Namespace, so before
	// any of it is made. It goes when the Namespace is changed, since the inventory
	// of its TenantNamespace knows by then.
	AnnotationKinds = LabelPrefix + "kinds"

	// AnnotationRevision is the source revision at which the object's content last
	// changed. With AnnotationPath it is a permanent link to the line that asked.
	AnnotationRevision = LabelPrefix + "source-revision"

	// AnnotationPath is "<file>:<line>" of the spec at AnnotationRevision.
	AnnotationPath = LabelPrefix + "source-path"

	// AnnotationComponent is the component of Contain Base that made the object.
	AnnotationComponent = LabelPrefix + "component"

	// AnnotationDigest is the digest of the content as rendered, provenance left out.
	AnnotationDigest = LabelPrefix + "digest"

	// AnnotationRemovedAt is when the object left Git (RFC 3339). It is taken away
	// when the object comes back.
	AnnotationRemovedAt = LabelPrefix + "removed-at"

	// AnnotationRemovedIn is the revision in which the object was missing first.
	AnnotationRemovedIn = LabelPrefix + "removed-in"

	// AnnotationRegistries on a Namespace is what its Pods' images may come from, by
	// space. The annotations up to AnnotationExceptions are what admission policies
	// hold the tenant to: in the Namespace they are at hand without a lookup, and
	// change with it.
	AnnotationRegistries = LabelPrefix + "registries"

	// AnnotationHostnames are the host names that routes may use, by space.
	AnnotationHostnames = LabelPrefix + "hostnames"

	// AnnotationStorageClasses are the storage classes that may be used, by space.
	AnnotationStorageClasses = LabelPrefix + "storage-classes"

	// AnnotationPriorityClasses are the priority classes that may be used, by space.
	AnnotationPriorityClasses = LabelPrefix + "priority-classes"

	// AnnotationNodeSelector is "<label>=<value>" by space, which Pods must select
	// their node by.
	AnnotationNodeSelector = LabelPrefix + "node-selector"

	// AnnotationExposure is what may be opened, by space: see Exposure.
	AnnotationExposure = LabelPrefix + "exposure"

	// AnnotationExceptions is what is allowed for a time, by space:
	// "registries:quay.io/example@2027-03-31T00:00:00Z" stands for quay.io/example in
	// AnnotationRegistries until then.
	AnnotationExceptions = LabelPrefix + "exceptions"

	// AnnotationVersion on a synced Secret is the version in OpenBao that it holds.
	AnnotationVersion = LabelPrefix + "secret-version"

	// AnnotationRollout on a synced Secret is there from when it changes until the
	// workloads that go with it have been told to restart.
	AnnotationRollout = LabelPrefix + "secret-rollout"

	// AnnotationIncludeWhen on an object of a template leaves it out where its
	// ${…} is false. It never reaches the cluster.
	AnnotationIncludeWhen = LabelPrefix + "include-when"

	// AnnotationForEach on an object of a template makes one object for each item
	// of its ${…}; the item is the variable each. It never reaches the cluster.
	AnnotationForEach = LabelPrefix + "for-each"
)

// SecretSyncAccount is the service account of a namespace that logs in to OpenBao and
// writes the namespace's synced Secrets. The namespace operator acts as it, and has
// no right to Secrets of its own.
const SecretSyncAccount = "aether-secret-sync"

// FinalizerSecretSync is on a SecretSync whose Secret is to be left to the team.
const FinalizerSecretSync = LabelPrefix + "retain-secret"

// FinalizerNamespace is on every TenantNamespace, so that what becomes of its
// Namespace is decided before it is gone.
const FinalizerNamespace = LabelPrefix + "namespace"

// Field owners of server-side apply, one a controller.
const (
	FieldOwnerSource    = "aether-source"
	FieldOwnerNamespace = "aether-namespace"
	FieldOwnerSecret    = "aether-secret-sync"
)

// SystemNamespace is where Aether's own processes and TenantSources live.
const SystemNamespace = "aether-system"

// PlatformDirectory is the directory of a fleet that belongs to the platform team.
const PlatformDirectory = "_platform"

// TrailerPrune in the message of the newest commit approves a number of
// removals above spec.prune.max: "Aether-Prune: 12".
const TrailerPrune = "Aether-Prune"
