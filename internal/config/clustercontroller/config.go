// Package clustercontroller is the configuration of the cluster controller: the fields of
// its file, their defaults, and what may not be. It holds nothing secret.
package clustercontroller

import (
	"github.com/google/go-containerregistry/pkg/name"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// Kind of the file.
const Kind = "ClusterControllerConfig"

// Config is the whole file.
type Config struct {
	// APIVersion is config.APIVersion.
	APIVersion string `yaml:"apiVersion"`
	// Kind is the constant Kind.
	Kind string `yaml:"kind"`
	// Namespace that holds the leader's lease. Default: aether-system.
	Namespace string `yaml:"namespace"`
	// Concurrency is how many control planes are worked on side by side. Default: 8.
	Concurrency int `yaml:"concurrency"`
	// Reach is how the API servers of control planes are reached: one of the constants.
	// Default: service.
	Reach string `yaml:"reach"`
	// Images are what control planes run.
	Images Images `yaml:"images"`
	// LeaderElection lets several replicas run.
	LeaderElection config.LeaderElection `yaml:"leaderElection"`
	// Metrics are for Prometheus.
	Metrics config.Metrics `yaml:"metrics"`
	// Health is /healthz and /readyz.
	Health config.Health `yaml:"health"`
	// Log is written to stderr.
	Log config.Log `yaml:"log"`
}

// Ways to the API servers of control planes.
const (
	// ReachService is by their Services, for a controller that is a Pod.
	ReachService = "service"
	// ReachPortForward is through the API server that the controller has, as `kubectl
	// port-forward` goes, for a controller outside of the cluster.
	ReachPortForward = "port-forward"
)

// Images are what control planes run.
type Images struct {
	// Repository of kube-apiserver, kube-controller-manager and kube-scheduler, which are
	// tagged with their version. Default: registry.k8s.io.
	Repository string `yaml:"repository"`
	// Etcd is the image of etcd, 3.6.14 or later. Default: registry.k8s.io/etcd:3.6.16-0.
	Etcd string `yaml:"etcd"`
	// Snapshot holds aether-etcd, which takes and restores snapshots of etcd. Default: that
	// of this program's version.
	Snapshot string `yaml:"snapshot"`
}

// Default is the configuration without a file.
func Default() Config {
	return Config{
		APIVersion:     config.APIVersion,
		Kind:           Kind,
		Namespace:      v1alpha1.SystemNamespace,
		Concurrency:    8,
		Reach:          ReachService,
		Images:         Images{Repository: controlplane.DefaultRepository, Etcd: controlplane.DefaultEtcdImage},
		LeaderElection: config.DefaultLeaderElection(),
		Metrics:        config.DefaultMetrics(),
		Health:         config.DefaultHealth(),
		Log:            config.DefaultLog(),
	}
}

// Load is the defaults with what a file says in their place. Only its form is judged:
// flags may still change values, which Validate judges.
func Load(data []byte, file string) (Config, config.Places, error) {
	c := Default()
	places, err := config.Read(data, file, &c)
	return c, places, err
}

// YAML is a file of which Load makes the same configuration.
func (c Config) YAML() ([]byte, error) { return config.Write(c) }

// Validate returns all that is wrong with the values, in the order of the fields.
func (c Config) Validate() config.Problems {
	var p config.Problems
	if len(validation.IsDNS1123Label(c.Namespace)) > 0 {
		p.Add("namespace", "%q is no name of a Namespace; write one such as aether-system", c.Namespace)
	}
	p.AtLeastOne("concurrency", c.Concurrency)
	p.OneOf("reach", c.Reach, "is no way to an API server", ReachService, ReachPortForward)
	if _, err := name.NewRepository(c.Images.Repository + "/kube-apiserver"); err != nil || c.Images.Repository == "" {
		p.Add("images.repository", "%q is no place of images; write one such as registry.example.com/kubernetes", c.Images.Repository)
	}
	if _, err := name.ParseReference(c.Images.Etcd); err != nil {
		p.Add("images.etcd", "%q is no image; write one such as registry.example.com/etcd:3.6.16-0", c.Images.Etcd)
	}
	if _, err := name.ParseReference(c.Images.Snapshot); err != nil && c.Images.Snapshot != "" {
		p.Add("images.snapshot", "%q is no image; write one such as registry.example.com/aether-etcd:v0.1.0", c.Images.Snapshot)
	}
	c.LeaderElection.Validate(&p)
	c.Metrics.Validate(&p)
	c.Health.Validate(&p)
	c.Log.Validate(&p)
	return p
}
