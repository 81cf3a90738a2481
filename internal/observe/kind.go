package observe

import (
	"context"
	"fmt"
	"math"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// kind is one kind that is watched.
type kind struct {
	gvk   schema.GroupVersionKind
	state State
	// err is why the last list or watch failed.
	err error
	// waiters are the namespaces to wake when the state changes.
	waiters map[string]bool
	// resource is what the kind is served as, when it is.
	resource schema.GroupVersionResource
	// defined is signalled when a CRD of the group appears or changes.
	defined chan struct{}
	// stop ends the watch; nil when there is none.
	stop context.CancelFunc
}

func newKind(gvk schema.GroupVersionKind) *kind {
	return &kind{gvk: gvk, waiters: map[string]bool{}, defined: make(chan struct{}, 1)}
}

// follow watches a kind for as long as the Observer runs, and with the lock held.
func (o *Observer) follow(k *kind) {
	if o.ctx == nil {
		return
	}
	ctx := o.ctx
	o.waiting.Go(func() {
		for ctx.Err() == nil {
			resource, err := o.find(ctx, k)
			if err != nil {
				return // the context ended
			}
			o.watch(ctx, k, resource)
		}
	})
}

// discovery is how long an API server may take between the event of a CRD and
// serving its kind.
var discovery = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 8, Cap: 10 * time.Second}

// find waits until the cluster serves a kind. It asks when a CRD of the kind's
// group appears or changes, and for a while after.
func (o *Observer) find(ctx context.Context, k *kind) (schema.GroupVersionResource, error) {
	backoff := discovery
	for {
		mapping, err := o.mapper.RESTMapping(k.gvk.GroupKind(), k.gvk.Version)
		if err == nil {
			return mapping.Resource, nil
		}
		unserved := meta.IsNoMatchError(err)
		if unserved {
			o.transit(k, NotServed, nil)
		} else {
			o.transit(k, Failing, fmt.Errorf("cannot find the resource of %s: %w", k.gvk.Kind, err))
		}

		var retry <-chan time.Time
		if backoff.Steps > 0 || !unserved {
			retry = time.After(backoff.Step())
		}
		select {
		case <-ctx.Done():
			return schema.GroupVersionResource{}, ctx.Err()
		case <-k.defined:
			backoff = discovery
		case <-retry:
		}
	}
}

// watch reflects a kind until its CRD goes away.
func (o *Observer) watch(ctx context.Context, k *kind, resource schema.GroupVersionResource) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o.mu.Lock()
	k.resource, k.stop = resource, stop
	o.mu.Unlock()
	o.log.Info("watching", "kind", k.gvk.Kind, "group", k.gvk.Group)

	client := o.client.Resource(resource)
	selector := labelSelector(k.gvk.GroupKind())
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.LabelSelector = selector
			list, err := client.List(ctx, opts)
			o.failed(k, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.LabelSelector = selector
			w, err := o.streams.open(ctx, resource, opts)
			o.failed(k, err)
			return w, err
		},
	}
	reflector := cache.NewReflectorWithOptions(lw, nil, &store{o, k}, cache.ReflectorOptions{
		Name: "observe", TypeDescription: k.gvk.String(),
	})
	reflector.RunWithContext(ctx)

	if o.ctx.Err() == nil {
		o.transit(k, NotServed, nil)
		o.wake(o.replace(k, nil, math.MaxUint64))
	}
}

// labelSelector leaves out what is not ours; of Namespaces nothing, since one
// that is not ours must not be taken.
func labelSelector(kind schema.GroupKind) string {
	if kind == NamespaceKind {
		return ""
	}
	return v1alpha1.LabelManagedBy + "=" + v1alpha1.ManagedBy
}

// failed remembers why a kind that was never listed cannot be. One that was
// listed and is not found any more is looked for anew: its CRD went, and an API
// server that still answered for a moment after it has been believed.
func (o *Observer) failed(k *kind, err error) {
	o.mu.Lock()
	synced := k.state == Synced
	if synced && apierrors.IsNotFound(err) && k.stop != nil {
		k.stop()
		k.stop = nil
	}
	o.mu.Unlock()
	switch {
	case err == nil || synced:
	case apierrors.IsNotFound(err): // the CRD went, and discovery has not noticed
		o.transit(k, NotServed, nil)
	default:
		o.transit(k, Failing, fmt.Errorf("cannot watch %s: %w", k.gvk.Kind, err))
	}
}

// transit sets a kind's state. When it is another, it wakes who waits for it and
// for no other kind: a namespace of ten kinds is woken once.
func (o *Observer) transit(k *kind, state State, err error) {
	o.mu.Lock()
	was := k.state
	k.state, k.err = state, err
	wake := map[string]bool{}
	if was != state {
		for namespace := range k.waiters {
			if !o.waits(namespace, k) {
				wake[namespace] = true
			}
		}
		clear(k.waiters)
	}
	o.mu.Unlock()
	o.wake(wake)
}

// waits says whether a namespace waits for the first list of another kind.
func (o *Observer) waits(namespace string, but *kind) bool {
	for _, k := range o.kinds {
		if k != but && k.state == Syncing && k.waiters[namespace] {
			return true
		}
	}
	return false
}

func (o *Observer) wake(namespaces map[string]bool) {
	for namespace := range namespaces {
		o.changed(namespace)
	}
}

// watchDefinitions tells kinds when their CRDs come and go.
func (o *Observer) watchDefinitions(ctx context.Context) {
	resource := apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
	client := o.metadata.Resource(resource)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, opts)
		},
	}
	reflector := cache.NewReflectorWithOptions(lw, nil, &definitions{o}, cache.ReflectorOptions{
		Name: "observe", TypeDescription: "CustomResourceDefinition",
	})
	o.waiting.Go(func() { reflector.RunWithContext(ctx) })
}

// store is where a reflector puts a kind. It implements cache.TransformingStore,
// so that not even the first list is held as objects.
type store struct {
	*Observer
	kind *kind
}

var _ cache.TransformingStore = (*store)(nil)

func (s *store) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if o, ok := obj.(*unstructured.Unstructured); ok {
			return sightingOf(o), nil
		}
		return obj, nil
	}
}

// GetObjectMeta lets a store of client-go key a sighting.
func (s *sighting) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: s.namespace, Name: s.name}
}

func (s *store) Add(obj any) error { return s.Update(obj) }

func (s *store) Update(obj any) error {
	seen, err := toSighting(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	wake := s.see(s.kind, seen)
	s.mu.Unlock()
	if wake {
		s.changed(seen.namespace)
	}
	return nil
}

func (s *store) Delete(obj any) error {
	gone, err := toSighting(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	wake := s.miss(s.kind, gone.namespace, gone.name, gone.version)
	s.mu.Unlock()
	if wake {
		s.changed(gone.namespace)
	}
	return nil
}

// Replace takes a whole list. The first one wakes only those who wait for it.
func (s *store) Replace(list []any, version string) error {
	seen := make([]*sighting, 0, len(list))
	for _, obj := range list {
		one, err := toSighting(obj)
		if err != nil {
			return err
		}
		seen = append(seen, one)
	}
	s.mu.Lock()
	first := s.kind.state != Synced
	s.mu.Unlock()
	changed := s.replace(s.kind, seen, resourceVersion(version))
	s.transit(s.kind, Synced, nil)
	if !first {
		s.wake(changed)
	}
	return nil
}

func (s *store) Resync() error { return nil }

func toSighting(obj any) (*sighting, error) {
	switch o := obj.(type) {
	case *sighting:
		return o, nil
	case *unstructured.Unstructured:
		return sightingOf(o), nil
	default:
		return nil, fmt.Errorf("cannot observe a %T", obj)
	}
}

// definitions is where the reflector of CRDs puts their names.
type definitions struct{ *Observer }

func (d *definitions) Add(obj any) error {
	if crd, err := meta.Accessor(obj); err == nil {
		d.tell(crd.GetName())
	}
	return nil
}

func (d *definitions) Update(obj any) error { return d.Add(obj) }

func (d *definitions) Delete(obj any) error {
	crd, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.kinds {
		if k.stop != nil && k.resource.GroupResource().String() == crd.GetName() {
			k.stop()
			k.stop = nil
		}
	}
	return nil
}

func (d *definitions) Replace(list []any, _ string) error {
	for _, obj := range list {
		_ = d.Add(obj)
	}
	return nil
}

func (d *definitions) Resync() error { return nil }

// tell has the kinds of a CRD's group look again.
func (d *definitions) tell(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	group := schema.ParseGroupResource(name).Group
	for _, k := range d.kinds {
		if k.gvk.Group != group || k.state != NotServed {
			continue
		}
		select {
		case k.defined <- struct{}{}:
		default:
		}
		if k.stop != nil {
			k.stop() // it waits before it tries again; a new one does not
			k.stop = nil
		}
	}
}
