//go:build node

package node

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/testenv"
)

// While namespaces are born a Deployment waits in each of them, made as soon as
// the namespace is there. Its Pods knock at doors that are closed to them from
// their first moment on. Not one of them opens, and no Pod is older than the
// policies that hold it.
func TestNoPacketPassesWhileNamespacesAreBorn(t *testing.T) {
	w := newWorld(t)
	w.tagProbe()
	server := w.runs(pod("default", "door", "node-1", "serve", "tcp:8443"))[0]
	doors := []string{
		"tcp://" + net.JoinHostPort(server.Status.PodIP, "8443"),
		"http://" + outside["elsewhere.example"],
	}
	if r := w.dials(server, "dial", doors[1]); !r.OK {
		t.Fatalf("the door is closed to everyone: %+v", r)
	}

	const count = 5
	fleet := t.TempDir()
	if err := os.CopyFS(fleet, os.DirFS(filepath.Join(testenv.Root(), "tenants"))); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range count {
		name := fmt.Sprintf("globex-born-%d", i)
		names = append(names, name)
		spec := "apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: " + name + "}\nspec: {tenant: globex, size: small}\n"
		if err := os.WriteFile(filepath.Join(fleet, "globex", name+".yaml"), []byte(spec), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	makeRoom(t, filepath.Join(fleet, "globex", "globex.yaml"))
	births := w.watchBirths()
	pushed, err := w.Push(t.Context(), fleet, "Have five more namespaces")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, name := range names {
		w.await("Namespace "+name, func() (bool, error) {
			err := w.Client.Create(t.Context(), knocker(name, doors))
			return err == nil, err
		})
		// One Pod by itself as well, at the same moment.
		if err := w.Client.Create(t.Context(), pod(name, "eager", "", "knock", doors[0])); apierrors.IsForbidden(err) {
			refused++
		}
	}
	w.becomesReady(pushed)
	for _, name := range names {
		w.await("the Pods of "+name+" to run", func() (bool, error) {
			var d appsv1.Deployment
			err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: name, Name: "knocks"}, &d)
			return d.Status.ReadyReplicas == 2, err
		})
	}
	t.Logf("%d of %d Pods that were tried at once were refused", refused, count)

	knocks := 0
	for _, name := range names {
		var pods corev1.PodList
		if err := w.Client.List(t.Context(), &pods, client.InNamespace(name)); err != nil {
			t.Fatal(err)
		}
		for _, p := range pods.Items {
			for _, policy := range []string{"NetworkPolicy", "CiliumNetworkPolicy"} {
				held, born := births.of(policy, name, "default-deny"), births.of("Pod", name, p.Name)
				if held == 0 || born == 0 || born < held {
					t.Errorf("Pod %s/%s was made at revision %d, %s/default-deny at %d", name, p.Name, born, policy, held)
				}
			}
			for _, r := range w.saysAtLeast(&p, 2*len(doors)) {
				knocks++
				if r.OK || r.Connected {
					t.Errorf("a door opened to Pod %s/%s: %+v", name, p.Name, r)
				}
			}
		}
	}
	t.Logf("%d knocks, none was answered", knocks)
}

// knocker is a Deployment of Pods that knock.
func knocker(namespace string, doors []string) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	d.Namespace, d.Name = namespace, "knocks"
	labels := map[string]string{"app": "knocks"}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Replicas = new(int32(2))
	d.Spec.Template.Labels = labels
	d.Spec.Template.Spec = podSpec(append([]string{"knock", "-timeout=250ms"}, doors...)...)
	return d
}

// makeRoom lets globex have more namespaces.
func makeRoom(t testing.TB, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roomy := strings.Replace(string(data), "namespaces: {max: 4}", "namespaces: {max: 20}", 1)
	if roomy == string(data) {
		t.Fatalf("%s does not say how many namespaces there may be", file)
	}
	if err := os.WriteFile(file, []byte(roomy), 0o600); err != nil {
		t.Fatal(err)
	}
}

// births are the revisions of the cluster at which objects were made. Timestamps
// tell no more than the second.
type births struct {
	mu sync.Mutex
	at map[string]int64
}

func (b *births) of(kind, namespace, name string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at[kind+" "+namespace+"/"+name]
}

// watchBirths notes every policy and Pod that is made from now on.
func (w *world) watchBirths() *births {
	w.Helper()
	b := &births{at: map[string]int64{}}
	cilium := &unstructured.UnstructuredList{}
	cilium.SetGroupVersionKind(schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicyList"})
	for kind, list := range map[string]client.ObjectList{
		"Pod": &corev1.PodList{}, "NetworkPolicy": &networkingv1.NetworkPolicyList{}, "CiliumNetworkPolicy": cilium,
	} {
		events, err := w.Client.Watch(w.Context(), list)
		if err != nil {
			w.Fatalf("cannot watch %s: %v", kind, err)
		}
		w.Cleanup(events.Stop)
		go func() {
			for event := range events.ResultChan() {
				object, ok := event.Object.(client.Object)
				if !ok || event.Type != watch.Added {
					continue
				}
				revision, err := strconv.ParseInt(object.GetResourceVersion(), 10, 64)
				if err != nil {
					continue // and the test finds none
				}
				b.mu.Lock()
				b.at[kind+" "+object.GetNamespace()+"/"+object.GetName()] = revision
				b.mu.Unlock()
			}
		}()
	}
	return b
}

// saysAtLeast returns what the probe in a Pod has said once that is so many lines.
func (w *world) saysAtLeast(p *corev1.Pod, lines int) []report {
	w.Helper()
	var all []report
	w.await(fmt.Sprintf("%d lines of Pod %s/%s", lines, p.Namespace, p.Name), func() (bool, error) {
		log, err := w.kube.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(w.Context())
		if err != nil {
			return false, err
		}
		whole := string(log[:strings.LastIndexByte(string(log), '\n')+1]) // the last line may be half written
		all, err = reports(whole)
		return len(all) >= lines, err
	})
	return all
}
