package kyverno

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/aetherplatform/aether/internal/review/policy"
)

// Bounds of one policy. Of CEL the API server's bound of cost holds for each
// expression; nothing counts what classic rules cost, so it is time that is counted.
const (
	mostForOne = 10 * time.Second // one request
	mostForAll = 2 * time.Minute  // all requests of a review, on all processors
)

// bounded runs a policy, and gives it up for the whole review once it panics or
// takes too long. CEL ends by its cost, and loops with their time; what else does
// not come to an end is left behind: one goroutine a processor at most, since a
// policy that was given up is not asked again.
type bounded struct {
	spent   atomic.Int64
	givenUp atomic.Pointer[string]
	// forOne and forAll are the bounds; tests lower them.
	forOne, forAll time.Duration
}

func newBounded() *bounded { return &bounded{forOne: mostForOne, forAll: mostForAll} }

// Why a policy was given up.
const (
	panicked = "Kyverno's engine broke off on an object"
	endless  = "Kyverno's engine did not come to an end on an object"
	tooLong  = "it takes too long on the objects of this change"
)

func (b *bounded) giveUp(why string) []policy.Verdict {
	b.givenUp.CompareAndSwap(nil, &why)
	return unknown(*b.givenUp.Load())
}

func unknown(why string) []policy.Verdict {
	return []policy.Verdict{{Kind: policy.Unknown, Message: why}}
}

// run is what judge says, or that it is not known.
func (b *bounded) run(ctx context.Context, judge func(context.Context) []policy.Verdict) []policy.Verdict {
	if why := b.givenUp.Load(); why != nil {
		return unknown(*why)
	}
	if time.Duration(b.spent.Load()) > b.forAll {
		return b.giveUp(tooLong)
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, b.forOne)
	defer cancel()

	type outcome struct {
		verdicts []policy.Verdict
		panicked bool
	}
	done := make(chan outcome, 1)
	start := time.Now() //nolint:forbidigo // of the process: no result depends on it but that there is none
	go func() {
		out := outcome{panicked: true}
		defer func() {
			if out.panicked {
				_ = recover() // its value may hold what is secret
			}
			done <- out
		}()
		out.verdicts = judge(ctx)
		out.panicked = false
	}()
	select {
	case out := <-done:
		b.spent.Add(int64(time.Since(start)))
		if out.panicked {
			return b.giveUp(panicked)
		}
		return out.verdicts
	case <-ctx.Done():
		if parent.Err() != nil {
			return nil // the review ends, and what is missing of it is not read
		}
		return b.giveUp(endless)
	}
}
