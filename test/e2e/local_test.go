package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/testenv"
)

// command is a run of the built aether.
type command struct {
	*exec.Cmd
	stdout bytes.Buffer
	stderr said
}

// said gathers what a program writes, while others look at it.
type said struct {
	mu   sync.Mutex
	all  bytes.Buffer
	more chan struct{}
}

// Write implements io.Writer.
func (s *said) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default: // whoever looks has not looked since
	}
	return s.all.Write(data)
}

// String is all that was written so far.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// processes is how many a platform has.
const processes = 8

// place is where a test's platform is.
type place struct {
	*testing.T
	dir   string
	ports local.Ports
}

func newPlace(t *testing.T) *place {
	t.Helper()
	ports, err := local.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	p := &place{T: t, dir: filepath.Join(t.TempDir(), "platform"), ports: ports}
	t.Cleanup(func() {
		if platform, err := local.Open(p.dir); err == nil {
			if err := platform.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// aether prepares `aether local …` for the platform.
func (p *place) aether(args ...string) *command {
	c := &command{Cmd: exec.CommandContext(p.Context(), filepath.Join(testenv.Root(), "bin", "aether"),
		append(append([]string{"local"}, args...), "--root", testenv.Root(), "--dir", p.dir)...)}
	c.stderr.more = make(chan struct{}, 1)
	c.Stdout, c.Stderr = &c.stdout, &c.stderr
	return c
}

func (p *place) up() *command {
	return p.aether("up", "--port-base", fmt.Sprint(p.ports.Base()))
}

// runs runs a command to its end and returns its exit code.
func (p *place) runs(c *command) int {
	p.Helper()
	err := c.Run()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		p.Fatal(err)
	}
	return c.ProcessState.ExitCode()
}

// nothingIsLeft checks that no process of the platform runs, by the folder that is
// on each one's command line or in its environment, and that the folder is gone.
func (p *place) nothingIsLeft() {
	p.Helper()
	if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
		p.Errorf("%s is still there (%v)", p.dir, err)
	}
	for _, what := range []string{"cmdline", "environ"} {
		files, err := filepath.Glob("/proc/[0-9]*/" + what)
		if err != nil {
			p.Fatal(err)
		}
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), p.dir) {
				line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
				p.Errorf("still running: %s", strings.ReplaceAll(string(line), "\x00", " "))
			}
		}
	}
}

func TestCtrlCLeavesNothingRunning(t *testing.T) {
	for name, moment := range map[string]string{
		"while the API server starts": "kube-apiserver …",
		"while roles are installed":   "CRDs, policies and roles …",
		"while the fleet is read":     "waiting for the fleet",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c := p.up()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			p.awaits(c, moment)
			// To the command alone: in a terminal its session gets the signal, and the
			// processes have sessions of their own.
			if err := c.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != cli.ExitInterrupted {
				t.Errorf("it ended with %v, want exit code %d", err, cli.ExitInterrupted)
			}
			if want := "Interrupted: nothing is left running."; !strings.Contains(c.stderr.String(), want) {
				t.Errorf("it said %q, want %q", &c.stderr, want)
			}
			p.nothingIsLeft()
		})
	}
}

// awaits waits until the command says something.
func (p *place) awaits(c *command, text string) {
	p.Helper()
	limit := time.After(2 * time.Minute)
	for !strings.Contains(c.stderr.String(), text) {
		select {
		case <-c.stderr.more:
		case <-limit:
			p.Fatalf("it does not say %q, but:\n%s", text, &c.stderr)
		}
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	p := newPlace(t)
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.ports.API))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	c := p.up()
	if code := p.runs(c); code != cli.ExitUsage {
		t.Errorf("exit code %d, want %d", code, cli.ExitUsage)
	}
	want := fmt.Sprintf("error: cannot use port %d for the Kubernetes API: another program listens on it\n"+
		"try:   choose other ports, `make up PORT_BASE=18440`, or find who has it: ss -ltnp 'sport = :%d'\n", p.ports.API, p.ports.API)
	if !strings.HasSuffix(c.stderr.String(), want) {
		t.Errorf("it said:\n%s\nwant at the end:\n%s", &c.stderr, want)
	}
	p.nothingIsLeft()
}

// One platform goes through what a day brings: up, a second up, status, a push, a
// process that dies, down.
func TestADayOfALocalPlatform(t *testing.T) {
	p := newPlace(t)
	fleet := t.TempDir()
	write(t, fleet, fleetOf("ant", "bee"))

	c := p.aether("up", "--fleet", fleet, "--port-base", fmt.Sprint(p.ports.Base()))
	if code := p.runs(c); code != 0 {
		t.Fatalf("up ended with %d:\n%s%s", code, &c.stderr, &c.stdout)
	}
	for _, want := range []string{"ant-web", "bee-web", "export KUBECONFIG=" + p.dir + "/kubeconfig", "/platform/fleet.git", "git-credentials", "aether local push"} {
		if !strings.Contains(c.stdout.String(), want) {
			t.Errorf("up does not tell of %q:\n%s", want, &c.stdout)
		}
	}
	for _, file := range []string{"kubeconfig", "git-credentials"} {
		if info, err := os.Stat(filepath.Join(p.dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want it readable by its owner only", file, info.Mode(), err)
		}
	}

	c = p.up()
	if code := p.runs(c); code != cli.ExitUsage || !strings.Contains(c.stderr.String(), "is up already\ntry:   use it as it is") {
		t.Errorf("a second up ended with %d and said:\n%s", code, &c.stderr)
	}

	c = p.aether("status")
	if code := p.runs(c); code != 0 || strings.Count(c.stdout.String(), " healthy ") != processes {
		t.Errorf("status ended with %d:\n%s", code, &c.stdout)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "gitea", "source-controller", "kustomize-controller"} {
		if !regexp.MustCompile(`(?m)^` + name + ` .* healthy +v[0-9]+\.[0-9]+\.[0-9]+ `).MatchString(c.stdout.String()) {
			t.Errorf("status does not say which version of %s runs:\n%s", name, &c.stdout)
		}
	}

	c = p.aether("push")
	if code := p.runs(c); code != 0 || !strings.Contains(c.stderr.String(), "Nothing to push") {
		t.Errorf("a push of nothing new ended with %d:\n%s", code, &c.stderr)
	}
	write(t, fleet, map[string]string{
		"ant/namespaces/bad.yaml": namespaceYAML("bee", "ant-bad"),
		"bee/namespaces/new.yaml": namespaceYAML("bee", "bee-new"),
	})
	c = p.aether("push", "--message", "A mistake beside a wish")
	if code := p.runs(c); code != cli.ExitFindings {
		t.Errorf("a push with a mistake ended with %d, want %d", code, cli.ExitFindings)
	}
	for _, want := range []string{"bee-new", "ant has errors in Git", "ant/namespaces/bad.yaml:6: "} {
		if !strings.Contains(c.stdout.String(), want) {
			t.Errorf("the push does not tell of %q:\n%s%s", want, &c.stderr, &c.stdout)
		}
	}

	platform, err := local.Open(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := platform.Kill("namespace-operator"); err != nil {
		t.Fatal(err)
	}
	c = p.aether("status")
	if code := p.runs(c); code != cli.ExitFindings || !strings.Contains(c.stdout.String(), "ended") {
		t.Errorf("status after a death ended with %d:\n%s", code, &c.stdout)
	}
	c = p.up()
	if code := p.runs(c); code != cli.ExitUsage || !strings.Contains(c.stderr.String(), fmt.Sprintf("%d of its %d processes still run\ntry:   make down, then make up", processes-1, processes)) {
		t.Errorf("up after a death ended with %d and said:\n%s", code, &c.stderr)
	}

	c = p.aether("down")
	if code := p.runs(c); code != 0 {
		t.Errorf("down ended with %d:\n%s", code, &c.stderr)
	}
	p.nothingIsLeft()
	c = p.aether("down")
	if code := p.runs(c); code != cli.ExitCluster || !strings.Contains(c.stderr.String(), "no platform is up in") {
		t.Errorf("a second down ended with %d and said:\n%s", code, &c.stderr)
	}
}

func TestAFailureSaysWhichLogToReadAndLeavesNothingRunning(t *testing.T) {
	// A checkout whose operator ends at once.
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	made, err := os.ReadDir(filepath.Join(testenv.Root(), "bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range made {
		name := entry.Name()
		if name == "namespace-operator" {
			continue
		}
		if err := os.Symlink(filepath.Join(testenv.Root(), "bin", name), filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(testenv.Root(), "test"), filepath.Join(root, "test")); err != nil {
		t.Fatal(err)
	}
	write(t, root, map[string]string{"bin/namespace-operator": "#!/bin/sh\necho I cannot go on >&2\nexit 1\n", "tenants/README.md": ""})
	if err := os.Chmod(filepath.Join(root, "bin", "namespace-operator"), 0o700); err != nil {
		t.Fatal(err)
	}

	p := newPlace(t)
	c := p.aether("up", "--port-base", fmt.Sprint(p.ports.Base()))
	c.Args = append(c.Args, "--root", root)
	if code := p.runs(c); code != cli.ExitCluster {
		t.Errorf("exit code %d, want %d", code, cli.ExitCluster)
	}
	for _, want := range []string{"namespace-operator … ", " failed\n", "  I cannot go on\n", "error: namespace-operator did not become ready: it ended: exit status 1; its log is " + p.dir + "/logs/namespace-operator.log"} {
		if !strings.Contains(c.stderr.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &c.stderr)
		}
	}
	if err := os.RemoveAll(p.dir); err != nil { // the logs were kept to be read
		t.Fatal(err)
	}
	p.nothingIsLeft()
}
