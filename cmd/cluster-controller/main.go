// Command cluster-controller runs controllers/cluster: it makes the WorkloadClusters of a
// fleet clusters whose control planes run as Pods, and keeps those.
package main

import (
	"flag"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/aetherplatform/aether/controllers/cluster"
	"github.com/aetherplatform/aether/internal/config/clustercontroller"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/portforward"
	"github.com/aetherplatform/aether/internal/program"
)

func main() { clusterController().Main() }

// options are what the controller runs with.
type options = program.Options[clustercontroller.Config]

func clusterController() program.Program[clustercontroller.Config] {
	return program.Program[clustercontroller.Config]{
		Name: "cluster-controller", Kind: clustercontroller.Kind, Default: clustercontroller.Default, Load: clustercontroller.Load,
		Common: func(c *clustercontroller.Config) program.Common {
			return program.Common{Namespace: &c.Namespace, LeaderElection: &c.LeaderElection, Metrics: &c.Metrics, Health: &c.Health, Log: &c.Log}
		},
		Flags: flags, Run: run,
	}
}

// flags are the controller's own.
func flags(flags *flag.FlagSet, c *clustercontroller.Config) map[string]string {
	flags.IntVar(&c.Concurrency, "concurrency", c.Concurrency, "how many control planes are worked on side by side")
	flags.StringVar(&c.Reach, "reach", c.Reach, "how the API servers of control planes are reached: service, or port-forward for a controller outside of the cluster")
	flags.StringVar(&c.Images.Repository, "image-repository", c.Images.Repository, "where the images of Kubernetes' programs come from")
	flags.StringVar(&c.Images.Etcd, "etcd-image", c.Images.Etcd, "image of etcd, 3.6.14 or later")
	return map[string]string{
		"concurrency":      "concurrency",
		"reach":            "reach",
		"image-repository": "images.repository",
		"etcd-image":       "images.etcd",
	}
}

func run(o options) error {
	c := o.Config
	cfg, err := clusterController().Begin(o)
	if err != nil {
		return err
	}
	opts := clusterController().Manager(o)
	opts.Scheme, opts.Cache, opts.Client = runtime.NewScheme(), cluster.CacheOptions(), cluster.ClientOptions()
	if err := cluster.AddToScheme(opts.Scheme); err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(cfg, opts)
	if err != nil {
		return fmt.Errorf("cannot make the manager: %w", err)
	}
	clusters := cluster.Options{
		ControlPlane: controlplane.Options{Repository: c.Images.Repository, EtcdImage: c.Images.Etcd, SnapshotImage: c.Images.Snapshot},
		Concurrency:  c.Concurrency,
	}
	if c.Reach == clustercontroller.ReachPortForward {
		forward, err := portforward.New(cfg)
		if err != nil {
			return err
		}
		clusters.Dial = forward.Dial
	}
	if err := cluster.Setup(mgr, clusters); err != nil {
		return fmt.Errorf("cannot set up controllers/cluster: %w", err)
	}
	return program.Start(mgr)
}
