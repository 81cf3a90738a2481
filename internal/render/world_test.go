package render

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// profileYAML, tenantYAML and namespaceYAML are the example of the design, with
// what exercises every component added.
const (
	profileYAML = `
metadata: {name: default}
spec:
  base: {path: profiles/default}
  podSecurity: restricted
  sizes:
    small: {quota: {requests.cpu: "2", requests.memory: 4Gi, pods: "20"}, limits: [{type: Container, defaultRequest: {cpu: 50m, memory: 64Mi}}]}
    large: {quota: {requests.cpu: "16", requests.memory: 64Gi, pods: "200"}}
  roles:
    oncall: [{apiGroups: [""], resources: [pods/exec], verbs: [create]}]
  labels: {cost-center: shared}
`
	tenantYAML = `
metadata: {name: acme}
spec:
  displayName: Acme Corp
  owners: [{kind: Group, name: acme-admins, role: admin}]
  namespaces: {max: 10, profiles: [default]}
  quota: {hard: {requests.cpu: "32", requests.memory: 128Gi}}
  network: {peers: [{tenant: globex}]}
`
	namespaceYAML = `
metadata: {name: acme-payments}
spec:
  tenant: acme
  profile: default
  size: small
  access:
  - {kind: User, name: dev@example.com, role: editor}
  network:
    ingress:
    - from: [{ingressController: true}, {namespace: acme-web}, {tenant: globex, namespace: globex-billing}]
      ports: [{port: 8443, protocol: TCP}]
    egress:
    - to: [{fqdn: api.stripe.com}, {cidr: 203.0.113.0/24}, {namespace: acme-ledger}]
      ports: [{port: 443, protocol: TCP}]
  gitops: {url: https://git.example.com/acme/payments.git, branch: main, path: ./deploy, secretName: git-credentials}
  clusters: [acme-prod]
`
)

// parse reads a typed object from YAML.
func parse[T any](t testing.TB, text string) *T {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict([]byte(text), &v); err != nil {
		t.Fatalf("cannot parse %s: %v", text, err)
	}
	return &v
}

// example is the inputs of the example, for a case to change.
func example(t testing.TB) Inputs {
	return Inputs{
		Tenant:    parse[v1alpha1.Tenant](t, tenantYAML),
		Namespace: parse[v1alpha1.TenantNamespace](t, namespaceYAML),
		Peers:     []string{"globex"},
		Cluster:   "acme-prod",
		Source:    Source{Revision: "main@sha1:0123456", Path: "acme/namespaces/payments.yaml:1"},
	}
}

func mustCompile(t testing.TB, path string) *Template {
	t.Helper()
	p := parse[v1alpha1.NamespaceProfile](t, profileYAML)
	p.Spec.Base.Path = path
	template, err := Compile(p, EmbeddedBase())
	if err != nil {
		t.Fatal(err)
	}
	return template
}

func mustRender(t testing.TB, template *Template, in Inputs) []*unstructured.Unstructured {
	t.Helper()
	objects, err := template.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// asYAML is objects as one stream.
func asYAML(t testing.TB, objects []*unstructured.Unstructured) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, o := range objects {
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(data)
	}
	return b.Bytes()
}

// find returns the object of a kind and name, and fails where there is none.
func find(t testing.TB, objects []*unstructured.Unstructured, kind, name string) map[string]any {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == kind && o.GetName() == name {
			return o.Object
		}
	}
	t.Fatalf("there is no %s %q among %v", kind, name, ids(objects))
	return nil
}

// ids is "<kind>/<name>" of each.
func ids(objects []*unstructured.Unstructured) []string {
	out := make([]string, len(objects))
	for i, o := range objects {
		out[i] = o.GetKind() + "/" + o.GetName()
	}
	return out
}

// field walks down an object: a string names a field, an int an item.
func field(t testing.TB, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

// component is a base with one directory, "profiles/test", that holds a Namespace
// and one file of the case's.
func component(files map[string]string) Base {
	all := map[string]string{
		"profiles/test/kustomization.yaml": "components: [../../namespace/namespace, ../../namespace/own]\n",
		"namespace/own/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [own.yaml]\n",
	}
	maps.Copy(all, files)
	base := fstest.MapFS{}
	_ = fs.WalkDir(EmbeddedBase().FS, ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			data, _ := fs.ReadFile(EmbeddedBase().FS, name)
			base[name] = &fstest.MapFile{Data: data}
		}
		return err
	})
	for _, name := range slices.Sorted(maps.Keys(all)) {
		base[name] = &fstest.MapFile{Data: []byte(all[name])}
	}
	return Base{FS: base, Revision: "test@" + DigestOfFiles(base)}
}
