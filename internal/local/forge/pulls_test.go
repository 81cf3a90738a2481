package forge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	sdk "code.gitea.io/sdk/gitea"

	"github.com/aetherplatform/aether/internal/local/gitea"
)

// sdk is Gitea's own client, as a user: what it understands, Gitea would say.
func (w *world) sdk(name, password string) *sdk.Client {
	w.Helper()
	c, err := sdk.NewClient(w.url, sdk.SetBasicAuth(name, password), sdk.SetGiteaVersion(""))
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// topic pushes main and a branch with one commit more, and opens a pull request.
func (w *world) topic(c *sdk.Client) *sdk.PullRequest {
	w.Helper()
	w.commit("tenant.yaml", "kind: Tenant\n")
	w.git("push", "--quiet", "origin", "main")
	w.git("checkout", "--quiet", "-b", "topic")
	w.commit("tenant.yaml", "kind: Tenant # changed\n")
	w.git("push", "--quiet", "origin", "topic")
	pr, _, err := c.CreatePullRequest("platform", "fleet", sdk.CreatePullRequestOption{Head: "topic", Base: "main", Title: "A change"})
	if err != nil {
		w.Fatal(err)
	}
	return pr
}

func codeOf(response *sdk.Response) int {
	if response == nil || response.Response == nil {
		return 0
	}
	return response.StatusCode
}

func TestGiteasClientMergesAPullRequestOnceItsStatusIsThere(t *testing.T) {
	w := newWorld(t)
	admin := w.sdk("admin", "admin's")
	pr := w.topic(admin)
	if err := (&gitea.Client{URL: w.url, Name: "admin", Password: "admin's"}).Require(t.Context(), "platform", "fleet", "main", "aether/review"); err != nil {
		t.Fatal(err)
	}
	head, base := w.git("rev-parse", "topic"), w.git("rev-parse", "main")
	if pr.Index != 1 || pr.State != sdk.StateOpen || pr.Head.Sha != head || pr.Base.Sha != base || pr.MergeBase != base || pr.Head.Ref != "topic" {
		t.Errorf("the pull request is %+v", pr)
	}
	if got := w.git("ls-remote", "origin", "refs/pull/1/head"); !strings.HasPrefix(got, head) {
		t.Errorf("refs/pull/1/head is %q, want %s", got, head)
	}
	if out, err := w.tryGit("push", "origin", "main:refs/pull/1/head"); err == nil {
		t.Errorf("anybody can push the head of a pull request: %s", out)
	}

	merge := func(commit string) int {
		_, response, _ := admin.MergePullRequest("platform", "fleet", 1, sdk.MergePullRequestOption{Style: sdk.MergeStyleMerge, HeadCommitId: commit})
		return codeOf(response)
	}
	set := func(state sdk.StatusState) {
		t.Helper()
		if _, _, err := admin.CreateStatus("platform", "fleet", head, sdk.CreateStatusOption{State: state, Context: "aether/review", Description: "d"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, state := range []sdk.StatusState{"", sdk.StatusSuccess, sdk.StatusFailure} { // the newest counts
		if state != "" {
			set(state)
		}
		if state == sdk.StatusSuccess {
			continue
		}
		if got := merge(""); got != http.StatusMethodNotAllowed {
			t.Errorf("a merge with the status %q gives %d, want 405", state, got)
		}
	}
	set(sdk.StatusSuccess)
	if combined, _, err := admin.GetCombinedStatus("platform", "fleet", head); err != nil || combined.State != sdk.StatusSuccess || len(combined.Statuses) != 1 {
		t.Errorf("the combined status is %+v (%v)", combined, err)
	}
	if got := merge(base); got != http.StatusConflict {
		t.Errorf("a merge of another head gives %d, want 409", got)
	}
	if got := merge(head); got != http.StatusOK {
		t.Errorf("a merge gives %d, want 200", got)
	}
	merged, _, err := admin.GetPullRequest("platform", "fleet", 1)
	if err != nil || !merged.HasMerged || merged.State != sdk.StateClosed || merged.Base.Sha != base {
		t.Fatalf("after the merge it is %+v (%v)", merged, err)
	}
	if got := w.git("ls-remote", "origin", "refs/heads/main"); !strings.HasPrefix(got, *merged.MergedCommitID) {
		t.Errorf("main is %q, want %s", got, *merged.MergedCommitID)
	}
}

func TestAConflictIsNotMerged(t *testing.T) {
	w := newWorld(t)
	admin := w.sdk("admin", "admin's")
	w.topic(admin)
	w.git("checkout", "--quiet", "main")
	w.commit("tenant.yaml", "kind: Tenant # otherwise\n")
	w.git("push", "--quiet", "origin", "main")
	_, response, _ := admin.MergePullRequest("platform", "fleet", 1, sdk.MergePullRequestOption{Style: sdk.MergeStyleMerge})
	if got := codeOf(response); got != http.StatusConflict {
		t.Errorf("a merge with a conflict gives %d, want 409", got)
	}
}

func TestPullRequestsAreAnnouncedToWhoAskedForIt(t *testing.T) {
	w := newWorld(t)
	admin := w.sdk("admin", "admin's")
	// The world's first hook asked for pushes only.
	if err := (&gitea.Client{URL: w.url, Name: "admin", Password: "admin's"}).AddHook(t.Context(), "platform", "fleet", w.hook, secret, "pull_request"); err != nil {
		t.Fatal(err)
	}
	next := func(action, kind string) {
		t.Helper()
		for {
			select {
			case e := <-w.events:
				if e.header.Get("X-Gitea-Event") != "pull_request" {
					continue
				}
				var p struct {
					Action      string
					Number      int
					PullRequest struct{ Head struct{ SHA string } } `json:"pull_request"`
					Repository  struct {
						FullName string `json:"full_name"`
					}
				}
				if err := json.Unmarshal(e.body, &p); err != nil {
					t.Fatal(err)
				}
				if p.Action != action || p.Number != 1 || e.header.Get("X-Gitea-Event-Type") != kind || p.PullRequest.Head.SHA != w.git("rev-parse", "topic") ||
					p.Repository.FullName != "platform/fleet" || e.header.Get("X-Gitea-Signature") == "" {
					t.Errorf("the event is %v with %+v, want %s", e.header, p, action)
				}
				return
			case <-time.After(10 * time.Second):
				t.Fatalf("no event says %s", action)
			}
		}
	}
	w.topic(admin)
	next("opened", "pull_request")
	w.commit("tenant.yaml", "kind: Tenant # again\n")
	w.git("push", "--quiet", "origin", "topic")
	next("synchronized", "pull_request_sync")
	closed := sdk.StateClosed
	if _, _, err := admin.EditPullRequest("platform", "fleet", 1, sdk.EditPullRequestOption{State: &closed}); err != nil {
		t.Fatal(err)
	}
	next("closed", "pull_request")
}

func TestWhoMayDoWhatWithAPullRequest(t *testing.T) {
	w := newWorld(t)
	w.topic(w.sdk("admin", "admin's"))
	admin := &gitea.Client{URL: w.url, Name: "admin", Password: "admin's"}
	if err := admin.EnsureUser(t.Context(), "eve", "eve's"); err != nil {
		t.Fatal(err)
	}
	comment, _, err := w.sdk("admin", "admin's").CreateIssueComment("platform", "fleet", 1, sdk.CreateIssueCommentOption{Body: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	head := w.git("rev-parse", "topic")
	tests := []struct {
		why, user, method, path, body string
		want                          int
	}{
		{"what one may not read does not exist", "eve", "GET", "/pulls/1", "", 404},
		{"a reader reads", "flux", "GET", "/pulls/1", "", 200},
		{"there is no such one", "flux", "GET", "/pulls/2", "", 404},
		{"a reader comments", "flux", "POST", "/issues/1/comments", `{"body":"x"}`, 201},
		{"a comment is its author's", "flux", "PATCH", fmt.Sprintf("/issues/comments/%d", comment.ID), `{"body":"x"}`, 403},
		{"a comment is its author's", "flux", "DELETE", fmt.Sprintf("/issues/comments/%d", comment.ID), "", 403},
		{"a reader says no status", "flux", "POST", "/statuses/" + head, `{"state":"success"}`, 403},
		{"a reader merges nothing", "flux", "POST", "/pulls/1/merge", `{"Do":"merge"}`, 403},
		{"a commit has to be there", "admin", "POST", "/statuses/" + strings.Repeat("0", 40), `{"state":"success"}`, 404},
		{"a state is one of five", "admin", "POST", "/statuses/" + head, `{"state":"good"}`, 422},
		{"two for the same branches are one too many", "admin", "POST", "/pulls", `{"head":"topic","base":"main","title":"x"}`, 409},
		{"branches have to be there", "admin", "POST", "/pulls", `{"head":"--help","base":"main","title":"x"}`, 404},
		{"branches have to be there", "admin", "POST", "/pulls", `{"head":"eve:topic","base":"main","title":"x"}`, 404},
	}
	for _, test := range tests {
		request, err := http.NewRequest(test.method, w.url+"/api/v1/repos/platform/fleet"+test.path, bytes.NewBufferString(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(test.user, test.user+"'s")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s: %s %s as %s gives %d %s, want %d", test.why, test.method, test.path, test.user, response.StatusCode, answer, test.want)
		}
	}
}

func TestCommentsComeInPagesToWhoAsks(t *testing.T) {
	w := newWorld(t)
	admin := w.sdk("admin", "admin's")
	w.topic(admin)
	for i := range 60 {
		if _, _, err := admin.CreateIssueComment("platform", "fleet", 1, sdk.CreateIssueCommentOption{Body: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for page, want := range map[int]int{1: 50, 2: 10, 3: 0} {
		got, _, err := admin.ListIssueComments("platform", "fleet", 1, sdk.ListIssueCommentOptions{ListOptions: sdk.ListOptions{Page: page, PageSize: 100}})
		if err != nil || len(got) != want {
			t.Errorf("page %d has %d comments (%v), want %d", page, len(got), err, want)
		}
	}
}

func TestATokenIsAsGoodAsItsUser(t *testing.T) {
	w := newWorld(t)
	w.commit("tenant.yaml", "kind: Tenant\n")
	w.git("push", "--quiet", "origin", "main")
	flux := &gitea.Client{URL: w.url, Name: "flux", Password: "flux's"}
	token, err := flux.Token(t.Context(), "review")
	if err != nil {
		t.Fatal(err)
	}
	c, err := sdk.NewClient(w.url, sdk.SetToken(token), sdk.SetGiteaVersion(""))
	if err != nil {
		t.Fatal(err)
	}
	if me, _, err := c.GetMyUserInfo(); err != nil || me.UserName != "flux" {
		t.Errorf("the token is %+v's (%v), want flux's", me, err)
	}
	if out, err := w.tryGit("ls-remote", w.as("anything", token), "refs/heads/main"); err != nil || out == "" {
		t.Errorf("git with the token: %v %s", err, out)
	}
	if out, err := w.tryGit("push", w.as("anything", token), "main:other"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("a reader's token pushes: %v %s", err, out)
	}
	if out, err := w.tryGit("ls-remote", w.as("anything", token+"x"), "refs/heads/main"); err == nil {
		t.Errorf("a wrong token gets in: %s", out)
	}
}
