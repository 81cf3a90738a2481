package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
)

// Checkout is a fleet repository on disk.
type Checkout struct {
	// Dir is the directory of the tenants, as the user would type it, so that
	// editors can open what an error names.
	Dir string
	// Tree is what Dir holds.
	Tree fleet.Tree
	// base is the repository's own base, for profiles with a sourceRef.
	base string
}

// tenantsDir is what the directory of the tenants is called in a repository.
const tenantsDir = "tenants"

// OpenCheckout reads the fleet at path: the root of a repository, which holds
// tenants/, or the directory of the tenants itself.
func OpenCheckout(path, base string) (*Checkout, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, Usage("name the root of the fleet repository, such as .", "cannot read a fleet at %q: no such directory", path)
	case err != nil:
		return nil, Usage("", "cannot read a fleet at %q: %w", path, err)
	case !info.IsDir():
		return nil, Usage("name the directory: a fleet is checked whole, since names and quotas depend on one another",
			"cannot read a fleet at %q: it is a file", path)
	}

	c := &Checkout{Dir: path, base: base}
	root := filepath.Dir(path)
	if below := filepath.Join(path, tenantsDir); isDir(below) {
		c.Dir, root = below, path
	}
	if c.base == "" {
		c.base = filepath.Join(root, "base")
	}
	if c.Tree, err = fleet.ReadDir(c.Dir); err != nil {
		return nil, Usage("", "cannot read the fleet at %q: %w", c.Dir, err)
	}
	if len(c.Tree) == 0 {
		return nil, Usage("name a directory that holds one directory a tenant, such as tenants/acme/tenant.yaml", "there is no fleet at %q: it holds no files", c.Dir)
	}
	return c, nil
}

// Render renders the fleet as the cluster with this name would; "" is the
// cluster that the fleet is reconciled in.
func (c *Checkout) Render(cluster string) *render.Result {
	renderer := render.New(render.Options{Bases: c.baseOf, Cluster: cluster})
	return renderer.Render(c.Tree, nil)
}

// baseOf takes the base of a profile that names a source from the checkout: on
// disk there are no sources, and the repository that is being changed is the one
// to judge.
func (c *Checkout) baseOf(ref *v1alpha1.BaseSourceRef) (render.Base, error) {
	if ref == nil {
		return render.EmbeddedBase(), nil
	}
	if !isDir(c.base) {
		return render.Base{}, fmt.Errorf("the base of %s %q is not at %q; say where it is with --base", ref.Kind, ref.Name, c.base)
	}
	files := os.DirFS(c.base)
	return render.Base{FS: files, Revision: "local@" + render.DigestOfFiles(files)}, nil
}

// File is where a file of the tree is, as the user would type it.
func (c *Checkout) File(name string) string { return filepath.Join(c.Dir, filepath.FromSlash(name)) }

// Place is an error's "file:line", as the user would type the file.
func (c *Checkout) Place(p fleet.Position) string {
	p.File = c.File(p.File)
	return p.String()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
