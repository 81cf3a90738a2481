package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// checksums is the file that `sha256sum -c` reads.
const checksums = "checksums.txt"

// checksums lists every file of the release by name.
func (r *release) checksums(context.Context) error {
	files, err := os.ReadDir(r.next) // sorted
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, f := range files {
		sum, err := sumOf(filepath.Join(r.next, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%x  %s\n", sum, f.Name())
	}
	return publish(filepath.Join(r.next, checksums), []byte(list.String()))
}

func sumOf(file string) ([]byte, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	h := sha256.New()
	_, err = io.Copy(h, in)
	return h.Sum(nil), err
}
