// Command cluster-api runs Cluster API's own controller of Clusters, for tests of what it
// expects of a control plane: its main package serves webhooks on all addresses, and
// without them wants no CRD of more than one version. Its webhooks, and its controllers of
// Machines, are not part of this: CRDs are installed without conversion.
//
//	cluster-api --kubeconfig FILE
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	"sigs.k8s.io/cluster-api/core/reconcilers/cluster"
	"sigs.k8s.io/cluster-api/core/setup"
	"sigs.k8s.io/cluster-api/util/index"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// name that the controllers have in their own program.
const name = "cluster-api-controller-manager"

// Times that its own program has by default, but for a look again at everything, which is
// sooner here: what no watch tells of shows in a test.
const (
	connectionGrace = 50 * time.Second
	again           = time.Minute
)

func main() {
	klog.InitFlags(nil)
	flag.Parse() // --kubeconfig is controller-runtime's
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster-api:", err)
		os.Exit(1)
	}
}

func run() error {
	ctrl.SetLogger(klog.Background())
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, apiextensionsv1.AddToScheme, clusterv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("cannot register kinds: %w", err)
		}
	}
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("cannot find a cluster: %w", err)
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: setup.ManagerCacheOptions(scheme, name, "", again), Client: setup.ManagerClientOptions(),
	})
	if err != nil {
		return fmt.Errorf("cannot make the manager: %w", err)
	}
	ctx := ctrl.SetupSignalHandler()
	if err := index.AddDefaultIndexes(ctx, mgr); err != nil {
		return fmt.Errorf("cannot add indexes: %w", err)
	}
	secrets, err := setup.CreateSecretCachingClient(mgr)
	if err != nil {
		return fmt.Errorf("cannot make the client of Secrets: %w", err)
	}
	members, err := clustercache.SetupWithManager(ctx, mgr, clustercache.Options{
		SecretClient: secrets, Cache: setup.ClusterCacheCacheOptions(), Client: setup.ClusterCacheClientOptions(name, 20, 30),
	}, controller.Options{MaxConcurrentReconciles: 1})
	if err != nil {
		return fmt.Errorf("cannot set up the cache of clusters: %w", err)
	}
	clusters := &cluster.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), ClusterCache: members, RemoteConnectionGracePeriod: connectionGrace,
	}
	if err := clusters.SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: 1}); err != nil {
		return fmt.Errorf("cannot set up the controller of Clusters: %w", err)
	}
	return mgr.Start(ctx)
}
