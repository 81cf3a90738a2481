// Package fair has the tenants' work done in turn, so that what waits for one tenant
// holds up no other.
package fair

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// NewQueue is what controller.Options take.
type NewQueue func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request]

// ByTenant makes queues that give each tenant a turn, a few requests at a time, as long
// as it has any. Requests of one tenant keep their order. namespace is whose tenant a
// request is for; those for namespaces of no tenant share a turn. The informers must
// hold TenantNamespaces.
func ByTenant(informers client.Reader, namespace func(reconcile.Request) string) NewQueue {
	return newQueue(func(r reconcile.Request) string {
		var ns v1alpha1.TenantNamespace
		if err := informers.Get(context.Background(), client.ObjectKey{Name: namespace(r)}, &ns, client.UnsafeDisableDeepCopy); err != nil {
			return "" // not found
		}
		return ns.Spec.Tenant
	})
}

// newQueue asks for the owner of a request whenever it is added.
func newQueue(owner func(reconcile.Request) string) NewQueue {
	return func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
		fair := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{Name: name, Queue: newTurns(owner)})
		delaying := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[reconcile.Request]{Name: name, Queue: fair})
		return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name, DelayingQueue: delaying})
	}
}

// turn is how many requests an owner has done before the next one's are. What belongs
// together is done together, so that what sums it up is written seldom: a namespace
// says how many of its secrets are synced.
const turn = 16

// turns implements workqueue.Queue, whose caller sees to it that one at a time uses it.
type turns[T comparable] struct {
	owner func(T) string
	// next are the owners that have something to be done, in the order of their turns;
	// taken, how much of its turn the first has had.
	next   []string
	taken  int
	waits  map[string][]T
	length int
}

func newTurns[T comparable](owner func(T) string) *turns[T] {
	return &turns[T]{owner: owner, waits: map[string][]T{}}
}

// Touch does nothing: who asks twice is not served earlier.
func (*turns[T]) Touch(T) {}

// Push adds an item behind its owner's.
func (t *turns[T]) Push(item T) {
	owner := t.owner(item)
	if len(t.waits[owner]) == 0 {
		t.next = append(t.next, owner)
	}
	t.waits[owner] = append(t.waits[owner], item)
	t.length++
}

// Len is how many items wait.
func (t *turns[T]) Len() int { return t.length }

// Pop takes the first item of the owner whose turn it is.
func (t *turns[T]) Pop() T {
	owner := t.next[0]
	item, rest := t.waits[owner][0], t.waits[owner][1:]
	t.length--
	t.taken++
	switch {
	case len(rest) == 0:
		delete(t.waits, owner)
		t.next, t.taken = t.next[1:], 0
	case t.taken >= turn:
		t.waits[owner] = rest
		t.next, t.taken = append(t.next[1:], owner), 0
	default:
		t.waits[owner] = rest
	}
	return item
}
