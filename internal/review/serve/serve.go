// Package serve is the webhook server that reviews pull requests as they are
// opened and pushed to, and has Flux fetch when the tracked branch was pushed.
//
// A delivery is believed when it is signed, and then only that something
// happened: what a pull request is, and which head is the newest, is asked of the
// forge.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review/run"
)

// Reviewer makes one review; *run.Runner does.
type Reviewer interface {
	Run(ctx context.Context, n int) (*run.Outcome, error)
}

// Options of a Server.
type Options struct {
	// Kind of the forge whose deliveries are taken.
	Kind forge.Kind
	// Secret of the webhook.
	Secret []byte
	// Repositories by "owner/name"; deliveries of others are refused.
	Repositories map[string]Reviewer
	// Branch that Flux tracks; a push to it calls Pushed.
	Branch string
	// Pushed asks Flux to fetch; nil where that is another's business.
	Pushed func(context.Context) error
	// Reports are shown below ReportsPath; nil for none.
	Reports *Reports
	// Workers review at the same time; Queue pull requests may wait.
	Workers, Queue int
	// Timeout of one review.
	Timeout time.Duration
	// Now is the clock.
	Now func() time.Time
	Log *slog.Logger
}

const (
	// maxEvent bounds a delivery, in bytes; GitHub's own bound is 25 MB.
	maxEvent = 25 << 20
	// maxSeen deliveries are remembered, each by two keys.
	maxSeen = 2 * 10_000
)

// Server takes deliveries and reviews.
type Server struct {
	o        Options
	seen     *seen
	queue    *queue
	draining atomic.Bool
	registry *prometheus.Registry

	deliveries *prometheus.CounterVec
	runs       *prometheus.CounterVec
	seconds    prometheus.Histogram
}

// New returns a server; Run makes it work.
func New(o Options) (*Server, error) {
	if len(o.Secret) == 0 {
		return nil, errors.New("there is no secret for the webhook: without one anybody could send deliveries")
	}
	if len(o.Repositories) == 0 {
		return nil, errors.New("there is no repository to review")
	}
	if o.Workers <= 0 || o.Queue <= 0 || o.Timeout <= 0 {
		return nil, fmt.Errorf("workers, queue and timeout must be above 0, not %d, %d and %s", o.Workers, o.Queue, o.Timeout)
	}
	s := &Server{
		o: o, seen: newSeen(maxSeen), queue: newQueue(o.Queue), registry: prometheus.NewRegistry(),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aether_review_deliveries_total", Help: "Webhook deliveries, by what became of them.",
		}, []string{"result"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aether_review_runs_total", Help: "Reviews, by how they ended.",
		}, []string{"ending"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "aether_review_run_seconds", Help: "How long reviews take.", Buckets: prometheus.ExponentialBuckets(0.1, 2, 12),
		}),
	}
	s.registry.MustRegister(s.deliveries, s.runs, s.seconds, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "aether_review_queue_length", Help: "Pull requests that wait for a review.",
	}, func() float64 { return float64(s.queue.length()) }))
	return s, nil
}

// Run reviews until ctx ends. Then what is under way is cancelled, says so on its
// pull request, and is waited for.
func (s *Server) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range s.o.Workers {
		workers.Go(func() { s.work(ctx) })
	}
	<-ctx.Done()
	s.draining.Store(true)
	s.queue.close()
	workers.Wait()
}

func (s *Server) work(ctx context.Context) {
	for {
		key, runCtx, done, ok := s.queue.next(ctx)
		if !ok {
			return
		}
		s.review(runCtx, key)
		done()
	}
}

func (s *Server) review(ctx context.Context, key pullKey) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	begin := s.o.Now()
	outcome, err := s.o.Repositories[key.repository].Run(ctx, key.number)
	s.seconds.Observe(s.o.Now().Sub(begin).Seconds())
	if err != nil {
		s.runs.WithLabelValues("error").Inc()
		s.o.Log.Error("cannot review", "repository", key.repository, "pull request", key.number, "error", err)
		return
	}
	s.runs.WithLabelValues(string(outcome.Ending)).Inc()
	s.o.Log.Info("reviewed", "repository", key.repository, "pull request", key.number, "ending", string(outcome.Ending))
}

// Handler takes deliveries, and shows reports.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.deliver)
	if s.o.Reports != nil {
		mux.Handle("GET "+ReportsPath, s.o.Reports)
	}
	return mux
}

// Probes answers /healthz, /readyz and /metrics. They tell nothing that needs a
// secret, but are not for the Internet.
func (s *Server) Probes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.draining.Load() {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

// deliver answers 202 for what will be done, 200 for what needs nothing, 401
// for what is not signed, 404 for other repositories, and 503 when there is no room.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, result, message string) {
		s.deliveries.WithLabelValues(result).Inc()
		if status >= http.StatusBadRequest {
			s.o.Log.Info("refused a delivery", "from", r.RemoteAddr, "why", message)
			http.Error(w, message, status)
			return
		}
		w.WriteHeader(status)
		fmt.Fprintln(w, message)
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answer(http.StatusMethodNotAllowed, "refused", "POST deliveries here")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		answer(http.StatusRequestEntityTooLarge, "refused", fmt.Sprintf("the delivery is larger than %d bytes", tooLarge.Limit))
		return
	}
	if err != nil {
		answer(http.StatusBadRequest, "refused", "cannot read the delivery")
		return
	}
	if !genuine(s.o.Kind, r.Header, body, s.o.Secret) {
		answer(http.StatusUnauthorized, "forged", "the signature is wrong or missing: set the webhook's secret")
		return
	}
	e, err := parse(s.o.Kind, r.Header, body)
	switch {
	case err != nil:
		answer(http.StatusBadRequest, "refused", "cannot read the event")
		return
	case e.what == nothing:
		answer(http.StatusOK, "ignored", "nothing to do")
		return
	case s.o.Repositories[e.repository] == nil:
		answer(http.StatusNotFound, "refused", "this repository is not reviewed here: name it with --repo")
		return
	case e.what != pushed && e.number <= 0:
		answer(http.StatusBadRequest, "refused", "the event names no pull request")
		return
	}
	names := keys(deliveryOf(s.o.Kind, r.Header), body)
	if !s.seen.first(names) {
		answer(http.StatusOK, "replayed", "this delivery was here before")
		return
	}
	status, result, message := s.act(r.Context(), e)
	if status >= http.StatusInternalServerError {
		s.seen.forget(names) // the forge, or a person, may send it again
	}
	answer(status, result, message)
}

// act does what an event asks for.
func (s *Server) act(ctx context.Context, e event) (status int, result, message string) {
	key := pullKey{e.repository, e.number}
	switch e.what {
	case closed:
		s.queue.drop(key)
		return http.StatusOK, "accepted", "no more reviews"
	case pushed:
		if s.o.Pushed == nil || e.ref != "refs/heads/"+s.o.Branch {
			return http.StatusOK, "ignored", "nothing to do"
		}
		if err := s.o.Pushed(ctx); err != nil {
			s.o.Log.Error("cannot ask Flux to fetch", "error", err)
			return http.StatusInternalServerError, "failed", "cannot ask Flux to fetch; its own interval makes it good"
		}
		return http.StatusOK, "accepted", "Flux fetches"
	default:
		if !s.queue.add(key, e.head) {
			return http.StatusServiceUnavailable, "full", "too many pull requests wait: deliver it again later"
		}
		return http.StatusAccepted, "accepted", "the review is coming"
	}
}
