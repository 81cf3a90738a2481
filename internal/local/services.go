package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local/forge"
)

// The fleet's repository on the forge, and the objects that read it.
const (
	forgeOrg   = "platform"
	fleetName  = "fleet"
	forgeAdmin = "platform-admin"
	forgeUser  = "flux" // reads the repository
)

// Files below Options.Dir/pki with what the forge and its clients share.
const (
	adminLogin  = "forge-admin.json"
	readerLogin = "forge-reader.json"
	hookSecret  = "hook-secret"
)

// forgeSecrets makes the passwords of the forge.
func (p *Platform) forgeSecrets() error {
	admin := forge.Login{Name: forgeAdmin, Password: newSecret()}
	address := strings.Replace(p.forgeURL(), "://", "://"+admin.Name+":"+admin.Password+"@", 1)
	return errors.Join(
		p.writeLogin(adminLogin, admin),
		p.writeLogin(readerLogin, forge.Login{Name: forgeUser, Password: newSecret()}),
		os.WriteFile(filepath.Join(p.file(pkiDir), hookSecret), []byte(newSecret()), 0o600),
		os.WriteFile(p.Credentials(), []byte(address+"\n"), 0o600),
	)
}

func (p *Platform) writeLogin(name string, login forge.Login) error {
	data, err := json.Marshal(login) //nolint:gosec // to a file that only its owner reads
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.file(pkiDir), name), data, 0o600)
}

func (p *Platform) login(name string) (forge.Login, error) {
	var login forge.Login
	data, err := os.ReadFile(filepath.Join(p.file(pkiDir), name))
	if err != nil {
		return login, err
	}
	return login, json.Unmarshal(data, &login)
}

func (p *Platform) forgeURL() string    { return "http://" + loopback(p.Ports.Git) }
func (p *Platform) receiverURL() string { return "http://" + loopback(p.Ports.Receiver) }

// PushURL is the fleet's repository.
func (p *Platform) PushURL() string { return p.forgeURL() + "/" + forgeOrg + "/" + fleetName + ".git" }

// services starts what turns a push into namespaces.
func (p *Platform) services(ctx context.Context) error {
	git, err := p.forge(ctx)
	if err != nil {
		return err
	}
	sources, err := p.sourceController()
	if err != nil {
		return err
	}
	for _, process := range []*Process{git, p.receiver(), sources, p.operator()} {
		if err := p.step(process.Name, func() error { return p.launch(ctx, process) }); err != nil {
			return err
		}
	}
	return nil
}

// forge is Gitea where it is at hand, and its stand-in where not.
func (p *Platform) forge(ctx context.Context) (*Process, error) {
	program, err := p.given("AETHER_GITEA", "gitea")
	if err != nil {
		return nil, err
	}
	if program != "" {
		return p.gitea(ctx, program)
	}
	process := p.newProcess("forge", p.bin("standins"), p.Ports.Git, p.forgeURL()+"/api/healthz",
		"forge", "--listen="+loopback(p.Ports.Git), "--url="+p.forgeURL(), "--dir="+p.file("forge"),
		"--admin-file="+filepath.Join(p.file(pkiDir), adminLogin))
	process.What, process.StandIn = "stand-in for Gitea: Git over HTTP, push webhooks", true
	return process, nil
}

// sourceController is Flux's own where it is at hand, and its stand-in where not.
func (p *Platform) sourceController() (*Process, error) {
	program, err := p.given("AETHER_SOURCE_CONTROLLER", "source-controller")
	if err != nil {
		return nil, err
	}
	listen := loopback(p.Ports.Artifacts)
	storage := p.file("artifacts")
	if program == "" {
		process := p.newProcess("source-controller", p.bin("standins"), p.Ports.Artifacts, "http://"+listen+"/healthz",
			"sources", "--kubeconfig="+p.KubeconfigOf("source-controller"), "--listen="+listen, "--url=http://"+listen, "--dir="+storage)
		process.What, process.StandIn = "stand-in for Flux's source-controller: GitRepository only", true
		return process, nil
	}
	if err := os.MkdirAll(storage, 0o700); err != nil {
		return nil, err
	}
	health := loopback(p.Ports.SourceHealth)
	process := p.newProcess("source-controller", program, p.Ports.Artifacts, "http://"+health+"/readyz",
		"--storage-path="+storage, "--storage-addr="+listen, "--storage-adv-addr="+listen,
		"--watch-all-namespaces", "--health-addr="+health, "--metrics-addr=0", "--events-addr=", "--enable-leader-election=false")
	process.What = "Flux's source-controller"
	process.Env = []string{"KUBECONFIG=" + p.KubeconfigOf("source-controller"), "RUNTIME_NAMESPACE=flux-system"}
	return process, nil
}

// receiver does what a Receiver of notification-controller does.
func (p *Platform) receiver() *Process {
	process := p.newProcess("receiver", p.bin("standins"), p.Ports.Receiver, p.receiverURL()+"/healthz",
		"receiver", "--kubeconfig="+p.KubeconfigOf("receiver"), "--listen="+loopback(p.Ports.Receiver),
		"--secret-file="+filepath.Join(p.file(pkiDir), hookSecret), "--source="+v1alpha1.SystemNamespace+"/"+fleetName)
	process.What, process.StandIn = "stand-in for Flux's notification-controller: push events only", true
	return process
}

func (p *Platform) operator() *Process {
	health := loopback(p.Ports.OperatorHealth)
	process := p.newProcess("namespace-operator", p.bin("namespace-operator"), p.Ports.OperatorHealth, "http://"+health+"/readyz",
		"--kubeconfig="+p.KubeconfigOf("namespace-operator"),
		"--health-probe-bind-address="+health, "--metrics-bind-address="+loopback(p.Ports.OperatorMetrics), "--pprof")
	process.What = fmt.Sprintf("Aether; metrics at http://%s/metrics", loopback(p.Ports.OperatorMetrics))
	return process
}
