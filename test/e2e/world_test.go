// Package e2e proves on real programs what a newcomer is promised: a push becomes
// ready namespaces, a mistake in it harms nobody else, killing any process loses
// nothing, and `aether local` leaves nothing behind.
//
// Each platform runs in a folder of the test's own on ports that nobody uses, so
// that one that is up on the same machine is not disturbed.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/testenv"
)

// TestMain builds what is tested, as it is now.
func TestMain(m *testing.M) {
	build := exec.Command("go", "build", "-o", "bin/", "./cmd/...")
	build.Dir = testenv.Root()
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the programs: %v\n%s", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// world is a platform, and a checkout of its fleet repository that a team would have.
type world struct {
	*testing.T
	*local.Platform
	checkout string
}

// newWorld starts a platform with these files below tenants/.
func newWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	fleet := t.TempDir()
	write(t, fleet, files)
	return startWorld(t, fleet)
}

func startWorld(t *testing.T, fleet string) *world {
	t.Helper()
	ports, err := local.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "platform")
	platform, err := local.Start(t.Context(), local.Options{
		Root: testenv.Root(), Dir: dir, Ports: ports, Fleet: fleet, Attached: true, Now: time.Now, Progress: t.Output(),
	})
	if err != nil {
		tellWhy(t, err)
		t.Fatalf("cannot start the platform: %v", err)
	}
	w := &world{T: t, Platform: platform, checkout: filepath.Join(t.TempDir(), "fleet")}
	t.Cleanup(func() {
		if t.Failed() {
			w.tellLogs()
		}
		if err := platform.Stop(); err != nil {
			t.Error(err)
		}
	})
	w.clones()
	return w
}

// clones makes the checkout, as a team member would.
func (w *world) clones() {
	w.Helper()
	w.git("clone", "--quiet", "-c", "credential.helper=store --file '"+w.Credentials()+"'", w.PushURL(), w.checkout)
}

// revives starts again what has ended.
func (w *world) revives(ctx context.Context) {
	w.Helper()
	if err := w.Revive(ctx); err != nil {
		tellWhy(w, err)
		w.Fatal(err)
	}
}

// tellWhy shows the end of the log of the process that an error is of.
func tellWhy(t testing.TB, err error) {
	t.Helper()
	var process *local.ProcessError
	if errors.As(err, &process) {
		t.Logf("the end of its log:\n%s", process.End)
	}
}

// tellLogs shows the end of the logs that say why namespaces are not ready.
func (w *world) tellLogs() {
	for _, name := range []string{"namespace-operator", "source-controller"} {
		w.Logf("the end of the log of %s:\n%s", name, w.Tail(name))
	}
}

// git runs git as a team member would.
func (w *world) git(args ...string) string {
	w.Helper()
	out, err := w.tryGit(args...)
	if err != nil {
		w.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (w *world) tryGit(args ...string) (string, error) {
	cmd := exec.CommandContext(w.Context(), "git", args...)
	if _, err := os.Stat(w.checkout); err == nil {
		cmd.Dir = w.checkout
	}
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// commits writes files below tenants/ of the checkout and commits them.
func (w *world) commits(message string, files map[string]string) local.Pushed {
	w.Helper()
	write(w, filepath.Join(w.checkout, "tenants"), files)
	w.git("add", "--all")
	w.git("commit", "--quiet", "--message", message)
	return local.Pushed{Commit: w.git("rev-parse", "HEAD")}
}

// pushes commits files and pushes them.
func (w *world) pushes(message string, files map[string]string) local.Pushed {
	w.Helper()
	pushed := w.commits(message, files)
	w.git("push", "--quiet", "origin", "HEAD:main")
	return pushed
}

// settleLimit is how long a push may take on a machine that is busy with other
// tests; benchmarks measure how long it does.
const settleLimit = 3 * time.Minute

// settles waits until a revision has been applied and nothing more happens.
func (w *world) settles(pushed local.Pushed) *local.Outcome {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), settleLimit)
	defer cancel()
	outcome, err := w.Await(ctx, pushed.Revision())
	if err != nil {
		w.Fatalf("%s did not settle: %v\n%s", pushed.Revision(), err, describe(outcome))
	}
	return outcome
}

// becomesReady waits until a revision has been applied and all of it is ready.
func (w *world) becomesReady(pushed local.Pushed) *local.Outcome {
	w.Helper()
	outcome := w.settles(pushed)
	if !outcome.Ready() {
		w.Fatalf("%s settled and is not ready:\n%s", pushed.Revision(), describe(outcome))
	}
	return outcome
}

// describe lists what is not ready, and why.
func describe(o *local.Outcome) string {
	if o == nil {
		return "nothing is known of it"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "source: attempted %s, %+v, failures %+v\n", o.Source.Status.LastAttemptedRevision, o.Source.Status.Conditions, o.Source.Status.Failures)
	for i := range o.Tenants {
		fmt.Fprintf(&out, "tenant %s: %+v\n", o.Tenants[i].Name, o.Tenants[i].Status.Conditions)
	}
	for i := range o.Namespaces {
		fmt.Fprintf(&out, "namespace %s: %+v\n", o.Namespaces[i].Name, o.Namespaces[i].Status.Conditions)
	}
	return out.String()
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
