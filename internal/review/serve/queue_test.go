package serve

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review/run"
)

// reviewer says which pull request it reviews, and waits to be told to end.
type reviewer struct {
	started chan int
	end     chan struct{}
	causes  chan error
}

func newReviewer() *reviewer {
	return &reviewer{make(chan int, 16), make(chan struct{}, 16), make(chan error, 16)}
}

func (r *reviewer) Run(ctx context.Context, n int) (*run.Outcome, error) {
	r.started <- n
	select {
	case <-ctx.Done():
		r.causes <- context.Cause(ctx)
	case <-r.end:
		r.causes <- nil
	}
	return &run.Outcome{Ending: run.Posted}, nil
}

// newServer returns a server of one worker where one pull request may wait.
func newServer(t *testing.T, kind forge.Kind, r Reviewer, pushed func(context.Context) error) (s *Server, stop func()) {
	t.Helper()
	s, err := New(Options{
		Kind: kind, Secret: []byte("secret"), Repositories: map[string]Reviewer{"platform/fleet": r}, Branch: "main", Pushed: pushed,
		Workers: 1, Queue: 1, Timeout: time.Minute, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return s, stop
}

var deliveries int

// send delivers an event as the server's forge does.
func send(s *Server, name, body string) *httptest.ResponseRecorder {
	deliveries++
	request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	for k, v := range map[forge.Kind]map[string]string{
		forge.Gitea:  {"X-Gitea-Event": name, "X-Gitea-Signature": sign("secret", body), "X-Gitea-Delivery": fmt.Sprint(deliveries)},
		forge.GitHub: {"X-GitHub-Event": name, "X-Hub-Signature-256": "sha256=" + sign("secret", body), "X-GitHub-Delivery": fmt.Sprint(deliveries)},
		forge.GitLab: {"X-Gitlab-Event": name, "X-Gitlab-Token": "secret", "X-Gitlab-Event-UUID": fmt.Sprint(deliveries)},
	}[s.o.Kind] {
		request.Header.Set(k, v)
	}
	answer := httptest.NewRecorder()
	s.Handler().ServeHTTP(answer, request)
	return answer
}

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func opened(number int, head string) string {
	return fmt.Sprintf(`{"action":"opened","number":%d,"pull_request":{"head":{"sha":%q}},"repository":{"full_name":"platform/fleet"}}`, number, head)
}

func TestTheQueueIsBoundedAndWhatWasRefusedMayComeAgain(t *testing.T) {
	r := newReviewer()
	s, _ := newServer(t, forge.Gitea, r, nil)
	want := func(why string, got *httptest.ResponseRecorder, status int) {
		t.Helper()
		if got.Code != status {
			t.Errorf("%s: got %d %s, want %d", why, got.Code, got.Body, status)
		}
	}
	want("the first runs", send(s, "pull_request", opened(1, "a")), 202)
	<-r.started
	want("the second waits", send(s, "pull_request", opened(2, "a")), 202)
	want("a third has no room", send(s, "pull_request", opened(3, "a")), 503)
	want("one that waits needs no more room", send(s, "pull_request", opened(2, "b")), 202)
	want("nor does one that runs", send(s, "pull_request", opened(1, "b")), 202)
	if cause := <-r.causes; !errors.Is(cause, run.ErrSuperseded) {
		t.Errorf("the first ended by %v, want %v", cause, run.ErrSuperseded)
	}
	for range 2 { // the second, and the first's newer head
		<-r.started
		r.end <- struct{}{}
		if cause := <-r.causes; cause != nil {
			t.Errorf("a review that nothing replaced ended by %v", cause)
		}
	}
	// The very delivery that had no room.
	want("the third, again", send(s, "pull_request", opened(3, "a")), 202)
	if got := <-r.started; got != 3 {
		t.Errorf("#%d is reviewed, want #3", got)
	}
	want("the third, closed", send(s, "pull_request", strings.Replace(opened(3, "a"), "opened", "closed", 1)), 200)
	if cause := <-r.causes; !errors.Is(cause, run.ErrSuperseded) {
		t.Errorf("the review of a closed pull request ended by %v", cause)
	}
}

func TestAnEndWaitsForReviewsAndTakesNoMore(t *testing.T) {
	r := newReviewer()
	s, stop := newServer(t, forge.Gitea, r, nil)
	ready := func() int {
		answer := httptest.NewRecorder()
		s.Probes().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return answer.Code
	}
	send(s, "pull_request", opened(1, "a"))
	<-r.started
	if got := ready(); got != 200 {
		t.Errorf("/readyz gives %d while it works", got)
	}
	stop()
	if cause := <-r.causes; !errors.Is(cause, context.Canceled) || errors.Is(cause, run.ErrSuperseded) {
		t.Errorf("the review ended by %v, want an interruption", cause)
	}
	if got := ready(); got != 503 {
		t.Errorf("/readyz gives %d at the end, want 503", got)
	}
	if got := send(s, "pull_request", opened(2, "a")); got.Code != 503 {
		t.Errorf("a delivery at the end gives %d, want 503", got.Code)
	}
}

func TestEachForgesEventsAreUnderstood(t *testing.T) {
	const push = `{"ref":"refs/heads/main","repository":{"full_name":"platform/fleet"}}`
	const merge = `{"object_kind":"merge_request","project":{"path_with_namespace":"platform/fleet"},"object_attributes":{"iid":7,"action":"update","last_commit":{"id":"a"}}}`
	tests := map[string]struct {
		why    string
		kind   forge.Kind
		name   string
		body   string
		status int
		review bool
		pushed bool
	}{
		"Gitea's pull request": {"it is new", forge.Gitea, "pull_request", opened(7, "a"), 202, true, false},
		"Gitea's sync":         {"the head is new", forge.Gitea, "pull_request_sync", strings.Replace(opened(7, "a"), "opened", "synchronized", 1), 202, true, false},
		"GitHub's sync":        {"GitHub spells it so", forge.GitHub, "pull_request", strings.Replace(opened(7, "a"), "opened", "synchronize", 1), 202, true, false},
		"GitLab's update":      {"it names things its own way", forge.GitLab, "Merge Request Hook", merge, 202, true, false},
		"GitLab's approval":    {"nothing that is rendered changed", forge.GitLab, "Merge Request Hook", strings.Replace(merge, "update", "approved", 1), 200, false, false},
		"a label":              {"nothing that is rendered changed", forge.GitHub, "pull_request", strings.Replace(opened(7, "a"), "opened", "labeled", 1), 200, false, false},
		"a ping":               {"the webhook was just made", forge.GitHub, "ping", `{"zen":"x"}`, 200, false, false},
		"Gitea's push":         {"Flux tracks main", forge.Gitea, "push", push, 200, false, true},
		"GitHub's push":        {"Flux tracks main", forge.GitHub, "push", push, 200, false, true},
		"GitLab's push":        {"Flux tracks main", forge.GitLab, "Push Hook", `{"object_kind":"push","ref":"refs/heads/main","project":{"path_with_namespace":"platform/fleet"}}`, 200, false, true},
		"another branch":       {"Flux does not track it", forge.Gitea, "push", strings.Replace(push, "main", "topic", 1), 200, false, false},
		"a tag named main":     {"Flux does not track it", forge.Gitea, "push", strings.Replace(push, "heads", "tags", 1), 200, false, false},
		"no number":            {"there is nothing to review", forge.Gitea, "pull_request", opened(0, "a"), 400, false, false},
		"another repository":   {"it is not configured", forge.Gitea, "push", strings.Replace(push, "fleet", "other", 1), 404, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, pushed := newReviewer(), false
			s, stop := newServer(t, test.kind, r, func(context.Context) error { pushed = true; return nil })
			answer := send(s, test.name, test.body)
			if test.review {
				if got := <-r.started; got != 7 {
					t.Errorf("%s: #%d is reviewed, want #7", test.why, got)
				}
			}
			stop()
			if answer.Code != test.status || pushed != test.pushed || len(r.started) > 0 {
				t.Errorf("%s: got %d %q, pushed %v, %d more reviews; want %d, %v, none", test.why, answer.Code, answer.Body, pushed, len(r.started), test.status, test.pushed)
			}
		})
	}
}

func TestAPushThatCouldNotBePassedOnMayComeAgain(t *testing.T) {
	fail := errors.New("no API server")
	s, _ := newServer(t, forge.Gitea, newReviewer(), func(context.Context) error { return fail })
	const push = `{"ref":"refs/heads/main","repository":{"full_name":"platform/fleet"}}`
	if got := send(s, "push", push); got.Code != 500 || strings.Contains(got.Body.String(), "API server") {
		t.Errorf("got %d %q, want 500 and nothing of the inside", got.Code, got.Body)
	}
	fail = nil
	if got := send(s, "push", push); got.Code != 200 || !strings.Contains(got.Body.String(), "Flux fetches") {
		t.Errorf("the same delivery again gives %d %q", got.Code, got.Body)
	}
}

func TestOnlyGitLabsTokenProvesGitLab(t *testing.T) {
	for name, test := range map[string]struct {
		header http.Header
		want   bool
	}{
		"the token":   {http.Header{"X-Gitlab-Token": {"secret"}}, true},
		"another":     {http.Header{"X-Gitlab-Token": {"secret2"}}, false},
		"none":        {http.Header{}, false},
		"a signature": {http.Header{"X-Gitea-Signature": {strings.Repeat("ab", 32)}}, false},
	} {
		if got := genuine(forge.GitLab, test.header, nil, []byte("secret")); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	if genuine(forge.GitLab, http.Header{"X-Gitlab-Token": {""}}, nil, nil) {
		t.Error("without a secret, no token counts")
	}
}

func TestWhatWasSeenIsBounded(t *testing.T) {
	s := newSeen(4)
	for i := range 10 {
		if !s.first(keys(fmt.Sprint(i), []byte{byte(i)})) {
			t.Errorf("%d was never here", i)
		}
	}
	if len(s.at) != 4 || s.order.Len() != 4 {
		t.Errorf("%d deliveries' keys are remembered, want 4", len(s.at))
	}
	if s.first(keys("9", nil)) || s.first(keys("", []byte{9})) || !s.first(keys("0", []byte{0})) {
		t.Error("the newest are not the ones that are remembered")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("pull_request", []byte(opened(1, "a")))
	f.Add("push", []byte(`{"ref":1}`))
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		for _, kind := range forge.Kinds {
			header := http.Header{"X-Gitea-Event": {name}, "X-Github-Event": {name}}
			if e, err := parse(kind, header, body); err != nil && e.what != nothing {
				t.Errorf("%s: an event that cannot be read asks for %v", kind, e)
			}
		}
	})
}
