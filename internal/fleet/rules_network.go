package fleet

import (
	"fmt"
	"net/netip"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

func (f *findings) ingress(at string, rules []v1alpha1.IngressRule) {
	for i, rule := range rules {
		at := fmt.Sprintf("%s[%d]", at, i)
		for j, from := range rule.From {
			f.check(fmt.Sprintf("%s.from[%d].cidr", at, j), checkCIDR(from.CIDR))
		}
		f.ports(at+".ports", rule.Ports)
	}
}

func (f *findings) egress(at string, rules []v1alpha1.EgressRule) {
	for i, rule := range rules {
		at := fmt.Sprintf("%s[%d]", at, i)
		for j, to := range rule.To {
			f.check(fmt.Sprintf("%s.to[%d].cidr", at, j), checkCIDR(to.CIDR))
			f.check(fmt.Sprintf("%s.to[%d].fqdn", at, j), checkLabelLengths(to.FQDN))
		}
		f.ports(at+".ports", rule.Ports)
	}
}

// ports wants ranges of one protocol apart from each other.
func (f *findings) ports(at string, ports []v1alpha1.Port) {
	for i, p := range ports {
		for j, q := range ports[:i] {
			if p.Protocol == q.Protocol && p.Port <= max(q.Port, q.EndPort) && q.Port <= max(p.Port, p.EndPort) {
				f.at(fmt.Sprintf("%s[%d].port", at, i), fmt.Sprintf("%s %d is in ports[%d] too; keep one", p.Protocol, p.Port, j))
				break
			}
		}
	}
}

// linkLocal are the addresses that are never opened: clouds keep their metadata
// services there.
var linkLocal = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
}

// checkCIDR wants a range outside the cluster. One that holds the link-local
// addresses among others is fine: they are taken out when it is rendered.
func checkCIDR(cidr string) string {
	if message := checkRange(cidr); message != "" || cidr == "" {
		return message
	}
	p := netip.MustParsePrefix(cidr)
	for _, never := range linkLocal {
		if never.Contains(p.Addr()) && p.Bits() >= never.Bits() {
			return fmt.Sprintf("%s is link-local, where clouds keep their metadata services, and is never opened; remove it", cidr)
		}
	}
	return ""
}

// checkRange wants a range in its shortest form.
func checkRange(cidr string) string {
	if cidr == "" {
		return ""
	}
	p, err := netip.ParsePrefix(cidr)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not a range; write a CIDR such as 203.0.113.0/24 or 2001:db8::/32", shorten(cidr))
	case p.Addr().Is4In6():
		return fmt.Sprintf("%s is an IPv4 range in IPv6 form; write it as IPv4", cidr)
	case p.Masked() != p:
		return fmt.Sprintf("%s has bits set beyond its mask; write %s", cidr, p.Masked())
	}
	return ""
}

func overlap(a, b string) bool {
	p, err := netip.ParsePrefix(a)
	if err != nil {
		return false
	}
	q, err := netip.ParsePrefix(b)
	return err == nil && p.Overlaps(q)
}

// address is the IP address that a host is written as, if it is one.
func address(host string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil
}
