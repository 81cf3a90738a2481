package meaning

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/fields"
	"github.com/aetherplatform/aether/internal/review"
)

// These are objects that a platform team's own base may hold, and Aether's does not.

const (
	closedYAML = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}`
	namespaced = `{apiVersion: v1, kind: Namespace, metadata: {name: acme-web, labels: {aetherplatform.cloud/tenant: acme, pod-security.kubernetes.io/enforce: restricted}}}`
)

func cilium(spec string) string {
	return `{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: rules}, spec: {endpointSelector: {}, ` + spec + `}}`
}

func kubernetes(spec string) string {
	return `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: rules}, spec: {podSelector: {}, ` + spec + `}}`
}

func role(rules string) string {
	return `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r}, rules: [` + rules + `]}`
}

func binding(ref string) string {
	return `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b}, roleRef: {` + ref + `}, subjects: [{kind: User, name: eve}]}`
}

// handmade is a side with one namespace of acme, and what is in it.
func handmade(t testing.TB, objects ...string) *review.Side {
	t.Helper()
	tenant := &review.Tenant{Name: "acme"}
	if !slices.ContainsFunc(objects, func(text string) bool { return strings.Contains(text, "kind: Namespace,") }) {
		objects = append([]string{namespaced}, objects...)
	}
	for _, text := range objects {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(text), &content); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		tenant.Objects = append(tenant.Objects, review.Rendered{
			Object: review.Object{
				Tenant: "acme", APIVersion: fields.Text(content, "apiVersion"), Kind: fields.Text(content, "kind"),
				Namespace: "acme-web", Name: fields.Text(content, "metadata", "name"),
			},
			Content: content, Digest: fields.Canonical(content),
		})
	}
	return &review.Side{Tenants: map[string]*review.Tenant{"acme": tenant}}
}

func TestObjectsOfAnyBaseAreUnderstood(t *testing.T) {
	eve := binding("kind: Role, name: r")
	tests := map[string]struct {
		why        string
		base, head []string
		want       []string
	}{
		"a verb that a wildcard had given": {
			why:  "eve could do it before",
			base: []string{role(`{apiGroups: [apps], resources: ["*"], verbs: ["*"]}`), eve},
			head: []string{role(`{apiGroups: [apps], resources: ["*"], verbs: ["*"]}, {apiGroups: [apps], resources: [deployments/scale], verbs: [patch]}`), eve},
		},
		"one object of all": {
			why:  "all of them were open",
			base: []string{role(`{apiGroups: [""], resources: [secrets], verbs: [get]}`), eve},
			head: []string{role(`{apiGroups: [""], resources: [secrets], verbs: [get]}, {apiGroups: [""], resources: [secrets], resourceNames: [db], verbs: [get]}`), eve},
		},
		"all objects instead of one": {
			why:  "that one was open, the others were not",
			base: []string{role(`{apiGroups: [""], resources: [configmaps], resourceNames: [a], verbs: [get]}`), eve},
			head: []string{role(`{apiGroups: [""], resources: [configmaps], verbs: [get]}`), eve},
			want: []string{"low RightsGained: User eve can now get ConfigMaps in acme-web"},
		},
		"a rule in two": {
			why:  "rules add up",
			base: []string{role(`{apiGroups: [apps], resources: [deployments], verbs: [patch, delete]}`), eve},
			head: []string{role(`{apiGroups: [apps], resources: [deployments], verbs: [delete]}, {apiGroups: [apps], resources: [deployments], verbs: [patch]}`), eve},
		},
		"deployments and secrets": {
			why:  "the riskiest comes first",
			base: []string{role(""), eve},
			head: []string{role(`{apiGroups: [apps], resources: [deployments], verbs: [patch, delete]}, {apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}`), eve},
			want: []string{"high RightsGained: User eve can now read Secrets and delete, patch Deployments (apps) in acme-web"},
		},
		"a wildcard": {
			why:  "nobody can tell what that will be",
			base: []string{role(`{apiGroups: [apps], resources: [deployments], verbs: [patch]}`), eve},
			head: []string{role(`{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}`), eve},
			want: []string{"high RightsGained: User eve can now do anything with every resource (every API group) in acme-web"},
		},
		"another role in a binding": {
			why:  "it is named where it is not rendered, and the binding cannot simply be changed",
			base: []string{binding("kind: ClusterRole, name: edit")},
			head: []string{binding("kind: ClusterRole, name: admin")},
			want: []string{
				"high RightsGained: User eve can now do all that ClusterRole admin allows in acme-web",
				"low CannotChangeInPlace: roleRef of RoleBinding b cannot be changed in acme-web: Aether deletes it and makes it anew",
			},
		},
		"a lesser role of Kubernetes": {
			why:  "admin had all that view has",
			base: []string{binding("kind: ClusterRole, name: admin")},
			head: []string{binding("kind: ClusterRole, name: view")},
			want: []string{
				"low CannotChangeInPlace: roleRef of RoleBinding b cannot be changed in acme-web: Aether deletes it and makes it anew",
				"low RightsLost: User eve can no longer do all that ClusterRole admin allows in acme-web",
			},
		},
		"default-deny goes": {
			why:  "whatever the other policies allow, everything is open",
			base: []string{closedYAML},
			head: []string{},
			want: []string{
				"high IsolationEroded: Nothing refuses egress of acme-web by default any more",
				"high IsolationEroded: Nothing refuses ingress of acme-web by default any more",
			},
		},
		"default-deny for some Pods only": {
			why:  "the others are open",
			base: []string{closedYAML},
			head: []string{strings.Replace(closedYAML, "podSelector: {}", "podSelector: {matchLabels: {app: web}}", 1)},
			want: []string{
				"high IsolationEroded: Nothing refuses egress of acme-web by default any more",
				"high IsolationEroded: Nothing refuses ingress of acme-web by default any more",
			},
		},
		"default-deny in Cilium's words": {
			why:  "two ways to say the same",
			base: []string{closedYAML},
			head: []string{cilium("enableDefaultDeny: {ingress: true, egress: true}")},
		},
		"default-deny comes": {
			why:  "it was open before, so nothing can be opened",
			head: []string{kubernetes(`policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]`)},
			want: []string{
				"info NetworkClosed: All egress of acme-web is now refused but what is opened",
				"info NetworkClosed: All ingress of acme-web is now refused but what is opened",
			},
		},
		"everyone, by a rule without peers": {
			why:  "an empty list means all in Kubernetes",
			base: []string{closedYAML},
			head: []string{closedYAML, kubernetes(`policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]`)},
			want: []string{"high NetworkOpened: acme-web can now be reached by everyone on 80/TCP"},
		},
		"nobody, by an empty rule of Cilium's": {
			why:  "an empty rule means nobody in Cilium",
			base: []string{closedYAML},
			head: []string{closedYAML, cilium(`ingress: [{}]`)},
		},
		"a namespace, in Cilium's words instead of Kubernetes'": {
			why:  "the same Pods on the same port",
			base: []string{closedYAML, kubernetes(`policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: a}}}], ports: [{port: 80}]}]`)},
			head: []string{closedYAML, cilium(`ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": a}}], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]`)},
		},
		"some Pods of a namespace that was open": {
			why:  "they were among all of them",
			base: []string{closedYAML, cilium(`ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": a}}]}]`)},
			head: []string{closedYAML, cilium(`ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": a}}]}, {fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": a, app: web}}], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]`)},
		},
		"another tenant as a whole": {
			why:  "none of its namespaces is named",
			base: []string{closedYAML},
			head: []string{closedYAML, kubernetes(`policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {aetherplatform.cloud/tenant: globex}}}]}]`)},
			want: []string{"high NetworkOpened: acme-web can now reach every namespace of tenant globex on every port"},
		},
		"every namespace": {
			why:  "an empty selector is everyone's",
			base: []string{closedYAML},
			head: []string{closedYAML, kubernetes(`policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]`)},
			want: []string{"high NetworkOpened: acme-web can now reach every namespace of the cluster on every port"},
		},
		"the metadata service": {
			why:  "it hands out the node's identity",
			base: []string{closedYAML},
			head: []string{closedYAML, kubernetes(`policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 169.254.169.254/32}}]}]`)},
			want: []string{"high NetworkOpened: acme-web can now reach network 169.254.169.254/32, the clouds' metadata service (169.254.169.254) included on every port"},
		},
		"an exception that goes": {
			why:  "what was left out is now open",
			base: []string{closedYAML, cilium(`egress: [{toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.9.0.0/16]}]}]`)},
			head: []string{closedYAML, cilium(`egress: [{toCIDRSet: [{cidr: 10.0.0.0/8}]}]`)},
			want: []string{"medium NetworkOpened: acme-web can now reach network 10.9.0.0/16 on every port"},
		},
		"a network, where the world was open": {
			why:  "it is part of it",
			base: []string{closedYAML, cilium(`egress: [{toEntities: [world]}]`)},
			head: []string{closedYAML, cilium(`egress: [{toEntities: [world]}, {toCIDR: [10.0.0.0/8]}, {toFQDNs: [{matchName: a.example.com}]}]`)},
		},
		"requests that were limited": {
			why:  "GET /health was all that was allowed",
			base: []string{closedYAML, cilium(`ingress: [{fromEntities: [cluster], toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: /health}]}}]}]`)},
			head: []string{closedYAML, cilium(`ingress: [{fromEntities: [cluster], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]`)},
			want: []string{
				"high NetworkOpened: acme-web can now be reached by everything in the cluster on 80/TCP",
			},
		},
		"names of TLS that were limited": {
			why:  "one host of the world was all that was allowed",
			base: []string{closedYAML, cilium(`egress: [{toEntities: [world], toPorts: [{ports: [{port: "443", protocol: TCP}], serverNames: [api.example.com]}]}]`)},
			head: []string{closedYAML, cilium(`egress: [{toEntities: [world], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}]`)},
			want: []string{"high NetworkOpened: acme-web can now reach the internet, the clouds' metadata service (169.254.169.254) included on 443/TCP"},
		},
		"authentication that was demanded": {
			why:  "whoever could not prove who they are was refused",
			base: []string{closedYAML, cilium(`ingress: [{fromEntities: [cluster], authentication: {mode: required}}]`)},
			head: []string{closedYAML, cilium(`ingress: [{fromEntities: [cluster], authentication: {mode: disabled}}]`)},
			want: []string{"high NetworkOpened: acme-web can now be reached by everything in the cluster on every port"},
		},
		"the node, by a label of Cilium's own": {
			why:  "such a label is of no namespace, and not of a Pod of this one",
			base: []string{closedYAML, cilium(`ingress: [{fromEndpoints: [{}]}]`)},
			head: []string{closedYAML, cilium(`ingress: [{fromEndpoints: [{}, {matchLabels: {"reserved:host": ""}}]}]`)},
			want: []string{"high NetworkOpened: acme-web can now be reached by the cluster's host on every port"},
		},
		"a port in Cilium's spelling": {
			why:  "a number that begins with 0 is octal, and 010 is the 8 that was open",
			base: []string{closedYAML, cilium(`egress: [{toCIDR: [10.0.0.0/8], toPorts: [{ports: [{port: "8", protocol: TCP}]}]}]`)},
			head: []string{closedYAML, cilium(`egress: [{toCIDR: [10.0.0.0/8], toPorts: [{ports: [{port: "010", protocol: TCP}]}]}]`)},
		},
		"a deny rule that goes": {
			why:  "denials win over all that is allowed",
			base: []string{closedYAML, cilium(`egressDeny: [{toCIDR: [10.9.0.0/16]}]`)},
			head: []string{closedYAML},
			want: []string{"high IsolationEroded: acme-web no longer refuses egress to network 10.9.0.0/16 on every port"},
		},
		"no Pod Security level": {
			why:  "without one, everything is admitted",
			base: []string{},
			head: []string{`{apiVersion: v1, kind: Namespace, metadata: {name: acme-web, labels: {aetherplatform.cloud/tenant: acme}}}`},
			want: []string{"high IsolationEroded: No Pod Security level is enforced in acme-web"},
		},
		"a quota that goes": {
			why:  "nothing bounds it any more",
			base: []string{`{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {pods: "10"}}}`},
			want: []string{"medium QuotaMoved: Quota of acme-web: pods 10 → unbounded"},
		},
		"a quota in other words": {
			why:  "cpu is requests.cpu, and 2000m is 2",
			base: []string{`{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {cpu: "2"}}}`},
			head: []string{`{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {requests.cpu: 2000m}}}`},
		},
		"what cannot be changed": {
			why:  "the merge would be applied halfway",
			base: []string{`{apiVersion: v1, kind: Secret, metadata: {name: s}, type: Opaque, data: {a: c2VjcmV0}}`, `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: p}, spec: {storageClassName: a, resources: {requests: {storage: 1Gi}}}}`},
			head: []string{`{apiVersion: v1, kind: Secret, metadata: {name: s}, type: kubernetes.io/tls, data: {a: b3RoZXI=}}`, `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: p}, spec: {storageClassName: b, resources: {requests: {storage: 2Gi}}}}`},
			want: []string{
				"high CannotChangeInPlace: spec.storageClassName of PersistentVolumeClaim p cannot be changed in acme-web: Aether fails to apply it until the object is deleted",
				"high CannotChangeInPlace: type of Secret s cannot be changed in acme-web: Aether fails to apply it until the object is deleted",
				"medium SecretSourceChanged: Secret s of acme-web has another content",
			},
		},
		"a volume that goes": {
			why:  "with its data",
			base: []string{`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: p}}`},
			want: []string{"high DataDeleted: PersistentVolumeClaim p of acme-web is deleted, and the data in it as its StorageClass says"},
		},
		"a policy that goes": {
			why:  "it refused something",
			base: []string{`{apiVersion: kyverno.io/v1, kind: Policy, metadata: {name: images}, spec: {}}`},
			want: []string{"high IsolationEroded: Policy images is removed from acme-web"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := lines(Find(handmade(t, tt.base...), handmade(t, tt.head...), &review.Report{}))
			got = slices.DeleteFunc(got, func(line string) bool {
				return strings.HasPrefix(line, "info NetworkClosed") && !strings.Contains(line, ": All") // told elsewhere
			})
			if diff := cmp.Diff(append([]string{}, tt.want...), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.why, diff)
			}
		})
	}
}

func TestNoFindingHoldsAValueOfASecretOrACharacterThatHides(t *testing.T) {
	const hidden = "c2VjcmV0LXZhbHVl"
	base := handmade(t, closedYAML, `{apiVersion: v1, kind: Secret, metadata: {name: s}, immutable: true, data: {a: old}}`)
	head := handmade(t, closedYAML, `{apiVersion: v1, kind: Secret, metadata: {name: s}, immutable: true, data: {a: `+hidden+`}, stringData: {b: `+hidden+`}}`,
		role(`{apiGroups: [""], resources: [pods], verbs: ["x\u202Ey\nz\u0001"]}`), binding("kind: Role, name: r"))
	findings := Find(base, head, &review.Report{})
	if len(findings) < 2 {
		t.Fatalf("got %v", findings)
	}
	for _, f := range findings {
		text := f.Title + strings.Join(f.Details, "")
		if strings.Contains(text, hidden) || strings.ContainsAny(text, "\u202E\n\x01\x02") {
			t.Errorf("%q", text)
		}
	}
}

// A field that Cilium's rules have and that is not read here would be an opening
// that no review tells of.
func TestEveryFieldOfARuleOfCiliumsIsReadOrShownAsItIs(t *testing.T) {
	for dir, rule := range map[string]reflect.Type{"ingress": reflect.TypeFor[api.IngressRule](), "egress": reflect.TypeFor[api.EgressRule]()} {
		for _, f := range reflect.VisibleFields(rule) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "authentication" || name == "toPorts" || name == "icmps" {
				continue // what a rule is about, without a word on whom
			}
			item := map[string]string{
				"fromCIDR": "10.0.0.0/8", "toCIDR": "10.0.0.0/8", "fromEntities": "host", "toEntities": "host",
				"fromCIDRSet": "{cidr: 10.0.0.0/8}", "toCIDRSet": "{cidr: 10.0.0.0/8}", "toFQDNs": "{matchName: a.example.com}",
				"fromRequires": "a", "toRequires": "a",
			}[name]
			if item == "" {
				item = "{}"
			}
			closed := "enableDefaultDeny: {ingress: true, egress: true}, "
			got := lines(Find(handmade(t, cilium(closed+dir+"Deny: [{}]")), handmade(t, cilium(closed+dir+": [{"+name+": ["+item+"]}]")), &review.Report{}))
			if !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "NetworkOpened") }) {
				t.Errorf("%s.%s: nothing is said of it: %v", dir, name, got)
			}
		}
	}
}

func TestManyDifferentRulesAreComparedInBoundedTime(t *testing.T) {
	var rules []string
	for i := range 2000 {
		rules = append(rules, fmt.Sprintf(`{toCIDR: ["10.%d.%d.0/24"], toPorts: [{ports: [{port: "%d", protocol: TCP}]}]}`, i/256, i%256, i+1))
	}
	got := lines(Find(handmade(t, closedYAML), handmade(t, closedYAML, cilium(`egress: [`+strings.Join(rules, ",")+`]`)), &review.Report{}))
	want := []string{"high NetworkOpened: acme-web can now reach networks, by more rules than can be compared: read them on every port"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A base is anything that Kustomize builds: no content may stop a review.
func FuzzFind(f *testing.F) {
	for _, seed := range []string{
		closedYAML, cilium(`ingress: [{fromEndpoints: [{matchExpressions: [{key: a, operator: In, values: [b, c]}]}]}]`),
		kubernetes(`egress: [{to: [{ipBlock: {cidr: "::/0", except: ["0.0.0.0/0", "::ffff:10.0.0.0/104"]}}], ports: [{port: -1, endPort: 1e99}]}]`),
		role(`{apiGroups: ["*"], resources: ["*/x"], verbs: [get]}`), binding("kind: Role, name: r"),
		`{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {pods: 1e99, cpu: -1, a: [1]}}}`, `{kind: [], spec: 1}`,
	} {
		content, err := yaml.YAMLToJSON([]byte(seed))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, []byte(closedYAML))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		side := func(data []byte) *review.Side {
			var content map[string]any
			if json.Unmarshal(data, &content) != nil {
				return nil
			}
			s := handmade(t)
			for _, kind := range [][2]string{
				{fields.Text(content, "apiVersion"), fields.Text(content, "kind")},
				{"cilium.io/v2", "CiliumNetworkPolicy"}, {"networking.k8s.io/v1", "NetworkPolicy"}, {"v1", "Namespace"}, {"v1", "ResourceQuota"},
				{"rbac.authorization.k8s.io/v1", "Role"}, {"rbac.authorization.k8s.io/v1", "RoleBinding"}, {"apps/v1", "StatefulSet"}, {"v1", "Secret"},
			} {
				s.Tenants["acme"].Objects = append(s.Tenants["acme"].Objects, review.Rendered{
					Object: review.Object{Tenant: "acme", APIVersion: kind[0], Kind: kind[1], Namespace: "acme-web", Name: "r"}, Content: content,
				})
			}
			return s
		}
		base, head := side(a), side(b)
		for _, f := range Find(base, head, nil) {
			if f.Title == "" || strings.ContainsAny(f.Title, "\x01\x02\n") {
				t.Errorf("a finding without a plain title: %+v", f)
			}
		}
		if base != nil {
			if got := Find(base, base, nil); len(got) > 0 {
				t.Errorf("the same on both sides has findings: %v", lines(got))
			}
		}
	})
}
