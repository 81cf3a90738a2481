package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// indexTenant is the field that TenantNamespaces and TenantExceptions are indexed by.
const indexTenant = "spec.tenant"

// resolve finds the tenant, and makes sure that Namespaces can be seen. Without
// these nothing is known, and nothing is done.
func (r *Reconciler) resolve(ctx context.Context, s *scope) error {
	if !tenancy.PlacedIn(s.tn, r.cluster) && len(s.inventory.entries) == 0 {
		return errElsewhere
	}
	tenant, err := r.tenant(ctx, s.tn.Spec.Tenant)
	if err != nil {
		return err
	}
	if tenant == nil {
		return waiting(v1alpha1.ReasonTenantNotFound, "Waiting for Tenant %q", s.tn.Spec.Tenant)
	}
	s.tenant = tenant
	return r.sight(s)
}

// admit asks once more what was asked when the spec was read from Git: objects
// can come from elsewhere. What has left Git is not asked, but kept as it is.
func (r *Reconciler) admit(ctx context.Context, s *scope) error {
	spec := s.tn.Spec
	if err := tenancy.CheckName(s.tenant, s.tn.Name); err != nil {
		return stalled(v1alpha1.ReasonNameNotAllowed, "%v", err)
	}
	if s.removed == nil {
		if err := r.entitled(ctx, s); err != nil {
			return err
		}
	}

	profile, err := r.profile(ctx, spec.Profile)
	if err != nil {
		return err
	}
	if profile == nil {
		return waiting(v1alpha1.ReasonProfileNotFound, "Waiting for NamespaceProfile %q", spec.Profile)
	}
	compiled := r.templates.Of(ctx, profile)
	if compiled.Template == nil {
		return waiting(v1alpha1.ReasonProfileNotReady, "Waiting for NamespaceProfile %q: %v", spec.Profile, compiled.Err)
	}
	s.template = compiled.Template
	if s.removed != nil {
		return nil
	}
	if errs := tenancy.CheckOverrides(s.tn, profile); len(errs) > 0 {
		return stalled(v1alpha1.ReasonInvalidSpec, "%v", errs[0])
	}
	if _, err := tenancy.QuotaOf(s.tn, profile); err != nil {
		return stalled(v1alpha1.ReasonInvalidSpec, "%v", err)
	}
	return r.affordable(ctx, s)
}

// entitled is whether the tenant may have this prefix and this profile.
func (r *Reconciler) entitled(ctx context.Context, s *scope) error {
	other, err := prefixHolder(ctx, r, s.tenant)
	if err != nil {
		return err
	}
	if other != nil {
		return stalled(v1alpha1.ReasonNameNotAllowed, "%s", prefixTaken(s.tenant, other))
	}
	allowed := s.tenant.Spec.Namespaces.Profiles
	if len(allowed) == 0 {
		allowed = []string{"default"}
	}
	if !slices.Contains(allowed, s.tn.Spec.Profile) {
		return stalled(v1alpha1.ReasonProfileNotAllowed, "spec.profile: %q is not open to Tenant %q; use %s",
			s.tn.Spec.Profile, s.tenant.Name, strings.Join(allowed, ", "))
	}
	return nil
}

// affordable is whether the namespace fits into the tenant's limits, decided for
// all of the tenant's namespaces together: never a race between them.
func (r *Reconciler) affordable(ctx context.Context, s *scope) error {
	all, err := r.siblings(ctx, s.tenant.Name)
	if err != nil {
		return err
	}
	refused := tenancy.Admit(s.tenant, all, func(name string) *v1alpha1.NamespaceProfile {
		p, _ := r.profile(ctx, name)
		return p
	})[s.tn.Name]
	var rule *tenancy.Error
	switch {
	case refused == nil:
		return nil
	case errors.As(refused, &rule) && rule.Field == "metadata.name":
		return stalled(v1alpha1.ReasonTooManyNamespaces, "%v", refused)
	default:
		return stalled(v1alpha1.ReasonQuotaExceeded, "%v", refused)
	}
}

// peers are the tenants whose peering with this one is mutual.
func (r *Reconciler) peers(s *scope) ([]string, error) {
	var failed error
	peers := tenancy.MutualPeers(s.tenant, func(name string) *v1alpha1.Tenant {
		t, err := r.tenant(context.Background(), name)
		failed = errors.Join(failed, err)
		return t
	})
	return peers, failed
}

// tenant from the cache; nil when there is none. It must not be changed.
func (r *Reconciler) tenant(ctx context.Context, name string) (*v1alpha1.Tenant, error) {
	t := &v1alpha1.Tenant{}
	if found, err := get(ctx, r, name, t); !found {
		return nil, err
	}
	return t, nil
}

// profile from the cache; nil when there is none. It must not be changed.
func (r *Reconciler) profile(ctx context.Context, name string) (*v1alpha1.NamespaceProfile, error) {
	p := &v1alpha1.NamespaceProfile{}
	if found, err := get(ctx, r, name, p); !found {
		return nil, err
	}
	return p, nil
}

func get(ctx context.Context, from client.Reader, name string, into client.Object) (bool, error) {
	err := from.Get(ctx, client.ObjectKey{Name: name}, into, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot get %T %q: %w", into, name, err)
	}
	return true, nil
}

// siblings are the tenant's namespaces. They must not be changed.
func (r *Reconciler) siblings(ctx context.Context, tenant string) ([]*v1alpha1.TenantNamespace, error) {
	return namespacesOf(ctx, r, tenant)
}

func namespacesOf(ctx context.Context, from client.Reader, tenant string) ([]*v1alpha1.TenantNamespace, error) {
	var list v1alpha1.TenantNamespaceList
	if err := from.List(ctx, &list, client.MatchingFields{indexTenant: tenant}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list TenantNamespaces: %w", err)
	}
	all := make([]*v1alpha1.TenantNamespace, len(list.Items))
	for i := range list.Items {
		all[i] = &list.Items[i]
	}
	return all, nil
}
