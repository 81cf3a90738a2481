package run

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/aetherplatform/aether/internal/forge"
)

// remote is a repository over HTTP with main and a pull request #1.
type remote struct {
	*testing.T
	dir  string
	url  string
	head string
}

func newRemote(t *testing.T, file string) *remote {
	t.Helper()
	r := &remote{T: t, dir: filepath.Join(t.TempDir(), "fleet.git")}
	work := t.TempDir()
	r.git("", "init", "--quiet", "--bare", "--initial-branch=main", r.dir)
	r.git("", "init", "--quiet", "--initial-branch=main", work)
	r.write(filepath.Join(work, "file"), "base")
	r.git(work, "add", "--all")
	r.git(work, "commit", "--quiet", "--message", "base")
	r.git(work, "push", "--quiet", r.dir, "main")
	r.write(filepath.Join(work, "file"), file)
	r.git(work, "commit", "--quiet", "--all", "--message", "head")
	r.git(work, "push", "--quiet", r.dir, "HEAD:refs/pull/1/head")
	r.head = strings.TrimSpace(r.git(work, "rev-parse", "HEAD"))

	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: path, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.dir), "GIT_HTTP_EXPORT_ALL=1"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if _, password, _ := q.BasicAuth(); password != "t0ken" {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/fleet.git"
	return r
}

func (r *remote) write(file, content string) {
	r.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		r.Fatal(err)
	}
}

func (r *remote) git(dir string, args ...string) string {
	r.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (r *remote) pull() *forge.PullRequest {
	return &forge.PullRequest{Number: 1, BaseBranch: "main", HeadSHA: r.head}
}

func (r *remote) at(token string) forge.Remote {
	return forge.Remote{URL: r.url, User: "aether", Token: token, PullRef: "refs/pull/%d/head"}
}

func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return string(b)
}

func TestBaseAndHeadAreFetchedAndNothingElse(t *testing.T) {
	r := newRemote(t, "head")
	m := &Mirror{Dir: filepath.Join(t.TempDir(), "mirror")}
	for range 2 { // again, from what is there
		base, release, err := m.fetch(t.Context(), r.at("t0ken"), r.pull())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		repo, err := gogit.PlainOpen(m.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, hash := range []string{base, r.head} {
			if _, err := repo.CommitObject(plumbing.NewHash(hash)); err != nil {
				t.Errorf("commit %s: %v", hash, err)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(m.Dir, "incoming-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v was left behind (%v)", left, err)
	}
	if _, err := os.Stat(filepath.Join(m.Dir, "file")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file of the pull request was checked out: %v", err)
	}
}

func TestAFetchIsBounded(t *testing.T) {
	tests := map[string]struct {
		why    string
		file   string
		limits Limits
		want   string
	}{
		"much to transfer":    {"noise does not shrink", noise(300_000), Limits{Transfer: 100_000}, "larger than a review may fetch"},
		"a large object":      {"a small pack can hold it", strings.Repeat("0", 3_000_000), Limits{Object: 1_000_000}, "an object of 3000000 bytes; at most 1000000 are reviewed"},
		"many objects":        {"each costs memory", "x", Limits{Objects: 2}, "objects; at most 2 are reviewed"},
		"no time":             {"a forge may hang", "x", Limits{Time: 1}, "deadline exceeded"},
		"what is just enough": {"limits are limits, not less", strings.Repeat("0", 1_000_000), Limits{Object: 1_000_000, Transfer: 100_000, Objects: 6}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRemote(t, test.file)
			m := &Mirror{Dir: filepath.Join(t.TempDir(), "mirror"), Limits: test.limits}
			_, _, err := m.fetch(t.Context(), r.at("t0ken"), r.pull())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%s: got %v, want %q", test.why, err, test.want)
			}
		})
	}
}

func TestAFetchSaysWhatIsWrong(t *testing.T) {
	r := newRemote(t, "head")
	moved := httptest.NewServer(http.RedirectHandler(r.url+"/info/refs?service=git-upload-pack", http.StatusFound))
	t.Cleanup(moved.Close)
	tests := map[string]struct {
		remote forge.Remote
		pull   forge.PullRequest
		want   string
	}{
		"a wrong token":   {r.at("wr0ng"), *r.pull(), "the forge refuses the token: give it the permission to read the repository"},
		"a newer head":    {r.at("t0ken"), forge.PullRequest{Number: 1, BaseBranch: "main", HeadSHA: strings.Repeat("0", 40)}, "the pull request has a newer head"},
		"no such branch":  {r.at("t0ken"), forge.PullRequest{Number: 1, BaseBranch: "gone", HeadSHA: r.head}, `the repository has no branch "gone"`},
		"no such request": {r.at("t0ken"), forge.PullRequest{Number: 2, BaseBranch: "main", HeadSHA: r.head}, "the repository has no refs/pull/2/head"},
		"a redirect":      {forge.Remote{URL: moved.URL + "/fleet.git", Token: "t0ken", PullRef: "refs/pull/%d/head"}, *r.pull(), "the forge redirects"},
		"a file":          {forge.Remote{URL: "file://" + r.dir, Token: "t0ken", PullRef: "refs/pull/%d/head"}, *r.pull(), "is not an address to fetch from"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := &Mirror{Dir: filepath.Join(t.TempDir(), "mirror")}
			_, _, err := m.fetch(t.Context(), test.remote, &test.pull)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "t0ken") {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}

func TestAMirrorThatGrewTooLargeIsBegunAnewOnceNobodyReadsIt(t *testing.T) {
	r := newRemote(t, "head")
	m := &Mirror{Dir: filepath.Join(t.TempDir(), "mirror"), Limits: Limits{Disk: 1}}
	mark := filepath.Join(m.Dir, "mark")
	_, release, err := m.fetch(t.Context(), r.at("t0ken"), r.pull())
	if err != nil {
		t.Fatal(err)
	}
	r.write(mark, "here")
	_, second, err := m.fetch(t.Context(), r.at("t0ken"), r.pull())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the mirror was removed below a reader: %v", err)
	}
	release()
	second()
	if _, _, err := m.fetch(t.Context(), r.at("t0ken"), r.pull()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mirror was kept: %v", err)
	}
}

// What a delta makes may be much larger than the delta.
func TestADeltaIsMeasuredByWhatItMakes(t *testing.T) {
	tests := map[string]struct {
		delta []byte
		want  int64
	}{
		"small":          {[]byte{5, 7, 0xff}, 7},
		"two bytes":      {[]byte{0x80, 0x01, 0x81, 0x02}, 257},
		"cut off":        {[]byte{5}, 0},
		"without an end": {bytes.Repeat([]byte{0xff}, 20), 1 << 62},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := target(test.delta); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func FuzzMeasure(f *testing.F) {
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\x35x\x9c"))
	f.Fuzz(func(t *testing.T, pack []byte) {
		_ = measure(bytes.NewReader(pack), Limits{Objects: 100, Object: 1000}) // no panic, no endless loop
		if err := measure(bytes.NewReader(pack), Limits{}); err == nil && len(pack) > 12 && pack[11] != 0 {
			t.Errorf("a pack with objects passed a limit of none")
		}
	})
}
