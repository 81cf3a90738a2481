package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
)

// Login is how the operator itself gets into OpenBao.
type Login interface {
	// Login gets a token.
	Login(ctx context.Context, client *openbao.Client) (openbao.Lease, error)
	// Stamp changes when what it logs in with does: a new login is due.
	Stamp() (string, error)
}

// Kubernetes logs in as the operator's own service account, where its namespaces do
// too. It is the default: there is no credential to keep or to rotate.
type Kubernetes struct {
	// Role in OpenBao. Default: aether-namespace-operator.
	Role string
	// Account of the operator in aether-system. Default: namespace-operator.
	Account string
	// Audience of its token. Default: openbao.
	Audience string
	// TokenRequest must be set.
	TokenRequest TokenRequest
}

// Login implements Login.
func (k Kubernetes) Login(ctx context.Context, client *openbao.Client) (openbao.Lease, error) {
	role, account, audience := or(k.Role, "aether-namespace-operator"), or(k.Account, "namespace-operator"), or(k.Audience, openbao.DefaultAudience)
	jwt, err := k.TokenRequest(ctx, v1alpha1.SystemNamespace, account, audience, accountTTL)
	if err != nil {
		return openbao.Lease{}, fmt.Errorf("cannot request a token of ServiceAccount %s/%s: %w", v1alpha1.SystemNamespace, account, err)
	}
	return client.Login(ctx, role, jwt)
}

// Stamp implements Login: nothing is kept that could change.
func (Kubernetes) Stamp() (string, error) { return "", nil }

// AppRole logs in with a role id, and a secret id from a file that is read for each
// login.
type AppRole struct {
	// Mount of AppRole authentication. Default: approle.
	Mount string
	// RoleID must be set.
	RoleID string
	// SecretIDFile must be set.
	SecretIDFile string
}

// Login implements Login.
func (r AppRole) Login(ctx context.Context, client *openbao.Client) (openbao.Lease, error) {
	secretID, err := content(r.SecretIDFile)
	if err != nil {
		return openbao.Lease{}, err
	}
	return client.LoginAppRole(ctx, or(r.Mount, "approle"), r.RoleID, secretID)
}

// Stamp implements Login.
func (r AppRole) Stamp() (string, error) { return stampOf(r.SecretIDFile) }

// TokenFile uses a token that somebody else keeps good, such as OpenBao's agent.
type TokenFile struct {
	// File must be set.
	File string
}

// Login implements Login.
func (f TokenFile) Login(context.Context, *openbao.Client) (openbao.Lease, error) {
	token, err := content(f.File)
	if err != nil {
		return openbao.Lease{}, err
	}
	return openbao.Lease{Token: openbao.NewToken(token)}, nil
}

// Stamp implements Login.
func (f TokenFile) Stamp() (string, error) { return stampOf(f.File) }

// content of a file that holds one secret.
func content(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read the operator's credential for OpenBao: %w", err)
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return "", fmt.Errorf("%s: it is empty; write the operator's credential for OpenBao", file)
	}
	if bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: it is no credential; write one line of plain text", file)
	}
	return string(data), nil
}

// stampOf is by content: files in a mounted Secret change by a link, and times tell
// little of that.
func stampOf(file string) (string, error) {
	data, err := content(file)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:]), nil
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// operator makes a request with the operator's token, and once more with a new one
// where it was denied.
func (a *Access) operator(ctx context.Context, srv *server, request func(openbao.Token) error) error {
	used, err := a.operatorLogin(ctx, srv, nil)
	if err != nil {
		return err
	}
	err = request(used.token)
	if !errors.Is(err, openbao.Denied) {
		return err
	}
	if used, err = a.operatorLogin(ctx, srv, used); err != nil {
		return err
	}
	return request(used.token)
}

// operatorLogin is the operator's login, made anew where it is due or was refused.
func (a *Access) operatorLogin(ctx context.Context, srv *server, refused *login) (*login, error) {
	var got *login
	err := srv.gate.do(ctx, nil, func() error {
		stamp, err := a.opts.Operator.Stamp()
		if err != nil {
			return err
		}
		now := a.opts.Now()
		current := srv.login
		if current != nil && current != refused && srv.stamp == stamp && (current.renewAt.IsZero() || now.Before(current.renewAt)) {
			got = current
			return nil
		}
		lease, err := a.opts.Operator.Login(ctx, srv.client)
		if err != nil {
			if current != nil && current != refused && srv.stamp == stamp && now.Before(current.endsAt) && !errors.Is(err, openbao.Denied) {
				got = current
				return nil
			}
			return fmt.Errorf("cannot log the operator in: %w", err)
		}
		got = newLogin(lease, now)
		srv.login, srv.stamp = got, stamp
		return nil
	})
	return got, err
}
