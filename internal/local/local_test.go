package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/config/operator"
	"github.com/aetherplatform/aether/internal/testenv"
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
	<-p.end.reached
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

// newForge has a forge with an empty fleet repository.
func newForge(t *testing.T) *Platform {
	t.Helper()
	ports, err := FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	p, err := StartForge(t.Context(), Options{
		Root: testenv.Root(), Dir: filepath.Join(t.TempDir(), "platform"), Ports: ports, Attached: true, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := p.repository(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPushChangesTenantsAndNothingElse(t *testing.T) {
	p := newForge(t)
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

func TestWhatIsKeptInMemoryGoesWithThePlatform(t *testing.T) {
	if _, err := os.Stat(memory); err != nil {
		t.Skipf("no %s: only Linux keeps files in memory there", memory)
	}
	p := newPlatform(t)
	folder := p.scratch()
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 || filepath.Dir(folder) != memory {
		t.Fatalf("%s: %v, %v", folder, info, err)
	}
	left := filepath.Join(folder, "left")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if again := p.scratch(); again != folder {
		t.Errorf("the next start has %s, not %s", again, folder)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed platform left is still there: %v", err)
	}
	if err := p.Halt(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder outlives the platform: %v", err)
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

// Each user of the forge can do what it is for, and no more.
func TestTheForgeIsPrivateAndItsUsersHaveOneTaskEach(t *testing.T) {
	p := newForge(t)
	fleet := t.TempDir()
	if err := os.WriteFile(filepath.Join(fleet, "README.md"), []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pushed, err := p.Push(t.Context(), fleet, "Begin")
	if err != nil {
		t.Fatal(err)
	}
	const repo = "/api/v1/repos/" + forgeOrg + "/" + fleetName
	status := func(state string) string { return `{"context":"aether/review","state":"` + state + `"}` }
	tests := map[string]struct {
		why, token, method, path, body string
		want                           int
	}{
		"a stranger reads":            {"the fleet is nobody else's", "", "GET", repo, "", 403},
		"flux reads":                  {"it fetches", fluxToken, "GET", repo, "", 200},
		"flux sets a status":          {"it has no part in reviews", fluxToken, "POST", repo + "/statuses/" + pushed.Commit, status("success"), 403},
		"flux makes a branch":         {"it only reads", fluxToken, "POST", repo + "/branches", `{"new_branch_name":"x","old_branch_name":"main"}`, 403},
		"the reviewer sets a status":  {"that is its task", reviewToken, "POST", repo + "/statuses/" + pushed.Commit, status("pending"), 201},
		"the reviewer adds a hook":    {"it does not run the repository", reviewToken, "POST", repo + "/hooks", `{"type":"gitea","config":{"url":"http://127.0.0.1","content_type":"json"}}`, 403},
		"the reviewer lists users":    {"it runs nothing", reviewToken, "GET", "/api/v1/admin/users", "", 403},
		"the reviewer unprotects":     {"its own status guards the branch", reviewToken, "DELETE", repo + "/branch_protections/main", "", 403},
		"the reviewer asks who it is": {"it is told with --user", reviewToken, "GET", "/api/v1/user", "", 403},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, p.forgeURL()+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			if test.token != "" {
				token, err := p.readSecret(test.token)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Authorization", "token "+token)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != test.want {
				answer, _ := io.ReadAll(response.Body)
				t.Errorf("%s: got %s %s, want %d", test.why, response.Status, answer, test.want)
			}
		})
	}
	for _, name := range []string{adminLogin, fluxToken, reviewToken, hookSecret} {
		if info, err := os.Stat(filepath.Join(p.file(pkiDir), name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want it readable by its owner only", name, info, err)
		}
	}
	if info, err := os.Stat(filepath.Join(p.file("forge"), "app.ini")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("app.ini: %v, %v; want it readable by its owner only", info, err)
	}
}

// What is secret is in files: neither the file of the platform's state nor a command
// line holds it.
func TestSecretsAreOnNoCommandLine(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPlatform(t)
	process := p.newProcess("env", "/usr/bin/env", 0, "")
	process.Secrets = map[string]string{"TOKEN": secret}
	if err := errors.Join(process.start(true), p.started(process)); err != nil {
		t.Fatal(err)
	}
	<-process.end.reached
	if said := p.Tail("env"); !strings.Contains(said, "TOKEN=hush") {
		t.Errorf("its environment is:\n%s", said)
	}
	written, err := os.ReadFile(p.file(stateFile))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(written), "hush") {
		t.Errorf("the state holds the secret:\n%s", written)
	}
}

// What the namespace operator is told is a file that it takes, and names files and no secret.
func TestTheOperatorIsToldByAFile(t *testing.T) {
	p := newPlatform(t)
	for _, withOpenBao := range []bool{false, true} {
		p.OpenBao = withOpenBao
		process, err := p.operator()
		if err != nil {
			t.Fatal(err)
		}
		file := p.file("namespace-operator.yaml")
		if diff := cmp.Diff([]string{"--kubeconfig=" + p.KubeconfigOf("namespace-operator"), "--config=" + file}, process.Args); diff != "" {
			t.Errorf("its flags (-want +got):\n%s", diff)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, places, err := operator.Load(data, file)
		if err := errors.Join(err, places.Explain(got.Validate())); err != nil {
			t.Fatal(err)
		}
		want := operator.Default()
		want.Health.BindAddress = fmt.Sprintf("127.0.0.1:%d", p.Ports.OperatorHealth)
		want.Metrics = config.Metrics{BindAddress: fmt.Sprintf("127.0.0.1:%d", p.Ports.OperatorMetrics), Pprof: true}
		if withOpenBao {
			want.OpenBao.Address, want.OpenBao.CAFile = fmt.Sprintf("https://127.0.0.1:%d", p.Ports.OpenBao), p.file("pki/ca.crt")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("its configuration, OpenBao %v (-want +got):\n%s", withOpenBao, diff)
		}
	}
}

func TestEveryPlatformHasSecretsOfItsOwn(t *testing.T) {
	seen := map[any]string{}
	for range 2 {
		for path, data := range exampleSecrets() {
			for _, key := range []string{"password", "key"} {
				value, has := data[key]
				if !has {
					continue
				}
				if before, again := seen[value]; again || len(value.(string)) < 32 {
					t.Errorf("%s of %s is as that of %s, or short", key, path, before)
				}
				seen[value] = path
			}
		}
	}
}
