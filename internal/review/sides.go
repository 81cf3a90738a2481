package review

import (
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
)

// Side is one revision of a fleet repository, rendered.
type Side struct {
	Revision
	// Path of the fleet in Files: the folder that holds tenants/, base/ and policies/.
	// "." is the root of the repository.
	Path string
	// Files is the whole repository at that revision, read-only: tenants/, base/,
	// policies/, CODEOWNERS.
	Files fs.FS
	// Rules is where CODEOWNERS and policies are taken from, at base only: the tip of
	// the branch that the change goes to, which need not be the commit that it is
	// compared with. The author of a change chooses where it branches off. Left out:
	// Files.
	Rules fs.FS
	// Tree is what tenants/ holds.
	Tree fleet.Tree
	// Result is what the renderer makes of it.
	Result *render.Result
	// Tenants with everything that is rendered for them, by name. A tenant that is
	// the very same on both sides is in neither.
	Tenants map[string]*Tenant
	// Profiles of the platform directory, by name.
	Profiles map[string]Rendered
	// Exceptions of the platform directory, by name.
	Exceptions map[string]Rendered
}

// Platform visits the objects of the platform directory in a stable order.
func (s *Side) Platform() iter.Seq[*Rendered] {
	return func(yield func(*Rendered) bool) {
		for _, objects := range []map[string]Rendered{s.Profiles, s.Exceptions} {
			for _, name := range slices.Sorted(maps.Keys(objects)) {
				if o := objects[name]; !yield(&o) {
					return
				}
			}
		}
	}
}

// AddPlatform adds an object of the platform directory: a NamespaceProfile or a
// TenantException.
func (s *Side) AddPlatform(o Rendered) {
	objects := &s.Profiles
	if o.Kind == v1alpha1.KindTenantException {
		objects = &s.Exceptions
	}
	if *objects == nil {
		*objects = map[string]Rendered{}
	}
	(*objects)[o.Name] = o
}

// Tenant is one tenant of a side.
type Tenant struct {
	Name string
	*fleet.Tenant
	// Objects are Tenant, TenantNamespaces and WorkloadClusters, then what each
	// namespace consists of, on each cluster it is placed on.
	Objects []Rendered
	// Errors for which nothing of the tenant would be applied; then there are no Objects.
	Errors []*fleet.Error
}

// Rendered is one object and where it comes from.
type Rendered struct {
	Object
	// Content is shared with the renderer and must not be changed.
	Content map[string]any
	// Digest of the content without provenance.
	Digest string
	// Component of the base that made it: "namespace/network"; "" for what is in Git itself.
	Component string
	Place     Place
}

// RuleFiles is Rules, or Files where there are none.
func (s *Side) RuleFiles() fs.FS {
	if s.Rules != nil {
		return s.Rules
	}
	return s.Files
}

// Folder is a path below Path, relative to the root of the repository.
func (s *Side) Folder(name string) string { return path.Clean(path.Join(s.Path, name)) }
