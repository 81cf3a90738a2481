package repository_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/repository"
	"github.com/aetherplatform/aether/internal/repository/gittest"
)

func open(t *testing.T, dir string) *repository.Repository {
	t.Helper()
	r, err := repository.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestRevisionsAreWhatGitCallsThem(t *testing.T) {
	g := gittest.NewBare(t)
	one := g.Commit("main", gittest.Files{"a": "1"})
	two := g.Commit("main", gittest.Files{"a": "2"}, one)
	side := g.Commit("side", gittest.Files{"a": "3"}, one)
	merge := g.Commit("main", gittest.Files{"a": "4"}, two, side)
	g.Ref("refs/pull/1/head", side)
	g.Ref("refs/remotes/origin/next", two)
	g.Ref("refs/tags/v1", one)
	g.Ref("refs/tags/twice", one)
	g.Ref("refs/heads/twice", two)
	r := open(t, g.Dir)

	for revision, want := range map[string]string{
		"main": merge, "HEAD": merge, "@": merge, "refs/heads/main": merge, merge[:9]: merge, merge: merge,
		"HEAD~1": two, "HEAD^": two, "HEAD^2": side, "HEAD~2": one, "main^2~1": one, "main~~": one,
		"origin/next": two, "v1": one, "refs/pull/1/head": side, "main^0": merge,
	} {
		if got, err := r.Resolve(revision); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", revision, got, err, want)
		}
	}
	for revision, want := range map[string]string{
		"twice":   `"twice" is ambiguous: it can be refs/heads/twice or refs/tags/twice`,
		"nothing": `there is no revision "nothing" in this repository`,
		"":        `there is no revision "" in this repository`,
		"^1":      `there is no revision "" in this repository`,
		"next":    `there is no revision "next" in this repository`,
		"main~9":  `"main~9" does not exist: commit ` + one[:10] + ` has 0 parents`,
		"main^{}": `"main^{}" is not a revision`,
	} {
		if got, err := r.Resolve(revision); err == nil || err.Error() != want {
			t.Errorf("%s is %s, %v; want the error %s", revision, got, err, want)
		}
	}
}

func TestBaseIsWhereHeadLeftIt(t *testing.T) {
	g := gittest.New(t)
	one := g.Commit("main", gittest.Files{"a": "1"})
	head := g.Commit("head", gittest.Files{"a": "2"}, one)
	two := g.Commit("main", gittest.Files{"a": "3"}, one)
	alien := g.Commit("alien", gittest.Files{"a": "1"})
	r := open(t, g.Dir)

	if got, err := r.MergeBase(two, head); err != nil || got != one {
		t.Errorf("the merge base is %s, %v; want %s", got, err, one)
	}
	_, err := r.MergeBase(two, alien)
	var e *repository.Error
	if !errors.As(err, &e) || !strings.Contains(e.Error(), "no history in common") || !strings.Contains(e.Try, "--no-merge-base") {
		t.Errorf("unrelated histories: %v", err)
	}
}

func TestAShallowCloneSaysToFetchMore(t *testing.T) {
	g := gittest.New(t)
	gone := strings.Repeat("1", 40)
	a := g.Commit("main", gittest.Files{"a": "1"}, gone)
	b := g.Commit("head", gittest.Files{"a": "2"}, gone)
	if err := g.Git.Storer.SetShallow([]plumbing.Hash{plumbing.NewHash(a), plumbing.NewHash(b)}); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, g.Dir).MergeBase(a, b)
	var e *repository.Error
	if !errors.As(err, &e) || !strings.Contains(e.Try, "--unshallow") {
		t.Errorf("got %v", err)
	}
}

func TestFilesAreReadFromTheDatabaseAndLinksAreNotFollowed(t *testing.T) {
	g := gittest.New(t)
	commit := g.Commit("main", gittest.Files{
		"tenants/acme/a.yaml":  "a",
		"tenants/acme/l.yaml":  gittest.Link + "../../secret",
		"tenants/out":          gittest.Link + "/etc",
		"secret":               "s",
		"tenants/acme/big.yml": strings.Repeat("x", repository.MaxFileBytes+1),
	})
	files, err := open(t, g.Dir).Files(commit)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := fs.ReadFile(files, "tenants/acme/a.yaml"); err != nil || string(data) != "a" {
		t.Errorf("a.yaml holds %q, %v", data, err)
	}
	for _, name := range []string{"tenants/acme/l.yaml", "tenants/out", "tenants/out/passwd", "tenants/acme/big.yml", "none", "../secret"} {
		if data, err := fs.ReadFile(files, name); err == nil {
			t.Errorf("%s was read: %.20q", name, data)
		}
	}
	sub, err := fs.Sub(files, "tenants")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fleet.ReadFS(sub)
	if err != nil {
		t.Fatal(err)
	}
	if got := tree["acme/l.yaml"].Link; got != "../../secret" {
		t.Errorf("the link is read as %q", got)
	}
	if got := tree["acme/big.yml"]; got.Refused == "" || got.Data != nil {
		t.Errorf("the large file is not refused")
	}
	if entries, err := os.ReadDir(g.Dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, not only .git", entries)
	}
}

func TestATreeThatGrowsWithoutEndIsNotWalked(t *testing.T) {
	g := gittest.New(t)
	inner := g.Store(&object.Tree{})
	for range 12 { // ten to the twelfth
		tree := &object.Tree{}
		for _, name := range strings.Split("abcdefghij", "") {
			tree.Entries = append(tree.Entries, object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: plumbing.NewHash(inner)})
		}
		inner = g.Store(tree)
	}
	commit := g.Store(&object.Commit{TreeHash: plumbing.NewHash(inner)})
	files, err := open(t, g.Dir).Files(commit)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.ReadFS(files); err == nil {
		t.Error("it was read to its end")
	}
}

func TestTheWorkingTreeIsWhatIsOnDiskButGit(t *testing.T) {
	g := gittest.New(t)
	g.Commit("main", gittest.Files{"a": "committed"})
	write := func(name, content string) {
		name = filepath.Join(g.Dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tenants/acme/a.yaml", "untracked")
	if err := os.Symlink("a.yaml", filepath.Join(g.Dir, "tenants/acme/l.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("tenants", filepath.Join(g.Dir, "linked")); err != nil {
		t.Fatal(err)
	}
	r := open(t, filepath.Join(g.Dir, "tenants", "acme")) // from a subdirectory
	files, closer, err := r.WorkingTree()
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if data, err := fs.ReadFile(files, "tenants/acme/a.yaml"); err != nil || string(data) != "untracked" {
		t.Errorf("a.yaml holds %q, %v", data, err)
	}
	for _, name := range []string{".git/HEAD", "tenants/acme/l.yaml", "linked/acme/a.yaml"} {
		if _, err := fs.ReadFile(files, name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	_ = fs.WalkDir(files, ".", func(name string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(name, ".git") || err != nil {
			t.Errorf("%s was walked: %v", name, err)
		}
		return nil
	})
}

func TestABareRepositoryHasNoWorkingTree(t *testing.T) {
	g := gittest.NewBare(t)
	if _, _, err := open(t, g.Dir).WorkingTree(); err == nil || err.Error() != "a bare repository has no working tree" {
		t.Errorf("got %v", err)
	}
}

// Caches of reviews are bare repositories, and may be kept inside a checkout.
func TestABareRepositoryInsideAWorkingTreeIsFound(t *testing.T) {
	outer, bare := gittest.New(t), gittest.NewBare(t)
	commit := bare.Commit("main", gittest.Files{"tenants/acme/tenant.yaml": "a"})
	inside := filepath.Join(outer.Dir, "cache.git")
	if err := os.Rename(bare.Dir, inside); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, inside).Resolve(commit); err != nil || got != commit {
		t.Errorf("got %q, %v; want %s", got, err, commit)
	}
}
