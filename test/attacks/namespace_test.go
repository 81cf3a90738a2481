package attacks

import (
	"context"
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// ways is every verb, patch type and subresource by which a Namespace's metadata
// can be written.
var ways = map[string]func(ctx context.Context, c client.Client, from, to *corev1.Namespace) error{
	"update": func(ctx context.Context, c client.Client, _, to *corev1.Namespace) error {
		return c.Update(ctx, to)
	},
	"update of status": func(ctx context.Context, c client.Client, _, to *corev1.Namespace) error {
		return c.SubResource("status").Update(ctx, to)
	},
	"update of finalize": func(ctx context.Context, c client.Client, _, to *corev1.Namespace) error {
		return c.SubResource("finalize").Update(ctx, to)
	},
	"merge patch": func(ctx context.Context, c client.Client, from, to *corev1.Namespace) error {
		return c.Patch(ctx, to, client.MergeFrom(from))
	},
	"merge patch of status": func(ctx context.Context, c client.Client, from, to *corev1.Namespace) error {
		return c.SubResource("status").Patch(ctx, to, client.MergeFrom(from))
	},
	"strategic merge patch": func(ctx context.Context, c client.Client, from, to *corev1.Namespace) error {
		return c.Patch(ctx, to, strategic(from, to))
	},
	"strategic merge patch of status": func(ctx context.Context, c client.Client, from, to *corev1.Namespace) error {
		return c.SubResource("status").Patch(ctx, to, strategic(from, to))
	},
	"JSON patch": func(ctx context.Context, c client.Client, _, to *corev1.Namespace) error {
		return c.Patch(ctx, to, jsonPatch(to))
	},
	"JSON patch of status": func(ctx context.Context, c client.Client, _, to *corev1.Namespace) error {
		return c.SubResource("status").Patch(ctx, to, jsonPatch(to))
	},
	// Under the operator's field owner, so that what is left out is taken away.
	"server-side apply": func(ctx context.Context, c client.Client, _, to *corev1.Namespace) error {
		return apply(ctx, c, to)
	},
	"server-side apply of status": func(ctx context.Context, c client.Client, _, to *corev1.Namespace) error {
		u, err := applied(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: to.Name, Labels: to.Labels, Annotations: to.Annotations, OwnerReferences: to.OwnerReferences,
		}})
		if err != nil {
			return err
		}
		return c.SubResource("status").Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(v1alpha1.FieldOwnerNamespace), client.ForceOwnership)
	},
	"dry run": func(ctx context.Context, c client.Client, _, to *corev1.Namespace) error {
		return c.Update(ctx, to, client.DryRunAll)
	},
}

func strategic(from, to *corev1.Namespace) client.Patch {
	patch, err := strategicpatch.CreateTwoWayMergePatch(encode(from), encode(to), &corev1.Namespace{})
	if err != nil {
		panic(err) // of two Namespaces that were just encoded
	}
	return client.RawPatch(types.StrategicMergePatchType, patch)
}

func jsonPatch(to *corev1.Namespace) client.Patch {
	add := func(field string, value any) map[string]any {
		return map[string]any{"op": "add", "path": "/metadata/" + field, "value": value}
	}
	ops := []map[string]any{add("labels", to.Labels), add("annotations", to.Annotations)}
	if to.OwnerReferences != nil {
		ops = append(ops, add("ownerReferences", to.OwnerReferences))
	}
	return client.RawPatch(types.JSONPatchType, encode(ops))
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of values that are written in this file
	}
	return data
}

// change is something done to a Namespace's metadata.
type change struct {
	why string
	do  func(w *world, ns *corev1.Namespace)
	// removes says that it only takes away, which an apply does only to fields
	// that the same owner applied through the same subresource.
	removes bool
}

func label(key, value string) func(*world, *corev1.Namespace) {
	return func(_ *world, ns *corev1.Namespace) { ns.Labels[key] = value }
}

func annotate(key, value string) func(*world, *corev1.Namespace) {
	return func(_ *world, ns *corev1.Namespace) { ns.Annotations[key] = value }
}

// hijacks are changes to a tenant's Namespace that nobody may make, not even a
// cluster admin.
var hijacks = map[string]change{
	"takes the tenant label away": {
		why:     "the namespace would leave every policy of its tenant",
		do:      func(_ *world, ns *corev1.Namespace) { delete(ns.Labels, v1alpha1.LabelTenant) },
		removes: true,
	},
	"swaps the tenant": {
		why: "acme's workloads would become globex's",
		do:  label(v1alpha1.LabelTenant, "globex"),
	},
	"swaps the tenant and its UID together": {
		why: "the pair that is checked could be forged as a pair",
		do: func(w *world, ns *corev1.Namespace) {
			ns.Labels[v1alpha1.LabelTenant] = "globex"
			ns.Annotations[v1alpha1.AnnotationTenantUID] = w.uids["globex"]
		},
	},
	"swaps the tenant and permits the adoption in one step": {
		why: "the permission must have been there before",
		do: func(_ *world, ns *corev1.Namespace) {
			ns.Labels[v1alpha1.LabelTenant] = "globex"
			ns.Labels[v1alpha1.LabelAdoptableBy] = "globex"
		},
	},
	"empties the tenant label": {
		why: "a label with an empty value is still a label to selectors, and no tenant to us",
		do:  label(v1alpha1.LabelTenant, ""),
	},
	"changes the tenant's UID": {
		why: "a tenant created anew under an old name would inherit",
		do:  annotate(v1alpha1.AnnotationTenantUID, "00000000-0000-0000-0000-000000000000"),
	},
	"takes the tenant's UID away": {
		why:     "so would one without",
		do:      func(_ *world, ns *corev1.Namespace) { delete(ns.Annotations, v1alpha1.AnnotationTenantUID) },
		removes: true,
	},
	"opens the seal": {
		why: "Pods would run before the isolation is there",
		do:  label(v1alpha1.LabelSealed, "false"),
	},
	"takes the seal away": {
		why:     "the absence of a label must not mean open, nor be reachable",
		do:      func(_ *world, ns *corev1.Namespace) { delete(ns.Labels, v1alpha1.LabelSealed) },
		removes: true,
	},
	"lowers Pod Security": {
		why: "privileged Pods own the node",
		do:  label("pod-security.kubernetes.io/enforce", "privileged"),
	},
	"takes Pod Security away": {
		why:     "the default is privileged",
		do:      func(_ *world, ns *corev1.Namespace) { delete(ns.Labels, "pod-security.kubernetes.io/enforce") },
		removes: true,
	},
	"pins Pod Security to a version that knew less": {
		why: "old versions of a level check fewer fields",
		do:  label("pod-security.kubernetes.io/enforce-version", "v1.0"),
	},
	"sets a label of Aether's that is not in use yet": {
		why: "tomorrow's meaning must not be set today",
		do:  label("aetherplatform.cloud/anything", "x"),
	},
	"sets an annotation of Aether's in capitals": {
		why: "annotation keys may be written in any case (GHSA-gjw4-3v3v-rqxg)",
		do:  annotate("AetherPlatform.Cloud/Tenant-UID", "x"),
	},
	"sets a label of a sub-domain of Aether's": {
		why: "what ends in our domain passes for ours",
		do:  label("x.aetherplatform.cloud/tenant", "globex"),
	},
	"moves its Pods to other nodes": {
		why: "the node selector of a namespace is the tenant's spec.nodeSelector",
		do:  annotate("scheduler.alpha.kubernetes.io/node-selector", "dedicated=globex"),
	},
	"hangs it on an owner with the tenant's UID": {
		why: "deleting the owner, or its CRD, would delete the namespace",
		do: func(w *world, ns *corev1.Namespace) {
			ns.OwnerReferences = append(ns.OwnerReferences, ownedBy("acme", w.uids["acme"]))
		},
	},
	"hangs it on an owner that is not there": {
		why: "the garbage collector deletes what has no owner left",
		do: func(_ *world, ns *corev1.Namespace) {
			ns.OwnerReferences = append(ns.OwnerReferences, ownedBy("gone", "00000000-0000-0000-0000-000000000000"))
		},
	},
	"does several things, one of them harmless": {
		why: "one allowed change must not carry a refused one in",
		do: func(_ *world, ns *corev1.Namespace) {
			ns.Labels["example.com/team"] = "web"
			ns.Labels["pod-security.kubernetes.io/enforce"] = "baseline"
		},
	},
}

// claims are changes by which a Namespace that is not Aether's would become a
// tenant's.
var claims = map[string]change{
	"adds the tenant label":             {why: "an owner could take any unowned namespace (CVE-2024-39690)", do: label(v1alpha1.LabelTenant, "acme")},
	"adds the tenant label, empty":      {why: "policies select on the key", do: label(v1alpha1.LabelTenant, "")},
	"adds the seal, open":               {why: "a label that is set early would be trusted later", do: label(v1alpha1.LabelSealed, "false")},
	"adds the mark of the operator":     {why: "it is on what the operator may delete", do: label(v1alpha1.LabelManagedBy, v1alpha1.ManagedBy)},
	"adds the tenant's UID":             {why: "half of the proof of ownership", do: func(w *world, ns *corev1.Namespace) { ns.Annotations[v1alpha1.AnnotationTenantUID] = w.uids["acme"] }},
	"adds the tenant and its UID":       {why: "the whole of it", do: claim},
	"adds a label of a sub-domain":      {why: "what ends in our domain passes for ours", do: label("x.aetherplatform.cloud/tenant", "acme")},
	"adds an annotation in capitals":    {why: "annotation keys may be written in any case", do: annotate("AETHERPLATFORM.CLOUD/tenant-uid", "x")},
	"permits adoption in an annotation": {why: "the permission is a label", do: annotate(v1alpha1.LabelAdoptableBy, "acme")},
	"permits adoption by nobody":        {why: "an empty name would be every name to an authorizer", do: label(v1alpha1.LabelAdoptableBy, "")},
	"permits adoption and takes it": {why: "the permission must have been there before", do: func(w *world, ns *corev1.Namespace) {
		claim(w, ns)
		ns.Labels[v1alpha1.LabelAdoptableBy] = "acme"
	}},
}

func claim(w *world, ns *corev1.Namespace) {
	ns.Labels[v1alpha1.LabelTenant] = "acme"
	ns.Labels[v1alpha1.LabelSealed] = "false"
	ns.Annotations[v1alpha1.AnnotationTenantUID] = w.uids["acme"]
}

func ownedBy(name, uid string) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.KindTenant, Name: name, UID: types.UID(uid),
		Controller: &yes, BlockOwnerDeletion: &yes,
	}
}

// fresh reads a Namespace, with maps that can be written to.
func (w *world) fresh(t *testing.T, name string) *corev1.Namespace {
	t.Helper()
	ns := &corev1.Namespace{}
	w.must(t, w.Client.Get(t.Context(), client.ObjectKey{Name: name}, ns))
	if ns.Annotations == nil {
		ns.Annotations = map[string]string{}
	}
	return ns
}

// plain is a Namespace that is not Aether's.
func (w *world) plain(t *testing.T) *corev1.Namespace {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "plain-", Annotations: map[string]string{"example.com/note": "x"}}}
	w.must(t, w.Client.Create(t.Context(), ns))
	return ns
}

func TestHijackOfATenantsNamespaceByEveryWay(t *testing.T) {
	w := newWorld(t)
	fresh := func() *corev1.Namespace { return w.bareNamespace(t, "acme") }
	w.everyWay(t, fresh, hijacks, "only Aether sets|cannot be added")
	w.harmlessChangeWorksByEveryWay(t, fresh)
}

func TestClaimOfAnUnownedNamespaceByEveryWay(t *testing.T) {
	w := newWorld(t)
	fresh := func() *corev1.Namespace { return w.plain(t) }
	w.everyWay(t, fresh, claims, "only Aether sets|adoptable-by is a label")
	w.harmlessChangeWorksByEveryWay(t, fresh)
}

// everyWay tries each change by each way as a cluster admin: what is refused to
// them is refused by admission, not by RBAC.
func (w *world) everyWay(t *testing.T, fresh func() *corev1.Namespace, changes map[string]change, want string) {
	t.Helper()
	admin := w.as(t, clusterAdmin)
	for what, change := range changes {
		for how, write := range ways {
			t.Run(what+" by "+how, func(t *testing.T) {
				from := w.fresh(t, fresh().Name)
				to := from.DeepCopy()
				change.do(w, to)
				attempt := func(ctx context.Context) error { return write(ctx, admin, from, to) }
				if change.removes && how == "server-side apply of status" {
					w.changesNothing(t, from, attempt)
				} else {
					w.refuses(t, from, want, attempt)
				}
				if t.Failed() {
					t.Logf("it matters because %s", change.why)
				}
			})
		}
	}
}

func (w *world) harmlessChangeWorksByEveryWay(t *testing.T, fresh func() *corev1.Namespace) {
	t.Helper()
	for how, write := range ways {
		from := w.fresh(t, fresh().Name)
		to := from.DeepCopy()
		to.Labels["example.com/team"] = "web"
		if err := write(t.Context(), w.as(t, clusterAdmin), from, to); err != nil {
			t.Errorf("a harmless label by %s: %v", how, err)
		}
		if how != "dry run" && w.fresh(t, from.Name).Labels["example.com/team"] != "web" {
			t.Errorf("a harmless label by %s has no effect", how)
		}
	}
}

func TestOperatorOpensAndTightensItsNamespaceByEveryWayItUses(t *testing.T) {
	w := newWorld(t)
	for _, how := range []string{"merge patch", "JSON patch", "server-side apply"} {
		ns := w.fresh(t, w.sealedNamespace(t, "acme").Name)
		to := ns.DeepCopy()
		to.Labels[v1alpha1.LabelSealed] = "false"
		to.Labels["pod-security.kubernetes.io/enforce"] = "baseline"
		w.allows(t, ways[how](t.Context(), w.operator(t), ns, to))
		if got := w.fresh(t, ns.Name).Labels; got[v1alpha1.LabelSealed] != "false" || got["pod-security.kubernetes.io/enforce"] != "baseline" {
			t.Errorf("%s left labels %v", how, got)
		}
	}
}

func TestOwnerAddsTenantLabelThroughStatusSubresource(t *testing.T) {
	w := newWorld(t)
	ns := w.plain(t)
	status := w.grant(t, "status-writer", "namespaces/status", "patch", "update")
	w.refuses(t, ns, "only Aether sets aetherplatform.cloud/tenant", func(ctx context.Context) error {
		return status.SubResource("status").Patch(ctx, ns.DeepCopy(), client.RawPatch(types.MergePatchType,
			[]byte(`{"metadata":{"labels":{"aetherplatform.cloud/tenant":"acme"}}}`)))
	})
	w.allows(t, status.SubResource("status").Patch(t.Context(), ns.DeepCopy(), client.RawPatch(types.MergePatchType,
		[]byte(`{"status":{"conditions":[{"type":"Seen","status":"True"}]}}`))))
}

func TestForgedOwnerReferenceWithTenantUID(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	owner := ownedBy("acme", w.uids["acme"])
	patch := encode(map[string]any{"metadata": map[string]any{"ownerReferences": []any{owner}}})
	w.refuses(t, ns, "ownerReferences cannot be added", func(ctx context.Context) error {
		return w.as(t, clusterAdmin).Patch(ctx, ns.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
	})
	w.allows(t, w.as(t, clusterAdmin).Patch(t.Context(), w.plain(t), client.RawPatch(types.MergePatchType, patch)))
}

func TestNamespaceIsCreatedAsATenantsByAnAdmin(t *testing.T) {
	w := newWorld(t)
	admin := w.as(t, clusterAdmin)
	for what, change := range claims {
		for _, name := range []string{"acme-stolen", ""} {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}, Annotations: map[string]string{}}}
			if name == "" {
				ns.GenerateName = "acme-stolen-"
			}
			change.do(w, ns)
			t.Run(what+" as "+name, func(t *testing.T) {
				w.refuses(t, ns, "only Aether sets|adoptable-by is a label", func(ctx context.Context) error {
					return admin.Create(ctx, ns)
				})
			})
		}
	}
	w.allows(t, admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "plain-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "privileged"},
	}}))
}

// A person may hold more rights on a tenant's Namespace than Aether's roles give,
// through a RoleBinding: requests about a Namespace count as inside it.
func TestNamespaceScopedAdminPatchesItsOwnNamespace(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	for what, change := range map[string]change{
		"Pod Security":  {do: label("pod-security.kubernetes.io/enforce", "privileged")},
		"node selector": {do: annotate("scheduler.alpha.kubernetes.io/node-selector", "dedicated=globex")},
	} {
		t.Run(what, func(t *testing.T) {
			from := w.fresh(t, ns.Name)
			to := from.DeepCopy()
			change.do(w, to)
			w.refuses(t, from, "only Aether sets", func(ctx context.Context) error { return mallory.Update(ctx, to) })
		})
	}
	from := w.fresh(t, ns.Name)
	to := from.DeepCopy()
	to.Annotations["example.com/contact"] = "web@example.com"
	w.allows(t, mallory.Update(t.Context(), to))
}

func TestTenantAdminPatchesItsOwnNamespace(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	w.refuses(t, ns, "cannot patch resource \"namespaces\"", func(ctx context.Context) error {
		return w.as(t, tenantAdmin).Patch(ctx, ns.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`)))
	})
	testenv.Eventually(t, func(ctx context.Context) error {
		return w.as(t, tenantAdmin).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "mine-", Namespace: ns.Name}})
	})
}

func TestDeletionOfATenantsNamespace(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	for who, c := range map[string]client.Client{
		"a cluster admin":       w.as(t, clusterAdmin),
		"an admin of it":        w.intrude(t, ns.Name),
		"the garbage collector": w.as(t, "system:serviceaccount:kube-system:generic-garbage-collector"),
	} {
		t.Run("by "+who, func(t *testing.T) {
			if who == "the garbage collector" {
				w.grant(t, "system:serviceaccount:kube-system:generic-garbage-collector", "namespaces", "delete")
			}
			w.refuses(t, ns, "is deleted through Git", func(ctx context.Context) error { return c.Delete(ctx, ns.DeepCopy()) })
		})
	}
	w.allows(t, w.as(t, clusterAdmin).Delete(t.Context(), w.plain(t)))
	w.allows(t, w.operator(t).Delete(t.Context(), ns.DeepCopy()))
	testenv.Eventually(t, func(ctx context.Context) error { // the contents go too, and finalize works
		return testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(ns), ns.DeepCopy()))
	})
}

// finalizations are changes to spec.finalizers of a tenant's Namespace that nobody may
// make while it lives. Only finalize writes them.
var finalizations = map[string]struct {
	why string
	to  []corev1.FinalizerName
}{
	"empties spec.finalizers": {
		why: "nothing would empty the namespace when it is deleted, and it would not go",
	},
	"adds a finalizer that is nobody's": {
		why: "its deletion would never end",
		to:  []corev1.FinalizerName{corev1.FinalizerKubernetes, "example.com/hold"},
	},
	"puts another in the place of Kubernetes'": {
		why: "both at once",
		to:  []corev1.FinalizerName{"example.com/hold"},
	},
}

func TestTenantsNamespaceIsFinalizedWhileItLives(t *testing.T) {
	w := newWorld(t)
	finalizer := w.grant(t, "finalizer", "namespaces/finalize", "update")
	for what, change := range finalizations {
		t.Run(what, func(t *testing.T) {
			for _, c := range []client.Client{w.as(t, clusterAdmin), finalizer} {
				ns := w.fresh(t, w.bareNamespace(t, "acme").Name)
				w.refuses(t, ns, "spec.finalizers cannot be changed before it is deleted", func(ctx context.Context) error {
					return finalize(ctx, c, ns, change.to...)
				})
			}
			for how, write := range ways {
				if how == "update of finalize" {
					continue
				}
				from := w.fresh(t, w.bareNamespace(t, "acme").Name)
				to := from.DeepCopy()
				to.Spec.Finalizers = change.to
				w.changesNothing(t, from, func(ctx context.Context) error {
					err := write(ctx, w.as(t, clusterAdmin), from, to)
					w.allows(t, err) // as when a manifest without them is replaced
					return err
				})
			}
			if t.Failed() {
				t.Logf("it matters because %s", change.why)
			}
		})
	}
	w.allows(t, finalize(t.Context(), w.as(t, clusterAdmin), w.plain(t)))

	t.Run("but controllers hold it by metadata.finalizers", func(t *testing.T) {
		ns := w.bareNamespace(t, "acme")
		for _, finalizers := range []string{`["example.com/hold"]`, `null`} {
			w.allows(t, w.as(t, clusterAdmin).Patch(t.Context(), ns, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`))))
		}
	})
	t.Run("but is given back what it lost before the policy was there", func(t *testing.T) {
		gone := func(ns *corev1.Namespace) {
			testenv.Eventually(t, func(ctx context.Context) error {
				return testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(ns), ns.DeepCopy()))
			})
		}
		lost := func() *corev1.Namespace {
			ns := w.bareNamespace(t, "acme")
			w.must(t, finalize(t.Context(), w.ClientAs(t, operatorUser, "system:masters"), ns)) // whom the policy spares
			return w.fresh(t, ns.Name)
		}
		giveBack := func(ns *corev1.Namespace) {
			w.allows(t, finalize(t.Context(), w.as(t, clusterAdmin), ns, corev1.FinalizerKubernetes))
		}

		living := lost()
		giveBack(living)
		w.allows(t, w.operator(t).Delete(t.Context(), living.DeepCopy()))
		gone(living)

		hanging := lost()
		w.allows(t, w.operator(t).Delete(t.Context(), hanging.DeepCopy()))
		giveBack(w.fresh(t, hanging.Name))
		gone(hanging)
	})
}

// A deletion that hangs is a person's to end, and nobody's to hold up.
func TestDeletionOfATenantsNamespaceIsHeldUp(t *testing.T) {
	w := newWorld(t)
	ns := w.bareNamespace(t, "acme")
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Namespace: ns.Name, Finalizers: []string{"example.com/hold"}}}
	w.must(t, w.Client.Create(t.Context(), held))
	w.allows(t, w.operator(t).Delete(t.Context(), ns.DeepCopy()))
	testenv.Eventually(t, func(ctx context.Context) error { // the rest is gone, and only this is waited for
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(held), held); err != nil || held.DeletionTimestamp.IsZero() {
			return errNotYet
		}
		return nil
	})
	ns = w.fresh(t, ns.Name)

	w.refuses(t, ns, "spec.finalizers cannot be added", func(ctx context.Context) error {
		return finalize(ctx, w.as(t, clusterAdmin), ns, corev1.FinalizerKubernetes, "example.com/hold")
	})
	w.allows(t, finalize(t.Context(), w.as(t, clusterAdmin), ns))
	testenv.Eventually(t, func(ctx context.Context) error {
		return testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(ns), ns.DeepCopy()))
	})
	if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(held), held); err != nil {
		t.Errorf("what was waited for does not stay, as the policy's README warns: %v", err)
	}
}

// finalize says what a Namespace's spec.finalizers are to be, whatever has been written since it was read.
func finalize(ctx context.Context, c client.Client, ns *corev1.Namespace, finalizers ...corev1.FinalizerName) error {
	to := ns.DeepCopy()
	to.ResourceVersion = ""
	to.Spec.Finalizers = finalizers
	return c.SubResource("finalize").Update(ctx, to)
}

func TestAdoptionIsPermittedOnlyByWhoMayAdopt(t *testing.T) {
	w := newWorld(t)
	permit := func(tenant string) client.Patch {
		return client.RawPatch(types.MergePatchType, encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelAdoptableBy: tenant}}}))
	}
	ns := w.plain(t)
	mallory := w.intrude(t, ns.Name)
	w.refuses(t, ns, `needs the verb "adopt" on tenants.aetherplatform.cloud "acme"`, func(ctx context.Context) error {
		return mallory.Patch(ctx, ns.DeepCopy(), permit("acme"))
	})
	w.grantNamed(t, "adopter-of-acme", "acme")
	adopter := w.grant(t, "adopter-of-acme", "namespaces", "patch")
	w.refuses(t, ns, `"globex"`, func(ctx context.Context) error { return adopter.Patch(ctx, ns.DeepCopy(), permit("globex")) })
	w.allows(t, adopter.Patch(t.Context(), ns.DeepCopy(), permit("acme")))

	t.Run("and by the operator only as permitted", func(t *testing.T) {
		take := func(tenant string) *corev1.Namespace {
			return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name:        ns.Name,
				Labels:      map[string]string{v1alpha1.LabelTenant: tenant, v1alpha1.LabelSealed: "true"},
				Annotations: map[string]string{v1alpha1.AnnotationTenantUID: w.uids[tenant]},
			}}
		}
		w.refuses(t, ns, "cannot be taken over", func(ctx context.Context) error { return apply(ctx, w.operator(t), take("globex")) })
		w.allows(t, apply(t.Context(), w.operator(t), take("acme")))
	})
	t.Run("and of a tenant's namespace only by who may adopt for both", func(t *testing.T) {
		owned := w.namespace(t, "globex")
		w.refuses(t, owned, `"acme" and "globex"`, func(ctx context.Context) error { return adopter.Patch(ctx, owned.DeepCopy(), permit("acme")) })
		w.allows(t, w.as(t, platformUser).Patch(t.Context(), owned.DeepCopy(), permit("globex")))
	})
}

// grant binds a user to a verb on a resource, in the whole cluster.
func (w *world) grant(t *testing.T, user, resource string, verbs ...string) client.WithWatch {
	t.Helper()
	return w.grantRule(t, user, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, Verbs: verbs})
}

func (w *world) grantNamed(t *testing.T, user, tenant string) {
	t.Helper()
	w.grantRule(t, user, rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"tenants"}, ResourceNames: []string{tenant}, Verbs: []string{"adopt"},
	})
}
