package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// An upgrade is kept in the status, and each step of it is written there before it is
// taken, so that another process goes on where one was killed:
//
//	from and to      the version is asked for; all is kept at the old one
//	snapshot         a snapshot of etcd was taken, where they are kept
//	startedAt        API servers of the new version replace the others, one by one
//	apiServersAt     all are, and answered; controller manager and scheduler follow
//	failure          they were not before the deadline; they go back to the old one
//
// The spec is Git's. It is not changed, and a version that failed is not tried again
// before the spec has had another.

// steer decides which version the API servers are to have. What the upgrade waits for is
// left in the scope: all else goes on meanwhile.
func (r *Reconciler) steer(ctx context.Context, s *scope) error {
	cp, asked, runs := s.cp, s.cp.Spec.Version, s.cp.Status.Version
	u := cp.Status.Upgrade
	if u != nil && u.To != asked {
		if behind := r.behind(cp, asked); u.Failure == "" && u.APIServersAt != nil && behind != "" {
			s.plan.Use(u.To)
			s.pending = &waiting{reason: cpv1.ReasonUpgrading, message: fmt.Sprintf("The upgrade to %s waits until %s of %s as well", asked, behind, u.To)}
			return nil
		}
		if u.APIServersAt == nil {
			runs = u.From // the others have not been seen healthy
		}
		u, cp.Status.Upgrade = nil, nil
	}
	if u == nil && (runs == "" || runs == asked) {
		s.plan.Use(asked)
		return nil
	}
	s.plan.Use(runs)
	switch {
	case u == nil:
		if err := controlplane.Skew(runs, asked); err != nil {
			s.pending = &waiting{reason: cpv1.ReasonInvalidSpec, message: err.Error(), stuck: true}
			return nil //nolint:nilerr // only another spec helps, and that wakes it
		}
		cp.Status.Upgrade = &cpv1.UpgradeStatus{From: runs, To: asked, Generation: cp.Generation}
		s.pending = &waiting{reason: cpv1.ReasonUpgrading, message: fmt.Sprintf("An upgrade from %s to %s begins", runs, asked), after: soon}
	case u.Failure != "":
		s.plan.Use(u.From)
		s.pending = &waiting{reason: cpv1.ReasonUpgradeFailed, message: u.Failure, stuck: true}
	case u.StartedAt == nil:
		s.plan.Use(u.From)
		taken, err := r.snapshotBefore(ctx, s)
		var w *waiting
		switch {
		case errors.As(err, &w):
			s.pending = w
		case err != nil:
			return err
		default:
			u.Snapshot, u.StartedAt = taken, ptr.To(metav1.NewTime(r.now()))
			s.pending = &waiting{reason: cpv1.ReasonUpgrading, message: fmt.Sprintf("API servers of %s are about to replace those of %s", u.To, u.From), after: soon}
		}
	default:
		s.plan.Use(u.To)
	}
	return nil
}

// behind is what is too old for API servers of a version, as the beginning of a sentence;
// "" when nothing is.
func (r *Reconciler) behind(cp *cpv1.AetherControlPlane, version string) string {
	var old []string
	for _, c := range cp.Status.Components {
		if c.Name != controlplane.APIServer && controlplane.Skew(c.Version, version) != nil {
			old = append(old, c.Name)
		}
	}
	switch len(old) {
	case 0:
		return ""
	case 1:
		return old[0] + " is"
	}
	return strings.Join(old, " and ") + " are"
}

// judge looks at an upgrade that began once the API servers have been seen to: outcome is
// what they wait for, or nil when all are of the new version and one has answered.
func (r *Reconciler) judge(ctx context.Context, s *scope, outcome error) error {
	u := s.cp.Status.Upgrade
	if u == nil || u.To != s.plan.Version() || u.StartedAt == nil || u.APIServersAt != nil {
		return outcome
	}
	if outcome == nil {
		u.APIServersAt = ptr.To(metav1.NewTime(r.now()))
		return nil
	}
	var w *waiting
	if !errors.As(outcome, &w) {
		return outcome
	}
	limit := s.cp.Spec.Upgrade.Deadline()
	left := u.StartedAt.Add(limit).Sub(r.now())
	if left > 0 {
		w.reason = cpv1.ReasonUpgrading
		w.message = fmt.Sprintf("Upgrade from %s to %s: %s", u.From, u.To, w.message)
		if w.after == 0 || w.after > left {
			w.after = left
		}
		return w
	}
	seen := w.message
	if why := r.troubles(ctx, s, controlplane.APIServer); why != "" {
		seen += "; " + why
	}
	u.Failure = shorten(fmt.Sprintf(
		"The upgrade to %s failed, and the API servers go back to %s: not healthy after %s: %s. It is tried again when spec.version has been another; to stay, write %s",
		u.To, u.From, limit, seen, u.From), 1000)
	return &waiting{reason: cpv1.ReasonUpgradeFailed, message: u.Failure, stuck: true, after: soon}
}

// finish ends an upgrade once controller manager and scheduler are of the new version as
// well; outcome is what they wait for. Those of before lead on until then, so nothing of
// them is taken back.
func (r *Reconciler) finish(s *scope, outcome error) error {
	u := s.cp.Status.Upgrade
	if u == nil || u.APIServersAt == nil || u.To != s.plan.Version() || u.Failure != "" {
		return outcome
	}
	var w *waiting
	switch {
	case outcome == nil:
		s.cp.Status.Upgrade = nil
	case errors.As(outcome, &w):
		limit := s.cp.Spec.Upgrade.Deadline()
		left := u.APIServersAt.Add(limit).Sub(r.now())
		if left > 0 {
			w.reason, w.message = cpv1.ReasonUpgrading, fmt.Sprintf("Upgrade from %s to %s: %s", u.From, u.To, w.message)
			w.after = left
			return w
		}
		w.reason, w.stuck = cpv1.ReasonUpgradeFailed, true
		w.message = fmt.Sprintf("The API servers are of %s, but not healthy after %s: %s; those of before lead on", u.To, limit, w.message)
		return w
	}
	return outcome
}

// troubles are what keeps Pods of a component from being ready, as far as the kubelet says
// it in words of its own: what a program wrote is not repeated.
func (r *Reconciler) troubles(ctx context.Context, s *scope, component string) string {
	var pods corev1.PodList
	if err := r.reader.List(ctx, &pods, client.InNamespace(s.cp.Namespace), client.MatchingLabels(s.plan.Selector(component))); err != nil {
		return "" // there is a message already
	}
	var all []string
	for _, p := range pods.Items {
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			why := ""
			if w := c.State.Waiting; w != nil {
				why = w.Reason
			}
			for _, t := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
				if t != nil {
					why = strings.TrimPrefix(fmt.Sprintf("%s, ended with code %d (%s)", why, t.ExitCode, t.Reason), ", ")
					break
				}
			}
			if why != "" && why != "PodInitializing" && !c.Ready {
				all = append(all, fmt.Sprintf("%s of %s is in %s", c.Name, controlplane.VersionOf(c.Image), why))
			}
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				all = append(all, "a Pod is not scheduled: "+c.Message)
			}
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "; ")
}

// shorten cuts a text at a number of bytes, and not inside of a character.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("…")], "") + "…"
}

// observe writes into the status what there is of the programs, whatever the stage.
func (r *Reconciler) observe(ctx context.Context, s *scope) {
	s.cp.Status.Selector = s.plan.APIServerSelector()
	for _, want := range s.plan.Deployments() {
		d := &appsv1.Deployment{}
		name := types.NamespacedName{Namespace: want.Namespace, Name: want.Name}
		if err := r.read(ctx, name, d); client.IgnoreNotFound(err) != nil {
			continue // as it was
		}
		component := want.Labels[controlplane.LabelComponent]
		counts := versions(versionsOf(s.cp, component), d)
		speaks := d.Status.ObservedGeneration >= d.Generation // else of the template of before, and nothing new is known
		if component == controlplane.APIServer {
			st := d.Status
			s.cp.Status.Replicas, s.cp.Status.ReadyReplicas = ptr.To(st.Replicas), ptr.To(st.ReadyReplicas)
			s.cp.Status.AvailableReplicas, s.cp.Status.UpToDateReplicas = ptr.To(st.AvailableReplicas), ptr.To(st.UpdatedReplicas)
			if speaks {
				s.cp.Status.Versions = counts
			}
			if speaks && len(counts) > 0 {
				s.cp.Status.Version = counts[0].Version
			}
		}
		if speaks && len(counts) > 0 {
			setVersion(s.cp, component, counts[0].Version)
		}
	}
}

// versionsOf are those that a component was last known to have.
func versionsOf(cp *cpv1.AetherControlPlane, component string) []string {
	var known []string
	if component == controlplane.APIServer {
		for _, v := range cp.Status.Versions {
			known = append(known, v.Version)
		}
	}
	for _, c := range cp.Status.Components {
		if c.Name == component {
			known = append(known, c.Version)
		}
	}
	return known
}

func setVersion(cp *cpv1.AetherControlPlane, component, version string) {
	for i, c := range cp.Status.Components {
		if c.Name == component {
			cp.Status.Components[i].Version = version
			return
		}
	}
	cp.Status.Components = append(cp.Status.Components, cpv1.ComponentVersion{Name: component, Version: version})
}

// versions are how many Pods of a Deployment have which version, the oldest first. Those
// that are not as its template has them now have the version that was known before.
func versions(known []string, d *appsv1.Deployment) []cpv1.VersionCount {
	st := d.Status
	if st.Replicas == 0 || len(d.Spec.Template.Spec.Containers) == 0 {
		return nil
	}
	now := controlplane.VersionOf(d.Spec.Template.Spec.Containers[0].Image)
	before := now
	for _, v := range known {
		if v != now {
			before = v
			break
		}
	}
	updated := st.UpdatedReplicas
	old := max(st.Replicas-updated, 0)
	switch {
	case old == 0 || before == now:
		return []cpv1.VersionCount{{Version: now, Replicas: ptr.To(st.Replicas)}}
	case updated == 0:
		return []cpv1.VersionCount{{Version: before, Replicas: ptr.To(old)}}
	}
	counts := []cpv1.VersionCount{{Version: before, Replicas: ptr.To(old)}, {Version: now, Replicas: ptr.To(updated)}}
	if controlplane.Older(before, now) == now {
		slices.Reverse(counts)
	}
	return counts
}

// tellOfUpgrade makes events of what has become of an upgrade.
func (r *Reconciler) tellOfUpgrade(before, cp *cpv1.AetherControlPlane) {
	was, is := before.Status.Upgrade, cp.Status.Upgrade
	switch {
	case is != nil && is.Failure != "" && (was == nil || was.Failure == ""):
		r.recorder.Eventf(cp, nil, corev1.EventTypeWarning, cpv1.ReasonUpgradeFailed, "Upgrade", "%s", is.Failure)
	case is != nil && (was == nil || was.To != is.To):
		r.recorder.Eventf(cp, nil, corev1.EventTypeNormal, cpv1.ReasonUpgrading, "Upgrade", "Upgrade from %s to %s", is.From, is.To)
	case is == nil && was != nil && was.APIServersAt != nil && cp.Status.Version == was.To:
		r.recorder.Eventf(cp, nil, corev1.EventTypeNormal, cpv1.ReasonAvailable, "Upgrade", "Upgraded from %s to %s", was.From, was.To)
	}
}

// serves is whether clients can use the API servers: they were used before, one is
// available, which it is not without etcd, and they do answer who asks. That others are
// replaced meanwhile takes nothing from that.
func serves(cp *cpv1.AetherControlPlane) bool {
	c := meta.FindStatusCondition(cp.Status.Conditions, cpv1.ConditionAPIServerReady)
	if c == nil || ptr.Deref(cp.Status.AvailableReplicas, 0) == 0 {
		return false
	}
	return c.Status == metav1.ConditionTrue || ptr.Deref(cp.Status.Initialization.ControlPlaneInitialized, false) && c.Reason != cpv1.ReasonUnreachable
}

// sooner is the earlier of two times to look again, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
