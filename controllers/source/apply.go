package source

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"golang.org/x/sync/errgroup"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
)

// apply makes the cluster hold what the units ask for: the platform's first,
// since tenants build on it, then tenants side by side, so that those that come
// first are worked on while others are still being applied.
//
// A unit costs something only when its render has changed, when someone has
// changed one of its objects, or when everything is compared.
func (r *Reconciler) apply(ctx context.Context, s *scope) error {
	dirty := s.memory.stained()
	var due []*unit
	for _, u := range s.units {
		if len(u.errors) > 0 {
			delete(s.memory.settled, u.name)
		} else if dirty[u.name] || s.memory.settled[u.name] != u.digest {
			due = append(due, u)
		}
	}
	if len(due) > 0 {
		if err := r.announce(ctx, s, len(due)); err != nil {
			s.memory.stain(dirty)
			return err
		}
	}

	results := &results{scope: s}
	if len(due) > 0 && due[0].name == v1alpha1.PlatformDirectory {
		results.add(r.applyUnit(ctx, s, due[0]))
		due = due[1:]
	}
	var group errgroup.Group
	group.SetLimit(r.opts.Concurrency)
	for _, u := range due {
		group.Go(func() error {
			if ctx.Err() == nil {
				results.add(r.applyUnit(ctx, s, u))
			}
			return nil
		})
	}
	_ = group.Wait() // units report to results
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := r.restore(ctx, s, dirty); err != nil {
		s.again(err)
		s.incomplete = true
	}
	return nil
}

// result is what became of a unit.
type result struct {
	unit    *unit
	changed int
	// refused is what the API server would not have, at its place in Git.
	refused []*fleet.Error
	// err is what another attempt may mend.
	err error
}

// results gathers those of units that run side by side.
type results struct {
	mu    sync.Mutex
	scope *scope
}

func (r *results) add(u result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.scope
	s.changed += u.changed
	switch {
	case len(u.refused) > 0:
		s.failures[u.unit.name] = u.refused
		s.again(fmt.Errorf("the API server refuses objects of %s: %w", u.unit.name, u.refused[0]))
	case u.err != nil:
		s.again(u.err)
		s.incomplete = true
	default:
		s.memory.settled[u.unit.name] = u.unit.digest
		return
	}
	delete(s.memory.settled, u.unit.name)
}

// applyUnit puts a unit's objects in place, in their order.
func (r *Reconciler) applyUnit(ctx context.Context, s *scope, u *unit) result {
	log := ctrl.LoggerFrom(ctx).WithValues("tenant", u.name, "revision", s.artifact.Revision)
	var due []*object
	exists := false
	for _, o := range u.objects {
		live := s.world.get(o.key)
		exists = exists || live != nil
		if live == nil || !o.inPlace(live) {
			due = append(due, o)
		}
	}

	// What the API server would refuse in the middle would leave half a change, so
	// it is asked first. A tenant's first objects have nothing to break, and one
	// object is refused whole.
	out := result{unit: u}
	if exists && len(due) > 1 {
		if out.refused, out.err = r.rehearse(ctx, s, due); len(out.refused) > 0 || out.err != nil {
			return out
		}
	}
	for _, o := range due {
		err := r.put(ctx, s, o)
		if refusedBy(err) {
			out.refused = append(out.refused, o.wrong(err.Error()))
			return out
		}
		if err != nil {
			out.err = err
			return out
		}
		out.changed++
		log.V(1).Info("applied", "object", o.key.String())
	}
	if out.changed > 0 {
		log.Info("applied", "objects", out.changed)
	}
	return out
}

// rehearse applies objects without effect, and returns all that are refused.
func (r *Reconciler) rehearse(ctx context.Context, s *scope, objects []*object) ([]*fleet.Error, error) {
	var refused []*fleet.Error
	for _, o := range objects {
		_, err := r.send(ctx, o, s, client.DryRunAll)
		if refusedBy(err) {
			refused = append(refused, o.wrong(err.Error()))
		} else if err != nil {
			return nil, err
		}
	}
	return refused, nil
}

// put applies an object, and then takes away what others have added to its spec,
// which server-side apply leaves where it is.
func (r *Reconciler) put(ctx context.Context, s *scope, o *object) error {
	sent, err := r.send(ctx, o, s)
	if err != nil {
		return err
	}
	countApplied()
	live, err := typed(sent)
	if err != nil || o.inPlace(live) {
		return err
	}
	patch, err := o.repair(live)
	if err != nil {
		return fmt.Errorf("cannot encode the repair of %s %s: %w", o.kind, o.name, err)
	}
	err = r.Patch(ctx, sent, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(v1alpha1.FieldOwnerSource))
	if err != nil {
		return fmt.Errorf("cannot repair %s %s: %w", o.kind, o.name, err)
	}
	if live, err = typed(sent); err != nil || o.inPlace(live) {
		return err
	}
	// The API server changes what it is sent: a mutating policy, or a default that
	// we do not know. Insisting would never end, so what it makes of it is accepted.
	ctrl.LoggerFrom(ctx).Info("the API server changes what is applied; accepted", "tenant", o.tenant, "object", o.key.String())
	accepted := *o
	accepted.spec = live
	s.memory.accept(&accepted)
	return nil
}

// send creates or applies an object. Creating is a POST, which costs an API server
// less than a server-side apply of a custom resource. Our fields are then owned by
// an update: repair takes away those that Git drops later.
func (r *Reconciler) send(ctx context.Context, o *object, s *scope, opts ...client.ApplyOption) (*unstructured.Unstructured, error) {
	live, rehearsing := s.world.get(o.key), len(opts) > 0
	u := o.config(s.artifact.Revision, live)
	if live == nil && !rehearsing {
		err := r.Create(ctx, u, client.FieldOwner(v1alpha1.FieldOwnerSource))
		switch {
		case err == nil:
			return u, nil
		case !apierrors.IsAlreadyExists(err):
			return nil, fmt.Errorf("cannot create %s %s: %w", o.kind, o.name, err)
		}
		u = o.config(s.artifact.Revision, nil) // the informer was late
	}
	opts = append(opts, client.FieldOwner(v1alpha1.FieldOwnerSource), client.ForceOwnership)
	err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), opts...)
	if apierrors.IsInvalid(err) && live != nil {
		// Where the last field of a part goes, an API server of 1.36.3 makes the part
		// null, and then finds that invalid. What goes is taken away first.
		if rehearsing {
			err = r.takeAway(ctx, o, live, u.GroupVersionKind(), client.DryRunAll)
		} else if r.takeAway(ctx, o, live, u.GroupVersionKind()) == nil {
			u = o.config(s.artifact.Revision, live)
			err = r.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), opts...)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot apply %s %s: %w", o.kind, o.name, err)
	}
	return u, nil
}

// takeAway makes the spec of a live object what is wanted, by a patch.
func (r *Reconciler) takeAway(ctx context.Context, o *object, live client.Object, kind schema.GroupVersionKind, opts ...client.PatchOption) error {
	patch, err := o.repair(live)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	u.SetName(o.name)
	opts = append(opts, client.FieldOwner(v1alpha1.FieldOwnerSource))
	return r.Patch(ctx, u, client.RawPatch(types.JSONPatchType, patch), opts...)
}

// restore puts back the objects of dirty units that the render has no say in:
// what has left Git, what belongs to a directory with errors, and everything
// while there is no render.
func (r *Reconciler) restore(ctx context.Context, s *scope, dirty map[string]bool) error {
	if len(dirty) == 0 {
		return nil
	}
	rendered := map[key]bool{}
	for _, u := range s.units {
		for _, o := range u.objects {
			rendered[o.key] = len(u.errors) == 0
		}
	}
	for k, o := range s.memory.wanted() {
		live := s.world.get(k)
		if !dirty[o.tenant] || rendered[k] || live != nil && o.inPlace(live) || live == nil && o.removed != nil {
			continue
		}
		if err := r.put(ctx, s, o); err != nil {
			s.memory.stain(dirty)
			return err
		}
		s.changed++
	}
	return nil
}

// refusedBy reports whether an error is the API server's verdict on an object,
// rather than on its own health.
func refusedBy(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsRequestEntityTooLargeError(err)
}

// typed turns what the API server answered into the kind's own type.
func typed(u *unstructured.Unstructured) (client.Object, error) {
	var o client.Object
	switch u.GetKind() {
	case v1alpha1.KindTenant:
		o = &v1alpha1.Tenant{}
	case v1alpha1.KindTenantNamespace:
		o = &v1alpha1.TenantNamespace{}
	case v1alpha1.KindWorkloadCluster:
		o = &v1alpha1.WorkloadCluster{}
	case v1alpha1.KindTenantException:
		o = &v1alpha1.TenantException{}
	default:
		o = &v1alpha1.NamespaceProfile{}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		return nil, fmt.Errorf("cannot read %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return o, nil
}
