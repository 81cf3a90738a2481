package access

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/openbao"
)

// foreignPolicy is a policy that was read and is another cluster's, or nobody's. Its
// name holds a UID, so it stays so.
type foreignPolicy struct {
	connection openbao.Connection
	name       string
}

// Sweep deletes what this cluster's Aether made in an OpenBao and nobody wants any
// more: roles of namespaces, and policies of tenants. wanted is every subject there
// is, of every connection. It returns the names of what it deleted, also where it
// stops at an error.
//
// A namespace that had a Session within CheckInterval is wanted too, unless it was
// forgotten: it may be newer than the list. A policy is this cluster's by its header;
// roles are by their name, since the mount of their authentication is the cluster's.
func (a *Access) Sweep(ctx context.Context, connection openbao.Connection, wanted []Subject) (removed []string, err error) {
	connection = connection.Normal()
	srv, err := a.server(connection)
	if err != nil {
		return nil, err
	}
	all := a.tidy(wanted)

	roles := map[string][]openbao.Role{}
	policies := map[string]bool{}
	for _, s := range all {
		roles[openbao.RoleName(s.Namespace)] = append(roles[openbao.RoleName(s.Namespace)], openbao.RoleFor(s.Namespace, a.opts.Audience, s.policies()...))
		for _, name := range s.policies() {
			policies[name] = true
		}
	}
	here := map[string]bool{}
	for _, s := range all {
		if sameMount(s.Connection, connection) {
			here[openbao.RoleName(s.Namespace)] = true
		}
	}

	err = a.operator(ctx, srv, func(token openbao.Token) error {
		gone, err := a.sweepRoles(ctx, srv, token, here, roles)
		removed = append(removed, gone...)
		if err != nil {
			return err
		}
		gone, err = a.sweepPolicies(ctx, srv, token, policies)
		removed = append(removed, gone...)
		return err
	})
	return removed, err
}

func sameMount(a, b openbao.Connection) bool {
	return a.Address == b.Address && a.Namespace == b.Namespace && a.AuthMount == b.AuthMount
}

// sweepRoles deletes roles that no namespace of this connection has. One that a
// namespace of another connection would write just so stays: that may be the same
// OpenBao under another address.
func (a *Access) sweepRoles(ctx context.Context, srv *server, token openbao.Token, here map[string]bool, wanted map[string][]openbao.Role) (removed []string, err error) {
	names, err := srv.client.Roles(ctx, token)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if !strings.HasPrefix(name, openbao.RolePrefix) || here[name] {
			continue
		}
		if len(wanted[name]) > 0 {
			there, err := srv.client.ReadRole(ctx, token, name)
			if errors.Is(err, openbao.NotFound) {
				continue
			}
			if err != nil {
				return removed, err
			}
			if slices.ContainsFunc(wanted[name], there.Equal) {
				continue
			}
		}
		if err := srv.client.DeleteRole(ctx, token, name); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}

// sweepPolicies deletes policies of this cluster that no namespace of any connection
// has.
func (a *Access) sweepPolicies(ctx context.Context, srv *server, token openbao.Token, wanted map[string]bool) (removed []string, err error) {
	names, err := srv.client.Policies(ctx, token)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		key := foreignPolicy{srv.client.Connection(), name}
		if !strings.HasPrefix(name, openbao.PolicyPrefix) || wanted[name] || a.isForeign(key) {
			continue
		}
		text, err := srv.client.ReadPolicy(ctx, token, name)
		if errors.Is(err, openbao.NotFound) {
			continue
		}
		if err != nil {
			return removed, err
		}
		if openbao.ClusterOf(text) != a.opts.ClusterID {
			a.setForeign(key)
			continue
		}
		if err := srv.client.DeletePolicy(ctx, token, name); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}

// tidy is all subjects that are wanted, those in use included; it forgets the others.
func (a *Access) tidy(wanted []Subject) []Subject {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.opts.Now()
	all := map[Subject]bool{}
	for _, s := range wanted {
		all[s.normal()] = true
	}
	for key, ns := range a.namespaces {
		switch {
		case all[ns.owner]:
		case now.Sub(ns.used) < a.opts.CheckInterval:
			if ns.owner != (Subject{}) {
				all[ns.owner] = true
			}
		default:
			delete(a.namespaces, key)
		}
	}
	tenants, connections := map[tenantKey]bool{}, map[openbao.Connection]bool{}
	list := make([]Subject, 0, len(all))
	for s := range all {
		list = append(list, s)
		tenants[tenantKey{s.Connection, openbao.PolicyName(s.Tenant, s.TenantUID)}] = true
		connections[s.Connection] = true
	}
	for key := range a.tenants {
		if !tenants[key] {
			delete(a.tenants, key)
		}
	}
	for key := range a.foreign {
		if !connections[key.connection] {
			delete(a.foreign, key)
		}
	}
	for connection := range a.servers {
		if !connections[connection] {
			delete(a.servers, connection)
		}
	}
	return list
}

func (a *Access) isForeign(key foreignPolicy) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.foreign[key]
}

func (a *Access) setForeign(key foreignPolicy) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.foreign[key] = true
}
