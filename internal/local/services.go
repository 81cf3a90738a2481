package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// services starts what turns a push into namespaces, and what is in them.
func (p *Platform) services(ctx context.Context) error {
	sources, err := p.sourceController()
	if err != nil {
		return err
	}
	return p.launchAll(ctx, sources, p.kustomizeController(), p.operator())
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
	process.Env = append(process.Env, "KUBECONFIG="+p.KubeconfigOf("source-controller"), "RUNTIME_NAMESPACE="+fluxNamespace, "TMPDIR="+p.scratch())
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

// reviewer is the review server, which the forge tells of pushes and pull requests.
func (p *Platform) reviewer() *Process {
	process := p.newProcess("review", p.bin("aether"), p.Ports.Review, "http://"+loopback(p.Ports.ReviewProbes)+"/readyz",
		"review", "serve", "--forge=gitea", "--url="+p.forgeURL(), "--repo="+forgeOrg+"/"+fleetName, "--user="+reviewUser,
		"--branch=main", "--reconcile="+v1alpha1.SystemNamespace+"/"+fleetName, "--kubeconfig="+p.KubeconfigOf("review"),
		"--listen="+loopback(p.Ports.Review), "--probes="+loopback(p.Ports.ReviewProbes), "--cache="+p.file("review"),
		"--reports="+p.receiverURL())
	process.What = "Aether: reviews pull requests, and has Flux fetch what was pushed"
	process.Secrets = map[string]string{
		"AETHER_FORGE_TOKEN":    filepath.Join(p.file(pkiDir), reviewToken),
		"AETHER_WEBHOOK_SECRET": filepath.Join(p.file(pkiDir), hookSecret),
	}
	return process
}

func (p *Platform) operator() *Process {
	health := loopback(p.Ports.OperatorHealth)
	process := p.newProcess("namespace-operator", p.bin("namespace-operator"), p.Ports.OperatorHealth, "http://"+health+"/readyz",
		"--kubeconfig="+p.KubeconfigOf("namespace-operator"),
		"--health-probe-bind-address="+health, "--metrics-bind-address="+loopback(p.Ports.OperatorMetrics), "--pprof")
	if p.OpenBao {
		process.Args = append(process.Args, p.openBaoFlags()...)
	}
	process.What = fmt.Sprintf("Aether; metrics at http://%s/metrics", loopback(p.Ports.OperatorMetrics))
	return process
}
