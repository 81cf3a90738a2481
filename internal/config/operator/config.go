// Package operator is the configuration of the namespace operator: the fields of its file,
// their defaults, and what may not be.
//
// It holds nothing secret: files that hold secrets, and ids.
package operator

import (
	"time"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/openbao"
)

// Kind of the file.
const Kind = "NamespaceOperatorConfig"

// Config is the whole file.
type Config struct {
	// APIVersion is config.APIVersion.
	APIVersion string `yaml:"apiVersion"`
	// Kind is the constant Kind.
	Kind string `yaml:"kind"`
	// Cluster is the name of the workload cluster that this is. Default: none, for the
	// cluster that the fleet is reconciled in.
	Cluster string `yaml:"cluster"`
	// Namespace that TenantSources and their Flux sources are read from, and that holds
	// the leader's lease. Default: aether-system.
	Namespace string `yaml:"namespace"`
	// Concurrency is how many namespaces are worked on side by side. Default: 32.
	Concurrency int `yaml:"concurrency"`
	// MemoryTarget is the memory, beside the program itself, within which garbage is
	// collected less and less lazily. GOGC or GOMEMLIMIT switch this off. Default: 320Mi.
	MemoryTarget config.Bytes `yaml:"memoryTarget"`
	// LeaderElection lets several replicas run.
	LeaderElection config.LeaderElection `yaml:"leaderElection"`
	// Metrics are for Prometheus.
	Metrics config.Metrics `yaml:"metrics"`
	// Health is /healthz and /readyz.
	Health config.Health `yaml:"health"`
	// Log is written to stderr.
	Log config.Log `yaml:"log"`
	// OpenBao is where secrets are read from.
	OpenBao OpenBao `yaml:"openBao"`
}

// OpenBao is the server, and how the operator gets in.
type OpenBao struct {
	// Address of the server, as https://host:port. Default: none but those that
	// profiles name.
	Address string `yaml:"address"`
	// CAFile has certificates, in PEM, that the server's is checked against. Default:
	// none, for the system's.
	CAFile string `yaml:"caFile"`
	// Namespace of OpenBao. Default: none, for the root.
	Namespace string `yaml:"namespace"`
	// AuthMount is where OpenBao has Kubernetes authentication for this cluster, for
	// namespaces and for the operator. Default: kubernetes.
	AuthMount string `yaml:"authMount"`
	// Audience of the service accounts' tokens that OpenBao is shown. Default: openbao.
	Audience string `yaml:"audience"`
	// Auth is how the operator itself logs in.
	Auth Auth `yaml:"auth"`
	// RequestsPerSecond is the most that one OpenBao is asked. Default: 200.
	RequestsPerSecond float64 `yaml:"requestsPerSecond"`
	// Concurrency is how many Secrets are worked on side by side. Default: 16.
	Concurrency int `yaml:"concurrency"`
	// CheckInterval is how often policies and roles in OpenBao are looked at, and put
	// back where somebody changed them. Default: 5m.
	CheckInterval config.Duration `yaml:"checkInterval"`
}

// Auth is a way of the operator into OpenBao.
type Auth struct {
	// Method is one of the constants. Default: kubernetes.
	Method string `yaml:"method"`
	// AppRole is for the method approle.
	AppRole AppRole `yaml:"appRole"`
	// TokenFile has a token, for the method token-file. It is read anew when it changes.
	TokenFile string `yaml:"tokenFile"`
}

// Methods of Auth.
const (
	// AuthKubernetes logs in as the operator's service account.
	AuthKubernetes = "kubernetes"
	// AuthAppRole logs in with a role id and a secret id.
	AuthAppRole = "approle"
	// AuthTokenFile uses a token that somebody else keeps good.
	AuthTokenFile = "token-file"
)

// AppRole is what the method approle takes.
type AppRole struct {
	// Mount is where OpenBao has AppRole authentication. Default: approle.
	Mount string `yaml:"mount"`
	// RoleID is no secret. It must be set for the method.
	RoleID string `yaml:"roleID"`
	// SecretIDFile has the secret id, and must be set for the method. It is read anew
	// when it changes.
	SecretIDFile string `yaml:"secretIDFile"`
}

// Default is the configuration without a file.
func Default() Config {
	return Config{
		APIVersion:     config.APIVersion,
		Kind:           Kind,
		Namespace:      v1alpha1.SystemNamespace,
		Concurrency:    32,
		MemoryTarget:   320 << 20,
		LeaderElection: config.DefaultLeaderElection(),
		Metrics:        config.DefaultMetrics(),
		Health:         config.DefaultHealth(),
		Log:            config.DefaultLog(),
		OpenBao: OpenBao{
			AuthMount:         openbao.DefaultAuthMount,
			Audience:          openbao.DefaultAudience,
			Auth:              Auth{Method: AuthKubernetes, AppRole: AppRole{Mount: "approle"}},
			RequestsPerSecond: 200,
			Concurrency:       16,
			CheckInterval:     config.Duration{Duration: 5 * time.Minute},
		},
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
