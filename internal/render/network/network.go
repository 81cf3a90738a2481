// Package network turns what a namespace asks for into Cilium's rules.
//
// It opens exactly what is asked for. What it cannot open — a peer whose
// agreement is not mutual — it leaves out as a whole rule: in Cilium a rule
// without sources means everyone, so a rule is never emptied.
package network

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Labels of endpoints that Cilium knows from Kubernetes.
const (
	labelNamespace       = "k8s:io.kubernetes.pod.namespace"
	labelNamespaceTenant = "k8s:io.cilium.k8s.namespace.labels." + v1alpha1.LabelTenant
	labelDNS             = "k8s:k8s-app"
)

// Request is everything that the rules of a namespace depend on.
type Request struct {
	Tenant    *v1alpha1.Tenant
	Namespace *v1alpha1.TenantNamespace
	// Peers are the tenants whose peering is mutual.
	Peers []string
	// IngressController is where the profile says that it runs.
	IngressController v1alpha1.IngressController
}

// Compile returns the rules that open what is asked for, and nothing else. They
// have passed Sanitize.
func Compile(r Request) (Rules, error) {
	var rules Rules
	for i, rule := range r.Namespace.Spec.Network.Ingress {
		if err := r.ingress(&rules, rule); err != nil {
			return Rules{}, fmt.Errorf("spec.network.ingress[%d].%w", i, err)
		}
	}
	for i, rule := range r.Namespace.Spec.Network.Egress {
		if err := r.egress(&rules, rule); err != nil {
			return Rules{}, fmt.Errorf("spec.network.egress[%d].%w", i, err)
		}
	}
	for i, rule := range r.Tenant.Spec.Network.Egress {
		if err := r.egress(&rules, rule); err != nil {
			return Rules{}, fmt.Errorf("spec.network.egress[%d] of Tenant %q: %w", i, r.Tenant.Name, err)
		}
	}
	if rules.namesHosts() {
		rules.Egress = append(rules.Egress, lookups())
	}
	if err := rules.Sanitize(); err != nil {
		return Rules{}, err
	}
	return rules, nil
}

// ingress adds one Cilium rule for each kind of source: Cilium refuses to mix them.
func (r Request) ingress(rules *Rules, rule v1alpha1.IngressRule) error {
	ports, err := portRules(rule.Ports)
	if err != nil {
		return err
	}
	var endpoints []Selector
	var networks []CIDRRule
	var entities []string
	for i, from := range rule.From {
		switch {
		case from.IngressController:
			endpoints = append(endpoints, r.ingressController())
			entities = []string{EntityIngress}
		case from.Namespace != "":
			if s, ok := r.namespace(from.Tenant, from.Namespace); ok {
				endpoints = append(endpoints, s)
			}
		case from.CIDR != "":
			network, err := cidr(from.CIDR)
			if err != nil {
				return fmt.Errorf("from[%d].cidr: %w", i, err)
			}
			networks = append(networks, network)
		default:
			return fmt.Errorf("from[%d]: names no source; name exactly one of ingressController: true, namespace, cidr", i)
		}
	}
	if len(endpoints) > 0 {
		rules.Ingress = append(rules.Ingress, IngressRule{FromEndpoints: endpoints, ToPorts: ports})
	}
	if len(entities) > 0 {
		rules.Ingress = append(rules.Ingress, IngressRule{FromEntities: entities, ToPorts: ports})
	}
	if len(networks) > 0 {
		rules.Ingress = append(rules.Ingress, IngressRule{FromCIDRSet: networks, ToPorts: ports})
	}
	return nil
}

// egress adds one Cilium rule for each kind of destination.
func (r Request) egress(rules *Rules, rule v1alpha1.EgressRule) error {
	ports, err := portRules(rule.Ports)
	if err != nil {
		return err
	}
	var endpoints []Selector
	var networks []CIDRRule
	var hosts []HostSelector
	for i, to := range rule.To {
		switch {
		case to.Namespace != "":
			if s, ok := r.namespace(to.Tenant, to.Namespace); ok {
				endpoints = append(endpoints, s)
			}
		case to.CIDR != "":
			network, err := cidr(to.CIDR)
			if err != nil {
				return fmt.Errorf("to[%d].cidr: %w", i, err)
			}
			networks = append(networks, network)
		case to.FQDN != "":
			host, err := host(to.FQDN)
			if err != nil {
				return fmt.Errorf("to[%d].fqdn: %w", i, err)
			}
			hosts = append(hosts, host)
		default:
			return fmt.Errorf("to[%d]: names no destination; name exactly one of namespace, cidr, fqdn", i)
		}
	}
	if len(endpoints) > 0 {
		rules.Egress = append(rules.Egress, EgressRule{ToEndpoints: endpoints, ToPorts: ports})
	}
	if len(networks) > 0 {
		rules.Egress = append(rules.Egress, EgressRule{ToCIDRSet: networks, ToPorts: ports})
	}
	if len(hosts) > 0 {
		rules.Egress = append(rules.Egress, EgressRule{ToFQDNs: hosts, ToPorts: ports})
	}
	return nil
}

// namespace selects the Pods of a namespace that belongs to the tenant itself or
// to a peer. The namespace's tenant label is part of it, so that a name alone,
// whoever has it, opens nothing.
func (r Request) namespace(tenant, namespace string) (Selector, bool) {
	if tenant == "" {
		tenant = r.Tenant.Name
	}
	if tenant != r.Tenant.Name && !slices.Contains(r.Peers, tenant) {
		return nil, false
	}
	return Selector{labelNamespace: namespace, labelNamespaceTenant: tenant}, true
}

func (r Request) ingressController() Selector {
	s := Selector{labelNamespace: r.IngressController.Namespace}
	if s[labelNamespace] == "" {
		s[labelNamespace] = "ingress-nginx"
	}
	for k, v := range r.IngressController.PodLabels {
		s["k8s:"+k] = v
	}
	return s
}

// Link-local networks hold the metadata services of clouds: never opened.
var linkLocal = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}

func cidr(s string) (CIDRRule, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return CIDRRule{}, fmt.Errorf("%q is not a CIDR; write one such as 203.0.113.0/24 or 2001:db8::/32", s)
	}
	if prefix.Addr().Is4In6() {
		return CIDRRule{}, fmt.Errorf("%q holds IPv4 addresses; write them as an IPv4 CIDR", s)
	}
	rule := CIDRRule{CIDR: prefix.Masked().String()}
	for _, local := range linkLocal {
		switch {
		case !prefix.Overlaps(local):
		case prefix.Bits() >= local.Bits():
			return CIDRRule{}, fmt.Errorf("%q is link-local, where clouds keep their metadata services; it is never opened", s)
		default:
			rule.Except = append(rule.Except, local.String())
		}
	}
	return rule, nil
}

var fqdnShape = regexp.MustCompile(`^([*][.])?([a-z0-9_]([-a-z0-9_]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$`)

func host(fqdn string) (HostSelector, error) {
	switch {
	case !fqdnShape.MatchString(fqdn):
		return HostSelector{}, fmt.Errorf("%q is not a full host name in lower case; write one such as api.stripe.com or *.example.com", fqdn)
	case strings.HasSuffix(fqdn, ".cluster.local"), strings.HasSuffix(fqdn, ".svc"):
		return HostSelector{}, fmt.Errorf("%q is inside the cluster; name the namespace instead", fqdn)
	case fqdn[0] == '*':
		return HostSelector{MatchPattern: fqdn}, nil
	}
	return HostSelector{MatchName: fqdn}, nil
}

// portRules is nil for no ports, which opens every port; it never holds a rule
// without ports, which would as well.
func portRules(ports []v1alpha1.Port) ([]PortRule, error) {
	var rules []PortRule
	for chunk := range slices.Chunk(ports, maxPorts) {
		var rule PortRule
		for _, p := range chunk {
			port := Port{Port: strconv.Itoa(int(p.Port)), Protocol: p.Protocol}
			if p.EndPort != p.Port {
				port.EndPort = p.EndPort
			}
			if port.Protocol == "" {
				port.Protocol = "TCP"
			}
			if err := port.sanitize(); err != nil {
				return nil, err
			}
			rule.Ports = append(rule.Ports, port)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// lookups lets Cilium see the answers of the cluster's DNS: without, it cannot
// know the addresses of a host name.
func lookups() EgressRule {
	return EgressRule{
		ToEndpoints: []Selector{{labelNamespace: "kube-system", labelDNS: "kube-dns"}},
		ToPorts: []PortRule{{
			Ports: []Port{{Port: "53", Protocol: "UDP"}, {Port: "53", Protocol: "TCP"}},
			DNS:   []HostSelector{{MatchPattern: "*"}},
		}},
	}
}
