package access

import (
	"context"
	"errors"

	"github.com/aetherplatform/aether/internal/openbao"
)

// confirm makes sure of the claim, the policies and the role, in that order: nobody
// can log in for what is not confined yet. It says whether the role was looked at.
func (a *Access) confirm(ctx context.Context, srv *server, ns *namespace) (looked bool, err error) {
	s := ns.subject
	t := a.tenant(s)
	if err := t.gate.do(ctx, placeOf(s), func() error { return a.confirmTenant(ctx, srv, t, s) }); err != nil {
		return false, err
	}
	now := a.opts.Now()
	if ns.bound.holds(s.Namespace, now) {
		return false, nil
	}
	if err := a.bind(ctx, srv, s); err != nil {
		return false, err
	}
	ns.bound = confirmation{s.Namespace, now.Add(early(a.opts.CheckInterval))}
	return true, nil
}

func placeOf(s Subject) string { return s.Mount + "/" + s.Path }

// confirmTenant confirms what all namespaces of a tenant share. The caller has the
// tenant's gate.
func (a *Access) confirmTenant(ctx context.Context, srv *server, t *tenant, s Subject) error {
	place, now := placeOf(s), a.opts.Now()
	until := now.Add(early(a.opts.CheckInterval))
	if !t.claimed.holds(place, now) {
		if err := a.claim(ctx, srv, s); err != nil {
			return err
		}
		t.claimed = confirmation{place, until}
	}
	grant := openbao.Grant{Tenant: s.Tenant, TenantUID: s.TenantUID, Cluster: a.opts.ClusterID, Mount: s.Mount, Path: s.Path}
	if !t.granted.holds(place, now) {
		text, err := grant.Policy()
		if err != nil {
			return err
		}
		if err := a.grant(ctx, srv, openbao.PolicyName(s.Tenant, s.TenantUID), text); err != nil {
			return err
		}
		t.granted = confirmation{place, until}
	}
	if s.Generate && !t.generates.holds(place, now) {
		text, err := grant.GeneratePolicy()
		if err != nil {
			return err
		}
		if err := a.grant(ctx, srv, openbao.GeneratePolicyName(s.Tenant, s.TenantUID), text); err != nil {
			return err
		}
		t.generates = confirmation{place, until}
	}
	return nil
}

// doubt makes the tenant's grants be looked at again.
func (a *Access) doubt(s Subject) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tenants, tenantKey{s.Connection, openbao.PolicyName(s.Tenant, s.TenantUID)})
}

// grant writes a policy unless it is there as it should be.
func (a *Access) grant(ctx context.Context, srv *server, name, text string) error {
	return a.operator(ctx, srv, func(token openbao.Token) error {
		there, err := srv.client.ReadPolicy(ctx, token, name)
		if err == nil && there == text {
			return nil
		}
		if err != nil && !errors.Is(err, openbao.NotFound) {
			return err
		}
		return srv.client.WritePolicy(ctx, token, name, text)
	})
}

// bind writes a namespace's role unless it is there as it should be.
func (a *Access) bind(ctx context.Context, srv *server, s Subject) error {
	name := openbao.RoleName(s.Namespace)
	want := openbao.RoleFor(s.Namespace, a.opts.Audience, s.policies()...)
	return a.operator(ctx, srv, func(token openbao.Token) error {
		there, err := srv.client.ReadRole(ctx, token, name)
		if err == nil && there.Equal(want) {
			return nil
		}
		if err != nil && !errors.Is(err, openbao.NotFound) {
			return err
		}
		if there.NamespaceSelector != "" { // a write leaves it
			if err := srv.client.DeleteRole(ctx, token, name); err != nil {
				return err
			}
		}
		return srv.client.WriteRole(ctx, token, name, want)
	})
}
