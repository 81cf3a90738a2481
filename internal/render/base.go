package render

import (
	"io/fs"
	"sync"

	"github.com/aetherplatform/aether/base"
	"github.com/aetherplatform/aether/internal/render/canonical"
)

// EmbeddedBase is the base inside the binary. Its revision is "embedded@" and the
// digest of its files.
func EmbeddedBase() Base { return embedded() }

var embedded = sync.OnceValue(func() Base {
	return Base{FS: base.FS, Revision: "embedded@" + digestOfFiles(base.FS)}
})

// digestOfFiles covers names and contents. The files are in the binary: reading
// them cannot fail.
func digestOfFiles(files fs.FS) string {
	var encoded []byte
	_ = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		encoded = canonical.String(canonical.String(encoded, name), string(data))
		return err
	})
	return digest(encoded)
}
