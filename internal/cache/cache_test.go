package cache_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aetherplatform/aether/internal/cache"
)

func open(t *testing.T, root, version string) *cache.Store {
	t.Helper()
	s, err := cache.OpenAt(root, version)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnotherBuildReadsNothingAndRemovesWhatWasThere(t *testing.T) {
	root := t.TempDir()
	open(t, root, "v1").Put("key", []byte("value"))
	if got := open(t, root, "v1").Get("key"); string(got) != "value" {
		t.Errorf("the same build reads %q", got)
	}
	if got := open(t, root, "v2").Get("key"); got != nil {
		t.Errorf("another build reads %q", got)
	}
	if _, err := os.Stat(filepath.Join(root, "v1")); !os.IsNotExist(err) {
		t.Errorf("what the first build wrote is still there: %v", err)
	}
}

func TestADamagedEntryIsAsNone(t *testing.T) {
	root := t.TempDir()
	s := open(t, root, "v1")
	s.Put("key", []byte("value"))
	entries, err := filepath.Glob(filepath.Join(root, "v1", "*"))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	data, err := os.ReadFile(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{nil, data[:10], data[:len(data)-1], append(data, 'x')} {
		if err := os.WriteFile(entries[0], damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.Get("key"); got != nil {
			t.Errorf("%q is read", got)
		}
	}
}
