package render

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
)

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
