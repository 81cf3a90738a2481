package cluster

// What this package may do, and why. Reads come from watches, which hold what carries this
// controller's label; live are those of Secrets and Pods, and of what is about to be
// deleted. That it writes into the Namespaces of clusters
// alone is said by policies/admission/cluster-controller.

// What is asked for, the finalizer that keeps it until its namespace is gone, and what
// became of it.
//
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=workloadclusters,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=aetherplatform.cloud,resources=workloadclusters/status,verbs=patch

// The control planes. They go with their Namespaces. A cluster that checks who may block
// an owner's deletion asks for finalizers.
//
// +kubebuilder:rbac:groups=controlplane.aetherplatform.cloud,resources=aethercontrolplanes,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=controlplane.aetherplatform.cloud,resources=aethercontrolplanes/status,verbs=patch
// +kubebuilder:rbac:groups=controlplane.aetherplatform.cloud,resources=aethercontrolplanes/finalizers,verbs=update

// The Namespaces of clusters.
//
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch;create;patch;delete

// What a control plane consists of.
//
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=configmaps;services,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=cert-manager.io,resources=issuers;certificates,verbs=get;list;watch;create;patch;delete

// Snapshots of etcd: when they are taken, the one before an upgrade, and where they are kept.
//
// +kubebuilder:rbac:groups=batch,resources=cronjobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;create;patch

// Why a Pod of a control plane does not become ready, to say so.
//
// +kubebuilder:rbac:groups="",resources=pods,verbs=list

// Secrets in the Namespaces of clusters, and nowhere else: in each of them the controller
// binds itself to a role that it may bind, and that nothing binds elsewhere.
//
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,resourceNames=aether-cluster-controller-secrets,verbs=bind

// Whether Cluster API's owner of a control plane has it paused.
//
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=clusters,verbs=get;list;watch

// Events beside the control planes.
//
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
