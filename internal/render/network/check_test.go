package network

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	ciliumv2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render/canonical"
)

// asObject is a policy with a spec that is written as YAML.
func asObject(t testing.TB, spec string) map[string]any {
	t.Helper()
	object := map[string]any{"apiVersion": APIVersion, "kind": Kind, "metadata": map[string]any{"name": "rules", "namespace": "acme-web"}}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		t.Fatal(err)
	}
	for name, v := range fields {
		object[name] = v
	}
	return object
}

func check(object map[string]any) error {
	return CheckPolicy(object, canonical.Value(nil, object))
}

// agent is what Cilium's agent says to an object, if it can.
func agent(t testing.TB, object map[string]any) (err error) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it fails: %v", p)
		}
	}()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var policy ciliumv2.CiliumNetworkPolicy
	if err := json.Unmarshal(data, &policy); err != nil {
		return err
	}
	_, err = policy.Parse(slog.New(slog.DiscardHandler), "")
	return err
}

func TestWhatCiliumWouldRefuseIsRefusedAtItsField(t *testing.T) {
	tests := map[string]struct{ why, spec, want string }{
		"a field that there is not": {
			"the API server drops it, and what is left is the rule of somebody who meant another",
			`spec: {endpointSelector: {}, ingres: []}`,
			`spec.ingres: CiliumNetworkPolicy cilium.io/v2 has no such field`,
		},
		"a field of a rule that there is not": {
			"likewise",
			`spec: {endpointSelector: {}, egress: [{toEndpoints: [{}]}, {toEndpoint: [{matchLabels: {a: b}}]}]}`,
			`spec.egress[1].toEndpoint: CiliumNetworkPolicy cilium.io/v2 has no such field`,
		},
		"a field of a selector that there is not": {
			"Cilium's decoder skips it even where it is strict, and the selector is one of everything",
			`spec: {endpointSelector: {matchLabel: {app: web}}, ingress: [{}]}`,
			`spec.endpointSelector.matchLabel: CiliumNetworkPolicy cilium.io/v2 has no such field`,
		},
		"a selector's field in another case": {
			"Cilium's decoder takes it, the API server does not",
			`spec: {endpointSelector: {}, ingress: [{fromEndpoints: [{MatchLabels: {app: web}}]}]}`,
			`spec.ingress[0].fromEndpoints[0].MatchLabels: CiliumNetworkPolicy cilium.io/v2 has no such field`,
		},
		"a field beside spec that there is not": {
			"Cilium's policies had their description there once",
			`{description: closed, spec: {endpointSelector: {}, ingress: [{}]}}`,
			`description: CiliumNetworkPolicy cilium.io/v2 has no such field`,
		},
		"an ICMP field without a type": {
			"Cilium's code fails on it, and would take the renderer with it",
			`spec: {endpointSelector: {}, ingress: [{icmps: [{fields: [{family: IPv4}]}]}]}`,
			`spec.ingress[0]: not readable by Cilium: its code fails (runtime error: invalid memory address or nil pointer dereference), since a field that it needs is missing or empty`,
		},
		"no spec": {
			"the agent refuses it",
			`{}`,
			`spec: it is not set, and specs neither; write the rules into spec`,
		},
		"no rules": {
			"the agent refuses it, and it would close nothing",
			`spec: {endpointSelector: {}, enableDefaultDeny: {ingress: true}}`,
			`spec: refused by Cilium: rule must have at least one of Ingress, IngressDeny, Egress, EgressDeny`,
		},
		"no selector": {
			"the agent refuses it",
			`spec: {ingress: [{}]}`,
			`spec: refused by Cilium: rule must have one of EndpointSelector or NodeSelector`,
		},
		"a policy of nodes": {
			"the agent refuses it in a namespace",
			`spec: {nodeSelector: {}, ingress: [{}]}`,
			`spec.nodeSelector: it is for policies of the whole cluster; write endpointSelector`,
		},
		"two kinds of peers": {
			"the agent refuses it, in words that change",
			`spec: {endpointSelector: {}, egress: [{toFQDNs: [{matchName: a.example.com}], toCIDR: [10.0.0.0/8]}]}`,
			`spec.egress[0]: toCIDR and toFQDNs cannot be in one rule; write a rule for each`,
		},
		"a requirement": {
			"the agent takes it and does not look at it any more",
			`spec: {endpointSelector: {}, ingress: [{fromRequires: [{matchLabels: {env: prod}}]}]}`,
			`spec.ingress[0].fromRequires: it has no effect any more; leave it out`,
		},
		"a port that is a number": {
			"the API server refuses it",
			`spec: {endpointSelector: {}, ingress: [{}, {toPorts: [{ports: [{port: 80}]}]}]}`,
			`spec.ingress[1]: not readable by Cilium: cannot unmarshal number into Go struct field`,
		},
		"a port that there is not": {
			"the agent refuses it",
			`spec: {endpointSelector: {}, egressDeny: [{toPorts: [{ports: [{port: "70000"}]}]}]}`,
			`spec.egressDeny[0]: refused by Cilium: unable to parse port: strconv.ParseUint: parsing "70000": value out of range`,
		},
		"labels that there are not": {
			"the agent refuses them, in an order that changes",
			`spec: {endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: {"k8s:a": "b c", "k8s:d": "e f"}}]}]}`,
			`spec.ingress[0]: refused by Cilium: invalid label selector: matchLabels: Invalid value: "b c"`,
		},
		"the second of several specs": {
			"a policy may have a list of them",
			`specs: [{endpointSelector: {}, ingress: [{}]}, {endpointSelector: {}, ingress: [{fromEntities: [wrld]}]}]`,
			`specs[1].ingress[0]: refused by Cilium: unsupported entity: wrld`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			object := asObject(t, tt.spec)
			err := check(object)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s (%s)", err, tt.want, tt.why)
			}
			for range 20 {
				if again := check(object); again == nil || again.Error() != err.Error() {
					t.Fatalf("the first time %v, then %v", err, again)
				}
			}
		})
	}
}

func TestATemplateIsHeldToTheFieldsThatAPolicyHas(t *testing.T) {
	tests := map[string]struct{ spec, want string }{
		"expressions where maps and lists will be": {`spec: {endpointSelector: "${a}", ingress: {$value: "${b}"}, egress: ["${c}", {toPorts: {$value: [{ports: "${d}"}]}}]}`, ""},
		"a field that there is not, in place":      {`spec: {egress: {$value: [{toPort: []}]}}`, "spec.egress[0].toPort: CiliumNetworkPolicy cilium.io/v2 has no such field"},
	}
	for name, tt := range tests {
		got := ""
		if err := CheckFields(asObject(t, tt.spec)); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestAPolicyHasTheFieldsOfCiliumsType(t *testing.T) {
	ours, theirs := fieldsOf(reflect.TypeFor[policy]()), fieldsOf(reflect.TypeFor[ciliumv2.CiliumNetworkPolicy]())
	if diff := cmp.Diff(slices.Sorted(maps.Keys(theirs)), slices.Sorted(maps.Keys(ours))); diff != "" {
		t.Error(diff)
	}
}

// What this package takes, the agent takes; and where the agent refuses, so does
// this package. It refuses more: fields that there are not, requirements.
func FuzzTheAgentTakesWhatIsTaken(f *testing.F) {
	for _, seed := range []string{
		`{"spec":{"endpointSelector":{},"ingress":[{}]}}`,
		`{"spec":{"endpointSelector":{},"ingress":[{"fromEndpoints":[{"matchLabels":{"k8s:app":"web"}}],"toPorts":[{"ports":[{"port":"80","protocol":"TCP"}],"rules":{"http":[{"path":"/a"}]}}]}]}}`,
		`{"spec":{"endpointSelector":{"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]},"egress":[{"toFQDNs":[{"matchPattern":"*.example.com"}],"toPorts":[{"ports":[{"port":"443"}]}]}]}}`,
		`{"spec":{"endpointSelector":{},"egress":[{"toEndpoints":[{}],"toPorts":[{"ports":[{"port":"53"}],"rules":{"dns":[{"matchPattern":"*"}]}}]}],"egressDeny":[{"toCIDRSet":[{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}]}]}}`,
		`{"spec":{"endpointSelector":{},"ingress":[{"icmps":[{"fields":[{"type":8,"family":"IPv4"}]}]}],"ingressDeny":[{"fromEntities":["world"]}]}}`,
		`{"spec":{"endpointSelector":{},"egress":[{"toServices":[{"k8sService":{"serviceName":"a","namespace":"b"}}]},{"toGroups":[{"aws":{"region":"x"}}]},{"toNodes":[{}]}]}}`,
		`{"specs":[{"endpointSelector":{},"ingress":[{"toPorts":[{"ports":[{"port":"0"}],"rules":{"l7proto":"x","l7":[{"a":"b"}]}}]}],"labels":[{"key":"a","source":"k8s","value":"b"}],"log":{"value":"x"}}]}`,
		`{"spec":{"nodeSelector":{},"ingress":[{}]}}`,
		`{"spec":{"endpointSelector":{},"ingress":[{"fromCIDRSet":[{"cidrGroupSelector":{"matchLabels":{"a":"b"}}}],"authentication":{"mode":"required"}}]}}`,
		`{"spec":{"endpointSelector":{},"egress":[{"toPorts":[{"ports":[{"port":"443"}],"serverNames":["a.example.com"],"listener":{"name":"l","envoyConfig":{"name":"e"}}}]}]}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]any
		if json.Unmarshal([]byte(text), &object) != nil || object == nil {
			return // no object, so nothing is said of it
		}
		object["apiVersion"], object["kind"] = APIVersion, Kind
		object["metadata"] = map[string]any{"name": "rules", "namespace": "acme-web"}
		ours, theirs := check(object), agent(t, object)
		if ours == nil && theirs != nil {
			t.Errorf("the agent refuses what is taken: %v", theirs)
		}
		if again := check(object); (ours == nil) != (again == nil) {
			t.Errorf("the first time %v, then %v", ours, again)
		}
	})
}

// What a namespace asks for, at random: whatever it is, what is made of it is
// what the agent takes, reads back unchanged, and is the same the second time.
func FuzzTheAgentTakesWhatIsCompiled(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed, "acme-web", "203.0.113.0/24", "api.example.com")
	}
	f.Add(uint64(1), "a b", "10.0.0.0", "*.example.com")
	f.Add(uint64(2), strings.Repeat("a", 64), "::ffff:10.0.0.0/104", strings.Repeat("a.", 127)+"aa")
	f.Add(uint64(3), "-a", "fe80::/9", "*.*")
	f.Add(uint64(4), "kube-system", "0.0.0.0/0", "_a.b-c.d")
	f.Fuzz(func(t *testing.T, seed uint64, namespace, network, host string) {
		r := rand.New(rand.NewPCG(seed, 0))
		request := asked(r, namespace, network, host)
		trees, err := Compile(request)
		if err != nil {
			if strings.Contains(err.Error(), "by Cilium") {
				t.Errorf("Sanitize refuses what our own checks did not foresee: %v", err)
			}
			return
		}
		object := asObject(t, "{}")
		object["spec"] = map[string]any{"endpointSelector": map[string]any{}, "ingress": trees.Ingress, "egress": trees.Egress}
		if len(trees.Ingress)+len(trees.Egress) > 0 {
			if err := agent(t, object); err != nil {
				t.Errorf("the agent refuses it: %v", err)
			}
			if err := check(object); err != nil {
				t.Errorf("it is refused as an object: %v", err)
			}
		}
		// Cilium's own encoding of what Cilium's types hold is what was emitted.
		rule := asCilium(t, trees)
		back, err := json.Marshal(map[string]any{"ingress": rule.Ingress, "egress": rule.Egress})
		if err != nil {
			t.Fatal(err)
		}
		var read struct{ Ingress, Egress []any }
		if err := json.Unmarshal(back, &read); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(asJSON(t, Trees{Ingress: trees.Ingress, Egress: trees.Egress}), asJSON(t, Trees{Ingress: read.Ingress, Egress: read.Egress})); diff != "" {
			t.Errorf("(-emitted +read back):\n%s", diff)
		}
		again, err := Compile(request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(asJSON(t, trees), asJSON(t, again)); diff != "" {
			t.Errorf("the second time (-first +second):\n%s", diff)
		}
	})
}

func asJSON(t testing.TB, trees Trees) string {
	t.Helper()
	data, err := json.MarshalIndent(map[string]any{"ingress": some(trees.Ingress), "egress": some(trees.Egress)}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func some(items []any) []any { return append([]any{}, items...) }

// asked is a request at random, with the given texts in some of its places.
func asked(r *rand.Rand, namespace, network, host string) Request {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	tenant := &v1alpha1.Tenant{}
	tenant.Name = "acme"
	ns := &v1alpha1.TenantNamespace{}
	for range r.IntN(4) {
		rule := v1alpha1.IngressRule{Ports: ports(r)}
		for range r.IntN(4) {
			rule.From = append(rule.From, []v1alpha1.IngressSource{
				{IngressController: true},
				{Namespace: one(namespace, "acme-web", "acme-db")},
				{Tenant: one("", "acme", "globex", "initech"), Namespace: one(namespace, "globex-api")},
				{CIDR: one(network, "0.0.0.0/0", "::/0", "10.1.2.3/8")},
			}[r.IntN(4)])
		}
		ns.Spec.Network.Ingress = append(ns.Spec.Network.Ingress, rule)
	}
	egress := func() (rules []v1alpha1.EgressRule) {
		for range r.IntN(4) {
			rule := v1alpha1.EgressRule{Ports: ports(r)}
			for range r.IntN(4) {
				rule.To = append(rule.To, []v1alpha1.EgressDestination{
					{Namespace: one(namespace, "acme-web", "acme-db")},
					{Tenant: one("", "acme", "globex", "initech"), Namespace: one(namespace, "globex-api")},
					{CIDR: one(network, "0.0.0.0/0", "::/0", "203.0.113.7/24")},
					{FQDN: one(host, "api.example.com", "*.example.com")},
				}[r.IntN(4)])
			}
			rules = append(rules, rule)
		}
		return rules
	}
	ns.Spec.Network.Egress, tenant.Spec.Network.Egress = egress(), egress()
	return Request{Tenant: tenant, Namespace: ns, Peers: []string{"globex"}}
}

func ports(r *rand.Rand) []v1alpha1.Port {
	var out []v1alpha1.Port
	for range []int{0, 1, 3, 41}[r.IntN(4)] {
		p := v1alpha1.Port{Port: 1 + r.Int32N(65535), Protocol: []string{"", "TCP", "UDP", "SCTP"}[r.IntN(4)]}
		if r.IntN(3) == 0 {
			p.EndPort = p.Port + r.Int32N(65536-p.Port)
		}
		out = append(out, p)
	}
	return out
}

func TestWhatPassedIsKnownAndWhatDidNotIsCheckedAgain(t *testing.T) {
	m := newMemo(4)
	checks := 0
	ask := func(content string, err error) {
		if got := m.once([]byte(content), func() error { checks++; return err }); got != nil && err == nil {
			t.Errorf("%s: %v", content, got)
		}
	}
	refused := fmt.Errorf("refused")
	for range 3 {
		ask("a", nil)
		ask("b", refused)
	}
	if checks != 4 {
		t.Errorf("%d checks, want one of a and three of b", checks)
	}
	for i := range 100 {
		ask(fmt.Sprint(i), nil)
		ask("a", nil)
	}
	if checks != 104 {
		t.Errorf("%d checks: what is asked for again and again was forgotten", checks)
	}
	if n := len(m.fresh) + len(m.old); n > 4 {
		t.Errorf("it remembers %d, want at most 4", n)
	}
}

func TestCheckingChangesNothing(t *testing.T) {
	object := asObject(t, `spec: {endpointSelector: {matchLabels: {app: web}}, ingress: [{fromEndpoints: [{matchLabels: {app: web}}], toPorts: [{ports: [{port: HTTP, protocol: tcp}]}]}]}`)
	before := runtime.DeepCopyJSON(object)
	if err := check(object); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, object); diff != "" {
		t.Error(diff)
	}
}
