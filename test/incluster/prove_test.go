//go:build node || kind

package incluster

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/local/gitea"
)

// cluster has Flux, a forge with the fleet, and Aether by its chart.
type cluster interface {
	// Admin calls the forge, a Gitea, as its administrator. The fleet is platform/fleet,
	// with a branch main.
	Admin() (*gitea.Client, error)
	// InstallChart installs or upgrades the release, with --set's values.
	InstallChart(ctx context.Context, chart string, values ...string) error
	// Helm runs it.
	Helm(ctx context.Context, args ...string) (string, error)
	// ChartDir is the chart as it is now.
	ChartDir() string
}

// previously is the tag of the operator's image in the release that is upgraded from.
const previously = "previous"

// settleLimit is how long a push, or a Pod, may take on a machine that is busy.
const settleLimit = 3 * time.Minute

// world is a cluster while it is tested.
type world struct {
	*testing.T
	cluster
	client client.WithWatch
	kube   *kubernetes.Clientset
	forge  *gitea.Client
	// checkout is a clone of the fleet.
	checkout string
}

// prove is what holds wherever the chart is installed. The release is there, of the
// chart as it was before, and the fleet has been pushed.
func prove(t *testing.T, c cluster, api client.WithWatch, config *rest.Config) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, cluster: c, client: api, kube: kube}
	w.clones()
	w.writes("tenant.yaml", `apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata: {name: `+tenant+`}
spec:
  owners: [{kind: Group, name: proof, role: admin}]
  namespaces: {max: 30}
`)
	w.becomesReady("Begin")

	// Two replicas, of which one works. It is drained, and the other goes on.
	first := w.leads("")
	w.deletesPod(first)
	w.addsNamespace("drained")
	w.becomesReady("A wish while the leader ends")
	w.leads(first)

	// Upgrade while people push: nothing is lost.
	pushed := make(chan error, 1)
	go func() { pushed <- w.pushesNow(8) }()
	if err := w.InstallChart(w.Context(), w.ChartDir()); err != nil {
		w.Fatalf("cannot upgrade: %v", err)
	}
	if err := <-pushed; err != nil {
		w.Fatalf("cannot push while it is upgraded: %v", err)
	}
	w.addsNamespace("upgraded")
	w.becomesReady("After the upgrade")
	w.runs("local")

	// A pull request is reviewed by the Pod, merged, and applied.
	w.git("switch", "--quiet", "--create", "proposal")
	w.addsNamespace("proposed")
	w.isReviewedAndMerged("proposal", "A namespace to talk about", tenant+"-proposed")

	// Uninstall: tenants stay, isolated as they are.
	before := w.holds()
	if out, err := w.Helm(w.Context(), "uninstall", local.Release, "--namespace", v1alpha1.SystemNamespace, "--wait"); err != nil {
		w.Fatalf("cannot uninstall: %v", err)
	} else {
		w.Logf("helm uninstall: %s", out)
	}
	w.gone(&appsv1.Deployment{}, "namespace-operator")
	if diff := cmp.Diff(before, w.holds()); diff != "" {
		w.Errorf("uninstalling has changed what tenants have (-before +after):\n%s", diff)
	}
	w.refusesAnotherTenant("acme-web")

	// Again: it takes over what is there, without a write to it.
	if err := w.InstallChart(w.Context(), w.ChartDir()); err != nil {
		w.Fatalf("cannot install again: %v", err)
	}
	w.leads("")
	w.addsNamespace("again")
	w.becomesReady("After it was installed again")
	after := w.holds()
	maps.DeleteFunc(after, func(name, _ string) bool { return strings.Contains(name, tenant+"-again") })
	if diff := cmp.Diff(before, after); diff != "" {
		w.Errorf("installing again has written to what was in place (-before +after):\n%s", diff)
	}
}

// pushesNow pushes so many namespaces, one a second.
func (w *world) pushesNow(count int) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for i := range count {
		if err := w.writeNamespace(fmt.Sprintf("rolling%d", i)); err != nil {
			return err
		}
		if _, err := w.push("main", fmt.Sprintf("Push %d while it is upgraded", i)); err != nil {
			return err
		}
		<-second.C
	}
	return nil
}

// becomesReady pushes what has changed in the checkout, and waits until all is ready.
func (w *world) becomesReady(message string) {
	w.Helper()
	revision, err := w.push("main", message)
	if err != nil {
		w.Fatal(err)
	}
	w.awaits(revision)
}

// awaits waits until a revision is applied and all of it is ready.
func (w *world) awaits(revision string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), settleLimit)
	defer cancel()
	look := &local.Platform{Options: local.Options{Progress: os.Stderr}, Client: w.client}
	outcome, err := look.Await(ctx, revision)
	if err != nil || !outcome.Ready() {
		w.Fatalf("%s is not ready: %v\n%+v", revision, err, outcome)
	}
}

// tenant is one beside those of the fleet, with the namespaces that the proof adds.
const tenant = "proof"

// addsNamespace writes one into the checkout.
func (w *world) addsNamespace(name string) {
	w.Helper()
	if err := w.writeNamespace(name); err != nil {
		w.Fatal(err)
	}
}

func (w *world) writeNamespace(name string) error {
	return w.write(name+".yaml", fmt.Sprintf("apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: %s-%s}\nspec: {tenant: %s, size: small}\n",
		tenant, name, tenant))
}

func (w *world) writes(file, text string) {
	w.Helper()
	if err := w.write(file, text); err != nil {
		w.Fatal(err)
	}
}

func (w *world) write(file, text string) error {
	folder := filepath.Join(w.checkout, "tenants", tenant)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600)
}

// leads waits until a Pod other than one holds the lease, and returns its name.
func (w *world) leads(other string) string {
	w.Helper()
	var leader string
	w.waits("a leader other than "+other, func() (bool, error) {
		lease := &coordinationv1.Lease{}
		err := w.client.Get(w.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "aether-namespace-operator"}, lease)
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false, client.IgnoreNotFound(err)
		}
		leader, _, _ = strings.Cut(*lease.Spec.HolderIdentity, "_")
		if leader == "" || leader == other {
			return false, nil
		}
		err = w.client.Get(w.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: leader}, &corev1.Pod{})
		return err == nil, client.IgnoreNotFound(err)
	})
	return leader
}

func (w *world) deletesPod(name string) {
	w.Helper()
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = v1alpha1.SystemNamespace, name
	if err := w.client.Delete(w.Context(), pod); err != nil {
		w.Fatalf("cannot delete Pod %s: %v", name, err)
	}
}

// runs wants all of the operator's Pods to be of a tag.
func (w *world) runs(tag string) {
	w.Helper()
	pods := w.pods("namespace-operator")
	for _, pod := range pods {
		if image := pod.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+tag) {
			w.Errorf("Pod %s runs %s after the upgrade, not the tag %s", pod.Name, image, tag)
		}
	}
	if len(pods) != 2 {
		w.Errorf("%d Pods of the operator run, want 2", len(pods))
	}
}

// pods are those of a program that are not to end.
func (w *world) pods(program string) []corev1.Pod {
	w.Helper()
	var all corev1.PodList
	if err := w.client.List(w.Context(), &all, client.InNamespace(v1alpha1.SystemNamespace),
		client.MatchingLabels{"app.kubernetes.io/name": program}); err != nil {
		w.Fatal(err)
	}
	return slices.DeleteFunc(all.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// log is what the only Pod of a program has logged.
func (w *world) log(program string) string {
	w.Helper()
	pods := w.pods(program)
	if len(pods) != 1 {
		w.Fatalf("%d Pods of %s run, want 1", len(pods), program)
	}
	log, err := w.kube.CoreV1().Pods(pods[0].Namespace).GetLogs(pods[0].Name, &corev1.PodLogOptions{}).DoRaw(w.Context())
	if err != nil {
		w.Fatalf("cannot read the log of Pod %s: %v", pods[0].Name, err)
	}
	return string(log)
}

// holds is everything that tenants have: who it is, and which version.
func (w *world) holds() map[string]string {
	w.Helper()
	all := map[string]string{}
	for _, gvk := range []schema.GroupVersionKind{
		v1alpha1.GroupVersion.WithKind("TenantList"),
		v1alpha1.GroupVersion.WithKind("TenantNamespaceList"),
		v1alpha1.GroupVersion.WithKind("NamespaceProfileList"),
		corev1.SchemeGroupVersion.WithKind("NamespaceList"),
		corev1.SchemeGroupVersion.WithKind("ResourceQuotaList"),
		corev1.SchemeGroupVersion.WithKind("LimitRangeList"),
		networkingv1.SchemeGroupVersion.WithKind("NetworkPolicyList"),
		rbacv1.SchemeGroupVersion.WithKind("RoleList"),
		rbacv1.SchemeGroupVersion.WithKind("RoleBindingList"),
		{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicyList"},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk)
		if err := w.client.List(w.Context(), list); err != nil {
			w.Fatalf("cannot list %s: %v", gvk.Kind, err)
		}
		for _, o := range list.Items {
			if gvk.Group != v1alpha1.GroupVersion.Group && o.GetLabels()[v1alpha1.LabelTenant] == "" {
				continue // of the system
			}
			version := string(o.GetUID())
			if gvk.Group != v1alpha1.GroupVersion.Group && gvk.Kind != "ResourceQuotaList" {
				// Statuses of Aether's own, and of quotas, say which revision and how much is used.
				version += " " + o.GetResourceVersion()
			}
			all[fmt.Sprintf("%s %s", strings.TrimSuffix(gvk.Kind, "List"),
				types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()})] = version
		}
	}
	if len(all) < 50 {
		w.Fatalf("only %d objects are there: %v", len(all), slices.Sorted(maps.Keys(all)))
	}
	return all
}

// refusesAnotherTenant wants the admission policies to hold without the operator.
func (w *world) refusesAnotherTenant(name string) {
	w.Helper()
	ns := &corev1.Namespace{}
	ns.Name = name
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"`+v1alpha1.LabelTenant+`":"globex"}}}`))
	if err := w.client.Patch(w.Context(), ns, patch, client.DryRunAll); !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
		w.Errorf("a namespace can be given to another tenant while Aether is uninstalled: %v", err)
	}
}

func (w *world) gone(o client.Object, name string) {
	w.Helper()
	w.waits(name+" to be gone", func() (bool, error) {
		err := w.client.Get(w.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: name}, o)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}

// waits asks until the answer is yes.
func (w *world) waits(what string, ask func() (bool, error)) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), settleLimit)
	defer cancel()
	for {
		ok, err := ask()
		if err != nil && ctx.Err() == nil {
			w.Fatalf("waiting for %s: %v", what, err)
		}
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("waited %s for %s", settleLimit, what)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
