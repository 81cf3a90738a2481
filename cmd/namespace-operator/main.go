// Command namespace-operator runs controllers/source, controllers/namespace and
// controllers/secret: it makes a cluster's tenants what the fleet repository says.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-logr/logr"
	// Roots of TLS where the system has none: an image holds the program and nothing
	// beside it, and OpenBao's certificate may be of a public authority.
	_ "golang.org/x/crypto/x509roots/fallback"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/controllers/namespace"
	"github.com/aetherplatform/aether/controllers/secret"
	"github.com/aetherplatform/aether/controllers/source"
	"github.com/aetherplatform/aether/internal/version"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// command is the program, and returns its exit code: 1 when it cannot run, 2 when it was
// called wrongly.
func command(args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stderr)
	if err != nil {
		return 2 // parse has said why
	}
	switch {
	case opts.version:
		fmt.Fprintln(stdout, version.Get().Line("namespace-operator"))
	case opts.print:
		err = printConfig(opts, stdout)
	default:
		err = run(opts)
	}
	if err != nil {
		fmt.Fprintln(stderr, "namespace-operator:", err)
		return 1
	}
	return 0
}

// printConfig prints a file that --config takes.
func printConfig(o options, stdout io.Writer) error {
	text, err := o.YAML()
	if err == nil {
		_, err = stdout.Write(text)
	}
	if err != nil {
		return fmt.Errorf("cannot print the configuration: %w", err)
	}
	return nil
}

func run(o options) error {
	keepWithin(int64(o.MemoryTarget))
	log := logr.FromSlogHandler(o.Log.Handler(os.Stderr))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	log.Info("Starting", "configuration", cmp.Or(o.file, "defaults and flags"))

	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("cannot find a cluster: %w", err)
	}
	cfg.QPS = -1 // the API server's priority and fairness knows better when to wait
	cfg.UserAgent = "aether-namespace-operator"

	mgr, err := ctrl.NewManager(cfg, o.manager())
	if err != nil {
		return fmt.Errorf("cannot make the manager: %w", err)
	}
	if err := source.Setup(mgr, source.Options{Cluster: o.Cluster, Namespace: o.Namespace}); err != nil {
		return fmt.Errorf("cannot set up controllers/source: %w", err)
	}
	if err := namespace.Setup(mgr, namespace.Options{Cluster: o.Cluster, Namespace: o.Namespace, Concurrency: o.Concurrency}); err != nil {
		return fmt.Errorf("cannot set up controllers/namespace: %w", err)
	}
	if err := o.setupSecrets(mgr); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("cannot add a health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", synced(mgr)); err != nil {
		return fmt.Errorf("cannot add a readiness check: %w", err)
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

// setupSecrets adds what keeps Secrets equal to OpenBao's.
func (o options) setupSecrets(mgr ctrl.Manager) error {
	opts, err := o.secrets()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := secret.Setup(ctx, mgr, opts); err != nil {
		return fmt.Errorf("cannot set up controllers/secret: %w", err)
	}
	return nil
}

func (o options) manager() ctrl.Options {
	scheme := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(scheme) // never fails
	_ = corev1.AddToScheme(scheme)
	grace := 20 * time.Second
	metrics := metricsserver.Options{BindAddress: o.Metrics.BindAddress}
	if o.Metrics.Pprof {
		metrics.ExtraHandlers = profiles()
	}
	return ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metrics,
		HealthProbeBindAddress:        o.Health.BindAddress,
		LeaderElection:                o.LeaderElection.Enabled,
		LeaderElectionID:              "aether-namespace-operator",
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.LeaderElection.LeaseDuration.Duration,
		RenewDeadline:                 &o.LeaderElection.RenewDeadline.Duration,
		RetryPeriod:                   &o.LeaderElection.RetryPeriod.Duration,
		GracefulShutdownTimeout:       &grace,
		// Only Aether's own kinds are cached; the rest of the cluster is held as hashes.
		Cache: cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Client: client.Options{Cache: &client.CacheOptions{
			DisableFor: []client.Object{&corev1.Secret{}}, // never held in memory
		}},
	}
}

// synced is ready once the caches that the replica has begun to fill are full. A
// standby has few of them: it reads the cluster when it becomes the leader.
func synced(mgr manager.Manager) healthz.Checker {
	return cacheChecker{mgr.GetCache()}.check
}
