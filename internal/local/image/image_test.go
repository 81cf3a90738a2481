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
