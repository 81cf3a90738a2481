package network

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	slim "github.com/cilium/cilium/pkg/k8s/slim/k8s/apis/meta/v1"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// compile returns the rules of spec.network, written as YAML, for acme, whose
// peering with globex is mutual and with initech is not.
func compile(t *testing.T, spec string) (api.Rule, error) {
	t.Helper()
	ns := &v1alpha1.TenantNamespace{}
	if err := yaml.UnmarshalStrict([]byte(spec), &ns.Spec.Network); err != nil {
		t.Fatal(err)
	}
	tenant := &v1alpha1.Tenant{}
	tenant.Name = "acme"
	trees, err := Compile(Request{
		Tenant:            tenant,
		Namespace:         ns,
		Peers:             []string{"globex"},
		IngressController: v1alpha1.IngressController{Namespace: "ingress", PodLabels: map[string]string{"app": "nginx"}},
	})
	return asCilium(t, trees), err
}

// asCilium reads rules as Cilium does.
func asCilium(t testing.TB, trees Trees) api.Rule {
	t.Helper()
	data, err := json.Marshal(map[string]any{"ingress": trees.Ingress, "egress": trees.Egress})
	if err != nil {
		t.Fatal(err)
	}
	var rule api.Rule
	if err := yaml.UnmarshalStrict(data, &rule); err != nil {
		t.Fatal(err)
	}
	if len(rule.Ingress) == 0 {
		rule.Ingress = nil
	}
	if len(rule.Egress) == 0 {
		rule.Egress = nil
	}
	return rule
}

// inside leaves out what Cilium keeps for itself.
var inside = cmpopts.IgnoreUnexported(api.EndpointSelector{})

func acme(namespace string) api.EndpointSelector { return of("acme", namespace) }

func of(tenant, namespace string) api.EndpointSelector {
	return matching(map[string]string{
		"k8s:io.kubernetes.pod.namespace":                                namespace,
		"k8s:io.cilium.k8s.namespace.labels.aetherplatform.cloud/tenant": tenant,
	})
}

func matching(labels map[string]string) api.EndpointSelector {
	return api.EndpointSelector{LabelSelector: &slim.LabelSelector{MatchLabels: labels}}
}

func from(selectors ...api.EndpointSelector) api.IngressCommonRule {
	return api.IngressCommonRule{FromEndpoints: selectors}
}

func to(selectors ...api.EndpointSelector) api.EgressCommonRule {
	return api.EgressCommonRule{ToEndpoints: selectors}
}

func TestExactlyWhatIsAskedForIsOpened(t *testing.T) {
	tcp := func(port string) api.PortRules {
		return api.PortRules{{Ports: []api.PortProtocol{{Port: port, Protocol: "TCP"}}}}
	}
	tests := map[string]struct {
		why  string
		spec string
		want api.Rule
	}{
		"nothing": {
			why:  "a namespace without rules opens nothing",
			spec: `{}`,
		},
		"a namespace of the tenant": {
			why:  "its name alone, in another tenant's hands, must open nothing",
			spec: `ingress: [{from: [{namespace: acme-web}], ports: [{port: 8443}]}]`,
			want: api.Rule{Ingress: []api.IngressRule{{IngressCommonRule: from(acme("acme-web")), ToPorts: tcp("8443")}}},
		},
		"a namespace that is named like another tenant's": {
			why:  "without a peer it is taken as the tenant's own, whose label the other does not carry",
			spec: `egress: [{to: [{namespace: initech-db}]}]`,
			want: api.Rule{Egress: []api.EgressRule{{EgressCommonRule: to(acme("initech-db"))}}},
		},
		"a peer": {
			why:  "both sides have agreed",
			spec: `egress: [{to: [{tenant: globex, namespace: globex-api}], ports: [{port: 443}]}]`,
			want: api.Rule{Egress: []api.EgressRule{{EgressCommonRule: to(of("globex", "globex-api")), ToPorts: tcp("443")}}},
		},
		"a peer that has not agreed, among others": {
			why:  "the others are still opened",
			spec: `ingress: [{from: [{tenant: initech, namespace: initech-web}, {namespace: acme-web}]}]`,
			want: api.Rule{Ingress: []api.IngressRule{{IngressCommonRule: from(acme("acme-web"))}}},
		},
		"only a peer that has not agreed": {
			why:  "a rule with an empty list of sources would open the namespace to everyone",
			spec: `{ingress: [{from: [{tenant: initech, namespace: initech-web}], ports: [{port: 80}]}], egress: [{to: [{tenant: initech, namespace: initech-web}]}]}`,
		},
		"the ingress controller": {
			why:  "it is Pods where the profile says, or Cilium's own; Cilium refuses to mix the two in a rule",
			spec: `ingress: [{from: [{ingressController: true}], ports: [{port: 80}]}]`,
			want: api.Rule{Ingress: []api.IngressRule{
				{IngressCommonRule: from(matching(map[string]string{"k8s:io.kubernetes.pod.namespace": "ingress", "k8s:app": "nginx"})), ToPorts: tcp("80")},
				{IngressCommonRule: api.IngressCommonRule{FromEntities: api.EntitySlice{"ingress"}}, ToPorts: tcp("80")},
			}},
		},
		"every address": {
			why:  "clouds keep their metadata services on link-local addresses",
			spec: `egress: [{to: [{cidr: 0.0.0.0/0}, {cidr: "::/0"}]}]`,
			want: api.Rule{Egress: []api.EgressRule{{EgressCommonRule: api.EgressCommonRule{ToCIDRSet: api.CIDRRuleSlice{
				{Cidr: "0.0.0.0/0", ExceptCIDRs: []api.CIDR{"169.254.0.0/16"}},
				{Cidr: "::/0", ExceptCIDRs: []api.CIDR{"fe80::/10"}},
			}}}}},
		},
		"an address with bits below the mask": {
			why:  "two spellings of one network are one rule",
			spec: `ingress: [{from: [{cidr: 203.0.113.7/24}]}]`,
			want: api.Rule{Ingress: []api.IngressRule{{IngressCommonRule: api.IngressCommonRule{FromCIDRSet: api.CIDRRuleSlice{{Cidr: "203.0.113.0/24"}}}}}},
		},
		"host names": {
			why:  "Cilium knows their addresses only when it sees the lookups",
			spec: `egress: [{to: [{fqdn: api.stripe.com}, {fqdn: "*.example.com"}], ports: [{port: 443}]}]`,
			want: api.Rule{Egress: []api.EgressRule{
				{ToFQDNs: api.FQDNSelectorSlice{{MatchName: "api.stripe.com"}, {MatchPattern: "*.example.com"}}, ToPorts: tcp("443")},
				{
					EgressCommonRule: to(matching(map[string]string{"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns"})),
					ToPorts: api.PortRules{{
						Ports: []api.PortProtocol{{Port: "53", Protocol: "UDP"}, {Port: "53", Protocol: "TCP"}},
						Rules: &api.L7Rules{DNS: api.PortRulesDNS{{MatchPattern: "*"}}},
					}},
				},
			}},
		},
		"one of each destination": {
			why:  "Cilium refuses to mix them in a rule",
			spec: `egress: [{to: [{namespace: acme-db}, {cidr: 203.0.113.0/24}], ports: [{port: 5432}]}]`,
			want: api.Rule{Egress: []api.EgressRule{
				{EgressCommonRule: to(acme("acme-db")), ToPorts: tcp("5432")},
				{EgressCommonRule: api.EgressCommonRule{ToCIDRSet: api.CIDRRuleSlice{{Cidr: "203.0.113.0/24"}}}, ToPorts: tcp("5432")},
			}},
		},
		"a range of ports": {
			why:  "a range of one is a port",
			spec: `ingress: [{from: [{namespace: acme-web}], ports: [{port: 8000, endPort: 8080, protocol: UDP}, {port: 9, endPort: 9}]}]`,
			want: api.Rule{Ingress: []api.IngressRule{{
				IngressCommonRule: from(acme("acme-web")),
				ToPorts:           api.PortRules{{Ports: []api.PortProtocol{{Port: "8000", EndPort: 8080, Protocol: "UDP"}, {Port: "9", Protocol: "TCP"}}}},
			}}},
		},
		"no ports": {
			why:  "left out, ports mean every port; a list of none means the same to Cilium, and is never written",
			spec: `ingress: [{from: [{namespace: acme-web}], ports: []}]`,
			want: api.Rule{Ingress: []api.IngressRule{{IngressCommonRule: from(acme("acme-web"))}}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := compile(t, tt.spec)
			if err != nil {
				t.Fatalf("%v (%s)", err, tt.why)
			}
			if diff := cmp.Diff(tt.want, got, inside); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.why, diff)
			}
		})
	}
}

func TestWhatCannotBeOpenedIsAnErrorAtItsField(t *testing.T) {
	tests := map[string]struct{ spec, want string }{
		"not a CIDR": {
			`egress: [{to: [{cidr: 10.0.0.0}]}]`,
			`spec.network.egress[0].to[0].cidr: "10.0.0.0" is not a CIDR; write one such as 203.0.113.0/24 or 2001:db8::/32`,
		},
		"the metadata service": {
			`egress: [{to: [{namespace: acme-db}, {cidr: 169.254.169.254/32}]}]`,
			`spec.network.egress[0].to[1].cidr: "169.254.169.254/32" is link-local, where clouds keep their metadata services; it is never opened`,
		},
		"the metadata service, as IPv6": {
			`egress: [{to: [{cidr: "::ffff:169.254.169.254/128"}]}]`,
			`spec.network.egress[0].to[0].cidr: "::ffff:169.254.169.254/128" holds IPv4 addresses; write them as an IPv4 CIDR`,
		},
		"a URL for a host": {
			`egress: [{to: [{fqdn: "https://example.com"}]}]`,
			`spec.network.egress[0].to[0].fqdn: "https://example.com" is not a full host name in lower case; write one such as api.stripe.com or *.example.com`,
		},
		"every host": {
			`egress: [{to: [{fqdn: "*"}]}]`,
			`spec.network.egress[0].to[0].fqdn: "*" is not a full host name in lower case; write one such as api.stripe.com or *.example.com`,
		},
		"a Service by name": {
			`egress: [{to: [{fqdn: web.globex-api.svc.cluster.local}]}]`,
			`spec.network.egress[0].to[0].fqdn: "web.globex-api.svc.cluster.local" is inside the cluster; name the namespace instead`,
		},
		"port 0": {
			`ingress: [{from: [{namespace: acme-web}], ports: [{port: 0}]}]`,
			`spec.network.ingress[0].ports: "0" is not a port; write 1 to 65535`,
		},
		"a range that ends before it begins": {
			`ingress: [{from: [{namespace: acme-web}], ports: [{port: 90, endPort: 80}]}]`,
			`spec.network.ingress[0].ports: endPort 80 is below port 90`,
		},
		"a protocol that Cilium does not know": {
			`ingress: [{from: [{namespace: acme-web}], ports: [{port: 90, protocol: tcp}]}]`,
			`spec.network.ingress[0].ports: "tcp" is not a protocol; use TCP, UDP or SCTP`,
		},
		"a source that names nothing": {
			`ingress: [{from: [{}]}]`,
			`spec.network.ingress[0].from[0]: names no source; name exactly one of ingressController: true, namespace, cidr`,
		},
		"a namespace that is not a label's value": {
			`ingress: [{from: [{namespace: "acme web"}]}]`,
			`spec.network.ingress[0].from[0].namespace: "acme web" is not the name of a namespace; write one such as acme-web`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := compile(t, tt.spec)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestRulesThatCiliumReadsAsEveryoneAreRefused(t *testing.T) {
	tests := map[string]error{
		"no source":                 narrowIngress(api.IngressRule{}),
		"no source, with ports":     narrowIngress(api.IngressRule{ToPorts: api.PortRules{{Ports: []api.PortProtocol{{Port: "80", Protocol: "TCP"}}}}}),
		"no destination":            narrowEgress(api.EgressRule{EgressCommonRule: to()}),
		"a selector of everything":  narrowIngress(api.IngressRule{IngressCommonRule: from(matching(nil))}),
		"a port rule without ports": narrowIngress(api.IngressRule{IngressCommonRule: from(acme("a")), ToPorts: api.PortRules{{}}}),
		"names and networks in one": narrowEgress(api.EgressRule{ToFQDNs: api.FQDNSelectorSlice{{MatchName: "a.b"}}, EgressCommonRule: api.EgressCommonRule{ToCIDRSet: api.CIDRRuleSlice{{Cidr: "1.0.0.0/8"}}}}),
		"a host without a name":     narrowEgress(api.EgressRule{ToFQDNs: api.FQDNSelectorSlice{{}}}),
		"the entity world":          narrowIngress(api.IngressRule{IngressCommonRule: api.IngressCommonRule{FromEntities: api.EntitySlice{"world"}}}),
		"an exception outside":      narrowEgress(api.EgressRule{EgressCommonRule: api.EgressCommonRule{ToCIDRSet: api.CIDRRuleSlice{{Cidr: "10.0.0.0/8", ExceptCIDRs: []api.CIDR{"169.254.0.0/16"}}}}}),
		"an exception of more":      narrowEgress(api.EgressRule{EgressCommonRule: api.EgressCommonRule{ToCIDRSet: api.CIDRRuleSlice{{Cidr: "10.0.0.0/16", ExceptCIDRs: []api.CIDR{"10.0.0.0/8"}}}}}),
		"DNS rules on another port": narrowEgress(api.EgressRule{EgressCommonRule: to(acme("a")), ToPorts: api.PortRules{{Ports: []api.PortProtocol{{Port: "54", Protocol: "UDP"}}, Rules: &api.L7Rules{DNS: api.PortRulesDNS{{MatchPattern: "*"}}}}}}),
	}
	for name, err := range tests {
		if err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func TestMorePortsThanCiliumTakesAreSeveralRules(t *testing.T) {
	var ports []string
	for i := range 100 {
		ports = append(ports, fmt.Sprintf("{port: %d}", 1000+i))
	}
	rules, err := compile(t, "ingress: [{from: [{namespace: acme-web}], ports: ["+strings.Join(ports, ", ")+"]}]")
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, r := range rules.Ingress[0].ToPorts {
		sizes = append(sizes, len(r.Ports))
	}
	if diff := cmp.Diff([]int{40, 40, 20}, sizes); diff != "" {
		t.Error(diff)
	}
}

func TestTheTenantsEgressIsAddedToEveryNamespace(t *testing.T) {
	tenant := &v1alpha1.Tenant{}
	tenant.Name = "acme"
	tenant.Spec.Network.Egress = []v1alpha1.EgressRule{{To: []v1alpha1.EgressDestination{{CIDR: "203.0.113.0/24"}}}}
	trees, err := Compile(Request{Tenant: tenant, Namespace: &v1alpha1.TenantNamespace{}})
	if err != nil {
		t.Fatal(err)
	}
	want := api.Rule{Egress: []api.EgressRule{{EgressCommonRule: api.EgressCommonRule{ToCIDRSet: api.CIDRRuleSlice{{Cidr: "203.0.113.0/24"}}}}}}
	if diff := cmp.Diff(want, asCilium(t, trees), inside); diff != "" {
		t.Error(diff)
	}
}
