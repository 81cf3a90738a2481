package render

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// configMap is a component's object with data of the case's.
func configMap(metadata, data string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: " + metadata + "\ndata: " + data + "\n"
}

// ciliumPolicy is the YAML of a CiliumNetworkPolicy.
func ciliumPolicy(metadata, spec string) string {
	return "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: " + metadata + "}\nspec: " + spec + "\n"
}

func compileOwn(t testing.TB, own string) (*Template, error) {
	t.Helper()
	p := parse[v1alpha1.NamespaceProfile](t, profileYAML)
	p.Spec.Base.Path = "profiles/test"
	return Compile(p, component(map[string]string{"namespace/own/own.yaml": own}))
}

func TestValuesOfATemplateAreSetOnTheTree(t *testing.T) {
	tests := map[string]struct {
		why  string
		own  string
		want map[string]any
	}{
		"an expression that is the whole value": {
			why:  "it keeps its type",
			own:  configMap("{name: a}", `{quota: "${size.quota}", cordoned: "${namespace.cordoned}"}`),
			want: map[string]any{"quota": map[string]any{"pods": "20", "requests.cpu": "2", "requests.memory": "4Gi"}, "cordoned": false},
		},
		"expressions in a longer string": {
			why:  "they are joined as text",
			own:  configMap("{name: a}", `{a: "of ${tenant.name} on ${cluster.name}: ${size(namespace.labels)}"}`),
			want: map[string]any{"a": "of acme on acme-prod: 1"},
		},
		"an escape": {
			why:  "scripts hold ${…} of their own",
			own:  configMap("{name: a}", `{a: "$${HOME}", b: "$${tenant.name} is ${tenant.name}"}`),
			want: map[string]any{"a": "${HOME}", "b": "${tenant.name} is acme"},
		},
		"null": {
			why:  "a field that is not set is left out",
			own:  configMap("{name: a}", `{a: "${has(namespace.gitops) ? dyn(null) : dyn('x')}", b: kept}`),
			want: map[string]any{"b": "kept"},
		},
		"a map that stands for its value": {
			why:  "Kustomize takes no string in some fields",
			own:  configMap("{name: a}", `{a: {$value: "${tenant.name}"}}`),
			want: map[string]any{"a": "acme"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			template, err := compileOwn(t, tt.own)
			if err != nil {
				t.Fatal(err)
			}
			got := find(t, mustRender(t, template, example(t)), "ConfigMap", "a")["data"]
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.why, diff)
			}
		})
	}
}

func TestATemplateThatIsWrongSaysWhereAndWhatToWrite(t *testing.T) {
	tests := map[string]struct{ own, want string }{
		"a field that there is not": {
			configMap("{name: a}", `{x: {y: ["${size.qota}"]}}`),
			`namespace/own/own.yaml: ConfigMap "a": data.x.y[0]: ${size.qota}: undefined field 'qota'; size has limits, name, quota`,
		},
		"a map in a longer string": {
			configMap("{name: a}", `{x: "quota ${size.quota}"}`),
			`namespace/own/own.yaml: ConfigMap "a": data.x: ${size.quota}: a map(string, string) cannot be part of a longer string; make it the whole value, or turn it into a string`,
		},
		"an expression in a key": {
			configMap("{name: a}", `{"${tenant.name}": x}`),
			`namespace/own/own.yaml: ConfigMap "a": data: the key "${tenant.name}" holds an expression; only values may`,
		},
		"a condition that is no bool": {
			configMap(`{name: a, annotations: {aetherplatform.cloud/include-when: "${tenant.name}"}}`, "{}"),
			`namespace/own/own.yaml: ConfigMap "a": metadata.annotations[aetherplatform.cloud/include-when]: ${tenant.name}: want a bool, this is a string`,
		},
		"a condition in quotes": {
			configMap(`{name: a, annotations: {aetherplatform.cloud/include-when: "true"}}`, "{}"),
			`namespace/own/own.yaml: ConfigMap "a": metadata.annotations[aetherplatform.cloud/include-when]: "true": want one expression and nothing around it: ${…}`,
		},
		"a repetition of what is no list": {
			configMap(`{name: a, annotations: {aetherplatform.cloud/for-each: "${tenant.name}"}}`, "{}"),
			`namespace/own/own.yaml: ConfigMap "a": metadata.annotations[aetherplatform.cloud/for-each]: ${tenant.name}: want a list, this is a string`,
		},
		"each without a repetition": {
			configMap("{name: a}", `{x: "${each.name}"}`),
			`namespace/own/own.yaml: ConfigMap "a": data.x: ${each.name}: undeclared reference to 'each'; there are tenant, namespace, profile, size, cluster`,
		},
		"a field that an item has not": {
			configMap(`{name: "${each.nam}", annotations: {aetherplatform.cloud/for-each: "${namespace.roles}"}}`, "{}"),
			`namespace/own/own.yaml: ConfigMap "${each.nam}": metadata.name: ${each.nam}: undefined field 'nam'; Role has name, rules, subjects`,
		},
		"an expression for a kind": {
			"apiVersion: v1\nkind: ${tenant.name}\nmetadata: {name: a}\n",
			`namespace/own/own.yaml: ${tenant.name} "a": apiVersion and kind: write them out; expressions are for other fields`,
		},
		"a kind of the cluster": {
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\n",
			`namespace/own/own.yaml: ClusterRole "a": kind: ClusterRole belongs to no namespace; a component of a namespace may make only what lives in it`,
		},
		"a kind of the cluster that Kustomize does not know": {
			"apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: a}\n",
			`namespace/own/own.yaml: CiliumClusterwideNetworkPolicy "a": kind: CiliumClusterwideNetworkPolicy belongs to no namespace; a component of a namespace may make only what lives in it`,
		},
		"a field that Cilium's policies have not": {
			ciliumPolicy("a", "{endpointSelector: {matchLabel: {app: web}}, ingress: [{}]}"),
			`namespace/own/own.yaml: CiliumNetworkPolicy "a": spec.endpointSelector.matchLabel: CiliumNetworkPolicy cilium.io/v2 has no such field`,
		},
		"a field that Cilium's policies have not, where it is not always made": {
			ciliumPolicy("a, annotations: {aetherplatform.cloud/include-when: '${namespace.cordoned}'}", "{endpointSelector: {}, ingres: '${namespace.network.ingress}'}"),
			`namespace/own/own.yaml: CiliumNetworkPolicy "a": spec.ingres: CiliumNetworkPolicy cilium.io/v2 has no such field`,
		},
		"a rule that Cilium refuses": {
			ciliumPolicy("a", `{endpointSelector: {}, egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": "${namespace.name}"}}], toPorts: [{ports: [{port: "0x50z-way-too-long"}]}]}]}`),
			`namespace/own/own.yaml: CiliumNetworkPolicy "a": spec.egress[0]: refused by Cilium: unable to parse port: strconv.ParseUint: parsing "0x50z-way-too-long": invalid syntax`,
		},
		"a rule that Cilium refuses for namespaces that ask for nothing": {
			ciliumPolicy("a", `{endpointSelector: {}, ingress: "${namespace.network.ingress}"}`),
			`namespace/own/own.yaml: CiliumNetworkPolicy "a": spec: refused by Cilium: rule must have at least one of Ingress, IngressDeny, Egress, EgressDeny`,
		},
		"another version of Cilium's policies": {
			strings.Replace(ciliumPolicy("a", "{endpointSelector: {}, ingress: [{}]}"), "cilium.io/v2", "cilium.io/v3", 1),
			`namespace/own/own.yaml: CiliumNetworkPolicy "a": apiVersion: cilium.io/v3 is not a version of CiliumNetworkPolicy; write cilium.io/v2`,
		},
		"a tenant": {
			"apiVersion: aetherplatform.cloud/v1alpha1\nkind: Tenant\nmetadata: {name: a}\n",
			`namespace/own/own.yaml: Tenant "a": kind: Tenant is what Aether reads, not what it makes`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := compileOwn(t, tt.own)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestObjectsStayInTheirNamespace(t *testing.T) {
	binding := func(ref, subject string) string {
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a}\nroleRef: " + ref + "\nsubjects: [" + subject + "]\n"
	}
	role := "{apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}"
	tests := map[string]struct{ own, want string }{
		"another namespace": {
			configMap("{name: a, namespace: kube-system}", "{}"),
			`cannot render ConfigMap "a" (namespace/own): metadata.namespace: "kube-system" is another namespace; leave it out`,
		},
		"another Namespace": {
			"apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-public}\n",
			`cannot render Namespace "kube-public" (namespace/own): metadata.name: "kube-public" is another namespace; write ${namespace.name}`,
		},
		"a name that is none": {
			configMap(`{name: "${tenant.displayName}"}`, "{}"),
			`cannot render ConfigMap "${tenant.displayName}" (namespace/own): metadata.name: "Acme Corp" is not a name: a lowercase RFC 1123 subdomain`,
		},
		"a policy that Cilium refuses for this namespace": {
			ciliumPolicy("a", `{endpointSelector: {matchLabels: {team: "${tenant.displayName}"}}, ingress: [{}]}`),
			`cannot render CiliumNetworkPolicy "a" (namespace/own): namespace/own/own.yaml: spec: refused by Cilium: invalid label selector: matchLabels: Invalid value: "Acme Corp"`,
		},
		"one name for all items": {
			configMap(`{name: same, annotations: {aetherplatform.cloud/for-each: "${['a', 'b']}"}}`, "{}"),
			`cannot render ConfigMap "same" (namespace/own): metadata.name: there is another ConfigMap "same"; each needs a name of its own`,
		},
		"a ClusterRole bound": {
			binding("{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}", "{kind: User, name: a}"),
			`cannot render RoleBinding "a" (namespace/own): roleRef.kind: ClusterRole is not Role; write the rules into a Role of the component`,
		},
		"everyone who is logged in": {
			binding(role, "{kind: Group, name: 'system:authenticated'}"),
			`cannot render RoleBinding "a" (namespace/own): subjects[0].name: "system:authenticated": names that begin with 'system:' belong to Kubernetes; name a user or group of your identity provider`,
		},
		"another tenant's service account": {
			binding(role, "{kind: ServiceAccount, name: deploy, namespace: globex-web}"),
			`cannot render RoleBinding "a" (namespace/own): subjects[0].namespace: "globex-web" is not one of the tenant's own; name one that begins with "acme-"`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			template, err := compileOwn(t, tt.own)
			if err != nil {
				t.Fatal(err)
			}
			_, err = template.Render(example(t))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestABaseNeverLeavesItself(t *testing.T) {
	refused := func(path string) string {
		return fmt.Sprintf("namespace/own/kustomization.yaml: %q is not a path inside the base; copy what it names into the base and write a relative path", path)
	}
	const head = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
	tests := map[string]struct{ kustomization, want string }{
		"a URL":                  {"resources: ['https://example.com/x.yaml']", refused("https://example.com/x.yaml")},
		"a repository":           {"resources: ['git@github.com:a/b']", refused("git@github.com:a/b")},
		"a repository on GitHub": {"components: [github.com/a/b]", refused("github.com/a/b")},
		"a URL for a patch":      {"patches: [{path: 'http://169.254.169.254/x'}]", refused("http://169.254.169.254/x")},
		"a URL for a replacement": {
			"replacements: [{path: 'https://example.com/x'}]", refused("https://example.com/x"),
		},
		"a URL for a generator's file": {
			"configMapGenerator: [{name: a, files: ['k=https://example.com/x']}]", refused("https://example.com/x"),
		},
		"a URL for a generator's environment": {
			"secretGenerator: [{name: a, envs: ['https://example.com/x']}]", refused("https://example.com/x"),
		},
		"an absolute path": {"resources: [/etc/passwd]", refused("/etc/passwd")},
		"a way out": {
			"resources: [../../../etc/passwd]",
			`namespace/own/kustomization.yaml: "../../../etc/passwd": there is no such file in the base`,
		},
		"a chart":              {"helmCharts: [{name: a}]", "namespace/own/kustomization.yaml: helmCharts: this field cannot be used in a base"},
		"a plugin":             {"generators: [x.yaml]", "namespace/own/kustomization.yaml: generators: this field cannot be used in a base"},
		"schemas for everyone": {"openapi: {path: x.json}", "namespace/own/kustomization.yaml: openapi: this field cannot be used in a base"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := parse[v1alpha1.NamespaceProfile](t, profileYAML)
			p.Spec.Base.Path = "profiles/test"
			_, err := Compile(p, component(map[string]string{"namespace/own/kustomization.yaml": head + tt.kustomization}))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
