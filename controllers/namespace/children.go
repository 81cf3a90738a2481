package namespace

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/internal/observe"
)

// apply brings what is in the namespace to what it shall be, in the order of the
// render: what isolates it first. It writes only what differs.
func (r *Reconciler) apply(ctx context.Context, s *scope) error {
	for _, d := range s.children {
		if d.unserved {
			continue
		}
		if err := r.put(ctx, s, d); err != nil {
			if d.isolation && !s.intact(d, r.find(d)) {
				return r.reseal(ctx, s, err)
			}
			return err
		}
	}
	return nil
}

// put applies one object, if it has to be.
func (r *Reconciler) put(ctx context.Context, s *scope, d *desired) error {
	seen := r.find(d)
	e := s.inventory.find(d.id)
	current := e.Digest == d.digest
	intact := seen.Hash == observe.ParseHash(e.Observed)

	switch {
	case seen.Terminating:
		return nil // we are woken when it is gone
	case current && (seen.Pending || seen.Seen && intact):
		return nil
	case current:
		if left := s.memory.fight(d.id, r.now()); left > 0 {
			return &held{
				message: fmt.Sprintf("%s is changed by somebody else again and again, and is put back at most %d times in %s", d.ref(), mostRepairs, repairWindow),
				after:   left,
			}
		}
	}

	var answer *unstructured.Unstructured
	var err error
	var repair string
	switch {
	case !seen.Seen && !seen.Pending:
		answer, err = r.applier.Create(ctx, d.Unstructured)
		repair = "Put back %s, which had been deleted"
	case seen.Pending || intact:
		answer, err = r.applier.Apply(ctx, d.Unstructured)
	default:
		answer, err = r.applier.Repair(ctx, d.Unstructured, observe.ParseHash(e.Observed))
		repair = "Undid a change of %s"
	}
	if err != nil {
		return err
	}
	if current && repair != "" {
		r.repaired(s, repair, d.ref())
	}
	r.applied(ctx, s, d, answer)
	return nil
}

// applied remembers how the API server answered.
func (r *Reconciler) applied(ctx context.Context, s *scope, d *desired, answer *unstructured.Unstructured) {
	hash := r.observer.Wrote(answer)
	s.memory.working = true
	objectsApplied.Inc()
	logf(ctx).V(1).Info("applied", "object", d.ref())
	if e := s.inventory.find(d.id); e != nil {
		e.Version, e.Digest, e.Observed = d.GroupVersionKind().Version, d.digest, hash.String()
		s.memory.remember(*e)
	}
}

// repaired tells that somebody's change was undone.
func (r *Reconciler) repaired(s *scope, format, ref string) {
	objectsRepaired.Inc()
	r.event(s, eventWarning, "Repaired", format, ref)
}

// prune deletes what is not wanted any more: entries of the inventory, and what
// else carries our labels. An entry stays until its object is gone.
func (r *Reconciler) prune(ctx context.Context, s *scope) error {
	wanted := map[string]bool{s.namespace.id: true}
	for _, d := range s.children {
		wanted[d.id] = true
	}
	leaving := map[string]bool{}
	for _, o := range r.observer.In(s.tn.Name) {
		id := idOf(o.Kind.GroupKind(), s.tn.Name, o.Name)
		if wanted[id] {
			continue
		}
		leaving[id] = true
		if o.Terminating {
			continue
		}
		if err := r.applier.Delete(ctx, o.Kind, s.tn.Name, o.Name, o.UID); err != nil {
			return err
		}
		objectsPruned.Inc()
		logf(ctx).Info("pruned", "object", o.Kind.Kind+"/"+o.Name)
		r.event(s, eventNormal, "Removed", "Removed %s/%s, which is not asked for any more", o.Kind.Kind, o.Name)
	}
	for _, e := range s.inventory.leftovers(wanted) {
		pending := r.observer.Find(kindOf(e).GroupKind(), s.tn.Name, nameOf(e)).Pending
		if !leaving[e.ID] && !pending {
			s.inventory.drop(e.ID)
		}
	}
	return nil
}
