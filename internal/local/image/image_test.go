package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func probe(t *testing.T) Image {
	t.Helper()
	program := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(program, []byte("a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Image{Name: "aetherplatform.cloud/probe:local", Program: program, OS: "linux", Architecture: "amd64"}
}

func TestTheSameProgramMakesTheSameImageBitByBit(t *testing.T) {
	first, second := probe(t), probe(t)
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(second.Program, later, later); err != nil {
		t.Fatal(err)
	}
	var digests, tars []string
	for _, image := range []Image{first, second} {
		file := filepath.Join(t.TempDir(), "probe.tar")
		digest, err := image.Write(file)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		digests, tars = append(digests, digest), append(tars, string(data))
	}
	if digests[0] != digests[1] {
		t.Errorf("the digests are %v", digests)
	}
	if tars[0] != tars[1] {
		t.Error("the tars differ")
	}
}

func TestAProgramThatNeedsADynamicLinkerIsRefused(t *testing.T) {
	image := probe(t)
	for kind, refused := range map[elf.ProgType]bool{elf.PT_LOAD: false, elf.PT_INTERP: true} {
		var program bytes.Buffer
		header := elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
			Ehsize: 64, Phoff: 64, Phentsize: 56, Phnum: 1,
		}
		for _, part := range []any{header, elf.Prog64{Type: uint32(kind)}} {
			if err := binary.Write(&program, binary.LittleEndian, part); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(image.Program, program.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := image.Write(filepath.Join(t.TempDir(), "probe.tar"))
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "CGO_ENABLED=0") {
			t.Errorf("with %s: %v", kind, err)
		}
	}
}

func TestAnImageHasAProgramThatNobodyInParticularRuns(t *testing.T) {
	image, err := probe(t).build()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/probe" {
		t.Errorf("the image runs %v as %q", config.Config.Entrypoint, config.Config.User)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers (%v), want 1", len(layers), err)
	}
	files, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]int64{}
	for r := tar.NewReader(files); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[header.Name] = header.Mode
	}
	if len(modes) != 2 || modes["probe"] != 0o755 || modes["tmp/"] != 0o1777 {
		t.Errorf("the image holds %v", modes)
	}
}

// Whoever calls the program by its name alone finds it where it is looked for.
func TestAProgramIsInTheFolderThatIsAskedFor(t *testing.T) {
	asked := probe(t)
	asked.Folder = "/usr/local/bin"
	image, err := asked.build()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Config.Entrypoint; len(got) != 1 || got[0] != "/usr/local/bin/probe" {
		t.Errorf("the image runs %v", got)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers (%v), want 1", len(layers), err)
	}
	files, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	if header, err := tar.NewReader(files).Next(); err != nil || header.Name != "usr/local/bin/probe" {
		t.Errorf("the layer begins with %+v (%v)", header, err)
	}
}

// containerd takes the name from here, and without it an import has none.
func TestAnImageIsImportedUnderItsName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "probe.tar")
	if _, err := probe(t).Write(file); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	var index struct {
		Manifests []struct{ Annotations map[string]string }
	}
	for r := tar.NewReader(in); ; {
		header, err := r.Next()
		if err != nil {
			t.Fatalf("there is no index: %v", err)
		}
		if header.Name == "index.json" {
			if err := json.NewDecoder(r).Decode(&index); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["io.containerd.image.name"] != "aetherplatform.cloud/probe:local" ||
		index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "local" {
		t.Errorf("the index is %+v", index)
	}
}

// One name leads to the program of the node's own architecture, and to its labels.
func TestAnIndexHoldsAnImageAPlatform(t *testing.T) {
	amd, arm := probe(t), probe(t)
	arm.Architecture = "arm64"
	amd.Labels = map[string]string{"org.opencontainers.image.version": "v0.1.0"}
	arm.Labels = amd.Labels

	var digests []string
	dir := t.TempDir()
	for _, name := range []string{"first.tar", "second.tar"} {
		digest, err := WriteIndex(filepath.Join(dir, name), amd, arm)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("the digests are %v", digests)
	}
	unpacked := unpack(t, filepath.Join(dir, "first.tar"))
	all, err := layout.ImageIndexFromPath(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	top, err := all.IndexManifest()
	if err != nil || len(top.Manifests) != 1 || top.Manifests[0].Digest.String() != digests[0] ||
		top.Manifests[0].Annotations["io.containerd.image.name"] != amd.Name {
		t.Fatalf("the layout is %+v (%v)", top, err)
	}
	index, err := all.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || manifest.Annotations["org.opencontainers.image.version"] != "v0.1.0" {
		t.Fatalf("the index is %+v (%v)", manifest, err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != m.Platform.Architecture || config.Config.Labels["org.opencontainers.image.version"] != "v0.1.0" {
			t.Errorf("the image of %s is %+v", m.Platform, config)
		}
		if err := validate.Image(image); err != nil {
			t.Errorf("the image of %s: %v", m.Platform, err)
		}
		platforms = append(platforms, m.Platform.String())
	}
	if got := strings.Join(platforms, " "); got != "linux/amd64 linux/arm64" {
		t.Errorf("the platforms are %s", got)
	}
}

// unpack returns a folder with the files of a tar.
func unpack(t *testing.T, file string) string {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	dir := t.TempDir()
	for r := tar.NewReader(in); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
