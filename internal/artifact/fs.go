package artifact

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aetherplatform/aether/internal/fleet"
)

// FS presents a tree as a read-only file system. Symbolic links, and files that
// broke a bound, are left out.
func FS(tree fleet.Tree) fs.FS {
	f := treeFS{".": {name: "."}}
	for name, file := range tree {
		if file.Link == "" && file.Refused == "" && fs.ValidPath(name) {
			f.add(name, &node{name: path.Base(name), data: file.Data, file: true})
		}
	}
	for _, n := range f {
		slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	}
	return f
}

type treeFS map[string]*node

// node is a file or a directory, and what fs asks to know of it.
type node struct {
	name     string
	data     []byte
	file     bool
	children []*node
}

func (f treeFS) add(name string, n *node) {
	f[name] = n
	dir := path.Dir(name)
	if f[dir] == nil {
		f.add(dir, &node{name: path.Base(dir)})
	}
	f[dir].children = append(f[dir].children, n)
}

func (f treeFS) Open(name string) (fs.File, error) {
	n := f[name]
	if n == nil || !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if n.file {
		return &openFile{node: n, Reader: bytes.NewReader(n.data)}, nil
	}
	return &openDir{node: n, rest: n.children}, nil
}

type openFile struct {
	*node
	*bytes.Reader
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.node, nil }
func (o *openFile) Size() int64                { return o.node.Size() }
func (o *openFile) Close() error               { return nil }

type openDir struct {
	*node
	rest []*node
}

func (o *openDir) Stat() (fs.FileInfo, error) { return o.node, nil }
func (o *openDir) Close() error               { return nil }
func (o *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.name, Err: fs.ErrInvalid}
}

func (o *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(o.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(o.rest) {
		n = len(o.rest)
	}
	entries := make([]fs.DirEntry, n)
	for i, child := range o.rest[:n] {
		entries[i] = child
	}
	o.rest = o.rest[n:]
	return entries, nil
}

func (n *node) Name() string               { return n.name }
func (n *node) Size() int64                { return int64(len(n.data)) }
func (n *node) ModTime() time.Time         { return time.Time{} }
func (n *node) IsDir() bool                { return !n.file }
func (n *node) Type() fs.FileMode          { return n.Mode().Type() }
func (n *node) Info() (fs.FileInfo, error) { return n, nil }
func (n *node) Sys() any                   { return nil }

func (n *node) Mode() fs.FileMode {
	if n.file {
		return 0o444
	}
	return fs.ModeDir | 0o555
}
