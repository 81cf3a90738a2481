package main

import (
	"testing"
	"time"
)

func TestALeaderEndsBeforeAnotherMayBegin(t *testing.T) {
	for name, c := range map[string]struct {
		lease lease
		want  string
	}{
		"the defaults": {lease{15 * time.Second, 10 * time.Second, 2 * time.Second}, ""},
		"a deadline as long as the lease": {
			lease{10 * time.Second, 10 * time.Second, 2 * time.Second},
			"--leader-elect-lease-duration: 10s is too short; use more than 10s, the renew deadline",
		},
		"a deadline without time to retry": {
			lease{15 * time.Second, 2 * time.Second, 2 * time.Second},
			"--leader-elect-renew-deadline: 2s is too short; use more than 2.4s, which is 1.2 times the retry period",
		},
		"retries without a pause": {
			lease{15 * time.Second, 10 * time.Second, 0},
			"--leader-elect-retry-period: 0s is too short; use more than 0s",
		},
		"a lease that cannot be written": {
			lease{900 * time.Millisecond, 500 * time.Millisecond, 100 * time.Millisecond},
			"--leader-elect-lease-duration: 900ms is too short; use at least 1s, since a Lease counts in seconds",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := c.lease.check(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("it says %q, want %q", got, c.want)
			}
		})
	}
}
