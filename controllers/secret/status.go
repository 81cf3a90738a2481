package secret

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/secret"
	"github.com/aetherplatform/aether/internal/status"
)

// condition is an outcome with a reason. Its message holds no value.
type condition struct {
	status          metav1.ConditionStatus
	reason, message string
	// stalled: only a person can help; nothing is tried until something changes.
	stalled bool
	// after is when to try again; 0 leaves it to how often it has failed.
	after time.Duration
}

func (c *condition) Error() string { return c.message }

func waiting(reason, format string, args ...any) error {
	return &condition{status: metav1.ConditionUnknown, reason: reason, message: fmt.Sprintf(format, args...)}
}

func failed(reason, format string, args ...any) error {
	return &condition{status: metav1.ConditionFalse, reason: reason, message: fmt.Sprintf(format, args...)}
}

func stalled(reason, format string, args ...any) error {
	return &condition{status: metav1.ConditionFalse, reason: reason, message: fmt.Sprintf(format, args...), stalled: true}
}

// again: somebody was faster. It is not worth a condition.
type again struct{}

func (*again) Error() string { return "somebody was faster" }

// outcomeOf says in a condition what an error means; nil when there is none. What is
// not known to hold no value is not quoted.
func (s *scope) outcomeOf(err error) *condition {
	var c *condition
	var made *secret.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &c):
		return c
	case errors.As(err, &made):
		return &condition{
			status: metav1.ConditionFalse, reason: made.Reason, message: made.Message,
			stalled: made.Reason == v1alpha1.ReasonInvalidSpec,
		}
	}
	out := &condition{status: metav1.ConditionFalse}
	var bao *openbao.Error
	if errors.As(err, &bao) {
		out.after = bao.RetryAfter
	}
	switch openbao.KindOf(err) {
	case openbao.Unavailable:
		out.reason, out.message = v1alpha1.ReasonOpenBaoUnavailable, "OpenBao is away"
		if bao != nil { // whoever's request found that out: its path is not everybody's to know
			out.message += ": " + bao.Reason()
		}
	case openbao.Denied:
		out.reason, out.message = v1alpha1.ReasonAccessDenied, err.Error()
	case openbao.NotFound:
		return s.outcomeOf(s.notThere())
	case openbao.Gone:
		out.reason, out.message = v1alpha1.ReasonVersionGone, err.Error()
	case openbao.Taken:
		out.reason, out.message, out.stalled = v1alpha1.ReasonPathTaken, err.Error(), true
	case openbao.Invalid:
		out.reason, out.message = v1alpha1.ReasonInvalidSecret, err.Error()
	default:
		out.reason, out.message = v1alpha1.ReasonApplyFailed, err.Error()
		if apierrors.IsNotFound(err) { // of the account whose token was asked for
			out.status, out.reason = metav1.ConditionUnknown, v1alpha1.ReasonProvisioning
			out.message = fmt.Sprintf("Waiting for the ServiceAccount %q of Namespace %q, which a profile with the component namespace/openbao-sync makes where secrets are listed or spec.openBao is set",
				v1alpha1.SecretSyncAccount, s.ss.Namespace)
		}
	}
	return out
}

// Bounds of the time between tries of one SecretSync.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

// report turns the outcome into a status, an event and what the queue is told.
func (r *Reconciler) report(ctx context.Context, s *scope, err error) (ctrl.Result, error) {
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err() // shutting down; the next process starts over
	}
	var soon *again
	if errors.As(err, &soon) {
		return ctrl.Result{RequeueAfter: minRetry}, nil
	}
	now := r.now()
	outcome := s.outcomeOf(err)
	ready := metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSynced}
	if outcome == nil {
		s.record(now)
		s.memory.asked, s.memory.failures, s.memory.retry = now, 0, time.Time{}
		ready.Message = fmt.Sprintf("Version %d of %s", s.version, s.place())
		if s.ss.Spec.Immutable {
			ready.Message += ", for good: the Secret is immutable"
		}
	} else {
		s.memory.failures++
		s.memory.retry = now.Add(outcome.retry(s.memory.failures, secret.RefreshInterval(&s.ss.Spec.SecretSource)))
		ready.Status, ready.Reason, ready.Message = outcome.status, outcome.reason, outcome.message+s.kept()
		failures.WithLabelValues(s.tenant(), outcome.reason).Inc()
	}
	s.ss.Status.ObservedGeneration = s.ss.Generation
	s.ss.Status.LastHandledReconcileAt = requestOf(s.ss)
	status.SetConditions(&s.ss.Status.Conditions, s.ss.Generation, metav1.NewTime(now), ready,
		outcome != nil && !outcome.stalled, outcome != nil && outcome.stalled)
	r.measure(s, outcome, now)

	if !s.isUnchanged() {
		version, err := status.Write(ctx, r.Client, s.ss, &s.ss.Status, v1alpha1.FieldOwnerSecret)
		if err != nil {
			return ctrl.Result{}, err
		}
		s.memory.version = version
		r.announce(s, ready)
	}
	return ctrl.Result{RequeueAfter: max(r.due(s), s.memory.retry.Sub(now), time.Millisecond)}, nil
}

// retry is how long to wait after so many failures. What only a person can help is
// looked at when something changes, and now and then.
func (c *condition) retry(failures int, interval time.Duration) time.Duration {
	switch {
	case c.stalled:
		return max(interval, maxRetry)
	case c.after > 0:
		return min(c.after, 10*maxRetry)
	case c.reason == v1alpha1.ReasonOpenBaoUnavailable:
		return min(minRetry<<min(failures-1, 10), maxOutage) // as often as OpenBao is asked for all
	}
	return min(minRetry<<min(failures-1, 10), maxRetry)
}

// kept says what the Secret holds meanwhile.
func (s *scope) kept() string {
	if s.ss.Status.Version == 0 {
		return ""
	}
	return fmt.Sprintf("; Secret %q keeps version %d", s.ss.SecretName(), s.ss.Status.Version)
}

func (s *scope) tenant() string { return s.subject.Tenant }

// announce tells of what has changed, once.
func (r *Reconciler) announce(s *scope, ready metav1.Condition) {
	before := meta.FindStatusCondition(s.written.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready.Status == metav1.ConditionTrue && (before == nil || before.Status != metav1.ConditionTrue || s.written.Version != s.ss.Status.Version):
		r.recorder.Eventf(s.ss, nil, eventNormal, ready.Reason, "Sync", "%s is in Secret %q", ready.Message, s.ss.SecretName())
	case ready.Status == metav1.ConditionFalse && (before == nil || before.Reason != ready.Reason || before.Message != ready.Message):
		r.recorder.Eventf(s.ss, nil, eventWarning, ready.Reason, "Sync", "%s", ready.Message)
	}
}

func isReady(ss *v1alpha1.SecretSync) bool {
	return meta.IsStatusConditionTrue(ss.Status.Conditions, v1alpha1.ConditionReady)
}
