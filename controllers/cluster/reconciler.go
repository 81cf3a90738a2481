// Package cluster makes of each WorkloadCluster a namespace with an AetherControlPlane,
// and hosted control planes what their AetherControlPlanes say: it has cert-manager issue
// certificates, and starts etcd, the API servers and what works through them one after
// another, each once what it needs is there.
//
// What a control plane consists of says package internal/controlplane. In a steady state
// this package writes nothing, also after a restart: an object tells whether it is as it
// was applied.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/status"
)

// fieldOwner is who the cluster controller is in managed fields.
const fieldOwner = "aether-cluster-controller"

// Reconciler makes control planes what their AetherControlPlanes say.
type Reconciler struct {
	// Client reads from informers and writes to the API server.
	client.Client
	// reader reads Secrets, which are never held in memory.
	reader   client.Reader
	applier  *apply.Applier
	recorder events.EventRecorder
	now      func() time.Time
	opts     controlplane.Options
	// watch begins to watch the kinds that cert-manager defines; false while the
	// cluster does not have them.
	watch func() bool
	// watchClusters begins to watch Cluster API's Clusters, once one owns a control plane.
	watchClusters func() error
	// reach is how the API servers of a control plane are reached.
	reach func(credential) (member, error)
	met   acquaintances
}

// scope is one reconcile of one control plane.
type scope struct {
	cp   *cpv1.AetherControlPlane
	plan *controlplane.Plan
	// pending is what is asked for and not there yet, though every stage is.
	pending *waiting
}

// A waiting is why a stage has not come yet. It is no failure: a watch wakes the control
// plane when that changes, or it is looked at again after a while.
type waiting struct {
	reason, message string
	// stuck until somebody does what the message says.
	stuck bool
	after time.Duration
}

// Error is the message.
func (w *waiting) Error() string { return w.message }

// A stage makes a part of a control plane. A waiting ends it for now.
type stage struct {
	condition string
	// done is the reason and the message once it is there.
	done string
	do   func(context.Context, *scope) error
}

// Reconcile brings one control plane a step on.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cp := &cpv1.AetherControlPlane{}
	if err := r.Get(ctx, req.NamespacedName, cp); err != nil {
		if apierrors.IsNotFound(err) {
			r.met.forget(req.NamespacedName)
			unmeasure(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("cannot get AetherControlPlane: %w", err)
	}
	if cp.DeletionTimestamp != nil {
		return ctrl.Result{}, r.end(ctx, cp)
	}
	before := cp.DeepCopy()
	again, err := r.bring(ctx, cp)
	measure(before, cp)
	if !equality.Semantic.DeepEqual(before.Status, cp.Status) {
		r.tell(before, cp)
		if _, failed := status.Write(ctx, r.Client, cp, &cp.Status, fieldOwner); failed != nil {
			return ctrl.Result{}, errors.Join(err, failed)
		}
	}
	return ctrl.Result{RequeueAfter: again}, err
}

// bring goes through the stages, and writes into the status how far it came.
func (r *Reconciler) bring(ctx context.Context, cp *cpv1.AetherControlPlane) (again time.Duration, err error) {
	paused, why, err := r.paused(ctx, cp)
	if err != nil {
		return 0, err
	}
	if paused {
		r.set(cp, cpv1.ConditionPaused, metav1.ConditionTrue, cpv1.ReasonPaused, why)
		return 0, nil
	}
	r.set(cp, cpv1.ConditionPaused, metav1.ConditionFalse, cpv1.ReasonNotPaused, "It is reconciled")

	if err := r.hold(ctx, cp); err != nil {
		return 0, err
	}
	plan, err := controlplane.NewPlan(cp, r.opts)
	if err != nil {
		r.conclude(cp, &waiting{reason: cpv1.ReasonInvalidSpec, message: err.Error(), stuck: true})
		return 0, nil //nolint:nilerr // only another spec helps, and that wakes it
	}
	s := &scope{cp: cp, plan: plan}
	stages := r.stages()
	if cp.Spec.Hibernated {
		stages = r.asleep()
	} else {
		r.wake(cp)
	}
	for _, stage := range stages {
		if err := stage.do(ctx, s); err != nil {
			w := &waiting{reason: cpv1.ReasonFailed, message: err.Error()}
			if errors.As(err, &w) {
				err = nil
			}
			r.set(cp, stage.condition, metav1.ConditionFalse, w.reason, w.message)
			r.observe(ctx, s)
			after := w.after
			if s.pending != nil {
				after = sooner(after, s.pending.after)
				if s.pending.stuck && err == nil {
					w = s.pending // what a person must do goes before what is on its way
				}
			}
			r.conclude(cp, w)
			return after, err
		}
		r.set(cp, stage.condition, metav1.ConditionTrue, cpv1.ReasonAvailable, stage.done)
	}
	r.observe(ctx, s)
	r.conclude(cp, s.pending)
	if s.pending != nil {
		return s.pending.after, nil //nolint:nilerr // a waiting is no failure
	}
	return 0, nil
}

func (r *Reconciler) stages() []stage {
	return []stage{
		{cpv1.ConditionCertificatesReady, "All certificates are issued", r.certificates},
		{cpv1.ConditionEtcdReady, "All members of etcd are ready", r.etcd},
		{cpv1.ConditionAPIServerReady, "The API servers answer", r.apiServers},
		{cpv1.ConditionControllersReady, "Controller manager and scheduler are ready", r.managers},
		{cpv1.ConditionAuthoritiesCurrent, "All that is trusted is of the generation that is asked for", r.rotate},
	}
}

// conclude sums up: Available once the API server has been reached, Ready once
// everything is as it is asked for. w is what is not there yet.
func (r *Reconciler) conclude(cp *cpv1.AetherControlPlane, w *waiting) {
	cp.Status.ObservedGeneration = cp.Generation
	cp.Status.ExternalManagedControlPlane = ptr.To(true)
	tellRotation(cp, w)

	ready := metav1.Condition{Status: metav1.ConditionTrue, Reason: cpv1.ReasonAvailable, Message: "The control plane is as it is asked for"}
	if w != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, w.reason, w.message
	}
	status.SetConditions(&cp.Status.Conditions, cp.Generation, metav1.NewTime(r.now()), ready, w != nil && !w.stuck, w != nil && w.stuck)

	// A control plane that waits for a part that is renewed still serves.
	serves := serves(cp)
	switch {
	case cp.Spec.Hibernated:
		r.set(cp, cpv1.ConditionAvailable, metav1.ConditionFalse, cpv1.ReasonHibernated, "It hibernates")
	case serves && w == nil:
		r.set(cp, cpv1.ConditionAvailable, metav1.ConditionTrue, cpv1.ReasonAvailable, "The API servers answer")
	case serves:
		r.set(cp, cpv1.ConditionAvailable, metav1.ConditionTrue, cpv1.ReasonAvailable, "The API servers answer; "+w.message)
	case w != nil:
		r.set(cp, cpv1.ConditionAvailable, metav1.ConditionFalse, w.reason, w.message)
	default:
		r.set(cp, cpv1.ConditionAvailable, metav1.ConditionFalse, cpv1.ReasonWaiting, "No API server is available")
	}
}

func (r *Reconciler) set(cp *cpv1.AetherControlPlane, condition string, is metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&cp.Status.Conditions, metav1.Condition{
		Type: condition, Status: is, Reason: reason, Message: message,
		ObservedGeneration: cp.Generation, LastTransitionTime: metav1.NewTime(r.now()),
	})
}

// tell makes an event of what has changed for the better or the worse.
func (r *Reconciler) tell(before, cp *cpv1.AetherControlPlane) {
	r.tellOfUpgrade(before, cp)
	was := meta.FindStatusCondition(before.Status.Conditions, cpv1.ConditionAvailable)
	is := meta.FindStatusCondition(cp.Status.Conditions, cpv1.ConditionAvailable)
	if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return
	}
	kind := "Normal"
	if was != nil && was.Status == metav1.ConditionTrue || meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionStalled) {
		kind = "Warning"
	}
	r.recorder.Eventf(cp, nil, kind, is.Reason, "Reconcile", "%s", is.Message)
}
