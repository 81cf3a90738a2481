package fleet

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
)

// ReadDir reads the fleet directory dir. Symbolic links in it are recorded, and
// none is followed. What breaks the bounds of one tenant is recorded as refused,
// for Parse to report; an error means that nothing can be said of the fleet.
func ReadDir(dir string) (Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open fleet directory: %w", err)
	}
	defer root.Close()

	tree, err := ReadFS(root.FS())
	if err != nil {
		return nil, fmt.Errorf("cannot read fleet directory %s: %w", dir, err)
	}
	return tree, nil
}

// ReadFS reads the fleet directory that fsys has as its root, by the rules of
// ReadDir. A file is opened only when its content is kept.
func ReadFS(fsys fs.FS) (Tree, error) { return ReadFSAfter(fsys, nil) }

// ReadFSAfter is ReadFS, and takes the content of a file from known, which returns
// it where it can tell the file from its entry. It may be nil.
func ReadFSAfter(fsys fs.FS, known func(name string, entry fs.DirEntry) ([]byte, bool)) (Tree, error) {
	c := newCollector(nil)
	entries := 0
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if entries++; entries > MaxArchiveEntries {
			return fmt.Errorf("it has more than %d entries", MaxArchiveEntries)
		}
		switch {
		case entry.IsDir():
			if hidden(name) {
				return fs.SkipDir
			}
			return nil
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := fs.ReadLink(fsys, name)
			if err != nil {
				return err
			}
			return c.add(name, File{Link: target})
		case !entry.Type().IsRegular():
			return c.add(name, File{Refused: "is not a regular file; remove it"})
		}
		if known != nil && kept(name) {
			if data, ok := known(name, entry); ok {
				return c.add(name, File{Data: data})
			}
		}
		return c.open(name, fsys)
	})
	if err != nil {
		return nil, err
	}
	return c.tree, nil
}

// ReadTarGz reads the fleet directory at below ("./tenants") from a gzip'ed tar
// archive as it streams in. It keeps only what Parse reads. As with ReadDir, an
// error means that nothing can be said of the fleet.
//
// The content of files that are as in last, a tree that was read before, is
// shared with it: a push to a fleet of ten thousand files allocates for one.
func ReadTarGz(r io.Reader, below string, last Tree) (Tree, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("cannot unzip archive: %w", err)
	}
	defer unzipped.Close()

	below = path.Clean(strings.TrimPrefix(below, "/"))
	limited := &limitedReader{r: unzipped, left: MaxArchiveBytes}
	archive := tar.NewReader(limited)
	c := newCollector(last)
	seen := map[string]bool{} // but for what is in the tree
	for entries := 0; ; entries++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read archive: %w", err)
		}
		if entries >= MaxArchiveEntries {
			return nil, fmt.Errorf("cannot read archive: it has more than %d entries", MaxArchiveEntries)
		}
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := entryName(header.Name)
		if err != nil {
			return nil, fmt.Errorf("cannot read archive: %w", err)
		}
		limited.at = name
		name, inside := relative(below, name)
		if !inside || header.Typeflag == tar.TypeDir || inHidden(name) {
			continue
		}
		if _, kept := c.tree[name]; kept || seen[name] {
			err = c.add(name, File{Refused: "is in the archive twice; keep one"})
		} else {
			err = c.entry(name, header, archive)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read archive: %w", err)
		}
		if _, kept := c.tree[name]; !kept {
			seen[name] = true
		}
	}
	// What follows the end of the archive is part of what was downloaded, and so
	// of its checksum.
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return nil, fmt.Errorf("cannot read archive: %w", err)
	}
	return c.tree, nil
}

// entryName is the clean path of an archive's entry. Git can hold neither
// absolute paths nor "..", so an archive that does was not made from it.
func entryName(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", fmt.Errorf("entry %q has an absolute path", name)
	}
	if strings.Contains(name, "..") && slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("entry %q leaves the archive", name)
	}
	return path.Clean(name), nil
}

// relative is name relative to the directory below.
func relative(below, name string) (string, bool) {
	if below == "." {
		return name, name != "."
	}
	return strings.CutPrefix(name, below+"/")
}

// collector builds a Tree within the bounds.
type collector struct {
	last  Tree // what is as in it is shared with it
	tree  Tree
	used  map[string]*usage // by top directory
	total int64
	// content is what a file is read into before it is known to differ from last.
	content []byte
}

type usage struct {
	files int
	bytes int64
}

func newCollector(last Tree) *collector {
	return &collector{last: last, tree: make(Tree, len(last)), used: map[string]*usage{}}
}

func (c *collector) entry(name string, header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeReg:
		return c.read(name, header.Size, content)
	case tar.TypeSymlink:
		return c.add(name, File{Link: header.Linkname})
	case tar.TypeLink:
		return c.add(name, File{Refused: fmt.Sprintf("is a hard link to %q; commit the file itself", header.Linkname)})
	default:
		return c.add(name, File{Refused: "is not a regular file; remove it"})
	}
}

// open adds a regular file of a file system.
func (c *collector) open(name string, fsys fs.FS) error {
	if !kept(name) {
		return c.add(name, File{})
	}
	file, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return c.read(name, info.Size(), file)
}

// kept says whether Parse could need a file's content.
func kept(name string) bool {
	return isText(name) && !hidden(path.Base(name)) && strings.Contains(name, "/")
}

// read adds a regular file: with its content where Parse could need it.
func (c *collector) read(name string, size int64, content io.Reader) error {
	if !kept(name) {
		return c.add(name, File{})
	}
	if size > MaxFileBytes {
		return c.add(name, File{Refused: fmt.Sprintf("is %s large; split it into files of at most %s", inMiB(size), inMiB(MaxFileBytes))})
	}
	c.content = slices.Grow(c.content[:0], int(size))[:size]
	if _, err := io.ReadFull(content, c.content); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	data := c.last[name].Data
	if data == nil || !bytes.Equal(data, c.content) {
		data = append(make([]byte, 0, size), c.content...)
	}
	return c.add(name, File{Data: data})
}

// add records a file, or that its tenant has too much of them.
func (c *collector) add(name string, file File) error {
	name, file = nameable(name, file)
	dir, _, nested := strings.Cut(name, "/")
	if !nested {
		c.tree[name] = file
		return nil
	}
	u := c.used[dir]
	if u == nil {
		u = &usage{}
		c.used[dir] = u
	}
	u.files++
	u.bytes += int64(len(file.Data))
	c.total += int64(len(file.Data))
	switch {
	case c.total > MaxTreeBytes:
		return fmt.Errorf("the fleet's YAML is more than %s at %s", inMiB(MaxTreeBytes), name)
	case u.files > MaxTenantFiles:
		c.tree[dir] = File{Refused: fmt.Sprintf("has more than %d files; keep several objects in one file", MaxTenantFiles)}
	case u.bytes > MaxTenantBytes:
		c.tree[dir] = File{Refused: fmt.Sprintf("has more than %s of YAML; make it less", inMiB(MaxTenantBytes))}
		c.total -= int64(len(file.Data)) // not kept
	default:
		c.tree[name] = file
	}
	return nil
}

// nameable refuses files whose names are too long or could not be shown on one line.
func nameable(name string, file File) (string, File) {
	if !shown(name) && (strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(name)) {
		dir, rest, _ := strings.Cut(name, "/")
		quoted := strconv.QuoteToASCII(rest)
		name, file = strconv.QuoteToASCII(dir)+"/"+quoted[1:len(quoted)-1], File{Refused: "has a name with characters that cannot be shown; rename it"}
		if plain := strconv.Quote(dir); plain == `"`+dir+`"` {
			name = dir + "/" + quoted[1:len(quoted)-1]
		}
	}
	if len(name) > MaxPathBytes {
		name = strings.ToValidUTF8(name[:MaxPathBytes-3], "") + "..."
		file = File{Refused: fmt.Sprintf("has a path of more than %d bytes; use shorter names", MaxPathBytes)}
	}
	return name, file
}

// isText says whether a file may hold YAML: by itself, or for a kustomization.
func isText(name string) bool {
	return isYAML(name) || strings.EqualFold(path.Ext(name), ".json") || isKustomization(path.Base(name))
}

// isYAML says whether a file is read as YAML.
func isYAML(name string) bool {
	ext := path.Ext(name)
	return strings.EqualFold(ext, ".yaml") || strings.EqualFold(ext, ".yml")
}

// hidden says whether the last element of a path is hidden.
func hidden(name string) bool { return strings.HasPrefix(path.Base(name), ".") }

// inHidden says whether a directory on the way to a file is hidden.
func inHidden(name string) bool {
	if !strings.HasPrefix(name, ".") && !strings.Contains(name, "/.") {
		return false
	}
	dir := path.Dir(name)
	for dir != "." {
		if hidden(dir) {
			return true
		}
		dir = path.Dir(dir)
	}
	return false
}

// limitedReader fails where io.LimitReader would only end, and says where it was.
type limitedReader struct {
	r    io.Reader
	left int64
	at   string
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("it unpacks to more than %s, at or after %q", inMiB(MaxArchiveBytes), l.at)
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}

func inMiB(bytes int64) string {
	return fmt.Sprintf("%d MiB", (bytes+(1<<20)-1)>>20)
}

// shown says whether a text is printable ASCII.
func shown(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
