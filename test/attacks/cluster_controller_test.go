package attacks

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// The cluster controller makes Pods, and reads the keys of clusters. These tests take it
// over, and give it all of RBAC: what stays refused is refused by the policies.

const restricted = "pod-security.kubernetes.io/enforce"

// ofCluster makes the Namespace of a cluster, as the controller does.
func (w *world) ofCluster(t *testing.T) *corev1.Namespace {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("aether-cluster-c%d", count.Add(1)), Labels: map[string]string{restricted: "restricted"}}}
	w.allows(t, w.as(t, controllerUser).Create(t.Context(), ns))
	return ns
}

func TestClusterControllerWritesOutOfItsPlace(t *testing.T) {
	w := newWorld(t)
	controller := w.stolen(t, controllerUser)
	tenants, cluster := w.namespace(t, "acme"), w.ofCluster(t)
	in := func(namespace string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: "x", Namespace: namespace} }
	const elsewhere = "writes into Namespaces of clusters only"
	for what, attempt := range map[string]struct {
		object client.Object
		want   string
	}{
		"a tenant's namespace":       {&corev1.ConfigMap{ObjectMeta: in(tenants.Name)}, elsewhere},
		"kube-system":                {&corev1.ConfigMap{ObjectMeta: in("kube-system")}, elsewhere},
		"its own namespace":          {&corev1.ConfigMap{ObjectMeta: in(v1alpha1.SystemNamespace)}, elsewhere},
		"a Secret of a tenant's":     {&corev1.Secret{ObjectMeta: in(tenants.Name)}, elsewhere},
		"a Deployment of a tenant's": {deployment(tenants.Name), elsewhere},
		"a ClusterRoleBinding": {&rbacv1.ClusterRoleBinding{
			ObjectMeta: in(""), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		}, elsewhere},
		"a Namespace of another name":    {&corev1.Namespace{ObjectMeta: in("")}, elsewhere},
		"a Namespace without a name":     {&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "aether-"}}, elsewhere},
		"a Pod of its own":               {pod(cluster.Name, "x"), "no control plane consists of pods"},
		"an account of its own":          {&corev1.ServiceAccount{ObjectMeta: in(cluster.Name)}, "no control plane consists of serviceaccounts"},
		"a Role":                         {&rbacv1.Role{ObjectMeta: in(cluster.Name)}, "no control plane consists of roles"},
		"a WorkloadCluster of no tenant": {&v1alpha1.WorkloadCluster{ObjectMeta: in(""), Spec: v1alpha1.WorkloadClusterSpec{Tenant: "acme", Region: "x", Version: "v1.36.3"}}, elsewhere},
	} {
		t.Run(what, func(t *testing.T) {
			w.refuses(t, attempt.object, attempt.want, func(ctx context.Context) error {
				return controller.Create(ctx, attempt.object.DeepCopyObject().(client.Object))
			})
		})
	}
	t.Run("deletion of a tenant's namespace", func(t *testing.T) {
		w.refuses(t, tenants, elsewhere+"|is deleted through Git", func(ctx context.Context) error { return controller.Delete(ctx, tenants.DeepCopy()) })
	})
	w.allows(t, controller.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: in(cluster.Name)}))
	w.allows(t, controller.Create(t.Context(), deployment(cluster.Name)))
	w.allows(t, controller.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "election-of-clusters", Namespace: v1alpha1.SystemNamespace}}))
}

func TestClusterControllerHandsOutRights(t *testing.T) {
	w := newWorld(t)
	controller := w.stolen(t, controllerUser)
	ns := w.ofCluster(t)
	binding := func(role string, subject rbacv1.Subject) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: ns.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: []rbacv1.Subject{subject},
		}
	}
	const secrets = "aether-cluster-controller-secrets"
	itself := rbacv1.Subject{Kind: "ServiceAccount", Namespace: v1alpha1.SystemNamespace, Name: "cluster-controller"}
	for what, attempt := range map[string]*rbacv1.RoleBinding{
		"more for itself":        binding("cluster-admin", itself),
		"secrets for a person":   binding(secrets, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: intruder}),
		"secrets for a tenant's": binding(secrets, rbacv1.Subject{Kind: "ServiceAccount", Namespace: "acme-web", Name: "deploy"}),
	} {
		t.Run(what, func(t *testing.T) {
			w.refuses(t, attempt, "binds nobody but itself", func(ctx context.Context) error { return controller.Create(ctx, attempt.DeepCopy()) })
		})
	}
	w.allows(t, controller.Create(t.Context(), binding(secrets, itself)))
}

func TestSecretsOfTenantsAreReadByTheClusterController(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	controller := w.as(t, controllerUser)
	for _, namespace := range []string{ns.Name, "kube-system", w.ofCluster(t).Name} {
		if err := controller.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "x"}, &corev1.Secret{}); !apierrors.IsForbidden(err) {
			t.Errorf("in %s: %v", namespace, err)
		}
	}
	t.Run("by binding itself there", func(t *testing.T) {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: ns.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "aether-cluster-controller-secrets"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: v1alpha1.SystemNamespace, Name: "cluster-controller"}},
		}
		w.refuses(t, binding, "writes into Namespaces of clusters only", func(ctx context.Context) error { return controller.Create(ctx, binding.DeepCopy()) })
	})
}

func TestClusterControllerChangesWhatGitAsksFor(t *testing.T) {
	w := newWorld(t)
	controller := w.stolen(t, controllerUser)
	wc := &v1alpha1.WorkloadCluster{ObjectMeta: metav1.ObjectMeta{Name: "acme-asked"}, Spec: v1alpha1.WorkloadClusterSpec{Tenant: "acme", Region: "dk-1", Version: "v1.36.3"}}
	w.must(t, w.Client.Create(t.Context(), wc))
	w.refuses(t, wc, "comes from Git", func(ctx context.Context) error {
		changed := wc.DeepCopy()
		changed.Spec.Version = "v1.36.4"
		return controller.Patch(ctx, changed, client.MergeFrom(wc))
	})
	held := wc.DeepCopy()
	held.Finalizers = []string{"aetherplatform.cloud/workload-cluster"}
	w.allows(t, controller.Patch(t.Context(), held, client.MergeFrom(wc)))
	held.Finalizers = nil
	w.must(t, w.Client.Update(t.Context(), held))
}

// Privileged Pods beside everybody's would reach the node.
func TestNamespaceOfAClusterLetsPrivilegedPodsIn(t *testing.T) {
	w := newWorld(t)
	controller := w.stolen(t, controllerUser)
	ns := w.ofCluster(t)
	const want = "pod-security.kubernetes.io/enforce=restricted"
	for who, c := range map[string]client.WithWatch{"the controller": controller, "an admin": w.as(t, clusterAdmin)} {
		for what, labels := range map[string]map[string]any{
			"privileged":  {restricted: "privileged"},
			"none":        {restricted: nil},
			"of long ago": {restricted + "-version": "v1.0"},
			"baseline":    {restricted: "baseline"},
		} {
			t.Run(what+" by "+who, func(t *testing.T) {
				w.refuses(t, ns, want, func(ctx context.Context) error {
					patch := encode(map[string]any{"metadata": map[string]any{"labels": labels}})
					return c.Patch(ctx, ns.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
				})
			})
		}
		t.Run("born so by "+who, func(t *testing.T) {
			born := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "aether-cluster-born"}}
			w.refuses(t, born, want, func(ctx context.Context) error { return c.Create(ctx, born.DeepCopy()) })
		})
	}
	w.allows(t, controller.Delete(t.Context(), ns))
}

func deployment(namespace string) *appsv1.Deployment {
	labels := map[string]string{"app": "x"}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: namespace}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod(namespace, "x").Spec},
	}}
}
