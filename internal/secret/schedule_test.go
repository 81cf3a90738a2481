package secret

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestRefreshesAreSpreadEvenly(t *testing.T) {
	const interval, n = 5 * time.Minute, 10_000
	start := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	var minutes [5]int
	for i := range n {
		next := NextRefresh(types.UID(fmt.Sprintf("5f3b-%d", i)), interval, start)
		wait := next.Sub(start)
		if wait <= 0 || wait > interval {
			t.Fatalf("due %s after", wait)
		}
		minutes[(wait-1)/time.Minute]++
	}
	for i, got := range minutes {
		if got < n/5*9/10 || got > n/5*11/10 {
			t.Errorf("minute %d has %d of %d", i, got, n)
		}
	}
}

func TestARefreshIsDueOnceAnInterval(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	first := NextRefresh("a", time.Minute, at)
	if again := NextRefresh("a", time.Minute, first.Add(-time.Nanosecond)); !again.Equal(first) {
		t.Errorf("just before it is due: %s, want %s", again, first)
	}
	if next := NextRefresh("a", time.Minute, first); !next.Equal(first.Add(time.Minute)) {
		t.Errorf("when it is due: %s, want %s", next, first.Add(time.Minute))
	}
}
