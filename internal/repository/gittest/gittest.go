// Package gittest makes Git repositories for tests: commits of given files,
// without a working tree being touched.
package gittest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Files of a commit by path. One whose content begins with "-> " is a symbolic link.
type Files map[string]string

// Link is a symbolic link as a file's content.
const Link = "-> "

// With is a copy with other files in it; an empty one is removed.
func (f Files) With(changed Files) Files {
	out := Files{}
	for _, files := range []Files{f, changed} {
		for name, content := range files {
			out[name] = content
			if content == "" {
				delete(out, name)
			}
		}
	}
	return out
}

// Repository is a repository in a directory of the test's.
type Repository struct {
	t   testing.TB
	Dir string
	Git *git.Repository
	at  time.Time
}

// New makes an empty repository.
func New(t testing.TB) *Repository { return create(t, false) }

// NewBare makes an empty bare repository.
func NewBare(t testing.TB) *Repository { return create(t, true) }

func create(t testing.TB, bare bool) *Repository {
	t.Helper()
	r := &Repository{t: t, Dir: t.TempDir(), at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	var err error
	if r.Git, err = git.PlainInitWithOptions(r.Dir, &git.PlainInitOptions{
		Bare: bare, InitOptions: git.InitOptions{DefaultBranch: "refs/heads/main"},
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

// Commit commits files on a branch, on top of what parents name. The branch is
// then there; no file is written.
func (r *Repository) Commit(branch string, files Files, parents ...string) string {
	r.t.Helper()
	r.at = r.at.Add(time.Minute)
	who := object.Signature{Name: "dev", Email: "dev@example.com", When: r.at}
	commit := &object.Commit{Author: who, Committer: who, Message: "change\n", TreeHash: r.tree(files)}
	for _, p := range parents {
		commit.ParentHashes = append(commit.ParentHashes, plumbing.NewHash(p))
	}
	hash := r.Store(commit)
	r.Ref("refs/heads/"+branch, hash)
	return hash
}

// Ref points a reference to a commit.
func (r *Repository) Ref(name, hash string) {
	r.t.Helper()
	ref := plumbing.NewHashReference(plumbing.ReferenceName(name), plumbing.NewHash(hash))
	if err := r.Git.Storer.SetReference(ref); err != nil {
		r.t.Fatal(err)
	}
}

// Store writes an object, well-formed or not.
func (r *Repository) Store(o interface {
	Encode(plumbing.EncodedObject) error
}) string {
	r.t.Helper()
	encoded := r.Git.Storer.NewEncodedObject()
	if err := o.Encode(encoded); err != nil {
		r.t.Fatal(err)
	}
	hash, err := r.Git.Storer.SetEncodedObject(encoded)
	if err != nil {
		r.t.Fatal(err)
	}
	return hash.String()
}

// tree writes files as a tree.
func (r *Repository) tree(files Files) plumbing.Hash {
	r.t.Helper()
	folders := map[string]Files{}
	tree := &object.Tree{}
	for name, content := range files {
		folder, rest, nested := strings.Cut(name, "/")
		if nested {
			if folders[folder] == nil {
				folders[folder] = Files{}
			}
			folders[folder][rest] = content
			continue
		}
		entry := object.TreeEntry{Name: name, Mode: filemode.Regular}
		if target, link := strings.CutPrefix(content, Link); link {
			entry.Mode, content = filemode.Symlink, target
		}
		entry.Hash = plumbing.NewHash(r.Store(blob(content)))
		tree.Entries = append(tree.Entries, entry)
	}
	for name, content := range folders {
		tree.Entries = append(tree.Entries, object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: r.tree(content)})
	}
	slices.SortFunc(tree.Entries, func(a, b object.TreeEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	return plumbing.NewHash(r.Store(tree))
}

// sortName is what Git sorts an entry by.
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

type blob string

func (b blob) Encode(o plumbing.EncodedObject) error {
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(b)); err != nil {
		return err
	}
	return w.Close()
}
