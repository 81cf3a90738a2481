package secret

// What this package may do, and why. Aether's own kinds come from watches; Namespaces
// are read live, before something of a tenant's is put into one and before it is
// decided who keeps a way into OpenBao.
//
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=tenants;tenantnamespaces;namespaceprofiles,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list

// What is wanted, the finalizer of what is to be retained, and what became of it.
//
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=secretsyncs,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=secretsyncs/status,verbs=patch

// The account of a namespace: to act as it in the cluster, and to log in to OpenBao as
// it. There is no right to Secrets here.
//
// +kubebuilder:rbac:groups="",resources=serviceaccounts,resourceNames=aether-secret-sync,verbs=impersonate
// +kubebuilder:rbac:groups="",resources=serviceaccounts/token,resourceNames=aether-secret-sync,verbs=create

// The operator's own account, to log in to OpenBao.
//
// +kubebuilder:rbac:groups="",namespace=aether-system,resources=serviceaccounts/token,resourceNames=namespace-operator,verbs=create

// Events beside the SecretSyncs.
//
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
