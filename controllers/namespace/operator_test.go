package namespace

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

const cilium = "ciliumnetworkpolicies.yaml"

// TestOperator runs the controllers as they are run: with the identity, the
// rights and under the policies that Aether installs, woken by watches alone.
func TestOperator(t *testing.T) {
	e := testenv.Start(t, testenv.WithoutCRDs(cilium))
	e.StartControllerManager(t)
	e.Install(t)
	git := e.ClientAs(t, operatorUser, "system:masters") // policies refuse everyone else
	for _, o := range []client.Object{profile("default"), tenant("acme"), tenantNamespace("acme-web")} {
		if err := git.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	wire := &wire{}
	stop := operate(t, e, wire)

	t.Run("a cluster without Cilium keeps namespaces sealed", func(t *testing.T) {
		eventually(t, func(ctx context.Context) error {
			return says(ctx, e, "acme-web", "The cluster does not serve CiliumNetworkPolicy; install its CRD, ciliumnetworkpolicies.cilium.io")
		})
		if err := e.Client.Create(t.Context(), pod("acme-web")); !apierrors.IsForbidden(err) {
			t.Errorf("a Pod in a sealed namespace: %v", err)
		}
	})
	t.Run("and opens them once Cilium is there", func(t *testing.T) {
		if _, err := envtest.InstallCRDs(e.Config, envtest.CRDInstallOptions{Paths: []string{testenv.Root() + "/bin/crds/" + cilium}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func(ctx context.Context) error { return says(ctx, e, "acme-web", "12 objects in place") })
		eventually(t, func(ctx context.Context) error { return e.Client.Create(ctx, pod("acme-web")) })
	})
	t.Run("drift is undone without a timer", func(t *testing.T) {
		policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "acme-web", Name: "default-deny"}}
		if err := git.Delete(t.Context(), policy); err != nil {
			t.Fatal(err)
		}
		eventually(t, func(ctx context.Context) error {
			return e.Client.Get(ctx, client.ObjectKeyFromObject(policy), policy)
		})
	})
	sumsUp := func(ctx context.Context) error {
		got := &v1alpha1.Tenant{}
		if err := e.Client.Get(ctx, client.ObjectKey{Name: "acme"}, got); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady); got.Status.Summary != "1/1" || c == nil || c.Message != "1 namespace ready" {
			return fmt.Errorf("status is %+v", got.Status)
		}
		return nil
	}
	t.Run("the tenant sums up", func(t *testing.T) { eventually(t, sumsUp) })
	// As when etcd goes back to a backup, below a process that has seen more.
	t.Run("a status of before is made current", func(t *testing.T) {
		before := &v1alpha1.Tenant{}
		if err := e.Client.Get(t.Context(), client.ObjectKey{Name: "acme"}, before); err != nil {
			t.Fatal(err)
		}
		before.Status = v1alpha1.TenantStatus{ObservedGeneration: before.Generation, Summary: "0/0"}
		if err := git.Status().Update(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		eventually(t, sumsUp)

		old := &v1alpha1.NamespaceProfile{}
		if err := e.Client.Get(t.Context(), client.ObjectKey{Name: "default"}, old); err != nil {
			t.Fatal(err)
		}
		want := old.Status.BaseRevision
		old.Status = v1alpha1.NamespaceProfileStatus{ObservedGeneration: old.Generation, BaseRevision: "of before"}
		if err := git.Status().Update(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		eventually(t, func(ctx context.Context) error {
			if err := e.Client.Get(ctx, client.ObjectKeyFromObject(old), old); err != nil {
				return err
			}
			if old.Status.BaseRevision != want || !meta.IsStatusConditionTrue(old.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("status is %+v, want of %s", old.Status, want)
			}
			return nil
		})
	})
	t.Run("peers are let in when both say so", func(t *testing.T) {
		globex := tenant("globex", func(s *v1alpha1.TenantSpec) { s.Network.Peers = []v1alpha1.Peer{{Tenant: "acme"}} })
		open := tenantNamespace("acme-api", func(tn *v1alpha1.TenantNamespace) {
			tn.Spec.Network.Ingress = []v1alpha1.IngressRule{{From: []v1alpha1.IngressSource{{Tenant: "globex", Namespace: "globex-web"}}}}
		})
		for _, o := range []client.Object{globex, tenantNamespace("globex-web"), open} {
			if err := git.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func(ctx context.Context) error { return says(ctx, e, "globex-web", "12 objects in place") })
		change(t, git, tenant("acme"), func(a *v1alpha1.Tenant) { a.Spec.Network.Peers = []v1alpha1.Peer{{Tenant: "globex"}} })
		eventually(t, func(ctx context.Context) error { return rules(ctx, e, "acme-api", "globex-web") })
		change(t, git, tenant("globex"), func(g *v1alpha1.Tenant) { g.Spec.Network.Peers = nil })
		eventually(t, func(ctx context.Context) error {
			if rules(ctx, e, "acme-api", "globex-web") == nil {
				return errors.New("globex is still let in")
			}
			return nil
		})
	})
	t.Run("an exception is granted, and ends by itself", func(t *testing.T) {
		granted := func(want string) {
			eventually(t, func(ctx context.Context) error {
				ns := &corev1.Namespace{}
				if err := e.Client.Get(ctx, client.ObjectKey{Name: "acme-web"}, ns); err != nil {
					return err
				}
				if got := ns.Annotations[v1alpha1.AnnotationExceptions]; got != want {
					return fmt.Errorf("exceptions are %q, want %q", got, want)
				}
				return nil
			})
		}
		ends := time.Now().Add(4 * time.Second).UTC().Truncate(time.Second)
		if err := git.Create(t.Context(), exception("acme-quay", "acme", "quay.io/acme", ends)); err != nil {
			t.Fatal(err)
		}
		granted("registries:quay.io/acme@" + ends.Format(time.RFC3339))
		granted("")
		if early := time.Until(ends); early > 0 {
			t.Errorf("it ended %s before its time", early)
		}
	})
	t.Run("a steady state is silent", func(t *testing.T) { silence(t, wire) })
	stop()
	stop = operate(t, e, wire)
	t.Run("and so is another process that takes over", func(t *testing.T) { silence(t, wire) })
	t.Run("a namespace deleted by hand comes back", func(t *testing.T) {
		ns := &corev1.Namespace{}
		if err := e.Client.Get(t.Context(), client.ObjectKey{Name: "globex-web"}, ns); err != nil {
			t.Fatal(err)
		}
		was := ns.UID
		if err := git.Delete(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
		eventually(t, func(ctx context.Context) error {
			if err := e.Client.Get(ctx, client.ObjectKey{Name: "globex-web"}, ns); err != nil {
				return err
			}
			if ns.UID == was {
				return errors.New("the old one is still there")
			}
			return says(ctx, e, "globex-web", "12 objects in place")
		})
	})
	stop()
	stop = operate(t, e, wire, Options{Concurrency: 2})
	t.Run("one tenant's many namespaces hold up nobody else", func(t *testing.T) {
		const many = 100
		for i := range many {
			if err := git.Create(t.Context(), tenantNamespace(fmt.Sprintf("acme-many-%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := git.Create(t.Context(), tenantNamespace("globex-one")); err != nil {
			t.Fatal(err)
		}
		eventually(t, func(ctx context.Context) error { return says(ctx, e, "globex-one", "12 objects in place") })
		waiting := 0
		for i := range many {
			if says(t.Context(), e, fmt.Sprintf("acme-many-%d", i), "12 objects in place") != nil {
				waiting++
			}
		}
		if waiting < many/4 {
			t.Errorf("%d of the other tenant's %d wait; the one was not served in turn", waiting, many)
		}
	})
	stop()
}

const operatorUser = "system:serviceaccount:aether-system:namespace-operator"

// operate runs the controllers as the operator until it is stopped.
func operate(t *testing.T, e *testenv.Env, wire *wire, opts ...Options) (stop func()) {
	t.Helper()
	cfg := e.As(t, operatorUser, "system:serviceaccounts", "system:serviceaccounts:"+v1alpha1.SystemNamespace, "system:authenticated")
	return operateAs(t, cfg, e, wire, opts...)
}

func operateAs(t *testing.T, cfg *rest.Config, e *testenv.Env, wire *wire, opts ...Options) (stop func()) {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return wire.over(next) })
	skip := true
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: e.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
		Cache: cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Setup(mgr, append(opts, Options{})[0]); err != nil {
		t.Fatal(err)
	}
	return testenv.Run(t, mgr)
}

// says is nil when a namespace is as its newest spec has it, and Ready says so.
func says(ctx context.Context, e *testenv.Env, name, message string) error {
	tn := &v1alpha1.TenantNamespace{}
	if err := e.Client.Get(ctx, client.ObjectKey{Name: name}, tn); err != nil {
		return err
	}
	if c := meta.FindStatusCondition(tn.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Message != message {
		return fmt.Errorf("Ready is %+v, want %q", c, message)
	}
	return nil
}

// rules is nil when the network policy of a namespace names another.
func rules(ctx context.Context, e *testenv.Env, namespace, other string) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(childKinds[1])
	if err := e.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return err
	}
	for _, o := range list.Items {
		if strings.Contains(fmt.Sprint(o.Object["spec"]), other) {
			return nil
		}
	}
	return fmt.Errorf("no rule of %s names %s", namespace, other)
}

func change[T client.Object](t *testing.T, c client.Client, o T, do func(T)) {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	do(o)
	if err := c.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// silence waits until nothing has been written for a while, leases and events aside,
// and fails if that does not come.
func silence(t *testing.T, w *wire) {
	t.Helper()
	silent := 0
	eventually(t, func(context.Context) error {
		sent := slices.DeleteFunc(w.writes(), func(s string) bool { return strings.Contains(s, "/events") || strings.Contains(s, "/leases") })
		if silent++; len(sent) > 0 {
			silent = 0
		}
		if silent < 100 { // two seconds
			return fmt.Errorf("wrote %v", sent)
		}
		return nil
	})
}

func pod(namespace string) *corev1.Pod {
	no, yes, user := false, true, int64(1000)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "web", Image: "registry.example.com/web:1",
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
}
