// Package image makes container images out of static programs, without a base, a
// registry or a container runtime: one layer with one file. The same program makes
// the same image, bit by bit.
package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is what an image is made of.
type Image struct {
	// Name with its tag, such as aetherplatform.cloud/probe:local.
	Name string
	// Program on disk. It becomes the entrypoint.
	Program string
	// Folder of the image that the program is in, such as /usr/local/bin. Default: its
	// root.
	Folder string
	// Platform that the program was built for.
	OS, Architecture string
	// Labels, such as org.opencontainers.image.version.
	Labels map[string]string
}

// user that the program runs as unless a Pod says otherwise: nobody in particular.
const user = "65532:65532"

// epoch is the time of everything in an image.
var epoch = time.Unix(0, 0).UTC()

// build makes the image.
func (i Image) build() (v1.Image, error) {
	program, err := os.ReadFile(i.Program)
	if err != nil {
		return nil, err
	}
	if err := startsAlone(program); err != nil {
		return nil, fmt.Errorf("%s: %w", i.Program, err)
	}
	name := strings.TrimPrefix(path.Join(i.Folder, filepath.Base(i.Program)), "/")
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	// /tmp is there for programs that write what they do not keep.
	failed := errors.Join(
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(program)), ModTime: epoch}),
		second(w.Write(program)),
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777, ModTime: epoch}),
		w.Close(),
	)
	if failed != nil {
		return nil, failed
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: path.Base(name)}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = i.OS, i.Architecture, v1.Time{Time: epoch}
	config.Config = v1.Config{Entrypoint: []string{"/" + name}, User: user, WorkingDir: "/", Labels: i.Labels}
	return mutate.ConfigFile(image, config)
}

// startsAlone refuses a program that only a dynamic linker can start: an image
// without one says no more than "no such file or directory".
func startsAlone(program []byte) error {
	file, _ := elf.NewFile(bytes.NewReader(program)) // of another system it is none
	if file != nil && slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return errors.New("it is linked dynamically, and an image holds nothing beside it; build it with CGO_ENABLED=0")
	}
	return nil
}

func second(_ int, err error) error { return err }

// Write writes the image as a tar of an OCI layout and returns its digest.
func (i Image) Write(file string) (string, error) {
	image, err := i.build()
	if err != nil {
		return "", err
	}
	return write(file, i.Name, image, layout.Path.AppendImage)
}

// WriteIndex writes images of one name and several platforms as one tar of an OCI
// layout, and returns the digest of their index.
func WriteIndex(file string, images ...Image) (string, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range images {
		image, err := i.build()
		if err != nil {
			return "", err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: i.OS, Architecture: i.Architecture}},
		})
	}
	// Registries that list an index look for its labels there.
	labelled, is := mutate.Annotations(index, images[0].Labels).(v1.ImageIndex)
	if !is {
		return "", errors.New("an index with annotations is none any more")
	}
	return write(file, images[0].Name, labelled, layout.Path.AppendIndex)
}

// write writes an image or an index, which add puts into a layout.
func write[T partial.Describable](file, name string, content T, add func(layout.Path, T, ...layout.Option) error) (string, error) {
	digest, err := content.Digest()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), ".image-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", err
	}
	// containerd reads the first, other tools the second, which is the tag alone.
	_, tag, _ := strings.Cut(path.Base(name), ":")
	err = add(at, content, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          name,
		"org.opencontainers.image.ref.name": tag,
	}))
	if err != nil {
		return "", err
	}
	if err := pack(dir, file); err != nil {
		return "", err
	}
	return digest.String(), nil
}

// pack writes the files of a folder to a tar, in the order of their names, with
// nothing that differs from one day or user to another.
func pack(dir, file string) (err error) {
	next := file + ".next"
	out, err := os.Create(next)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	err = filepath.WalkDir(dir, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(at) //nolint:gosec // of a folder that was just written by this program
		if err != nil {
			return err
		}
		return errors.Join(
			w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(data)), ModTime: epoch}),
			second(w.Write(data)),
		)
	})
	if err := errors.Join(err, w.Close(), out.Close()); err != nil {
		return err
	}
	return os.Rename(next, file)
}
