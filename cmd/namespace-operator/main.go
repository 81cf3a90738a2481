// Command namespace-operator runs controllers/source, controllers/namespace and
// controllers/secret: it makes a cluster's tenants what the fleet repository says.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/controllers/namespace"
	"github.com/aetherplatform/aether/controllers/secret"
	"github.com/aetherplatform/aether/controllers/source"
)

// options are the flags.
type options struct {
	cluster, namespace      string
	leaderElect             bool
	lease                   lease
	metricsAddr, probesAddr string
	pprof                   bool
	concurrency             int
	memoryTarget            quantity
	logLevel, logFormat     string
	bao                     baoOptions
}

func main() {
	opts, err := parse(os.Args[1:])
	if err != nil {
		os.Exit(2) // the flag package has said why
	}
	if err := run(opts); err != nil {
		fmt.Fprintln(os.Stderr, "namespace-operator:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("namespace-operator", flag.ContinueOnError)
	config.RegisterFlags(flags) // --kubeconfig
	flags.StringVar(&o.cluster, "cluster", "", "name of the workload cluster that this is; empty for the cluster that the fleet is reconciled in")
	flags.StringVar(&o.namespace, "namespace", v1alpha1.SystemNamespace, "namespace that TenantSources and their Flux sources are read from, and that holds the leader's lease")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "work only while holding the lease, so that several replicas can run")
	flags.DurationVar(&o.lease.duration, "leader-elect-lease-duration", 15*time.Second, "how long a leader that is not heard of keeps the lease")
	flags.DurationVar(&o.lease.renewDeadline, "leader-elect-renew-deadline", 10*time.Second, "how long a leader tries to renew the lease before it ends")
	flags.DurationVar(&o.lease.retryPeriod, "leader-elect-retry-period", 2*time.Second, "how often the lease is renewed, or asked for")
	flags.StringVar(&o.metricsAddr, "metrics-bind-address", ":8080", "address of Prometheus metrics; 0 for none")
	flags.StringVar(&o.probesAddr, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 for none")
	flags.BoolVar(&o.pprof, "pprof", false, "serve /debug/pprof/ beside the metrics")
	flags.IntVar(&o.concurrency, "concurrency", 32, "how many namespaces are worked on side by side")
	o.memoryTarget = 320 << 20
	flags.Var(&o.memoryTarget, "memory-target", "memory, beside the program itself, within which garbage is collected less and less lazily; GOGC or GOMEMLIMIT switch this off")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info or error")
	flags.StringVar(&o.logFormat, "log-format", "json", "json or text")
	o.bao.register(flags)
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	return o, o.check(flags)
}

func (o options) check(flags *flag.FlagSet) error {
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.logFormat != "json" && o.logFormat != "text":
		err = fmt.Errorf("--log-format: %q is not a format; use json or text", o.logFormat)
	case levels[o.logLevel] == nil:
		err = fmt.Errorf("--log-level: %q is not a level; use debug, info or error", o.logLevel)
	case o.concurrency < 1:
		err = fmt.Errorf("--concurrency: %d is too small; use at least 1", o.concurrency)
	}
	if err == nil {
		err = errors.Join(o.lease.check(), o.bao.check())
	}
	if err != nil {
		fmt.Fprintln(flags.Output(), err)
	}
	return err
}

func run(o options) error {
	keepWithin(int64(o.memoryTarget))
	log := o.logger()
	ctrl.SetLogger(log)
	klog.SetLogger(log)

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
	if err := source.Setup(mgr, source.Options{Cluster: o.cluster, Namespace: o.namespace}); err != nil {
		return fmt.Errorf("cannot set up controllers/source: %w", err)
	}
	if err := namespace.Setup(mgr, namespace.Options{Cluster: o.cluster, Namespace: o.namespace, Concurrency: o.concurrency}); err != nil {
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
	opts, err := o.bao.options()
	if err != nil {
		return err
	}
	opts.Cluster = o.cluster
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
	metrics := metricsserver.Options{BindAddress: o.metricsAddr}
	if o.pprof {
		metrics.ExtraHandlers = profiles()
	}
	return ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metrics,
		HealthProbeBindAddress:        o.probesAddr,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "aether-namespace-operator",
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.lease.duration,
		RenewDeadline:                 &o.lease.renewDeadline,
		RetryPeriod:                   &o.lease.retryPeriod,
		GracefulShutdownTimeout:       &grace,
		// Only Aether's own kinds are cached; the rest of the cluster is held as hashes.
		Cache: cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Client: client.Options{Cache: &client.CacheOptions{
			DisableFor: []client.Object{&corev1.Secret{}}, // never held in memory
		}},
	}
}

// logger writes to stderr.
func (o options) logger() logr.Logger {
	opts := &slog.HandlerOptions{Level: *levels[o.logLevel]}
	if o.logFormat == "text" {
		return logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, opts))
	}
	return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, opts))
}

// synced is ready once the caches that the replica has begun to fill are full. A
// standby has few of them: it reads the cluster when it becomes the leader.
func synced(mgr manager.Manager) healthz.Checker {
	return cacheChecker{mgr.GetCache()}.check
}
