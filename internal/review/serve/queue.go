package serve

import (
	"context"
	"sync"

	"github.com/aetherplatform/aether/internal/review/run"
)

// pullKey names a pull request.
type pullKey struct {
	repository string
	number     int
}

// job is one pull request's place in the queue.
type job struct {
	head string
	// cancel ends the run under way; nil while the job waits.
	cancel context.CancelCauseFunc
	// again: once the run has ended there is to be another.
	again bool
}

// queue holds the pull requests to review: each once, and at most limit that wait.
// A newer head takes its place and ends the run of the older one.
type queue struct {
	mu      sync.Mutex
	wake    *sync.Cond
	limit   int
	waiting []pullKey
	jobs    map[pullKey]*job
	closed  bool
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit, jobs: map[pullKey]*job{}}
	q.wake = sync.NewCond(&q.mu)
	return q
}

// add asks for a review of a head, and is false when there is no room.
func (q *queue) add(key pullKey, head string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := q.jobs[key]
	switch {
	case q.closed:
		return false
	case j == nil && len(q.waiting) >= q.limit:
		return false
	case j == nil:
		q.jobs[key] = &job{head: head}
		q.waiting = append(q.waiting, key)
		q.wake.Signal()
	case j.cancel == nil: // it waits, and will see the newest head when it runs
		j.head = head
	default:
		if j.head != head {
			j.head = head
			j.cancel(run.ErrSuperseded)
		}
		// The base may have changed with the same head.
		j.again = true
	}
	return true
}

// drop forgets a pull request that was closed.
func (q *queue) drop(key pullKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := q.jobs[key]
	switch {
	case j == nil:
	case j.cancel != nil:
		j.again = false
		j.cancel(run.ErrSuperseded)
	default:
		delete(q.jobs, key)
		for i, waiting := range q.waiting {
			if waiting == key {
				q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
				break
			}
		}
	}
}

// next waits for a pull request to review; done is called when its run has ended.
func (q *queue) next(ctx context.Context) (key pullKey, runCtx context.Context, done func(), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return pullKey{}, nil, nil, false
	}
	key = q.waiting[0]
	q.waiting = q.waiting[1:]
	j := q.jobs[key]
	runCtx, j.cancel = context.WithCancelCause(ctx)
	cancel := j.cancel
	return key, runCtx, func() {
		cancel(nil)
		q.mu.Lock()
		defer q.mu.Unlock()
		j.cancel = nil
		if !j.again || q.closed {
			delete(q.jobs, key)
			return
		}
		// It was in the queue all the time, so there is room.
		j.again = false
		q.waiting = append(q.waiting, key)
		q.wake.Signal()
	}, true
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Broadcast()
}

// length is how many wait.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}
