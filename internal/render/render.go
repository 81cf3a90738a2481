// Package render turns what tenants ask for into the objects that they get: the
// one renderer of the controllers, the CLI and the review.
//
// A profile's base is built with Kustomize once and compiled to a Template; a
// namespace's objects are then a walk over it, which takes microseconds. The
// same inputs give the same bytes and the same digest everywhere. The package
// has no client, no clock and no network, and never turns a tenant's text into
// structure: values are set on the parsed tree.
package render

import (
	"fmt"
	"io/fs"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render/network"
)

// Base is a Contain Base: the components that namespaces are built from.
type Base struct {
	// FS has the base's directory as its root: "profiles/default", "namespace/network".
	FS fs.FS
	// Revision tells two contents of a base apart, whoever reads them: what is compiled
	// of one is shared by all in the program.
	Revision string
}

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
	// Exceptions that the platform grants; those of other tenants do not matter.
	Exceptions []*v1alpha1.TenantException
	// Now leaves out exceptions that had ended by then. Zero leaves out none: what
	// is committed is the same whenever it is read.
	Now time.Time
	// Source is where the TenantNamespace was written.
	Source Source
}

// Source is a place in Git.
type Source struct {
	Revision string
	// Path is "<file>:<line>", such as "acme/web.yaml:3".
	Path string
}

// Render returns the namespace's objects in a stable order: the Namespace, what
// isolates it, its quota, its roles, the rest. Each carries the tenant's label
// and the annotations component, digest, source-revision and source-path.
//
// The objects share what is constant with the template and with each other.
// Metadata, labels and annotations are each object's own and may be added to;
// anything below them must be copied before it is changed.
//
// An error begins with the field of the TenantNamespace that is wrong, or with
// the object of the base that cannot be made.
func (t *Template) Render(in Inputs) ([]*unstructured.Unstructured, error) {
	scope, err := t.view(in)
	if err != nil {
		return nil, err
	}
	buffer := buffers.Get().(*[]byte)
	r := &run{Inputs: in, writer: writer{scope: scope, encoded: *buffer}}
	defer func() {
		*buffer = r.writer.encoded
		buffers.Put(buffer)
	}()
	r.objects = make([]*unstructured.Unstructured, 0, len(t.objects))
	r.made = make([]key, 0, len(t.objects))
	for _, o := range t.objects {
		if err := r.object(o); err != nil {
			return nil, fmt.Errorf("cannot render %s: %w", o.id, err)
		}
	}
	return r.objects, nil
}

// buffers for encodings, which nothing outlives.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 8<<10)) }}

// run is one Render.
type run struct {
	Inputs
	writer  writer
	objects []*unstructured.Unstructured
	made    []key
}

// object makes one object of a template: none, one, or one for each item.
func (r *run) object(o *objectTemplate) error {
	if o.forEach == nil {
		return r.make(o)
	}
	items, err := r.writer.eval(o.forEach)
	if err != nil {
		return err
	}
	for _, item := range items.([]any) {
		r.writer.each = item
		if err := r.make(o); err != nil {
			return err
		}
	}
	r.writer.each = nil
	return nil
}

func (r *run) make(o *objectTemplate) error {
	if o.when != nil {
		include, err := r.writer.eval(o.when)
		if err != nil {
			return under("metadata.annotations["+v1alpha1.AnnotationIncludeWhen+"]", err)
		}
		if include != true {
			return nil
		}
	}
	r.writer.encoded = r.writer.encoded[:0]
	written, err := o.root.write(&r.writer)
	if err != nil {
		return err
	}
	object := written.(map[string]any)
	if err := checkObject(o, object, r.Inputs); err != nil {
		return err
	}
	if err := r.checkNew(o, object); err != nil {
		return err
	}
	if o.isCiliumPolicy() {
		if err := network.CheckPolicy(object, r.writer.encoded); err != nil {
			return &refusedError{o.file, err}
		}
	}
	annotations := object["metadata"].(map[string]any)["annotations"].(map[string]any)
	annotations[v1alpha1.AnnotationDigest] = digest(r.writer.encoded)
	if r.Source.Revision != "" {
		annotations[v1alpha1.AnnotationRevision] = r.Source.Revision
	}
	if r.Source.Path != "" {
		annotations[v1alpha1.AnnotationPath] = r.Source.Path
	}
	r.objects = append(r.objects, &unstructured.Unstructured{Object: object})
	return nil
}
