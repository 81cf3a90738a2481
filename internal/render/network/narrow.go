package network

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/cilium/pkg/policy/api"
)

// What is refused here is what Cilium takes and a tenant may not have: rules that
// Cilium reads as everyone, or as more than the tenant may name. What Cilium
// refuses itself is in check.go.

func narrowIngress(r api.IngressRule) error {
	if err := narrowPeers(len(r.FromEndpoints), len(r.FromCIDRSet), len(r.FromEntities)); err != nil {
		return err
	}
	for _, e := range r.FromEntities {
		if e != api.EntityIngress {
			return fmt.Errorf("%q is not an entity that a tenant may name", e)
		}
	}
	return cmp.Or(narrowEach(r.FromEndpoints, narrowSelector), narrowEach(r.FromCIDRSet, narrowNetwork), narrowEach(r.ToPorts, narrowPorts))
}

func narrowEgress(r api.EgressRule) error {
	if err := narrowPeers(len(r.ToEndpoints), len(r.ToCIDRSet), len(r.ToFQDNs)); err != nil {
		return err
	}
	return cmp.Or(narrowEach(r.ToEndpoints, narrowSelector), narrowEach(r.ToCIDRSet, narrowNetwork),
		narrowEach(r.ToFQDNs, narrowHost), narrowEach(r.ToPorts, narrowPorts))
}

func narrowPeers(counts ...int) error {
	kinds := len(slices.DeleteFunc(counts, func(n int) bool { return n == 0 }))
	switch kinds {
	case 0:
		return errors.New("the rule names nobody, which Cilium reads as everyone")
	case 1:
		return nil
	}
	return errors.New("the rule mixes endpoints, networks and names, which Cilium refuses")
}

func narrowEach[T any](items []T, check func(T) error) error {
	for _, item := range items {
		if err := check(item); err != nil {
			return err
		}
	}
	return nil
}

func narrowSelector(s api.EndpointSelector) error {
	if s.LabelSelector == nil || s.MatchLabels[labelNamespace] == "" {
		return errors.New("a selector names no namespace")
	}
	return nil
}

// narrowNetwork refuses an exception that is wider than the network: Sanitize
// looks only at where it begins.
func narrowNetwork(c api.CIDRRule) error {
	network, err := netip.ParsePrefix(string(c.Cidr))
	if err != nil {
		return fmt.Errorf("%q is not a CIDR", c.Cidr)
	}
	for _, s := range c.ExceptCIDRs {
		except, err := netip.ParsePrefix(string(s))
		if err != nil {
			return fmt.Errorf("%q is not a CIDR", s)
		}
		if except.Bits() < network.Bits() || !network.Contains(except.Addr()) {
			return fmt.Errorf("%s is not inside %s", s, c.Cidr)
		}
	}
	return nil
}

func narrowHost(h api.FQDNSelector) error {
	if h.MatchName == "" && h.MatchPattern == "" {
		return errors.New("a host has neither a name nor a pattern")
	}
	return nil
}

func narrowPorts(p api.PortRule) error {
	if len(p.Ports) == 0 {
		return errors.New("a port rule names no port, which Cilium reads as every port")
	}
	if p.Rules != nil {
		for _, port := range p.Ports {
			if port.Port != "53" || port.EndPort != 0 {
				return fmt.Errorf("DNS rules are for port 53, not %s", port.Port)
			}
		}
	}
	return nil
}
