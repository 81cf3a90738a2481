package operator

import (
	"net/url"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/openbao"
)

// Validate returns all that is wrong with the values, in the order of the fields.
func (c Config) Validate() config.Problems {
	var p config.Problems
	if c.Cluster != "" && len(validation.IsDNS1123Subdomain(c.Cluster)) > 0 {
		p.Add("cluster", "%q is no name of a WorkloadCluster; write one such as acme-prod", c.Cluster)
	}
	if len(validation.IsDNS1123Label(c.Namespace)) > 0 {
		p.Add("namespace", "%q is no name of a Namespace; write one such as aether-system", c.Namespace)
	}
	p.AtLeastOne("concurrency", c.Concurrency)
	if c.MemoryTarget <= 0 {
		p.Add("memoryTarget", "%s is too small; use more than nothing, such as 320Mi", c.MemoryTarget)
	}
	c.LeaderElection.Validate(&p)
	c.Metrics.Validate(&p)
	c.Health.Validate(&p)
	c.Log.Validate(&p)
	c.OpenBao.validate(&p)
	return p
}

func (o OpenBao) validate(p *config.Problems) {
	if o.Address != "" && !isAddress(o.Address) {
		p.Add("openBao.address", "%q is no address; write https://host:port, since secrets do not travel in the clear", config.WithoutUser(o.Address))
	}
	if o.Namespace != "" {
		path(p, "openBao.namespace", strings.Trim(o.Namespace, "/"))
	}
	path(p, "openBao.authMount", strings.Trim(o.AuthMount, "/"))
	if o.Audience == "" {
		p.Add("openBao.audience", "is empty; write one such as %s", openbao.DefaultAudience)
	}
	p.OneOf("openBao.auth.method", o.Auth.Method, "is no way to log in", AuthKubernetes, AuthAppRole, AuthTokenFile)
	switch role := o.Auth.AppRole; {
	case o.Auth.Method == AuthAppRole && (role.RoleID == "" || role.SecretIDFile == ""):
		p.Add("openBao.auth.method", "%q needs more; set openBao.auth.appRole.roleID and openBao.auth.appRole.secretIDFile too", AuthAppRole)
	case o.Auth.Method == AuthTokenFile && o.Auth.TokenFile == "":
		p.Add("openBao.auth.method", "%q needs more; set openBao.auth.tokenFile too", AuthTokenFile)
	}
	path(p, "openBao.auth.appRole.mount", o.Auth.AppRole.Mount)
	if o.RequestsPerSecond <= 0 {
		p.Add("openBao.requestsPerSecond", "%g is too small; use more than 0", o.RequestsPerSecond)
	}
	p.AtLeastOne("openBao.concurrency", o.Concurrency)
	if o.CheckInterval.Duration < time.Second {
		p.Add("openBao.checkInterval", "%s is too short; use at least 1s", o.CheckInterval)
	}
}

// isAddress is what openbao.New takes.
func isAddress(address string) bool {
	u, err := url.Parse(strings.TrimSuffix(address, "/"))
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.Path == "" && u.RawQuery == ""
}

// path wants a path of OpenBao's.
func path(p *config.Problems, field, path string) {
	if err := openbao.CheckPath(path); err != nil {
		p.Add(field, "%v", err)
	}
}
