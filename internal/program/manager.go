package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// grace is how long what is being worked on may take when a program is told to end.
const grace = 20 * time.Second

// Begin sends what is logged to stderr, and returns how the cluster is reached.
func (p Program[C]) Begin(o Options[C]) (*rest.Config, error) {
	log := logr.FromSlogHandler(p.Common(&o.Config).Log.Handler(os.Stderr))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	log.Info("Starting", "configuration", cmp.Or(o.File, "defaults and flags"))

	cfg, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot find a cluster: %w", err)
	}
	cfg.QPS = -1 // the API server's priority and fairness knows better when to wait
	cfg.UserAgent = "aether-" + p.Name
	return cfg, nil
}

// Manager is the part of a manager's options that follows from the fields that all
// programs have. The lease is named after the program.
func (p Program[C]) Manager(o Options[C]) ctrl.Options {
	c := p.Common(&o.Config)
	metrics := metricsserver.Options{BindAddress: c.Metrics.BindAddress}
	if c.Metrics.Pprof {
		metrics.ExtraHandlers = profiles()
	}
	wait := grace
	return ctrl.Options{
		Metrics:                       metrics,
		HealthProbeBindAddress:        c.Health.BindAddress,
		LeaderElection:                c.LeaderElection.Enabled,
		LeaderElectionID:              "aether-" + p.Name,
		LeaderElectionNamespace:       *c.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &c.LeaderElection.LeaseDuration.Duration,
		RenewDeadline:                 &c.LeaderElection.RenewDeadline.Duration,
		RetryPeriod:                   &c.LeaderElection.RetryPeriod.Duration,
		GracefulShutdownTimeout:       &wait,
	}
}

// Start runs a manager, with probes, until this process is told to end.
func Start(mgr manager.Manager) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("cannot add a health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", cacheChecker{mgr.GetCache()}.check); err != nil {
		return fmt.Errorf("cannot add a readiness check: %w", err)
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

// profiles are the handlers of /debug/pprof/.
func profiles() map[string]http.Handler {
	return map[string]http.Handler{
		"/debug/pprof/":        http.HandlerFunc(pprof.Index),
		"/debug/pprof/cmdline": http.HandlerFunc(pprof.Cmdline),
		"/debug/pprof/profile": http.HandlerFunc(pprof.Profile),
		"/debug/pprof/symbol":  http.HandlerFunc(pprof.Symbol),
		"/debug/pprof/trace":   http.HandlerFunc(pprof.Trace),
	}
}

// cacheChecker is ready once the caches that the replica has begun to fill are full. A
// standby has few of them: it reads the cluster when it becomes the leader.
type cacheChecker struct{ cache.Cache }

func (c cacheChecker) check(req *http.Request) error {
	ctx, cancel := context.WithTimeout(req.Context(), time.Second)
	defer cancel()
	if !c.WaitForCacheSync(ctx) {
		return errors.New("the caches are not filled yet")
	}
	return nil
}
