package policy

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/review"
)

// writer is who applies what is rendered: the namespace operator, in every cluster.
var writer = &user.DefaultInfo{
	Name:   "system:serviceaccount:" + v1alpha1.SystemNamespace + ":" + v1alpha1.ManagedBy,
	Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + v1alpha1.SystemNamespace, "system:authenticated"},
}

// world is the rendered objects of both sides.
type world struct {
	base, head       *review.Side
	namespacesBefore map[place]*known
	namespacesAfter  map[place]*known
	kinds            map[[2]string]kind
}

// place is a Namespace of a cluster.
type place struct{ cluster, name string }

// identity is what makes two objects one: neither the tenant that has it in Git
// nor the version it is written in.
type identity struct {
	place
	group, kind, name string
}

// kind is how the API server calls a kind.
type kind struct {
	schema.GroupVersionKind
	resource schema.GroupVersionResource
}

// step is one request of the operator. One side is missing where an object is
// created or deleted.
type step struct {
	operation  admission.Operation
	base, head *review.Rendered
	// then: as it was before the change, Namespaces included.
	then bool
}

// written is what the step is about, as it is rendered.
func (s step) written() *review.Rendered {
	if s.head != nil {
		return s.head
	}
	return s.base
}

// before is the step that leaves base as it is.
func (s step) before() step {
	return step{operation: admission.Update, base: s.base, head: s.base, then: true}
}

func newWorld(base, head *review.Side) *world {
	w := &world{
		base: base, head: head,
		namespacesBefore: map[place]*known{},
		namespacesAfter:  map[place]*known{},
		kinds:            map[[2]string]kind{},
	}
	w.learn(base, w.namespacesBefore)
	w.learn(head, w.namespacesAfter)
	return w
}

// learn notes the kinds and Namespaces of a side.
func (w *world) learn(side *review.Side, namespaces map[place]*known) {
	each(side, func(r *review.Rendered) {
		key := [2]string{r.APIVersion, r.Kind}
		if _, known := w.kinds[key]; !known {
			gvk := schema.FromAPIVersionAndKind(r.APIVersion, r.Kind)
			resource, _ := meta.UnsafeGuessKindToResource(gvk)
			w.kinds[key] = kind{gvk, resource}
		}
		if isNamespace(r) {
			o := unstructured.Unstructured{Object: r.Content}
			namespaces[place{r.Cluster, r.Name}] = namespaceOf(r.Name, o.GetLabels(), o.GetAnnotations())
		}
	})
}

// namespaceOf is a Namespace as it is in a cluster.
func namespaceOf(name string, labels, annotations map[string]string) *known {
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelMetadataName] = name
	return &known{Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations}}}
}

// each visits the objects of a side in a stable order.
func each(side *review.Side, visit func(*review.Rendered)) {
	for r := range side.Platform() {
		visit(r)
	}
	for _, name := range slices.Sorted(maps.Keys(side.Tenants)) {
		t := side.Tenants[name]
		if t == nil || len(t.Errors) > 0 {
			continue // nothing of it is applied
		}
		for i := range t.Objects {
			visit(&t.Objects[i])
		}
	}
}

// steps is what the operator would do. An object of a Namespace that changes is
// among them even if it is the same itself: policies select by Namespace.
func (w *world) steps() []step {
	type former struct {
		*review.Rendered
		kept bool
	}
	before := map[identity]*former{}
	var order []*former
	each(w.base, func(r *review.Rendered) {
		k := &former{Rendered: r}
		before[w.identity(r)] = k
		order = append(order, k)
	})
	var steps []step
	each(w.head, func(r *review.Rendered) {
		k := before[w.identity(r)]
		switch {
		case k == nil:
			steps = append(steps, step{operation: admission.Create, head: r})
			return
		case r.Digest == "" || r.Digest != k.Digest || !w.sameNamespace(r):
			steps = append(steps, step{operation: admission.Update, base: k.Rendered, head: r})
		}
		k.kept = true
	})
	for _, k := range order {
		if !k.kept && w.goes(k.Rendered) {
			steps = append(steps, step{operation: admission.Delete, base: k.Rendered})
		}
	}
	return steps
}

// goes is whether what head does not render is deleted: not while it has errors.
func (w *world) goes(r *review.Rendered) bool {
	if r.Tenant == v1alpha1.PlatformDirectory {
		return w.head.Result == nil || w.head.Result.Fleet == nil || len(w.head.Result.Fleet.PlatformErrors) == 0
	}
	t := w.head.Tenants[r.Tenant]
	return t == nil || len(t.Errors) == 0
}

// sameNamespace is whether the Namespace that an object is in has the labels and
// annotations that it had.
func (w *world) sameNamespace(r *review.Rendered) bool {
	at := place{r.Cluster, r.Namespace}
	before, after := w.namespacesBefore[at], w.namespacesAfter[at]
	if before == nil || after == nil {
		return before == after
	}
	return maps.Equal(before.Labels, after.Labels) && sameOwn(before.Annotations, after.Annotations)
}

// provenance are the annotations that say where an object comes from, and nothing
// of what it is.
var provenance = map[string]bool{
	v1alpha1.AnnotationRevision: true, v1alpha1.AnnotationPath: true, v1alpha1.AnnotationDigest: true, v1alpha1.AnnotationComponent: true,
}

func sameOwn(a, b map[string]string) bool {
	own := func(k, _ string) bool { return provenance[k] }
	a, b = maps.Clone(a), maps.Clone(b)
	maps.DeleteFunc(a, own)
	maps.DeleteFunc(b, own)
	return maps.Equal(a, b)
}

func (w *world) identity(r *review.Rendered) identity {
	k := w.kinds[[2]string{r.APIVersion, r.Kind}]
	return identity{place{r.Cluster, r.Namespace}, k.Group, k.Kind, r.Name}
}

func isNamespace(r *review.Rendered) bool { return r.Kind == "Namespace" && r.APIVersion == "v1" }

// request is a step as the API server's admission sees it.
type request struct {
	admission.Attributes
	written     *unstructured.Unstructured
	isNamespace bool
	isSecret    bool
	// namespace that the object is in, or is; nil for what is cluster-scoped.
	namespace *known

	// What expressions see of it.
	object, oldObject, options any
	asked                      map[string]any
	asForeign                  *Request
}

func (w *world) request(s step) *request {
	r := s.head
	if r == nil {
		r = s.base
	}
	k := w.kinds[[2]string{r.APIVersion, r.Kind}]
	out := &request{isNamespace: isNamespace(r), isSecret: k.Group == "" && k.Kind == "Secret"}

	var object, old runtime.Object // nil interfaces where there is none
	var owner = v1alpha1.FieldOwnerNamespace
	if k.Group == v1alpha1.GroupVersion.Group && k.Kind != v1alpha1.KindSecretSync {
		owner = v1alpha1.FieldOwnerSource
	}
	switch s.operation {
	case admission.Create:
		out.written = asWritten(s.head, true)
		object, out.object, out.options = out.written, out.written.Object, optionsOf("CreateOptions", owner)
	case admission.Update:
		before := asWritten(s.base, false)
		out.written = asWritten(s.head, false)
		object, out.object, out.options = out.written, out.written.Object, optionsOf("UpdateOptions", owner)
		old, out.oldObject = before, before.Object
	default:
		out.written = asWritten(s.base, false)
		old, out.oldObject, out.options = out.written, out.written.Object, optionsOf("DeleteOptions", "")
	}
	// A Namespace is in itself; of other cluster-scoped kinds the model has a
	// Namespace too, which the object itself has not.
	namespace := out.written.GetNamespace()
	if out.isNamespace {
		namespace = r.Name
	}
	if namespace != "" {
		out.namespace = w.namespace(place{r.Cluster, namespace}, s.then)
	}
	out.Attributes = admission.NewAttributesRecord(object, old, k.GroupVersionKind, namespace, r.Name, k.resource, "",
		s.operation, nil, false, writer)
	return out
}

// optionsOf is what a request is sent with.
func optionsOf(kind, owner string) map[string]any {
	options := map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": kind}
	if owner != "" {
		options["fieldManager"] = owner
	}
	return options
}

// namespace as it is when the request comes: of head once it is there, or as it
// was. One that is not rendered has nothing but its name.
func (w *world) namespace(at place, then bool) *known {
	first, second := w.namespacesAfter, w.namespacesBefore
	if then {
		first, second = second, first
	}
	if n := first[at]; n != nil {
		return n
	}
	if n := second[at]; n != nil {
		return n
	}
	return namespaceOf(at.name, nil, nil)
}

// asWritten is an object as the operator sends it. To a Namespace it adds the seal
// that it is born with and loses later, and the life of the tenant it belongs to.
func asWritten(r *review.Rendered, born bool) *unstructured.Unstructured {
	if !isNamespace(r) {
		return &unstructured.Unstructured{Object: r.Content}
	}
	content := maps.Clone(r.Content)
	metadata, _ := content["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	if metadata == nil {
		metadata = map[string]any{}
	}
	labels, _ := metadata["labels"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	tenant, _ := labels[v1alpha1.LabelTenant].(string)
	metadata["labels"] = with(labels, map[string]string{
		v1alpha1.LabelSealed: fmt.Sprint(born), corev1.LabelMetadataName: r.Name,
	})
	metadata["annotations"] = with(annotations, map[string]string{v1alpha1.AnnotationTenantUID: standInUID(tenant)})
	content["metadata"] = metadata
	return &unstructured.Unstructured{Object: content}
}

// with is a map with what is missing in it.
func with(m map[string]any, more map[string]string) map[string]any {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]any{}
	}
	for k, v := range more {
		if _, set := m[k]; !set {
			m[k] = v
		}
	}
	return m
}

// standInUID is in place of the UID of a Tenant, which only a cluster knows: the
// same for the same tenant.
func standInUID(tenant string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(tenant)) // cannot fail
	return fmt.Sprintf("00000000-0000-4000-8000-%012x", h.Sum64()&(1<<48-1))
}
