package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
)

// Bounds of what a status lists.
const (
	maxFailures = 50
	maxErrors   = 10
	maxPending  = 100
)

// outcome is why a reconcile ended, as a condition says it.
type outcome struct {
	ready   metav1.ConditionStatus
	reason  string
	message string
	// active is Reconciling or Stalled, whichever is true beside Ready.
	active string
	// cause is what another attempt may mend.
	cause error
	// after is when to look again where nothing will wake us.
	after time.Duration
}

func (o *outcome) Error() string { return o.reason + ": " + o.message }

// waiting: something else has to happen first, and will wake us.
func waiting(reason, format string, args ...any) error {
	return &outcome{ready: metav1.ConditionUnknown, reason: reason, message: fmt.Sprintf(format, args...), active: v1alpha1.ConditionReconciling}
}

// unserved: the cluster lacks a kind, and has nothing to watch that would say when
// it is there.
func unserved(err error) error {
	return &outcome{
		ready: metav1.ConditionUnknown, reason: v1alpha1.ReasonSourceNotFound, message: err.Error(),
		active: v1alpha1.ConditionReconciling, after: 30 * time.Second,
	}
}

// stalled: a person must act.
func stalled(reason, format string, args ...any) error {
	return &outcome{ready: metav1.ConditionFalse, reason: reason, message: fmt.Sprintf(format, args...), active: v1alpha1.ConditionStalled}
}

// failing: another attempt may help.
func failing(reason string, cause error) *outcome {
	return &outcome{ready: metav1.ConditionFalse, reason: reason, message: cause.Error(), active: v1alpha1.ConditionReconciling, cause: cause}
}

func suspended() error {
	return &outcome{ready: metav1.ConditionFalse, reason: v1alpha1.ReasonSuspended, message: "Nothing is read or changed while spec.suspend is true"}
}

// report turns what happened into status, events and what the queue is told;
// nothing else does. When the status cannot be written only that is returned:
// the retry finds the outcome again.
func (r *Reconciler) report(ctx context.Context, s *scope, err error) (ctrl.Result, error) {
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err() // shutting down; the next process starts over
	}
	o := outcomeOf(s, err)
	status := &s.ts.Status
	status.ObservedGeneration = s.ts.Generation
	status.LastHandledReconcileAt = s.ts.Annotations[meta.ReconcileRequestAnnotation]
	if err == nil {
		r.reportUnits(s)
	}
	setConditions(s.ts, o)
	observeOutcome(s.name, s.memory, o)

	if !equality.Semantic.DeepEqual(s.written, s.ts.Status) {
		if err := r.writeStatus(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
		r.announceChanges(s, o)
	}
	switch {
	case o.cause != nil:
		return ctrl.Result{}, o.cause
	case o.after > 0:
		return ctrl.Result{RequeueAfter: o.after}, nil
	case s.artifact == nil:
		return ctrl.Result{}, nil // a watch wakes us
	}
	return ctrl.Result{RequeueAfter: s.memory.due(s.ts, r.now())}, nil
}

// outcomeOf is the outcome of all steps: the error that ended them, or else the
// gravest of what was found on the way, with the others behind it.
func outcomeOf(s *scope, err error) *outcome {
	var o *outcome
	if errors.As(err, &o) {
		return o
	}
	if err != nil {
		return failing(v1alpha1.ReasonApplyFailed, err)
	}

	o = &outcome{ready: metav1.ConditionTrue, reason: v1alpha1.ReasonReconciled}
	var messages []string
	found := func(reason, message string) {
		if o.ready == metav1.ConditionTrue {
			o.ready, o.reason, o.active = metav1.ConditionFalse, reason, v1alpha1.ConditionStalled
		}
		messages = append(messages, message)
	}
	failures := maps.Clone(s.failures)
	if errs := failures[v1alpha1.PlatformDirectory]; len(errs) > 0 {
		found(v1alpha1.ReasonPlatformInvalid, fmt.Sprintf("The platform directory has %s, its last good state is used: %s", count(len(errs), "error"), errs[0]))
		delete(failures, v1alpha1.PlatformDirectory)
	}
	if s.blocked != "" && !pruneDisabled(s.ts) {
		found(v1alpha1.ReasonPruneBlocked, s.blocked)
	}
	if len(failures) > 0 {
		first := slices.Sorted(maps.Keys(failures))[0]
		found(v1alpha1.ReasonTenantsFailing, fmt.Sprintf("%d of %s failing: %s", len(failures), count(tenantsOf(s.units), "tenant"), failures[first][0]))
	}
	if s.retry != nil {
		if o.ready == metav1.ConditionTrue {
			found(v1alpha1.ReasonApplyFailed, firstLine(s.retry))
		}
		o.active, o.cause = v1alpha1.ConditionReconciling, s.retry
	}
	if o.ready == metav1.ConditionTrue {
		messages = append(messages, fmt.Sprintf("Applied %s at %s", count(tenantsOf(s.units), "tenant"), s.artifact.Revision))
		if s.blocked != "" {
			messages = append(messages, s.blocked)
		}
	}
	for _, p := range s.leavers.inUse {
		messages = append(messages, fmt.Sprintf("NamespaceProfile %s left Git and is kept while namespaces use it", p.GetName()))
	}
	o.message = strings.Join(messages, ". ")
	return o
}

// reportUnits says what became of the tenants and of what has left.
func (r *Reconciler) reportUnits(s *scope) {
	status := &s.ts.Status
	total, failed := tenantsOf(s.units), len(s.failures)
	if len(s.failures[v1alpha1.PlatformDirectory]) > 0 {
		failed--
	}
	status.Tenants = v1alpha1.TenantCounts{Total: int32(total), Failed: int32(failed)}
	status.Summary = fmt.Sprintf("%d/%d", total-failed, total)
	status.Failures = failuresOf(s.failures)
	status.Warnings = warningsOf(s.units)
	observeFailures(s.name, s.failures)
	status.PendingPrune = nil
	if s.blocked != "" {
		status.PendingPrune = namesOf(s.leavers.unmarked, maxPending)
	}

	// A refused tenant does not hold the revision back, and neither does one that
	// has errors: the others have it.
	if s.incomplete || s.blocked != "" && !pruneDisabled(s.ts) {
		return
	}
	status.LastAppliedRevision = s.artifact.Revision
	status.Digest = s.memory.result.Digest
	if s.changed > 0 || s.removed > 0 {
		observeApplied(s.name, r.now())
	}
}

func failuresOf(failures map[string][]*fleet.Error) []v1alpha1.TenantFailure {
	var listed []v1alpha1.TenantFailure
	for _, tenant := range slices.Sorted(maps.Keys(failures)) {
		if len(listed) == maxFailures {
			break
		}
		f := v1alpha1.TenantFailure{Tenant: tenant, Total: int32(len(failures[tenant]))}
		for _, e := range failures[tenant][:min(maxErrors, len(failures[tenant]))] {
			f.Errors = append(f.Errors, e.Error())
		}
		listed = append(listed, f)
	}
	return listed
}

func warningsOf(units []*unit) []v1alpha1.TenantWarning {
	var listed []v1alpha1.TenantWarning
	for _, u := range units { // by name
		if len(u.warnings) == 0 || len(listed) == maxFailures {
			continue
		}
		w := v1alpha1.TenantWarning{Tenant: u.name, Total: int32(len(u.warnings))}
		for _, e := range u.warnings[:min(maxErrors, len(u.warnings))] {
			w.Warnings = append(w.Warnings, e.Error())
		}
		listed = append(listed, w)
	}
	return listed
}

func setConditions(ts *v1alpha1.TenantSource, o *outcome) {
	conditions := &ts.Status.Conditions
	set := func(kind string, status metav1.ConditionStatus) {
		apimeta.SetStatusCondition(conditions, metav1.Condition{
			Type: kind, Status: status, Reason: o.reason, Message: shorten(o.message, 32<<10), ObservedGeneration: ts.Generation,
		})
	}
	set(v1alpha1.ConditionReady, o.ready)
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if kind == o.active {
			set(kind, metav1.ConditionTrue)
		} else {
			apimeta.RemoveStatusCondition(conditions, kind)
		}
	}
}

// announce says, before the first apply of a TenantSource, that it is under way:
// it may take a while. Later ones are reported when they are done.
func (r *Reconciler) announce(ctx context.Context, s *scope, units int) error {
	if apimeta.FindStatusCondition(s.ts.Status.Conditions, v1alpha1.ConditionReady) != nil {
		return nil
	}
	setConditions(s.ts, &outcome{
		ready: metav1.ConditionUnknown, reason: v1alpha1.ReasonProgressing, active: v1alpha1.ConditionReconciling,
		message: fmt.Sprintf("Applying %s at %s", count(units, "directory"), s.artifact.Revision),
	})
	return r.writeStatus(ctx, s)
}

// writeStatus sets the whole status with one server-side apply.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) error {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&s.ts.Status)
	if err != nil {
		return fmt.Errorf("cannot convert status: %w", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.KindTenantSource))
	u.SetNamespace(s.ts.Namespace)
	u.SetName(s.ts.Name)
	err = r.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(v1alpha1.FieldOwnerSource), client.ForceOwnership)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot write status: %w", err)
	}
	s.ts.Status.DeepCopyInto(&s.written)
	return nil
}

// announceChanges emits events for what the status says now and did not before.
func (r *Reconciler) announceChanges(s *scope, o *outcome) {
	was := map[string][]string{}
	for _, f := range s.before.Failures {
		was[f.Tenant] = f.Errors
	}
	for _, f := range s.ts.Status.Failures {
		if slices.Equal(was[f.Tenant], f.Errors) {
			continue
		}
		note := shorten(f.Tenant+": "+strings.Join(f.Errors, "; "), 1000)
		r.recorder.Eventf(s.ts, nil, corev1.EventTypeWarning, v1alpha1.ReasonTenantsFailing, "Read", "%s", note)
		if tenant := s.world.get(key{v1alpha1.KindTenant, f.Tenant}); tenant != nil {
			r.recorder.Eventf(tenant, s.ts, corev1.EventTypeWarning, v1alpha1.ReasonTenantsFailing, "Read", "%s", note)
		}
	}
	r.announceWarnings(s)
	before := apimeta.FindStatusCondition(s.before.Conditions, v1alpha1.ConditionReady)
	switch o.reason {
	case v1alpha1.ReasonPruneBlocked:
		if before == nil || before.Message != o.message {
			note := shorten(o.message+": "+strings.Join(s.ts.Status.PendingPrune, ", "), 1000)
			r.recorder.Eventf(s.ts, nil, corev1.EventTypeWarning, o.reason, "Prune", "%s", note)
		}
	case v1alpha1.ReasonTreeEmpty, v1alpha1.ReasonPlatformInvalid, v1alpha1.ReasonFetchFailed:
		if before == nil || before.Message != o.message {
			r.recorder.Eventf(s.ts, nil, corev1.EventTypeWarning, o.reason, "Read", "%s", shorten(o.message, 1000))
		}
	}
	if applied := s.ts.Status.LastAppliedRevision; applied != s.before.LastAppliedRevision {
		r.recorder.Eventf(s.ts, nil, corev1.EventTypeNormal, "Applied", "Apply", "Applied %s: %s changed, %d removed",
			applied, count(s.changed, "object"), s.removed)
	}
}

// announceWarnings emits an event for each Tenant with a warning that it had not
// before, and one for the TenantSource with all of these. The status remembers
// them, so that neither the next reconcile nor the next process says them again.
func (r *Reconciler) announceWarnings(s *scope) {
	known := textsOf(s.before.Warnings)
	maps.Copy(known, s.memory.warned)
	s.memory.warned = textsOf(s.ts.Status.Warnings)
	var all []string
	for _, w := range s.ts.Status.Warnings {
		fresh := slices.DeleteFunc(slices.Clone(w.Warnings), func(text string) bool { return known[withoutLine(text)] })
		if len(fresh) == 0 {
			continue
		}
		all = append(all, fresh...)
		if tenant := s.world.get(key{v1alpha1.KindTenant, w.Tenant}); tenant != nil {
			r.recorder.Eventf(tenant, s.ts, corev1.EventTypeWarning, reasonWarning, "Read", "%s", shorten(strings.Join(fresh, "; "), 1000))
		}
	}
	if len(all) > 0 {
		r.recorder.Eventf(s.ts, nil, corev1.EventTypeWarning, reasonWarning, "Read", "%s", shorten(strings.Join(all, "; "), 1000))
	}
}

func textsOf(warnings []v1alpha1.TenantWarning) map[string]bool {
	texts := map[string]bool{}
	for _, w := range warnings {
		for _, text := range w.Warnings {
			texts[withoutLine(text)] = true
		}
	}
	return texts
}

// reasonWarning is of events about what is applied and likely not meant.
const reasonWarning = "FleetWarning"

var lineNumber = regexp.MustCompile(`:\d+: `)

// withoutLine is a warning without its line, which moves when something else in
// the file changes.
func withoutLine(text string) string {
	if at := lineNumber.FindStringIndex(text); at != nil {
		return text[:at[0]] + text[at[1]-2:]
	}
	return text
}

func pruneDisabled(ts *v1alpha1.TenantSource) bool {
	return ts.Spec.Prune.Enabled != nil && !*ts.Spec.Prune.Enabled
}

// tenantsOf counts the tenants of units, which begin with the platform.
func tenantsOf(units []*unit) int { return max(len(units)-1, 0) }

func namesOf(objects []client.Object, limit int) []string {
	var names []string
	for _, o := range objects[:min(limit, len(objects))] {
		names = append(names, keyOf(o).String())
	}
	return names
}

func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-3], "") + "…"
}
