package forge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	token  = "s3cret-token"
	marker = "<!-- m -->"
	sha    = "0123456789012345678901234567890123456789"
)

// note is a comment of the fake forges.
type note struct {
	id     int
	author string
	body   string
}

// fake is a forge that answers as its kind documents.
type fake struct {
	*testing.T
	kind Kind
	mu   sync.Mutex
	// notes on pull request 7.
	notes []note
	// noPages: all comments are given at once, whatever page is asked for.
	noPages bool
	// noUser: the token is a CI job's, which may not ask who it is.
	noUser bool
	// past is what is answered to requests about commits, by path below the repository.
	past map[string]any
	// refuse is called before an answer is given, and true when it gave one.
	refuse func(w http.ResponseWriter, r *http.Request) bool
	// waited by the client.
	waited []time.Duration
	// status that was set, and asked are the requests.
	status map[string]any
	asked  []string
}

func (f *fake) open() Repository {
	f.Helper()
	server := httptest.NewServer(f)
	f.Cleanup(server.Close)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	forge, err := New(Options{
		Kind: f.kind, URL: server.URL, Repository: "platform/fleet", Token: token,
		Now: func() time.Time { return now },
		Wait: func(_ context.Context, d time.Duration) error {
			f.waited = append(f.waited, d)
			return nil
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	return forge
}

// prefix of the API, and of the repository in it.
var prefix = map[Kind][2]string{
	Gitea:  {"/api/v1", "/repos/platform/fleet"},
	GitHub: {"/api/v3", "/repos/platform/fleet"},
	GitLab: {"/api/v4", "/projects/platform%2Ffleet"},
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Method+" "+r.URL.EscapedPath())
	if f.refuse != nil && f.refuse(w, r) {
		return
	}
	want := map[Kind][2]string{
		Gitea: {"Authorization", "token " + token}, GitHub: {"Authorization", "Bearer " + token}, GitLab: {"Private-Token", token},
	}[f.kind]
	if r.Header.Get(want[0]) != want[1] {
		http.Error(w, `{"message":"Unauthorized `+r.Header.Get(want[0])+`"}`, http.StatusUnauthorized)
		return
	}
	api, repo := prefix[f.kind][0], prefix[f.kind][1]
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), api)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if path == "/user" {
		if f.noUser {
			http.Error(w, `{"message":"Resource not accessible by integration"}`, http.StatusForbidden)
			return
		}
		f.answer(w, 200, map[string]any{"id": 1, "login": "Aether", "username": "Aether"})
		return
	}
	path = strings.TrimPrefix(path, repo)
	if body, ok := f.past[path+map[bool]string{true: "?" + r.URL.RawQuery}[strings.HasSuffix(path, "/compare")]]; ok {
		if page, _ := strconv.Atoi(r.URL.Query().Get("page")); page > 1 {
			body = []any{}
		}
		f.answer(w, 200, body)
		return
	}
	if id, ok := f.one(path); ok {
		f.change(w, r, id)
		return
	}
	switch r.Method + " " + path {
	case "GET /pulls/7", "GET /merge_requests/7":
		f.answer(w, 200, f.pull())
	case "GET /issues/7/comments", "GET /merge_requests/7/notes":
		f.list(w, r)
	case "POST /issues/7/comments", "POST /merge_requests/7/notes":
		f.notes = append(f.notes, note{len(f.notes) + 1, "aether", f.read(r)["body"].(string)})
		f.answer(w, 201, f.show(f.notes[len(f.notes)-1]))
	case "POST /statuses/" + sha:
		f.status = f.read(r)
		f.answer(w, 201, map[string]any{"id": 1})
	default:
		http.Error(w, `{"message":"not found"}`, http.StatusNotFound)
	}
}

// one is the comment that a path names.
func (f *fake) one(path string) (id int, ok bool) {
	for _, p := range []string{"/issues/comments/", "/merge_requests/7/notes/"} {
		if rest, found := strings.CutPrefix(path, p); found {
			id, err := strconv.Atoi(rest)
			return id, err == nil
		}
	}
	return 0, false
}

func (f *fake) change(w http.ResponseWriter, r *http.Request, id int) {
	for i, n := range f.notes {
		switch {
		case n.id != id:
		case r.Method == http.MethodDelete:
			f.notes = append(f.notes[:i], f.notes[i+1:]...)
			w.WriteHeader(http.StatusNoContent)
			return
		default:
			f.notes[i].body = f.read(r)["body"].(string)
			f.answer(w, 200, f.show(f.notes[i]))
			return
		}
	}
	http.Error(w, `{"message":"not found"}`, http.StatusNotFound)
}

func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size, _ := strconv.Atoi(q.Get("per_page"))
	if f.kind == Gitea {
		size, _ = strconv.Atoi(q.Get("limit"))
		size = min(size, 30) // an administrator may allow less than is asked for
	}
	page, _ := strconv.Atoi(q.Get("page"))
	page = max(page, 1)
	from := min((page-1)*size, len(f.notes))
	to := min(from+size, len(f.notes))
	if f.noPages {
		from, to = 0, len(f.notes)
	}
	shown := []any{}
	for _, n := range f.notes[from:to] {
		shown = append(shown, f.show(n))
	}
	if to < len(f.notes) {
		w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?page=%d>; rel="next"`, r.Host, r.URL.Path, page+1))
		w.Header().Set("X-Next-Page", strconv.Itoa(page+1))
	}
	f.answer(w, 200, shown)
}

func (f *fake) show(n note) map[string]any {
	user := map[string]any{"login": n.author, "username": n.author}
	return map[string]any{"id": n.id, "body": n.body, "user": user, "author": user, "html_url": fmt.Sprintf("https://forge/c%d", n.id)}
}

func (f *fake) pull() map[string]any {
	if f.kind == GitLab {
		return map[string]any{
			"iid": 7, "title": "T", "state": "opened", "target_branch": "main", "source_branch": "topic", "sha": sha,
			"source_project_id": 2, "target_project_id": 1, "web_url": "https://forge/7",
			"diff_refs": map[string]any{"base_sha": "b"},
		}
	}
	return map[string]any{
		"number": 7, "title": "T", "state": "open", "html_url": "https://forge/7",
		"base": map[string]any{"ref": "main", "sha": "b", "repo_id": 1, "repo": map[string]any{"id": 1}},
		"head": map[string]any{"ref": "topic", "sha": sha, "repo_id": 2, "repo": map[string]any{"id": 2, "clone_url": "https://forge/fork.git"}},
	}
}

func (f *fake) read(r *http.Request) map[string]any {
	var in map[string]any
	data, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(data, &in); err != nil {
		f.Errorf("%s %s has the body %q", r.Method, r.URL.Path, data)
		return map[string]any{"body": ""}
	}
	return in
}

func (f *fake) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// each runs a test for each kind of forge.
func each(t *testing.T, test func(t *testing.T, f *fake)) {
	for _, kind := range Kinds {
		t.Run(string(kind), func(t *testing.T) { test(t, &fake{T: t, kind: kind}) })
	}
}

func TestAPullRequestIsReadAlike(t *testing.T) {
	each(t, func(t *testing.T, f *fake) {
		got, err := f.open().PullRequest(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		want := &PullRequest{
			Number: 7, Title: "T", BaseBranch: "main", BaseSHA: "b", HeadBranch: "topic", HeadSHA: sha,
			HeadCloneURL: "https://forge/fork.git", Fork: true, State: Open, URL: "https://forge/7", Changed: "https://forge/7/files",
		}
		if f.kind == GitLab { // tells a project's number, not its address
			want.HeadCloneURL, want.Changed = "", "https://forge/7/diffs"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestOneCommentIsKept(t *testing.T) {
	var many []note
	for i := range 450 {
		many = append(many, note{i + 1, "mallory", marker + " not ours"})
	}
	with := func(notes ...note) []note { return append(append([]note{}, many...), notes...) }
	tests := map[string]struct {
		why     string
		notes   []note
		noPages bool
		want    []note
	}{
		"none yet":          {"it is made", nil, false, []note{{1, "aether", marker + " new"}}},
		"one of 451":        {"all pages are searched, and marks of others do not count", with(note{451, "aether", marker + " old"}), false, with(note{451, "aether", marker + " new"})},
		"no pages":          {"some versions of Gitea give all at once, again for each page", with(note{451, "aether", marker + " old"}), true, with(note{451, "aether", marker + " new"})},
		"several":           {"two runs may have made one each; the first stays", []note{{1, "aether", marker + " a"}, {2, "aether", marker + " b"}}, false, []note{{1, "aether", marker + " new"}}},
		"edited by another": {"what begins otherwise is no longer our comment", []note{{1, "aether", "hello " + marker}}, false, []note{{1, "aether", "hello " + marker}, {2, "aether", marker + " new"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fake) {
				if test.noPages && f.kind != Gitea {
					t.Skipf("the case is of Gitea versions whose lists have no pages; %s has none such", f.kind)
				}
				f.notes, f.noPages = append([]note{}, test.notes...), test.noPages
				if _, err := f.open().UpsertComment(t.Context(), 7, marker, marker+" new"); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, f.notes, cmp.AllowUnexported(note{})); diff != "" {
					t.Errorf("%s (-want +got)\n%s", test.why, diff)
				}
			})
		})
	}
}

func TestACommentThatSaysItAlreadyIsLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, f *fake) {
		f.notes = []note{{1, "aether", marker + " same"}}
		if _, err := f.open().UpsertComment(t.Context(), 7, marker, marker+" same"); err != nil {
			t.Fatal(err)
		}
		for _, request := range f.asked {
			if !strings.HasPrefix(request, "GET ") {
				t.Errorf("%s was asked for, and mails everyone", request)
			}
		}
	})
}

func TestAJobsTokenFindsItsCommentToo(t *testing.T) {
	for kind, user := range map[Kind]string{Gitea: "gitea-actions", GitHub: "github-actions[bot]"} {
		f := &fake{T: t, kind: kind, noUser: true, notes: []note{{1, user, marker + " old"}}}
		if _, err := f.open().UpsertComment(t.Context(), 7, marker, marker+" new"); err != nil {
			t.Fatal(err)
		}
		if len(f.notes) != 1 || f.notes[0].body != marker+" new" {
			t.Errorf("%s: the comments are %+v, want one, updated", kind, f.notes)
		}
	}
}

func TestATokenThatLacksAScopeIsNotTakenForAJobs(t *testing.T) {
	// Gitea's words, of a token with write:repository and write:issue.
	const refusal = `{"message":"token does not have at least one of required scope(s), required=[read:user], token scope=write:issue,write:repository"}`
	f := &fake{T: t, kind: Gitea, notes: []note{{1, "aether", marker + " old"}}, refuse: func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/user" {
			return false
		}
		http.Error(w, refusal, http.StatusForbidden)
		return true
	}}
	_, err := f.open().UpsertComment(t.Context(), 7, marker, marker+" new")
	if want := "give it the scopes read:user"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if len(f.notes) != 1 {
		t.Errorf("the comments are %+v: one more was made", f.notes)
	}
}

func TestAStatusFitsTheForge(t *testing.T) {
	each(t, func(t *testing.T, f *fake) {
		err := f.open().SetStatus(t.Context(), sha, Status{State: Failure, Description: "two\nlines\x00 " + strings.Repeat("é", 400), Link: "https://x"})
		if err != nil {
			t.Fatal(err)
		}
		limit := map[Kind]int{Gitea: 255, GitHub: 140, GitLab: 255}[f.kind]
		description, _ := f.status["description"].(string)
		if len(description) > limit || len(description) < limit-4 || !strings.HasPrefix(description, "two lines é") || !strings.HasSuffix(description, "é…") {
			t.Errorf("the description has %d bytes: %q", len(description), description)
		}
		state, name := "failure", f.status["context"]
		if f.kind == GitLab {
			state, name = "failed", f.status["name"]
		}
		if f.status["state"] != state || name != Context || f.status["target_url"] != "https://x" {
			t.Errorf("the status is %v", f.status)
		}
	})
}

func TestGitLabMayHaveTheStatusAlready(t *testing.T) {
	f := &fake{T: t, kind: GitLab, refuse: func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"message":"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"}`, http.StatusBadRequest)
		return true
	}}
	if err := f.open().SetStatus(t.Context(), sha, Status{State: Pending}); err != nil {
		t.Error(err)
	}
}

func TestABusyForgeIsWaitedForWithinBounds(t *testing.T) {
	tests := map[string]struct {
		why    string
		header map[string]string
		status int
		times  int
		waited []time.Duration
		err    string
	}{
		"seconds":                {"Retry-After is honoured", map[string]string{"Retry-After": "3"}, 429, 1, []time.Duration{3 * time.Second}, ""},
		"a date":                 {"Retry-After may be one", map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:04:15 GMT"}, 429, 1, []time.Duration{10 * time.Second}, ""},
		"GitHub's second limit":  {"it answers 403", map[string]string{"Retry-After": "2"}, 403, 1, []time.Duration{2 * time.Second}, ""},
		"GitHub's first limit":   {"it tells when it ends", map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1767323055"}, 403, 1, []time.Duration{10 * time.Second}, ""},
		"nothing said":           {"then longer each time", nil, 503, 2, []time.Duration{time.Second, 2 * time.Second}, ""},
		"for ever":               {"tries are bounded", nil, 429, 99, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, "rate limit is used up: try again in 8s"},
		"an hour":                {"waiting is bounded", map[string]string{"Retry-After": "3600"}, 429, 1, nil, "try again in 1h0m0s"},
		"a number without sense": {"it overflows nothing", map[string]string{"Retry-After": "99999999999"}, 429, 1, nil, "rate limit is used up"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fake) {
				left := test.times
				f.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
					if left--; left < 0 {
						return false
					}
					for k, v := range test.header {
						w.Header().Set(k, v)
					}
					http.Error(w, `{"message":"slow down"}`, test.status)
					return true
				}
				_, err := f.open().PullRequest(t.Context(), 7)
				if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Errorf("%s: got %v, want %q", test.why, err, test.err)
				}
				if diff := cmp.Diff(test.waited, f.waited); diff != "" {
					t.Errorf("%s: waited (-want +got)\n%s", test.why, diff)
				}
			})
		})
	}
}

func TestACommentIsNotMadeTwiceWhenTheForgeIsDown(t *testing.T) {
	each(t, func(t *testing.T, f *fake) {
		posts := 0
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			posts++
			http.Error(w, "bad gateway", http.StatusBadGateway)
			return true
		}
		if _, err := f.open().UpsertComment(t.Context(), 7, marker, marker+" new"); err == nil || posts != 1 {
			t.Errorf("%d comments were posted (%v), want one try and an error", posts, err)
		}
	})
}

func TestARefusalSaysWhatToDoAndNeverTheToken(t *testing.T) {
	tests := map[int]string{
		401: "set AETHER_FORGE_TOKEN to a new one",
		403: "the token may not do this: give it the ",
		404: "no such pull request or repository, or the token may not see it",
		500: "the forge is not well",
	}
	for status, want := range tests {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			each(t, func(t *testing.T, f *fake) {
				f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
					// A proxy in between may print what it was sent.
					http.Error(w, fmt.Sprintf(`{"message":"no: %v"}`, r.Header), status)
					return true
				}
				forge := f.open()
				_, readErr := forge.PullRequest(t.Context(), 7)
				_, commentErr := forge.UpsertComment(t.Context(), 7, marker, marker)
				for doing, err := range map[string]error{
					"cannot read ": readErr, "cannot ": commentErr,
					"cannot set the status of " + sha: forge.SetStatus(t.Context(), sha, Status{State: Pending}),
				} {
					if err == nil || !strings.HasPrefix(err.Error(), doing) || !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want %s… and %q", err, doing, want)
						continue
					}
					if strings.Contains(err.Error(), token) {
						t.Errorf("the error holds the token: %v", err)
					}
				}
			})
		})
	}
}

func TestTheTokenGoesToNoOtherHost(t *testing.T) {
	each(t, func(t *testing.T, f *fake) {
		asked := false
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
		t.Cleanup(other.Close)
		f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		if _, err := f.open().PullRequest(t.Context(), 7); err == nil || asked {
			t.Errorf("got %v, and the other host was asked: %v", err, asked)
		}
	})
}

func TestOnlyForgesOpen(t *testing.T) {
	good := Options{Kind: Gitea, URL: "https://git.example.com", Repository: "platform/fleet", Token: "t"}
	tests := map[string]struct {
		change func(*Options)
		want   string
	}{
		"another kind":        {func(o *Options) { o.Kind = "svn" }, `"svn" is not a forge: use gitea, github or gitlab`},
		"no address":          {func(o *Options) { o.URL = "" }, `"" is not the address of a forge: write https://git.example.com`},
		"another scheme":      {func(o *Options) { o.URL = "file:///etc" }, `"file:///etc" is not the address of a forge: write https://git.example.com`},
		"credentials":         {func(o *Options) { o.URL = "https://a:b@git.example.com" }, `the address of a forge holds no credentials and no query: write https://git.example.com`},
		"no owner":            {func(o *Options) { o.Repository = "fleet" }, `"fleet" is not a repository: write owner/name`},
		"a path out of there": {func(o *Options) { o.Repository = "../admin" }, `"../admin" is not a repository: write owner/name`},
		"a query":             {func(o *Options) { o.Repository = "a/b?x" }, `"a/b?x" is not a repository: write owner/name`},
		"groups":              {func(o *Options) { o.Repository = "a/b/c" }, `"a/b/c" is not a repository: write owner/name`},
		"no token":            {func(o *Options) { o.Token = "" }, `there is no token for the forge: set AETHER_FORGE_TOKEN`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := good
			test.change(&o)
			if _, err := New(o); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	if _, err := New(Options{Kind: GitLab, URL: "https://gitlab.com", Repository: "a/b/c", Token: "t"}); err != nil {
		t.Errorf("GitLab has groups in groups: %v", err)
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("two\nlines", 20)
	f.Add(strings.Repeat("é", 200), 140)
	f.Add("\xff\x00 \u202e", 10)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = min(max(limit, 3), 1000) // a forge's
		got := oneLine(s, limit)
		if len(got) > limit || strings.ContainsAny(got, "\r\n\x00") || !strings.EqualFold(strings.ToValidUTF8(got, ""), got) {
			t.Errorf("%q is cut to %q", s, got)
		}
	})
}
