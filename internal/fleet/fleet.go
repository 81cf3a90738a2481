// Package fleet reads a fleet tree: the files that tenants and the platform team
// commit to Git become checked objects, each with the file and line it came from.
//
// Tenants' directories are untrusted input. What is wrong with one is reported
// at its place and never touches another. The package has no client and no
// network, and it renders nothing: package render does.
//
// A directory with a kustomization.yaml is a unit: it is built, and what it
// builds is read. Nothing in it or below it is read by itself, and every YAML
// file there must be named by a kustomization, so that none is ignored unseen.
package fleet

import (
	"fmt"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Tree is a fleet directory held in memory, by slash-separated path relative to
// it: "acme/tenant.yaml", "_platform/profiles.yaml".
type Tree map[string]File

// File is a regular file, or a symbolic link when Link is set.
type File struct {
	// Data is the content of a regular file.
	Data []byte
	// Link is the target of a symbolic link as it is written. Links are never followed.
	Link string
	// Refused says why the content was not kept, where it is not a link: "is 3 MiB
	// large; split it into files of at most 1 MiB". Parse reports it for the tenant
	// whose file it is. The path of a whole tenant directory may be refused too.
	Refused string
}

// Position is a place in a Tree. Line counts from 1; 0 means the whole file.
type Position struct {
	File string
	Line int
}

// String is "file:line".
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Error is one thing that is wrong, at its place.
type Error struct {
	Position
	// Tenant is the directory it is in: a tenant's name, or v1alpha1.PlatformDirectory.
	Tenant string
	// Message says what is wrong and what to write instead, on one line.
	Message string
}

// Error is "file:line: message".
func (e *Error) Error() string { return e.Position.String() + ": " + e.Message }

// Fleet is a tree that has been read and checked.
type Fleet struct {
	// Profiles by name. When the platform directory has errors, what could be read.
	Profiles map[string]*Object[*v1alpha1.NamespaceProfile]
	// Exceptions that the platform grants, by name. When the platform directory has
	// errors, what could be read.
	Exceptions map[string]*Object[*v1alpha1.TenantException]
	// PlatformHash changes when the content of the platform directory does.
	PlatformHash string
	// PlatformErrors is what is wrong in the platform directory.
	PlatformErrors []*Error
	// PlatformWarnings are of what is allowed in the platform directory and is likely
	// not what was meant.
	PlatformWarnings []*Error
	// Tenants by name, those with errors included.
	Tenants []*Tenant
}

// Tenant is one tenant's directory.
type Tenant struct {
	// Name of the directory, and of the Tenant in it.
	Name string
	// Hash changes when the content of the directory does.
	Hash string
	// Object is nil when the directory holds none that can be read.
	Object *Object[*v1alpha1.Tenant]
	// Namespaces and Clusters by name.
	Namespaces []*Object[*v1alpha1.TenantNamespace]
	Clusters   []*Object[*v1alpha1.WorkloadCluster]
	// Peers are the tenants whose peering is mutual, by name.
	Peers []string
	// Errors by position. When there are any, nothing of the tenant may be applied.
	Errors []*Error
	// Warnings by position: what is allowed and is likely not what was meant, such
	// as a rule that names a namespace which is not there.
	Warnings []*Error
}

// Object is an object and where it was written. The object carries defaults, as
// the API server would set them, and must not be changed.
type Object[T any] struct {
	Value T
	Position

	doc      int      // which document of File it is, from 0
	mistyped mistyped // nil in whatever a Tenant holds
}
