package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/openbao/openbao/api/v2"

	"github.com/aetherplatform/aether/internal/openbao/server"
)

// openBaoRoot is the file in pki/ with the root token.
const openBaoRoot = "openbao-root-token"

// openBao starts the server with OpenBao's API, where it is asked for, and configures
// it as an administrator of OpenBao would before Aether is installed.
func (p *Platform) openBao(ctx context.Context) error {
	if !p.OpenBao {
		return nil
	}
	if err := p.writeSecret(openBaoRoot, []byte(newSecret())); err != nil {
		return err
	}
	process := p.openBaoProcess()
	if err := p.step(process.Name, func() error { return p.launch(ctx, process) }); err != nil {
		return err
	}
	return p.step("openbao's policies, roles and secrets", func() error {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if err := p.configureOpenBao(ctx); err != nil {
			return process.failed(err)
		}
		return nil
	})
}

func (p *Platform) openBaoProcess() *Process {
	pki := p.file(pkiDir)
	options := server.Options{
		Listen: loopback(p.Ports.OpenBao), Data: p.file("openbao"), RootTokenFile: filepath.Join(pki, openBaoRoot),
		Certificate: filepath.Join(pki, "openbao.crt"), Key: filepath.Join(pki, "openbao.key"),
		AuditLog: filepath.Join(p.Logs(), "openbao-audit.log"),
	}
	process := p.newProcess("openbao", p.bin(server.Program), p.Ports.OpenBao, p.OpenBaoAddress()+"/v1/sys/health", options.Args()...)
	process.What = "OpenBao's API (Vault 1.14 core): secrets of tenants"
	return process
}

// OpenBaoAddress is the URL that OpenBao's API is served at.
func (p *Platform) OpenBaoAddress() string { return "https://" + loopback(p.Ports.OpenBao) }

// OpenBaoCA is the file with the authority that it is trusted by.
func (p *Platform) OpenBaoCA() string { return filepath.Join(p.file(pkiDir), "ca.crt") }

// OpenBaoToken is the file with its root token.
func (p *Platform) OpenBaoToken() string { return filepath.Join(p.file(pkiDir), openBaoRoot) }

// OpenBaoClient returns a client that may do everything there.
func (p *Platform) OpenBaoClient() (*api.Client, error) {
	token, err := p.readSecret(openBaoRoot)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(p.OpenBaoCA())
	if err != nil {
		return nil, err
	}
	return server.NewClient(p.OpenBaoAddress(), ca, token)
}

func (p *Platform) configureOpenBao(ctx context.Context) error {
	c, err := p.OpenBaoClient()
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(p.OpenBaoCA())
	if err != nil {
		return err
	}
	if err := server.MountSecrets(ctx, c); err != nil {
		return err
	}
	if err := server.TrustCluster(ctx, c, server.Cluster{Host: p.apiURL(), CA: ca, Client: p.Client}); err != nil {
		return err
	}
	if err := server.AdmitOperator(ctx, c); err != nil {
		return err
	}
	for path, data := range exampleSecrets() {
		if _, err := c.KVv2(server.Secrets).Put(ctx, path, data); err != nil {
			return fmt.Errorf("cannot write the secret %s: %w", path, err)
		}
	}
	return nil
}

// exampleSecrets are those that the example fleet's tenants have, with new values for
// each platform.
func exampleSecrets() map[string]map[string]any {
	return map[string]map[string]any{
		"acme/web/db":      {"username": "acme-web", "password": newSecret(), "host": "db.acme.example"},
		"acme/web/tls-api": {"key": newSecret()},
		"globex/app":       {"password": newSecret()},
	}
}
