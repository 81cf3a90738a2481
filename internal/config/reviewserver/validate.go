package reviewserver

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/forge"
)

// Validate returns all that is wrong with the values, in the order of the fields. What is
// not set is not wrong: a configuration without a forge can be printed, though not run.
func (c Config) Validate() config.Problems {
	var p config.Problems
	if c.Forge.Type != "" {
		p.OneOf("forge.type", string(c.Forge.Type), "is not a forge", string(forge.Gitea), string(forge.GitHub), string(forge.GitLab))
	}
	if c.Forge.URL != "" {
		if err := forge.CheckAddress(c.Forge.URL); err != nil {
			p.Add("forge.url", "%v", err)
		}
	}
	for i, name := range c.Repositories {
		if err := forge.CheckRepository(c.Forge.Type, name); err != nil {
			p.Add(fmt.Sprintf("repositories[%d]", i), "%v", err)
		}
	}
	if c.Branch == "" {
		p.Add("branch", "is empty; write one such as main")
	}
	for i, source := range c.Reconcile {
		if namespace, name := Source(source); namespace == "" || name == "" || strings.Contains(name, "/") {
			p.Add(fmt.Sprintf("reconcile[%d]", i), "%q is not a GitRepository; write namespace/name, such as aether-system/fleet", source)
		}
	}
	p.AtLeastOne("workers", c.Workers)
	p.AtLeastOne("queue", c.Queue)
	if c.Timeout.Duration < time.Second {
		p.Add("timeout", "%s is too short; use at least 1s", c.Timeout)
	}
	if c.Reports.URL != "" && !isPage(c.Reports.URL) {
		p.Add("reports.url", "%q is not an address by which people reach this server; write one such as https://review.example.com", config.WithoutUser(c.Reports.URL))
	}
	p.AtLeastOne("reports.keep", c.Reports.Keep)
	p.Listen("webhooks.bindAddress", c.Webhooks.BindAddress)
	p.Listen("probes.bindAddress", c.Probes.BindAddress)
	if c.Probes.BindAddress == c.Webhooks.BindAddress {
		p.Add("probes.bindAddress", "%q is where webhooks are served; write another", c.Probes.BindAddress)
	}
	c.Log.Validate(&p)
	return p
}

// Source is who an entry of Reconcile names.
func Source(entry string) (namespace, name string) {
	namespace, name, _ = strings.Cut(entry, "/")
	return namespace, name
}

// isPage is what addresses of reports can begin with.
func isPage(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}
