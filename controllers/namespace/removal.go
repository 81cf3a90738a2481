package namespace

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// defaultRetention is what the schema sets where spec.deletion.retention is left out.
const defaultRetention = 30 * 24 * time.Hour

// removal is how a namespace left Git.
type removal struct {
	// at is zero where the annotation cannot be read: then it is kept for good.
	at time.Time
	in string
	// elsewhere: it has not left Git, but this cluster.
	elsewhere bool
}

// removalOf is nil while Git asks for the namespace here.
func (r *Reconciler) removalOf(tn *v1alpha1.TenantNamespace) *removal {
	value, ok := tn.Annotations[v1alpha1.AnnotationRemovedAt]
	switch {
	case ok:
		at, _ := time.Parse(time.RFC3339, value)
		return &removal{at: at, in: tn.Annotations[v1alpha1.AnnotationRemovedIn]}
	case !tenancy.PlacedIn(tn, r.cluster):
		return &removal{elsewhere: true}
	default:
		return nil
	}
}

// deadline is when the namespace is deleted; false when it is kept until a person
// deletes its TenantNamespace.
func (s *scope) deadline() (time.Time, bool) {
	if s.removed == nil || s.removed.elsewhere || s.removed.at.IsZero() || s.tenant.Spec.Deletion.Policy != v1alpha1.DeletionDelete {
		return time.Time{}, false
	}
	retention := defaultRetention
	if d := s.tenant.Spec.Deletion.Retention; d != nil {
		retention = d.Duration
	}
	return s.removed.at.Add(retention), true
}

// kept says how long a namespace that has left Git is still there.
func (r *Reconciler) kept(s *scope) error {
	if s.removed.elsewhere {
		return &kept{message: "spec.clusters does not name this cluster; kept, cordoned, until its TenantNamespace is deleted"}
	}
	what := "Removed from Git"
	if !s.removed.at.IsZero() {
		what += " at " + s.removed.at.UTC().Format(time.RFC3339)
	}
	if s.removed.in != "" {
		what += " in " + s.removed.in
	}
	deadline, ok := s.deadline()
	if !ok {
		return &kept{message: what + "; kept, cordoned, until its TenantNamespace is deleted or its file is put back"}
	}
	return &kept{
		message: fmt.Sprintf("%s; kept, cordoned, until %s, then deleted unless its file is put back", what, deadline.UTC().Format(time.RFC3339)),
		after:   deadline.Sub(r.now()),
	}
}

// expire deletes a namespace whose retention is over: first the Namespace, and
// when it is gone the TenantNamespace.
func (r *Reconciler) expire(ctx context.Context, s *scope) error {
	deadline, ok := s.deadline()
	if !ok || r.now().Before(deadline) {
		return nil
	}
	if err := r.demolish(ctx, s); err != nil {
		return err
	}
	err := r.Delete(ctx, s.tn, client.Preconditions{UID: &s.tn.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete TenantNamespace %q: %w", s.tn.Name, err)
	}
	return errQuiet // its deletion wakes us
}

// release lets go of a TenantNamespace that is being deleted. Its Namespace goes
// too if it has left Git before; else it stays as it is: a deleted
// TenantNamespace, or a deleted CRD, is no order to delete people's data.
func (r *Reconciler) release(ctx context.Context, s *scope) error {
	s.gone = true
	if !controllerutil.ContainsFinalizer(s.tn, v1alpha1.FinalizerNamespace) {
		return nil
	}
	if err := r.sight(s); err != nil {
		return err
	}
	tenant, err := r.tenant(ctx, s.tn.Spec.Tenant)
	if err != nil {
		return err
	}
	switch s.tenant = tenant; {
	case s.removed == nil || s.removed.elsewhere:
		r.event(s, eventNormal, "Released", "The Namespace stays as it is: it had not left Git")
	case s.tenant == nil: // whose it is cannot be told
		r.event(s, eventWarning, "Released", "The Namespace stays as it is: there is no Tenant %q that it belongs to", s.tn.Spec.Tenant)
	default:
		if err := r.demolish(ctx, s); err != nil {
			s.gone = false
			return err
		}
	}

	before := s.tn.DeepCopy()
	controllerutil.RemoveFinalizer(s.tn, v1alpha1.FinalizerNamespace)
	err = r.Patch(ctx, s.tn, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(v1alpha1.FieldOwnerNamespace))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot release TenantNamespace %q: %w", s.tn.Name, err)
	}
	return nil
}

// demolish deletes the Namespace if it is this tenant's, and returns nil once it
// is gone. What others have put in to hold it up stays theirs.
func (r *Reconciler) demolish(ctx context.Context, s *scope) error {
	ns := r.seen(s)
	switch {
	case ns.Pending:
		return &quiet{after: patience}
	case !owned(ns, s.tenant.Name, s.tenant.UID):
		return nil
	case !ns.Terminating:
		if err := r.applier.Delete(ctx, namespaceKind, "", s.tn.Name, ns.UID); err != nil {
			return err
		}
		objectsPruned.Inc()
		r.event(s, eventNormal, "Removed", "Deleting Namespace %s, which has left Git", s.tn.Name)
	}
	return waiting(v1alpha1.ReasonNamespaceTerminating, "Waiting for Namespace %q to be gone", s.tn.Name)
}

// ensureFinalizer makes sure that we are asked before the TenantNamespace goes.
// Those that come from Git are born with it, and cost no write here.
func (r *Reconciler) ensureFinalizer(ctx context.Context, tn *v1alpha1.TenantNamespace) error {
	if controllerutil.ContainsFinalizer(tn, v1alpha1.FinalizerNamespace) {
		return nil
	}
	before, status := tn.DeepCopy(), tn.Status
	controllerutil.AddFinalizer(tn, v1alpha1.FinalizerNamespace)
	err := r.Patch(ctx, tn, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(v1alpha1.FieldOwnerNamespace))
	if err != nil {
		return fmt.Errorf("cannot add the finalizer to TenantNamespace %q: %w", tn.Name, err)
	}
	tn.Status = status
	return nil
}
