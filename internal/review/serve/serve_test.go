package serve_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/local/gitea"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/run"
	"github.com/aetherplatform/aether/internal/review/serve"
	"github.com/aetherplatform/aether/internal/testenv"
)

const secret = "hook secret"

// platform has a forge, the same for all tests.
var platform *local.Platform

// TestMain starts a forge, and tells a test that it tests.
func TestMain(m *testing.M) { os.Exit(withForge(m)) }

func withForge(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "aether-serve-*")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		var ports local.Ports
		if ports, err = local.FreePorts(); err == nil {
			platform, err = local.StartForge(context.Background(), local.Options{
				Root: testenv.Root(), Dir: filepath.Join(dir, "platform"), Ports: ports, Attached: true, Now: time.Now,
			})
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot start a forge: %v\n", err)
		return 1
	}
	code = m.Run()
	if err := platform.Stop(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot stop the forge: %v\n", err)
		return 1
	}
	return code
}

// world is a repository fleet on the forge, the users reviewer, who reviews, and
// mallory, who has a fork, and a review server that the forge's webhook calls.
type world struct {
	*testing.T
	url string
	// owner of the repository, the test's own, and its name with it.
	owner, repo string
	checkout    string
	admin       *gitea.Client
	hook        string
	probes      http.Handler
	token       string
	// bodies of all deliveries that arrived.
	mu     sync.Mutex
	bodies []delivery
	pushes atomic.Int32
	runs   atomic.Int32
	// produce is what a review does; it may be replaced before a push.
	produce atomic.Value
}

type delivery struct {
	header http.Header
	body   []byte
}

type produceFunc = func(ctx context.Context, dir, base, head string) (*review.Report, error)

// worlds counts them: each has an owner of its own.
var worlds atomic.Int32

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, checkout: t.TempDir(), owner: fmt.Sprintf("platform-%d", worlds.Add(1))}
	w.repo = w.owner + "/fleet"
	w.produce.Store(w.compare)
	log := slog.New(slog.DiscardHandler)

	admin, err := platform.Admin()
	w.do(err)
	w.admin, w.url = admin, admin.URL
	w.do(w.admin.EnsureOrg(t.Context(), w.owner))
	w.do(w.admin.EnsureRepository(t.Context(), w.owner, "fleet"))
	for user, permission := range map[string]string{"reviewer": "write", "mallory": "read"} {
		w.do(w.admin.EnsureUser(t.Context(), user, user+"'s"))
		w.do(w.admin.Share(t.Context(), w.owner, "fleet", user, permission))
	}
	// The scopes that docs/review-ci.md names.
	w.token, err = (&gitea.Client{URL: w.url, Name: "reviewer", Password: "reviewer's"}).
		Token(t.Context(), w.owner, "read:user", "write:repository", "write:issue")
	w.do(err)
	f, err := forge.New(forge.Options{Kind: forge.Gitea, URL: w.url, Repository: w.repo, Token: w.token})
	w.do(err)

	runner := &run.Runner{
		Forge: f, Mirror: &run.Mirror{Dir: filepath.Join(t.TempDir(), "mirror.git")}, Log: log,
		Produce: func(ctx context.Context, dir, base, head string) (*review.Report, error) {
			w.runs.Add(1)
			produce, _ := w.produce.Load().(produceFunc)
			return produce(ctx, dir, base, head)
		},
		Markdown: func(r *review.Report, _ int, _ string) (string, bool) {
			return "## What this changes\n\nTitle: " + r.Findings[0].Title + "\n\n" + r.Head.Commit + " " + r.Head.Digest, false
		},
	}
	server, err := serve.New(serve.Options{
		Kind: forge.Gitea, Secret: []byte(secret), Repositories: map[string]serve.Reviewer{w.repo: runner}, Branch: "main",
		Pushed:  func(context.Context) error { w.pushes.Add(1); return nil },
		Workers: 2, Queue: 4, Timeout: time.Minute, Now: time.Now, Log: log,
	})
	w.do(err)
	w.probes = server.Probes()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { server.Run(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended })
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.bodies = append(w.bodies, delivery{r.Header.Clone(), body})
		w.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		server.Handler().ServeHTTP(rw, r)
	}))
	t.Cleanup(receiver.Close)
	w.hook = receiver.URL
	w.do(w.admin.AddHook(t.Context(), w.owner, "fleet", receiver.URL, secret, "push", "pull_request"))

	w.git("init", "--quiet", "--initial-branch=main")
	w.git("remote", "add", "origin", w.as(w.admin.Name, w.repo))
	w.git("remote", "add", "fork", w.as("mallory", "mallory/fleet"))
	w.commit("tenant.yaml", "base\n")
	w.git("push", "--quiet", "origin", "main")
	w.eventually("the push to main makes Flux fetch", func() bool { return w.pushes.Load() == 1 })
	return w
}

// compare reads tenant.yaml of both sides, as a real comparison reads objects.
func (w *world) compare(_ context.Context, dir, base, head string) (*review.Report, error) {
	repo, err := gogit.PlainOpen(dir)
	if err != nil {
		return nil, err
	}
	text := map[string]string{}
	for _, rev := range []string{base, head} {
		commit, err := repo.CommitObject(plumbing.NewHash(rev))
		if err != nil {
			return nil, err
		}
		file, err := commit.File("tenant.yaml")
		if err != nil {
			return nil, err
		}
		if text[rev], err = file.Contents(); err != nil {
			return nil, err
		}
	}
	report := &review.Report{
		Findings: []review.Finding{{Risk: review.High, Title: strings.TrimSpace(text[base]) + " becomes " + strings.TrimSpace(text[head])}},
		Summary:  review.Summary{Changed: 1},
	}
	report.Head.Digest = "sha256:" + strings.Repeat("ab", 32)
	if strings.Contains(text[head], "violation") {
		report.Violations = []review.Violation{{Policy: "no-latest"}}
	}
	return report, nil
}

func (w *world) do(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) password(user string) string {
	if user == w.admin.Name {
		return w.admin.Password
	}
	return user + "'s"
}

func (w *world) as(user, repo string) string {
	return strings.Replace(w.url, "://", "://"+url.UserPassword(user, w.password(user)).String()+"@", 1) + "/" + repo + ".git"
}

func (w *world) git(args ...string) string {
	w.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = w.checkout
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) commit(file, content string) string {
	w.Helper()
	w.do(os.WriteFile(filepath.Join(w.checkout, file), []byte(content), 0o600))
	w.git("add", "--all")
	w.git("commit", "--quiet", "--message", "Change "+file)
	return w.git("rev-parse", "HEAD")
}

// api calls the forge's API as a user and returns the status.
func (w *world) api(user, method, path string, in, out any) int {
	w.Helper()
	data, err := json.Marshal(in)
	w.do(err)
	request, err := http.NewRequest(method, w.url+"/api/v1/repos/"+path, bytes.NewReader(data))
	w.do(err)
	request.SetBasicAuth(user, w.password(user))
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	w.do(err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	w.do(err)
	if out != nil && response.StatusCode < 300 {
		w.do(json.Unmarshal(answer, out))
	}
	return response.StatusCode
}

// open pushes a branch with one change and opens a pull request for it.
func (w *world) open(branch, content, title string) (number int, head string) {
	w.Helper()
	w.git("checkout", "--quiet", "-B", branch, "main")
	head = w.commit("tenant.yaml", content)
	w.git("push", "--quiet", "origin", branch)
	w.do(w.admin.AwaitBranch(w.Context(), w.owner, "fleet", branch, head))
	return w.openPull(w.admin.Name, branch, title), head
}

func (w *world) openPull(user, head, title string) int {
	w.Helper()
	var pr struct{ Number int }
	if status := w.api(user, "POST", w.repo+"/pulls", map[string]string{"head": head, "base": "main", "title": title}, &pr); status != 201 {
		w.Fatalf("opening a pull request of %s gives %d", head, status)
	}
	return pr.Number
}

type comment struct {
	ID   int64
	Body string
	User struct{ Login string }
}

// ours are the reviewer's comments.
func (w *world) ours(n int) (ours []comment) {
	w.Helper()
	var all []comment
	w.api(w.admin.Name, "GET", fmt.Sprintf("%s/issues/%d/comments", w.repo, n), nil, &all)
	for _, c := range all {
		if c.User.Login == "reviewer" {
			ours = append(ours, c)
		}
	}
	return ours
}

func (w *world) status(sha string) (state, description string) {
	w.Helper()
	var combined struct { // the newest of each context
		Statuses []struct{ Context, Status, Description string }
	}
	w.api(w.admin.Name, "GET", w.repo+"/commits/"+sha+"/status", nil, &combined)
	for _, s := range combined.Statuses {
		if s.Context == forge.Context {
			return s.Status, s.Description
		}
	}
	return "", ""
}

func (w *world) eventually(promise string, ok func() bool) {
	w.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			w.Fatalf("not after 20 s: %s", promise)
		case <-tick.C:
		}
	}
}

func (w *world) awaitStatus(sha, want string) string {
	w.Helper()
	var description string
	w.eventually("the status of "+sha+" is "+want, func() bool {
		var state string
		state, description = w.status(sha)
		return state == want
	})
	return description
}

func TestAPullRequestGetsOneCommentAndAStatus(t *testing.T) {
	w := newWorld(t)
	w.do(w.admin.Require(t.Context(), w.owner, "fleet", "main", forge.Context))

	n, first := w.open("topic", "violation\n", "A change")
	if got := w.awaitStatus(first, "failure"); got != "1 policy violation, 1 high risk, 1 changed; digest abababababab" {
		t.Errorf("the status says %q", got)
	}
	before := w.ours(n)
	if len(before) != 1 || !strings.Contains(before[0].Body, "base becomes violation") || !strings.Contains(before[0].Body, first[:12]) ||
		!strings.Contains(before[0].Body, "sha256:"+strings.Repeat("ab", 32)) {
		t.Fatalf("the comments are %+v, want one with the report, the commit and the digest", before)
	}
	merge := fmt.Sprintf("%s/pulls/%d/merge", w.repo, n)
	if status := w.api(w.admin.Name, "POST", merge, map[string]string{"Do": "merge"}, nil); status != 405 {
		t.Errorf("a merge against the status gives %d, want 405", status)
	}

	second := w.commit("tenant.yaml", "fine\n")
	w.git("push", "--quiet", "origin", "topic")
	w.awaitStatus(second, "success")
	after := w.ours(n)
	if len(after) != 1 || after[0].ID != before[0].ID || !strings.Contains(after[0].Body, "base becomes fine") {
		t.Errorf("after a second push the comments are %+v, want #%d alone, updated", after, before[0].ID)
	}

	pushes := w.pushes.Load()
	if status := w.api(w.admin.Name, "POST", merge, map[string]string{"Do": "merge"}, nil); status != 200 {
		t.Errorf("a merge with the status gives %d, want 200", status)
	}
	w.eventually("the merge makes Flux fetch", func() bool { return w.pushes.Load() == pushes+1 })
}

func TestAForkIsReviewedFromTheRepositoryItself(t *testing.T) {
	w := newWorld(t)
	if status := w.api("mallory", "POST", w.repo+"/forks", map[string]string{}, nil); status != 202 {
		t.Fatalf("forking gives %d", status)
	}
	w.git("checkout", "--quiet", "-B", "evil", "main")
	head := w.commit("tenant.yaml", "from a fork\n")
	w.git("push", "--quiet", "fork", "evil")
	n := w.openPull("mallory", "mallory:evil", "From a fork")

	w.awaitStatus(head, "success")
	if ours := w.ours(n); len(ours) != 1 || !strings.Contains(ours[0].Body, "base becomes from a fork") {
		t.Errorf("the comments are %+v", ours)
	}
	// The reviewer may not even read the fork: it was not asked.
	if status := w.api("reviewer", "GET", "mallory/fleet/pulls", nil, nil); status != 404 {
		t.Errorf("the reviewer gets %d of the fork, so that this test shows nothing", status)
	}

	again := w.commit("tenant.yaml", "from a fork again\n")
	w.git("push", "--quiet", "fork", "evil")
	w.awaitStatus(again, "success")
	if ours := w.ours(n); len(ours) != 1 || !strings.Contains(ours[0].Body, "from a fork again") {
		t.Errorf("after a push to the fork the comments are %+v", ours)
	}
}

func TestOnlyTheNewestHeadIsPosted(t *testing.T) {
	w := newWorld(t)
	started, cancelled := make(chan string, 8), make(chan error, 8)
	w.produce.Store(func(ctx context.Context, dir, base, head string) (*review.Report, error) {
		started <- head
		select {
		case <-ctx.Done():
			cancelled <- context.Cause(ctx)
			return nil, ctx.Err()
		case <-time.After(20 * time.Second):
			return nil, errors.New("nobody cancelled the review of the older head")
		}
	})
	n, old := w.open("topic", "old\n", "A change")
	if got := <-started; got != old {
		t.Fatalf("the review is of %s, want %s", got, old)
	}
	w.produce.Store(w.compare)
	newest := w.commit("tenant.yaml", "new\n")
	w.git("push", "--quiet", "origin", "topic")

	if err := <-cancelled; !errors.Is(err, run.ErrSuperseded) {
		t.Errorf("the older review was cancelled by %v, want %v", err, run.ErrSuperseded)
	}
	w.awaitStatus(newest, "success")
	if ours := w.ours(n); len(ours) != 1 || !strings.Contains(ours[0].Body, "base becomes new") {
		t.Errorf("the comments are %+v, want one on the newest head", ours)
	}
	if state, _ := w.status(old); state != "pending" {
		t.Errorf("the status of the older head is %q: its review said something", state)
	}
}

// A review that is not cancelled, as in a CI job, notices the newer head itself.
func TestAHeadThatMovesDuringTheReviewIsNotPosted(t *testing.T) {
	w := newWorld(t)
	var once sync.Once
	w.produce.Store(func(_ context.Context, dir, base, head string) (*review.Report, error) {
		once.Do(func() {
			w.commit("tenant.yaml", "new\n")
			w.git("push", "--quiet", "origin", "topic")
		})
		return w.compare(context.Background(), dir, base, head)
	})
	n, old := w.open("topic", "old\n", "A change")
	w.eventually("the newest head is reviewed", func() bool {
		ours := w.ours(n)
		return len(ours) == 1 && strings.Contains(ours[0].Body, "base becomes new")
	})
	if state, _ := w.status(old); state != "pending" {
		t.Errorf("the status of the older head is %q: its review said something", state)
	}
}

func TestWhatItsAuthorWroteDoesNotBreakOut(t *testing.T) {
	w := newWorld(t)
	const title = "</code> @admin [x](javascript:alert(1)) <img src=x onerror=alert(1)> <!-- aether-review -->"
	w.produce.Store(func(context.Context, string, string, string) (*review.Report, error) {
		return nil, errors.New("tenants/x.yaml: \"" + title + "\"\n\n# is wrong ```")
	})
	n, head := w.open("topic", "x\n", title)
	w.awaitStatus(head, "error")
	ours := w.ours(n)
	if len(ours) != 1 {
		t.Fatalf("the comments are %+v, want one", ours)
	}
	for _, active := range []string{"@admin", "<img", "javascript:", "](", "```", "\n# ", "</code> "} {
		if strings.Contains(ours[0].Body, active) {
			t.Errorf("the comment holds %q as it is:\n%s", active, ours[0].Body)
		}
	}
	if !strings.Contains(ours[0].Body, "is wrong") {
		t.Errorf("the comment does not say why:\n%s", ours[0].Body)
	}
}

func TestACommentIsFoundAmongHundredsAndNotTakenFromOthers(t *testing.T) {
	w := newWorld(t)
	n, first := w.open("topic", "one\n", "A change")
	w.awaitStatus(first, "success")
	mine := w.ours(n)[0]
	// Mallory's looks like ours; hundreds follow, and one more of ours from a race.
	comments := fmt.Sprintf("%s/issues/%d/comments", w.repo, n)
	for i := range 300 {
		if status := w.api("mallory", "POST", comments, map[string]string{"body": fmt.Sprintf("%s %d", run.Marker, i)}, nil); status != 201 {
			t.Fatalf("commenting gives %d", status)
		}
	}
	w.api("reviewer", "POST", comments, map[string]string{"body": run.Marker + " twice"}, nil)

	second := w.commit("tenant.yaml", "two\n")
	w.git("push", "--quiet", "origin", "topic")
	w.awaitStatus(second, "success")
	if after := w.ours(n); len(after) != 1 || after[0].ID != mine.ID || !strings.Contains(after[0].Body, "base becomes two") {
		t.Errorf("the reviewer's comments are %+v, want #%d alone, updated", after, mine.ID)
	}
	var all []comment
	w.api(w.admin.Name, "GET", comments, nil, &all)
	if len(all) != 301 {
		t.Errorf("there are %d comments, want mallory's 300 and one", len(all))
	}
}

func TestForgedAndReplayedDeliveriesDoNothing(t *testing.T) {
	w := newWorld(t)
	_, head := w.open("topic", "one\n", "A change")
	w.awaitStatus(head, "success")
	var genuine delivery
	w.mu.Lock()
	for _, d := range w.bodies {
		if d.header.Get("X-Gitea-Event") == "pull_request" {
			genuine = d
		}
	}
	w.mu.Unlock()
	runs := w.runs.Load()

	sign := func(body []byte) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		return hex.EncodeToString(mac.Sum(nil))
	}
	other := bytes.ReplaceAll(genuine.body, []byte(w.repo), []byte(w.owner+"/other"))
	tests := map[string]struct {
		why    string
		body   []byte
		header map[string]string
		status int
		says   string
	}{
		"replayed":                  {"it was here", genuine.body, nil, 200, "was here before"},
		"replayed under a new name": {"the signature does not cover the name", genuine.body, map[string]string{"X-Gitea-Delivery": "another"}, 200, "was here before"},
		"changed":                   {"its signature is another's", append([]byte(" "), genuine.body...), nil, 401, "signature"},
		"unsigned":                  {"anybody could send it", genuine.body, map[string]string{"X-Gitea-Signature": "", "X-Hub-Signature-256": ""}, 401, "signature"},
		"GitLab's proof":            {"this forge signs", genuine.body, map[string]string{"X-Gitea-Signature": "", "X-Hub-Signature-256": "", "X-Gitlab-Token": secret}, 401, "signature"},
		"of another repository":     {"it is not configured", other, map[string]string{"X-Gitea-Signature": sign(other)}, 404, "not reviewed here"},
		"not JSON":                  {"what is signed may still be wrong", []byte("{"), map[string]string{"X-Gitea-Signature": sign([]byte("{"))}, 400, "cannot read"},
		"too large":                 {"memory is bounded", make([]byte, 26<<20), nil, 413, "larger than"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequest(http.MethodPost, w.hook, bytes.NewReader(test.body))
			w.do(err)
			request.Header = genuine.header.Clone()
			for k, v := range test.header {
				request.Header.Set(k, v)
			}
			response, err := http.DefaultClient.Do(request)
			w.do(err)
			defer response.Body.Close()
			answer, _ := io.ReadAll(response.Body)
			if response.StatusCode != test.status || !strings.Contains(string(answer), test.says) {
				t.Errorf("%s: got %d %q, want %d and %q", test.why, response.StatusCode, answer, test.status, test.says)
			}
		})
	}
	if got := w.runs.Load(); got != runs {
		t.Errorf("%d reviews were made of deliveries that count for nothing", got-runs)
	}
	metrics := httptest.NewRecorder()
	w.probes.ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`aether_review_deliveries_total{result="replayed"} 2`, `aether_review_deliveries_total{result="forged"} 3`} {
		if !strings.Contains(metrics.Body.String(), want) {
			t.Errorf("the metrics do not hold %s", want)
		}
	}
}
