package fair

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestEachOwnerHasATurn(t *testing.T) {
	for name, c := range map[string]struct{ added, taken string }{
		"one owner's keep their order":               {"a1 a2 a3", "a1 a2 a3"},
		"who comes late waits for one item, not all": {"a1 a2 a3 a4 b1 c1 b2", "a1 b1 c1 a2 b2 a3 a4"},
		"nothing": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := newTurns(func(item string) string { return item[:1] })
			for _, item := range strings.Fields(c.added) {
				q.Push(item)
			}
			if got, want := q.Len(), len(strings.Fields(c.added)); got != want {
				t.Errorf("%d wait, want %d", got, want)
			}
			var taken []string
			for q.Len() > 0 {
				taken = append(taken, q.Pop())
			}
			if diff := cmp.Diff(strings.Fields(c.taken), taken); diff != "" && c.taken != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(q.waits) > 0 || len(q.next) > 0 {
				t.Errorf("%v and %v stay behind", q.waits, q.next)
			}
		})
	}
}

func TestWhoWasServedGoesBehindWhoWaits(t *testing.T) {
	q := newTurns(func(item string) string { return item[:1] })
	q.Push("a1")
	q.Push("a2")
	if got := q.Pop(); got != "a1" {
		t.Fatalf("took %s", got)
	}
	q.Push("b1")
	q.Push("a3")
	var taken []string
	for q.Len() > 0 {
		taken = append(taken, q.Pop())
	}
	if diff := cmp.Diff([]string{"a2", "b1", "a3"}, taken); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// As a controller uses it: what is added twice is done once, and what is added while
// it is done is done again.
func TestAQueueIsAsControllersWantIt(t *testing.T) {
	request := func(namespace, name string) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
	}
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](1, 1)
	q := newQueue(func(r reconcile.Request) string { return r.Namespace })("secretsync", limiter)
	defer q.ShutDown()
	for _, r := range []reconcile.Request{request("a", "1"), request("a", "2"), request("a", "1"), request("b", "1")} {
		q.Add(r)
	}
	first, _ := q.Get()
	q.Add(first)
	q.Done(first)
	got := []reconcile.Request{first}
	for q.Len() > 0 {
		next, _ := q.Get()
		got = append(got, next)
		q.Done(next)
	}
	want := []reconcile.Request{request("a", "1"), request("b", "1"), request("a", "2"), request("a", "1")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	q.AddRateLimited(first)
	if again, _ := q.Get(); again != first || q.NumRequeues(first) != 1 {
		t.Errorf("%v came back, after %d requeues", again, q.NumRequeues(first))
	}
}
