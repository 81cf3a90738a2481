//go:build node

package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// moments are when something was first seen of each namespace.
type moments struct {
	mu sync.Mutex
	at map[string]map[string]time.Time
}

func (m *moments) note(what, namespace string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at[what] == nil {
		m.at[what] = map[string]time.Time{}
	}
	if m.at[what][namespace].IsZero() {
		m.at[what][namespace] = time.Now()
	}
}

// since is how long after its Namespace something was seen, for each of them,
// sorted.
func (m *moments) since(b *testing.B, namespaces []string, what ...string) []time.Duration {
	b.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []time.Duration
	for _, name := range namespaces {
		var last time.Time
		for _, w := range what {
			at := m.at[w][name]
			if at.IsZero() {
				b.Errorf("%s of %s was never seen", w, name)
			}
			if at.After(last) {
				last = at
			}
		}
		all = append(all, last.Sub(m.at["Namespace"][name]))
	}
	slices.Sort(all)
	return all
}

// follow notes what a watch tells.
func (w *world) follow(list client.ObjectList, note func(client.Object)) {
	w.Helper()
	events, err := w.Client.Watch(w.Context(), list)
	if err != nil {
		w.Fatalf("cannot watch %T: %v", list, err)
	}
	w.Cleanup(events.Stop)
	go func() {
		for event := range events.ResultChan() {
			if o, ok := event.Object.(client.Object); ok {
				note(o)
			}
		}
	}()
}

// BenchmarkFiftyNamespacesAreBornWithAPodWaitingInEach tells how long a namespace
// takes until its isolation is in place, until it opens, until it is Ready and until
// a Pod that is tried every 20 ms from its first moment runs; and how many of the
// Pods' knocks at closed doors were answered.
func BenchmarkFiftyNamespacesAreBornWithAPodWaitingInEach(b *testing.B) {
	w := newWorld(b)
	w.tagProbe()
	server := w.runs(pod("default", "door", "node-1", "serve", "tcp:8443"))[0]
	doors := []string{"tcp://" + net.JoinHostPort(server.Status.PodIP, "8443"), "http://" + outside["elsewhere.example"]}
	if r := w.dials(server, "dial", doors[1]); !r.OK {
		b.Fatalf("the door is closed to everyone: %+v", r)
	}
	const count = 50
	round := 0
	for b.Loop() {
		round++
		w.bear(b, fmt.Sprintf("born%d", round), count, doors)
	}
}

func (w *world) bear(b *testing.B, tenant string, count int, doors []string) {
	fleet := b.TempDir()
	if err := os.CopyFS(fleet, os.DirFS(filepath.Join(testenv.Root(), "tenants"))); err != nil {
		b.Fatal(err)
	}
	header := "apiVersion: aetherplatform.cloud/v1alpha1\n"
	text := header + "kind: Tenant\nmetadata: {name: " + tenant + "}\nspec: {namespaces: {max: 100}}\n"
	var names []string
	for i := range count {
		name := fmt.Sprintf("%s-%d", tenant, i)
		names = append(names, name)
		text += "---\n" + header + "kind: TenantNamespace\nmetadata: {name: " + name + "}\nspec: {tenant: " + tenant + ", size: small}\n"
	}
	if err := os.Mkdir(filepath.Join(fleet, tenant), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fleet, tenant, "all.yaml"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}

	m := &moments{at: map[string]map[string]time.Time{}}
	var waiting sync.WaitGroup
	seen := map[string]bool{}
	w.follow(&corev1.NamespaceList{}, func(o client.Object) {
		if !strings.HasPrefix(o.GetName(), tenant+"-") {
			return
		}
		m.note("Namespace", o.GetName())
		if o.GetLabels()[v1alpha1.LabelSealed] == "false" {
			m.note("open", o.GetName())
		}
		if !seen[o.GetName()] {
			seen[o.GetName()] = true
			waiting.Go(func() {
				w.insists(m, pod(o.GetName(), "eager", "", append([]string{"knock", "-timeout=250ms"}, doors...)...))
			})
		}
	})
	cilium := &unstructured.UnstructuredList{}
	cilium.SetGroupVersionKind(schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicyList"})
	for kind, list := range map[string]client.ObjectList{"NetworkPolicy": &networkingv1.NetworkPolicyList{}, "CiliumNetworkPolicy": cilium} {
		w.follow(list, func(o client.Object) {
			if o.GetName() == "default-deny" {
				m.note(kind, o.GetNamespace())
			}
		})
	}
	w.follow(&v1alpha1.TenantNamespaceList{}, func(o client.Object) {
		if tn, ok := o.(*v1alpha1.TenantNamespace); ok && meta.IsStatusConditionTrue(tn.Status.Conditions, v1alpha1.ConditionReady) {
			m.note("Ready", tn.Name)
		}
	})
	w.follow(&corev1.PodList{}, func(o client.Object) {
		if p, ok := o.(*corev1.Pod); ok && p.Status.Phase == corev1.PodRunning {
			m.note("running", p.Namespace)
		}
	})

	pushed, err := w.Push(b.Context(), fleet, "Have fifty more namespaces")
	if err != nil {
		b.Fatal(err)
	}
	w.becomesReady(pushed)
	waiting.Wait()
	knocks, answered := 0, 0
	for _, name := range names {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "eager"}}
		w.await("the Pod of "+name+" to run", func() (bool, error) {
			err := w.Client.Get(b.Context(), client.ObjectKeyFromObject(p), p)
			return p.Status.Phase == corev1.PodRunning, err
		})
		for _, r := range w.saysAtLeast(p, 4*len(doors)) {
			knocks++
			if r.OK || r.Connected {
				answered++
				b.Errorf("a door opened to Pod %s/%s: %+v", name, p.Name, r)
			}
		}
	}
	for unit, durations := range map[string][]time.Duration{
		"isolated": m.since(b, names, "NetworkPolicy", "CiliumNetworkPolicy"), "open": m.since(b, names, "open"),
		"ready": m.since(b, names, "Ready"), "admitted": m.since(b, names, "admitted"), "running": m.since(b, names, "running"),
	} {
		b.ReportMetric(float64(durations[len(durations)/2].Milliseconds()), "ms-"+unit+"-p50")
		b.ReportMetric(float64(durations[len(durations)*99/100].Milliseconds()), "ms-"+unit+"-p99")
	}
	b.ReportMetric(float64(knocks), "knocks")
	b.ReportMetric(float64(answered), "answered")
}

// insists tries to make a Pod until it is admitted.
func (w *world) insists(m *moments, p *corev1.Pod) {
	ctx, cancel := context.WithTimeout(w.Context(), settleLimit)
	defer cancel()
	for ctx.Err() == nil {
		err := w.Client.Create(ctx, p.DeepCopy())
		if err == nil {
			m.note("admitted", p.Namespace)
			return
		}
		if !apierrors.IsForbidden(err) { // sealed, or its account is not there yet
			w.Errorf("the Pod in %s: %v", p.Namespace, err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}
