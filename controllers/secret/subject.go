package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/access"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// Settings are what the operator was started with.
type Settings struct {
	// Connection of profiles that name no other. Its Address is "" where there is none.
	Connection openbao.Connection
	// OwnAddressOnly: the operator logs in with a credential that is for that address,
	// and is shown to no other.
	OwnAddressOnly bool
}

// identify finds whose the namespace is and what OpenBao is to it.
func (r *Reconciler) identify(ctx context.Context, s *scope) error {
	ns, err := found(ctx, r, s.ss.Namespace, &v1alpha1.TenantNamespace{})
	if err != nil {
		return err
	}
	if ns == nil || !tenancy.PlacedIn(ns, r.cluster) {
		return stalled(v1alpha1.ReasonNoTenant, "Namespace %q is no tenant's; a SecretSync reads what its namespace's tenant has in OpenBao, so put it into one", s.ss.Namespace)
	}
	tenant, err := found(ctx, r, ns.Spec.Tenant, &v1alpha1.Tenant{})
	if err != nil {
		return err
	}
	profile, err := found(ctx, r, ns.Spec.Profile, &v1alpha1.NamespaceProfile{})
	if err != nil {
		return err
	}
	switch {
	case tenant == nil:
		return waiting(v1alpha1.ReasonTenantNotFound, "Waiting for Tenant %q", ns.Spec.Tenant)
	case profile == nil:
		return waiting(v1alpha1.ReasonProfileNotFound, "Waiting for NamespaceProfile %q", ns.Spec.Profile)
	}
	s.subject, err = r.subject(ns, tenant, profile)
	s.ss.Status.Source = s.place()
	if err != nil {
		return err
	}
	if err := r.ownPath(ctx, s, tenant); err != nil {
		return err
	}
	if len(s.ss.Spec.Generate) > 0 && !s.subject.Generate {
		return stalled(v1alpha1.ReasonGenerateNotAllowed, "spec.generate: profile %q does not permit it; write the secret into OpenBao and leave generate out, or have the platform team set spec.openBao.generate", profile.Name)
	}
	return nil
}

// subject is a namespace as OpenBao is to know it.
func (r *Reconciler) subject(ns *v1alpha1.TenantNamespace, tenant *v1alpha1.Tenant, profile *v1alpha1.NamespaceProfile) (access.Subject, error) {
	place := tenancy.PlaceOf(tenant)
	s := access.Subject{
		Connection: r.settings.Connection,
		Tenant:     tenant.Name, TenantUID: tenant.UID, Namespace: ns.Name,
		Mount: place.Mount, Path: place.Path,
	}
	if p := profile.Spec.OpenBao; p != nil {
		if p.Address != "" && p.Address != s.Connection.Address {
			s.Connection = openbao.Connection{Address: p.Address, Namespace: s.Connection.Namespace, AuthMount: s.Connection.AuthMount}
		}
		s.Connection.CA = cmp.Or(p.CABundle, s.Connection.CA)
		s.Connection.Namespace = cmp.Or(p.Namespace, s.Connection.Namespace)
		s.Connection.AuthMount = cmp.Or(p.AuthMount, s.Connection.AuthMount)
		s.Generate = p.Generate
	}
	switch {
	case r.bao == nil || s.Connection.Address == "":
		return s, stalled(v1alpha1.ReasonOpenBaoNotConfigured, "No OpenBao is configured; set openBao.address in the namespace operator's configuration, or spec.openBao.address in NamespaceProfile %q", profile.Name)
	case r.settings.OwnAddressOnly && s.Connection.Address != r.settings.Connection.Address:
		return s, stalled(v1alpha1.ReasonOpenBaoNotConfigured, "NamespaceProfile %q names another OpenBao than the operator's own, to which the operator does not show its credential; set openBao.auth.method of its configuration to kubernetes, or take spec.openBao.address out", profile.Name)
	case !slices.Contains(tenancy.MountsOf(profile), s.Mount):
		return s, stalled(v1alpha1.ReasonMountNotAllowed, "Tenant %q has its secrets in the mount %q, which NamespaceProfile %q does not list in spec.openBao.mounts", tenant.Name, s.Mount, profile.Name)
	}
	return s, nil
}

// ownPath refuses a path that is another Tenant's by its name: who has written there for
// that tenant must not have written for one that asks first. Between paths that have
// nobody's name the claims in OpenBao decide.
func (r *Reconciler) ownPath(ctx context.Context, s *scope, tenant *v1alpha1.Tenant) error {
	first, _, _ := strings.Cut(s.subject.Path, "/")
	if first == tenant.Name {
		return nil
	}
	other, err := found(ctx, r, first, &v1alpha1.Tenant{})
	if err != nil || other == nil {
		return err
	}
	if tenancy.PlaceOf(other) == (tenancy.Place{Mount: s.subject.Mount, Path: first}) {
		return stalled(v1alpha1.ReasonPathTaken, "path %s/%s in OpenBao is Tenant %q's, which has what begins with its name; choose another in spec.secrets.path of Tenant %q",
			s.subject.Mount, s.subject.Path, other.Name, tenant.Name)
	}
	return nil
}

// owned makes sure that the Namespace is the tenant's, in this life of it, before
// anything of the tenant's is put there: somebody may have made another of that name.
//
// It asks the API server, since watches lag behind.
func (r *Reconciler) owned(ctx context.Context, s *scope) error {
	err := r.isOwned(ctx, s)
	if errors.As(err, new(*condition)) {
		r.letGo(s.memory.subject)
		s.memory.owned, s.memory.subject = time.Time{}, access.Subject{}
	}
	return err
}

// letGo has what a subject has in OpenBao taken out before long: whoever makes a
// Namespace of that name finds nothing to log in by.
func (r *Reconciler) letGo(subject access.Subject) {
	if r.bao != nil && subject != (access.Subject{}) {
		r.bao.Forget(subject)
	}
	r.sweep()
}

func (r *Reconciler) isOwned(ctx context.Context, s *scope) error {
	ns := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	err := r.live.Get(ctx, client.ObjectKey{Name: s.ss.Namespace}, ns)
	switch {
	case apierrors.IsNotFound(err):
		return waiting(v1alpha1.ReasonProvisioning, "Waiting for Namespace %q", s.ss.Namespace)
	case err != nil:
		return fmt.Errorf("cannot get Namespace: %w", err)
	case !isOf(s.subject, ns):
		return stalled(v1alpha1.ReasonNoTenant, "Namespace %q is not tenant %q's: its label or its tenant's UID is another", s.ss.Namespace, s.subject.Tenant)
	case !ns.DeletionTimestamp.IsZero():
		return waiting(v1alpha1.ReasonNamespaceTerminating, "Namespace %q is being deleted", s.ss.Namespace)
	}
	s.subject.NamespaceUID = ns.UID
	return nil
}

// isOf is whether a Namespace is a subject's, in this life of its tenant.
func isOf(s access.Subject, ns metav1.Object) bool {
	return ns.GetLabels()[v1alpha1.LabelTenant] == s.Tenant && ns.GetAnnotations()[v1alpha1.AnnotationTenantUID] == string(s.TenantUID)
}

// logIn gets a session of the namespace. Whose the namespace is, is asked when the
// session is not as old as what is known of it.
func (r *Reconciler) logIn(ctx context.Context, s *scope) error {
	if err := r.outages.check(s.subject.Connection, r.now()); err != nil {
		return err
	}
	if r.now().Sub(s.memory.owned) >= ownedFor {
		if err := r.owned(ctx, s); err != nil {
			return err
		}
		s.memory.owned, s.memory.namespace = r.now(), s.subject.NamespaceUID
	}
	s.subject.NamespaceUID = s.memory.namespace
	s.memory.subject = s.subject
	s.asked = true
	session, err := r.bao.Session(ctx, s.subject)
	s.session = session
	return err
}

// found gets an object from the cache; nil when there is none. It must not be changed.
func found[T client.Object](ctx context.Context, from client.Reader, name string, into T) (T, error) {
	var none T
	err := from.Get(ctx, client.ObjectKey{Name: name}, into, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("cannot get %T %q: %w", into, name, err)
	}
	return into, nil
}
