package attacks

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// pod is one that every Pod Security level admits.
func pod(namespace, name string) *corev1.Pod {
	no, yes := false, true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{
				Name: "app", Image: "registry.example.com/acme/app:1",
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// createPod waits for the namespace's default service account, which the
// controller manager makes a moment after the namespace.
func (w *world) createPod(t *testing.T, c client.Client, p *corev1.Pod) {
	t.Helper()
	testenv.Eventually(t, func(ctx context.Context) error { return c.Create(ctx, p.DeepCopy()) })
}

func (w *world) reseal(t *testing.T, ns *corev1.Namespace, value string) {
	t.Helper()
	patch := encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelSealed: value}}})
	w.must(t, w.operator(t).Patch(t.Context(), ns.DeepCopy(), client.RawPatch(types.MergePatchType, patch)))
}

func TestPodInTheMillisecondTheNamespaceIsBorn(t *testing.T) {
	w := newWorld(t)
	admin := w.as(t, clusterAdmin)
	var sealedRefusals atomic.Int64
	for range 10 {
		name := fmt.Sprintf("acme-n%d", count.Load()+1) // what namespace will take
		ctx, stop := context.WithCancel(t.Context())
		var attackers sync.WaitGroup
		for i := range 4 {
			attackers.Go(func() {
				for ctx.Err() == nil {
					err := admin.Create(ctx, pod(name, fmt.Sprintf("early-%d", i)))
					if err == nil {
						return
					}
					if strings.Contains(err.Error(), "is sealed") {
						sealedRefusals.Add(1)
					}
				}
			})
		}
		ns := w.sealedNamespace(t, "acme")
		if ns.Name != name {
			t.Fatalf("attacked %s, but %s was born", name, ns.Name)
		}
		var pods corev1.PodList
		w.must(t, w.Client.List(t.Context(), &pods, client.InNamespace(name)))
		if len(pods.Items) > 0 {
			t.Errorf("%d Pods were in %s before it was opened", len(pods.Items), name)
		}
		w.reseal(t, ns, "false")
		done := make(chan struct{})
		go func() { attackers.Wait(); close(done) }()
		testenv.Eventually(t, func(context.Context) error { // the control: all get in once it is open
			select {
			case <-done:
				return nil
			default:
				return errNotYet
			}
		})
		stop()
	}
	if sealedRefusals.Load() == 0 {
		t.Error("no attempt met a sealed namespace: the attack was too slow to prove anything")
	}
}

func TestPodInANamespaceThatIsNotExactlyOpen(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	w.createPod(t, mallory, pod(ns.Name, "control"))
	for _, value := range []string{"true", "", "False", "no", "false-"} {
		if value == "false-" {
			value = "false.x"
		}
		t.Run("sealed="+value, func(t *testing.T) {
			w.reseal(t, ns, value)
			testenv.Eventually(t, func(ctx context.Context) error { // the label reaches admission through a watch
				if err := mallory.Create(ctx, pod(ns.Name, "late"), client.DryRunAll); err == nil {
					return errNotYet
				}
				return nil
			})
			late := pod(ns.Name, "late")
			w.refuses(t, late, "is sealed", func(ctx context.Context) error { return mallory.Create(ctx, late.DeepCopy()) })
			w.refuses(t, late, "is sealed", func(ctx context.Context) error { return apply(ctx, mallory, late) })
			generated := pod(ns.Name, "")
			generated.GenerateName = "late-"
			w.refuses(t, generated, "is sealed", func(ctx context.Context) error { return mallory.Create(ctx, generated) })
		})
	}
	w.reseal(t, ns, "false")
	w.createPod(t, mallory, pod(ns.Name, "again"))
}

func TestPodStartsThroughASideDoorOfASealedNamespace(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	w.createPod(t, mallory, pod(ns.Name, "pending"))
	w.createPod(t, mallory, pod(ns.Name, "other"))
	pending := &corev1.Pod{}
	w.must(t, w.Client.Get(t.Context(), client.ObjectKey{Namespace: ns.Name, Name: "pending"}, pending))
	target := func() *corev1.Pod { return pending.DeepCopy() }
	scheduler := w.ClientAs(t, "system:kube-scheduler", "system:authenticated")

	attempts := map[string]func(ctx context.Context) error{
		"an ephemeral container": func(ctx context.Context) error {
			p := target()
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "debug", Image: "registry.example.com/debug", SecurityContext: p.Spec.Containers[0].SecurityContext,
			}}}
			return mallory.SubResource("ephemeralcontainers").Update(ctx, p)
		},
		"another image": func(ctx context.Context) error {
			p := target()
			p.Spec.Containers[0].Image = "registry.example.com/other"
			return mallory.Update(ctx, p)
		},
		"a binding to a node": func(ctx context.Context) error {
			return scheduler.SubResource("binding").Create(ctx, target(), &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n"}})
		},
		"a binding as an object": func(ctx context.Context) error {
			return scheduler.Create(ctx, &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: pending.Name},
				Target:     corev1.ObjectReference{Kind: "Node", Name: "n"},
			})
		},
	}
	w.reseal(t, ns, "true")
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := mallory.Create(ctx, pod(ns.Name, "late"), client.DryRunAll); err == nil {
			return errNotYet
		}
		return nil
	})
	for what, attempt := range attempts {
		t.Run(what, func(t *testing.T) { w.refuses(t, pending, "is sealed", attempt) })
	}
	t.Run("what is there may be labelled and deleted", func(t *testing.T) {
		w.allows(t, mallory.Patch(t.Context(), target(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))))
		other := pod(ns.Name, "other")
		w.allows(t, mallory.Delete(t.Context(), other))
	})
	w.reseal(t, ns, "false")
	for _, what := range []string{"an ephemeral container", "a binding to a node"} {
		t.Run(what+", once it is open", func(t *testing.T) {
			testenv.Eventually(t, func(ctx context.Context) error {
				w.must(t, w.Client.Get(ctx, client.ObjectKeyFromObject(pending), pending))
				return attempts[what](ctx)
			})
		})
	}
	t.Run("a binding by anyone but the scheduler", func(t *testing.T) {
		w.refuses(t, pending, "only the scheduler binds Pods", func(ctx context.Context) error {
			return mallory.SubResource("binding").Create(ctx, pod(ns.Name, "any"), &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n"}})
		})
	})
}

func TestWorkloadOfASealedNamespaceWaits(t *testing.T) {
	w := newWorld(t)
	ns := w.sealedNamespace(t, "acme")
	replicas := int32(1)
	labels := map[string]string{"app": "web"}
	template := pod(ns.Name, "")
	web := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: template.Spec},
		},
	}
	w.allows(t, w.as(t, ns.Name+":deploy").Create(t.Context(), web))
	pods := func(ctx context.Context) int {
		var list corev1.PodList
		w.must(t, w.Client.List(ctx, &list, client.InNamespace(ns.Name)))
		return len(list.Items)
	}
	testenv.Eventually(t, func(ctx context.Context) error { // until its controller has been refused
		w.must(t, w.Client.Get(ctx, client.ObjectKeyFromObject(web), web))
		for _, c := range web.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && strings.Contains(c.Message, "is sealed") {
				return nil
			}
		}
		return errNotYet
	})
	if n := pods(t.Context()); n != 0 {
		t.Errorf("%d Pods in a sealed namespace", n)
	}
	w.reseal(t, ns, "false")
	testenv.Eventually(t, func(ctx context.Context) error {
		if pods(ctx) == 0 {
			return errNotYet
		}
		return nil
	})
}
