package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/serve"
)

const people = "https://review.example.com/fleet"

func reports(t *testing.T, dir string, most int) *serve.Reports {
	t.Helper()
	r, err := serve.NewReports(dir, people+"/", most, func(w io.Writer, r *review.Report) error {
		_, err := fmt.Fprintf(w, "<p>%s", r.Head.Commit)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func keep(t *testing.T, r *serve.Reports, repository string, number int, head string) (path string) {
	t.Helper()
	report := &review.Report{Base: review.Revision{Commit: "b"}, Head: review.Revision{Commit: head}}
	link, err := r.Keep(repository, &forge.PullRequest{Number: number}, report)
	if err != nil {
		t.Fatal(err)
	}
	path, ok := strings.CutPrefix(link, people)
	if !ok || len(path) < len(serve.ReportsPath)+32 {
		t.Fatalf("the report is at %s, which is no address that cannot be guessed", link)
	}
	return path
}

func get(handler http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestAWholeReportIsAtAnAddressOfItsOwn(t *testing.T) {
	r := reports(t, t.TempDir(), 10)
	first := keep(t, r, "platform/fleet", 1, "h1")
	got := get(r, first)
	if got.Code != http.StatusOK || got.Body.String() != "<p>h1" {
		t.Errorf("the report is %d %s", got.Code, got.Body)
	}
	if policy := got.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "sandbox allow-scripts;") {
		t.Errorf("its policy is %q: the page could act for who is signed in on this host", policy)
	}
	if again := keep(t, r, "platform/fleet", 1, "h1"); again != first {
		t.Errorf("the same review again is at %s, not %s: its comment would change", again, first)
	}
	for what, other := range map[string]string{
		"another head": keep(t, r, "platform/fleet", 1, "h2"), "another pull request": keep(t, r, "platform/fleet", 2, "h1"),
		"another repository": keep(t, r, "platform/other", 1, "h1"), "another server": keep(t, reports(t, t.TempDir(), 1), "platform/fleet", 1, "h1"),
	} {
		if other == first {
			t.Errorf("%s has the same address", what)
		}
	}
}

func TestNothingButReportsIsShown(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "reports")
	r := reports(t, dir, 10)
	hidden := strings.Repeat("0", 32) + ".html"
	for _, name := range []string{filepath.Join(parent, hidden), filepath.Join(dir, "unfinished.part")} {
		if err := os.WriteFile(name, []byte("hidden"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"", "../" + hidden, "..%2f" + hidden, "unfinished.part", hidden, strings.Repeat("0", 32)} {
		if got := get(r, serve.ReportsPath+path); got.Code != http.StatusNotFound || strings.Contains(got.Body.String(), "hidden") {
			t.Errorf("%q gives %d %s", path, got.Code, got.Body)
		}
	}
}

func TestTheOldestReportsGoFirst(t *testing.T) {
	dir := t.TempDir()
	r := reports(t, dir, 2)
	var paths []string
	for i, head := range []string{"h1", "h2", "h3"} {
		path := keep(t, r, "platform/fleet", 1, head)
		at := time.Date(2026, 1, i+1, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(filepath.Join(dir, filepath.Base(path)), at, at); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	for i, want := range []int{http.StatusNotFound, http.StatusOK, http.StatusOK} {
		if got := get(r, paths[i]); got.Code != want {
			t.Errorf("report %d gives %d, want %d: %s", i+1, got.Code, want, got.Body)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%d files are left (%v), want 2", len(entries), err)
	}
}

func TestWhatAKilledServerLeftOfAReportIsRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1.part", "kept.html"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := serve.NewReports(dir, people, 1, nil); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "kept.html" {
		t.Errorf("left are %v, %v", left, err)
	}
}
