package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// asProgram in the environment makes this test binary the program itself.
const asProgram = "AETHER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is the program under a name, which is how kubectl calls a plugin.
func program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), link, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

func TestItsNameMakesItAPluginOfKubectl(t *testing.T) {
	for name, want := range map[string]string{"aether": "  aether COMMAND\n", "kubectl-aether": "  kubectl aether COMMAND\n"} {
		out, err := program(t, name).Output()
		if err != nil || !bytes.Contains(out, []byte(want)) {
			t.Errorf("%s: %v:\n%s", name, err, out)
		}
	}
	out, err := program(t, "kubectl_complete-aether", "explain", "").Output()
	if err != nil || string(out) != "namespace\n:4\n" {
		t.Errorf("completion: %v: %q", err, out)
	}
}

func TestNoResultIsColouredForAPipe(t *testing.T) {
	out, err := program(t, "aether", "test", filepath.Join("..", "..")).Output()
	if err != nil || !bytes.Contains(out, []byte("met ")) || bytes.Contains(out, []byte("\x1b")) {
		t.Errorf("%v:\n%s", err, out)
	}
	for _, c := range []struct {
		name, value string
		want        bool
	}{{"", "", true}, {"NO_COLOR", "1", false}, {"TERM", "dumb", false}} {
		if got := showsColors(func(name string) string {
			if name == c.name {
				return c.value
			}
			return ""
		}); got != c.want {
			t.Errorf("%s=%s: colours are shown: %v, want %v", c.name, c.value, got, c.want)
		}
	}
}

// Ctrl-C ends what waits, with the code of shells, and prints nothing but that.
func TestCtrlCIsClean(t *testing.T) {
	cmd := program(t, "aether", "convert", "external-secrets", "-")
	in, err := cmd.StdinPipe() // never closed, so it waits
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: once it is written, the program reads, so it listens for signals.
	if _, err := io.WriteString(in, "# "+strings.Repeat("x", 1<<20)+"\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is looked at below
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	if code := cmd.ProcessState.ExitCode(); code != 130 || out.Len() != 0 || errs.String() != "error: interrupted\n" {
		t.Errorf("exit code %d, printed %q and %q", code, out.String(), errs.String())
	}
}
