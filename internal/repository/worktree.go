package repository

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// WorkingTree returns the files as they are on disk now, as `aether validate`
// reads them: what is not yet committed counts, and so does what is not tracked
// or is ignored. Only .git is left out. The closer lets go of the directory.
func (r *Repository) WorkingTree() (fs.FS, io.Closer, error) {
	if r.dir == "" {
		return nil, nil, failed("name the revision: --head main", "a bare repository has no working tree")
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the working tree: %w", err)
	}
	return &diskFS{files: root.FS().(fs.ReadLinkFS)}, root, nil
}

// diskFS is a directory in which no link is followed.
type diskFS struct {
	files fs.ReadLinkFS
	dirs  sync.Map // that were looked at, by path: they are no links
}

const gitDir = ".git"

// plain refuses .git and paths that lead through a link.
func (d *diskFS) plain(op, name string) error {
	if first, _, _ := strings.Cut(name, "/"); first == gitDir {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	for at := name; at != "."; at = path.Dir(at) {
		if _, known := d.dirs.Load(at); known {
			return nil
		}
		info, err := d.files.Lstat(at)
		if err != nil {
			return err
		}
		switch mode := info.Mode(); {
		case mode&fs.ModeSymlink != 0:
			return &fs.PathError{Op: op, Path: name, Err: errLink}
		case mode.IsDir():
			d.dirs.Store(at, true)
		case !mode.IsRegular():
			return &fs.PathError{Op: op, Path: name, Err: errors.New("is not a file")}
		case op == "read" && info.Size() > MaxFileBytes:
			return &fs.PathError{Op: op, Path: name, Err: fmt.Errorf("it is %d bytes large, more than %d", info.Size(), MaxFileBytes)}
		}
	}
	return nil
}

// Open implements fs.FS.
func (d *diskFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if err := d.plain("open", name); err != nil {
		return nil, err
	}
	file, err := d.files.Open(name)
	if err != nil {
		return nil, err
	}
	if name == "." { // so that a walk does not enter .git
		entries, err := d.ReadDir(".")
		if err != nil {
			_ = file.Close()
			return nil, err
		}
		return &diskRoot{File: file, entries: openDir{rest: entries}}, nil
	}
	return file, nil
}

// ReadFile implements fs.ReadFileFS.
func (d *diskFS) ReadFile(name string) ([]byte, error) {
	if err := d.plain("read", name); err != nil {
		return nil, err
	}
	return fs.ReadFile(d.files, name)
}

// ReadDir implements fs.ReadDirFS.
func (d *diskFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := d.plain("readdir", name); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(d.files, name)
	if name == "." {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == gitDir })
	}
	return entries, err
}

// ReadLink implements fs.ReadLinkFS.
func (d *diskFS) ReadLink(name string) (string, error) {
	if err := d.plain("readlink", path.Dir(name)); err != nil {
		return "", err
	}
	return d.files.ReadLink(name)
}

// Lstat implements fs.ReadLinkFS.
func (d *diskFS) Lstat(name string) (fs.FileInfo, error) {
	if err := d.plain("lstat", path.Dir(name)); err != nil {
		return nil, err
	}
	return d.files.Lstat(name)
}

// Stat implements fs.StatFS. A link is what it is, not what it names.
func (d *diskFS) Stat(name string) (fs.FileInfo, error) { return d.Lstat(name) }

// diskRoot is the root directory, opened.
type diskRoot struct {
	fs.File
	entries openDir
}

func (o *diskRoot) ReadDir(n int) ([]fs.DirEntry, error) { return o.entries.ReadDir(n) }
