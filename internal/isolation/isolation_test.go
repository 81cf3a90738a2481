package isolation

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/reach"
)

const closedYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: NAME, labels: {aetherplatform.cloud/tenant: acme}}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: default-deny, namespace: NAME, annotations: {aetherplatform.cloud/source-path: "acme/NAME.yaml:1"}}
spec:
  endpointSelector: {}
  enableDefaultDeny: {ingress: true, egress: true}
  ingress: [{fromEndpoints: [{}]}]
  egress:
  - toEndpoints: [{}]
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, "k8s:k8s-app": kube-dns}}]
    toPorts: [{ports: [{port: "53", protocol: ANY}]}]
`

const rules = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rules, namespace: acme-web, annotations: {aetherplatform.cloud/source-path: "acme/acme-web.yaml:1"}}
spec:
  endpointSelector: {}
  egress:
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-db}}]
    toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
  - toFQDNs: [{matchName: api.example.com}]
    toPorts: [{ports: [{port: "8443", protocol: TCP}]}]
  - toCIDRSet: [{cidr: 203.0.113.0/24}]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rules, namespace: acme-db, annotations: {aetherplatform.cloud/source-path: "acme/acme-db.yaml:1"}}
spec:
  endpointSelector: {}
  ingress:
  - fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": acme-web}}]
    toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
`

func model(t testing.TB, texts ...string) *reach.Model {
	t.Helper()
	var objects []*unstructured.Unstructured
	for text := range strings.SplitSeq(strings.Join(texts, "\n---\n"), "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if len(u.Object) > 0 {
			objects = append(objects, u)
		}
	}
	m := reach.New(objects)
	m.Locate(func(place string) string { return "tenants/" + place })
	return m
}

func fleet(t testing.TB) Input {
	t.Helper()
	return Input{
		Model:   model(t, closed("acme-web"), closed("acme-db"), rules),
		Tenants: map[string]string{"acme-web": "acme", "acme-db": "acme"},
		Other:   "default", Labels: map[string]string{"app": "probe"},
	}
}

func closed(name string) string { return strings.ReplaceAll(closedYAML, "NAME", name) }

func names(ends []*End) []string {
	var out []string
	for _, e := range ends {
		out = append(out, e.Name)
	}
	return out
}

func TestThePlanHasEveryEndThatRulesName(t *testing.T) {
	in := fleet(t)
	in.Also = []Target{{Host: "other.example.com", Port: 443}}
	p := New(in)
	if got, want := names(p.Rows), []string{"acme-db", "acme-web", "default", "the internet"}; !slices.Equal(got, want) {
		t.Errorf("rows: got %v, want %v", got, want)
	}
	want := []string{"acme-db", "acme-web", "default", "api.example.com", "other.example.com", "203.0.113.1", "203.0.114.0", "169.254.169.254",
		"DNS", "API server", "its node", "another node"}
	if got := names(p.Columns); !slices.Equal(got, want) {
		t.Errorf("columns: got %v, want %v", got, want)
	}
	tried := map[string]bool{}
	for _, c := range p.Checks {
		tried[c.From.Name+" "+c.To.Name+" "+c.Port.String()] = c.Verdict.Allowed
	}
	for path, allowed := range map[string]bool{
		"acme-web acme-db 5432/TCP":          true,
		"acme-web acme-db 20000/TCP":         false, // a port that no rule names
		"acme-web acme-db 443/TCP":           false, // a port that is open to others
		"default acme-db 5432/TCP":           false,
		"acme-db acme-web 20000/TCP":         false,
		"acme-db acme-db 20000/UDP":          true,
		"acme-web api.example.com 8443/TCP":  true,
		"acme-db api.example.com 8443/TCP":   false,
		"default api.example.com 8443/TCP":   true,
		"acme-web other.example.com 443/TCP": false,
		"acme-web 203.0.113.1 443/TCP":       true,
		"acme-web 203.0.114.0 443/TCP":       false,
		"acme-web 169.254.169.254 80/TCP":    false,
		"acme-web DNS 53/UDP":                true,
		"acme-web API server 6443/TCP":       false,
		"acme-web its node 10250/TCP":        false,
		"the internet acme-web 20000/TCP":    false,
	} {
		got, ok := tried[path]
		if !ok || got != allowed {
			t.Errorf("%s: tried: %v, allowed: %v, want %v", path, ok, got, allowed)
		}
	}
}

func TestHostsThatShareAnAddressShareWhatIsAllowed(t *testing.T) {
	in := fleet(t)
	in.Also = []Target{{Host: "other.example.com", Port: 8443}}
	address := netip.MustParseAddr("198.51.100.7")
	in.Cluster = &Cluster{Hosts: map[string][]netip.Addr{"api.example.com": {address}, "other.example.com": {address}}}
	for _, c := range New(in).Checks {
		if c.From.Name == "acme-web" && c.To.Name == "other.example.com" && !c.Verdict.Allowed {
			t.Errorf("%s: Cilium knows the address as one of api.example.com", c.Port)
		}
	}
}

// asExpected is a cluster in which everything is as it should be.
func asExpected(p *Plan) map[*Check]Seen {
	seen := map[*Check]Seen{}
	for _, c := range p.Checks {
		s := Seen{Tried: c.From.Unprobed == "" && c.To.Unprobed == "", All: 2}
		if c.Verdict.Allowed {
			s.Passed = 2
		}
		seen[c] = s
	}
	return seen
}

func TestAClusterThatIsAsTheFleetSaysHasNoDifferences(t *testing.T) {
	in := fleet(t)
	p := New(in)
	r := p.Judge(asExpected(p), in.Model)
	if r.Failed() || r.Summary.Unproven != 0 || r.Summary.Refused == 0 || r.Summary.Allowed == 0 {
		t.Errorf("got %+v %+v", r.Summary, r.Differences)
	}
}

func TestADifferenceNamesThePolicyThatIsToBlame(t *testing.T) {
	for name, tt := range map[string]struct {
		why            string
		live           []string
		from, to, port string
		passed         int
		want           string
	}{
		"someone's policy opens": {
			why: "the fleet has no such policy",
			live: []string{closed("acme-web"), closed("acme-db"), rules,
				`{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: theirs, namespace: acme-db}, spec: {endpointSelector: {}, ingress: [{fromEntities: [cluster]}]}}`},
			from: "default", to: "acme-db", port: "5432/TCP", passed: 2,
			want: "CiliumNetworkPolicy acme-db/theirs spec.ingress[0].fromEntities[0]: it opens the ingress of acme-db; the fleet has no such policy",
		},
		"a policy of the fleet is changed": {
			why:  "the rule is in the cluster and not in the fleet",
			live: []string{closed("acme-web"), closed("acme-db"), strings.Replace(rules, "203.0.113.0/24", "0.0.0.0/0", 1)},
			from: "acme-web", to: "203.0.114.0", port: "443/TCP", passed: 1,
			want: "CiliumNetworkPolicy acme-web/rules spec.egress[2].toCIDRSet[0]: it opens the egress of acme-web; it is changed in the cluster, the fleet has it from acme/acme-web.yaml:1",
		},
		"default-deny is gone": {
			why:  "nothing refuses any more",
			live: []string{rules},
			from: "default", to: "acme-web", port: "20000/TCP", passed: 2,
			want: "CiliumNetworkPolicy acme-web/default-deny is not in the cluster, and nothing else refuses the ingress of acme-web",
		},
		"someone's policy denies": {
			why: "a denial is stronger than what the fleet opens",
			live: []string{closed("acme-web"), closed("acme-db"), rules,
				`{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {name: freeze}, spec: {endpointSelector: {}, egressDeny: [{toEntities: [all]}]}}`},
			from: "acme-web", to: "acme-db", port: "5432/TCP", passed: 0,
			want: "CiliumClusterwideNetworkPolicy freeze spec.egressDeny[0].toEntities[0]: it denies the egress of acme-web; the fleet has no such policy",
		},
		"a policy that opens is gone": {
			why:  "its rule is what the fleet opened the path by",
			live: []string{closed("acme-web"), closed("acme-db"), strings.Split(rules, "\n---\n")[0]},
			from: "acme-web", to: "acme-db", port: "5432/TCP", passed: 1,
			want: "CiliumNetworkPolicy acme-db/rules spec.ingress[0].fromEndpoints[0]: it no longer opens the ingress of acme-db; the policy is not in the cluster, the fleet has it from tenants/acme/acme-db.yaml:1",
		},
		"nothing explains it": {
			why:  "the policies are the fleet's, so they are not enforced",
			live: []string{closed("acme-web"), closed("acme-db"), rules},
			from: "default", to: "acme-web", port: "20000/TCP", passed: 2,
			want: "the policies of the cluster say what the fleet says, and are not enforced so: it is decided by CiliumNetworkPolicy acme-web/default-deny",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := New(fleet(t))
			seen := asExpected(p)
			for _, c := range p.Checks {
				if c.From.Name == tt.from && c.To.Name == tt.to && c.Port.String() == tt.port {
					seen[c] = Seen{Tried: true, Passed: tt.passed, All: 2}
				}
			}
			live := model(t, tt.live...)
			live.Locate(func(place string) string { return strings.TrimPrefix(place, "tenants/") }) // as the cluster has it
			r := p.Judge(seen, live)
			for _, d := range r.Differences {
				if d.From == tt.from && d.To == tt.to && d.Port == tt.port {
					if d.Why != tt.want {
						t.Errorf("%s\ngot  %s\nwant %s", tt.why, d.Why, tt.want)
					}
					return
				}
			}
			t.Errorf("the difference is not there: %+v", r.Differences)
		})
	}
}

func TestWhatWasNotTriedIsJudgedByTheClustersPolicies(t *testing.T) {
	p := New(fleet(t))
	live := model(t, closed("acme-web"), closed("acme-db"), rules,
		`{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: theirs, namespace: acme-db}, spec: {endpointSelector: {}, ingress: [{fromEntities: [world]}]}}`)
	r := p.Judge(asExpected(p), live)
	if !r.Failed() {
		t.Fatal("the internet reaches acme-db, and nothing is said of it")
	}
	for _, d := range r.Differences {
		if d.From != "the internet" || d.To != "acme-db" || d.State != Opened {
			t.Errorf("got %+v", d)
		}
	}
}

func TestARefusalWhereNothingAnswersProvesNothing(t *testing.T) {
	p := New(fleet(t))
	seen := asExpected(p)
	for c, s := range seen {
		if c.To.Name == "203.0.114.0" {
			s.Unproven = "nothing answers"
			seen[c] = s
		}
	}
	r := p.Judge(seen, p.Model)
	for _, c := range r.Cells {
		if c.To == "203.0.114.0" && c.State != Unproven {
			t.Errorf("%s: got %s", c.From, c.State)
		}
	}
}

func TestThePageShowsTextOfAClusterAsText(t *testing.T) {
	in := fleet(t)
	p := New(in)
	r := p.Judge(asExpected(p), nil)
	r.Cluster = `<script>alert(1)</script>`
	r.Differences = []Difference{{From: "a\u202eb", To: `"><img src=x>`, State: Opened, Cause: Cause{Why: "<b>why</b>"}}}
	var out bytes.Buffer
	if err := HTML(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<img", "<b>why", "\u202e"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if !strings.Contains(out.String(), "default-src &#39;none&#39;") && !strings.Contains(out.String(), "default-src 'none'") {
		t.Error("the page may make requests")
	}
}
