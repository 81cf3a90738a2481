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
	return Base{FS: base.FS, Revision: "embedded@" + DigestOfFiles(base.FS)}
})

// DigestOfFiles covers names and contents, for the Revision of a base that has no
// other. Files that cannot be read are an error where they are built.
func DigestOfFiles(files fs.FS) string {
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
