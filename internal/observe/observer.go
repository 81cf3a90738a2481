// Package observe knows what is in the cluster, cheaply: of every object that
// Aether made it keeps a name, a UID and a hash of the content, some hundred
// bytes, and wakes its namespace when one of them is not what it was.
//
// It keeps no object, reads nothing on demand and writes nothing. What someone
// else may change in an object is not in the hash, and wakes nobody.
package observe

import (
	"context"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Object is what is known of one object.
type Object struct {
	Kind schema.GroupVersionKind
	Name string
	UID  types.UID
	Hash Hash
	// Version is the resource version that was seen last.
	Version string
	// Seen is whether the object was there when the cluster was last heard of.
	Seen bool
	// Pending is whether a write of ours has not come back yet: the rest of what
	// is known is older than it.
	Pending bool
	// Terminating is whether the object is being deleted.
	Terminating bool
	// Namespace is set on Namespaces only.
	Namespace *Namespace
}

// Namespace is what is known of a Namespace beside its hash. Other than of other
// kinds, all Namespaces of the cluster are observed: whose they are is the point.
type Namespace struct {
	Managed     bool
	Tenant      string
	TenantUID   types.UID
	AdoptableBy string
	Sealed      string
	// Kinds is v1alpha1.AnnotationKinds.
	Kinds string
}

// State is how well a kind can be observed.
type State int

// States of a kind.
const (
	// Syncing: the first list has not arrived.
	Syncing State = iota
	// Synced: what is known is what is there, but for what is on its way.
	Synced
	// NotServed: the cluster does not have the kind.
	NotServed
	// Failing: the API server refuses to list the kind, or is away.
	Failing
)

// Options of an Observer.
type Options struct {
	// Config reaches the API server.
	Config *rest.Config
	// Mapper finds the resource of a kind, asking again for one it did not find.
	Mapper meta.RESTMapper
	// Changed is called with the name of a namespace in which something is not what
	// it was, and not by our own hand. It must not block.
	Changed func(namespace string)
	// Log says what is watched.
	Log logr.Logger
}

// Observer watches the kinds that it is asked about.
type Observer struct {
	client   dynamic.Interface
	streams  *streams
	metadata metadata.Interface
	mapper   meta.RESTMapper
	changed  func(string)
	log      logr.Logger

	mu      sync.Mutex
	ctx     context.Context // nil until Start
	kinds   map[schema.GroupKind]*kind
	objects map[string][]entry // by namespace; a Namespace is in itself
	pending map[string]int     // how many objects of a namespace are
	waiting sync.WaitGroup
}

// New returns an Observer that watches nothing yet.
func New(opts Options) (*Observer, error) {
	client, err := dynamic.NewForConfig(opts.Config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	streams, err := newStreams(opts.Config)
	if err != nil {
		return nil, err
	}
	md, err := metadata.NewForConfig(opts.Config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a metadata client: %w", err)
	}
	return &Observer{
		client: client, streams: streams, metadata: md, mapper: opts.Mapper, changed: opts.Changed, log: opts.Log,
		kinds: map[schema.GroupKind]*kind{}, objects: map[string][]entry{}, pending: map[string]int{},
	}, nil
}

// Start watches until the context ends. Kinds asked about earlier begin now.
func (o *Observer) Start(ctx context.Context) error {
	o.mu.Lock()
	o.ctx = ctx
	for _, k := range o.kinds {
		o.follow(k)
	}
	o.mu.Unlock()

	o.watchDefinitions(ctx)
	o.waiting.Wait()
	return nil
}

// Watch begins to watch a kind, once, and says how well that goes; the error is
// why it is Failing. Until the kind is Synced, the namespace is remembered and
// woken when that changes.
func (o *Observer) Watch(gvk schema.GroupVersionKind, namespace string) (State, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k, ok := o.kinds[gvk.GroupKind()]
	if !ok {
		k = newKind(gvk)
		o.kinds[gvk.GroupKind()] = k
		o.follow(k)
	}
	if k.state != Synced {
		k.waiters[namespace] = true
	}
	return k.state, k.err
}

// Find is what is known of one object; the zero Object when that is nothing. A
// Namespace is found in the namespace that it is.
func (o *Observer) Find(kind schema.GroupKind, namespace, name string) Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.objects[namespace] {
		if e := &o.objects[namespace][i]; e.name == name && e.kind.gvk.GroupKind() == kind {
			return e.object()
		}
	}
	return Object{}
}

// In is everything of ours that was seen in a namespace, the Namespace aside.
func (o *Observer) In(namespace string) []Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	var found []Object
	for i := range o.objects[namespace] {
		if e := &o.objects[namespace][i]; e.seen && !e.isNamespace() {
			found = append(found, e.object())
		}
	}
	return found
}

// Wrote tells of an object as the API server answered a write of it. Until the
// watch has caught up with it, the object is Pending. It returns the hash that
// the object is to have from now on.
func (o *Observer) Wrote(answer *unstructured.Unstructured) Hash {
	hash := HashOf(answer)
	namespace := namespaceOf(answer)
	version := resourceVersion(answer.GetResourceVersion())

	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.kinds[answer.GroupVersionKind().GroupKind()]
	if k == nil || version == 0 {
		return hash
	}
	e := o.entry(k, namespace, answer.GetName())
	if e.version < version {
		if e.wanted == 0 {
			o.pending[namespace]++
		}
		e.wanted = max(e.wanted, version)
	}
	return hash
}
