// Package namespace makes one Kubernetes namespace match its TenantNamespace:
// sealed at birth, opened once its isolation has been observed, and put back
// when someone changes it.
//
// It decides nothing about content: package render does. It deletes nothing
// that Git did not clearly ask to delete, and no object that does not carry its
// labels. In a steady state it writes nothing, also after a restart: what was
// written is in the inventory, and what is there comes from watches.
package namespace

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/observe"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/status"
)

// Reconciler makes namespaces match their TenantNamespaces.
type Reconciler struct {
	// Client reads from informers and writes to the API server.
	client.Client
	applier   *apply.Applier
	observer  observer
	templates *Templates
	recorder  events.EventRecorder
	now       func() time.Time
	// published is when a revision of the fleet was, for the push-to-ready metric.
	published func(context.Context, *v1alpha1.TenantNamespace) time.Time
	cluster   string

	memories memories
}

// observer is what package observe knows.
type observer interface {
	Watch(kind schema.GroupVersionKind, namespace string) (observe.State, error)
	Find(kind schema.GroupKind, namespace, name string) observe.Object
	In(namespace string) []observe.Object
	Wrote(answer *unstructured.Unstructured) observe.Hash
}

// step is a part of a reconcile. An error ends it.
type step func(context.Context, *scope) error

// scope is one reconcile of one TenantNamespace.
type scope struct {
	tn *v1alpha1.TenantNamespace
	// written is the status as it stands in the cluster.
	written v1alpha1.TenantNamespaceStatus
	memory  *memory

	tenant   *v1alpha1.Tenant
	template *render.Template
	// removed is set once the namespace has left Git.
	removed *removal

	// namespace is the Namespace as it shall be, seal aside; children the rest.
	namespace *desired
	children  []*desired
	inventory inventory
	// unserved are kinds that are wanted and that the cluster does not have.
	unserved []schema.GroupVersionKind
	// isolated is what has become of the seal; nil when that was not looked at.
	isolated *isolation
	// secrets is what has become of spec.secrets; nil when that was not looked at, and
	// without a status where there are none.
	secrets *metav1.Condition
	// ends is when the first of its exceptions does; zero when none will.
	ends time.Time
	// gone is set when the TenantNamespace is: there is no status to write.
	gone bool
}

// desired is one object as it shall be.
type desired struct {
	*unstructured.Unstructured
	id        string
	digest    string
	isolation bool
	// unserved: the cluster does not have its kind.
	unserved bool
}

// ref names the object within its namespace: "NetworkPolicy/default-deny".
func (d *desired) ref() string { return d.GetKind() + "/" + d.GetName() }

// closed is whether the namespace is to admit no Pods, whatever is in place.
func (s *scope) closed() bool {
	return s.removed != nil || s.tenant != nil && s.tenant.Spec.Cordoned
}

// Reconcile brings one namespace to what its TenantNamespace asks for.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	started := r.now()
	tn := &v1alpha1.TenantNamespace{}
	if err := r.Get(ctx, req.NamespacedName, tn); err != nil {
		if apierrors.IsNotFound(err) {
			r.memories.forget(req.Name)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("cannot get TenantNamespace: %w", err)
	}
	memory := r.memories.of(tn)
	if status.IsBehind(tn, memory.version) {
		return ctrl.Result{}, nil // the event of our own write is on its way
	}
	ctx = ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues(
		"tenant", tn.Spec.Tenant, "namespace", tn.Name, "revision", tn.Annotations[v1alpha1.AnnotationRevision]))
	s := &scope{
		tn: tn, written: *tn.Status.DeepCopy(), memory: memory,
		removed: r.removalOf(tn), inventory: inventoryOf(tn, memory.applied),
	}

	steps := []step{
		r.resolve, // the tenant, from the cache
		r.cordon,  // what is to be closed is closed first
		r.expire,  // kept for its retention, then deleted
		r.admit,   // name, profile, budget: defence in depth
		r.render,  // desired objects; pure
		r.watch,   // every kind it needs to see
		r.record,  // inventory, before anything exists
		r.seal,    // the Namespace, closed to Pods
		r.apply,   // isolation first, then the rest
		r.prune,   // what is not wanted any more
		r.open,    // once isolation is seen, not sent
		r.sum,     // what became of its secrets
		r.observe, // ready means seen, not sent
	}
	if !tn.DeletionTimestamp.IsZero() {
		steps = []step{r.release}
	}

	result, err := r.report(ctx, s, run(ctx, s, steps))
	result = s.lookAgain(result, r.now())
	reconcileSeconds.Observe(r.now().Sub(started).Seconds())
	return result, err
}

// run takes steps until one fails.
func run(ctx context.Context, s *scope, steps []step) error {
	for _, step := range steps {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// render makes the desired objects, and makes sure that none is anywhere else.
func (r *Reconciler) render(ctx context.Context, s *scope) error {
	peers, err := r.peers(s)
	if err != nil {
		return err
	}
	exceptions, err := r.exceptions(ctx, s.tn.Spec.Tenant)
	if err != nil {
		return err
	}
	now := r.now()
	r.grant(s, exceptions, now)
	objects, err := s.template.Render(render.Inputs{
		Tenant: s.tenant, Namespace: s.tn, Peers: peers, Cluster: r.cluster, Cordoned: s.closed(),
		Exceptions: exceptions, Now: now,
		Source: render.Source{
			Revision: s.tn.Annotations[v1alpha1.AnnotationRevision],
			Path:     s.tn.Annotations[v1alpha1.AnnotationPath],
		},
	})
	if err != nil {
		return stalled(v1alpha1.ReasonRenderFailed, "%v", err)
	}
	for _, o := range objects {
		d := &desired{
			Unstructured: o, id: idOf(o.GroupVersionKind().GroupKind(), o.GetNamespace(), o.GetName()),
			digest: o.GetAnnotations()[v1alpha1.AnnotationDigest], isolation: render.IsIsolation(o),
		}
		switch {
		case o.GroupVersionKind().GroupKind() == observe.NamespaceKind && o.GetName() == s.tn.Name && s.namespace == nil:
			s.namespace = d
			s.inscribe()
		case o.GetNamespace() == s.tn.Name:
			s.children = append(s.children, d)
		default:
			return stalled(v1alpha1.ReasonRenderFailed, "profile %q makes %s, which is not in the namespace; take it out of the base",
				s.tn.Spec.Profile, apply.Ref(o))
		}
	}
	if !slices.ContainsFunc(s.children, func(d *desired) bool { return d.isolation }) {
		return stalled(v1alpha1.ReasonRenderFailed, "profile %q makes nothing that isolates a namespace; add the component namespace/default-deny to its base", s.tn.Spec.Profile)
	}
	if s.namespace == nil {
		return stalled(v1alpha1.ReasonRenderFailed, "profile %q makes no Namespace; add the component namespace/namespace to its base", s.tn.Spec.Profile)
	}
	return nil
}

// inscribe ties the Namespace to one life of its tenant.
func (s *scope) inscribe() {
	annotations := s.namespace.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationTenantUID] = string(s.tenant.UID)
	s.namespace.SetAnnotations(annotations)
}

// watch makes sure that everything can be seen before anything is decided. What
// the cluster does not serve is reported last: the rest is put in place.
func (r *Reconciler) watch(_ context.Context, s *scope) error {
	kinds := []schema.GroupVersionKind{s.namespace.GroupVersionKind()}
	for _, d := range s.children {
		kinds = append(kinds, d.GroupVersionKind())
	}
	for _, e := range s.inventory.entries {
		kinds = append(kinds, kindOf(e))
	}
	if ns := r.seen(s); ns.Seen {
		kinds = append(kinds, kindsOf(ns.Namespace.Kinds)...)
	}
	seen := map[schema.GroupKind]bool{}
	unserved := map[schema.GroupKind]bool{}
	var syncing bool
	var failing error
	for _, kind := range kinds {
		if seen[kind.GroupKind()] {
			continue
		}
		seen[kind.GroupKind()] = true
		switch state, err := r.observer.Watch(kind, s.tn.Name); state {
		case observe.Syncing:
			syncing = true
		case observe.Failing:
			failing = err
		case observe.NotServed:
			unserved[kind.GroupKind()] = true
		case observe.Synced:
		}
	}
	switch {
	case syncing:
		return errQuiet // we are woken when all of them are there
	case failing != nil:
		return failing
	}

	for _, d := range s.children {
		kind := d.GroupVersionKind()
		d.unserved = unserved[kind.GroupKind()]
		if d.unserved && !slices.Contains(s.unserved, kind) {
			s.unserved = append(s.unserved, kind)
		}
	}
	return nil
}

// record saves what there will be before any of it exists, so that whoever
// continues after a crash knows what to look for. A new Namespace is born with
// that record, which saves a write; else it goes to the status.
func (r *Reconciler) record(ctx context.Context, s *scope) error {
	grown := s.inventory.include(append([]*desired{s.namespace}, s.children...))
	ns := r.seen(s)
	if owned(ns, s.tenant.Name, s.tenant.UID) {
		grown = s.inventory.adopt(r.observer.In(s.tn.Name), s.tn.Name) || grown
	}
	if !grown {
		return nil
	}
	if err := r.ensureFinalizer(ctx, s.tn); err != nil {
		return err
	}
	if len(s.written.Inventory) == 0 && !ns.Seen && !ns.Pending {
		return nil
	}
	return r.write(ctx, s, progressing("Applying %s", objectsText(len(s.children)+1)))
}

// observe waits for all that was applied to be seen.
func (r *Reconciler) observe(_ context.Context, s *scope) error {
	var missing []string
	pending := true
	for _, d := range append([]*desired{s.namespace}, s.children...) {
		seen := r.find(d)
		if d.unserved || s.inPlace(d, seen) {
			continue
		}
		pending = pending && seen.Pending
		missing = append(missing, d.ref())
	}
	if len(missing) > 0 {
		why := waiting(v1alpha1.ReasonWaitingForObjects, "Waiting for %d of %s: %s",
			len(missing), objectsText(len(s.children)+1), listed(missing))
		if pending {
			return r.patiently(s, why)
		}
		return why
	}
	s.memory.since = time.Time{}

	switch {
	case len(s.unserved) > 0:
		return notServed(s.unserved)
	case s.removed != nil:
		return r.kept(s)
	case len(s.tn.Spec.Secrets) > 0 && !s.template.ServesSecrets():
		return stalled(v1alpha1.ReasonSecretsNotServed, "spec.secrets: profile %q has no component that syncs secrets; use another profile, or take spec.secrets out", s.tn.Spec.Profile)
	}
	return nil
}

// patience is how long our own writes may take to come back before the status
// says that they are waited for.
const patience = 5 * time.Second

// patiently says nothing for a while: writes mostly come back in milliseconds,
// and a status that says so would cost more than the write.
func (r *Reconciler) patiently(s *scope, why error) error {
	now := r.now()
	if s.memory.since.IsZero() {
		s.memory.since = now
	}
	if left := patience - now.Sub(s.memory.since); left > 0 {
		return &quiet{after: left}
	}
	return why
}

// find is what is known of a desired object.
func (r *Reconciler) find(d *desired) observe.Object {
	namespace := d.GetNamespace()
	if namespace == "" {
		namespace = d.GetName()
	}
	return r.observer.Find(d.GroupVersionKind().GroupKind(), namespace, d.GetName())
}

// inPlace is whether an object is there as it was applied last, and was applied
// as it is desired now.
func (s *scope) inPlace(d *desired, seen observe.Object) bool {
	e := s.inventory.find(d.id)
	return e != nil && e.Digest == d.digest && s.intact(d, seen)
}

// intact is whether an object is there as it was applied last.
func (s *scope) intact(d *desired, seen observe.Object) bool {
	e := s.inventory.find(d.id)
	return e != nil && e.Digest != "" && seen.Seen && !seen.Pending && !seen.Terminating && seen.Hash == observe.ParseHash(e.Observed)
}

func objectsText(n int) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}

// listed names the first of a list, and how many more there are.
func listed(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
