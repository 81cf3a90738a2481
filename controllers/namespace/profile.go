package namespace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/bases"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/status"
)

// Templates are the profiles, compiled. Each is compiled once a generation and
// base, by whoever asks first.
type Templates struct {
	// bases returns the base that a profile names.
	bases func(context.Context, *v1alpha1.BaseSourceRef) (render.Base, error)

	mu    sync.Mutex
	known map[string]*compiling
}

// Compiled is what is known of a profile's template.
type Compiled struct {
	// Template is the last that compiled; nil when none has.
	Template *render.Template
	// BaseRevision that Template was compiled from.
	BaseRevision string
	// Err is why Template is not of the profile as it is now.
	Err error
}

type compiling struct {
	mu         sync.Mutex
	uid        types.UID
	generation int64
	revision   string
	compiled   Compiled
}

// Of is the template of a profile. The last good one stays in use while the
// profile or its base does not compile.
func (t *Templates) Of(ctx context.Context, p *v1alpha1.NamespaceProfile) Compiled {
	c := t.of(p.Name)
	c.mu.Lock()
	defer c.mu.Unlock()
	base, err := t.bases(ctx, p.Spec.Base.SourceRef)
	if err != nil {
		c.generation = 0 // asked again next time
		c.compiled.Err = err
		return c.compiled
	}
	if c.uid == p.UID && c.generation == p.Generation && c.revision == base.Revision {
		return c.compiled
	}
	c.uid, c.generation, c.revision = p.UID, p.Generation, base.Revision
	template, err := render.Compile(p.DeepCopy(), base)
	c.compiled.Err = err
	if err == nil {
		c.compiled.Template, c.compiled.BaseRevision = template, base.Revision
	}
	return c.compiled
}

func (t *Templates) of(name string) *compiling {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = map[string]*compiling{}
	}
	if t.known[name] == nil {
		t.known[name] = &compiling{}
	}
	return t.known[name]
}

func (t *Templates) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, name)
}

// ProfileReconciler compiles profiles and says whether they can be used.
type ProfileReconciler struct {
	client.Client
	templates *Templates
	// watchSource has changes of a profile's source wake it.
	watchSource func(kind string)
	// changed is called when namespaces of a profile are to be rendered anew.
	changed func(ctx context.Context, profile string)
	now     func() time.Time

	mu    sync.Mutex
	known map[string]outcome
}

// outcome of compiling a profile, as its namespaces see it.
type outcome struct {
	template *render.Template
	err      string
}

// Reconcile compiles one profile.
func (r *ProfileReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := &v1alpha1.NamespaceProfile{}
	if err := r.Get(ctx, req.NamespacedName, p); err != nil {
		if apierrors.IsNotFound(err) {
			r.templates.forget(req.Name)
			r.renew(ctx, req.Name, outcome{})
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("cannot get NamespaceProfile: %w", err)
	}
	if ref := p.Spec.Base.SourceRef; ref != nil {
		r.watchSource(ref.Kind)
	}
	compiled := r.templates.Of(ctx, p)
	now := outcome{template: compiled.Template}
	if compiled.Template == nil && compiled.Err != nil {
		now.err = compiled.Err.Error()
	}
	r.renew(ctx, p.Name, now)
	return r.report(ctx, p, compiled)
}

// renew wakes the namespaces of a profile that compiles to something else.
func (r *ProfileReconciler) renew(ctx context.Context, name string, now outcome) {
	r.mu.Lock()
	if r.known == nil {
		r.known = map[string]outcome{}
	}
	changed := r.known[name] != now
	r.known[name] = now
	r.mu.Unlock()
	if changed {
		r.changed(ctx, name)
	}
}

func (r *ProfileReconciler) report(ctx context.Context, p *v1alpha1.NamespaceProfile, compiled Compiled) (ctrl.Result, error) {
	before := p.DeepCopy()
	p.Status.ObservedGeneration = p.Generation
	p.Status.BaseRevision = compiled.BaseRevision

	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonReconciled, Message: "Compiled from " + compiled.BaseRevision}
	working, stuck := false, false
	switch {
	case compiled.Err == nil:
	case errors.Is(compiled.Err, bases.ErrNotThere):
		working = true
		ready.Status, ready.Reason, ready.Message = metav1.ConditionUnknown, v1alpha1.ReasonBaseNotFound, compiled.Err.Error()
	default:
		stuck = true
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonBaseInvalid, compiled.Err.Error()
	}
	if compiled.Err != nil && compiled.Template != nil {
		ready.Message += "; what was compiled from " + compiled.BaseRevision + " stays in use"
	}
	status.SetConditions(&p.Status.Conditions, p.Generation, metav1.NewTime(r.now()), ready, working, stuck)

	if !equality.Semantic.DeepEqual(before.Status, p.Status) {
		if _, err := status.Write(ctx, r.Client, p, &p.Status, v1alpha1.FieldOwnerNamespace); err != nil {
			return ctrl.Result{}, err
		}
	}
	switch {
	case stuck && p.Spec.Base.SourceRef != nil:
		return ctrl.Result{}, compiled.Err // a fetch may work next time
	case stuck:
		return ctrl.Result{}, reconcile.TerminalError(compiled.Err)
	}
	return ctrl.Result{}, nil
}
