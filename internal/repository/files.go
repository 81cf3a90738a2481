package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// Bounds on what is read of a revision, whoever asks.
const (
	// MaxFileBytes bounds a file that is read, and the list of one directory.
	MaxFileBytes = 8 << 20
	// maxEntries bounds what is listed of one file system: trees can hold one another
	// so often that a walk would never end.
	maxEntries = 5_000_000
	// maxLink bounds the target of a symbolic link.
	maxLink = 4096
)

// Files returns the files of a commit, straight from the object database. It is
// an fs.ReadLinkFS, so that links can be told of; opening one is an error.
func (r *Repository) Files(commit string) (fs.FS, error) {
	c, err := r.commit(plumbing.NewHash(commit), commit)
	if err != nil {
		return nil, err
	}
	f := &commitFS{objects: r.objects, root: c.TreeHash}
	if _, err := f.tree(c.TreeHash); err != nil {
		return nil, r.missing(err, "cannot read the files of %s", commit[:10])
	}
	return f, nil
}

// objects reads the object database. Trees are kept: base and head share most.
type objects struct {
	mu     sync.Mutex // go-git's storage is for one at a time
	storer storer.EncodedObjectStorer
	trees  map[plumbing.Hash][]treeEntry
}

type treeEntry struct {
	name string
	mode filemode.FileMode
	hash plumbing.Hash
}

// commitFS is the tree of a commit.
type commitFS struct {
	*objects
	root   plumbing.Hash
	listed atomic.Int64
}

// tree lists a directory, sorted by name.
func (o *objects) tree(hash plumbing.Hash) ([]treeEntry, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if entries, ok := o.trees[hash]; ok {
		return entries, nil
	}
	encoded, err := o.storer.EncodedObject(plumbing.TreeObject, hash)
	if err != nil {
		return nil, err
	}
	if encoded.Size() > MaxFileBytes {
		return nil, fmt.Errorf("a directory whose list takes %d MiB is too large to read", encoded.Size()>>20)
	}
	var tree object.Tree
	if err := tree.Decode(encoded); err != nil {
		return nil, err
	}
	entries := make([]treeEntry, 0, len(tree.Entries))
	for _, e := range tree.Entries {
		if !fs.ValidPath(e.Name) || e.Name == "." || strings.Contains(e.Name, "/") {
			return nil, fmt.Errorf("an entry has the name %q, which cannot be checked out", e.Name)
		}
		entries = append(entries, treeEntry{e.Name, e.Mode, e.Hash})
	}
	slices.SortFunc(entries, func(a, b treeEntry) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(entries); i++ {
		if entries[i].name == entries[i-1].name {
			return nil, fmt.Errorf("the name %q is in a directory twice", entries[i].name)
		}
	}
	o.trees[hash] = entries
	return entries, nil
}

// object reads a file. The content of one above MaxFileBytes is left in the
// database: see Open.
func (o *objects) object(hash plumbing.Hash) (plumbing.EncodedObject, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.storer.EncodedObject(plumbing.BlobObject, hash)
}

// contentOf is what a file of at most so many bytes holds.
func contentOf(blob plumbing.EncodedObject, limit int64) ([]byte, error) {
	if blob.Size() > limit {
		return nil, fmt.Errorf("it is %d bytes large, more than %d", blob.Size(), limit)
	}
	reader, err := blob.Reader()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	data := make([]byte, blob.Size())
	if _, err := io.ReadFull(reader, data); err != nil {
		return nil, err
	}
	return data, nil
}

// find walks down to a path.
func (f *commitFS) find(op, name string) (*node, error) {
	fail := func(err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return nil, fail(fs.ErrInvalid)
	}
	at := &node{files: f, entry: treeEntry{name: ".", mode: filemode.Dir, hash: f.root}}
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if !at.IsDir() {
			return nil, fail(fs.ErrNotExist)
		}
		entries, err := f.tree(at.entry.hash)
		if err != nil {
			return nil, fail(err)
		}
		i, ok := slices.BinarySearchFunc(entries, part, func(e treeEntry, name string) int { return strings.Compare(e.name, name) })
		if !ok {
			return nil, fail(fs.ErrNotExist)
		}
		at = &node{files: f, entry: entries[i]}
	}
	return at, nil
}

var errLink = errors.New("is a symbolic link, and links are not followed")

// Open implements fs.FS.
func (f *commitFS) Open(name string) (fs.File, error) {
	n, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	switch mode := n.Type(); {
	case mode.IsDir():
		entries, err := f.list(name, n)
		if err != nil {
			return nil, err
		}
		return &openDir{node: n, rest: entries}, nil
	case mode&fs.ModeSymlink != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: errLink}
	case !mode.IsRegular():
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is not a file")}
	}
	blob, err := f.object(n.entry.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n.bytes = blob.Size()
	return &openFile{node: n, path: name, blob: blob}, nil
}

// ReadDir implements fs.ReadDirFS.
func (f *commitFS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := f.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is not a directory")}
	}
	return f.list(name, n)
}

func (f *commitFS) list(name string, n *node) ([]fs.DirEntry, error) {
	entries, err := f.tree(n.entry.hash)
	if err == nil && f.listed.Add(int64(len(entries))+1) > maxEntries {
		err = fmt.Errorf("the commit holds more than %d files", maxEntries)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	out := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		out[i] = &node{files: f, entry: e}
	}
	return out, nil
}

// ReadLink implements fs.ReadLinkFS.
func (f *commitFS) ReadLink(name string) (string, error) {
	n, err := f.find("readlink", name)
	if err != nil {
		return "", err
	}
	if n.Type()&fs.ModeSymlink == 0 {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	var target []byte
	blob, err := f.object(n.entry.hash)
	if err == nil {
		target, err = contentOf(blob, maxLink)
	}
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(target), nil
}

// Lstat implements fs.ReadLinkFS.
func (f *commitFS) Lstat(name string) (fs.FileInfo, error) {
	n, err := f.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return n.Info()
}

// Stat implements fs.StatFS. A link is what it is, not what it names.
func (f *commitFS) Stat(name string) (fs.FileInfo, error) { return f.Lstat(name) }

// node is an entry, and what fs asks to know of it.
type node struct {
	files *commitFS
	entry treeEntry
	bytes int64
}

func (n *node) Name() string       { return path.Base(n.entry.name) }
func (n *node) IsDir() bool        { return n.entry.mode == filemode.Dir }
func (n *node) Type() fs.FileMode  { return n.Mode().Type() }
func (n *node) Size() int64        { return n.bytes }
func (n *node) ModTime() time.Time { return time.Time{} }
func (n *node) Sys() any           { return nil }

// Hash of the content: what has the same is the same and need not be read.
func (n *node) Hash() string { return n.entry.hash.String() }

// Info looks up the size.
func (n *node) Info() (fs.FileInfo, error) {
	if n.Type().IsRegular() && n.bytes == 0 {
		blob, err := n.files.object(n.entry.hash)
		if err != nil {
			return nil, err
		}
		n.bytes = blob.Size()
	}
	return n, nil
}

func (n *node) Mode() fs.FileMode {
	switch n.entry.mode {
	case filemode.Dir:
		return fs.ModeDir | 0o555
	case filemode.Regular, filemode.Deprecated, filemode.Executable:
		return 0o444
	case filemode.Symlink:
		return fs.ModeSymlink | 0o444
	default: // a submodule
		return fs.ModeIrregular
	}
}

type openFile struct {
	*node
	path    string
	blob    plumbing.EncodedObject
	content *bytes.Reader
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.node, nil }
func (o *openFile) Close() error               { return nil }

func (o *openFile) Read(p []byte) (int, error) {
	if o.content == nil {
		data, err := contentOf(o.blob, MaxFileBytes)
		if err != nil {
			return 0, &fs.PathError{Op: "read", Path: o.path, Err: err}
		}
		o.content = bytes.NewReader(data)
	}
	return o.content.Read(p)
}

type openDir struct {
	*node
	rest []fs.DirEntry
}

func (o *openDir) Stat() (fs.FileInfo, error) { return o.node, nil }
func (o *openDir) Close() error               { return nil }
func (o *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.Name(), Err: fs.ErrInvalid}
}

func (o *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(o.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(o.rest) {
		n = len(o.rest)
	}
	entries := o.rest[:n]
	o.rest = o.rest[n:]
	return entries, nil
}
