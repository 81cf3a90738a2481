package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/local"
)

// Killed without warning at a random moment of a push that every tenant has a part
// in, each of the processes is started again, as a kubelet would, and the cluster
// converges to exactly what was pushed.
func TestKillNineInTheMiddleOfAnApplyLosesNothing(t *testing.T) {
	const tenants = 20
	var names []string
	for i := range tenants {
		names = append(names, fmt.Sprintf("t%02d", i))
	}
	w := newWorld(t, fleetOf(names...))
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.becomesReady(head)

	// The operator more often than the others: it is what is in the middle of applying.
	victims := slices.Clone(w.Processes)
	for _, process := range w.Processes {
		if process.Name == "namespace-operator" {
			victims = append(victims, process, process)
		}
	}
	for edition, process := range victims {
		// Not parallel: it is about one process at a time. The subtests' order matters
		// as well, since each adds to what the ones before it pushed.
		t.Run(process.Name, func(t *testing.T) {
			w := &world{T: t, Platform: w.Platform, checkout: w.checkout}
			files := map[string]string{}
			for _, tenant := range names {
				name := fmt.Sprintf("%s-%d", tenant, edition)
				maps.Copy(files, map[string]string{tenant + "/namespaces/" + name + ".yaml": namespaceYAML(tenant, name)})
			}
			pushed := w.commits("A namespace for every tenant", files)

			// A first apply of these takes about two seconds.
			delay := rand.N(2 * time.Second)
			t.Logf("killing %s %s after the push began", process.Name, delay.Round(time.Millisecond))
			push := make(chan error, 1)
			go func() {
				_, err := w.tryGit("push", "--quiet", "origin", "HEAD:main")
				push <- err
			}()
			<-time.After(delay)
			if err := w.Kill(process.Name); err != nil {
				t.Fatal(err)
			}
			w.revives(t.Context())
			if err := <-push; err != nil {
				t.Logf("the push was cut off; pushing again: %v", err)
				w.git("push", "--quiet", "origin", "HEAD:main")
			}
			w.converges(pushed)
			w.holdsWhatIsRendered()
		})
	}
}

// converges waits as settles does, and starts what ends in the meantime: a
// controller that loses its API server for long ends, to be started again.
func (w *world) converges(pushed local.Pushed) {
	w.Helper()
	limit, cancel := context.WithTimeout(w.Context(), settleLimit)
	defer cancel()
	for {
		w.revives(limit)
		// Long enough for most pushes, short enough to notice what has ended.
		attempt, cancel := context.WithTimeout(limit, 5*time.Second)
		outcome, err := w.Await(attempt, pushed.Revision())
		cancel()
		switch {
		case err == nil && outcome.Ready():
			return
		case limit.Err() != nil:
			w.Fatalf("%s did not become ready: %v\n%s", pushed.Revision(), errors.Join(err, limit.Err()), describe(outcome))
		}
	}
}
