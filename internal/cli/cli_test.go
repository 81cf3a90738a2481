package cli_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/root"
)

var update = flag.Bool("update", false, "write what the commands print into the transcripts")

func TestMain(m *testing.M) {
	aether := func() {
		env := &cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now}
		os.Exit(root.Main(context.Background(), env, os.Args))
	}
	testscript.Main(m, map[string]func(){"aether": aether, "kubectl-aether": aether, "kubectl_complete-aether": aether})
}

// Each transcript is a story: commands as a user types them, and exactly what
// they print.
func TestTranscripts(t *testing.T) {
	fleet, err := filepath.Abs(filepath.Join("..", "..", "tenants"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("FLEET", fleet)
			env.Setenv("HOME", env.WorkDir) // no kubeconfig of the machine's
			env.Setenv("KUBECONFIG", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs aether and compares its exit code: exits CODE aether ARG...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want := args[0]
	got := "exit status 0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = err.Error()
	}
	if got != "exit status "+want {
		ts.Fatalf("%v: got %s, want exit status %s", args[1:], got, want)
	}
}
