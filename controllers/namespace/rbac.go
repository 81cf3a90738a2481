package namespace

// What this package may do, and why. All reads come from watches.

// What namespaces are made from, and what became of them.
//
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=tenants;namespaceprofiles;tenantexceptions,verbs=get;list;watch
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=tenants/status;tenantnamespaces/status;namespaceprofiles/status,verbs=patch

// The finalizer, and the end of a TenantNamespace whose retention is over.
//
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=tenantnamespaces,verbs=get;list;watch;patch;delete

// Namespaces: created sealed, opened, put back, deleted when Git has let go of
// them. All are watched, so that none that is someone else's is taken.
//
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch;create;patch;delete

// What is in them. get is for the one case that a field cannot be changed and
// the object is made anew; create also for asking what the API server would make
// of an object (a dry run).
//
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnetworkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=resourcequotas;limitranges;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=secretsyncs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=source.toolkit.fluxcd.io,resources=gitrepositories,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=kustomize.toolkit.fluxcd.io,resources=kustomizations,verbs=get;list;watch;create;patch;delete

// Roles hold rights that the operator does not have: escalate and bind are less
// than giving it all of them. Admission policies bound which.
//
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles,verbs=get;list;watch;create;patch;delete;escalate;bind
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;patch;delete

// Whether the cluster serves a kind, and when it begins to.
//
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get;list;watch

// Sources of bases, and the artifact that a push became, for the metric.
//
// +kubebuilder:rbac:groups=source.toolkit.fluxcd.io,namespace=aether-system,resources=gitrepositories;ocirepositories;buckets,verbs=get;list;watch
// +kubebuilder:rbac:groups=aetherplatform.cloud,namespace=aether-system,resources=tenantsources,verbs=get;list;watch

// Events of cluster-scoped objects go to the Namespace default.
//
// +kubebuilder:rbac:groups=events.k8s.io,namespace=default,resources=events,verbs=create;patch
