package openbao

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Login logs in by Kubernetes authentication: a role, and a token of the service
// account it is bound to.
func (c *Client) Login(ctx context.Context, role, jwt string) (Lease, error) {
	path := "auth/" + c.connection.AuthMount + "/login"
	return c.login(ctx, fmt.Sprintf("log in with role %q at", role), path, map[string]any{"role": role, "jwt": jwt})
}

// LoginAppRole logs in by AppRole authentication at a mount.
func (c *Client) LoginAppRole(ctx context.Context, mount, roleID, secretID string) (Lease, error) {
	if err := CheckPath(mount); err != nil {
		return Lease{}, fmt.Errorf("mount of AppRole authentication: %w", err)
	}
	return c.login(ctx, "log in at", "auth/"+mount+"/login", map[string]any{"role_id": roleID, "secret_id": secretID})
}

func (c *Client) login(ctx context.Context, op, path string, body map[string]any) (Lease, error) {
	secret, err := c.put(ctx, op, path, Token{}, body)
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Status == http.StatusBadRequest {
		refusal.reason = "it knows no such role, or takes no such credential"
	}
	if err != nil {
		return Lease{}, err
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return Lease{}, unexpected(op, path)
	}
	return Lease{Token: NewToken(secret.Auth.ClientToken), TTL: time.Duration(secret.Auth.LeaseDuration) * time.Second}, nil
}

const policiesPath = "sys/policies/acl"

// Policies lists the names of the ACL policies.
func (c *Client) Policies(ctx context.Context, token Token) ([]string, error) {
	return c.list(ctx, policiesPath, token)
}

// ReadPolicy reads the text of an ACL policy.
func (c *Client) ReadPolicy(ctx context.Context, token Token, name string) (string, error) {
	path, err := named(policiesPath, name)
	if err != nil {
		return "", err
	}
	answer, err := c.get(ctx, path, token, nil)
	if err != nil {
		return "", err
	}
	text, ok := answer.Data["policy"].(string)
	if !ok {
		return "", unexpected("read", path)
	}
	return text, nil
}

// WritePolicy writes an ACL policy.
func (c *Client) WritePolicy(ctx context.Context, token Token, name, text string) error {
	path, err := named(policiesPath, name)
	if err != nil {
		return err
	}
	_, err = c.put(ctx, "write", path, token, map[string]any{"policy": text})
	return err
}

// DeletePolicy deletes an ACL policy, if there is one.
func (c *Client) DeletePolicy(ctx context.Context, token Token, name string) error {
	path, err := named(policiesPath, name)
	if err != nil {
		return err
	}
	return c.delete(ctx, path, token)
}

// Role is a role of Kubernetes authentication: who may log in with it, and what
// the token is. It has all that widens or breaks a login.
type Role struct {
	Accounts   []string
	Namespaces []string
	// NamespaceSelector lets namespaces in by label. It is read, never written; not
	// every server has it.
	NamespaceSelector string
	Audience          string
	AliasNameSource   string
	Policies          []string
	NoDefaultPolicy   bool
	TokenType         string
	TTL               time.Duration
	MaxTTL            time.Duration
	ExplicitMaxTTL    time.Duration
	Period            time.Duration
	NumUses           int64
	BoundCIDRs        []string
}

// Equal is whether two roles do the same.
func (r Role) Equal(other Role) bool {
	return sameSet(r.Accounts, other.Accounts) && sameSet(r.Namespaces, other.Namespaces) &&
		sameSet(r.Policies, other.Policies) && sameSet(r.BoundCIDRs, other.BoundCIDRs) &&
		r.NamespaceSelector == other.NamespaceSelector && r.Audience == other.Audience &&
		r.AliasNameSource == other.AliasNameSource && r.NoDefaultPolicy == other.NoDefaultPolicy &&
		r.TokenType == other.TokenType && r.TTL == other.TTL && r.MaxTTL == other.MaxTTL &&
		r.ExplicitMaxTTL == other.ExplicitMaxTTL && r.Period == other.Period && r.NumUses == other.NumUses
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}

// Roles lists the names of the roles of the connection's Kubernetes authentication.
func (c *Client) Roles(ctx context.Context, token Token) ([]string, error) {
	return c.list(ctx, c.rolesPath(), token)
}

// ReadRole reads a role.
func (c *Client) ReadRole(ctx context.Context, token Token, name string) (Role, error) {
	path, err := named(c.rolesPath(), name)
	if err != nil {
		return Role{}, err
	}
	answer, err := c.get(ctx, path, token, nil)
	if err != nil {
		return Role{}, err
	}
	data := answer.Data
	text := func(key string) string {
		s, _ := data[key].(string)
		return s
	}
	seconds := func(key string) time.Duration {
		n, _ := number(data[key])
		return time.Duration(n) * time.Second
	}
	role := Role{
		Accounts:          texts(data["bound_service_account_names"]),
		Namespaces:        texts(data["bound_service_account_namespaces"]),
		NamespaceSelector: text("bound_service_account_namespace_selector"),
		Audience:          text("audience"),
		AliasNameSource:   text("alias_name_source"),
		Policies:          texts(data["token_policies"]),
		TokenType:         text("token_type"),
		TTL:               seconds("token_ttl"),
		MaxTTL:            seconds("token_max_ttl"),
		ExplicitMaxTTL:    seconds("token_explicit_max_ttl"),
		Period:            seconds("token_period"),
		BoundCIDRs:        texts(data["token_bound_cidrs"]),
	}
	role.NoDefaultPolicy, _ = data["token_no_default_policy"].(bool)
	role.NumUses, _ = number(data["token_num_uses"])
	return role, nil
}

// WriteRole writes a role. Lists go as one string with commas, since allowed_parameters
// of a policy can hold a string to a value and a list to none.
func (c *Client) WriteRole(ctx context.Context, token Token, name string, role Role) error {
	path, err := named(c.rolesPath(), name)
	if err != nil {
		return err
	}
	_, err = c.put(ctx, "write", path, token, map[string]any{
		"bound_service_account_names":      strings.Join(role.Accounts, ","),
		"bound_service_account_namespaces": strings.Join(role.Namespaces, ","),
		"audience":                         role.Audience,
		"alias_name_source":                role.AliasNameSource,
		"token_policies":                   strings.Join(role.Policies, ","),
		"token_no_default_policy":          role.NoDefaultPolicy,
		"token_type":                       role.TokenType,
		"token_ttl":                        int64(role.TTL.Seconds()),
		"token_max_ttl":                    int64(role.MaxTTL.Seconds()),
		"token_explicit_max_ttl":           int64(role.ExplicitMaxTTL.Seconds()),
		"token_period":                     int64(role.Period.Seconds()),
		"token_num_uses":                   role.NumUses,
		"token_bound_cidrs":                strings.Join(role.BoundCIDRs, ","),
	})
	return err
}

// DeleteRole deletes a role, if there is one.
func (c *Client) DeleteRole(ctx context.Context, token Token, name string) error {
	path, err := named(c.rolesPath(), name)
	if err != nil {
		return err
	}
	return c.delete(ctx, path, token)
}

func (c *Client) rolesPath() string { return "auth/" + c.connection.AuthMount + "/role" }

// named is the path of one of many; its name has no '/'.
func named(parent, name string) (string, error) {
	if strings.Contains(name, "/") || CheckPath(name) != nil {
		return "", fmt.Errorf("%q is no name in %s of OpenBao", name, parent)
	}
	return parent + "/" + name, nil
}
