package source

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
)

// fromGit are the kinds that come from Git. What informers hold of them is never
// changed.
var fromGit = []client.Object{
	&v1alpha1.Tenant{}, &v1alpha1.TenantNamespace{}, &v1alpha1.WorkloadCluster{}, &v1alpha1.NamespaceProfile{}, &v1alpha1.TenantException{},
}

// key names an object. All kinds that come from Git are cluster-scoped.
type key struct{ kind, name string }

func (k key) String() string { return k.kind + "/" + k.name }

// object is an object as it shall be. It is not changed once it is made.
type object struct {
	key
	// tenant is the directory it comes from, v1alpha1.PlatformDirectory included.
	tenant string
	// position in Git; empty once it has left.
	position fleet.Position
	// rendered is what is applied, labels and the path of its provenance included;
	// the source's label, the revision and the marks of removal are added by config.
	// What Git does not ask for any more has a body in its place.
	rendered *render.Applied
	body     *unstructured.Unstructured
	// spec is an object with the spec that the cluster shall show: defaults included.
	spec client.Object
	// source that it belongs to, as v1alpha1.LabelSource has it.
	source string
	// removed is set once the object has left Git.
	removed *removal
}

// removal is when and where an object left Git.
type removal struct{ at, in string }

// marks are the annotations, beside provenance, that an object carries for us.
// Each must be as asked for, and absent where it is not asked for.
var marks = []string{v1alpha1.AnnotationDigest, v1alpha1.AnnotationRemovedAt, v1alpha1.AnnotationRemovedIn}

// inPlace reports whether the live object is as asked for. Labels and annotations
// of others do not matter, and neither does status. Provenance only has to be
// there: it says where the content came from when it was last changed.
func (o *object) inPlace(live client.Object) bool {
	if !live.GetDeletionTimestamp().IsZero() {
		return true // nothing can be put back until it is gone, and then we are woken
	}
	has := live.GetAnnotations()
	for _, name := range marks {
		if has[name] != o.mark(name) {
			return false
		}
	}
	if has[v1alpha1.AnnotationRevision] == "" || has[v1alpha1.AnnotationPath] == "" {
		return false
	}
	labels := live.GetLabels()
	return o.labelled(labels) && labels[v1alpha1.LabelSource] == o.source && equality.Semantic.DeepEqual(specOf(o.spec), specOf(live))
}

// labelled reports whether labels hold all that are asked for.
func (o *object) labelled(labels map[string]string) bool {
	if o.rendered != nil {
		return o.rendered.Labelled(labels)
	}
	for name, value := range nested(o.body, "labels") {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// content is a copy of what is applied.
func (o *object) content() *unstructured.Unstructured {
	if o.rendered != nil {
		return o.rendered.Object()
	}
	return o.body.DeepCopy()
}

func (o *object) mark(name string) string {
	switch {
	case name == v1alpha1.AnnotationDigest && o.rendered != nil:
		return o.rendered.Digest
	case name == v1alpha1.AnnotationDigest:
		digest, _ := nested(o.body, "annotations")[name].(string)
		return digest
	case o.removed == nil:
		return ""
	case name == v1alpha1.AnnotationRemovedAt:
		return o.removed.at
	default:
		return o.removed.in
	}
}

// config is what is sent to the API server. Provenance moves to revision only
// when the content differs from the live object's; live may be nil.
func (o *object) config(revision string, live client.Object) *unstructured.Unstructured {
	u := o.content()
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")

	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.LabelSource] = o.source
	u.SetLabels(labels)
	if o.kind == v1alpha1.KindTenantNamespace {
		// Born with it, it costs controllers/namespace no write of its own.
		u.SetFinalizers([]string{v1alpha1.FinalizerNamespace})
	}

	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationRevision] = revision
	if live != nil && live.GetAnnotations()[v1alpha1.AnnotationDigest] == o.mark(v1alpha1.AnnotationDigest) {
		for _, name := range []string{v1alpha1.AnnotationRevision, v1alpha1.AnnotationPath} {
			if value := live.GetAnnotations()[name]; value != "" {
				annotations[name] = value
			}
		}
	}
	if o.removed != nil {
		annotations[v1alpha1.AnnotationRemovedAt] = o.removed.at
		annotations[v1alpha1.AnnotationRemovedIn] = o.removed.in
	}
	u.SetAnnotations(annotations)
	return u
}

// repair is a JSON patch that takes from the live object what server-side apply
// leaves: fields and marks that another field owner has added.
func (o *object) repair(live client.Object) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	// Nothing may have changed in between.
	patch := []operation{{Op: "test", Path: "/metadata/resourceVersion", Value: live.GetResourceVersion()}}
	if !equality.Semantic.DeepEqual(specOf(o.spec), specOf(live)) {
		patch = append(patch, operation{Op: "replace", Path: "/spec", Value: o.content().Object["spec"]})
	}
	for _, name := range marks {
		if live.GetAnnotations()[name] != "" && o.mark(name) == "" {
			patch = append(patch, operation{Op: "remove", Path: "/metadata/annotations/" + strings.ReplaceAll(name, "/", "~1")})
		}
	}
	return json.Marshal(patch)
}

// snapshot is an object as it stands in the cluster, for what Git no longer
// describes: what has left it, and what is kept while its directory has errors.
func snapshot(live client.Object, source string) (*object, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return nil, fmt.Errorf("cannot convert %s: %w", keyOf(live), err)
	}
	body := &unstructured.Unstructured{Object: map[string]any{"spec": content["spec"]}}
	body.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(keyOf(live).kind))
	body.SetName(live.GetName())
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, only(live.GetLabels(), v1alpha1.LabelTenant))
	maps.Copy(annotations, only(live.GetAnnotations(), v1alpha1.AnnotationDigest, v1alpha1.AnnotationPath))
	body.SetLabels(labels)
	body.SetAnnotations(annotations)
	return &object{
		key: keyOf(live), tenant: tenantOf(live), source: source, body: body, removed: removalOf(live),
		spec: live, // informers replace objects, and change none
	}, nil
}

// leaving is the object, marked as having left Git.
func (o *object) leaving(r removal) *object {
	gone := *o
	gone.position, gone.removed = fleet.Position{}, &r
	return &gone
}

func removalOf(live client.Object) *removal {
	a := live.GetAnnotations()
	if a[v1alpha1.AnnotationRemovedAt] == "" {
		return nil
	}
	return &removal{at: a[v1alpha1.AnnotationRemovedAt], in: a[v1alpha1.AnnotationRemovedIn]}
}

// keyOf names a live object, whose kind the informers do not fill in.
func keyOf(o client.Object) key {
	k := key{name: o.GetName()}
	switch o.(type) {
	case *v1alpha1.Tenant:
		k.kind = v1alpha1.KindTenant
	case *v1alpha1.TenantNamespace:
		k.kind = v1alpha1.KindTenantNamespace
	case *v1alpha1.WorkloadCluster:
		k.kind = v1alpha1.KindWorkloadCluster
	case *v1alpha1.NamespaceProfile:
		k.kind = v1alpha1.KindNamespaceProfile
	case *v1alpha1.TenantException:
		k.kind = v1alpha1.KindTenantException
	}
	return k
}

// tenantOf is the directory that a live object belongs to.
func tenantOf(o client.Object) string {
	switch o := o.(type) {
	case *v1alpha1.Tenant:
		return o.Name
	case *v1alpha1.TenantNamespace:
		return o.Spec.Tenant
	case *v1alpha1.WorkloadCluster:
		return o.Spec.Tenant
	}
	return v1alpha1.PlatformDirectory
}

func specOf(o client.Object) any {
	switch o := o.(type) {
	case *v1alpha1.Tenant:
		return &o.Spec
	case *v1alpha1.TenantNamespace:
		return &o.Spec
	case *v1alpha1.WorkloadCluster:
		return &o.Spec
	case *v1alpha1.NamespaceProfile:
		return &o.Spec
	case *v1alpha1.TenantException:
		return &o.Spec
	}
	return nil
}

// nested is a map of an object's metadata, not copied.
func nested(u *unstructured.Unstructured, field string) map[string]any {
	value, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", field)
	m, _ := value.(map[string]any)
	return m
}

func only(m map[string]string, names ...string) map[string]string {
	kept := map[string]string{}
	for _, name := range names {
		if value := m[name]; value != "" {
			kept[name] = value
		}
	}
	return kept
}
