package source

import (
	"context"
	"fmt"
	"slices"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// approve decides whether what has left Git may be removed. It is asked for all
// of a revision at once: above the budget, nothing is removed.
func (r *Reconciler) approve(ctx context.Context, s *scope) error {
	leaving := len(s.leavers.unmarked)
	if leaving == 0 {
		return nil
	}
	prune := s.ts.Spec.Prune
	if prune.Enabled != nil && !*prune.Enabled {
		s.blocked = fmt.Sprintf("%s left Git and %s kept: spec.prune.enabled is false", count(leaving, "object"), are(leaving))
		return nil
	}
	limit, err := budget(prune, s.leavers.applied)
	if err != nil {
		return stalled(v1alpha1.ReasonInvalidSpec, "spec.prune.max: %v", err)
	}
	if leaving <= limit {
		return nil
	}
	approved, err := r.approvedBy(ctx, s)
	if leaving <= approved {
		return nil
	}
	s.blocked = fmt.Sprintf(`%s would remove %s; spec.prune.max allows %d of %d. Put "%s: %d" into the message of the newest commit, or raise spec.prune.max`,
		s.artifact.Revision, count(leaving, "object"), limit, s.leavers.applied, v1alpha1.TrailerPrune, leaving)
	if err != nil {
		s.blocked += fmt.Sprintf(" (%v)", err)
		s.again(err)
	}
	return nil
}

// approvedBy is how many removals the commit of the artifact's revision approves.
// A revision is read once.
func (r *Reconciler) approvedBy(ctx context.Context, s *scope) (int, error) {
	if n, ok := s.memory.approved[s.artifact.Revision]; ok {
		return n, nil
	}
	repository, ok := s.source.(*sourcev1.GitRepository)
	if !ok {
		return 0, nil // only a commit has a message
	}
	message, err := r.commits.message(ctx, repository, s.artifact.Revision)
	if err != nil {
		return 0, fmt.Errorf("cannot read the commit's message: %w", err)
	}
	n := approval(message)
	s.memory.approved = map[string]int{s.artifact.Revision: n}
	return n, nil
}

// prune marks what has left Git, and deletes what is over: tenants without
// namespaces and clusters, exceptions, and profiles that no namespace uses. It deletes the
// object that it has seen, not one of the same name.
func (r *Reconciler) prune(ctx context.Context, s *scope) error {
	leavers := s.leavers.finished
	if s.blocked == "" {
		leavers = slices.Concat(leavers, s.leavers.unmarked)
	}
	want := s.memory.wanted()
	for _, live := range leavers {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.remove(ctx, s, live, want[keyOf(live)]); err != nil {
			s.again(err)
			s.incomplete = true
			continue
		}
		s.removed++
		countRemoved()
	}
	return nil
}

// remove deletes a live object, or marks it: o is what was to be in place of it.
func (r *Reconciler) remove(ctx context.Context, s *scope, live client.Object, o *object) error {
	k := keyOf(live)
	log := ctrl.LoggerFrom(ctx).WithValues("tenant", tenantOf(live), "revision", s.artifact.Revision, "object", k.String())

	if k.kind == v1alpha1.KindNamespaceProfile || k.kind == v1alpha1.KindTenantException || k.kind == v1alpha1.KindTenant && !s.world.holdsSome(k.name) {
		uid, version := live.GetUID(), live.GetResourceVersion()
		err := r.Delete(ctx, live.DeepCopyObject().(client.Object), client.Preconditions{UID: &uid, ResourceVersion: &version})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot delete %s %s: %w", k.kind, k.name, err)
		}
		log.Info("deleted")
		return nil
	}

	if o.removed == nil { // else the informers lag behind
		o = o.leaving(removal{at: r.now().UTC().Format(time.RFC3339), in: s.artifact.Revision})
	}
	s.memory.accept(o)
	if err := r.put(ctx, s, o); err != nil {
		return err
	}
	log.Info("marked as removed")
	return nil
}
