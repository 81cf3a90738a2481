package attacks

import (
	"context"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/internal/testenv"
)

var (
	kustomizationKind = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	gitRepositoryKind = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"}
	helmChartKind     = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "HelmChart"}
	helmReleaseKind   = schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}
)

// A child Kustomization that escapes its service account was flux2#1829.
func TestTenantLeadsFluxOutOfItsNamespace(t *testing.T) {
	w := newWorld(t)
	w.serveHelmReleases(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)

	kustomization := func(change func(u *unstructured.Unstructured)) *unstructured.Unstructured {
		u := object(kustomizationKind, ns.Name, "child", map[string]any{"spec": map[string]any{
			"interval": "1m", "prune": true, "serviceAccountName": "deploy", "sourceRef": map[string]any{"kind": "GitRepository", "name": "app"},
		}})
		change(u)
		return u
	}
	release := func(change func(u *unstructured.Unstructured)) *unstructured.Unstructured {
		u := object(helmReleaseKind, ns.Name, "child", map[string]any{"spec": map[string]any{
			"interval": "1m", "serviceAccountName": "deploy",
			"chart": map[string]any{"spec": map[string]any{"chart": "c", "sourceRef": map[string]any{"kind": "HelmRepository", "name": "r"}}},
		}})
		change(u)
		return u
	}
	drop := func(path ...string) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) { unstructured.RemoveNestedField(u.Object, path...) }
	}
	keep := func(*unstructured.Unstructured) {}

	for what, attempt := range map[string]struct {
		object *unstructured.Unstructured
		want   string
	}{
		"Kustomization without a service account":       {kustomization(drop("spec", "serviceAccountName")), "spec.serviceAccountName is missing"},
		"Kustomization with an empty service account":   {kustomization(set("", "spec", "serviceAccountName")), "spec.serviceAccountName is missing"},
		"Kustomization from another namespace's source": {kustomization(set("flux-system", "spec", "sourceRef", "namespace")), "cannot name another Namespace"},
		"Kustomization into another namespace":          {kustomization(set("kube-system", "spec", "targetNamespace")), "cannot name another Namespace"},
		"Kustomization to another cluster": {kustomization(set(map[string]any{"secretRef": map[string]any{"name": "admin"}}, "spec", "kubeConfig")),
			"spec.kubeConfig reaches out"},
		"Kustomization that reads another's status": {kustomization(set([]any{map[string]any{"name": "app", "namespace": "globex-web", "readyExpr": "true"}}, "spec", "dependsOn")),
			"cannot name another Namespace"},
		"Kustomization that watches another's objects": {kustomization(set([]any{map[string]any{"kind": "Secret", "name": "db", "namespace": "globex-web"}}, "spec", "healthChecks")),
			"cannot name another Namespace"},
		"HelmRelease without a service account":      {release(drop("spec", "serviceAccountName")), "spec.serviceAccountName is missing"},
		"HelmRelease from another namespace's chart": {release(set("flux-system", "spec", "chart", "spec", "sourceRef", "namespace")), "cannot name another Namespace"},
		"HelmRelease from another namespace's OCI chart": {release(func(u *unstructured.Unstructured) {
			drop("spec", "chart")(u)
			set(map[string]any{"kind": "OCIRepository", "name": "c", "namespace": "flux-system"}, "spec", "chartRef")(u)
		}), "cannot name another Namespace"},
		"HelmRelease into another namespace":      {release(set("kube-system", "spec", "targetNamespace")), "cannot name another Namespace"},
		"HelmRelease stored in another namespace": {release(set("kube-system", "spec", "storageNamespace")), "cannot name another Namespace"},
		"HelmRelease to another cluster": {release(set(map[string]any{"secretRef": map[string]any{"name": "admin"}}, "spec", "kubeConfig")),
			"spec.kubeConfig reaches out"},
	} {
		for how, create := range map[string]func(ctx context.Context) error{
			"create":            func(ctx context.Context) error { return mallory.Create(ctx, attempt.object.DeepCopy()) },
			"server-side apply": func(ctx context.Context) error { return apply(ctx, mallory, attempt.object) },
			"cluster admin":     func(ctx context.Context) error { return w.as(t, clusterAdmin).Create(ctx, attempt.object.DeepCopy()) },
		} {
			t.Run(what+" by "+how, func(t *testing.T) { w.refuses(t, attempt.object, attempt.want, create) })
		}
	}

	t.Run("while what stays inside works, and cannot be changed to leave", func(t *testing.T) {
		for _, legit := range []*unstructured.Unstructured{
			kustomization(keep),
			release(keep),
			object(gitRepositoryKind, ns.Name, "mine", map[string]any{"spec": map[string]any{"interval": "1m", "url": "https://git.example.com/x.git"}}),
			object(helmChartKind, ns.Name, "mine", map[string]any{"spec": map[string]any{
				"interval": "1m", "chart": "c", "sourceRef": map[string]any{"kind": "HelmRepository", "name": "r"},
			}}),
		} {
			w.allows(t, mallory.Create(t.Context(), legit))
		}
		changed := w.live(t, kustomization(keep))
		unstructured.RemoveNestedField(changed.Object, "spec", "serviceAccountName")
		w.refuses(t, changed, "spec.serviceAccountName is missing", func(ctx context.Context) error { return mallory.Update(ctx, changed) })
	})
	t.Run("and outside of tenants Flux is as ever", func(t *testing.T) {
		free := kustomization(drop("spec", "serviceAccountName"))
		free.SetNamespace(w.plain(t).Name)
		w.allows(t, w.as(t, clusterAdmin).Create(t.Context(), free))
	})
}

func TestTenantPointsAetherssKustomizationElsewhere(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	app := object(kustomizationKind, ns.Name, "app", nil)
	w.refuses(t, app, "cannot get resource|cannot update resource|is made by Aether from Git", func(ctx context.Context) error {
		changed := w.live(t, app)
		set("default", "spec", "serviceAccountName")(changed)
		return w.as(t, ns.Name+":deploy").Update(ctx, changed)
	})
}

// serveHelmReleases adds the kind without its schema: the policy is what is tried.
func (w *world) serveHelmReleases(t *testing.T) {
	t.Helper()
	preserve := true
	w.must(t, w.Client.Create(t.Context(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "helmreleases.helm.toolkit.fluxcd.io"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: helmReleaseKind.Group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "helmreleases", Singular: "helmrelease", Kind: "HelmRelease", ListKind: "HelmReleaseList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: helmReleaseKind.Version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &preserve}},
			}},
		},
	}))
	testenv.Eventually(t, func(ctx context.Context) error {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(helmReleaseKind)
		return w.Client.List(ctx, list)
	})
}
