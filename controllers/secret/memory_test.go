package secret

import (
	"errors"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/openbao"
)

func TestAnOpenBaoThatIsAwayIsAskedByOneLessAndLessOften(t *testing.T) {
	var o outages
	connection, other := openbao.Connection{Address: "https://one"}, openbao.Connection{Address: "https://other"}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := o.check(connection, now); err != nil {
		t.Fatalf("before anything is known: %v", err)
	}
	for range 100 { // requests that were under way when it went
		o.note(connection, openbao.Unavailable, now)
	}
	for _, pause := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second} {
		if err := o.check(connection, now.Add(pause-time.Millisecond)); !errors.Is(err, openbao.Unavailable) {
			t.Fatalf("it is asked again before %s have passed: %v", pause, err)
		}
		now = now.Add(pause)
		if err := o.check(connection, now); err != nil {
			t.Fatalf("nobody asks again after %s: %v", pause, err)
		}
		if err := o.check(connection, now); err == nil {
			t.Fatal("two ask at once")
		}
		o.note(connection, openbao.Unavailable, now.Add(time.Millisecond)) // as a refused connection does
	}
	if err := o.check(other, now); err != nil {
		t.Errorf("another OpenBao is away with it: %v", err)
	}
	o.note(connection, openbao.Denied, now)
	if err := o.check(connection, now); err != nil {
		t.Errorf("it has answered, and is away: %v", err)
	}
}
