package expect

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/isolation"
	"github.com/aetherplatform/aether/internal/reach"
)

const fleet = `
apiVersion: v1
kind: Namespace
metadata: {name: acme-web, labels: {aetherplatform.cloud/tenant: acme}}
---
apiVersion: v1
kind: Namespace
metadata: {name: acme-db, labels: {aetherplatform.cloud/tenant: acme}}
---
apiVersion: v1
kind: Namespace
metadata: {name: globex-web, labels: {aetherplatform.cloud/tenant: globex}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: acme-web}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: acme-db, annotations: {aetherplatform.cloud/source-path: "tenants/acme/db.yaml:1"}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: globex-web}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rules, namespace: acme-web}
spec:
  endpointSelector: {}
  egress:
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-db}}]
    toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, "k8s:k8s-app": kube-dns}}]
    toPorts: [{ports: [{port: "53", protocol: ANY}]}]
  - toFQDNs: [{matchName: api.example.com}]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
  - toCIDRSet: [{cidr: 203.0.113.0/24}]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rules, namespace: acme-db}
spec:
  endpointSelector: {}
  ingress:
  - fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-web}}]
    toPorts: [{ports: [{port: "5432", endPort: 5433, protocol: TCP}]}]
`

func input(t testing.TB, more ...string) isolation.Input {
	t.Helper()
	var objects []*unstructured.Unstructured
	for text := range strings.SplitSeq(strings.Join(append([]string{fleet}, more...), "\n---\n"), "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, u)
	}
	return isolation.Input{
		Model: reach.New(objects), Tenants: map[string]string{"acme-web": "acme", "acme-db": "acme", "globex-web": "globex"},
		Ingress: []reach.Endpoint{reach.PodsOf("ingress-nginx")},
	}
}

func file(expect string) string {
	return "apiVersion: " + APIVersion + "\nkind: IsolationTest\nmetadata: {name: t}\nspec:\n  expect:\n" + expect
}

func rule(spec string) string {
	return `{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: more, namespace: acme-web}, spec: {endpointSelector: {}, ` + spec + `}}`
}

func TestAFleetIsHeldToWhatIsPinned(t *testing.T) {
	const pinned = `
  - {from: acme-web, to: acme-db, ports: [5432/TCP], only: true}
  - {from: acme-web, to: api.example.com, ports: [443]}
  - {from: acme-web, to: 203.0.113.0/24, ports: [443/TCP]}
  - {from: acme-web, nothingElse: true}
`
	const serves = `
  - {from: acme-web, to: acme-db, ports: [5432/TCP]}
  - {to: acme-db, nothingElse: true}
`
	for name, tt := range map[string]struct {
		why, expect string
		more        []string
		want        []string
	}{
		"what is pinned": {why: "all of it is so", expect: pinned},
		"what is served": {why: "the port that only the target opens is not open", expect: serves},
		"a path that is closed": {
			why: "the target refuses", expect: "  - {from: globex-web, to: acme-db, ports: [5432/TCP]}\n",
			want: []string{"globex-web to acme-db is closed on 5432/TCP: egress: no rule; NetworkPolicy globex-web/deny refuses the rest; ingress: no rule; NetworkPolicy acme-db/deny refuses the rest (tenants/acme/db.yaml:1)"},
		},
		"a path that must never be": {
			why: "it is open", expect: "  - {from: tenant/acme, to: acme-db, never: true}\n",
			want: []string{"acme-web to acme-db is open on 5432/TCP: egress: CiliumNetworkPolicy acme-web/rules spec.egress[0].toEndpoints[0]; ingress: CiliumNetworkPolicy acme-db/rules spec.ingress[0].fromEndpoints[0]"},
		},
		"tenants apart": {why: "nothing is open between them", expect: "  - {from: tenant/globex, to: tenant/acme, never: true}\n  - {from: every-namespace, to: metadata, never: true}\n  - {from: every-namespace, to: api-server, never: true}\n"},
		"another port": {
			why: "only is about ports", expect: pinned, more: []string{rule(`egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-db}}]}]`)},
			want: []string{
				"acme-web to acme-db is open on 5433/TCP too: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toEndpoints[0]; ingress: CiliumNetworkPolicy acme-db/rules spec.ingress[0].fromEndpoints[0]",
				"acme-web to acme-db is open on 5433/TCP: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toEndpoints[0]; ingress: CiliumNetworkPolicy acme-db/rules spec.ingress[0].fromEndpoints[0]",
			},
		},
		"a wider network": {
			why: "a part of it is pinned", expect: pinned, more: []string{rule(`egress: [{toCIDR: [203.0.0.0/16]}]`)},
			want: []string{
				"acme-web to 203.0.113.0/24 is open on every port/SCTP, 0-442 and 444-65535/TCP, every port/UDP, ICMP: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toCIDR[0]",
				"acme-web to 203.0.0.0/16 is open on every port in some cases: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toCIDR[0]"},
		},
		"everyone": {
			why: "an entity is no network, and is everything outside", expect: "  - {from: acme-web, to: internet, never: true}\n", more: []string{rule(`egress: [{toEntities: [world], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]`)},
			want: []string{
				"acme-web to internet is open on 80 and 443/TCP in some cases: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toEntities[0]",
				"acme-web to api.example.com is open on 80 and 443/TCP: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toEntities[0]",
			},
		},
		"a namespace that no tenant has": {
			why: "a rule names it", expect: pinned, more: []string{rule(`egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": monitoring}}], toPorts: [{ports: [{port: "9090", protocol: TCP}]}]}]`)},
			want: []string{"acme-web to namespace monitoring is open on 9090/TCP: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toEndpoints[0]"},
		},
		"beside DNS": {
			why: "another port of the same Pods", expect: pinned, more: []string{rule(`egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system}}], toPorts: [{ports: [{port: "9153", protocol: TCP}]}]}]`)},
			want: []string{"acme-web to namespace kube-system is open on 9153/TCP in some cases: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toEndpoints[0]"},
		},
		"some Pods of a namespace": {
			why: "what may be is too much for never", expect: "  - {from: acme-web, to: 192.0.2.1, never: true}\n", more: []string{strings.Replace(rule(`egress: [{toCIDR: [192.0.2.1/32]}]`), "endpointSelector: {}", "endpointSelector: {matchLabels: {app: x}}", 1)},
			want: []string{"acme-web to 192.0.2.1 is open on every port in some cases: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toCIDR[0]"},
		},
		"some Pods of a namespace, which must": {
			why: "what may be is not enough", expect: "  - {from: acme-web, to: 192.0.2.1}\n", more: []string{strings.Replace(rule(`egress: [{toCIDR: [192.0.2.1/32]}]`), "endpointSelector: {}", "endpointSelector: {matchLabels: {app: x}}", 1)},
			want: []string{"acme-web to 192.0.2.1 is not certain: egress: CiliumNetworkPolicy acme-web/more spec.egress[0].toCIDR[0]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tests, errs := Read("tests/t.yaml", []byte(file(tt.expect)))
			results, more := Judge(input(t, tt.more...), tests)
			if errs = append(errs, more...); len(errs) > 0 {
				t.Fatal(errs)
			}
			var got []string
			for _, r := range results {
				got = append(got, r.Failures...)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s\ngot  %q\nwant %q", tt.why, got, tt.want)
			}
		})
	}
}

func TestAWrongFileIsToldByLine(t *testing.T) {
	for expect, want := range map[string]string{
		"  - {from: acme-web, to: acme-db, prots: [1/TCP]}\n":    `t.yaml:6: spec.expect[0]: there is no field "prots"; did you mean ports?`,
		"  - {from: acme-web, to: acme-bd}\n":                    `t.yaml:6: spec.expect[0]: to: the fleet has no namespace "acme-bd"; did you mean acme-db?`,
		"  - {from: tenant/acem, to: acme-db}\n":                 `t.yaml:6: spec.expect[0]: from: the fleet has no tenant "acem" with a namespace; did you mean acme?`,
		"  - {from: acme-web}\n":                                 `t.yaml:6: spec.expect[0]: from and to are both needed`,
		"  - {from: acme-web, to: acme-db, nothingElse: true}\n": `t.yaml:6: spec.expect[0]: nothingElse goes with from alone or with to alone`,
		"  - {from: acme-web, to: acme-db, ports: [8443/tcp]}\n": `t.yaml:6: spec.expect[0].ports[0]: "8443/tcp" is not a port; write one such as 8443/TCP or 9200-9210/UDP`,
		"  - {from: acme-web, to: acme-db, ports: [99999]}\n":    `t.yaml:6: spec.expect[0].ports[0]: "99999" is not between 1 and 65535`,
		"  - {from: acme-web, to: acme-db, only: true}\n":        `t.yaml:6: spec.expect[0]: only needs ports`,
		"  - {from: acme-web, to: acme-db, never: perhaps}\n":    `t.yaml:6: spec.expect[0].never: "perhaps" is neither true nor false`,
		"  - {from: acme-web, from: acme-db, to: acme-db}\n":     `t.yaml:6: spec.expect[0]: the field "from" is written twice`,
	} {
		tests, errs := Read("t.yaml", []byte(file(expect)))
		_, more := Judge(input(t), tests)
		errs = append(errs, more...)
		if len(errs) == 0 || errs[0].Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", expect, errs, want)
		}
	}
}
