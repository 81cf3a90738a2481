package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/root"
)

func TestAResultIsPrintedWholeAndInOrder(t *testing.T) {
	var screen bytes.Buffer
	env, held := cli.Hold(t.Context(), &cli.Env{Out: &screen, Err: &screen})
	write(t, env.Out, "first ")
	write(t, env.Err, "second ")
	write(t, env.Out, "third")
	if got := screen.String(); got != "first second " {
		t.Errorf("before the end: %q", got)
	}
	if err := held.Flush(); err != nil || screen.String() != "first second third" {
		t.Errorf("%v: %q", err, screen.String())
	}
}

func TestAnInterruptedCommandPrintsNoResult(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	env, held := cli.Hold(ctx, &cli.Env{Out: &out, Err: &errs})
	write(t, env.Out, `{"half": `)
	interrupt()
	write(t, env.Err, "removed what it made\n")
	if err := held.Flush(); !errors.Is(err, context.Canceled) || out.Len() != 0 || errs.String() != "removed what it made\n" {
		t.Errorf("%v: printed %q and %q", err, out.String(), errs.String())
	}
}

func TestAResultThatCannotBeWrittenIsAnError(t *testing.T) {
	env, held := cli.Hold(t.Context(), &cli.Env{Out: full{}, Err: io.Discard})
	write(t, env.Out, "result")
	if err := held.Flush(); err == nil || err.Error() != "cannot write the result: no space left" {
		t.Errorf("got %v", err)
	}
}

func TestAWaitForInputEndsWithCtrlC(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	in, _ := io.Pipe() // nobody ever writes
	env, _ := cli.Hold(ctx, &cli.Env{In: in, Out: io.Discard, Err: io.Discard})
	time.AfterFunc(10*time.Millisecond, interrupt)
	if _, err := io.ReadAll(env.In); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Whatever a command was about to say, Ctrl-C ends it with 130 and no result.
func TestEveryCommandEndsWithCtrlC(t *testing.T) {
	fleet, err := filepath.Abs(filepath.Join("..", "..", "tenants"))
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: "http://127.0.0.1:1"}}],
contexts: [{name: x, context: {cluster: x, user: x}}], users: [{name: x, user: {}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"validate " + fleet + " -o json", "render " + fleet, "test " + filepath.Dir(fleet), "convert external-secrets -",
		"verify isolation --plan " + fleet, "version -o json", "help",
		"get", "get -o json", "explain namespace acme-web", "reconcile", "doctor", "doctor -o json", "verify isolation " + fleet,
	} {
		t.Run(line, func(t *testing.T) {
			args := strings.Fields(line)
			switch args[0] {
			case "get", "explain", "reconcile", "doctor":
				args = append(args, "--kubeconfig", kubeconfig)
			case "verify":
				if args[2] != "--plan" {
					args = append(args, "--kubeconfig", kubeconfig)
				}
			}
			ctx, interrupt := context.WithCancel(t.Context())
			interrupt()
			in, _ := io.Pipe()
			var out, errs bytes.Buffer
			code := root.Execute(ctx, &cli.Env{In: in, Out: &out, Err: &errs, Now: time.Now}, args)
			if code != cli.ExitInterrupted || out.Len() != 0 || strings.Contains(errs.String(), "context canceled") {
				t.Errorf("exit code %d, printed %q and %q", code, out.String(), errs.String())
			}
		})
	}
}

// A person who pressed TAB waits for no cluster that is not there.
func TestCompletionGivesUpAtOnce(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: "http://` + silent.Addr().String() + `"}}],
contexts: [{name: x, context: {cluster: x, user: x}}], users: [{name: x, user: {}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var out, errs bytes.Buffer
	code := root.Execute(t.Context(), &cli.Env{Out: &out, Err: &errs, Now: time.Now}, []string{"__complete", "explain", "--kubeconfig", kubeconfig, "namespace", ""})
	if took := time.Since(begun); code != 0 || out.String() != ":4\n" || took > 3*time.Second {
		t.Errorf("after %s: exit code %d, %q, %q", took, code, out.String(), errs.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}
