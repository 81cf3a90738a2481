// Package repository reads revisions of a local Git repository: which commit a
// name stands for, where two lines of history part, and the files of a commit or
// of the working tree, as read-only file systems.
//
// It never writes: no file is checked out, no reference moves. What a commit
// holds is untrusted. Symbolic links are listed and never followed, submodules
// are not entered, and sizes are looked at before content is read.
package repository

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Repository is a repository on disk. It is not safe for concurrent use, but the
// file systems it returns are.
type Repository struct {
	git     *git.Repository
	storage *filesystem.Storage
	objects *objects
	dir     string // of the working tree, "" for a bare repository
}

// Open opens the repository that a path is in: its root, a directory below, a
// linked worktree, or a bare repository.
func Open(path string) (*Repository, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("there is no directory %q; name one that is in a Git repository", path)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// A bare repository has no .git to be found by, and may lie in the working tree
	// of another, which the search would find instead.
	repo, err := git.PlainOpenWithOptions(absolute, &git.PlainOpenOptions{DetectDotGit: !isBare(absolute), EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%q is in no Git repository; name a directory that is", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the Git repository at %q: %w", path, err)
	}
	r := &Repository{}
	if tree, err := repo.Worktree(); err == nil {
		r.dir = tree.Filesystem.Root()
	}
	// Large objects are not to be read before their size is known, and packs are not
	// to be opened for each object; PlainOpen has no option for either.
	if stored, ok := repo.Storer.(*filesystem.Storage); ok {
		r.storage = filesystem.NewStorageWithOptions(stored.Filesystem(), cache.NewObjectLRUDefault(),
			filesystem.Options{LargeObjectThreshold: MaxFileBytes, KeepDescriptors: true})
		if repo, err = git.Open(r.storage, nil); err != nil {
			return nil, fmt.Errorf("cannot open the Git repository at %q: %w", path, err)
		}
	}
	r.git = repo
	r.objects = &objects{storer: repo.Storer, trees: map[plumbing.Hash][]treeEntry{}}
	return r, nil
}

// isBare says whether a directory is what Git takes for a repository itself.
func isBare(path string) bool {
	for _, name := range []string{"HEAD", "objects", "config"} {
		if _, err := os.Stat(filepath.Join(path, name)); err != nil {
			return false
		}
	}
	return true
}

// Close lets go of the files of the object database.
func (r *Repository) Close() error {
	if r.storage == nil {
		return nil
	}
	return r.storage.Close()
}

// Dir is the root of the working tree; "" for a bare repository.
func (r *Repository) Dir() string { return r.dir }

// Error is why a revision cannot be used, and what to do about it.
type Error struct {
	Err error
	// Try is one line that says what to write or run instead.
	Try string
}

// Error is the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func failed(try, format string, args ...any) error {
	return &Error{fmt.Errorf(format, args...), try}
}

// Resolve returns the full hash of the commit that a revision names: a branch, a
// tag, a remote branch, a full reference, a hash or the beginning of one, each
// with any number of ~N and ^N after it. "@" is HEAD.
func (r *Repository) Resolve(revision string) (string, error) {
	name, steps := revision, ""
	if i := strings.IndexAny(revision, "~^"); i >= 0 {
		name, steps = revision[:i], revision[i:]
	}
	hash, err := r.named(name)
	if err != nil {
		return "", err
	}
	commit, err := r.commit(hash, revision)
	if err != nil {
		return "", err
	}
	for steps != "" {
		back := steps[0]
		digits := len(steps[1:]) - len(strings.TrimLeft(steps[1:], "0123456789"))
		n := 1
		if digits > 0 {
			if n, err = strconv.Atoi(steps[1 : 1+digits]); err != nil || n > maxSteps {
				return "", failed("write main~3, or the commit's hash", "%q goes back too far", revision)
			}
		}
		steps = steps[1+digits:]
		if steps != "" && steps[0] != '~' && steps[0] != '^' || back != '~' && back != '^' {
			return "", failed("write a branch, a tag, a commit's hash, or main~3", "%q is not a revision", revision)
		}
		if commit, err = r.back(commit, back, n, revision); err != nil {
			return "", err
		}
	}
	return commit.Hash.String(), nil
}

// maxSteps bounds how far back a revision may go from its name.
const maxSteps = 100_000

// back goes N first parents back, or to the Nth parent.
func (r *Repository) back(commit *object.Commit, how byte, n int, revision string) (*object.Commit, error) {
	steps, parent := n, 0
	if how == '^' {
		steps, parent = min(n, 1), max(n-1, 0)
	}
	for range steps {
		if parent >= len(commit.ParentHashes) {
			return nil, failed("", "%q does not exist: commit %s has %d parents", revision, commit.Hash.String()[:10], len(commit.ParentHashes))
		}
		next, err := r.commit(commit.ParentHashes[parent], revision)
		if err != nil {
			return nil, err
		}
		commit = next
	}
	return commit, nil
}

// named finds the one thing that a name stands for. Git itself would take one of
// several, and only warn.
func (r *Repository) named(name string) (plumbing.Hash, error) {
	if name == "@" {
		name = "HEAD"
	}
	found := map[plumbing.Hash]string{}
	if hash, err := r.reference(plumbing.ReferenceName(name)); err == nil && (name == "HEAD" || strings.HasPrefix(name, "refs/")) {
		return hash, nil
	}
	for _, prefix := range []string{"refs/tags/", "refs/heads/", "refs/remotes/", "refs/"} {
		full := prefix + name
		if hash, err := r.reference(plumbing.ReferenceName(full)); err == nil {
			found[hash] = full
		}
	}
	if hash, err := r.reference(plumbing.ReferenceName("refs/remotes/" + name + "/HEAD")); err == nil && len(found) == 0 {
		found[hash] = name
	}
	for _, hash := range r.abbreviated(name) {
		if found[hash] == "" {
			found[hash] = hash.String()
		}
	}
	switch len(found) {
	case 1:
		for hash := range found {
			return hash, nil
		}
	case 0:
		return plumbing.ZeroHash, r.unknown(name)
	}
	var meanings []string
	for _, meaning := range found {
		meanings = append(meanings, meaning)
	}
	slices.Sort(meanings)
	return plumbing.ZeroHash, failed("write one of them in full", "%q is ambiguous: it can be %s", name, strings.Join(meanings, " or "))
}

func (r *Repository) reference(name plumbing.ReferenceName) (plumbing.Hash, error) {
	ref, err := storer.ResolveReference(r.git.Storer, name)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return ref.Hash(), nil
}

// minAbbreviation is how short a hash Git takes.
const minAbbreviation = 4

// abbreviated are the commits and tags that a hash, or its beginning, can be.
func (r *Repository) abbreviated(name string) []plumbing.Hash {
	name = strings.ToLower(name)
	if len(name) < minAbbreviation || len(name) > 40 || strings.Trim(name, "0123456789abcdef") != "" {
		return nil
	}
	if len(name) == 40 {
		if hash := plumbing.NewHash(name); r.git.Storer.HasEncodedObject(hash) == nil {
			return []plumbing.Hash{hash}
		}
		return nil
	}
	searcher, ok := r.git.Storer.(interface {
		HashesWithPrefix(prefix []byte) ([]plumbing.Hash, error)
	})
	if !ok {
		return nil
	}
	whole := plumbing.NewHash((name + strings.Repeat("0", 40))[:40])
	candidates, err := searcher.HashesWithPrefix(whole[:len(name)/2])
	if err != nil {
		return nil
	}
	var found []plumbing.Hash
	for _, hash := range candidates {
		if !strings.HasPrefix(hash.String(), name) || slices.Contains(found, hash) {
			continue
		}
		if _, err := r.git.CommitObject(hash); err == nil {
			found = append(found, hash)
		} else if _, err := r.git.TagObject(hash); err == nil {
			found = append(found, hash)
		}
	}
	return found
}

func (r *Repository) unknown(name string) error {
	try := "write a branch, a tag, a commit's hash, or main~3"
	if r.shallow() {
		try = "the clone is shallow and may lack it: git fetch --unshallow"
	} else if remote, branch, ok := strings.Cut(name, "/"); ok && remote == "origin" {
		try = "git fetch origin " + branch
	} else if r.git != nil {
		if _, err := r.reference(plumbing.ReferenceName("refs/remotes/origin/" + name)); err == nil {
			try = "write origin/" + name
		}
	}
	return failed(try, "there is no revision %q in this repository", name)
}

// commit reads a commit; a tag is followed to its own.
func (r *Repository) commit(hash plumbing.Hash, revision string) (*object.Commit, error) {
	for range 10 { // tags of tags
		commit, err := r.git.CommitObject(hash)
		if err == nil {
			return commit, nil
		}
		tag, tagErr := r.git.TagObject(hash)
		if tagErr != nil {
			return nil, r.missing(err, "cannot read the commit of %q", revision)
		}
		hash = tag.Target
	}
	return nil, failed("name a commit", "%q is a tag of too many tags", revision)
}

// missing explains an object that is not in the repository.
func (r *Repository) missing(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if r.shallow() && errors.Is(err, plumbing.ErrObjectNotFound) {
		return failed("git fetch --unshallow", "%s: the clone is shallow, and this history is not in it", what)
	}
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return failed("git fetch, or clone without --filter", "%s: the repository does not hold it", what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (r *Repository) shallow() bool {
	commits, err := r.git.Storer.Shallow()
	return err == nil && len(commits) > 0
}

// MergeBase returns the commit at which two lines of history part, as forges
// compare a branch: what base got since is no change of head's. Where there are
// several, it is the newest.
func (r *Repository) MergeBase(base, head string) (string, error) {
	if base == head {
		return base, nil
	}
	a, err := r.commit(plumbing.NewHash(base), base)
	if err != nil {
		return "", err
	}
	b, err := r.commit(plumbing.NewHash(head), head)
	if err != nil {
		return "", err
	}
	common, err := a.MergeBase(b)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", r.missing(err, "cannot find where %s and %s part", base[:10], head[:10])
	}
	if len(common) == 0 {
		if r.shallow() {
			return "", failed("git fetch --unshallow", "cannot find where %s and %s part: the clone is shallow", base[:10], head[:10])
		}
		return "", failed("--no-merge-base compares the two as they are", "%s and %s have no history in common", base[:10], head[:10])
	}
	slices.SortFunc(common, func(a, b *object.Commit) int {
		if c := b.Committer.When.Compare(a.Committer.When); c != 0 {
			return c
		}
		return strings.Compare(a.Hash.String(), b.Hash.String())
	})
	return common[0].Hash.String(), nil
}
