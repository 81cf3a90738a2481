package access

import (
	"context"
	"errors"
	"sync"
)

// gate lets one at a time through. Who waited while it failed for the same thing
// gets that error instead of a turn, so that a thousand who wait for an OpenBao that
// is away wait for it once.
type gate struct {
	once sync.Once
	turn chan struct{}

	mu     sync.Mutex
	rounds int
	of     any
	err    error
}

func (g *gate) do(ctx context.Context, of any, f func() error) error {
	g.open()
	before, _, _ := g.last()
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-g.turn }()

	if rounds, lastOf, err := g.last(); rounds != before && lastOf == of && err != nil &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	err := f()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rounds++
	g.of, g.err = of, err
	return err
}

// try does f unless somebody has the turn.
func (g *gate) try(f func()) {
	g.open()
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
		f()
	default:
	}
}

func (g *gate) open() { g.once.Do(func() { g.turn = make(chan struct{}, 1) }) }

func (g *gate) last() (rounds int, of any, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rounds, g.of, g.err
}
