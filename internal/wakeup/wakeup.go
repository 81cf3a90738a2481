// Package wakeup has objects reconciled for reasons that are no event of a
// Kubernetes informer.
package wakeup

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Queue is a controller's.
type Queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Source is a source of a controller that never blocks who wakes an object, as
// source.Channel does. Its zero value is ready for use.
type Source struct {
	mu    sync.Mutex
	queue Queue
}

// Start implements source.Source.
func (s *Source) Start(_ context.Context, q Queue) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = q
	return nil
}

// Wake has an object reconciled. Before the start it does nothing: then all are
// going to be.
func (s *Source) Wake(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue != nil {
		s.queue.Add(reconcile.Request{NamespacedName: name})
	}
}
