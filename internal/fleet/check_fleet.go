package fleet

import (
	"errors"
	"fmt"
	"slices"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// checkFleet holds the tenants against each other. They are sorted by name.
func checkFleet(tree Tree, tenants []*Tenant, checks map[string]*checked, incumbents map[string]tenancy.Holding) {
	l := &lines{tree: tree}
	checkStrays(l, tenants, checks)
	checkPrefixes(l, tenants, checks, incumbents)
	checkPlaces(l, tenants, checks, incumbents)
	findPeers(l, tenants)
	for _, t := range tenants {
		t.Errors = once(t.Errors)
		t.Warnings = once(t.Warnings)
	}
}

// once sorts errors by position, and leaves out what is said twice.
func once(errs []*Error) []*Error {
	sortErrors(errs)
	return slices.CompactFunc(errs, func(a, b *Error) bool { return *a == *b })
}

// fail reports an error in a field of an object of the tenant's.
func (t *Tenant) fail(l *lines, at Position, doc int, field, message string) {
	t.Errors = append(t.Errors, l.problem(t.Name, at, doc, field, message))
}

// checkStrays reports namespaces that are not their tenant's to claim, and who
// else claims them.
func checkStrays(l *lines, tenants []*Tenant, checks map[string]*checked) {
	for _, t := range tenants {
		for i, ns := range checks[t.Name].strays {
			if i >= MaxErrors {
				break
			}
			var e *tenancy.Error
			if !errors.As(tenancy.CheckName(checks[t.Name].owner.Value, ns.Value.Name), &e) {
				continue
			}
			message := e.Message
			for _, other := range tenants {
				if at, ok := checks[other.Name].dir.written[v1alpha1.KindTenantNamespace][ns.Value.Name]; ok && other != t {
					message += fmt.Sprintf(" (%s claims it too)", at)
				}
			}
			t.fail(l, ns.Position, ns.doc, e.Field, message)
		}
	}
}

// findPeers finds the mutual peers of each tenant, and warns of those that are not.
func findPeers(l *lines, tenants []*Tenant) {
	byName := make(map[string]*Tenant, len(tenants))
	for _, t := range tenants {
		byName[t.Name] = t
	}
	for _, t := range tenants {
		if t.Object == nil || len(t.Object.Value.Spec.Network.Peers) == 0 {
			continue
		}
		us := t.Object.Value
		t.Peers = tenancy.MutualPeers(us, func(name string) *v1alpha1.Tenant {
			switch other := byName[name]; {
			case other == nil:
				return nil
			case other.Object == nil:
				return agreeing(us.Name)
			default:
				return other.Object.Value
			}
		})
		for i, peer := range us.Spec.Network.Peers {
			message := fmt.Sprintf("takes effect when Tenant %q names %s as a peer too", peer.Tenant, us.Name)
			switch other := byName[peer.Tenant]; {
			case other == nil:
				message = fmt.Sprintf("there is no Tenant %q yet; it %s", peer.Tenant, message)
			case other.Object == nil || tenancy.Names(other.Object.Value, us.Name):
				continue
			}
			t.Warnings = append(t.Warnings, l.problem(t.Name, t.Object.Position, t.Object.doc, fmt.Sprintf("spec.network.peers[%d]", i), message))
		}
	}
}

// checkExceptions warns of exceptions for what is not there: nobody has them.
func checkExceptions(tree Tree, f *Fleet, tenants map[string]*directory) []*Error {
	l := &lines{tree: tree}
	var warnings []*Error
	check := func(at Position, doc int, field string, e *v1alpha1.ExceptionSpec) {
		warn := func(field, message string) {
			warnings = append(warnings, l.problem(v1alpha1.PlatformDirectory, at, doc, field, message))
		}
		tenant := tenants[e.Tenant]
		if tenant == nil {
			warn(field+".tenant", notThere("Tenant", e.Tenant, sortedKeys(tenants)))
			return
		}
		written := tenant.written[v1alpha1.KindTenantNamespace]
		for i, name := range e.Namespaces {
			if _, ok := written[name]; !ok {
				warn(fmt.Sprintf("%s.namespaces[%d]", field, i), notThere("TenantNamespace", name, sortedKeys(written)))
			}
		}
	}
	for _, name := range sortedKeys(f.Profiles) {
		p := f.Profiles[name]
		for i := range p.Value.Spec.Exceptions {
			check(p.Position, p.doc, fmt.Sprintf("spec.exceptions[%d]", i), &p.Value.Spec.Exceptions[i].ExceptionSpec)
		}
	}
	for _, name := range sortedKeys(f.Exceptions) {
		e := f.Exceptions[name]
		check(e.Position, e.doc, "spec", &e.Value.Spec)
	}
	return once(warnings)
}

func notThere(kind, name string, known []string) string {
	message := fmt.Sprintf("there is no %s %q, so that nobody has the exception", kind, name)
	if meant := nearest(name, known); meant != "" {
		message += "; write " + meant
	}
	return message
}

// agreeing stands for a peer whose Tenant cannot be read.
func agreeing(with string) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{}
	t.Spec.Network.Peers = []v1alpha1.Peer{{Tenant: with}}
	return t
}
