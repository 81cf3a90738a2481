package namespace

import (
	"testing"
	"time"
)

func TestTheLongerATenantTakesTheLessOftenItIsSaid(t *testing.T) {
	at := &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	r := &TenantReconciler{now: at.Now}
	var written []time.Duration
	for begin := at.now; at.now.Sub(begin) <= 2*time.Minute; at.now = at.now.Add(time.Second) {
		if r.hurry("acme", true) == 0 {
			written = append(written, at.now.Sub(begin))
		}
	}
	want := []time.Duration{10 * time.Second, 30 * time.Second, 70 * time.Second, 110 * time.Second}
	if len(written) != len(want) {
		t.Fatalf("written after %v, want %v", written, want)
	}
	for i := range want {
		if written[i] != want[i] {
			t.Errorf("written after %v, want %v", written, want)
		}
	}

	if left := r.hurry("acme", false); left != 0 {
		t.Errorf("a tenant at rest waits for %s", left)
	}
	if left := r.hurry("acme", true); left != shortestPace {
		t.Errorf("a tenant that is moved anew waits for %s, want %s", left, shortestPace)
	}
}
