package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/config/operator"
	"github.com/aetherplatform/aether/internal/config/reviewserver"
	"github.com/aetherplatform/aether/internal/forge"
)

// services starts what turns a push into namespaces, and what is in them.
func (p *Platform) services(ctx context.Context) error {
	sources, err := p.sourceController()
	if err != nil {
		return err
	}
	namespaces, err := p.operator()
	if err != nil {
		return err
	}
	return p.launchAll(ctx, sources, p.kustomizeController(), namespaces)
}

// launchAll starts processes beside one another, and tells of each in turn.
func (p *Platform) launchAll(ctx context.Context, processes ...*Process) error {
	p.mu.Lock()
	p.Processes = append(p.Processes, processes...)
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	ready := make([]chan error, len(processes))
	for i, process := range processes {
		ready[i] = make(chan error, 1)
		all.Go(func() { ready[i] <- p.launch(ctx, process) })
	}
	for i, process := range processes {
		if err := p.step(process.Name, func() error { return <-ready[i] }); err != nil {
			return err
		}
	}
	return nil
}

// sourceController is Flux's, which fetches repositories.
func (p *Platform) sourceController() (*Process, error) {
	storage := p.file("artifacts")
	if err := os.MkdirAll(storage, 0o700); err != nil {
		return nil, err
	}
	listen, health := loopback(p.Ports.Artifacts), loopback(p.Ports.SourceHealth)
	process := p.newProcess("source-controller", p.bin("source-controller"), p.Ports.Artifacts, "http://"+health+"/readyz",
		"--storage-path="+storage, "--storage-addr="+listen, "--storage-adv-addr="+listen,
		"--watch-all-namespaces", "--health-addr="+health, "--metrics-addr=0", "--events-addr=")
	process.What = "Flux: fetches repositories"
	process.Env = append(process.Env, "KUBECONFIG="+p.KubeconfigOf("source-controller"), "RUNTIME_NAMESPACE="+fluxNamespace, "TMPDIR="+p.scratch(),
		// A fifth of what a clone of thousands of files takes is collecting garbage.
		"GOGC=400")
	return process, nil
}

// kustomizeController is Flux's, which applies the repositories that namespaces are
// handed over to. It is locked down as Flux advises for several tenants: it acts
// as a service account of the namespace, and fetches nothing from elsewhere.
func (p *Platform) kustomizeController() *Process {
	health := loopback(p.Ports.KustomizeHealth)
	process := p.newProcess("kustomize-controller", p.bin("kustomize-controller"), p.Ports.KustomizeHealth, "http://"+health+"/readyz",
		"--watch-all-namespaces", "--no-cross-namespace-refs", "--no-remote-bases", "--default-service-account="+deployAccount,
		"--health-addr="+health, "--metrics-addr=0", "--events-addr=")
	process.What = "Flux: applies the repositories of namespaces"
	process.Env = append(process.Env, "KUBECONFIG="+p.KubeconfigOf("kustomize-controller"), "RUNTIME_NAMESPACE="+fluxNamespace)
	return process
}

// reviewConfigFile is the review server's.
const reviewConfigFile = "review.yaml"

// reviewer is the review server, which the forge tells of pushes and pull requests.
func (p *Platform) reviewer() (*Process, error) {
	c := reviewserver.Default()
	c.Forge = reviewserver.Forge{Type: forge.Gitea, URL: p.forgeURL(), User: reviewUser}
	c.Repositories = []string{forgeOrg + "/" + fleetName}
	c.Reconcile = []string{v1alpha1.SystemNamespace + "/" + fleetName}
	c.Webhooks.BindAddress, c.Probes.BindAddress = loopback(p.Ports.Review), loopback(p.Ports.ReviewProbes)
	c.Cache, c.Reports.URL = p.file("review"), p.receiverURL()
	file, err := p.writeConfig(reviewConfigFile, c)
	if err != nil {
		return nil, err
	}
	process := p.newProcess("review", p.bin("aether"), p.Ports.Review, "http://"+loopback(p.Ports.ReviewProbes)+"/readyz",
		"review", "serve", "--kubeconfig="+p.KubeconfigOf("review"), "--config="+file)
	process.What = "Aether: reviews pull requests, and has Flux fetch what was pushed"
	process.Secrets = map[string]string{
		"AETHER_FORGE_TOKEN":    filepath.Join(p.file(pkiDir), reviewToken),
		"AETHER_WEBHOOK_SECRET": filepath.Join(p.file(pkiDir), hookSecret),
	}
	return process, nil
}

// operatorConfigFile is the namespace operator's.
const operatorConfigFile = "namespace-operator.yaml"

func (p *Platform) operator() (*Process, error) {
	c := p.OperatorConfig()
	file, err := p.WriteOperatorConfig(operatorConfigFile, c)
	if err != nil {
		return nil, err
	}
	process := p.newProcess("namespace-operator", p.bin("namespace-operator"), p.Ports.OperatorHealth, "http://"+c.Health.BindAddress+"/readyz",
		"--kubeconfig="+p.KubeconfigOf("namespace-operator"), "--config="+file)
	process.What = fmt.Sprintf("Aether; metrics at http://%s/metrics", c.Metrics.BindAddress)
	return process, nil
}

// OperatorConfig is what the namespace operator runs with. To OpenBao it shows a token of
// its service account.
func (p *Platform) OperatorConfig() operator.Config {
	c := operator.Default()
	c.Health.BindAddress = loopback(p.Ports.OperatorHealth)
	c.Metrics = config.Metrics{BindAddress: loopback(p.Ports.OperatorMetrics), Pprof: true}
	if p.OpenBao {
		c.OpenBao.Address, c.OpenBao.CAFile = p.OpenBaoAddress(), p.OpenBaoCA()
	}
	return c
}

// WriteOperatorConfig writes a configuration into the platform's folder, and returns its
// path.
func (p *Platform) WriteOperatorConfig(name string, c operator.Config) (string, error) {
	return p.writeConfig(name, c)
}

// writeConfig writes the configuration of a program into the platform's folder, and
// returns its path.
func (p *Platform) writeConfig(name string, c interface{ YAML() ([]byte, error) }) (string, error) {
	text, err := c.YAML()
	if err != nil {
		return "", err
	}
	return p.file(name), os.WriteFile(p.file(name), text, 0o600)
}
