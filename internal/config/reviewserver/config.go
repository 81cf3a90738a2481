// Package reviewserver is the configuration of the review server, `aether review serve`:
// the fields of its file, their defaults, and what may not be.
//
// It holds nothing secret: the forge's token and the webhook's secret are in the
// environment.
package reviewserver

import (
	"time"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/forge"
)

// Kind of the file.
const Kind = "ReviewServerConfig"

// Config is the whole file.
type Config struct {
	// APIVersion is config.APIVersion.
	APIVersion string `yaml:"apiVersion"`
	// Kind is the constant Kind.
	Kind string `yaml:"kind"`
	// Forge has the pull requests.
	Forge Forge `yaml:"forge"`
	// Repositories to review, as owner/name. At least one must be set.
	Repositories []string `yaml:"repositories"`
	// Branch that Flux tracks. Default: main.
	Branch string `yaml:"branch"`
	// Reconcile are the GitRepositories, as namespace/name, that Flux is to fetch when
	// the branch was pushed. Default: none.
	Reconcile []string `yaml:"reconcile"`
	// Workers is how many pull requests are reviewed at the same time. Default: 2.
	Workers int `yaml:"workers"`
	// Queue is how many pull requests may wait. Default: 100.
	Queue int `yaml:"queue"`
	// Timeout is how long a review may take. Default: 10m.
	Timeout config.Duration `yaml:"timeout"`
	// Cache is the folder of fetched commits and reports. Default: one that goes with
	// the server.
	Cache string `yaml:"cache"`
	// Reports are whole reports, for comments to link to.
	Reports Reports `yaml:"reports"`
	// Webhooks are what the forge calls.
	Webhooks Webhooks `yaml:"webhooks"`
	// Probes are /healthz, /readyz and /metrics.
	Probes Probes `yaml:"probes"`
	// Log is written to stderr.
	Log config.Log `yaml:"log"`
}

// Forge is where the repositories are.
type Forge struct {
	// Type is gitea, github or gitlab. It must be set.
	Type forge.Kind `yaml:"type"`
	// URL of the forge. It must be set, but for https://github.com.
	URL string `yaml:"url"`
	// User is the token's, where the token may not ask for its name. Default: none.
	User string `yaml:"user"`
}

// Reports are how whole reports are kept and found.
type Reports struct {
	// URL by which people reach the webhooks' address. Default: none, for no reports.
	URL string `yaml:"url"`
	// Keep is how many are kept; the oldest go first. Default: 100.
	Keep int `yaml:"keep"`
}

// Webhooks are how deliveries, and readers of reports, are served.
type Webhooks struct {
	// BindAddress is [host]:port. Default: :8080.
	BindAddress string `yaml:"bindAddress"`
}

// Probes are how health and metrics are served.
type Probes struct {
	// BindAddress is [host]:port. Default: :8081.
	BindAddress string `yaml:"bindAddress"`
}

// Default is the configuration without a file.
func Default() Config {
	return Config{
		APIVersion: config.APIVersion,
		Kind:       Kind,
		Branch:     "main",
		Workers:    2,
		Queue:      100,
		Timeout:    config.Duration{Duration: 10 * time.Minute},
		Reports:    Reports{Keep: 100},
		Webhooks:   Webhooks{BindAddress: ":8080"},
		Probes:     Probes{BindAddress: ":8081"},
		Log:        config.DefaultLog(),
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
