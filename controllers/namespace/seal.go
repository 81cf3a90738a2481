package namespace

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/observe"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// Values of v1alpha1.LabelSealed. Pods are admitted only where it is opened.
const (
	sealed = "true"
	opened = "false"
)

var namespaceKind = corev1.SchemeGroupVersion.WithKind("Namespace")

// isolation is what has become of the seal.
type isolation struct {
	open    bool
	reason  string
	message string
}

// sight makes sure that Namespaces can be seen.
func (r *Reconciler) sight(s *scope) error {
	switch state, err := r.observer.Watch(namespaceKind, s.tn.Name); state {
	case observe.Synced:
		return nil
	case observe.Failing:
		return err
	default:
		return errQuiet
	}
}

// seen is the Namespace as it is.
func (r *Reconciler) seen(s *scope) observe.Object {
	return r.observer.Find(observe.NamespaceKind, s.tn.Name, s.tn.Name)
}

// cordon seals a namespace that is to be closed before anything else is asked:
// it is closed even where its profile is gone.
func (r *Reconciler) cordon(ctx context.Context, s *scope) error {
	ns := r.seen(s)
	if !s.closed() || ns.Terminating || ns.Pending || !owned(ns, s.tenant.Name, s.tenant.UID) || ns.Namespace.Sealed == sealed {
		return nil
	}
	if err := r.label(ctx, s, ns, sealed); err != nil {
		return err
	}
	r.event(s, eventNormal, "Cordoned", "Sealed: no new Pods are admitted, what runs keeps running")
	return nil
}

// seal makes the Namespace: closed when it is new, as it was when it is ours.
// One that is someone else's is taken only when it says so itself.
func (r *Reconciler) seal(ctx context.Context, s *scope) error {
	ns := r.seen(s)
	switch {
	case ns.Terminating:
		return waiting(v1alpha1.ReasonNamespaceTerminating, "Waiting for Namespace %q to be gone; it is being deleted, and made anew then", s.tn.Name)
	case !ns.Seen && ns.Pending:
		return &quiet{after: patience} // made just now
	case !ns.Seen:
		return r.bear(ctx, s)
	case owned(ns, s.tenant.Name, s.tenant.UID):
		return r.keep(ctx, s, ns)
	case adoptable(ns, s.tenant.Name, s.tn.Name):
		return r.adopt(ctx, s)
	default:
		return stalled(v1alpha1.ReasonNamespaceNotOwned, "%s", notOwned(ns, s))
	}
}

// bear creates the Namespace, sealed, and with the record of what it is going to
// hold.
func (r *Reconciler) bear(ctx context.Context, s *scope) error {
	s.setSealed(sealed)
	annotations := s.namespace.GetAnnotations()
	annotations[v1alpha1.AnnotationKinds] = kindsText(s.children)
	s.namespace.SetAnnotations(annotations)
	answer, err := r.applier.CreateOnly(ctx, s.namespace.Unstructured)
	if apierrors.IsAlreadyExists(err) {
		return &quiet{after: patience} // somebody was faster; the watch will tell who
	}
	if err != nil {
		return err
	}
	r.applied(ctx, s, s.namespace, answer)
	return nil
}

// keep brings a Namespace of ours to what it shall be. It stays open while its
// label can be trusted, or while its isolation is in place.
func (r *Reconciler) keep(ctx context.Context, s *scope, ns observe.Object) error {
	e := s.inventory.find(s.namespace.id)
	current := e.Digest == s.namespace.digest
	intact := ns.Hash == observe.ParseHash(e.Observed)
	if ns.Pending && current || current && intact {
		return nil
	}
	s.setSealed(sealed)
	if !s.closed() && ns.Namespace.Sealed == opened && (intact || ns.Pending || r.isIsolated(s)) {
		s.setSealed(opened)
	}

	var answer *unstructured.Unstructured
	var err error
	if intact || ns.Pending {
		answer, err = r.applier.Apply(ctx, s.namespace.Unstructured)
	} else {
		answer, err = r.applier.Repair(ctx, s.namespace.Unstructured, observe.ParseHash(e.Observed))
	}
	if err != nil {
		return err
	}
	if current && e.Digest != "" {
		r.repaired(s, "Undid a change of %s", s.namespace.ref())
	}
	r.applied(ctx, s, s.namespace, answer)
	return nil
}

// adopt takes over a Namespace that permits it, and takes the permission away:
// it is good for once.
func (r *Reconciler) adopt(ctx context.Context, s *scope) error {
	s.setSealed(sealed)
	answer, err := r.applier.Apply(ctx, s.namespace.Unstructured)
	if err != nil {
		return err
	}
	r.event(s, eventNormal, "Adopted", "Took over Namespace %s, which permitted it; sealed until its isolation is in place", s.tn.Name)
	r.applied(ctx, s, s.namespace, answer)
	return nil
}

// open unseals the namespace once all that isolates it has been seen in place,
// and seals it again where that cannot be.
func (r *Reconciler) open(ctx context.Context, s *scope) error {
	ns := r.seen(s)
	missing := r.missingIsolation(s)
	switch {
	case s.removed != nil:
		s.isolated = &isolation{reason: v1alpha1.ReasonRemovedFromGit, message: "Sealed: the namespace has left Git"}
	case s.closed():
		s.isolated = &isolation{reason: v1alpha1.ReasonCordoned, message: "Sealed: the Tenant is cordoned"}
	case ns.Seen && !ns.Pending && ns.Namespace.Sealed == opened && len(s.unserved) > 0 && s.isolationUnserved():
		return r.reseal(ctx, s, notServed(s.unserved))
	case ns.Seen && ns.Namespace.Sealed == opened:
		s.isolated = openedUp()
	case len(missing) > 0:
		s.isolated = &isolation{reason: v1alpha1.ReasonWaitingForObjects, message: "Sealed until it is in place: " + listed(missing)}
	case !s.inPlace(s.namespace, ns):
		s.isolated = &isolation{reason: v1alpha1.ReasonWaitingForObjects, message: "Sealed until it is in place: " + s.namespace.ref()}
	default:
		if err := r.label(ctx, s, ns, opened); err != nil {
			return err
		}
		s.isolated = openedUp()
		// A namespace that opens in the moment of its birth says so by being Ready.
		if meta.FindStatusCondition(s.written.Conditions, v1alpha1.ConditionIsolated) != nil {
			r.event(s, eventNormal, "Opened", "Pods are admitted: %s in place, isolation among them", objectsText(len(s.children)+1))
		}
	}
	return nil
}

func openedUp() *isolation {
	return &isolation{open: true, reason: v1alpha1.ReasonReconciled, message: "Pods are admitted: all isolation is in place"}
}

// reseal closes an open namespace whose isolation cannot be put back. It returns
// why it cannot.
func (r *Reconciler) reseal(ctx context.Context, s *scope, why error) error {
	s.isolated = &isolation{reason: v1alpha1.ReasonApplyFailed, message: "Sealed: isolation is missing and cannot be put back"}
	ns := r.seen(s)
	if !ns.Seen || ns.Terminating || ns.Namespace.Sealed != opened || !owned(ns, s.tenant.Name, s.tenant.UID) {
		return why
	}
	if err := r.label(ctx, s, ns, sealed); err != nil {
		return fmt.Errorf("%w; %w", why, err)
	}
	r.event(s, eventWarning, "Sealed", "No new Pods are admitted: isolation is missing and cannot be put back")
	return why
}

// label sets the seal of the Namespace exactly as it was seen: if it is another
// by now, the API server refuses.
func (r *Reconciler) label(ctx context.Context, s *scope, ns observe.Object, value string) error {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(namespaceKind)
	o.SetName(s.tn.Name)
	answer, err := r.applier.Label(ctx, o, ns.Version, map[string]string{v1alpha1.LabelSealed: value})
	if err != nil {
		return err
	}
	hash := r.observer.Wrote(answer)
	logf(ctx).Info("set the seal", "sealed", value)
	// A Namespace that had been changed is not in order because we labelled it.
	id := idOf(observe.NamespaceKind, "", s.tn.Name)
	if e := s.inventory.find(id); e != nil && ns.Hash == observe.ParseHash(e.Observed) {
		e.Observed = hash.String()
		s.memory.remember(*e)
	}
	return nil
}

// missingIsolation names what isolates the namespace and is not in place.
func (r *Reconciler) missingIsolation(s *scope) []string {
	var missing []string
	for _, d := range s.children {
		if d.isolation && (d.unserved || !s.inPlace(d, r.find(d))) {
			missing = append(missing, d.ref())
		}
	}
	return missing
}

// isIsolated is whether all isolation is there as it was applied last.
func (r *Reconciler) isIsolated(s *scope) bool {
	for _, d := range s.children {
		if d.isolation && (d.unserved || !s.intact(d, r.find(d))) {
			return false
		}
	}
	return true
}

func (s *scope) isolationUnserved() bool {
	for _, d := range s.children {
		if d.isolation && d.unserved {
			return true
		}
	}
	return false
}

// setSealed writes the seal into the desired Namespace.
func (s *scope) setSealed(value string) {
	labels := s.namespace.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.LabelSealed] = value
	s.namespace.SetLabels(labels)
}

// owned is whether a Namespace belongs to this life of the tenant.
func owned(ns observe.Object, tenant string, uid types.UID) bool {
	return ns.Seen && ns.Namespace.Tenant == tenant && ns.Namespace.TenantUID == uid && uid != ""
}

// adoptable is whether a Namespace permits this very tenant to take it over.
func adoptable(ns observe.Object, tenant, name string) bool {
	of := ns.Namespace
	return of.AdoptableBy == tenant && (of.Tenant == "" || of.Tenant == tenant) && !tenancy.Reserved(name)
}

// notOwned says why a Namespace is not taken, and what to run if it is to be.
func notOwned(ns observe.Object, s *scope) string {
	name, tenant, of := s.tn.Name, s.tenant.Name, ns.Namespace
	overwrite := ""
	if of.AdoptableBy != "" {
		overwrite = "--overwrite "
	}
	permit := fmt.Sprintf("run: kubectl label %snamespace %s %s=%s", overwrite, name, v1alpha1.LabelAdoptableBy, tenant)
	e := s.inventory.find(s.namespace.id)
	made := e != nil && e.Digest != "" // by us, for this TenantNamespace
	switch {
	case of.Tenant == tenant && of.TenantUID == "":
		return fmt.Sprintf("Namespace %q has the label %s=%s without the annotation %s that proves it; to hand it over, %s",
			name, v1alpha1.LabelTenant, tenant, v1alpha1.AnnotationTenantUID, permit)
	case of.Tenant == tenant:
		return fmt.Sprintf("Namespace %q belongs to an earlier Tenant %q, not to this one; to hand it over, %s", name, tenant, permit)
	case of.Tenant != "" && made:
		return fmt.Sprintf("Namespace %q has the label %s=%s in place of the one that Aether gave it; to give it back to Tenant %q, "+
			"run: kubectl label --overwrite namespace %s %s=%s, while the admission policy aether-namespace-metadata is off, as it was then",
			name, v1alpha1.LabelTenant, of.Tenant, tenant, name, v1alpha1.LabelTenant, tenant)
	case of.Tenant != "":
		return fmt.Sprintf("Namespace %q belongs to Tenant %q; choose another name", name, of.Tenant)
	case made:
		return fmt.Sprintf("Namespace %q is without the label %s that Aether gave it; to give it back to Tenant %q, %s", name, v1alpha1.LabelTenant, tenant, permit)
	default:
		return fmt.Sprintf("Namespace %q exists and is not Aether's; choose another name, or to hand it over, %s", name, permit)
	}
}
