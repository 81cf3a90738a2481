// Package render turns what tenants ask for into the objects that they get.
package render

import (
	"errors"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
)

// Base is a Contain Base: the components that namespaces are built from.
type Base struct {
	// FS has the base's directory as its root: "profiles/default", "namespace/network".
	FS fs.FS
	// Revision tells two contents of a base apart.
	Revision string
}

// EmbeddedBase is the base inside the binary.
func EmbeddedBase() Base { return Base{} }

// Template is a profile, compiled. It is immutable and safe for concurrent use.
type Template struct{}

// Compile builds a profile's base with Kustomize and compiles what is in it.
func Compile(profile *v1alpha1.NamespaceProfile, base Base) (*Template, error) {
	return nil, errors.ErrUnsupported
}

// ServesSecrets reports whether a component of the profile reads namespace.secrets.
func (t *Template) ServesSecrets() bool { return false }

// Inputs is everything that a namespace's objects depend on beside its profile.
type Inputs struct {
	Tenant    *v1alpha1.Tenant
	Namespace *v1alpha1.TenantNamespace
	// Peers are the tenants whose peering is mutual.
	Peers []string
	// Cluster that the namespace is rendered for; "" is the cluster that the fleet
	// is reconciled in.
	Cluster string
	// Cordoned withdraws write access and suspends GitOps: the tenant is cordoned,
	// or the namespace has left Git.
	Cordoned bool
	// Source is where the TenantNamespace was written.
	Source Source
}

// Source is a place in Git.
type Source struct {
	Revision string
	// Path is "<file>:<line>", such as "acme/web.yaml:3".
	Path string
}

// Render returns the namespace's objects in a stable order.
func (t *Template) Render(in Inputs) ([]*unstructured.Unstructured, error) {
	return nil, errors.ErrUnsupported
}

// DigestOf is the digest of an object's content.
func DigestOf(o *unstructured.Unstructured) string { return "" }

// IsIsolation reports whether an object must be observed before its namespace is opened.
func IsIsolation(o *unstructured.Unstructured) bool { return false }

// Renderer renders whole fleets and remembers what did not change.
type Renderer struct{}

// Options of a Renderer.
type Options struct {
	// Bases returns the base that a profile names; nil stands for the embedded one.
	Bases func(*v1alpha1.BaseSourceRef) (Base, error)
	// Cluster that children are rendered for.
	Cluster string
}

// New returns a Renderer that remembers nothing yet.
func New(Options) *Renderer { return &Renderer{} }

// Render reads and renders a tree.
func (r *Renderer) Render(tree fleet.Tree, incumbents map[string]string) *Result { return nil }

// Result is a rendered fleet.
type Result struct {
	Fleet *fleet.Fleet
	// Platform is the NamespaceProfiles as they are applied.
	Platform []*unstructured.Unstructured
	Tenants  []*TenantResult
	Digest   string
}

// TenantResult is a rendered tenant.
type TenantResult struct {
	*fleet.Tenant
	// Objects are the Tenant, its TenantNamespaces and its WorkloadClusters as
	// they are applied.
	Objects []*unstructured.Unstructured
	// Children renders the objects of the tenant's namespaces that are placed on
	// Options.Cluster.
	Children func() []*unstructured.Unstructured
	Digest   string
	// Changed since the last Render.
	Changed bool
	// Errors of the directory and of the render, by position.
	Errors []*fleet.Error
}
