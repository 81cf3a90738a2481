package fleet

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry struct {
	header tar.Header
	data   string
}

func regular(name, data string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name}, data}
}

func tarGz(t testing.TB, entries []entry) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
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
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArchiveBecomesTree(t *testing.T) {
	cases := map[string]struct {
		why     string
		below   string
		entries []entry
		want    Tree
	}{
		"what is below the path": {
			why:   "a repository holds more than tenants",
			below: "./tenants",
			entries: []entry{
				regular("README.md", "x"), regular("tenants/acme/tenant.yaml", "a: 1"), regular("./tenants/acme/sub/x.yml", "b: 1"),
				regular("tenants-old/acme/tenant.yaml", "c: 1"), {header: tar.Header{Typeflag: tar.TypeDir, Name: "tenants/empty/"}},
			},
			want: Tree{"acme/tenant.yaml": {Data: []byte("a: 1")}, "acme/sub/x.yml": {Data: []byte("b: 1")}},
		},
		"the whole archive": {
			why:     "an OCI artifact holds nothing else",
			below:   ".",
			entries: []entry{regular("./acme/tenant.yaml", "a: 1")},
			want:    Tree{"acme/tenant.yaml": {Data: []byte("a: 1")}},
		},
		"what is not YAML": {
			why:     "it is known to be there, so that the directory is, and is not kept",
			below:   "tenants",
			entries: []entry{regular("tenants/acme/README.md", strings.Repeat("x", 2<<20)), regular("tenants/acme/.gitkeep", ""), regular("tenants/.git/config.yaml", "x")},
			want:    Tree{"acme/README.md": {}, "acme/.gitkeep": {}},
		},
		"links and devices": {
			why:   "they could lead to another tenant's files, or block",
			below: "tenants",
			entries: []entry{
				{header: tar.Header{Typeflag: tar.TypeSymlink, Name: "tenants/acme/x.yaml", Linkname: "../globex/x.yaml"}},
				{header: tar.Header{Typeflag: tar.TypeLink, Name: "tenants/acme/y.yaml", Linkname: "tenants/globex/y.yaml"}},
				{header: tar.Header{Typeflag: tar.TypeFifo, Name: "tenants/acme/z.yaml"}},
			},
			want: Tree{
				"acme/x.yaml": {Link: "../globex/x.yaml"},
				"acme/y.yaml": {Refused: `is a hard link to "tenants/globex/y.yaml"; commit the file itself`},
				"acme/z.yaml": {Refused: "is not a regular file; remove it"},
			},
		},
		"an entry twice": {
			why:     "readers disagree on which one counts",
			below:   "tenants",
			entries: []entry{regular("tenants/acme/x.yaml", "a: 1"), regular("tenants/acme/./x.yaml", "a: 2")},
			want:    Tree{"acme/x.yaml": {Refused: "is in the archive twice; keep one"}},
		},
		"a gigantic file": {
			why:     "it is its tenant's fault, and the others are read",
			below:   "tenants",
			entries: []entry{regular("tenants/acme/x.yaml", strings.Repeat("#", MaxFileBytes+1)), regular("tenants/globex/x.yaml", "a: 1")},
			want: Tree{
				"acme/x.yaml":   {Refused: "is 2 MiB large; split it into files of at most 1 MiB"},
				"globex/x.yaml": {Data: []byte("a: 1")},
			},
		},
		"a name that cannot be shown": {
			why:     "it could forge a line of a log",
			below:   "tenants",
			entries: []entry{regular("tenants/acme/a\nb: fine.yaml", "a: 1"), regular("tenants/acme/"+strings.Repeat("n", 600)+".yaml", "a: 1")},
			want: Tree{
				`acme/a\nb: fine.yaml`:                                {Refused: "has a name with characters that cannot be shown; rename it"},
				"acme/" + strings.Repeat("n", MaxPathBytes-8) + "...": {Refused: "has a path of more than 512 bytes; use shorter names"},
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ReadTarGz(bytes.NewReader(tarGz(t, c.entries)), c.below, nil)
			if err != nil {
				t.Fatalf("%s: %v", c.why, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", c.why, diff)
			}
		})
	}
}

func TestArchiveThatCannotBeTrustedIsRefused(t *testing.T) {
	whole := tarGz(t, []entry{regular("tenants/acme/x.yaml", strings.Repeat("a: 1\n", 1000))})
	cases := map[string]struct {
		why     string
		archive []byte
		want    string
	}{
		"no gzip":          {"a server's error page is no archive", []byte("<html>"), "cannot unzip archive: "},
		"half an archive":  {"half a fleet must not pass for one", whole[:len(whole)/2], "cannot read archive: "},
		"a wrong checksum": {"it is not what was packed", append(append([]byte{}, whole[:len(whole)-8]...), 1, 2, 3, 4, 5, 6, 7, 8), "cannot read archive: gzip: invalid checksum"},
		"an absolute path": {"Git holds none", tarGz(t, []entry{regular("/etc/passwd", "x")}), `cannot read archive: entry "/etc/passwd" has an absolute path`},
		"a path that leaves": {
			"Git holds none", tarGz(t, []entry{regular("tenants/../../x.yaml", "x")}), `cannot read archive: entry "tenants/../../x.yaml" leaves the archive`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tree, err := ReadTarGz(bytes.NewReader(c.archive), "tenants", nil)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %s", c.why, err, c.want)
			}
			if tree != nil {
				t.Errorf("%s: got a tree of %d files", c.why, len(tree))
			}
		})
	}
}

// A megabyte that unpacks to a gigabyte costs a bounded amount of work, no
// memory, and names the file.
func TestGzipBombIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what unpacks a gigabyte")
	}
	reader, writer := io.Pipe()
	go func() {
		zipped, _ := gzip.NewWriterLevel(writer, gzip.BestSpeed)
		archive := tar.NewWriter(zipped)
		_ = archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "tenants/acme/zeros.yaml", Size: 2 << 30})
		_, err := io.CopyN(archive, zeros{}, 2<<30)
		writer.CloseWithError(err)
	}()
	_, err := ReadTarGz(reader, "tenants", nil)
	reader.Close()
	const want = `cannot read archive: it unpacks to more than 1024 MiB, at or after "tenants/acme/zeros.yaml"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestTenantBeyondItsBoundsHarmsNoOther(t *testing.T) {
	c := newCollector(nil)
	for range MaxTenantBytes/MaxFileBytes + 3 {
		name := "acme/" + strings.Repeat("x", c.usedFiles("acme")) + ".yaml"
		if err := c.add(name, File{Data: make([]byte, MaxFileBytes)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.add("globex/tenant.yaml", File{Data: []byte("a: 1")}); err != nil {
		t.Fatal(err)
	}
	if got, want := c.tree["acme"].Refused, "has more than 8 MiB of YAML; make it less"; got != want {
		t.Errorf("acme: got %q, want %q", got, want)
	}
	if c.total > MaxTenantBytes+MaxFileBytes {
		t.Errorf("%d bytes are kept", c.total)
	}
	if got := string(c.tree["globex/tenant.yaml"].Data); got != "a: 1" {
		t.Errorf("globex was not read: %q", got)
	}
}

func (c *collector) usedFiles(dir string) int {
	if u := c.used[dir]; u != nil {
		return u.files
	}
	return 0
}

func TestDirectoryAndArchiveGiveTheSameTree(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("README.md", "hi")
	write("acme/tenant.yaml", "a: 1")
	write("acme/.gitkeep", "")
	write("acme/.hidden/x.yaml", "a: 1")
	write("acme/big.yaml", strings.Repeat("#", MaxFileBytes+1))
	if err := os.Symlink("../globex", filepath.Join(dir, "acme/more")); err != nil {
		t.Fatal(err)
	}
	fromDir, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	fromArchive, err := ReadTarGz(bytes.NewReader(tarGz(t, []entry{
		regular("tenants/README.md", "hi"),
		regular("tenants/acme/tenant.yaml", "a: 1"),
		regular("tenants/acme/.gitkeep", ""),
		regular("tenants/acme/.hidden/x.yaml", "a: 1"),
		regular("tenants/acme/big.yaml", strings.Repeat("#", MaxFileBytes+1)),
		{header: tar.Header{Typeflag: tar.TypeSymlink, Name: "tenants/acme/more", Linkname: "../globex"}},
	})), "tenants", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromDir, fromArchive); diff != "" {
		t.Errorf("what the CLI checks is not what the controller reads (-directory +archive):\n%s", diff)
	}
}

func TestDirectoryThatIsNotThere(t *testing.T) {
	_, err := ReadDir(filepath.Join(t.TempDir(), "nowhere"))
	if err == nil || !strings.HasPrefix(err.Error(), "cannot open fleet directory: ") {
		t.Errorf("got %v", err)
	}
}
