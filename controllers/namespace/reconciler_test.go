package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// usual are the objects of a namespace that asks for nothing special.
var usual = []string{
	"CiliumNetworkPolicy/default-deny",
	"LimitRange/limits",
	"NetworkPolicy/default-deny",
	"ResourceQuota/quota",
	"Role/admin",
	"Role/deploy",
	"Role/editor",
	"RoleBinding/admin",
	"RoleBinding/deploy",
	"RoleBinding/editor",
	"ServiceAccount/deploy",
}

func TestNamespaceStaysSealedUntilIsolationIsSeen(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("sealed"), tenantNamespace("sealed-web"))
	w.observer.hide("NetworkPolicy/default-deny", "Role/editor")

	w.reconcileUntil("sealed-web", func() error {
		if got := sorted(w.contents("sealed-web")); !slices.Equal(got, usual) {
			return fmt.Errorf("there is %v", got)
		}
		return nil
	})
	w.clock.advance(patience)
	tn := w.says("sealed-web", v1alpha1.ReasonWaitingForObjects, "Waiting for 2 of 12 objects: NetworkPolicy/default-deny, Role/editor")
	if !w.isSealed("sealed-web") {
		t.Error("opened though its isolation was not seen")
	}
	isolated := meta.FindStatusCondition(tn.Status.Conditions, v1alpha1.ConditionIsolated)
	if isolated == nil || isolated.Status != metav1.ConditionFalse || isolated.Message != "Sealed until it is in place: NetworkPolicy/default-deny" {
		t.Errorf("Isolated is %+v", isolated)
	}

	w.observer.hide("Role/editor")
	w.reconcileUntil("sealed-web", func() error {
		if w.isSealed("sealed-web") {
			return errors.New("sealed though its isolation was seen")
		}
		return nil
	})
	w.says("sealed-web", v1alpha1.ReasonWaitingForObjects, "Waiting for 1 of 12 objects: Role/editor")

	w.observer.hide()
	w.ready("sealed-web")
	if diff := cmp.Diff([]string{"Opened: Pods are admitted: 12 objects in place, isolation among them"}, w.recorder.take()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestDriftIsUndone(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("drift"), tenantNamespace("drift-web"))
	w.ready("drift-web")
	w.recorder.take()
	clean := w.contents("drift-web")

	object := func(kind, name string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{}
		for _, gvk := range childKinds {
			if gvk.Kind == kind {
				o.SetGroupVersionKind(gvk)
			}
		}
		o.SetNamespace("drift-web")
		o.SetName(name)
		return o
	}
	patch := func(o *unstructured.Unstructured, body string) func(*testing.T) {
		return func(t *testing.T) {
			if err := w.Client.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(body)), client.FieldOwner("somebody")); err != nil {
				t.Fatal(err)
			}
		}
	}
	namespace := &unstructured.Unstructured{}
	namespace.SetGroupVersionKind(namespaceKind)
	namespace.SetName("drift-web")

	cases := map[string]struct {
		why   string
		do    func(*testing.T)
		event string
	}{
		"a label more in podSelector": {
			why:   "the policy would hold for fewer Pods, and server-side apply alone leaves another's field",
			do:    patch(object("NetworkPolicy", "default-deny"), `{"spec":{"podSelector":{"matchLabels":{"a":"b"}}}}`),
			event: "Repaired: Undid a change of NetworkPolicy/default-deny",
		},
		"a rule more in a NetworkPolicy": {
			why:   "it would open everything",
			do:    patch(object("NetworkPolicy", "default-deny"), `{"spec":{"ingress":[{}]}}`),
			event: "Repaired: Undid a change of NetworkPolicy/default-deny",
		},
		"specs on a CiliumNetworkPolicy": {
			why:   "Cilium reads specs beside spec: a whole policy next to ours",
			do:    patch(object("CiliumNetworkPolicy", "default-deny"), `{"specs":[{"endpointSelector":{},"ingress":[{}]}]}`),
			event: "Repaired: Undid a change of CiliumNetworkPolicy/default-deny",
		},
		"a NetworkPolicy deleted": {
			why: "the namespace would be open",
			do: func(t *testing.T) {
				if err := w.Client.Delete(t.Context(), object("NetworkPolicy", "default-deny")); err != nil {
					t.Fatal(err)
				}
			},
			event: "Repaired: Put back NetworkPolicy/default-deny, which had been deleted",
		},
		"a subject more in a RoleBinding": {
			why:   "somebody would have rights that Git does not give",
			do:    patch(object("RoleBinding", "admin"), `{"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"mallory"}]}`),
			event: "Repaired: Undid a change of RoleBinding/admin",
		},
		"another roleRef": {
			why: "it cannot be changed back, so the binding is made anew",
			do: func(t *testing.T) {
				binding := &rbacv1.RoleBinding{}
				if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: "drift-web", Name: "editor"}, binding); err != nil {
					t.Fatal(err)
				}
				if err := w.Client.Delete(t.Context(), binding); err != nil {
					t.Fatal(err)
				}
				binding.ResourceVersion, binding.RoleRef.Name = "", "admin"
				if err := w.Client.Create(t.Context(), binding); err != nil {
					t.Fatal(err)
				}
			},
			event: "Repaired: Undid a change of RoleBinding/editor",
		},
		"a resource more in a quota": {
			why:   "the tenant's budget would not be what was decided",
			do:    patch(object("ResourceQuota", "quota"), `{"spec":{"hard":{"requests.cpu":"200","limits.cpu":"400"}}}`),
			event: "Repaired: Undid a change of ResourceQuota/quota",
		},
		"a quota's scope": {
			why:   "with a scope the quota would count nothing",
			do:    patch(object("ResourceQuota", "quota"), `{"spec":{"hard":{"pods":"1000"}}}`),
			event: "Repaired: Undid a change of ResourceQuota/quota",
		},
		"the label managed-by removed": {
			why:   "the object would be out of our sight",
			do:    patch(object("Role", "admin"), `{"metadata":{"labels":{"aetherplatform.cloud/managed-by":null}}}`),
			event: "Repaired: Put back Role/admin, which had been deleted",
		},
		"an owner reference more": {
			why: "garbage collection would delete the object with its new owner",
			do: patch(object("NetworkPolicy", "default-deny"),
				`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"b0a4f6d2-7f0c-4f7c-9a53-0a4dfd1e5a01"}]}}`),
			event: "Repaired: Undid a change of NetworkPolicy/default-deny",
		},
		"a field without an owner": {
			why: "who clears managedFields leaves a field that nobody owns, and that no apply removes",
			do: func(t *testing.T) {
				patch(object("NetworkPolicy", "default-deny"), `{"spec":{"podSelector":{"matchLabels":{"a":"b"}}}}`)(t)
				patch(object("NetworkPolicy", "default-deny"), `{"metadata":{"managedFields":[{}]}}`)(t)
			},
			event: "Repaired: Undid a change of NetworkPolicy/default-deny",
		},
		"another Pod Security level": {
			why:   "privileged Pods would be admitted",
			do:    patch(namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`),
			event: "Repaired: Undid a change of Namespace/drift-web",
		},
		"an exemption from Pod Security": {
			why:   "an older version of the level would be enforced",
			do:    patch(namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/audit-version":"v1.20"}}}`),
			event: "Repaired: Undid a change of Namespace/drift-web",
		},
		"a Namespace's label managed-by removed": {
			why:   "policies tell our Namespaces by it",
			do:    patch(namespace, `{"metadata":{"labels":{"aetherplatform.cloud/managed-by":null}}}`),
			event: "Repaired: Undid a change of Namespace/drift-web",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := w.namespace("drift-web").Labels
			tc.do(t)
			w.settled("drift-web")
			eventually(t, func(ctx context.Context) error {
				if _, err := w.Reconciler.Reconcile(ctx, request("drift-web")); err != nil {
					return err
				}
				if diff := cmp.Diff(clean, w.contents("drift-web")); diff != "" {
					return fmt.Errorf("contents (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(before, w.namespace("drift-web").Labels); diff != "" {
					return fmt.Errorf("labels (-want +got):\n%s", diff)
				}
				return nil
			})
			w.ready("drift-web")
			if diff := cmp.Diff([]string{tc.event}, w.recorder.take()); diff != "" {
				t.Errorf("%s: events (-want +got):\n%s", tc.why, diff)
			}
			w.settled("drift-web")
			w.writesNothing(func() { _, _ = w.reconcile("drift-web") })
		})
	}
}

func TestAFightIsNotFoughtAtTheSpeedOfWatches(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("fight"), tenantNamespace("fight-web"))
	w.ready("fight-web")
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "fight-web", Name: "quota"}}
	spoil := func() {
		w.must(w.Client.Patch(t.Context(), quota, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"hard":{"pods":"999"}}}`))))
		w.settled("fight-web")
	}
	for range mostRepairs {
		spoil()
		w.ready("fight-web")
		w.settled("fight-web")
	}
	spoil()
	w.says("fight-web", v1alpha1.ReasonApplyFailed, "ResourceQuota/quota is changed by somebody else again and again, and is put back at most 10 times in 1m0s")
	if !w.isSealed("fight-web") {
		t.Error("Pods are admitted though the quota is not what it shall be")
	}
	w.settled("fight-web")
	if result, err := w.reconcile("fight-web"); err != nil || result.RequeueAfter != repairWindow {
		t.Errorf("again in %v (%v), want after the window", result.RequeueAfter, err)
	}

	w.clock.advance(repairWindow)
	w.ready("fight-web")
	if w.isSealed("fight-web") {
		t.Error("still sealed though the quota is in place")
	}
}

func TestWhatOthersMayWriteIsLeftAlone(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("others"), tenantNamespace("others-web"))
	w.ready("others-web")
	w.settled("others-web")

	ns := w.namespace("others-web")
	ns.Labels["example.com/scanned"], ns.Annotations["example.com/by"] = "yes", "scanner"
	w.must(w.Client.Update(t.Context(), ns))
	sa := &corev1.ServiceAccount{}
	w.must(w.Client.Get(t.Context(), client.ObjectKey{Namespace: "others-web", Name: "deploy"}, sa))
	sa.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	sa.Annotations["example.com/by"] = "somebody"
	sa.Finalizers = []string{"example.com/mine"}
	w.must(w.Client.Update(t.Context(), sa))

	w.settled("others-web")
	w.writesNothing(func() { _, _ = w.reconcile("others-web") })

	update(w, tenantNamespace("others-web"), func(tn *v1alpha1.TenantNamespace) { tn.Spec.Labels = map[string]string{"example.com/team": "web"} })
	w.ready("others-web")
	ns = w.namespace("others-web")
	if ns.Labels["example.com/scanned"] != "yes" || ns.Labels["example.com/team"] != "web" {
		t.Errorf("labels are %v", ns.Labels)
	}
	update(w, tenantNamespace("others-web"), func(tn *v1alpha1.TenantNamespace) { tn.Spec.Labels = nil })
	w.ready("others-web")
	ns = w.namespace("others-web")
	if _, ok := ns.Labels["example.com/team"]; ok || ns.Labels["example.com/scanned"] != "yes" {
		t.Errorf("labels are %v", ns.Labels)
	}
	w.must(w.Client.Get(t.Context(), client.ObjectKeyFromObject(sa), sa))
	if len(sa.ImagePullSecrets) != 1 || len(sa.Finalizers) != 1 || sa.Annotations["example.com/by"] == "" {
		t.Errorf("service account is %+v", sa)
	}
	sa.Finalizers = nil
	w.must(w.Client.Update(t.Context(), sa))
}

func TestSteadyStateWritesNothing(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("steady"))
	names := []string{"steady-a", "steady-b", "steady-c"}
	for _, name := range names {
		w.create(tenantNamespace(name, func(tn *v1alpha1.TenantNamespace) {
			tn.Spec.GitOps = &v1alpha1.GitOps{URL: "https://git.example.com/a.git", Branch: "main", Path: "./"}
		}))
		w.ready(name)
		w.settled(name)
	}
	w.sumsUp("steady", "3/3")
	w.writesNothing(func() {
		for range 5 { // resyncs
			for _, name := range names {
				if _, err := w.reconcile(name); err != nil {
					t.Error(err)
				}
			}
			if _, err := w.tenants.Reconcile(t.Context(), request("steady")); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestRestartWritesNothing(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("restart"), tenantNamespace("restart-web"))
	w.ready("restart-web")
	w.settled("restart-web")
	w.sumsUp("restart", "1/1")

	w.restart()
	w.settled("restart-web")
	w.writesNothing(func() {
		w.ready("restart-web")
		if _, err := w.tenants.Reconcile(t.Context(), request("restart")); err != nil {
			t.Error(err)
		}
	})
}

func TestKillInTheMiddleOfApplyLeavesNoOrphan(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("killed"))
	for _, late := range []bool{false, true} {
		for n := 1; ; n++ {
			name := fmt.Sprintf("killed-%v-%d", late, n)
			w.create(tenantNamespace(name))
			w.cachedSees(w.current(name))
			w.wire.mu.Lock()
			w.wire.sent, w.wire.cut, w.wire.late = nil, n, late
			w.wire.mu.Unlock()

			finished := w.untilDead(name)
			w.restart()
			tn := w.ready(name)
			if got := sorted(w.contents(name)); !slices.Equal(got, usual) {
				t.Errorf("killed at write %d (late: %v): there is %v, want %v", n, late, got, usual)
			}
			if got := len(tn.Status.Inventory); got != len(usual)+1 {
				t.Errorf("killed at write %d (late: %v): %d entries in the inventory, want %d", n, late, got, len(usual)+1)
			}
			w.settled(name)
			w.writesNothing(func() { _, _ = w.reconcile(name) })
			if finished {
				t.Logf("late: %v: killed at each of %d writes", late, n-1)
				break
			}
		}
	}
}

func TestKilledBeforeTheSpecShrinksLeavesNoOrphan(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("shrunk"), tenantNamespace("shrunk-web", func(tn *v1alpha1.TenantNamespace) {
		tn.Spec.GitOps = &v1alpha1.GitOps{URL: "https://git.example.com/a.git", Branch: "main", Path: "./"}
	}))
	w.cachedSees(w.current("shrunk-web"))
	w.wire.cut, w.wire.late = 14, true // all is made, and the last answer lost
	w.untilDead("shrunk-web")
	made := sorted(w.contents("shrunk-web"))
	if want := append([]string{"GitRepository/app", "Kustomization/app"}, usual...); len(made) != len(want) {
		t.Fatalf("killed too early: there is %v, want %v", made, want)
	}

	// Nothing asks for these kinds any more; that they were made, only the
	// Namespace still knows.
	update(w, tenantNamespace("shrunk-web"), func(tn *v1alpha1.TenantNamespace) { tn.Spec.Access, tn.Spec.GitOps = nil, nil })
	w.restart()
	want := slices.DeleteFunc(slices.Clone(usual), func(s string) bool { return strings.HasSuffix(s, "/editor") })
	w.reconcileUntil("shrunk-web", func() error {
		if got := sorted(w.contents("shrunk-web")); !slices.Equal(got, want) {
			return fmt.Errorf("there is %v, want %v", got, want)
		}
		if got := len(w.current("shrunk-web").Status.Inventory); got != len(want)+1 {
			return fmt.Errorf("%d entries in the inventory, want %d", got, len(want)+1)
		}
		return nil
	})
	if kinds, ok := w.namespace("shrunk-web").Annotations[v1alpha1.AnnotationKinds]; ok {
		t.Errorf("the Namespace still lists %s, though the inventory does", kinds)
	}
}

func TestNamespaceOfAnotherOwnerIsNotTaken(t *testing.T) {
	cases := map[string]struct {
		why, message string
		labels       map[string]string
	}{
		"foreign-nobodys": {
			why:     "it exists and may be anyone's",
			message: `Namespace "foreign-nobodys" exists and is not Aether's; choose another name, or to hand it over, run: kubectl label namespace foreign-nobodys aetherplatform.cloud/adoptable-by=foreign`,
		},
		"foreign-adoptable": {
			why:     "adoption needs the label of this very tenant",
			labels:  map[string]string{v1alpha1.LabelAdoptableBy: "globex"},
			message: `Namespace "foreign-adoptable" exists and is not Aether's; choose another name, or to hand it over, run: kubectl label --overwrite namespace foreign-adoptable aetherplatform.cloud/adoptable-by=foreign`,
		},
		"foreign-globex": {
			why:     "it is another tenant's",
			labels:  map[string]string{v1alpha1.LabelTenant: "globex", v1alpha1.LabelAdoptableBy: "foreign"},
			message: `Namespace "foreign-globex" belongs to Tenant "globex"; choose another name`,
		},
		"foreign-forged": {
			why:     "the label alone is no proof; the tenant's UID is",
			labels:  map[string]string{v1alpha1.LabelTenant: "foreign", v1alpha1.LabelManagedBy: v1alpha1.ManagedBy},
			message: `Namespace "foreign-forged" has the label aetherplatform.cloud/tenant=foreign without the annotation aetherplatform.cloud/tenant-uid that proves it; to hand it over, run: kubectl label namespace foreign-forged aetherplatform.cloud/adoptable-by=foreign`,
		},
	}
	w := newWorld(t, profile("default"), tenant("foreign"))
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: tc.labels}})
			before := w.namespace(name)
			w.create(tenantNamespace(name))
			w.says(name, v1alpha1.ReasonNamespaceNotOwned, tc.message)
			if after := w.namespace(name); after.ResourceVersion != before.ResourceVersion {
				t.Errorf("%s, but was written to: %v", tc.why, after)
			}
			if got := w.contents(name); len(got) > 0 {
				t.Errorf("%s, but there is %v", tc.why, sorted(got))
			}
		})
	}
}

// Someone has switched the policies off, and taken away what ties a Namespace to
// its tenant. What the condition says to run is what helps.
func TestANamespaceThatLostItsTieSaysHowToGiveItBack(t *testing.T) {
	const adopt = `kubectl label namespace lost-web aetherplatform.cloud/adoptable-by=lost`
	cases := map[string]struct {
		lose, help func(*corev1.Namespace)
		message    string
	}{
		"the label": {
			lose:    func(ns *corev1.Namespace) { delete(ns.Labels, v1alpha1.LabelTenant) },
			help:    func(ns *corev1.Namespace) { ns.Labels[v1alpha1.LabelAdoptableBy] = "lost" },
			message: `Namespace "lost-web" is without the label aetherplatform.cloud/tenant that Aether gave it; to give it back to Tenant "lost", run: ` + adopt,
		},
		"the annotation": {
			lose:    func(ns *corev1.Namespace) { delete(ns.Annotations, v1alpha1.AnnotationTenantUID) },
			help:    func(ns *corev1.Namespace) { ns.Labels[v1alpha1.LabelAdoptableBy] = "lost" },
			message: `Namespace "lost-web" has the label aetherplatform.cloud/tenant=lost without the annotation aetherplatform.cloud/tenant-uid that proves it; to hand it over, run: ` + adopt,
		},
		"both": {
			lose: func(ns *corev1.Namespace) {
				delete(ns.Labels, v1alpha1.LabelTenant)
				delete(ns.Annotations, v1alpha1.AnnotationTenantUID)
			},
			help:    func(ns *corev1.Namespace) { ns.Labels[v1alpha1.LabelAdoptableBy] = "lost" },
			message: `Namespace "lost-web" is without the label aetherplatform.cloud/tenant that Aether gave it; to give it back to Tenant "lost", run: ` + adopt,
		},
		"the label to another tenant": {
			lose: func(ns *corev1.Namespace) { ns.Labels[v1alpha1.LabelTenant] = "globex" },
			help: func(ns *corev1.Namespace) { ns.Labels[v1alpha1.LabelTenant] = "lost" },
			message: `Namespace "lost-web" has the label aetherplatform.cloud/tenant=globex in place of the one that Aether gave it; ` +
				`to give it back to Tenant "lost", run: kubectl label --overwrite namespace lost-web aetherplatform.cloud/tenant=lost, ` +
				`while the admission policy aether-namespace-metadata is off, as it was then`,
		},
	}
	w := newWorld(t, profile("default"), tenant("lost"), tenantNamespace("lost-web"))
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w.ready("lost-web")
			w.settled("lost-web")
			ns := w.namespace("lost-web")
			tc.lose(ns)
			w.must(w.Client.Update(t.Context(), ns))
			w.says("lost-web", v1alpha1.ReasonNamespaceNotOwned, tc.message)

			ns = w.namespace("lost-web")
			tc.help(ns)
			w.must(w.Client.Update(t.Context(), ns))
			w.ready("lost-web")
			ns = w.namespace("lost-web")
			if _, left := ns.Labels[v1alpha1.LabelAdoptableBy]; left || ns.Labels[v1alpha1.LabelTenant] != "lost" || ns.Annotations[v1alpha1.AnnotationTenantUID] == "" {
				t.Errorf("the Namespace has %v and %v", ns.Labels, ns.Annotations)
			}
		})
	}
}

func TestAdoptionNeedsTheLabelOfThisTenant(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("adopts"))
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "adopts-old", Labels: map[string]string{"example.com/kept": "yes"}}})
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "adopts-old", Name: "theirs"}})
	w.create(&networkingv1.NetworkPolicy{ // in the way
		ObjectMeta: metav1.ObjectMeta{Namespace: "adopts-old", Name: "default-deny"},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
	})
	w.create(tenantNamespace("adopts-old"))
	w.until("adopts-old", func(tn *v1alpha1.TenantNamespace) error {
		if !meta.IsStatusConditionTrue(tn.Status.Conditions, v1alpha1.ConditionStalled) {
			return fmt.Errorf("not stalled: %+v", tn.Status.Conditions)
		}
		return nil
	})

	ns := w.namespace("adopts-old")
	ns.Labels[v1alpha1.LabelAdoptableBy] = "adopts"
	w.must(w.Client.Update(t.Context(), ns))
	w.ready("adopts-old")

	ns = w.namespace("adopts-old")
	if _, left := ns.Labels[v1alpha1.LabelAdoptableBy]; left || ns.Labels[v1alpha1.LabelTenant] != "adopts" || ns.Labels["example.com/kept"] != "yes" {
		t.Errorf("labels are %v", ns.Labels)
	}
	w.must(w.Client.Get(t.Context(), client.ObjectKey{Namespace: "adopts-old", Name: "theirs"}, &corev1.ConfigMap{}))
	policy := &networkingv1.NetworkPolicy{}
	w.must(w.Client.Get(t.Context(), client.ObjectKey{Namespace: "adopts-old", Name: "default-deny"}, policy))
	if len(policy.Spec.PodSelector.MatchLabels) > 0 || len(policy.Spec.Ingress) > 0 {
		t.Errorf("what was in the way is %+v", policy.Spec)
	}
	w.settled("adopts-old")
	w.writesNothing(func() { _, _ = w.reconcile("adopts-old") })
}

func TestRecreatedTenantDoesNotInherit(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("twice"), tenantNamespace("twice-web"))
	w.ready("twice-web")

	w.must(w.Client.Delete(t.Context(), tenant("twice")))
	again := tenant("twice")
	w.create(again)
	w.cachedSees(again)

	w.says("twice-web", v1alpha1.ReasonNamespaceNotOwned, `Namespace "twice-web" belongs to an earlier Tenant "twice", not to this one; `+
		`to hand it over, run: kubectl label namespace twice-web aetherplatform.cloud/adoptable-by=twice`)
}

func TestQuotaIsDecidedStatically(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("budget", func(s *v1alpha1.TenantSpec) {
		s.Quota = &v1alpha1.TenantQuota{Hard: corev1.ResourceList{"requests.cpu": resource.MustParse("4")}}
	}))
	for _, name := range []string{"budget-a", "budget-b", "budget-c"} {
		w.create(tenantNamespace(name))
	}
	w.cachedSees(w.current("budget-c"))

	// Whoever is reconciled first: the order of the specs decides.
	w.says("budget-c", v1alpha1.ReasonQuotaExceeded, `spec.size: "small" brings Tenant "budget" to requests.cpu 6 of 4; use a smaller size, or raise its spec.quota.hard`)
	w.ready("budget-b")
	w.ready("budget-a")
	w.missing("budget-c")

	update(w, tenant("budget"), func(t *v1alpha1.Tenant) { t.Spec.Quota.Hard["requests.cpu"] = resource.MustParse("6") })
	w.ready("budget-c")
}

func TestSpecsThatMayNotBeAreRefused(t *testing.T) {
	one := int32(1)
	w := newWorld(t, profile("default"), profile("special"), tenant("refused"),
		tenant("single", func(s *v1alpha1.TenantSpec) { s.Namespaces.Max = &one }),
		tenantNamespace("single-a"))
	cases := map[string]struct {
		namespace       *v1alpha1.TenantNamespace
		reason, message string
	}{
		"another tenant's prefix": {
			namespace: tenantNamespace("stolen-web", func(tn *v1alpha1.TenantNamespace) { tn.Spec.Tenant = "refused" }),
			reason:    v1alpha1.ReasonNameNotAllowed,
			message:   `metadata.name: "stolen-web" is not under the prefix "refused-" of Tenant "refused"; call it "refused-stolen-web"`,
		},
		"a tenant that is not there": {
			namespace: tenantNamespace("nobody-web"),
			reason:    v1alpha1.ReasonTenantNotFound,
			message:   `Waiting for Tenant "nobody"`,
		},
		"a profile that is not the tenant's": {
			namespace: tenantNamespace("refused-profile", func(tn *v1alpha1.TenantNamespace) { tn.Spec.Profile = "special" }),
			reason:    v1alpha1.ReasonProfileNotAllowed,
			message:   `spec.profile: "special" is not open to Tenant "refused"; use default`,
		},
		"a size that is not the profile's": {
			namespace: tenantNamespace("refused-size", func(tn *v1alpha1.TenantNamespace) { tn.Spec.Size = "huge" }),
			reason:    v1alpha1.ReasonInvalidSpec,
			message:   `spec.size: "huge" is not a size of profile "default"; use large or small`,
		},
		"one namespace too many": {
			namespace: tenantNamespace("single-b"),
			reason:    v1alpha1.ReasonTooManyNamespaces,
			message:   `metadata.name: "single-b" is one namespace more than the 1 that Tenant "single" may have; remove one, or raise its spec.namespaces.max`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w.create(tc.namespace)
			w.says(tc.namespace.Name, tc.reason, tc.message)
			w.missing(tc.namespace.Name)
		})
	}
}

func TestSecretsThatNothingServesAreToldOf(t *testing.T) {
	without := profile("bare")
	without.Spec.Base.SourceRef = &v1alpha1.BaseSourceRef{Kind: "GitRepository", Name: "without-openbao"}
	w := newWorld(t, without, tenant("secrets", func(s *v1alpha1.TenantSpec) { s.Namespaces.Profiles = []string{"bare"} }), tenantNamespace("secrets-web", func(tn *v1alpha1.TenantNamespace) {
		tn.Spec.Profile = "bare"
		tn.Spec.Secrets = []v1alpha1.NamespaceSecret{{Name: "db", SecretSource: v1alpha1.SecretSource{Path: "db"}}}
	}))
	w.says("secrets-web", v1alpha1.ReasonSecretsNotServed,
		`spec.secrets: profile "bare" has no component that syncs secrets; use another profile, or take spec.secrets out`)
	if w.isSealed("secrets-web") {
		t.Error("the rest is not in place")
	}
}

func TestLaterTenantWithAnOverlappingPrefixWaits(t *testing.T) {
	first := tenant("overlap")
	second := tenant("overlap-two", func(s *v1alpha1.TenantSpec) { s.Namespaces.Prefix = "overlap-two-" })
	w := newWorld(t, profile("default"), first, second,
		tenantNamespace("overlap-two-web", func(tn *v1alpha1.TenantNamespace) { tn.Spec.Tenant = "overlap-two" }))
	message := `spec.namespaces.prefix: "overlap-two-" overlaps with "overlap-" of Tenant "overlap"; choose another`
	w.says("overlap-two-web", v1alpha1.ReasonNameNotAllowed, message)
	eventually(t, func(ctx context.Context) error {
		if _, err := w.tenants.Reconcile(ctx, request("overlap-two")); err != nil {
			return err
		}
		got := &v1alpha1.Tenant{}
		if err := w.Client.Get(ctx, client.ObjectKey{Name: "overlap-two"}, got); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Reason != v1alpha1.ReasonPrefixTaken || c.Message != message {
			return fmt.Errorf("Ready is %+v", c)
		}
		return nil
	})
}

func TestEndingTheHandOverKeepsTheWorkloads(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("handover"), tenantNamespace("handover-web", func(tn *v1alpha1.TenantNamespace) {
		tn.Spec.GitOps = &v1alpha1.GitOps{URL: "https://git.example.com/a.git", Branch: "main", Path: "./"}
	}))
	w.ready("handover-web")
	app := &unstructured.Unstructured{}
	app.SetGroupVersionKind(childKinds[len(childKinds)-1])
	key := client.ObjectKey{Namespace: "handover-web", Name: "app"}
	w.must(w.Client.Get(t.Context(), key, app))
	app.SetFinalizers([]string{"finalizers.fluxcd.io"}) // as kustomize-controller does
	w.must(w.Client.Update(t.Context(), app))

	update(w, tenantNamespace("handover-web"), func(tn *v1alpha1.TenantNamespace) { tn.Spec.GitOps = nil })
	w.reconcileUntil("handover-web", func() error {
		if err := w.Client.Get(t.Context(), key, app); err != nil {
			return err
		}
		if app.GetDeletionTimestamp() == nil {
			return errors.New("the Kustomization is not being deleted")
		}
		return nil
	})
	spec := app.Object["spec"].(map[string]any)
	if spec["prune"] != false || spec["suspend"] != true || spec["deletionPolicy"] != "Orphan" {
		t.Errorf("Flux would delete what it applied: %v", spec)
	}
	app.SetFinalizers(nil)
	w.must(w.Client.Update(t.Context(), app))
	w.reconcileUntil("handover-web", func() error {
		if tn := w.current("handover-web"); len(tn.Status.Inventory) != len(usual)+1 {
			return fmt.Errorf("inventory: %v", tn.Status.Inventory)
		}
		return nil
	})
}
