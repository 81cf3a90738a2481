package namespace

import (
	"context"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/wakeup"
)

// exceptions are those that the platform grants a tenant. They must not be changed.
func (r *Reconciler) exceptions(ctx context.Context, tenant string) ([]*v1alpha1.TenantException, error) {
	var list v1alpha1.TenantExceptionList
	if err := r.List(ctx, &list, client.MatchingFields{indexTenant: tenant}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list TenantExceptions: %w", err)
	}
	all := make([]*v1alpha1.TenantException, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	return all, nil
}

// grant notes the exceptions that the namespace has at a moment: when to look
// again, and which have ended since the last look.
func (r *Reconciler) grant(s *scope, platform []*v1alpha1.TenantException, now time.Time) {
	all := render.ExceptionsOf(s.tn, s.template.Profile(), platform)
	s.ends = render.NextEnd(all, now)
	for _, e := range all {
		if looked := s.memory.looked; !looked.IsZero() && e.Expires.After(looked) && !e.Expires.After(now) {
			r.event(s, eventNormal, "ExceptionEnded", "%s has ended; owner: %s. What it admitted keeps running, and is not admitted anew", e, e.Owner)
		}
	}
	s.memory.looked = now
}

// lookAgain has a namespace come back when one of its exceptions ends.
func (s *scope) lookAgain(result ctrl.Result, now time.Time) ctrl.Result {
	if s.ends.IsZero() {
		return result
	}
	left := max(s.ends.Sub(now), time.Millisecond) // zero would mean never
	if result.RequeueAfter == 0 || left < result.RequeueAfter {
		result.RequeueAfter = left
	}
	return result
}

// onException wakes the namespaces of the tenants that an exception is, or was, for.
func (r *Reconciler) onException() handler.TypedEventHandler[*v1alpha1.TenantException, reconcile.Request] {
	return wakeup.OnGeneration(func(ctx context.Context, q queue, versions ...*v1alpha1.TenantException) {
		for _, e := range versions {
			r.wakeTenant(ctx, q, e.Spec.Tenant)
		}
	})
}
