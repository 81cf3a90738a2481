package main

import (
	"fmt"
	"os"

	"github.com/aetherplatform/aether/controllers/secret"
	"github.com/aetherplatform/aether/internal/config/operator"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/access"
)

// secrets are the options of controllers/secret. The CA is read at the start: a file that
// is not there is an error then, and not of every Secret later.
func secrets(o options) (secret.Options, error) {
	c := o.Config.OpenBao
	opts := secret.Options{
		Cluster: o.Config.Cluster, Concurrency: c.Concurrency, Audience: c.Audience, CheckInterval: c.CheckInterval.Duration, Rate: c.RequestsPerSecond,
		Connection: openbao.Connection{Address: c.Address, Namespace: c.Namespace, AuthMount: c.AuthMount},
	}
	if c.CAFile != "" {
		ca, err := os.ReadFile(c.CAFile)
		if err != nil {
			return opts, fmt.Errorf("%s: %w", o.Places.Of("openBao.caFile"), err)
		}
		opts.Connection.CA = string(ca)
	}
	switch c.Auth.Method {
	case operator.AuthAppRole:
		opts.Operator = access.AppRole{Mount: c.Auth.AppRole.Mount, RoleID: c.Auth.AppRole.RoleID, SecretIDFile: c.Auth.AppRole.SecretIDFile}
	case operator.AuthTokenFile:
		opts.Operator = access.TokenFile{File: c.Auth.TokenFile}
	}
	return opts, nil
}
