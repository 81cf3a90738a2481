package observe

import (
	"slices"
	"strconv"
	"unique"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// entry is what is kept of an object. There are a hundred thousand of them.
type entry struct {
	kind *kind
	name string
	uid  types.UID
	hash Hash
	// version is the resource version that the entry speaks of; wanted, when it is
	// not 0, the version of a write of ours that has not been seen yet.
	version, wanted   uint64
	seen, terminating bool
	namespace         *Namespace
}

func (e *entry) isNamespace() bool { return e.kind.gvk.GroupKind() == NamespaceKind }

func (e *entry) object() Object {
	return Object{
		Kind: e.kind.gvk, Name: e.name, UID: e.uid, Hash: e.hash, Version: strconv.FormatUint(e.version, 10),
		Seen: e.seen, Pending: e.wanted != 0, Terminating: e.terminating, Namespace: e.namespace,
	}
}

// entry returns that of an object, made when there is none. It is good until
// the next call.
func (o *Observer) entry(k *kind, namespace, name string) *entry {
	entries := o.objects[namespace]
	for i := range entries {
		if entries[i].kind == k && entries[i].name == name {
			return &entries[i]
		}
	}
	// Thousands of namespaces hold objects of the same few names.
	o.objects[namespace] = append(entries, entry{kind: k, name: unique.Make(name).Value()})
	return &o.objects[namespace][len(entries)]
}

// see takes what a watch or a list tells of an object, and says whether its
// namespace is to be woken.
func (o *Observer) see(k *kind, s *sighting) bool {
	e := o.entry(k, s.namespace, s.name)
	if s.version != 0 && s.version < e.version {
		return false
	}
	changed := !e.seen || e.uid != s.uid || e.hash != s.hash || e.terminating != s.terminating
	if e.isNamespace() {
		changed = changed || e.namespace == nil || *e.namespace != *s.space
		e.namespace = s.space
	}
	e.uid, e.hash, e.terminating, e.seen, e.version = s.uid, s.hash, s.terminating, true, s.version
	return o.settle(e, s.namespace, changed)
}

// miss takes that an object is gone as of a resource version.
func (o *Observer) miss(k *kind, namespace, name string, version uint64) bool {
	e := o.entry(k, namespace, name)
	if version != 0 && version < e.version {
		return false
	}
	changed := e.seen
	e.seen, e.version = false, version
	wake := o.settle(e, namespace, changed)
	if e.wanted == 0 {
		o.forget(e, namespace)
	}
	return wake
}

// replace takes a whole list: what it does not name is gone. It returns the
// namespaces to wake.
func (o *Observer) replace(k *kind, list []*sighting, version uint64) map[string]bool {
	type id struct{ namespace, name string }
	wake := map[string]bool{}
	listed := make(map[id]bool, len(list))

	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range list {
		listed[id{s.namespace, s.name}] = true
		if o.see(k, s) {
			wake[s.namespace] = true
		}
	}
	var gone []id
	for namespace, entries := range o.objects {
		for i := range entries {
			if key := (id{namespace, entries[i].name}); entries[i].kind == k && !listed[key] {
				gone = append(gone, key)
			}
		}
	}
	for _, key := range gone {
		if o.miss(k, key.namespace, key.name, version) {
			wake[key.namespace] = true
		}
	}
	return wake
}

// settle decides whom a change wakes. What comes back of our own writes wakes
// the namespace once, with the last of them.
func (o *Observer) settle(e *entry, namespace string, changed bool) bool {
	if e.wanted == 0 {
		return changed
	}
	if e.version < e.wanted {
		return false
	}
	e.wanted = 0
	o.pending[namespace]--
	if o.pending[namespace] > 0 {
		return false
	}
	delete(o.pending, namespace)
	return true
}

func (o *Observer) forget(e *entry, namespace string) {
	entries := o.objects[namespace]
	i := slices.IndexFunc(entries, func(other entry) bool { return other.kind == e.kind && other.name == e.name })
	entries = slices.Delete(entries, i, i+1)
	if len(entries) == 0 {
		delete(o.objects, namespace)
		return
	}
	o.objects[namespace] = entries
}

// sighting is an object on its way into an entry.
type sighting struct {
	namespace, name string
	uid             types.UID
	hash            Hash
	version         uint64
	terminating     bool
	space           *Namespace
}

func sightingOf(o *unstructured.Unstructured) *sighting {
	s := &sighting{
		namespace: namespaceOf(o), name: o.GetName(), uid: o.GetUID(), hash: HashOf(o),
		version: resourceVersion(o.GetResourceVersion()), terminating: o.GetDeletionTimestamp() != nil,
	}
	if o.GroupVersionKind().GroupKind() == NamespaceKind {
		labels := o.GetLabels()
		s.space = &Namespace{
			Managed:     labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy,
			Tenant:      labels[v1alpha1.LabelTenant],
			TenantUID:   types.UID(o.GetAnnotations()[v1alpha1.AnnotationTenantUID]),
			AdoptableBy: labels[v1alpha1.LabelAdoptableBy],
			Sealed:      labels[v1alpha1.LabelSealed],
			Kinds:       unique.Make(o.GetAnnotations()[v1alpha1.AnnotationKinds]).Value(),
		}
	}
	return s
}

// namespaceOf is the namespace that an object is kept under: a Namespace is in itself.
func namespaceOf(o *unstructured.Unstructured) string {
	if o.GroupVersionKind().GroupKind() == NamespaceKind {
		return o.GetName()
	}
	return o.GetNamespace()
}

// resourceVersion as a number, which Kubernetes says it is; 0 where an
// aggregated API does otherwise, and then our own writes wake us too.
func resourceVersion(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
