package network

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation"
)

// EntityIngress is Cilium's own ingress controller.
const EntityIngress = "ingress"

// maxPorts is how many ports Cilium takes in one PortRule.
const maxPorts = 40

// Rules is the part of a CiliumNetworkPolicy that opens traffic: as much of
// Cilium's own types as is written here, and no more.
type Rules struct {
	Ingress []IngressRule
	Egress  []EgressRule
}

// IngressRule opens ports to sources of one kind.
type IngressRule struct {
	FromEndpoints []Selector
	FromCIDRSet   []CIDRRule
	FromEntities  []string
	ToPorts       []PortRule
}

// EgressRule opens ports of destinations of one kind.
type EgressRule struct {
	ToEndpoints []Selector
	ToCIDRSet   []CIDRRule
	ToFQDNs     []HostSelector
	ToPorts     []PortRule
}

// Selector matches endpoints by all of its labels.
type Selector map[string]string

// CIDRRule is a network without some of its parts.
type CIDRRule struct {
	CIDR   string
	Except []string
}

// HostSelector is a host name, or a pattern of such.
type HostSelector struct {
	MatchName    string
	MatchPattern string
}

// PortRule is ports, and the DNS lookups that are allowed on them.
type PortRule struct {
	Ports []Port
	DNS   []HostSelector
}

// Port is a port or a range.
type Port struct {
	Port     string
	EndPort  int32
	Protocol string
}

// Sanitize refuses what Cilium's own Sanitize refuses, and also rules without a
// source or a destination: Cilium reads those as everyone.
func (r Rules) Sanitize() error {
	for i, rule := range r.Ingress {
		if err := rule.sanitize(); err != nil {
			return fmt.Errorf("ingress rule %d: %w", i, err)
		}
	}
	for i, rule := range r.Egress {
		if err := rule.sanitize(); err != nil {
			return fmt.Errorf("egress rule %d: %w", i, err)
		}
	}
	return nil
}

func (r IngressRule) sanitize() error {
	return cmp.Or(
		oneKind(len(r.FromEndpoints), len(r.FromCIDRSet), len(r.FromEntities)),
		each(r.FromEndpoints, Selector.sanitize),
		each(r.FromCIDRSet, CIDRRule.sanitize),
		each(r.FromEntities, entity),
		each(r.ToPorts, func(p PortRule) error {
			if len(p.DNS) > 0 {
				return errors.New("DNS rules are for egress only")
			}
			return p.sanitize()
		}),
	)
}

func (r EgressRule) sanitize() error {
	return cmp.Or(
		oneKind(len(r.ToEndpoints), len(r.ToCIDRSet), len(r.ToFQDNs)),
		each(r.ToEndpoints, Selector.sanitize),
		each(r.ToCIDRSet, CIDRRule.sanitize),
		each(r.ToFQDNs, HostSelector.sanitize),
		each(r.ToPorts, PortRule.sanitize),
	)
}

func oneKind(counts ...int) error {
	kinds := len(counts) - len(slices.DeleteFunc(slices.Clone(counts), func(n int) bool { return n > 0 }))
	switch kinds {
	case 0:
		return errors.New("the rule names nobody, which Cilium reads as everyone")
	case 1:
		return nil
	}
	return errors.New("the rule mixes endpoints, networks and names, which Cilium refuses")
}

func each[T any](items []T, check func(T) error) error {
	for _, item := range items {
		if err := check(item); err != nil {
			return err
		}
	}
	return nil
}

func (s Selector) sanitize() error {
	if s[labelNamespace] == "" {
		return errors.New("a selector names no namespace")
	}
	for k, v := range s {
		if errs := validation.IsValidLabelValue(v); len(errs) > 0 {
			return fmt.Errorf("%q is not a value of label %s: %s", v, k, errs[0])
		}
	}
	return nil
}

func (c CIDRRule) sanitize() error {
	network, err := netip.ParsePrefix(c.CIDR)
	if err != nil {
		return fmt.Errorf("%q is not a CIDR", c.CIDR)
	}
	for _, s := range c.Except {
		except, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("%q is not a CIDR", s)
		}
		if except.Bits() < network.Bits() || !network.Contains(except.Addr()) {
			return fmt.Errorf("%s is not inside %s", s, c.CIDR)
		}
	}
	return nil
}

func entity(name string) error {
	if name != EntityIngress {
		return fmt.Errorf("%q is not an entity that a tenant may name", name)
	}
	return nil
}

var (
	hostName    = regexp.MustCompile(`^([-a-zA-Z0-9_]+[.]?)+$`)
	hostPattern = regexp.MustCompile(`^([-a-zA-Z0-9_*]+[.]?)+$`)
)

func (h HostSelector) sanitize() error {
	switch {
	case h.MatchName != "" && h.MatchPattern != "":
		return errors.New("a host is matched by its name or by a pattern, not by both")
	case len(h.MatchName)+len(h.MatchPattern) > 255:
		return fmt.Errorf("%q is longer than 255 characters", h.MatchName+h.MatchPattern)
	case h.MatchName != "" && hostName.MatchString(h.MatchName):
		return nil
	case h.MatchPattern != "" && hostPattern.MatchString(h.MatchPattern):
		return nil
	}
	return fmt.Errorf("%q is not a host name or a pattern of such", h.MatchName+h.MatchPattern)
}

func (p PortRule) sanitize() error {
	switch {
	case len(p.Ports) == 0:
		return errors.New("a port rule names no port, which Cilium reads as every port")
	case len(p.Ports) > maxPorts:
		return fmt.Errorf("a port rule has %d ports; Cilium takes %d", len(p.Ports), maxPorts)
	}
	if len(p.DNS) > 0 {
		for _, port := range p.Ports {
			if port.Port != "53" || port.EndPort != 0 {
				return fmt.Errorf("DNS rules are for port 53, not %s", port.Port)
			}
		}
	}
	return cmp.Or(each(p.Ports, Port.sanitize), each(p.DNS, HostSelector.sanitize))
}

func (p Port) sanitize() error {
	n, err := strconv.ParseUint(p.Port, 10, 16)
	switch {
	case err != nil || n == 0:
		return fmt.Errorf("ports: %q is not a port; write 1 to 65535", p.Port)
	case p.EndPort < 0 || p.EndPort > 65535:
		return fmt.Errorf("ports: endPort: %d is not a port; write 1 to 65535", p.EndPort)
	case p.EndPort != 0 && p.EndPort < int32(n):
		return fmt.Errorf("ports: endPort %d is below port %s", p.EndPort, p.Port)
	}
	switch p.Protocol {
	case "TCP", "UDP", "SCTP":
		return nil
	}
	return fmt.Errorf("ports: %q is not a protocol; use TCP, UDP or SCTP", p.Protocol)
}

// namesHosts reports whether a rule needs Cilium to see DNS answers.
func (r Rules) namesHosts() bool {
	return slices.ContainsFunc(r.Egress, func(e EgressRule) bool { return len(e.ToFQDNs) > 0 })
}
