package namespace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/status"
)

// errElsewhere: the namespace is not placed in this cluster and never was. It is
// another operator's to report on.
var errElsewhere = errors.New("placed elsewhere")

// quiet is an outcome that is not worth a status: a watch wakes us. After is a
// deadline; 0 is none.
type quiet struct{ after time.Duration }

func (q *quiet) Error() string { return "waiting for a watch" }

var errQuiet = &quiet{}

// condition is an outcome with a reason: waiting (Ready=Unknown) or stalled
// (Ready=False, a person must act).
type condition struct {
	status          metav1.ConditionStatus
	reason, message string
	stalled         bool
}

func (c *condition) Error() string { return c.message }

func waiting(reason, format string, args ...any) error {
	return &condition{status: metav1.ConditionUnknown, reason: reason, message: fmt.Sprintf(format, args...)}
}

func progressing(format string, args ...any) error {
	return waiting(v1alpha1.ReasonProgressing, format, args...)
}

func stalled(reason, format string, args ...any) error {
	return &condition{status: metav1.ConditionFalse, reason: reason, message: fmt.Sprintf(format, args...), stalled: true}
}

// notServed names kinds that the cluster lacks, and what would bring the first.
func notServed(kinds []schema.GroupVersionKind) error {
	var names []string
	for _, k := range kinds {
		names = append(names, k.Kind)
	}
	slices.Sort(names)
	plural, _ := meta.UnsafeGuessKindToResource(kinds[0])
	return waiting(v1alpha1.ReasonKindNotServed, "The cluster does not serve %s; install its CRD, %s", listed(names), plural.GroupResource())
}

// kept is the outcome for what has left Git and is still there.
type kept struct {
	message string
	after   time.Duration
}

func (k *kept) Error() string { return k.message }

// held is the outcome for an object that is not put back for a while.
type held struct {
	message string
	after   time.Duration
}

func (h *held) Error() string { return h.message }

// report turns the outcome into conditions; nothing else sets them. When the
// write fails, only that is returned: the retry finds the outcome again.
func (r *Reconciler) report(ctx context.Context, s *scope, outcome error) (ctrl.Result, error) {
	var q *quiet
	switch {
	case errors.Is(outcome, errElsewhere), s.gone && outcome == nil:
		return ctrl.Result{}, nil
	case errors.As(outcome, &q):
		return ctrl.Result{RequeueAfter: q.after}, nil
	case apierrors.IsConflict(outcome):
		return ctrl.Result{}, outcome // somebody was faster: not worth a condition
	}
	if err := r.write(ctx, s, outcome); err != nil {
		return ctrl.Result{}, err
	}
	if outcome == nil {
		r.measure(ctx, s)
	}
	return result(s, outcome)
}

func result(s *scope, outcome error) (ctrl.Result, error) {
	var c *condition
	var k *kept
	var h *held
	switch {
	case outcome == nil:
		return ctrl.Result{}, nil
	case errors.As(outcome, &h):
		failures.WithLabelValues(s.tn.Spec.Tenant).Inc()
		return ctrl.Result{RequeueAfter: h.after}, nil
	case errors.As(outcome, &k):
		return ctrl.Result{RequeueAfter: max(k.after, 0)}, nil
	case errors.As(outcome, &c) && c.stalled:
		failures.WithLabelValues(s.tn.Spec.Tenant).Inc()
		return ctrl.Result{}, reconcile.TerminalError(outcome)
	case errors.As(outcome, &c):
		return ctrl.Result{}, nil
	default:
		failures.WithLabelValues(s.tn.Spec.Tenant).Inc()
		return ctrl.Result{}, outcome
	}
}

// write sets the status to an outcome, when it is another.
func (r *Reconciler) write(ctx context.Context, s *scope, outcome error) error {
	observed := &s.tn.Status
	observed.ObservedGeneration = s.tn.Generation
	observed.Inventory = s.inventory.entries
	if s.namespace != nil {
		observed.Digest = s.digest()
	}
	r.conclude(s, outcome)

	if equality.Semantic.DeepEqual(s.written, *observed) {
		s.memory.applied = nil
		return nil
	}
	version, err := status.Write(ctx, r.Client, s.tn, &s.tn.Status, v1alpha1.FieldOwnerNamespace)
	if err != nil {
		return err
	}
	s.written = *observed.DeepCopy()
	s.memory.version = version
	s.memory.applied = nil
	return nil
}

// conclude derives Ready, Reconciling, Stalled, Isolated and SecretsSynced.
func (r *Reconciler) conclude(s *scope, outcome error) {
	var ready metav1.Condition
	stuck, working := false, true
	var c *condition
	var k *kept
	switch {
	case outcome == nil && s.closed():
		working = false
		ready.Status, ready.Reason, ready.Message = metav1.ConditionTrue, v1alpha1.ReasonCordoned,
			fmt.Sprintf("Cordoned by Tenant %q; %s in place", s.tenant.Name, objectsText(len(s.children)+1))
	case outcome == nil:
		working = false
		ready.Status, ready.Reason, ready.Message = metav1.ConditionTrue, v1alpha1.ReasonReconciled,
			objectsText(len(s.children)+1)+" in place"
	case errors.As(outcome, &k):
		working = false
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonRemovedFromGit, k.message
	case errors.As(outcome, &c):
		stuck, working = c.stalled, !c.stalled
		ready.Status, ready.Reason, ready.Message = c.status, c.reason, c.message
	default:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, outcome.Error()
	}

	conditions, generation, now := &s.tn.Status.Conditions, s.tn.Generation, metav1.NewTime(r.now())
	status.SetConditions(conditions, generation, now, ready, working, stuck)
	if c := s.secrets; c != nil && c.Status == "" {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionSecretsSynced)
	} else if c != nil {
		c.Type, c.ObservedGeneration, c.LastTransitionTime = v1alpha1.ConditionSecretsSynced, generation, now
		meta.SetStatusCondition(conditions, *c)
	}
	if s.isolated != nil {
		isolated := metav1.Condition{
			Type: v1alpha1.ConditionIsolated, Status: metav1.ConditionFalse, Reason: s.isolated.reason, Message: s.isolated.message,
			ObservedGeneration: generation, LastTransitionTime: now,
		}
		if s.isolated.open {
			isolated.Status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(conditions, isolated)
	}
}

// digest is that of all objects.
func (s *scope) digest() string {
	sum := sha256.New()
	for _, d := range append([]*desired{s.namespace}, s.children...) {
		fmt.Fprintln(sum, d.id, d.digest)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// Types of events.
const (
	eventNormal  = corev1.EventTypeNormal
	eventWarning = corev1.EventTypeWarning
)

func (r *Reconciler) event(s *scope, kind, reason, format string, args ...any) {
	r.recorder.Eventf(s.tn, nil, kind, reason, "Reconcile", format, args...)
}

func logf(ctx context.Context) logr.Logger { return ctrl.LoggerFrom(ctx) }
