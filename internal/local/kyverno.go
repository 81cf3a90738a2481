package local

import (
	"context"

	"github.com/aetherplatform/aether/internal/kyverno"
	"github.com/aetherplatform/aether/policies"
)

// kyverno starts Kyverno, where it is asked for, and has it hold the policies before
// there is anything of a tenant's.
func (p *Platform) kyverno(ctx context.Context) error {
	if !p.Kyverno {
		return nil
	}
	process := p.newProcess("kyverno", p.bin("kyverno"), p.Ports.Kyverno, "http://"+loopback(p.Ports.KyvernoMetrics)+"/metrics",
		kyverno.Args(p.KubeconfigOf("kyverno"), p.Ports.Kyverno, p.Ports.KyvernoMetrics)...)
	process.What = "Kyverno: policies of tenants' objects, as webhooks of the API server"
	process.Env = append(process.Env, kyverno.Env()...)
	if err := p.step(process.Name, func() error { return p.launch(ctx, process) }); err != nil {
		return err
	}
	return p.step("kyverno's policies", func() error {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if err := kyverno.AwaitServing(ctx, p.Ports.Kyverno); err != nil {
			return process.failed(err)
		}
		if err := policies.InstallKyverno(ctx, p.Client); err != nil {
			return process.failed(err)
		}
		return nil
	})
}
