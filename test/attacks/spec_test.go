package attacks

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// A TenantNamespace that says it has left Git is deleted with its Namespace, so
// nobody but the operator may make it say so.
func TestPersonClaimsThatANamespaceHasLeftGit(t *testing.T) {
	w := newWorld(t)
	tns := &v1alpha1.TenantNamespace{
		ObjectMeta: metav1.ObjectMeta{Name: "acme-kept", Annotations: map[string]string{v1alpha1.AnnotationDigest: "x"}, Labels: map[string]string{v1alpha1.LabelTenant: "acme"}},
		Spec:       v1alpha1.TenantNamespaceSpec{Tenant: "acme", Size: "small"},
	}
	w.allows(t, apply(t.Context(), w.operator(t), tns))
	for what, patch := range map[string]string{
		"removed-at":            `{"metadata":{"annotations":{"aetherplatform.cloud/removed-at":"2020-01-01T00:00:00Z"}}}`,
		"another digest":        `{"metadata":{"annotations":{"aetherplatform.cloud/digest":"y"}}}`,
		"no digest":             `{"metadata":{"annotations":{"aetherplatform.cloud/digest":null}}}`,
		"another tenant":        `{"metadata":{"labels":{"aetherplatform.cloud/tenant":"globex"}}}`,
		"an owner":              `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"1"}]}}`,
		"another tenant's spec": `{"spec":{"tenant":"globex"}}`,
	} {
		t.Run(what, func(t *testing.T) {
			for who, c := range map[string]client.Client{"platform admin": w.as(t, platformUser), "cluster admin": w.as(t, clusterAdmin)} {
				t.Run(who, func(t *testing.T) {
					w.refuses(t, tns, "only Aether sets|cannot be added|cannot move to another tenant", func(ctx context.Context) error {
						return c.Patch(ctx, tns.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)))
					})
				})
			}
		})
	}
	w.allows(t, w.as(t, platformUser).Patch(t.Context(), tns.DeepCopy(), client.RawPatch(types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"example.com/ticket":"42"}}}`))))
	removed := tns.DeepCopy()
	removed.Annotations[v1alpha1.AnnotationRemovedAt] = "2026-01-01T00:00:00Z"
	w.allows(t, apply(t.Context(), w.operator(t), removed))
}

// A TenantSource decides on every tenant. Kubernetes' built-in admin role would
// let a tenant create one, were it aggregated there.
func TestTenantBringsASourceOfItsOwn(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	source := func(namespace string) *v1alpha1.TenantSource {
		return &v1alpha1.TenantSource{
			ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: namespace},
			Spec:       v1alpha1.TenantSourceSpec{SourceRef: v1alpha1.SourceRef{Kind: "GitRepository", Name: "app"}},
		}
	}
	w.refuses(t, source(ns.Name), "it lives in Namespace aether-system", func(ctx context.Context) error { return mallory.Create(ctx, source(ns.Name)) })
	w.refuses(t, source(v1alpha1.SystemNamespace), "cannot create resource", func(ctx context.Context) error {
		return mallory.Create(ctx, source(v1alpha1.SystemNamespace))
	})
	w.allows(t, w.as(t, platformUser).Create(t.Context(), source(v1alpha1.SystemNamespace)))
}

// A Tenant that comes back under another UID would leave its Namespaces behind.
func TestAdminDeletesATenantThatGitAsksFor(t *testing.T) {
	w := newWorld(t)
	fromGit := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{
		Name: "kept", Labels: map[string]string{v1alpha1.LabelSource: v1alpha1.SystemNamespace + ".fleet"},
	}}
	w.allows(t, apply(t.Context(), w.operator(t), fromGit))
	for who, c := range map[string]client.Client{"platform admin": w.as(t, platformUser), "cluster admin": w.as(t, clusterAdmin)} {
		t.Run(who, func(t *testing.T) {
			w.refuses(t, fromGit, "remove its directory from the fleet repository", func(ctx context.Context) error {
				return c.Delete(ctx, fromGit.DeepCopy())
			})
			w.refuses(t, fromGit, "remove its directory from the fleet repository|cannot deletecollection", func(ctx context.Context) error {
				return c.DeleteAllOf(ctx, &v1alpha1.Tenant{}, client.MatchingLabels(fromGit.Labels))
			})
		})
	}
	w.allows(t, w.operator(t).Delete(t.Context(), fromGit.DeepCopy()))

	byHand := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "by-hand"}}
	w.allows(t, w.as(t, clusterAdmin).Create(t.Context(), byHand))
	w.allows(t, w.as(t, clusterAdmin).Delete(t.Context(), byHand))
}
