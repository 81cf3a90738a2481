// Package network turns what a namespace asks for into Cilium's rules, and holds
// every CiliumNetworkPolicy to what Cilium's agent takes: the types and the
// Sanitize are Cilium's own.
//
// It opens exactly what is asked for. What it cannot open — a peer whose
// agreement is not mutual — it leaves out as a whole rule: in Cilium a rule
// without sources means everyone, so a rule is never emptied.
package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/cilium/pkg/k8s/apis/cilium.io"
	slim "github.com/cilium/cilium/pkg/k8s/slim/k8s/apis/meta/v1"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy/api"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Labels of endpoints that Cilium knows from Kubernetes.
const (
	fromKubernetes       = labels.LabelSourceK8s + ":"
	labelNamespace       = fromKubernetes + ciliumio.PodNamespaceLabel
	labelNamespaceTenant = fromKubernetes + ciliumio.PodNamespaceMetaLabels + "." + v1alpha1.LabelTenant
	labelDNS             = fromKubernetes + "k8s-app"
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

// Compile returns the rules that open what is asked for, and nothing else. Each
// has passed Cilium's Sanitize in the form in which it is returned. An error
// begins with the field that is wrong.
func Compile(r Request) (Trees, error) {
	out := Trees{Ingress: []any{}, Egress: []any{}}
	for i, asked := range r.Namespace.Spec.Network.Ingress {
		rules, err := r.ingress(asked)
		if err != nil {
			return Trees{}, fmt.Errorf("spec.network.ingress[%d].%w", i, err)
		}
		if err := out.ingress(rules...); err != nil {
			return Trees{}, fmt.Errorf("spec.network.ingress[%d]: %w", i, err)
		}
	}
	for i, asked := range r.Namespace.Spec.Network.Egress {
		rules, err := r.egress(asked)
		if err != nil {
			return Trees{}, fmt.Errorf("spec.network.egress[%d].%w", i, err)
		}
		if err := out.egress(rules...); err != nil {
			return Trees{}, fmt.Errorf("spec.network.egress[%d]: %w", i, err)
		}
	}
	for i, asked := range r.Tenant.Spec.Network.Egress {
		rules, err := r.egress(asked)
		if err == nil {
			err = out.egress(rules...)
		}
		if err != nil {
			return Trees{}, fmt.Errorf("spec.network.egress[%d] of Tenant %q: %w", i, r.Tenant.Name, err)
		}
	}
	if out.namesHosts {
		if err := out.egress(lookups()); err != nil {
			return Trees{}, fmt.Errorf("spec.network.egress: the lookups of host names: %w", err)
		}
	}
	return out, nil
}

// ingress is one Cilium rule for each kind of source: Cilium refuses to mix them.
func (r Request) ingress(asked v1alpha1.IngressRule) ([]api.IngressRule, error) {
	ports, err := portRules(asked.Ports)
	if err != nil {
		return nil, err
	}
	var endpoints []api.EndpointSelector
	var networks api.CIDRRuleSlice
	var entities api.EntitySlice
	for i, from := range asked.From {
		switch {
		case from.IngressController:
			endpoints = append(endpoints, r.ingressController())
			entities = api.EntitySlice{api.EntityIngress}
		case from.Namespace != "":
			if !isNamespace(from.Namespace) {
				return nil, fmt.Errorf("from[%d].namespace: %q is not the name of a namespace; write one such as acme-web", i, from.Namespace)
			}
			if s, ok := r.namespace(from.Tenant, from.Namespace); ok {
				endpoints = append(endpoints, s)
			}
		case from.CIDR != "":
			network, err := cidr(from.CIDR)
			if err != nil {
				return nil, fmt.Errorf("from[%d].cidr: %w", i, err)
			}
			networks = append(networks, network)
		default:
			return nil, fmt.Errorf("from[%d]: names no source; name exactly one of ingressController: true, namespace, cidr", i)
		}
	}
	var rules []api.IngressRule
	if len(endpoints) > 0 {
		rules = append(rules, api.IngressRule{IngressCommonRule: api.IngressCommonRule{FromEndpoints: endpoints}, ToPorts: ports})
	}
	if len(entities) > 0 {
		rules = append(rules, api.IngressRule{IngressCommonRule: api.IngressCommonRule{FromEntities: entities}, ToPorts: ports})
	}
	if len(networks) > 0 {
		rules = append(rules, api.IngressRule{IngressCommonRule: api.IngressCommonRule{FromCIDRSet: networks}, ToPorts: ports})
	}
	return rules, nil
}

// egress is one Cilium rule for each kind of destination.
func (r Request) egress(asked v1alpha1.EgressRule) ([]api.EgressRule, error) {
	ports, err := portRules(asked.Ports)
	if err != nil {
		return nil, err
	}
	var endpoints []api.EndpointSelector
	var networks api.CIDRRuleSlice
	var hosts api.FQDNSelectorSlice
	for i, to := range asked.To {
		switch {
		case to.Namespace != "":
			if !isNamespace(to.Namespace) {
				return nil, fmt.Errorf("to[%d].namespace: %q is not the name of a namespace; write one such as acme-web", i, to.Namespace)
			}
			if s, ok := r.namespace(to.Tenant, to.Namespace); ok {
				endpoints = append(endpoints, s)
			}
		case to.CIDR != "":
			network, err := cidr(to.CIDR)
			if err != nil {
				return nil, fmt.Errorf("to[%d].cidr: %w", i, err)
			}
			networks = append(networks, network)
		case to.FQDN != "":
			host, err := host(to.FQDN)
			if err != nil {
				return nil, fmt.Errorf("to[%d].fqdn: %w", i, err)
			}
			hosts = append(hosts, host)
		default:
			return nil, fmt.Errorf("to[%d]: names no destination; name exactly one of namespace, cidr, fqdn", i)
		}
	}
	var rules []api.EgressRule
	if len(endpoints) > 0 {
		rules = append(rules, api.EgressRule{EgressCommonRule: api.EgressCommonRule{ToEndpoints: endpoints}, ToPorts: ports})
	}
	if len(networks) > 0 {
		rules = append(rules, api.EgressRule{EgressCommonRule: api.EgressCommonRule{ToCIDRSet: networks}, ToPorts: ports})
	}
	if len(hosts) > 0 {
		rules = append(rules, api.EgressRule{ToFQDNs: hosts, ToPorts: ports})
	}
	return rules, nil
}

// namespace selects the Pods of a namespace that belongs to the tenant itself or
// to a peer. The namespace's tenant label is part of it, so that a name alone,
// whoever has it, opens nothing.
func (r Request) namespace(tenant, namespace string) (api.EndpointSelector, bool) {
	if tenant == "" {
		tenant = r.Tenant.Name
	}
	if tenant != r.Tenant.Name && !slices.Contains(r.Peers, tenant) {
		return api.EndpointSelector{}, false
	}
	return selector(map[string]string{labelNamespace: namespace, labelNamespaceTenant: tenant}), true
}

func (r Request) ingressController() api.EndpointSelector {
	of := map[string]string{labelNamespace: cmp.Or(r.IngressController.Namespace, "ingress-nginx")}
	for k, v := range r.IngressController.PodLabels {
		of[fromKubernetes+k] = v
	}
	return selector(of)
}

// selector matches endpoints by all of the labels. It is not one of Cilium's
// constructors, which write the keys as the agent has them inside.
func selector(of map[string]string) api.EndpointSelector {
	return api.EndpointSelector{LabelSelector: &slim.LabelSelector{MatchLabels: of}}
}

// isNamespace is true of what a namespace can be called.
func isNamespace(name string) bool {
	return len(validation.IsDNS1123Label(name)) == 0
}

// Link-local networks hold the metadata services of clouds: never opened.
var linkLocal = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}

func cidr(s string) (api.CIDRRule, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return api.CIDRRule{}, fmt.Errorf("%q is not a CIDR; write one such as 203.0.113.0/24 or 2001:db8::/32", s)
	}
	if prefix.Addr().Is4In6() {
		return api.CIDRRule{}, fmt.Errorf("%q holds IPv4 addresses; write them as an IPv4 CIDR", s)
	}
	rule := api.CIDRRule{Cidr: api.CIDR(prefix.Masked().String())}
	for _, local := range linkLocal {
		switch {
		case !prefix.Overlaps(local):
		case prefix.Bits() >= local.Bits():
			return api.CIDRRule{}, fmt.Errorf("%q is link-local, where clouds keep their metadata services; it is never opened", s)
		default:
			rule.ExceptCIDRs = append(rule.ExceptCIDRs, api.CIDR(local.String()))
		}
	}
	return rule, nil
}

var fqdnShape = regexp.MustCompile(`^([*][.])?([a-z0-9_]([-a-z0-9_]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$`)

func host(fqdn string) (api.FQDNSelector, error) {
	switch {
	case len(fqdn) > maxHost:
		return api.FQDNSelector{}, fmt.Errorf("%q is longer than the %d characters that a host name can have", fqdn, maxHost)
	case !fqdnShape.MatchString(fqdn):
		return api.FQDNSelector{}, fmt.Errorf("%q is not a full host name in lower case; write one such as api.stripe.com or *.example.com", fqdn)
	case strings.HasSuffix(fqdn, ".cluster.local"), strings.HasSuffix(fqdn, ".svc"):
		return api.FQDNSelector{}, fmt.Errorf("%q is inside the cluster; name the namespace instead", fqdn)
	case fqdn[0] == '*':
		return api.FQDNSelector{MatchPattern: fqdn}, nil
	}
	return api.FQDNSelector{MatchName: fqdn}, nil
}

// Bounds of Cilium's: of ports in one PortRule, and of a host name.
const (
	maxPorts = 40
	maxHost  = 255
)

// portRules is nil for no ports, which opens every port; it never holds a rule
// without ports, which would as well.
func portRules(asked []v1alpha1.Port) (api.PortRules, error) {
	var rules api.PortRules
	for chunk := range slices.Chunk(asked, maxPorts) {
		rule := api.PortRule{Ports: make([]api.PortProtocol, 0, len(chunk))}
		for _, p := range chunk {
			port, err := portOf(p)
			if err != nil {
				return nil, fmt.Errorf("ports: %w", err)
			}
			rule.Ports = append(rule.Ports, port)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// portOf refuses more than Sanitize does, which looks at no range's end.
func portOf(p v1alpha1.Port) (api.PortProtocol, error) {
	port := api.PortProtocol{Port: strconv.Itoa(int(p.Port)), Protocol: cmp.Or(api.L4Proto(p.Protocol), api.ProtoTCP)}
	if p.EndPort != p.Port {
		port.EndPort = p.EndPort
	}
	switch {
	case p.Port < 1 || p.Port > lastPort:
		return port, fmt.Errorf("\"%d\" is not a port; write 1 to %d", p.Port, lastPort)
	case p.EndPort < 0 || p.EndPort > lastPort:
		return port, fmt.Errorf("endPort: %d is not a port; write 1 to %d", p.EndPort, lastPort)
	case p.EndPort != 0 && p.EndPort < p.Port:
		return port, fmt.Errorf("endPort %d is below port %d", p.EndPort, p.Port)
	case !slices.Contains(api.SupportedProtocols(), port.Protocol):
		return port, fmt.Errorf("%q is not a protocol; use TCP, UDP or SCTP", port.Protocol)
	}
	return port, nil
}

const lastPort = 65535

// lookups lets Cilium see the answers of the cluster's DNS: without, it cannot
// know the addresses of a host name.
func lookups() api.EgressRule {
	return api.EgressRule{
		EgressCommonRule: api.EgressCommonRule{
			ToEndpoints: []api.EndpointSelector{selector(map[string]string{labelNamespace: "kube-system", labelDNS: "kube-dns"})},
		},
		ToPorts: api.PortRules{{
			Ports: []api.PortProtocol{{Port: "53", Protocol: api.ProtoUDP}, {Port: "53", Protocol: api.ProtoTCP}},
			Rules: &api.L7Rules{DNS: api.PortRulesDNS{{MatchPattern: "*"}}},
		}},
	}
}
