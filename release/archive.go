package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// archives packs each program with what a user should have beside it.
func (r *release) archives(ctx context.Context) error {
	var beside []entry
	for _, name := range []string{"LICENSE", "README.md"} {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		beside = append(beside, entry{name: name, mode: 0o644, data: data})
	}
	return r.each(func(p program, system, arch string) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		data, err := os.ReadFile(r.at(p, system, arch))
		if err != nil {
			return err
		}
		entries := append([]entry{}, beside...)
		entries = append(entries, entry{name: p.name, mode: 0o755, data: data})
		if p.name == "aether" {
			// kubectl runs it as `kubectl aether`, once it is on the PATH.
			entries = append(entries, entry{name: "kubectl-aether", mode: 0o777, link: p.name})
		}
		file, err := os.Create(r.file(p, system, arch, ".tar.gz"))
		if err != nil {
			return err
		}
		return errors.Join(pack(file, r.time, nil, entries), file.Close())
	})
}

// entry is a file in an archive, or a symbolic link.
type entry struct {
	name string
	mode int64
	data []byte
	link string
}

// pack writes a gzipped tar of entries in their order. Nothing in it tells of the machine
// or the hour; extra is what the gzip header holds besides.
func pack(to io.Writer, at time.Time, extra *gzip.Header, entries []entry) error {
	compressed, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return err
	}
	if extra != nil {
		compressed.Extra, compressed.Comment = extra.Extra, extra.Comment
	}
	files := tar.NewWriter(compressed)
	for _, e := range entries {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.data)), ModTime: at, Format: tar.FormatUSTAR}
		if e.link != "" {
			header.Typeflag, header.Linkname = tar.TypeSymlink, e.link
		}
		if err := files.WriteHeader(header); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if _, err := files.Write(e.data); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return errors.Join(files.Close(), compressed.Close())
}

// unpack reads what pack writes, and what Helm does.
func unpack(data []byte) ([]entry, *gzip.Header, error) {
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	var entries []entry
	for files := tar.NewReader(compressed); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return entries, &compressed.Header, nil
		}
		if err != nil {
			return nil, nil, err
		}
		data, err := io.ReadAll(files)
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, entry{name: header.Name, mode: header.Mode, data: data, link: header.Linkname})
	}
}
