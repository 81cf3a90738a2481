// Package cache keeps what was worked out of content in the user's cache
// directory, so that the next process need not do it again.
//
// It holds nothing that cannot be worked out anew, and may be deleted at any
// time. What another build of the program wrote is never read: every entry is
// below a digest of the executable.
package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxEntries bounds the cache. Beyond it begins anew.
const maxEntries = 50_000

// Store is a directory of entries. It implements fleet.Store.
type Store struct {
	dir string
}

// Open returns the store of this very program, in the user's cache directory,
// and removes those of other builds.
func Open() (*Store, error) {
	root, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	program, err := digestOfProgram()
	if err != nil {
		return nil, err
	}
	return OpenAt(filepath.Join(root, "aether"), program)
}

// OpenAt returns the store of a version below a directory.
func OpenAt(root, version string) (*Store, error) {
	dir := filepath.Join(root, version)
	others, err := os.ReadDir(root)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, other := range others {
		if other.Name() != version && len(other.Name()) == len(version) {
			_ = os.RemoveAll(filepath.Join(root, other.Name())) // it costs space only
		}
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > maxEntries {
		_ = os.RemoveAll(dir) // likewise
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Store{dir: dir}, nil
}

// Get returns what was put, or nil.
func (s *Store) Get(key string) []byte {
	data, err := os.ReadFile(s.file(key))
	if err != nil || len(data) < sha256.Size {
		return nil
	}
	// A file that was cut short by a crash, or damaged, is as none.
	sum := sha256.Sum256(data[sha256.Size:])
	if string(sum[:]) != string(data[:sha256.Size]) {
		return nil
	}
	return data[sha256.Size:]
}

// Put keeps a value. One that cannot be written is worked out again.
func (s *Store) Put(key string, value []byte) {
	file, err := os.CreateTemp(s.dir, ".new-*")
	if err != nil {
		return
	}
	sum := sha256.Sum256(value)
	_, err1 := file.Write(append(sum[:], value...))
	err2 := file.Close()
	if err1 != nil || err2 != nil || os.Rename(file.Name(), s.file(key)) != nil {
		_ = os.Remove(file.Name())
	}
}

func (s *Store) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:]))
}

// digestOfProgram tells builds apart: any of its code may change what is worked out.
func digestOfProgram() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	file, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("cannot read this program: %w", err)
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("cannot read this program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
