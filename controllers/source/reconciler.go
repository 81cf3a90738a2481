// Package source makes the cluster hold what a fleet repository asks for: the
// artifact of a TenantSource becomes Tenant, TenantNamespace, WorkloadCluster and
// NamespaceProfile objects, and they are put back when someone changes them.
//
// One tenant's errors never touch another: a directory with errors is left as it
// was applied last. Nothing is deleted that Git did not clearly ask to delete:
// what has left Git is marked, within a budget, and only what nothing depends on
// is deleted. When a TenantSource itself is deleted, all that it applied stays as
// it is, for another TenantSource to take over; it needs no finalizer.
//
// What is in a namespace is decided by package render and done by
// controllers/namespace.
package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/artifact"
	"github.com/aetherplatform/aether/internal/bases"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/wakeup"
)

// Reconciler brings the cluster to what TenantSources ask for.
type Reconciler struct {
	// Client reads from informers and writes to the API server.
	client.Client
	stores stores
	// sources reads TenantSources and Flux sources, from informers of their own.
	sources client.Reader
	// serve starts watching a Flux kind, once; an error says that it is not served.
	serve    func(kind string) error
	bases    *bases.Resolver
	commits  commits
	recorder events.EventRecorder
	now      func() time.Time
	opts     Options

	memories   memories
	claims     claims
	incumbents incumbents
	waker      wakeup.Source
}

// step is a part of a reconcile. An error ends it.
type step func(context.Context, *scope) error

// scope is one reconcile of one TenantSource.
type scope struct {
	ts *v1alpha1.TenantSource
	// before is the status as it was found, and written as it stands in the cluster.
	before, written v1alpha1.TenantSourceStatus
	// name is the TenantSource as v1alpha1.LabelSource has it.
	name   string
	memory *memory

	source   artifact.Source
	artifact *meta.Artifact
	world    world
	units    []*unit
	leavers  leavers

	// failures by tenant: in Git, in ownership, or refused by the API server.
	failures map[string][]*fleet.Error
	// blocked says why nothing is removed though something has left Git.
	blocked string
	// retry is what another attempt may mend: the first few errors.
	retry    error
	attempts int
	// incomplete: something could not be done, for no fault of a tenant's.
	incomplete bool
	// changed and removed count objects.
	changed, removed int
}

// again asks for another attempt. When the API server is away every tenant says
// so, and a few are enough.
func (s *scope) again(why error) {
	if s.attempts++; s.attempts <= 3 {
		s.retry = errors.Join(s.retry, why)
	}
}

// Reconcile brings the cluster to what one TenantSource asks for.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	started := r.now()
	ts := &v1alpha1.TenantSource{}
	if err := r.sources.Get(ctx, req.NamespacedName, ts); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, r.bequeath(ctx, req.NamespacedName)
		}
		return ctrl.Result{}, fmt.Errorf("cannot get TenantSource: %w", err)
	}
	s := &scope{
		ts: ts, before: *ts.Status.DeepCopy(), written: *ts.Status.DeepCopy(),
		name: nameOf(ts), memory: r.memories.of(req.NamespacedName),
		failures: map[string][]*fleet.Error{},
	}

	outcome := run(ctx, s,
		r.resolve, // the Flux source and its artifact
		r.observe, // what is in the cluster, from informers
		r.render,  // fetched once a digest, verified, rendered; remembered
		r.plan,    // who may have what, and what has left; pure
		r.apply,   // the platform first, then tenants side by side
		r.approve, // may what has left be removed?
		r.prune,   // mark it; delete what is over
	)
	result, err := r.report(ctx, s, outcome)
	observeReconcile(s.name, r.now().Sub(started))
	return result, err
}

// run takes steps until one fails.
func run(ctx context.Context, s *scope, steps ...step) error {
	for _, step := range steps {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds the artifact to apply.
func (r *Reconciler) resolve(ctx context.Context, s *scope) error {
	if s.ts.Spec.Suspend {
		return suspended()
	}
	ref := s.ts.Spec.SourceRef
	key := client.ObjectKey{Namespace: s.ts.Namespace, Name: ref.Name}
	if err := r.serve(ref.Kind); err != nil {
		return unserved(err)
	}
	source, err := artifact.GetSource(ctx, r.sources, ref.Kind, key)
	if apierrors.IsNotFound(err) {
		return waiting(v1alpha1.ReasonSourceNotFound, "Waiting for %s %s", ref.Kind, key)
	}
	if err != nil {
		return err
	}
	s.source, s.artifact = source, source.GetArtifact()
	if s.artifact == nil {
		return waiting(v1alpha1.ReasonArtifactNotReady, "Waiting for %s %s to have an artifact", ref.Kind, key)
	}
	s.ts.Status.LastAttemptedRevision = s.artifact.Revision
	logf(ctx).V(1).Info("resolved", "revision", s.artifact.Revision, "digest", s.artifact.Digest)
	return nil
}

// observe finds what is in the cluster.
func (r *Reconciler) observe(_ context.Context, s *scope) error {
	var err error
	s.world, err = r.stores.of(s.name)
	return err
}

// render makes units of the artifact, or takes the ones that it made before from
// the same inputs.
func (r *Reconciler) render(ctx context.Context, s *scope) error {
	m := s.memory
	found := s.world.incumbents()
	maps.Copy(found, r.claims.others(s.name))
	in := inputs{
		digest: s.artifact.Digest, path: s.ts.Spec.Path,
		bases: r.baseDigests(ctx, m.baseRefs), incumbents: r.incumbents.shared(found),
	}
	if m.result == nil || !m.inputs.equal(in) {
		if err := r.renderAnew(ctx, s, in); err != nil {
			return r.standBy(ctx, s, err)
		}
	}
	if m.baseError != nil {
		s.again(m.baseError)
	}
	if why := empty(m.result, m.files, s.world, s.ts.Spec.Path); why != "" {
		return r.standBy(ctx, s, stalled(v1alpha1.ReasonTreeEmpty, "%s at %s", why, s.artifact.Revision))
	}
	s.units = unitsOf(m.result, r.opts.Cluster, s.name, m.units)
	m.units = make(map[string]*unit, len(s.units))
	for _, u := range s.units {
		m.units[u.name] = u
	}
	return nil
}

// standBy keeps what was applied last in place while there is no render.
func (r *Reconciler) standBy(ctx context.Context, s *scope, why error) error {
	if err := r.restore(ctx, s, s.memory.stained()); err != nil {
		return err
	}
	return why
}

func (r *Reconciler) renderAnew(ctx context.Context, s *scope, in inputs) error {
	m := s.memory
	tree, err := m.fetcher.Fetch(ctx, s.artifact.URL, in.digest, in.path)
	if errors.Is(err, artifact.ErrNotFound) {
		// A newer one has replaced it. Its event may be on its way, or be lost with
		// the server: then the retry helps.
		return failing(v1alpha1.ReasonFetchFailed, fmt.Errorf("%w; waiting for the next one", err))
	}
	if err != nil {
		return failing(v1alpha1.ReasonFetchFailed, err)
	}
	if m.renderer == nil {
		m.renderer = render.New(render.Options{
			Cluster: r.opts.Cluster,
			Bases:   func(ref *v1alpha1.BaseSourceRef) (render.Base, error) { return r.base(m, ref) },
		})
	}
	m.baseError = nil
	m.result = m.renderer.Render(tree, in.incumbents)
	m.files = len(tree)
	m.use(baseRefsOf(m.result))
	in.bases = r.baseDigests(ctx, m.baseRefs)
	m.inputs = in
	if m.baseError != nil {
		m.inputs = inputs{} // another attempt may get it
	}
	logf(ctx).Info("rendered", "revision", s.artifact.Revision, "tenants", len(m.result.Tenants), "digest", m.result.Digest)
	return nil
}

// base resolves a base for the renderer, and remembers what another attempt may
// mend: a base that is not there yet wakes us when it is.
func (r *Reconciler) base(m *memory, ref *v1alpha1.BaseSourceRef) (render.Base, error) {
	if ref != nil {
		if err := r.serve(ref.Kind); err != nil {
			return render.Base{}, err
		}
	}
	// The fetch has a deadline of its own, and a renderer no context.
	base, err := r.bases.Get(context.Background(), ref)
	if err != nil && !errors.Is(err, bases.ErrNotThere) {
		m.baseError = err
	}
	return base, err
}

func baseRefsOf(result *render.Result) []v1alpha1.BaseSourceRef {
	var refs []v1alpha1.BaseSourceRef
	for _, p := range result.Fleet.Profiles {
		if ref := p.Value.Spec.Base.SourceRef; ref != nil && !slices.Contains(refs, *ref) {
			refs = append(refs, *ref)
		}
	}
	slices.SortFunc(refs, func(a, b v1alpha1.BaseSourceRef) int { return strings.Compare(a.Kind+a.Name, b.Kind+b.Name) })
	return refs
}

// baseDigests tells whether a base has changed.
func (r *Reconciler) baseDigests(ctx context.Context, refs []v1alpha1.BaseSourceRef) string {
	var digests []string
	for _, ref := range refs {
		source, err := artifact.GetSource(ctx, r.sources, ref.Kind, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: ref.Name})
		if err == nil && source.GetArtifact() != nil {
			digests = append(digests, source.GetArtifact().Digest)
		} else {
			digests = append(digests, "none")
		}
	}
	return strings.Join(digests, " ")
}

// plan decides who may have what, and what has left Git.
func (r *Reconciler) plan(_ context.Context, s *scope) error {
	s.memory.refresh(s.ts, r.now())
	for _, u := range s.units {
		if len(u.errors) == 0 {
			u.errors = r.refusals(s, u)
		}
	}
	for tenant, holder := range r.claims.hold(s.name, holdingsOf(s.units)) {
		for _, u := range s.units {
			if u.name == tenant {
				u.errors = []*fleet.Error{u.objects[0].wrong(claimed(u.objects[0].key, holder))}
			}
		}
	}
	for _, u := range s.units {
		if len(u.errors) > 0 {
			s.failures[u.name] = u.errors
		}
	}
	s.leavers = leaversOf(s.world, s.units)
	want, err := remember(s.world, s.units, s.memory.wanted(), s.name)
	if err != nil {
		return err
	}
	s.memory.want(want, contested(s.units))
	return nil
}

func (r *Reconciler) refusals(s *scope, u *unit) []*fleet.Error {
	var errs []*fleet.Error
	for _, o := range u.objects {
		if why := o.refusal(s.world.get(o.key), r.exists); why != "" {
			errs = append(errs, o.wrong(why))
		}
	}
	return errs
}

// exists reports whether there still is the TenantSource that a label names. One
// in a namespace that is not ours to read is taken to be there.
func (r *Reconciler) exists(source string) bool {
	namespace, name, ok := strings.Cut(source, ".")
	if !ok {
		return false
	}
	if namespace != r.opts.Namespace {
		return true
	}
	err := r.sources.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, &v1alpha1.TenantSource{})
	return !apierrors.IsNotFound(err)
}

// bequeath forgets a TenantSource that is gone, and wakes the others: one of them
// may want its tenants.
func (r *Reconciler) bequeath(ctx context.Context, k client.ObjectKey) error {
	r.forget(k)
	var others v1alpha1.TenantSourceList
	if err := r.sources.List(ctx, &others, client.InNamespace(k.Namespace)); err != nil {
		return fmt.Errorf("cannot list TenantSources: %w", err)
	}
	for i := range others.Items {
		r.waker.Wake(client.ObjectKeyFromObject(&others.Items[i]))
	}
	return nil
}

func (r *Reconciler) forget(k client.ObjectKey) {
	r.claims.hold(k.Namespace+"."+k.Name, nil)
	r.memories.forget(k)
	forgetMetrics(k.Namespace + "." + k.Name)
}

func nameOf(ts *v1alpha1.TenantSource) string { return ts.Namespace + "." + ts.Name }

func logf(ctx context.Context) logr.Logger { return ctrl.LoggerFrom(ctx) }
