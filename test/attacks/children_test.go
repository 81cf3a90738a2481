package attacks

import (
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render"
)

const profileYAML = `
metadata: {name: default}
spec:
  base: {path: profiles/default}
  podSecurity: restricted
  sizes:
    small:
      quota: {pods: "20", requests.memory: 4Gi}
      limits: [{type: Container, defaultRequest: {memory: 64Mi}}]
`

const namespaceYAML = `
spec:
  profile: default
  size: small
  network: {egress: [{to: [{cidr: 203.0.113.0/24}], ports: [{port: 443, protocol: TCP}]}]}
  gitops: {url: "https://git.example.com/app.git", branch: main, path: ./deploy}
`

// profile is the embedded base, compiled: what the operator really applies.
var profile = sync.OnceValues(func() (*render.Template, error) {
	p := &v1alpha1.NamespaceProfile{}
	if err := yaml.UnmarshalStrict([]byte(profileYAML), p); err != nil {
		return nil, err
	}
	return render.Compile(p, render.EmbeddedBase())
})

// rendered is a tenant's namespace as the renderer makes it: the Namespace first,
// then what the operator puts into it.
func rendered(t *testing.T, tenant, namespace string) []*unstructured.Unstructured {
	t.Helper()
	template, err := profile()
	if err != nil {
		t.Fatal(err)
	}
	in := render.Inputs{
		Tenant: &v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{Owners: []v1alpha1.Access{{
			Subject: v1alpha1.Subject{Kind: "Group", Name: tenant + "-admins"}, Role: v1alpha1.RoleAdmin,
		}}}},
		Namespace: &v1alpha1.TenantNamespace{},
	}
	if err := yaml.UnmarshalStrict([]byte(namespaceYAML), in.Namespace); err != nil {
		t.Fatal(err)
	}
	if tenant == "acme" {
		in.Namespace.Spec.Access = []v1alpha1.Access{
			{Subject: v1alpha1.Subject{Kind: "User", Name: tenantEditor}, Role: v1alpha1.RoleEditor},
			{Subject: v1alpha1.Subject{Kind: "User", Name: tenantViewer}, Role: v1alpha1.RoleViewer},
		}
	}
	in.Tenant.Name, in.Namespace.Name, in.Namespace.Spec.Tenant = tenant, namespace, tenant
	objects, err := template.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// children is what the operator puts into a namespace.
func children(t *testing.T, tenant, namespace string) []*unstructured.Unstructured {
	t.Helper()
	return rendered(t, tenant, namespace)[1:]
}

// born is a Namespace as the operator creates it: as rendered, sealed, and tied to
// one life of its tenant.
func (w *world) born(t *testing.T, tenant, name string) *corev1.Namespace {
	t.Helper()
	ns := &corev1.Namespace{}
	data, err := rendered(t, tenant, name)[0].MarshalJSON()
	w.must(t, err)
	w.must(t, yaml.UnmarshalStrict(data, ns))
	ns.Labels[v1alpha1.LabelSealed] = "true"
	ns.Annotations[v1alpha1.AnnotationTenantUID] = w.uids[tenant]
	return ns
}
