package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/local/forge"
	"github.com/aetherplatform/aether/internal/local/gitea"
)

// newPlatform has a folder and secrets, and nothing that runs.
func newPlatform(t *testing.T) *Platform {
	t.Helper()
	ports, err := FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	p := &Platform{Options: Options{Root: t.TempDir(), Dir: filepath.Join(t.TempDir(), "platform"), Ports: ports, Now: time.Now}}
	if err := errors.Join(p.makeDir(t.Context()), p.identities(t.Context())); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAStrangerIsNeverEnded(t *testing.T) {
	stranger := exec.Command("sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	})

	// What a state file holds after a restart of the machine: a number that is
	// someone else's by now.
	p := &Process{Name: "etcd", PID: stranger.Process.Pid, Birth: "1"}
	if p.alive() {
		t.Error("a process of the same number is taken for ours")
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if birth(stranger.Process.Pid) == "" {
		t.Error("the stranger was ended")
	}

	p.Birth = birth(stranger.Process.Pid)
	if !p.alive() {
		t.Error("our own process is taken for a stranger")
	}
}

func TestAProcessThatDoesNotListenIsEndedByForce(t *testing.T) {
	p := &Process{
		Name: "deaf", Path: "/bin/sh", Args: []string{"-c", `trap "" TERM; echo deaf; while :; do sleep 0.1; done`},
		Log: filepath.Join(t.TempDir(), "deaf.log"),
	}
	if err := p.start(true); err != nil {
		t.Fatal(err)
	}
	if err := poll(t.Context(), func() (bool, error) {
		said, err := os.ReadFile(p.Log)
		return len(said) > 0, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil || p.alive() {
		t.Errorf("it runs on: %v", err)
	}
}

func TestWhatTheUserHasSetDoesNotReachTheProcesses(t *testing.T) {
	t.Setenv("ETCD_NAME", "other")
	p := &Process{Name: "env", Path: "/usr/bin/env", Log: filepath.Join(t.TempDir(), "env.log"), Env: []string{"KUBECONFIG=ours"}}
	if err := p.start(true); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	said, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(said), "ETCD_NAME") || !strings.Contains(string(said), "KUBECONFIG=ours") {
		t.Errorf("its environment is:\n%s", said)
	}
}

func TestAFolderThatIsNotAPlatformsIsLeftAlone(t *testing.T) {
	p := newPlatform(t)
	p.Dir = t.TempDir()
	precious := filepath.Join(p.Dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.makeDir(t.Context()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want an error that it exists", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestEveryPortThatIsTakenIsNamed(t *testing.T) {
	ports, err := FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []int{ports.Etcd, ports.Git} {
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
	}
	want := fmt.Sprintf("cannot use port %d for etcd: another program listens on it\n"+
		"cannot use port %d for the Git forge: another program listens on it", ports.Etcd, ports.Git)
	if err := ports.free(t.Context()); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	ports = PortsFrom(65530)
	if err := ports.free(t.Context()); err == nil || !strings.Contains(err.Error(), "it is not between 1 and 65535") {
		t.Errorf("got %v, want a port that is too large to be named", err)
	}
}

func TestSecretsAreTheOwnersOnly(t *testing.T) {
	p := newPlatform(t)
	err := filepath.WalkDir(p.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is readable by others: %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// serveForge runs the stand-in where the platform expects its forge.
func serveForge(t *testing.T, p *Platform) {
	t.Helper()
	admin, err := p.login(adminLogin)
	if err != nil {
		t.Fatal(err)
	}
	server, err := forge.New(forge.Options{Dir: p.file("forge"), URL: p.forgeURL(), Admin: admin, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", loopback(p.Ports.Git))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: server, ReadHeaderTimeout: time.Second}
	go func() { _ = web.Serve(listener) }()
	t.Cleanup(func() {
		_ = web.Close()
		server.Close()
	})
	api := &gitea.Client{URL: p.forgeURL(), Name: admin.Name, Password: admin.Password}
	if err := errors.Join(api.EnsureOrg(t.Context(), forgeOrg), api.EnsureRepository(t.Context(), forgeOrg, fleetName)); err != nil {
		t.Fatal(err)
	}
}

func TestAPushChangesTenantsAndNothingElse(t *testing.T) {
	p := newPlatform(t)
	serveForge(t, p)
	fleet := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		path := filepath.Join(fleet, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("acme/tenant.yaml", "a\n")
	put("globex/tenant.yaml", "b\n")
	first, err := p.Push(t.Context(), fleet, "Begin")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"acme", "globex"}, first.Changed); diff != "" {
		t.Errorf("changed by the first push (-want +got):\n%s", diff)
	}
	if _, err := p.Push(t.Context(), fleet, "Again"); !errors.Is(err, ErrNothingToPush) {
		t.Errorf("a push of nothing new: got %v, want %v", err, ErrNothingToPush)
	}

	// Someone else adds a base to the repository.
	clone := filepath.Join(t.TempDir(), "clone")
	for _, args := range [][]string{
		{"clone", "--quiet", "-c", "credential.helper=store --file '" + p.Credentials() + "'", p.PushURL(), clone},
		{"-C", clone, "config", "user.name", "Ada"},
		{"-C", clone, "config", "user.email", "ada@example.com"},
		{"-C", clone, "mv", "tenants/globex", "base"},
		{"-C", clone, "commit", "--quiet", "--message", "Add a base"},
		{"-C", clone, "push", "--quiet", "origin", "main"},
	} {
		if out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	if err := os.RemoveAll(filepath.Join(fleet, "globex")); err != nil {
		t.Fatal(err)
	}
	put("acme/tenant.yaml", "changed\n")
	second, err := p.Push(t.Context(), fleet, "Change acme")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"acme"}, second.Changed); diff != "" {
		t.Errorf("changed by the second push (-want +got):\n%s", diff)
	}
	out, err := exec.CommandContext(t.Context(), "git", "-C", filepath.Join(p.file("forge"), "repositories", "platform", "fleet.git"),
		"ls-tree", "-r", "--name-only", "main").Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("base/tenant.yaml\ntenants/acme/tenant.yaml\n", string(out)); diff != "" {
		t.Errorf("the repository holds (-want +got):\n%s", diff)
	}
	if head, err := p.Head(t.Context()); err != nil || head.Commit != second.Commit {
		t.Errorf("the head is %s (%v), want %s", head.Commit, err, second.Commit)
	}
}

func TestGiteaIsPreparedBeforeItIsStarted(t *testing.T) {
	p := newPlatform(t)
	calls := filepath.Join(t.TempDir(), "calls")
	program := filepath.Join(t.TempDir(), "gitea")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" >> "+calls+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AETHER_GITEA", program)
	var progress strings.Builder
	p.Progress = &progress
	process, err := p.forge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	admin, err := p.login(adminLogin)
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	ini := p.file("forge") + "/app.ini"
	want := fmt.Sprintf("--config %s migrate\n--config %s admin user create --admin --must-change-password=false "+
		"--username platform-admin --password %s --email platform-admin@localhost.localdomain\n", ini, ini, admin.Password)
	if diff := cmp.Diff(want, string(said)); diff != "" {
		t.Errorf("gitea was called with (-want +got):\n%s", diff)
	}
	if process.StandIn || process.Path != program || strings.Join(process.Args, " ") != "--config "+ini+" web" {
		t.Errorf("the process is %+v", process)
	}
	config, err := os.ReadFile(ini)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"HTTP_ADDR = 127.0.0.1", fmt.Sprintf("HTTP_PORT = %d", p.Ports.Git), "ROOT_URL = " + p.forgeURL() + "/",
		"ALLOWED_HOST_LIST = loopback", "DISABLE_REGISTRATION = true", "INSTALL_LOCK = true",
	} {
		if !strings.Contains(string(config), "\n"+line+"\n") {
			t.Errorf("app.ini lacks %q", line)
		}
	}
}

func TestAnInterruptEndsTheWaitForHealth(t *testing.T) {
	p := &Process{Name: "slow", Path: "/bin/sleep", Args: []string{"600"}, Log: filepath.Join(t.TempDir(), "slow.log"), Health: "http://" + loopback(1)}
	if err := p.start(true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.stop() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.awaitHealth(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
