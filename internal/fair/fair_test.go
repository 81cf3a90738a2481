package fair

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestEachOwnerHasATurn(t *testing.T) {
	many := func(owner string, from, to int) (items []string) {
		for i := from; i < to; i++ {
			items = append(items, fmt.Sprintf("%s%d", owner, i))
		}
		return items
	}
	for name, c := range map[string]struct{ added, taken []string }{
		"one owner's keep their order":          {many("a", 0, 3*turn), many("a", 0, 3*turn)},
		"who comes late waits for a turn":       {slices.Concat(many("a", 0, 100), many("b", 0, 1)), slices.Concat(many("a", 0, turn), many("b", 0, 1), many("a", turn, 100))},
		"who has more goes on behind who waits": {slices.Concat(many("a", 0, turn+1), many("b", 0, turn+1), many("c", 0, 1)), slices.Concat(many("a", 0, turn), many("b", 0, turn), many("c", 0, 1), many("a", turn, turn+1), many("b", turn, turn+1))},
		"nothing":                               {},
	} {
		t.Run(name, func(t *testing.T) {
			q := newTurns(ownerOf)
			for _, item := range c.added {
				q.Push(item)
			}
			if q.Len() != len(c.added) {
				t.Errorf("%d wait, want %d", q.Len(), len(c.added))
			}
			if diff := cmp.Diff(c.taken, takeAll(q)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(q.waits) > 0 || len(q.next) > 0 {
				t.Errorf("%v and %v stay behind", q.waits, q.next)
			}
		})
	}
}

func TestAnOwnerWhoseLastItemIsTakenBeginsATurnAnew(t *testing.T) {
	q := newTurns(ownerOf)
	q.Push("a0")
	q.Pop()
	q.Push("b0")
	q.Push("a1")
	if diff := cmp.Diff([]string{"b0", "a1"}, takeAll(q)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func ownerOf(item string) string { return item[:1] }

func takeAll(q *turns[string]) (items []string) {
	for q.Len() > 0 {
		items = append(items, q.Pop())
	}
	return items
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
	want := []reconcile.Request{request("a", "1"), request("a", "2"), request("a", "1"), request("b", "1")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	q.AddRateLimited(first)
	if again, _ := q.Get(); again != first || q.NumRequeues(first) != 1 {
		t.Errorf("%v came back, after %d requeues", again, q.NumRequeues(first))
	}
}
