package source

// What this package may do, and why. All reads but Secrets' come from watches.

// What comes from Git: created, changed and put back; marked, and, when nothing
// depends on it any more, deleted. TenantNamespaces and WorkloadClusters are
// never deleted here.
//
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=tenants;namespaceprofiles;tenantexceptions,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=tenantnamespaces;workloadclusters,verbs=get;list;watch;create;patch

// Where it comes from, and what became of it.
//
// +kubebuilder:rbac:groups=aetherplatform.cloud,namespace=aether-system,resources=tenantsources,verbs=get;list;watch
// +kubebuilder:rbac:groups=aetherplatform.cloud,namespace=aether-system,resources=tenantsources/status,verbs=patch
// +kubebuilder:rbac:groups=source.toolkit.fluxcd.io,namespace=aether-system,resources=gitrepositories;ocirepositories;buckets,verbs=get;list;watch

// The credentials of the repository, read only when a revision would remove more
// than the budget, to look for the trailer in its commit. Those who prefer to
// raise spec.prune.max instead can leave this out.
//
// +kubebuilder:rbac:groups="",namespace=aether-system,resources=secrets,verbs=get

// Events of TenantSources in their namespace; those of Tenants, which have none,
// in "default".
//
// +kubebuilder:rbac:groups=events.k8s.io,namespace=aether-system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=events.k8s.io,namespace=default,resources=events,verbs=create;patch
