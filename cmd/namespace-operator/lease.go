package main

import (
	"fmt"
	"time"
)

// lease is the timing of leader election.
type lease struct {
	duration, renewDeadline, retryPeriod time.Duration
}

// jitter is how much client-go stretches the retry period at the most.
const jitter = 1.2

// check wants a leader to end before another may begin, and to have tried to
// renew before it ends.
func (l lease) check() error {
	tries := time.Duration(jitter * float64(l.retryPeriod))
	switch {
	case l.retryPeriod <= 0:
		return fmt.Errorf("--leader-elect-retry-period: %s is too short; use more than 0s", l.retryPeriod)
	case l.renewDeadline <= tries:
		return fmt.Errorf("--leader-elect-renew-deadline: %s is too short; use more than %s, which is %.1f times the retry period", l.renewDeadline, tries, jitter)
	case l.duration <= l.renewDeadline:
		return fmt.Errorf("--leader-elect-lease-duration: %s is too short; use more than %s, the renew deadline", l.duration, l.renewDeadline)
	case l.duration < time.Second:
		return fmt.Errorf("--leader-elect-lease-duration: %s is too short; use at least 1s, since a Lease counts in seconds", l.duration)
	}
	return nil
}
