package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/local"
)

// Timing of the election: a lease that is long beside a release, so that the two
// ways of taking over can be told apart.
const (
	leaseDuration = 10 * time.Second
	renewDeadline = 6 * time.Second
	retryPeriod   = 500 * time.Millisecond
)

// Two operators elect one of them. It alone works; the other is ready, is silent,
// and takes over: when the leader is killed, after the lease, and when it is asked
// to end, at once. Nothing is lost, nothing is left over, and nothing that was in
// place is written again.
func TestAStandbyTakesOverFromALeader(t *testing.T) {
	w := newWorld(t, fleetOf("ant", "bee"))
	first, second := w.runsReplicas()

	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.becomesReady(head)
	leader, standby := w.elects(first, second, time.Minute)
	w.holdsWhatIsRendered()
	w.isSilent(standby)

	// The leader is gone without a word, and a push comes before anyone has noticed.
	inPlace := w.versions()
	if err := w.Kill(leader.name); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	pushed := w.pushes("A wish while nobody works", map[string]string{"ant/namespaces/new.yaml": namespaceYAML("ant", "ant-new")})
	w.leads(standby, 2*leaseDuration)
	t.Logf("the standby leads %.1f s after the leader was killed; the lease is for %s", time.Since(killed).Seconds(), leaseDuration)
	w.becomesReady(pushed)
	w.holdsWhatIsRendered()
	w.leavesAsItWas(inPlace)

	// The one that was killed comes back, and waits.
	w.revives(t.Context())
	leader, standby = w.elects(standby, leader, time.Second)
	w.isSilent(standby)

	// The leader is asked to end.
	inPlace = w.versions()
	asked := time.Now()
	if err := w.Retire(leader.name); err != nil {
		t.Fatal(err)
	}
	pushed = w.pushes("A wish during a roll-out", map[string]string{"bee/namespaces/new.yaml": namespaceYAML("bee", "bee-new")})
	w.leads(standby, 2*leaseDuration)
	took := time.Since(asked)
	t.Logf("the standby leads %.1f s after the leader was asked to end", took.Seconds())
	if took > leaseDuration/2 {
		t.Errorf("the standby took over after %s: the lease was not released", took)
	}
	w.becomesReady(pushed)
	w.holdsWhatIsRendered()
	w.leavesAsItWas(inPlace)
}

// replica is one of several operators.
type replica struct {
	name, metrics, health string
}

// runsReplicas has two operators run in the place of the platform's, which has nobody
// to elect.
func (w *world) runsReplicas() (first, second replica) {
	w.Helper()
	if err := w.Retire("namespace-operator"); err != nil {
		w.Fatal(err)
	}
	return w.runsReplica("operator-a"), w.runsReplica("operator-b")
}

// runsReplica starts an operator, and returns when it says that it is ready.
func (w *world) runsReplica(name string) replica {
	w.Helper()
	ports, err := local.FreePorts()
	if err != nil {
		w.Fatal(err)
	}
	r := replica{name, fmt.Sprintf("127.0.0.1:%d", ports.OperatorMetrics), fmt.Sprintf("127.0.0.1:%d", ports.OperatorHealth)}
	c := w.OperatorConfig()
	c.LeaderElection = config.LeaderElection{
		Enabled:       true,
		LeaseDuration: config.Duration{Duration: leaseDuration},
		RenewDeadline: config.Duration{Duration: renewDeadline},
		RetryPeriod:   config.Duration{Duration: retryPeriod},
	}
	c.Metrics.BindAddress, c.Health.BindAddress = r.metrics, r.health
	file, err := w.WriteOperatorConfig(name+".yaml", c)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.Add(w.Context(), name, "namespace-operator", ports.OperatorHealth, "http://"+r.health+"/readyz",
		"--kubeconfig="+w.KubeconfigOf("namespace-operator"), "--config="+file); err != nil {
		tellWhy(w, err)
		w.Fatal(err)
	}
	return r
}

// elects waits until one of two leads, and wants the other not to.
func (w *world) elects(a, b replica, limit time.Duration) (leader, standby replica) {
	w.Helper()
	w.eventually(limit, "a leader", func() bool { return w.isLeader(a) || w.isLeader(b) })
	if w.isLeader(b) {
		a, b = b, a
	}
	if w.isLeader(b) {
		w.Fatalf("%s and %s both lead", a.name, b.name)
	}
	return a, b
}

// leads waits until a replica leads, and the lease says so.
func (w *world) leads(r replica, limit time.Duration) {
	w.Helper()
	w.eventually(limit, r.name+" leading", func() bool { return w.isLeader(r) })
	var lease coordinationv1.Lease
	key := client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "aether-namespace-operator"}
	if err := w.Client.Get(w.Context(), key, &lease); err != nil {
		w.Fatal(err)
	}
	if holder := lease.Spec.HolderIdentity; holder == nil || *holder == "" {
		w.Errorf("%s leads and nobody holds the lease", r.name)
	}
}

func (w *world) isLeader(r replica) bool {
	for line := range w.measures(r) {
		if strings.HasPrefix(line, "leader_election_master_status{") && strings.HasSuffix(line, " 1") {
			return true
		}
	}
	return false
}

// isSilent wants a standby to be ready, to serve metrics, to have reconciled
// nothing and to have written nothing: not even an attempt that was refused.
func (w *world) isSilent(r replica) {
	w.Helper()
	response, err := w.asks("http://" + r.health + "/readyz")
	if err != nil || !strings.HasPrefix(response, "ok") {
		w.Errorf("the standby says of its readiness %q, %v", response, err)
	}
	measures := w.measures(r)
	if len(measures) == 0 {
		w.Error("the standby serves no metrics")
	}
	for line := range measures {
		reconciled := strings.HasPrefix(line, "controller_runtime_reconcile_total{") && !strings.HasSuffix(line, " 0")
		wrote := strings.HasPrefix(line, "rest_client_requests_total{") && !strings.Contains(line, `method="GET"`)
		if reconciled || wrote {
			w.Errorf("the standby has worked: %s", line)
		}
	}
}

// measures are the lines of a replica's metrics.
func (w *world) measures(r replica) map[string]bool {
	w.Helper()
	text, err := w.asks("http://" + r.metrics + "/metrics")
	if err != nil {
		return nil
	}
	lines := map[string]bool{}
	scanner := bufio.NewScanner(strings.NewReader(text))
	for scanner.Scan() {
		lines[scanner.Text()] = true
	}
	return lines
}

func (w *world) asks(url string) (string, error) {
	ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// versions are the resource versions of all that the operator made, but for what
// the cluster itself writes to: the status of a ResourceQuota.
func (w *world) versions() map[string]string {
	w.Helper()
	versions := map[string]string{}
	for _, kind := range managed {
		if kind.Kind == "ResourceQuota" {
			continue
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := w.Client.List(w.Context(), list, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}); err != nil {
			w.Fatalf("cannot list %s: %v", kind.Kind, err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			versions[strings.Join([]string{kind.Kind, o.GetNamespace(), o.GetName()}, " ")] = o.GetResourceVersion()
		}
	}
	return versions
}

// leavesAsItWas wants everything that was in place not to have been written since.
func (w *world) leavesAsItWas(before map[string]string) {
	w.Helper()
	after := w.versions()
	same := map[string]string{}
	for key := range before {
		same[key] = after[key]
	}
	if diff := cmp.Diff(before, same); diff != "" {
		w.Errorf("what was in place was written again (-before +after):\n%s", diff)
	}
}

// eventually polls: an election has no event that could be waited for.
func (w *world) eventually(limit time.Duration, what string, is func() bool) {
	w.Helper()
	end := time.After(limit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-end:
			w.Fatalf("no %s after %s", what, limit)
		case <-tick.C:
		}
	}
}
