package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
)

// fleetOf is a fleet of tenants with a namespace <tenant>-web each.
func fleetOf(tenants ...string) map[string]string {
	files := map[string]string{"_platform/profiles.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata:
  name: default
spec:
  base:
    path: profiles/default
  podSecurity: restricted
  sizes:
    small:
      quota:
        pods: "20"
        requests.cpu: "2"
        requests.memory: 4Gi
`}
	for _, t := range tenants {
		files[t+"/tenant.yaml"] = fmt.Sprintf(`apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata:
  name: %s
spec:
  owners:
  - {kind: Group, name: %s-admins, role: admin}
  namespaces: {max: 50}
`, t, t)
		files[t+"/namespaces/web.yaml"] = namespaceYAML(t, t+"-web")
	}
	return files
}

func namespaceYAML(tenant, name string) string { return sizedYAML(tenant, name, "small") }

func sizedYAML(tenant, name, size string) string {
	return fmt.Sprintf(`apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata:
  name: %s
spec:
  tenant: %s
  size: %s
`, name, tenant, size)
}

// managed are the kinds that the operator puts into namespaces, and Namespace.
var managed = []schema.GroupVersionKind{
	corev1.SchemeGroupVersion.WithKind("Namespace"),
	corev1.SchemeGroupVersion.WithKind("ResourceQuota"),
	corev1.SchemeGroupVersion.WithKind("LimitRange"),
	corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
	rbacv1.SchemeGroupVersion.WithKind("Role"),
	rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
	networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
	{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"},
	sourcev1.GroupVersion.WithKind(sourcev1.GitRepositoryKind),
	kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind),
	v1alpha1.GroupVersion.WithKind(v1alpha1.KindSecretSync),
}

// holdsWhatIsRendered compares the cluster with a render of the checkout: nothing
// is missing, nothing is left over, and everything has the content it should.
func (w *world) holdsWhatIsRendered() {
	w.Helper()
	tree, err := fleet.ReadDir(filepath.Join(w.checkout, "tenants"))
	if err != nil {
		w.Fatal(err)
	}
	var want []string
	for _, t := range render.New(render.Options{Bases: noBase}).Render(tree, nil).Tenants {
		if len(t.Errors) > 0 {
			w.Fatalf("the fleet has errors: %v", t.Errors)
		}
		for _, o := range t.Children() {
			want = append(want, identity(o))
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, w.identities()); diff != "" {
		w.Errorf("the cluster is not what the fleet renders to (-want +got):\n%s", diff)
	}
}

// identities are those of everything that the operator made.
func (w *world) identities() []string {
	w.Helper()
	var got []string
	for _, kind := range managed {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := w.Client.List(w.Context(), list, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}); err != nil {
			w.Fatalf("cannot list %s: %v", kind.Kind, err)
		}
		for i := range list.Items {
			got = append(got, identity(&list.Items[i]))
		}
	}
	slices.Sort(got)
	return got
}

// identity is what an object is and the digest of its content.
func identity(o metav1.Object) string {
	u := o.(*unstructured.Unstructured)
	return strings.Join([]string{u.GetKind(), u.GetNamespace(), u.GetName(), u.GetAnnotations()[v1alpha1.AnnotationDigest]}, " ")
}

func noBase(*v1alpha1.BaseSourceRef) (render.Base, error) {
	return render.Base{}, errors.New("the example fleet uses the embedded base")
}
