package attacks

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// objectWays is every way to write an object of Aether's in a tenant's namespace.
var objectWays = map[string]func(ctx context.Context, c client.Client, from, to *unstructured.Unstructured) error{
	"update": func(ctx context.Context, c client.Client, _, to *unstructured.Unstructured) error {
		return c.Update(ctx, to)
	},
	"update as a dry run": func(ctx context.Context, c client.Client, _, to *unstructured.Unstructured) error {
		return c.Update(ctx, to, client.DryRunAll)
	},
	"merge patch": func(ctx context.Context, c client.Client, from, to *unstructured.Unstructured) error {
		return c.Patch(ctx, to, client.MergeFrom(from))
	},
	"strategic merge patch": func(ctx context.Context, c client.Client, from, to *unstructured.Unstructured) error {
		patch, err := client.MergeFrom(from).Data(to)
		if err != nil {
			return err
		}
		kind := types.StrategicMergePatchType
		if group := to.GroupVersionKind().Group; strings.HasSuffix(group, ".fluxcd.io") || group == ciliumKind.Group {
			kind = types.MergePatchType // custom resources have no other
		}
		return c.Patch(ctx, to, client.RawPatch(kind, patch))
	},
	"JSON patch": func(ctx context.Context, c client.Client, _, to *unstructured.Unstructured) error {
		var ops []map[string]any
		for _, field := range slices.Sorted(maps.Keys(to.Object)) {
			if field != "apiVersion" && field != "kind" && field != "status" {
				ops = append(ops, map[string]any{"op": "add", "path": "/" + field, "value": to.Object[field]})
			}
		}
		return c.Patch(ctx, to, client.RawPatch(types.JSONPatchType, encode(ops)))
	},
	"server-side apply": func(ctx context.Context, c client.Client, _, to *unstructured.Unstructured) error {
		return apply(ctx, c, to)
	},
}

// contents is a change for each of the kinds in children, by kind.
var contents = map[string]func(u *unstructured.Unstructured){
	"NetworkPolicy":       set([]any{"Ingress"}, "spec", "policyTypes"),
	"ResourceQuota":       set("1000", "spec", "hard", "pods"),
	"CiliumNetworkPolicy": set(map[string]any{"matchLabels": map[string]any{"none": "matches"}}, "spec", "endpointSelector"),
	"LimitRange": set([]any{map[string]any{"type": "Container", "max": map[string]any{"memory": "512Gi"}}},
		"spec", "limits"),
	"ServiceAccount": set(true, "automountServiceAccountToken"),
	"Role":           set([]any{map[string]any{"apiGroups": []any{"*"}, "resources": []any{"*"}, "verbs": []any{"*"}}}, "rules"),
	"RoleBinding":    set([]any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": intruder}}, "subjects"),
	"GitRepository":  set("https://git.example.com/mallory/app.git", "spec", "url"),
	"Kustomization":  set("default", "spec", "serviceAccountName"),
}

// marks are changes to what makes an object Aether's.
var marks = map[string]func(u *unstructured.Unstructured){
	"takes the mark of the operator away": func(u *unstructured.Unstructured) {
		unstructured.RemoveNestedField(u.Object, "metadata", "labels", v1alpha1.LabelManagedBy)
	},
	"takes all labels away":      func(u *unstructured.Unstructured) { u.SetLabels(nil) },
	"changes the mark":           set("nobody", "metadata", "labels", v1alpha1.LabelManagedBy),
	"changes the tenant":         set("globex", "metadata", "labels", v1alpha1.LabelTenant),
	"changes the component":      set("x", "metadata", "annotations", v1alpha1.AnnotationComponent),
	"adds a digest":              set("x", "metadata", "annotations", v1alpha1.AnnotationDigest),
	"adds a digest in capitals":  set("x", "metadata", "annotations", "AetherPlatform.cloud/digest"),
	"takes the annotations away": func(u *unstructured.Unstructured) { u.SetAnnotations(nil) },
	"hangs it on an owner": func(u *unstructured.Unstructured) {
		u.SetOwnerReferences([]metav1.OwnerReference{ownedBy("acme", "1")})
	},
	"carries a mark beside a finalizer": func(u *unstructured.Unstructured) {
		u.SetFinalizers(append(u.GetFinalizers(), "example.com/hold"))
		set("x", "metadata", "annotations", v1alpha1.AnnotationDigest)(u)
	},
}

func set(value any, path ...string) func(*unstructured.Unstructured) {
	return func(u *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
			panic(err) // of paths that are written in this file
		}
	}
}

// live is an object as the API server has it.
func (w *world) live(t *testing.T, o client.Object) *unstructured.Unstructured {
	t.Helper()
	u, err := applied(w.Client, o)
	w.must(t, err)
	w.must(t, w.Client.Get(t.Context(), client.ObjectKeyFromObject(o), u))
	return u
}

func TestTenantChangesWhatAetherMadeByEveryWay(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	for _, child := range children(t, "acme", ns.Name) {
		kind := w.live(t, child).GetKind()
		changes := maps.Clone(marks)
		changes["changes its content"] = contents[kind]
		for what, change := range changes {
			for how, write := range objectWays {
				t.Run(kind+" "+child.GetName()+": "+what+" by "+how, func(t *testing.T) {
					from := w.live(t, child)
					to := from.DeepCopy()
					change(to)
					w.refuses(t, from, "is made by Aether from Git|is closed but for what Git opens", func(ctx context.Context) error {
						return write(ctx, mallory, from, to)
					})
				})
			}
		}
	}
	t.Run("while its own objects are its own", func(t *testing.T) {
		mine := object(corev1.SchemeGroupVersion.WithKind("ConfigMap"), ns.Name, "mine", nil)
		w.allows(t, mallory.Create(t.Context(), mine))
		for _, write := range objectWays {
			from := w.live(t, mine)
			to := from.DeepCopy()
			set("v", "data", "k")(to)
			w.allows(t, write(t.Context(), mallory, from, to))
		}
		w.allows(t, mallory.Delete(t.Context(), mine))
	})
	t.Run("and the operator can put each back", func(t *testing.T) {
		for _, child := range children(t, "acme", ns.Name) {
			to := w.live(t, child)
			contents[to.GetKind()](to)
			if to.GetKind() == "Role" { // the one content that is bounded for the operator too
				set([]any{map[string]any{"apiGroups": []any{""}, "resources": []any{"pods"}, "verbs": []any{"get"}}}, "rules")(to)
			}
			w.allows(t, apply(t.Context(), w.operator(t), to))
			w.allows(t, apply(t.Context(), w.operator(t), child))
		}
	})
}

func TestTenantDeletesDefaultDeny(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	deny := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "default-deny", Namespace: ns.Name}}
	for how, attempt := range map[string]func(context.Context) error{
		"delete": func(ctx context.Context) error { return mallory.Delete(ctx, deny.DeepCopy()) },
		"foreground delete": func(ctx context.Context) error {
			return mallory.Delete(ctx, deny.DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationForeground))
		},
		"forced delete": func(ctx context.Context) error {
			return mallory.Delete(ctx, deny.DeepCopy(), client.GracePeriodSeconds(0))
		},
		"dry run": func(ctx context.Context) error { return mallory.Delete(ctx, deny.DeepCopy(), client.DryRunAll) },
		"delete of the whole collection": func(ctx context.Context) error {
			return mallory.DeleteAllOf(ctx, &networkingv1.NetworkPolicy{}, client.InNamespace(ns.Name))
		},
	} {
		t.Run(how, func(t *testing.T) { w.refuses(t, deny, "is made by Aether from Git", attempt) })
	}
	w.allows(t, w.operator(t).Delete(t.Context(), deny))
}

func TestTenantDeletesWhatAetherMade(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	for _, child := range children(t, "acme", ns.Name) {
		u := w.live(t, child)
		t.Run(u.GetKind()+" "+u.GetName(), func(t *testing.T) {
			w.refuses(t, u, "is made by Aether from Git", func(ctx context.Context) error { return mallory.Delete(ctx, u.DeepCopy()) })
		})
		w.allows(t, w.operator(t).Delete(t.Context(), u))
	}
}

func TestTenantForgesTheMarkOfTheOperator(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	for _, value := range []string{v1alpha1.ManagedBy, "", "x"} {
		forged := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: "forged", Namespace: ns.Name, Labels: map[string]string{v1alpha1.LabelManagedBy: value},
		}}
		w.refuses(t, forged, "leave it out", func(ctx context.Context) error { return mallory.Create(ctx, forged.DeepCopy()) })
		generated := forged.DeepCopy()
		generated.Name, generated.GenerateName = "", "forged-"
		w.refuses(t, generated, "leave it out", func(ctx context.Context) error { return mallory.Create(ctx, generated) })
		w.refuses(t, forged, "leave it out", func(ctx context.Context) error { return apply(ctx, mallory, forged) })

		mine := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "mine-", Namespace: ns.Name}}
		w.allows(t, mallory.Create(t.Context(), mine))
		w.refuses(t, mine, "leave it out", func(ctx context.Context) error {
			patch := encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelManagedBy: value}}})
			return mallory.Patch(ctx, mine.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
		})
	}
	w.allows(t, mallory.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "mine-", Namespace: ns.Name, Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"},
	}}))
}

// Flux's controllers and the people who use Flux leave finalizers, requests and
// status on Flux objects; so does the API server on quotas.
func TestOthersMayUseWhatAetherMadeWithoutChangingIt(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	for _, child := range children(t, "acme", ns.Name) {
		from := w.live(t, child)
		to := from.DeepCopy()
		to.SetFinalizers([]string{"example.com/hold"})
		set("now", "metadata", "annotations", "reconcile.fluxcd.io/requestedAt")(to)
		switch from.GetKind() {
		case "GitRepository", "Kustomization":
			w.allows(t, mallory.Patch(t.Context(), to, client.MergeFrom(from)))
			status := w.live(t, child)
			set([]any{map[string]any{
				"type": "Ready", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
			}}, "status", "conditions")(status)
			w.allows(t, mallory.SubResource("status").Update(t.Context(), status))
		case "ServiceAccount":
			set([]any{map[string]any{"name": "registry"}}, "imagePullSecrets")(to)
			w.allows(t, mallory.Patch(t.Context(), to, client.MergeFrom(from)))
		default:
			w.refuses(t, from, "is made by Aether from Git", func(ctx context.Context) error { return mallory.Patch(ctx, to, client.MergeFrom(from)) })
		}
	}
	testenv.Eventually(t, func(ctx context.Context) error { // the quota controller's write
		quota := &corev1.ResourceQuota{}
		if err := w.Client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: "quota"}, quota); err != nil {
			return err
		}
		if len(quota.Status.Used) == 0 {
			return errNotYet
		}
		return nil
	})
}

func TestStatusSubresourceCarriesLabelsIn(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "quota", Namespace: ns.Name}}
	from := w.live(t, quota)
	for what, change := range marks {
		t.Run(what, func(t *testing.T) {
			to := from.DeepCopy()
			change(to)
			w.refuses(t, quota, "is made by Aether from Git", func(ctx context.Context) error {
				return mallory.SubResource("status").Patch(ctx, to, client.MergeFrom(from))
			})
		})
	}
	to := from.DeepCopy()
	set("1", "status", "used", "pods")(to)
	w.allows(t, mallory.SubResource("status").Patch(t.Context(), to, client.MergeFrom(from)))
}
