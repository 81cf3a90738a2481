package files

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/review"
)

func file(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }
func link(target string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
}

func TestFilesThatDiffer(t *testing.T) {
	base := fstest.MapFS{
		"tenants/same.yaml": file("a"), "tenants/changed.yaml": file("a"), "tenants/gone/x": file("a"), "tenants/link": link("same.yaml"),
		"tenants/kept-link": link("same.yaml"), "tenants/dir-or-file/x": file("a"), "other/x": file("a"),
	}
	head := fstest.MapFS{
		"tenants/same.yaml": file("a"), "tenants/changed.yaml": file("b"), "tenants/new/x": file("a"), "tenants/link": link("changed.yaml"),
		"tenants/kept-link": link("same.yaml"), "tenants/dir-or-file": file("a"), "other/x": file("b"),
	}
	got, err := Changed(base, head, "tenants", "missing", "tenants/new")
	if err != nil {
		t.Fatal(err)
	}
	want := []Change{
		{"tenants/changed.yaml", review.Changed}, {"tenants/dir-or-file", review.Created}, {"tenants/dir-or-file/x", review.Deleted},
		{"tenants/gone/x", review.Deleted}, {"tenants/link", review.Changed}, {"tenants/new/x", review.Created},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Not as a file, and not as a directory on the way to one.
func TestLinksAreNotFollowed(t *testing.T) {
	repository := fstest.MapFS{"elsewhere/CODEOWNERS": file("* @mallory"), ".github": link("elsewhere"), "CODEOWNERS": link("elsewhere/CODEOWNERS")}
	if data, err := Read(repository, ".github/CODEOWNERS", 100); data != nil || err != nil {
		t.Errorf("read %q, %v through a directory that is a link; want nothing", data, err)
	}
	if data, err := Read(repository, "CODEOWNERS", 100); data != nil || !errors.Is(err, ErrLink) {
		t.Errorf("read %q, %v from a link; want %v", data, err, ErrLink)
	}
	if _, err := Read(repository, "elsewhere/CODEOWNERS", 3); !errors.Is(err, ErrLarge) {
		t.Errorf("read a file above the bound: %v; want %v", err, ErrLarge)
	}
}

// hashed is a file system whose directories know their hash, and cannot be read.
type hashed struct {
	fstest.MapFS
	hash string
}

type hashedEntry struct {
	fs.DirEntry
	hash string
}

func (h hashedEntry) Hash() string { return h.hash }

func (h hashed) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, errors.New("this need not be read")
	}
	entries, err := h.MapFS.ReadDir(name)
	for i, e := range entries {
		entries[i] = hashedEntry{e, h.hash}
	}
	return entries, err
}

func TestDirectoriesOfTheSameHashAreNotRead(t *testing.T) {
	repository := fstest.MapFS{"tenants/a": file("a")}
	if got, err := Changed(hashed{repository, "1"}, hashed{repository, "1"}, "tenants"); got != nil || err != nil {
		t.Errorf("%v, %v; want no change", got, err)
	}
	if _, err := Changed(hashed{repository, "1"}, hashed{repository, "2"}, "tenants"); err == nil {
		t.Error("directories of different hashes were not read")
	}
	if _, err := Changed(hashed{repository, ""}, hashed{repository, ""}, "tenants"); err == nil {
		t.Error("directories of unknown hashes were not read")
	}
}
