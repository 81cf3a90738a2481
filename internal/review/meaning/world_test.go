package meaning

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/review"
)

const header = "apiVersion: aetherplatform.cloud/v1alpha1\nkind: "

// small is acme and globex, who are peers, as the controllers would render them.
func small() map[string]string {
	return map[string]string{
		"_platform/default.yaml": `NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes: {small: {quota: {requests.cpu: "2", pods: "20"}}, large: {quota: {requests.cpu: "6", pods: "60"}}}
  roles:
    oncall: [{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}]
  overridable: [quota, podSecurity]`,
		"acme/tenant.yaml": `Tenant
metadata: {name: acme}
spec:
  owners: [{kind: Group, name: acme-admins, role: admin}]
  quota: {hard: {requests.cpu: "20"}}
  hostnames: ["*.acme.example.com"]
  network: {peers: [{tenant: globex}]}`,
		"acme/web.yaml": `TenantNamespace
metadata: {name: acme-web}
spec:
  tenant: acme
  size: small
  network:
    egress: [{to: [{cidr: 10.0.0.0/8}], ports: [{port: 443}]}]
  secrets: [{name: db, path: web/db, keys: {PASSWORD: password}}]`,
		"acme/db.yaml": `TenantNamespace
metadata: {name: acme-db}
spec: {tenant: acme, size: small}`,
		"globex/tenant.yaml": `Tenant
metadata: {name: globex}
spec: {network: {peers: [{tenant: acme}]}}`,
		"globex/billing.yaml": `TenantNamespace
metadata: {name: globex-billing}
spec: {tenant: globex, size: small}`,
	}
}

// edit is a change of files: "file", "old", "new", and so on. An empty file is gone.
func edit(t testing.TB, files map[string]string, edits ...string) map[string]string {
	t.Helper()
	files = maps.Clone(files)
	for i := 0; i < len(edits); i += 3 {
		file, was, is := edits[i], edits[i+1], edits[i+2]
		switch {
		case was == "" && is == "":
			delete(files, file)
		case was == "":
			files[file] += is
		case !strings.Contains(files[file], was):
			t.Fatalf("%s does not hold %q", file, was)
		default:
			files[file] = strings.ReplaceAll(files[file], was, is)
		}
	}
	return files
}

// sideOf renders files with the embedded base.
func sideOf(t testing.TB, files map[string]string) *review.Side {
	t.Helper()
	tree := fleet.Tree{}
	for name, body := range files {
		tree[name] = fleet.File{Data: []byte(header + body + "\n")}
	}
	clusters := []string{""}
	result := render.New(render.Options{}).Render(tree, nil)
	side := &review.Side{Tree: tree, Result: result, Tenants: map[string]*review.Tenant{}, Profiles: map[string]review.Rendered{}}
	for _, e := range result.Fleet.PlatformErrors {
		t.Fatal(e)
	}
	for i := range result.Platform {
		side.AddPlatform(rendered(v1alpha1.PlatformDirectory, "", result.Platform[i].Object()))
	}
	for _, r := range result.Tenants {
		tenant := &review.Tenant{Name: r.Name, Tenant: r.Tenant, Errors: r.Errors}
		for _, o := range r.Objects() {
			tenant.Objects = append(tenant.Objects, rendered(r.Name, "", o))
		}
		for _, cluster := range clusters {
			for _, o := range r.Children() {
				tenant.Objects = append(tenant.Objects, rendered(r.Name, cluster, o))
			}
		}
		side.Tenants[r.Name] = tenant
	}
	return side
}

func rendered(tenant, cluster string, o *unstructured.Unstructured) review.Rendered {
	namespace := o.GetNamespace()
	if k := o.GetKind(); k == "Namespace" || k == "TenantNamespace" {
		namespace = o.GetName()
	}
	return review.Rendered{
		Object:  review.Object{Tenant: tenant, Cluster: cluster, APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: namespace, Name: o.GetName()},
		Content: o.Object, Digest: render.DigestOf(o), Component: o.GetAnnotations()[v1alpha1.AnnotationComponent],
		Place: review.Place{File: "tenants/" + tenant + ".yaml", Line: 1},
	}
}

// found is the findings, a line each: "high NetworkOpened: acme-web can now …".
func found(t testing.TB, base, head map[string]string) []string {
	t.Helper()
	b, h := sideOf(t, base), sideOf(t, head)
	for _, side := range []*review.Side{b, h} {
		for _, tenant := range side.Tenants {
			for _, e := range tenant.Errors {
				t.Fatal(e)
			}
		}
	}
	return lines(Find(b, h, &review.Report{}))
}

func lines(findings []review.Finding) []string {
	out := []string{}
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s %s: %s", f.Risk, f.Category, f.Title))
	}
	return out
}
