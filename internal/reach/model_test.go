package reach

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// closed is the base's default-deny for a namespace, with both kinds of policies.
func closed(namespace string) []string {
	return []string{
		`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: default-deny, namespace: ` + namespace + `}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}`,
		cilium(namespace, "default-deny", `{}`, `enableDefaultDeny: {ingress: true, egress: true},
			ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": `+namespace+`}}]}],
			egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": `+namespace+`}}]},
				{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, "k8s:k8s-app": kube-dns}}], toPorts: [{ports: [{port: "53", protocol: UDP}]}]}]`),
	}
}

func cilium(namespace, name, pods, spec string) string {
	return fmt.Sprintf(`{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: %s, namespace: %s}, spec: {endpointSelector: %s, %s}}`, name, namespace, pods, spec)
}

func named(namespace, tenant string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {aetherplatform.cloud/tenant: %s, stage: prod}}}`, namespace, tenant)
}

// model is acme-web and acme-db, closed, and globex-web, closed; and what else.
func model(t testing.TB, more ...string) *Model {
	t.Helper()
	texts := []string{named("acme-web", "acme"), named("acme-db", "acme"), named("globex-web", "globex")}
	for _, n := range []string{"acme-web", "acme-db", "globex-web"} {
		texts = append(texts, closed(n)...)
	}
	return New(objects(t, append(texts, more...)...))
}

func objects(t testing.TB, texts ...string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, text := range texts {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "\t", " ")), &u.Object); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		out = append(out, u)
	}
	return out
}

func address(s string) Endpoint { return Endpoint{Kind: Address, Addresses: AddressesOf(s + "/32")} }

func with(namespace string, labels ...string) Endpoint {
	e := PodsOf(namespace)
	e.Labels = map[string]string{}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		e.Labels[k] = v
	}
	return e
}

func TestAConnectionNeedsThePoliciesOfBothEnds(t *testing.T) {
	web, db, globex := PodsOf("acme-web"), PodsOf("acme-db"), PodsOf("globex-web")
	https := Port{443, "TCP"}
	toDB := cilium("acme-web", "rules", "{}", `egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-db, "k8s:io.cilium.k8s.namespace.labels.aetherplatform.cloud/tenant": acme}}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]`)
	fromWeb := cilium("acme-db", "rules", "{}", `ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-web}}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]`)
	fromAll := cilium("acme-db", "all", "{}", `ingress: [{}, {fromEntities: [all]}]`)
	network := func(cidr string) string {
		return cilium("acme-web", "out", "{}", `egress: [{toCIDRSet: [{cidr: `+cidr+`, except: [169.254.0.0/16]}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]`)
	}
	egress := func(rule string) string { return cilium("acme-web", "out", "{}", "egress: ["+rule+"]") }
	ingress := func(rule string) string { return cilium("acme-db", "in", "{}", "ingress: ["+rule+"]") }
	api := Endpoint{Kind: APIServer}
	tests := map[string]struct {
		why      string
		more     []string
		from, to Endpoint
		port     Port
		want     string
	}{
		"nothing is opened":      {why: "default-deny", from: web, to: db, port: https, want: "refused"},
		"inside a namespace":     {why: "default-deny allows it", from: web, to: web, port: https, want: "allowed"},
		"DNS":                    {why: "default-deny allows it", from: web, to: with("kube-system", "k8s-app=kube-dns"), port: Port{53, "UDP"}, want: "allowed"},
		"DNS by TCP":             {why: "only UDP is named here", from: web, to: with("kube-system", "k8s-app=kube-dns"), port: Port{53, "TCP"}, want: "refused"},
		"beside DNS":             {why: "another Pod of kube-system", from: web, to: with("kube-system", "k8s-app=other"), port: Port{53, "UDP"}, want: "refused"},
		"only the source":        {why: "the target refuses", more: []string{toDB}, from: web, to: db, port: https, want: "refused"},
		"only the target":        {why: "the source refuses", more: []string{fromWeb}, from: web, to: db, port: https, want: "refused"},
		"both":                   {why: "both name it", more: []string{toDB, fromWeb}, from: web, to: db, port: https, want: "allowed"},
		"both, another port":     {why: "the port is not named", more: []string{toDB, fromWeb}, from: web, to: db, port: Port{444, "TCP"}, want: "refused"},
		"both, another protocol": {why: "UDP is not TCP", more: []string{toDB, fromWeb}, from: web, to: db, port: Port{443, "UDP"}, want: "refused"},
		"the way back":           {why: "rules have a direction", more: []string{toDB, fromWeb}, from: db, to: web, port: https, want: "refused"},
		"a name without its tenant": {
			why:  "the namespace of that name is another tenant's",
			more: []string{named("acme-db", "globex"), toDB, fromWeb}, from: web, to: db, port: https, want: "refused",
		},
		"everyone may come in": {why: "the source still refuses", more: []string{fromAll}, from: globex, to: db, port: https, want: "refused"},
		"everyone may come in, from nobody's namespace": {
			why: "which has no policies", more: []string{fromAll}, from: PodsOf("default"), to: db, port: https, want: "allowed",
		},
		"an empty rule": {why: "it names nobody, so it allows nobody", more: []string{ingress("{}")}, from: PodsOf("default"), to: db, port: https, want: "refused"},
		"only ports":    {why: "a rule without peers is for everyone", more: []string{ingress(`{toPorts: [{ports: [{port: "443", protocol: TCP}]}]}`)}, from: PodsOf("default"), to: db, port: https, want: "allowed"},
		"a NetworkPolicy without peers": {
			why:  "it adds to Cilium's: everyone",
			more: []string{`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: open, namespace: acme-db}, spec: {podSelector: {}, ingress: [{ports: [{port: 443}]}]}}`},
			from: PodsOf("default"), to: db, port: https, want: "allowed",
		},
		"a denial": {
			why:  "it is stronger than what is allowed",
			more: []string{toDB, fromWeb, cilium("acme-db", "deny", "{}", `ingressDeny: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-web}}]}]`)},
			from: web, to: db, port: https, want: "refused",
		},
		"a denial of some Pods": {
			why:  "others may still, so some Pod may",
			more: []string{toDB, fromWeb, cilium("acme-db", "deny", "{matchLabels: {app: old}}", `ingressDeny: [{fromEntities: [all]}]`)},
			from: web, to: db, port: https, want: "allowed?",
		},
		"some Pods may": {
			why:  "any Pod may be one of them",
			more: []string{cilium("acme-web", "rules", "{matchLabels: {app: shop}}", `egress: [{toEntities: [world]}]`)},
			from: web, to: address("192.0.2.1"), port: https, want: "allowed?",
		},
		"some Pods may, this one not": {
			why:  "its labels are known",
			more: []string{cilium("acme-web", "rules", "{matchLabels: {app: shop}}", `egress: [{toEntities: [world]}]`)},
			from: with("acme-web", "app=other"), to: address("192.0.2.1"), port: https, want: "refused",
		},
		"every namespace with a label": {
			why:  "a label of the namespace, which the tenant may have",
			more: []string{fromAll, egress(`{toEndpoints: [{matchExpressions: [{key: io.cilium.k8s.namespace.labels.stage, operator: In, values: [prod, test]}]}]}`)},
			from: web, to: db, port: https, want: "allowed",
		},
		"every namespace but one": {
			why:  "NotIn",
			more: []string{fromAll, egress(`{toEndpoints: [{matchExpressions: [{key: k8s:io.kubernetes.pod.namespace, operator: NotIn, values: [acme-db]}]}]}`)},
			from: web, to: db, port: https, want: "refused",
		},
		"a network that is named":     {why: "in it", more: []string{network("203.0.113.0/24")}, from: web, to: address("203.0.113.255"), port: https, want: "allowed"},
		"beside a network":            {why: "outside", more: []string{network("203.0.113.0/24")}, from: web, to: address("203.0.114.0"), port: https, want: "refused"},
		"all networks and a Pod":      {why: "no Pod is in a network", more: []string{network("0.0.0.0/0"), fromAll}, from: web, to: db, port: https, want: "refused"},
		"all networks and a node":     {why: "no node is in a network", more: []string{network("0.0.0.0/0")}, from: web, to: Endpoint{Kind: Node, Addresses: AddressesOf("192.0.2.7/32")}, port: https, want: "refused"},
		"all networks and metadata":   {why: "link-local is excepted", more: []string{network("0.0.0.0/0")}, from: web, to: Endpoint{Kind: Address, Addresses: AddressesOf("169.254.169.254/32")}, port: https, want: "refused"},
		"metadata by world":           {why: "the entity has no exception", more: []string{egress(`{toEntities: [world]}`)}, from: web, to: address("169.254.169.254"), port: Port{80, "TCP"}, want: "allowed"},
		"all networks, API anywhere":  {why: "it may be outside the cluster", more: []string{network("0.0.0.0/0")}, from: web, to: api, port: https, want: "allowed?"},
		"all networks, API on a node": {why: "no node is in a network", more: []string{network("0.0.0.0/0")}, from: web, to: Endpoint{Kind: APIServer, Addresses: AddressesOf("192.0.2.7/32")}, port: https, want: "refused"},
		"all networks, API outside":   {why: "to Cilium it is in the world too", more: []string{network("0.0.0.0/0")}, from: web, to: Endpoint{Kind: APIServer, Outside: true, Addresses: AddressesOf("192.0.2.7/32")}, port: https, want: "allowed"},
		"the API by its entity":       {why: "named", more: []string{egress(`{toEntities: [kube-apiserver]}`)}, from: web, to: api, port: Port{6443, "TCP"}, want: "allowed"},
		"the cluster":                 {why: "Pods, nodes and the API", more: []string{fromAll, egress(`{toEntities: [cluster]}`)}, from: web, to: db, port: https, want: "allowed"},
		"the cluster, outside":        {why: "not the world", more: []string{egress(`{toEntities: [cluster]}`)}, from: web, to: address("192.0.2.1"), port: https, want: "refused"},
		"its own node":                {why: "host is that one only", more: []string{egress(`{toEntities: [host]}`)}, from: web, to: Endpoint{Kind: Node, Local: true}, port: https, want: "allowed"},
		"another node":                {why: "host is its own only", more: []string{egress(`{toEntities: [host]}`)}, from: web, to: Endpoint{Kind: Node}, port: https, want: "refused"},
		"from its node":               {why: "the kubelet has to", from: Endpoint{Kind: Node, Local: true}, to: db, port: https, want: "allowed"},
		"from another node":           {why: "nobody named it", from: Endpoint{Kind: Node}, to: db, port: https, want: "refused"},
		"a host":                      {why: "by its name", more: []string{egress(`{toFQDNs: [{matchName: api.example.com}]}`)}, from: web, to: Endpoint{Kind: Host, Names: []string{"api.example.com"}}, port: https, want: "allowed"},
		"a host by a pattern":         {why: "one label stands for the star", more: []string{egress(`{toFQDNs: [{matchPattern: "*.example.com"}]}`)}, from: web, to: Endpoint{Kind: Host, Names: []string{"a.b.example.com"}}, port: https, want: "refused"},
		"another host at the address": {
			why:  "Cilium knows addresses, and this is one of a name that is allowed",
			more: []string{egress(`{toFQDNs: [{matchName: api.example.com}]}`)}, from: web, to: Endpoint{Kind: Host, Names: []string{"other.example.com", "api.example.com"}}, port: https, want: "allowed",
		},
		"a range of ports":                        {why: "its last", more: []string{egress(`{toEntities: [world], toPorts: [{ports: [{port: "1000", endPort: 2000, protocol: ANY}]}]}`)}, from: web, to: address("192.0.2.1"), port: Port{2000, "UDP"}, want: "allowed"},
		"beyond a range":                          {why: "one more", more: []string{egress(`{toEntities: [world], toPorts: [{ports: [{port: "1000", endPort: 2000, protocol: ANY}]}]}`)}, from: web, to: address("192.0.2.1"), port: Port{2001, "UDP"}, want: "refused"},
		"a port by its name":                      {why: "only Pods know it", more: []string{ingress(`{fromEntities: [all], toPorts: [{ports: [{port: https, protocol: TCP}]}]}`)}, from: PodsOf("default"), to: db, port: https, want: "allowed?"},
		"a port by its name that the Pod has not": {why: "its ports are known", more: []string{ingress(`{fromEntities: [all], toPorts: [{ports: [{port: https, protocol: TCP}]}]}`)}, from: PodsOf("default"), to: with("acme-db"), port: https, want: "refused"},
		"a ping":           {why: "the type is named", more: []string{egress(`{toEntities: [world], icmps: [{fields: [{type: 8, family: IPv4}]}]}`)}, from: web, to: address("192.0.2.1"), port: Port{8, "ICMP"}, want: "allowed"},
		"TCP for a ping":   {why: "only ICMP is named", more: []string{egress(`{toEntities: [world], icmps: [{fields: [{type: 8, family: IPv4}]}]}`)}, from: web, to: address("192.0.2.1"), port: https, want: "refused"},
		"some requests":    {why: "the connection opens", more: []string{ingress(`{fromEntities: [all], toPorts: [{ports: [{port: "443", protocol: TCP}], rules: {http: [{method: GET}]}}]}`)}, from: PodsOf("default"), to: db, port: https, want: "allowed, limited"},
		"what is not read": {why: "it may be anyone", more: []string{egress(`{toServices: [{k8sService: {serviceName: x}}]}`)}, from: web, to: address("192.0.2.1"), port: https, want: "allowed?"},
		"a clusterwide policy": {
			why:  "it is for the Pods of every namespace that it selects",
			more: []string{`{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {name: open}, spec: {endpointSelector: {matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-web}}, egress: [{toEntities: [world]}]}}`},
			from: with("acme-web"), to: address("192.0.2.1"), port: https, want: "allowed",
		},
		"a clusterwide policy for others": {
			why:  "another namespace",
			more: []string{`{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {name: open}, spec: {endpointSelector: {matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-db}}, egress: [{toEntities: [world]}]}}`},
			from: with("acme-web"), to: address("192.0.2.1"), port: https, want: "refused",
		},
		"the ingress of Cilium":     {why: "an entity", more: []string{ingress(`{fromEntities: [ingress]}`)}, from: Endpoint{Kind: Ingress}, to: db, port: https, want: "allowed"},
		"no namespace of the model": {why: "nothing refuses", from: PodsOf("default"), to: PodsOf("kube-system"), port: https, want: "allowed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := model(t, tt.more...).May(tt.from, tt.to, tt.port)
			got := "refused"
			if v.Allowed {
				got = "allowed"
			}
			if v.Doubt {
				got += "?"
			}
			if v.Egress.Limited || v.Ingress.Limited {
				got += ", limited"
			}
			if got != tt.want {
				t.Errorf("got %s, want %s: %s\n%+v", got, tt.want, tt.why, v)
			}
		})
	}
}

func TestAVerdictNamesWhatDecided(t *testing.T) {
	m := model(t,
		cilium("acme-web", "rules", "{}", `egress: [{toCIDR: [192.0.2.0/24]}, {toCIDRSet: [{cidr: 198.51.100.0/24}, {cidr: 203.0.113.0/24}]}]`),
		cilium("acme-db", "deny", "{}", `egressDeny: [{toEntities: [world]}]`),
	)
	for name, tt := range map[string]struct {
		from, to Endpoint
		want     string
	}{
		"a rule":       {PodsOf("acme-web"), address("203.0.113.9"), "CiliumNetworkPolicy acme-web/rules spec.egress[1].toCIDRSet[1]"},
		"a denial":     {PodsOf("acme-db"), address("203.0.113.9"), "CiliumNetworkPolicy acme-db/deny spec.egressDeny[0].toEntities[0]"},
		"default-deny": {PodsOf("globex-web"), address("203.0.113.9"), "NetworkPolicy globex-web/default-deny"},
	} {
		side := m.May(tt.from, tt.to, Port{443, "TCP"}).Egress
		got := fmt.Sprint(side.Policy)
		if side.Rule != nil {
			got = side.Rule.String()
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestOpenIsThePortsThatBothEndsAllow(t *testing.T) {
	out := func(ports string) string {
		return cilium("acme-web", "out", "{}", `egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-db}}]`+ports+`}]`)
	}
	in := func(ports string) string {
		return cilium("acme-db", "in", "{}", `ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-web}}]`+ports+`}]`)
	}
	some := func(from, to string) string {
		return `, toPorts: [{ports: [{port: "` + from + `", endPort: ` + to + `, protocol: TCP}]}]`
	}
	for name, tt := range map[string]struct {
		more []string
		want string
	}{
		"nothing":         {nil, ""},
		"one side":        {[]string{out("")}, ""},
		"every port":      {[]string{out(""), in("")}, "every port"},
		"some of all":     {[]string{out(""), in(some("80", "90"))}, "80-90/TCP"},
		"what they share": {[]string{out(some("85", "99")), in(some("80", "90"))}, "85-90/TCP"},
		"but what is denied": {
			[]string{out(""), in(some("80", "90")), cilium("acme-web", "deny", "{}", `egressDeny: [{toPorts: [{ports: [{port: "85", protocol: TCP}]}]}]`)},
			"80-84 and 86-90/TCP",
		},
	} {
		ports, doubt := model(t, tt.more...).Open(PodsOf("acme-web"), PodsOf("acme-db"))
		if got := ports.Told(); got != tt.want || doubt {
			t.Errorf("%s: got %q, in doubt: %v, want %q", name, got, doubt, tt.want)
		}
	}
}

func BenchmarkEveryPairOfAThousandNamespaces(b *testing.B) {
	var texts []string
	const count = 1000
	for i := range count {
		name := fmt.Sprintf("n%d", i)
		texts = append(texts, named(name, "acme"))
		texts = append(texts, closed(name)...)
	}
	all := objects(b, texts...)
	for b.Loop() {
		m := New(all)
		for i := range count {
			for j := range count {
				m.May(PodsOf(fmt.Sprintf("n%d", i)), PodsOf(fmt.Sprintf("n%d", j)), Port{443, "TCP"})
			}
		}
	}
}
