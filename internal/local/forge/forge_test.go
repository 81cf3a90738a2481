package forge

import (
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/aetherplatform/aether/internal/local/gitea"
	"github.com/aetherplatform/aether/internal/webhook"
)

// world is a forge with the repository platform/fleet, a user "flux" who may
// read it, and a checkout of the administrator's.
type world struct {
	*testing.T
	url      string
	checkout string
	server   atomic.Pointer[Server]
	hook     string
	events   chan event
}

type event struct {
	header http.Header
	body   []byte
}

const secret = "hook secret"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, checkout: t.TempDir(), events: make(chan event, 16)}
	listener := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.server.Load().ServeHTTP(rw, r) }))
	w.url = "http://" + listener.Listener.Addr().String()
	w.open(t.TempDir())
	listener.Start()
	t.Cleanup(listener.Close)

	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.events <- event{r.Header, body}
	}))
	t.Cleanup(receiver.Close)
	w.hook = receiver.URL

	api := &gitea.Client{URL: w.url, Name: "admin", Password: "admin's"}
	for _, err := range []error{
		api.EnsureOrg(t.Context(), "platform"),
		api.EnsureRepository(t.Context(), "platform", "fleet"),
		api.EnsureUser(t.Context(), "flux", "flux's"),
		api.Share(t.Context(), "platform", "fleet", "flux", "read"),
		api.AddPushHook(t.Context(), "platform", "fleet", receiver.URL, secret),
		// Again, as a second `up` on the same state would.
		api.EnsureOrg(t.Context(), "platform"),
		api.EnsureRepository(t.Context(), "platform", "fleet"),
		api.EnsureUser(t.Context(), "flux", "flux's"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.git("init", "--quiet", "--initial-branch=main")
	w.git("remote", "add", "origin", w.as("admin", "admin's"))
	return w
}

func (w *world) open(dir string) {
	w.Helper()
	server, err := New(Options{Dir: dir, URL: w.url, Admin: Login{"admin", "admin's"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.Fatal(err)
	}
	w.server.Store(server)
	w.Cleanup(server.Close)
}

func (w *world) as(name, password string) string {
	return strings.Replace(w.url, "://", "://"+name+":"+password+"@", 1) + "/platform/fleet.git"
}

// git runs git in the checkout and returns what it says.
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
	cmd.Dir = w.checkout
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (w *world) commit(file, content string) string {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.checkout, file), []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
	w.git("add", "--all")
	w.git("commit", "--quiet", "--message", "Change "+file)
	return w.git("rev-parse", "HEAD")
}

func (w *world) nextEvent() (event, push) {
	w.Helper()
	select {
	case e := <-w.events:
		var p push
		if err := json.Unmarshal(e.body, &p); err != nil {
			w.Fatal(err)
		}
		return e, p
	case <-time.After(10 * time.Second):
		w.Fatal("no webhook after 10 s")
		return event{}, push{}
	}
}

func TestAPushIsClonedByGitAndGoGit(t *testing.T) {
	w := newWorld(t)
	head := w.commit("tenant.yaml", "kind: Tenant\n")
	w.git("push", "--quiet", "origin", "main")

	w.git("clone", "--quiet", w.as("flux", "flux's"), "by-git")
	if got := w.git("-C", "by-git", "rev-parse", "HEAD"); got != head {
		t.Errorf("git cloned %s, want %s", got, head)
	}
	repo, err := gogit.PlainCloneContext(t.Context(), t.TempDir(), false, &gogit.CloneOptions{
		URL: w.url + "/platform/fleet", Depth: 1, Auth: &githttp.BasicAuth{Username: "flux", Password: "flux's"},
	})
	if err != nil {
		t.Fatalf("go-git cannot clone: %v", err)
	}
	if got, err := repo.Head(); err != nil || got.Hash().String() != head {
		t.Errorf("go-git cloned %v (%v), want %s", got, err, head)
	}
}

func TestAPushOfMoreThanGitsBufferArrives(t *testing.T) {
	w := newWorld(t)
	// Above http.postBuffer, 1 MiB, Git sends the pack in chunks. Noise does not shrink.
	noise := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	head := w.commit("large.bin", string(noise))
	w.git("push", "--quiet", "origin", "main")
	if got := w.git("ls-remote", "origin", "refs/heads/main"); !strings.HasPrefix(got, head) {
		t.Errorf("the forge has %q, want %s", got, head)
	}
}

func TestOnlyWhoMayGetsIn(t *testing.T) {
	w := newWorld(t)
	w.commit("tenant.yaml", "kind: Tenant\n")
	w.git("push", "--quiet", "origin", "main")

	tests := map[string]struct {
		why  string
		args []string
		want string
	}{
		"nobody":                {"the repository is private", []string{"ls-remote", w.url + "/platform/fleet.git"}, "could not read Username"},
		"a wrong password":      {"it is checked", []string{"ls-remote", w.as("flux", "wrong")}, "Authentication failed"},
		"the admin's, wrong":    {"it is checked too", []string{"ls-remote", w.as("admin", "wrong")}, "Authentication failed"},
		"a reader who pushes":   {"Flux's credentials must not write", []string{"push", w.as("flux", "flux's"), "main"}, "403"},
		"another repository":    {"what one may not read does not exist", []string{"ls-remote", strings.Replace(w.as("flux", "flux's"), "/fleet", "/other", 1)}, "not found"},
		"a path out of there":   {"a name is a name", []string{"ls-remote", strings.Replace(w.as("flux", "flux's"), "/fleet", "/%2e%2e", 1)}, "not found"},
		"the dumb protocol":     {"only Git's smart protocol is served", []string{"-c", "http.followRedirects=false", "ls-remote", w.url + "/platform/fleet.git/HEAD"}, ""},
		"a user made by a user": {"only the administrator makes users", nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.args == nil {
				err := (&gitea.Client{URL: w.url, Name: "flux", Password: "flux's"}).EnsureUser(t.Context(), "eve", "x")
				if err == nil || !strings.Contains(err.Error(), "403") {
					t.Errorf("%s: got %v, want 403", test.why, err)
				}
				return
			}
			out, err := w.tryGit(test.args...)
			if err == nil || !strings.Contains(out, test.want) {
				t.Errorf("%s: got %v and %q, want a failure with %q", test.why, err, out, test.want)
			}
		})
	}
}

func TestEveryPushedRefIsAnnouncedAsGiteaDoes(t *testing.T) {
	w := newWorld(t)
	first := w.commit("tenant.yaml", "kind: Tenant\n")
	w.git("push", "--quiet", "origin", "main")
	e, got := w.nextEvent()
	if got.Ref != "refs/heads/main" || got.Before != noCommit || got.After != first {
		t.Errorf("a new branch was announced as %s %s..%s, want refs/heads/main %s..%s", got.Ref, got.Before, got.After, noCommit, first)
	}
	if got.Repository.FullName != "platform/fleet" || got.Repository.CloneURL != w.url+"/platform/fleet.git" || got.Pusher.Login != "admin" {
		t.Errorf("the event names %+v and %+v", got.Repository, got.Pusher)
	}
	if len(got.Commits) != 1 || strings.TrimSpace(got.Commits[0].Message) != "Change tenant.yaml" || got.Commits[0].Author.Email != "ada@example.com" {
		t.Errorf("the event lists %+v", got.Commits)
	}
	for _, header := range []string{"X-Gitea-Event", "X-Gitea-Signature", "X-Hub-Signature-256", "X-Gitea-Delivery"} {
		if e.header.Get(header) == "" {
			t.Errorf("the event has no %s", header)
		}
	}

	second := w.commit("tenant.yaml", "kind: Tenant # changed\n")
	w.git("push", "--quiet", "origin", "main")
	if _, got = w.nextEvent(); got.Before != first || got.After != second || len(got.Commits) != 1 {
		t.Errorf("an update was announced as %s..%s with %d commits, want %s..%s with one", got.Before, got.After, len(got.Commits), first, second)
	}

	w.git("push", "--quiet", "--force", "origin", first+":refs/heads/main")
	if _, got = w.nextEvent(); got.Before != second || got.After != first {
		t.Errorf("a forced push was announced as %s..%s, want %s..%s", got.Before, got.After, second, first)
	}

	w.git("push", "--quiet", "origin", first+":refs/heads/topic")
	w.nextEvent()
	w.git("push", "--quiet", "origin", ":refs/heads/topic")
	if _, got = w.nextEvent(); got.Ref != "refs/heads/topic" || got.After != noCommit {
		t.Errorf("a deleted branch was announced as %s ..%s, want refs/heads/topic ..%s", got.Ref, got.After, noCommit)
	}
}

func TestTheReceiverAcceptsWhatTheForgeSends(t *testing.T) {
	w := newWorld(t)
	w.commit("tenant.yaml", "kind: Tenant\n")
	w.git("push", "--quiet", "origin", "main")
	e, _ := w.nextEvent()
	receiver := &webhook.Receiver{Secret: []byte(secret), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(e.body)))
	request.Header = e.header
	answer := httptest.NewRecorder()
	receiver.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Errorf("the receiver answers %d: %s", answer.Code, answer.Body)
	}
}

func TestARestartForgetsNothing(t *testing.T) {
	w := newWorld(t)
	head := w.commit("tenant.yaml", "kind: Tenant\n")
	w.git("push", "--quiet", "origin", "main")
	w.nextEvent()

	w.open(w.server.Load().opts.Dir)
	if got := w.git("ls-remote", w.as("flux", "flux's"), "refs/heads/main"); !strings.HasPrefix(got, head) {
		t.Errorf("after a restart the reader sees %q, want %s", got, head)
	}
	w.commit("tenant.yaml", "kind: Tenant # changed\n")
	w.git("push", "--quiet", "origin", "main")
	w.nextEvent()
}
