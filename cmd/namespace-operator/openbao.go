package main

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/aetherplatform/aether/controllers/secret"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/access"
)

// baoOptions are the flags about OpenBao.
type baoOptions struct {
	address, caFile, namespace, authMount string
	audience                              string
	auth                                  string
	appRoleMount, roleID, secretIDFile    string
	tokenFile                             string
	rate                                  float64
	concurrency                           int
	checkInterval                         time.Duration
}

// Ways of the operator into OpenBao.
const (
	authKubernetes = "kubernetes"
	authAppRole    = "approle"
	authToken      = "token-file"
)

func (o *baoOptions) register(flags *flag.FlagSet) {
	flags.StringVar(&o.address, "openbao-address", "", "OpenBao that secrets are read from, as https://host:port; empty for none but those that profiles name")
	flags.StringVar(&o.caFile, "openbao-ca-file", "", "certificates, in PEM, that OpenBao's is checked against; empty for the system's")
	flags.StringVar(&o.namespace, "openbao-namespace", "", "namespace of OpenBao; empty for the root")
	flags.StringVar(&o.authMount, "openbao-auth-mount", "kubernetes", "where OpenBao has Kubernetes authentication for this cluster")
	flags.StringVar(&o.audience, "openbao-audience", openbao.DefaultAudience, "audience of the service accounts' tokens that OpenBao is shown")
	flags.StringVar(&o.auth, "openbao-auth", authKubernetes, "how the operator itself logs in: kubernetes (as its service account), approle or token-file")
	flags.StringVar(&o.appRoleMount, "openbao-approle-mount", "approle", "where OpenBao has AppRole authentication")
	flags.StringVar(&o.roleID, "openbao-role-id", "", "role id, with --openbao-auth=approle")
	flags.StringVar(&o.secretIDFile, "openbao-secret-id-file", "", "file with the secret id, with --openbao-auth=approle; it is read anew when it changes")
	flags.StringVar(&o.tokenFile, "openbao-token-file", "", "file with a token, with --openbao-auth=token-file; it is read anew when it changes")
	flags.Float64Var(&o.rate, "openbao-requests-per-second", 200, "requests that one OpenBao gets at the most")
	flags.IntVar(&o.concurrency, "openbao-concurrency", 16, "how many Secrets are worked on side by side")
	flags.DurationVar(&o.checkInterval, "openbao-check-interval", 5*time.Minute, "how often policies and roles in OpenBao are looked at, and put back where somebody changed them")
}

func (o *baoOptions) check() error {
	u, err := url.Parse(o.address)
	switch {
	case o.address != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil):
		return fmt.Errorf("--openbao-address: %q is no address; write https://host:port, since secrets do not travel in the clear", o.address)
	case o.auth != authKubernetes && o.auth != authAppRole && o.auth != authToken:
		return fmt.Errorf("--openbao-auth: %q is no way to log in; use %s, %s or %s", o.auth, authKubernetes, authAppRole, authToken)
	case o.auth == authAppRole && (o.roleID == "" || o.secretIDFile == ""):
		return fmt.Errorf("--openbao-auth=%s: set --openbao-role-id and --openbao-secret-id-file too", authAppRole)
	case o.auth == authToken && o.tokenFile == "":
		return fmt.Errorf("--openbao-auth=%s: set --openbao-token-file too", authToken)
	case o.rate <= 0:
		return fmt.Errorf("--openbao-requests-per-second: %g is too small; use more than 0", o.rate)
	case o.concurrency < 1:
		return fmt.Errorf("--openbao-concurrency: %d is too small; use at least 1", o.concurrency)
	case o.checkInterval < time.Second:
		return fmt.Errorf("--openbao-check-interval: %s is too short; use at least 1s", o.checkInterval)
	}
	return nil
}

// options of the controller. The CA is read at the start: a file that is not there is
// an error then, and not of every Secret later.
func (o *baoOptions) options() (secret.Options, error) {
	opts := secret.Options{
		Concurrency: o.concurrency, Audience: o.audience, CheckInterval: o.checkInterval, Rate: o.rate,
		Connection: openbao.Connection{Address: o.address, Namespace: o.namespace, AuthMount: o.authMount},
	}
	if o.caFile != "" {
		ca, err := os.ReadFile(o.caFile)
		if err != nil {
			return opts, fmt.Errorf("--openbao-ca-file: %w", err)
		}
		opts.Connection.CA = string(ca)
	}
	switch o.auth {
	case authAppRole:
		opts.Operator = access.AppRole{Mount: o.appRoleMount, RoleID: o.roleID, SecretIDFile: o.secretIDFile}
	case authToken:
		opts.Operator = access.TokenFile{File: o.tokenFile}
	}
	return opts, nil
}
