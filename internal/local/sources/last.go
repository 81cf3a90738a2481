package sources

import (
	"archive/tar"
	"bytes"
	"context"
	"hash/fnv"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// last is what is remembered of the commit that was packed last, so that the next
// one costs what it changes. Losing it costs time only.
type last struct {
	mu     sync.Mutex
	commit string
	// blobs of the commit by path.
	blobs []blob
	// patterns that were asked what is ignored, and what they said.
	patterns string
	ignored  map[string]bool
	chunks   map[string]*chunk // by the path that they begin with
}

// chunk is a part of an archive: some files in a row, as a gzip member. Members
// in a row are one gzip file (RFC 1952, 2.2), so a chunk that did not change is
// neither read nor compressed again.
type chunk struct {
	before string // the folder of the file before the first
	blobs  []blob
	zipped []byte
}

func (r *Reconciler) lastOf(m mirror) *last {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lasts == nil {
		r.lasts = map[mirror]*last{}
	}
	if r.lasts[m] == nil {
		r.lasts[m] = &last{}
	}
	return r.lasts[m]
}

// read brings blobs to a commit: by what it changed, where that is known.
func (l *last) read(ctx context.Context, m mirror, commit string) error {
	if l.commit == commit {
		return nil
	}
	blobs, ok := l.after(ctx, m, commit)
	if !ok {
		var err error
		if blobs, err = m.blobs(ctx, commit); err != nil {
			return err
		}
	}
	l.commit, l.blobs = commit, blobs
	return nil
}

// after applies what a commit changed.
func (l *last) after(ctx context.Context, m mirror, commit string) ([]blob, bool) {
	if l.commit == "" {
		return nil, false
	}
	out, err := m.git(ctx, nil, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", l.commit, commit)
	if err != nil {
		return nil, false // the mirror was made anew, say
	}
	blobs := slices.Clone(l.blobs)
	records := strings.Split(string(out), "\x00")
	for i := 0; i+1 < len(records); i += 2 {
		fields := strings.Fields(strings.TrimPrefix(records[i], ":")) // both modes, both hashes, status
		if len(fields) != 5 {
			return nil, false
		}
		b := blob{path: records[i+1], hash: fields[3], executable: fields[1] == "100755"}
		at, there := slices.BinarySearchFunc(blobs, b, byPath)
		switch {
		case isRegular(fields[1]) && there:
			blobs[at] = b
		case isRegular(fields[1]):
			blobs = slices.Insert(blobs, at, b)
		case there:
			blobs = slices.Delete(blobs, at, at+1)
		}
	}
	return blobs, true
}

// unignored are the blobs that are packed.
func (l *last) unignored(ctx context.Context, m mirror, spec *string) ([]blob, error) {
	matcher, patterns, err := m.ignored(ctx, l.blobs, spec)
	if err != nil {
		return nil, err
	}
	if l.patterns != patterns || len(l.ignored) > 2*len(l.blobs) {
		l.patterns, l.ignored = patterns, map[string]bool{}
	}
	kept := make([]blob, 0, len(l.blobs))
	for _, b := range l.blobs {
		ignored, known := l.ignored[b.path]
		if !known {
			ignored = matcher.Match(strings.Split(b.path, "/"), false)
			l.ignored[b.path] = ignored
		}
		if !ignored {
			kept = append(kept, b)
		}
	}
	return kept, nil
}

// tarGz writes the archive.
func (l *last) tarGz(ctx context.Context, m mirror, blobs []blob, to io.Writer) error {
	chunks := map[string]*chunk{}
	before := ""
	for len(blobs) > 0 {
		n := chunkLength(blobs)
		c := l.chunks[blobs[0].path]
		if c == nil || c.before != before || !slices.Equal(c.blobs, blobs[:n]) {
			c = &chunk{before: before, blobs: slices.Clone(blobs[:n])}
			if err := c.zip(ctx, m); err != nil {
				return err
			}
		}
		if _, err := to.Write(c.zipped); err != nil {
			return err
		}
		chunks[blobs[0].path] = c
		before = path.Dir(blobs[n-1].path)
		blobs = blobs[n:]
	}
	l.chunks = chunks
	return zipped(to, func(archive *tar.Writer) error { return archive.Close() })
}

// foldersOfAChunk is how many folders a chunk has on average.
const foldersOfAChunk = 32

// chunkLength is how many of the blobs are in the first chunk. One begins with a
// folder whose name says so, rather than after so many files, so that it depends
// on the commit alone, and a new file moves no other chunk.
func chunkLength(blobs []blob) int {
	folder := path.Dir(blobs[0].path)
	for i, b := range blobs {
		if dir := path.Dir(b.path); dir != folder {
			folder = dir
			h := fnv.New32a()
			_, _ = io.WriteString(h, dir)
			if h.Sum32()%foldersOfAChunk == 0 {
				return i
			}
		}
	}
	return len(blobs)
}

func (c *chunk) zip(ctx context.Context, m mirror) error {
	var out bytes.Buffer
	err := zipped(&out, func(archive *tar.Writer) error {
		if err := m.files(ctx, c.before, c.blobs, archive); err != nil {
			return err
		}
		return archive.Flush() // the end is another chunk's
	})
	c.zipped = bytes.Clone(out.Bytes())
	return err
}

// zipped writes a gzip member.
func zipped(to io.Writer, write func(*tar.Writer) error) error {
	zip, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := write(tar.NewWriter(zip)); err != nil {
		return err
	}
	return zip.Close()
}
