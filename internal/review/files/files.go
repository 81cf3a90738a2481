// Package files says in which files two revisions of a repository differ.
//
// A symbolic link is compared by its target and never followed, neither as a file
// nor as a directory on the way to one.
package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

// maxEntries bounds the files and directories that one comparison looks at. It is
// far above the largest fleet, and ends the comparison of a repository that was
// made to be endless.
const maxEntries = 1_000_000

// Change is a file that differs.
type Change struct {
	// Path from the root of the repository.
	Path string
	// Action is review.Created, review.Changed or review.Deleted.
	Action review.Action
}

// Hashed is what an fs.DirEntry may be as well: one that knows a hash of what it
// stands for, as Git does. Directories with the same hash are not read.
type Hashed interface {
	// Hash is the same for the same content, and empty when it is not known.
	Hash() string
}

// ErrLink is what reading a symbolic link gives.
var ErrLink = errors.New("is a symbolic link, which is not followed; commit a regular file")

// ErrLarge is what reading a file above the bound gives.
var ErrLarge = errors.New("is too large to be read")

// Changed returns the files that differ below any of roots, by path. A root may be
// a file, a directory, or missing on either side.
func Changed(base, head fs.FS, roots ...string) ([]Change, error) {
	c := &comparison{base: base, head: head}
	for _, root := range roots {
		b, err := Entry(base, root)
		if err != nil {
			return nil, err
		}
		h, err := Entry(head, root)
		if err != nil {
			return nil, err
		}
		if err := c.compare(root, b, h); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(c.changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return slices.Compact(c.changes), nil
}

// Entry finds a file or directory without following a link on the way to it. It
// is nil where there is none.
func Entry(fsys fs.FS, name string) (fs.DirEntry, error) {
	dir, rest := ".", name
	for {
		first, left, nested := strings.Cut(rest, "/")
		entries, err := fs.ReadDir(fsys, dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list %s: %w", dir, err)
		}
		i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return e.Name() == first })
		switch {
		case i < 0:
			return nil, nil
		case !nested:
			return entries[i], nil
		case !entries[i].IsDir():
			return nil, nil
		}
		dir, rest = path.Join(dir, first), left
	}
}

// Read returns the content of a regular file of at most limit bytes. It is nil, and
// no error, where there is no file.
func Read(fsys fs.FS, name string, limit int64) ([]byte, error) {
	entry, err := Entry(fsys, name)
	if err != nil || entry == nil || entry.IsDir() {
		return nil, err
	}
	if !entry.Type().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, ErrLink)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w", name, ErrLarge)
	}
	return data, nil
}

type comparison struct {
	base, head fs.FS
	changes    []Change
	seen       int
}

// compare takes what a path is on either side; nil is nothing.
func (c *comparison) compare(name string, b, h fs.DirEntry) error {
	if c.seen++; c.seen > maxEntries {
		return fmt.Errorf("the repository holds more than %d files and directories; split the fleet", maxEntries)
	}
	if b == nil && h == nil || sameHash(b, h) {
		return nil
	}
	if isDir(b) || isDir(h) {
		if err := c.children(name, b, h); err != nil {
			return err
		}
	}
	bFile, hFile := b != nil && !b.IsDir(), h != nil && !h.IsDir()
	switch {
	case !bFile && !hFile:
	case !bFile:
		c.changes = append(c.changes, Change{name, review.Created})
	case !hFile:
		c.changes = append(c.changes, Change{name, review.Deleted})
	default:
		same, err := c.same(name, b, h)
		if err != nil {
			return err
		}
		if !same {
			c.changes = append(c.changes, Change{name, review.Changed})
		}
	}
	return nil
}

func (c *comparison) children(name string, b, h fs.DirEntry) error {
	below := map[string][2]fs.DirEntry{}
	for side, entry := range []fs.DirEntry{b, h} {
		if !isDir(entry) {
			continue
		}
		entries, err := fs.ReadDir([]fs.FS{c.base, c.head}[side], name)
		if err != nil {
			return fmt.Errorf("cannot list %s: %w", name, err)
		}
		for _, e := range entries {
			pair := below[e.Name()]
			pair[side] = e
			below[e.Name()] = pair
		}
	}
	for child, pair := range below {
		if err := c.compare(path.Join(name, child), pair[0], pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// same compares two files, neither of which is a directory.
func (c *comparison) same(name string, b, h fs.DirEntry) (bool, error) {
	if b.Type() != h.Type() {
		return false, nil
	}
	if b.Type()&fs.ModeSymlink != 0 {
		old, oldErr := fs.ReadLink(c.base, name)
		now, nowErr := fs.ReadLink(c.head, name)
		return oldErr == nil && nowErr == nil && old == now, nil
	}
	if !b.Type().IsRegular() {
		return false, nil // what else it is, nobody can tell from here
	}
	bInfo, bErr := b.Info()
	hInfo, hErr := h.Info()
	if err := errors.Join(bErr, hErr); err != nil {
		return false, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if bInfo.Size() != hInfo.Size() {
		return false, nil
	}
	old, err := c.base.Open(name)
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer old.Close()
	now, err := c.head.Open(name)
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer now.Close()
	return sameContent(old, now)
}

// sameContent reads both a piece at a time, so that a large file is not held.
func sameContent(a, b io.Reader) (bool, error) {
	var left, right [16 << 10]byte
	for {
		n, endA, err := piece(a, left[:])
		if err != nil {
			return false, err
		}
		m, endB, err := piece(b, right[:])
		if err != nil {
			return false, err
		}
		if !bytes.Equal(left[:n], right[:m]) {
			return false, nil
		}
		if endA || endB {
			return true, nil
		}
	}
}

// piece fills a buffer, or what of it there is left to read.
func piece(r io.Reader, buffer []byte) (n int, end bool, err error) {
	n, err = io.ReadFull(r, buffer)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	return n, false, err
}

func isDir(e fs.DirEntry) bool { return e != nil && e.IsDir() }

func sameHash(a, b fs.DirEntry) bool {
	old, ok := a.(Hashed)
	now, okNow := b.(Hashed)
	return ok && okNow && a.Type() == b.Type() && old.Hash() != "" && old.Hash() == now.Hash()
}
