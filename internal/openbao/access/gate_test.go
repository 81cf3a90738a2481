package access

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestWhoWaitsForAnOpenBaoThatIsAwayWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		away := errors.New("away")
		asked, over := 0, make(chan struct{})
		ask := func() error {
			asked++
			<-over
			return away
		}
		errs := make(chan error, 100)
		for range cap(errs) {
			go func() { errs <- g.do(t.Context(), "acme", ask) }()
		}
		synctest.Wait()
		close(over)
		for range cap(errs) {
			if err := <-errs; !errors.Is(err, away) {
				t.Errorf("got %v", err)
			}
		}
		if asked != 1 {
			t.Errorf("OpenBao was asked %d times, want once", asked)
		}
		if err := g.do(t.Context(), "acme", func() error { return nil }); err != nil {
			t.Errorf("who comes later gets %v", err)
		}
	})
}

func TestAnErrorIsNotForWhoWantsSomethingElse(t *testing.T) {
	for name, c := range map[string]struct {
		of  string
		err error
	}{
		"another tenant's":                   {of: "globex", err: errors.New("taken")},
		"of somebody whose own time is over": {of: "acme", err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g gate
				over := make(chan struct{})
				go func() {
					_ = g.do(t.Context(), c.of, func() error {
						<-over
						return c.err
					})
				}()
				synctest.Wait()
				got := make(chan error)
				go func() { got <- g.do(t.Context(), "acme", func() error { return nil }) }()
				synctest.Wait()
				close(over)
				if err := <-got; err != nil {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestWhoseTimeIsOverWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		over := make(chan struct{})
		go func() {
			_ = g.do(t.Context(), nil, func() error {
				<-over
				return nil
			})
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.do(ctx, nil, func() error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(over)
	})
}
