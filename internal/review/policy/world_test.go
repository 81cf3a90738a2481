package policy

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/review"
)

// own is Aether's own policies, as a fleet repository would hold them.
func own(t testing.TB) fstest.MapFS {
	t.Helper()
	repository := fstest.MapFS{}
	// Those of policies/kyverno take an engine that this package does not link; what of
	// them concerns the operator is in policies/admission as well.
	disk := os.DirFS("../../../policies/admission")
	err := fs.WalkDir(disk, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".yaml") {
			return err
		}
		data, err := fs.ReadFile(disk, name)
		repository["policies/admission/"+name] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return repository
}

// side is a revision with objects of tenant acme.
func side(files fs.FS, objects ...review.Rendered) *review.Side {
	return &review.Side{Files: files, Tenants: map[string]*review.Tenant{"acme": {Name: "acme", Objects: objects}}}
}

// parsed is one object, as it is rendered.
func parsed(t testing.TB, text string) review.Rendered {
	t.Helper()
	o, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return rendered(o, "")
}

func rendered(o *unstructured.Unstructured, cluster string) review.Rendered {
	namespace := o.GetNamespace()
	if namespace == "" && o.GetKind() == "Namespace" {
		namespace = o.GetName()
	}
	return review.Rendered{
		Object: review.Object{
			Tenant: "acme", Cluster: cluster, APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: namespace, Name: o.GetName(),
		},
		Content: o.Object,
		Digest:  render.DigestOf(o),
	}
}

// evaluate fills a report.
func evaluate(t testing.TB, base, head *review.Side) *review.Report {
	t.Helper()
	report := &review.Report{}
	if err := Evaluate(context.Background(), base, head, report, nil); err != nil {
		t.Fatal(err)
	}
	return report
}

// fleetOf renders a fleet of n namespaces, ten a tenant, with the renderer's own
// base, or one in which something of every namespace is another.
func fleetOf(t testing.TB, n int, other bool) *review.Side {
	t.Helper()
	tree := fleet.Tree{}
	note := ""
	if other {
		note = ", annotations: {example.com/wave: second}"
	}
	tree["_platform/profiles.yaml"] = fleet.File{Data: []byte(`apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  podSecurity: restricted
  sizes:
    small: {quota: {requests.cpu: "2", pods: "20"}, limits: [{type: Container, defaultRequest: {cpu: 50m}}]}
  labels: {cost-center: shared}` + strings.ReplaceAll(note, ", annotations", "\n  annotations") + "\n")}
	for i := range (n + 9) / 10 {
		tenant := fmt.Sprintf("t%d", i)
		tree[tenant+"/tenant.yaml"] = fleet.File{Data: fmt.Appendf(nil, `apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata: {name: %s}
spec:
  owners: [{kind: Group, name: admins, role: admin}]
  namespaces: {max: 10, profiles: [default]}
`, tenant)}
		for j := range min(10, n-10*i) {
			name := fmt.Sprintf("%s-n%d", tenant, j)
			tree[tenant+"/"+name+".yaml"] = fleet.File{Data: fmt.Appendf(nil, `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: %s}
spec:
  tenant: %s
  size: small
  access: [{kind: User, name: dev@example.com, role: editor}]
  gitops: {url: "https://git.example.com/acme/payments.git", branch: main, path: ./deploy}
`, name, tenant)}
		}
	}
	result := render.New(render.Options{Bases: func(*v1alpha1.BaseSourceRef) (render.Base, error) { return render.EmbeddedBase(), nil }}).Render(tree, nil)
	if errs := result.Fleet.Errors(); len(errs) > 0 {
		t.Fatal(errs[0])
	}
	s := &review.Side{Tenants: map[string]*review.Tenant{}, Result: result}
	for _, r := range result.Tenants {
		if len(r.Errors) > 0 {
			t.Fatal(r.Errors[0])
		}
		tenant := &review.Tenant{Name: r.Name, Tenant: r.Tenant}
		for _, o := range append(r.Objects(), r.Children()...) {
			one := rendered(o, "")
			one.Tenant = r.Name
			tenant.Objects = append(tenant.Objects, one)
		}
		s.Tenants[r.Name] = tenant
	}
	return s
}

func empty() *review.Side { return side(fstest.MapFS{}) }

func mustLoad(t testing.TB, files fs.FS) *set {
	t.Helper()
	s, err := load(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
