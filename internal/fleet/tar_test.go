package fleet

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read is what a reader of archives found: names, kinds and content, and how it ended.
type read struct {
	Entries []string
	Failed  bool
}

func readAll(next func() (*tar.Header, error), content io.Reader) read {
	var out read
	for {
		h, err := next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			return read{out.Entries, true}
		}
		data, err := io.ReadAll(io.LimitReader(content, 1<<16)) // a sparse file has no end
		if err != nil {
			return read{out.Entries, true}
		}
		out.Entries = append(out.Entries, string(h.Typeflag)+" "+h.Name+" "+h.Linkname+"\n"+string(data))
	}
}

// compare reads an archive with entries and with archive/tar.
func compare(t *testing.T, archive []byte) {
	t.Helper()
	theirs := tar.NewReader(bytes.NewReader(archive))
	want := readAll(theirs.Next, theirs)
	ours := newEntries(bytes.NewReader(archive))
	if diff := cmp.Diff(want, readAll(ours.next, ours)); diff != "" {
		t.Errorf("(-archive/tar +entries)\n%s", diff)
	}
}

func TestArchivesAreReadAsArchiveTarReadsThem(t *testing.T) {
	long := strings.Repeat("d/", 60) + strings.Repeat("n", 90)
	for name, entries := range map[string][]entry{
		"plain":                {regular("a/b.yaml", "a: 1"), regular("a/empty.yaml", ""), regular("a/block.yaml", strings.Repeat("x", tarBlock))},
		"a directory":          {{header: tar.Header{Typeflag: tar.TypeDir, Name: "a/"}}, regular("a/b.yaml", "a: 1")},
		"a name in two fields": {regular(long, "a: 1"), regular("b", "x")},
		"a name too long":      {regular(strings.Repeat("n", 300), "a: 1"), regular("b", "x")},
		"a name not in ASCII":  {regular("a/ü.yaml", "a: 1"), regular("b", "x")},
		"links":                {regular("a", "x"), {header: tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../a"}}, {header: tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "a"}}, regular("b", "x")},
		"GNU":                  {regular("a", "x"), {tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("g", 200), Format: tar.FormatGNU}, "y"}, regular("b", "x")},
		"PAX":                  {{tar.Header{Typeflag: tar.TypeReg, Name: "p", PAXRecords: map[string]string{"comment": "x"}}, "y"}, regular("b", "x")},
		"nothing":              nil,
	} {
		t.Run(name, func(t *testing.T) {
			archive := unzipped(t, entries)
			compare(t, archive)
			if len(archive) > 3*tarBlock {
				compare(t, archive[:tarBlock+tarBlock/2])     // cut in the middle of a block
				compare(t, archive[:len(archive)-2*tarBlock]) // without its end
			}
		})
	}
}

func FuzzArchivesAreReadAsArchiveTarReadsThem(f *testing.F) {
	f.Add(unzipped(f, []entry{regular("a/b.yaml", "a: 1"), {header: tar.Header{Typeflag: tar.TypeDir, Name: "d/"}}, regular("c", strings.Repeat("x", 600))}), uint16(0), byte(0))
	f.Add(unzipped(f, []entry{regular("a", "x"), {header: tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../a"}}}), uint16(156), byte('2'))
	f.Fuzz(func(t *testing.T, archive []byte, at uint16, with byte) {
		// The first header's sum is made right, so that not every change ends there.
		if archive = bytes.Clone(archive); len(archive) >= tarBlock {
			archive[int(at)%tarBlock] = with
			sum := checksum(archive[:tarBlock])
			for i := 5; i >= 0; i-- {
				archive[tarChecksum[0]+i] = byte('0' + sum&7)
				sum >>= 3
			}
			archive[tarChecksum[0]+6], archive[tarChecksum[0]+7] = 0, ' '
		}
		compare(t, archive)
	})
}

func TestUnchangedFilesShareTheirContent(t *testing.T) {
	before := Tree{"acme/tenant.yaml": {Data: []byte("a: 1")}, "acme/web.yaml": {Data: []byte("b: 1")}, "acme/x": {Link: "y"}}
	last, err := ReadTarGz(bytes.NewReader(archiveOf(t, before)), "tenants", nil)
	if err != nil {
		t.Fatal(err)
	}
	after := Tree{"acme/tenant.yaml": {Data: []byte("a: 1")}, "acme/web.yaml": {Data: []byte("b: 2")}, "acme/x": {Data: []byte("")}}
	tree, err := ReadTarGz(bytes.NewReader(archiveOf(t, after)), "tenants", last)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := ReadTarGz(bytes.NewReader(archiveOf(t, after)), "tenants", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fresh, tree); diff != "" {
		t.Errorf("what was read before shows (-fresh +after)\n%s", diff)
	}
	if &tree["acme/tenant.yaml"].Data[0] != &last["acme/tenant.yaml"].Data[0] {
		t.Error("an unchanged file is held twice")
	}
	if got := string(last["acme/web.yaml"].Data); got != "b: 1" {
		t.Errorf("the tree that was read before has changed: %q", got)
	}
}

func unzipped(t testing.TB, entries []entry) []byte {
	t.Helper()
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, e := range entries {
		e.header.Size = int64(len(e.data))
		if err := archive.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
