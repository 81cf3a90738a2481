package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/base"
)

func TestBrokenTenantChangesNothingAndOthersProceed(t *testing.T) {
	s := newStage(t)
	s.ready(s.push(fleetOf("acme", "globex")))

	// One commit breaks acme in one file, changes it in another, and adds to globex.
	broken := s.push(fleetOf("acme", "globex").with(files{
		"acme/web.yaml":       strings.Replace(namespaceFile("acme", "web"), "size: small", "size: large", 1),
		"acme/bad.yaml":       strings.Replace(namespaceFile("acme", "bad"), "size: small", "seize: small", 1),
		"globex/more.yaml":    namespaceFile("globex", "more"),
		"initech/tenant.yaml": tenantFile("initech"),
	}))
	ts := s.failing(broken, v1alpha1.ReasonTenantsFailing)

	if got := s.namespaceOf("acme-web").Spec.Size; got != "small" {
		t.Errorf("acme-web has size %q: a broken commit changed what worked", got)
	}
	s.namespaceOf("globex-more")
	if ts.Status.Summary != "2/3" || ts.Status.LastAppliedRevision != broken {
		t.Errorf("status says %q at %q, want 2/3 at %q", ts.Status.Summary, ts.Status.LastAppliedRevision, broken)
	}
	if len(ts.Status.Failures) != 1 || ts.Status.Failures[0].Tenant != "acme" ||
		len(ts.Status.Failures[0].Errors) == 0 || !strings.HasPrefix(ts.Status.Failures[0].Errors[0], "acme/bad.yaml:") {
		t.Errorf("failures %+v, want acme's at acme/bad.yaml and its line", ts.Status.Failures)
	}
	for _, kind := range []string{v1alpha1.KindTenantSource, v1alpha1.KindTenant} {
		s.hasEvent(kind, "acme/bad.yaml:")
	}

	mended := s.push(fleetOf("acme", "globex").with(files{
		"acme/web.yaml":       strings.Replace(namespaceFile("acme", "web"), "size: small", "size: large", 1),
		"globex/more.yaml":    namespaceFile("globex", "more"),
		"initech/tenant.yaml": tenantFile("initech"),
	}))
	s.ready(mended)
	if got := s.namespaceOf("acme-web").Spec.Size; got != "large" {
		t.Errorf("acme-web has size %q after the mending commit", got)
	}
}

func TestObjectsSayWhereTheyComeFrom(t *testing.T) {
	s := newStage(t)
	first := s.push(fleetOf("acme"))
	s.ready(first)
	web := s.namespaceOf("acme-web")
	wantMeta := map[string]string{
		v1alpha1.AnnotationRevision: first, v1alpha1.AnnotationPath: "acme/web.yaml:1",
		v1alpha1.LabelTenant: "acme", v1alpha1.LabelSource: s.namespace + ".fleet",
	}
	got := map[string]string{}
	for name := range wantMeta {
		got[name] = web.Annotations[name] + web.Labels[name]
	}
	if diff := cmp.Diff(wantMeta, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	// A shifted line is no change of content, and so no write.
	versions := s.versions()
	s.ready(s.push(fleetOf("acme").with(files{"acme/web.yaml": "# a comment\n" + namespaceFile("acme", "web")})))
	if diff := cmp.Diff(versions, s.versions()); diff != "" {
		t.Errorf("a comment was written to the cluster: (-before +after)\n%s", diff)
	}
}

func TestEmptyTreeDeletesNothing(t *testing.T) {
	s := newStage(t, pruneMax("100%"))
	s.ready(s.push(fleetOf("acme")))
	versions := s.versions()

	for name, empty := range map[string]files{
		"no files":          {},
		"only the platform": {"_platform/profiles.yaml": profileFile("default")},
		"a README":          {"README.md": "gone"},
	} {
		ts := s.failing(s.push(empty), v1alpha1.ReasonTreeEmpty)
		if diff := cmp.Diff(versions, s.versions()); diff != "" {
			t.Errorf("%s: (-before +after)\n%s", name, diff)
		}
		if !apimeta.IsStatusConditionTrue(ts.Status.Conditions, v1alpha1.ConditionStalled) {
			t.Errorf("%s: not stalled, though only a person can help", name)
		}
	}
	s.ready(s.push(fleetOf("acme").with(files{"README.md": "back"})))
}

// What only a person can mend is tried once, and is no error of a reconcile: alerts
// need a metric of its own.
func TestTheMetricsSayWhyASourceIsNotReady(t *testing.T) {
	s := newStage(t)
	s.ready(s.push(fleetOf("acme")))
	s.saysNotReady()

	s.failing(s.push(files{}), v1alpha1.ReasonTreeEmpty)
	s.saysNotReady(v1alpha1.ReasonTreeEmpty)

	broken := s.push(fleetOf("acme").with(files{"_platform/profiles.yaml": "broken"}))
	s.failing(broken, v1alpha1.ReasonPlatformInvalid)
	s.saysNotReady(v1alpha1.ReasonPlatformInvalid)

	s.change(func(ts *v1alpha1.TenantSource) { ts.Spec.SourceRef.Name = "later" })
	s.until("fleet", broken, metav1.ConditionUnknown, v1alpha1.ReasonSourceNotFound)
	s.saysNotReady(v1alpha1.ReasonSourceNotFound)

	s.must(env.Client.Delete(t.Context(), &v1alpha1.TenantSource{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "fleet"}}))
	s.eventually(func(context.Context) error {
		if got := s.notReady("fleet"); len(got) > 0 {
			return fmt.Errorf("the metrics still say %v of a TenantSource that is gone", got)
		}
		return nil
	})
}

func TestRemovalOverBudgetStopsUntilTheCommitSaysSo(t *testing.T) {
	s := newStage(t, pruneMax("1"))
	all := fleetOf("acme", "globex")
	applied := s.ready(s.announce("fleet", s.artifacts.commit(t, "Two tenants"), all))
	versions := s.versions()

	rest := fleetOf("acme")
	blocked := s.announce("fleet", s.artifacts.commit(t, "Retire globex"), rest)
	ts := s.failing(blocked, v1alpha1.ReasonPruneBlocked)

	if diff := cmp.Diff(versions, s.versions()); diff != "" {
		t.Errorf("something was removed: (-before +after)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Tenant/globex", "TenantNamespace/globex-web"}, ts.Status.PendingPrune); diff != "" {
		t.Errorf("pendingPrune: (-want +got)\n%s", diff)
	}
	// As with Flux: applied is what was applied in full, attempted what was looked at.
	if ts.Status.LastAttemptedRevision != blocked || ts.Status.LastAppliedRevision != applied.Status.LastAppliedRevision || ts.Status.Digest != applied.Status.Digest {
		t.Errorf("attempted %s, applied %s with digest %s; want what holds more than it asks for to be attempted only",
			ts.Status.LastAttemptedRevision, ts.Status.LastAppliedRevision, ts.Status.Digest)
	}
	ready := apimeta.FindStatusCondition(ts.Status.Conditions, v1alpha1.ConditionReady)
	if want := `Put "Aether-Prune: 2" into the message`; !strings.Contains(ready.Message, want) {
		t.Errorf("the message does not say what to do: %s", ready.Message)
	}
	s.hasEvent(v1alpha1.KindTenantSource, "TenantNamespace/globex-web")

	// One fewer than needed is not enough.
	s.failing(s.announce("fleet", s.artifacts.commit(t, "Retire globex\n\nAether-Prune: 1"), rest.with(files{"acme/b.txt": "1"})), v1alpha1.ReasonPruneBlocked)

	approved := s.announce("fleet", s.artifacts.commit(t, "Retire globex\n\nAether-Prune: 2"), rest.with(files{"acme/b.txt": "2"}))
	ts = s.ready(approved)
	web := s.namespaceOf("globex-web")
	if web.Annotations[v1alpha1.AnnotationRemovedIn] != approved || web.Annotations[v1alpha1.AnnotationRemovedAt] == "" {
		t.Errorf("globex-web is not marked as removed: %v", web.Annotations)
	}
	if len(ts.Status.PendingPrune) > 0 {
		t.Errorf("still pending: %v", ts.Status.PendingPrune)
	}
	if ts.Status.LastAppliedRevision != approved || ts.Status.Digest == applied.Status.Digest {
		t.Errorf("applied %s with digest %s; want the approved revision and its digest", ts.Status.LastAppliedRevision, ts.Status.Digest)
	}
}

func TestRaisingTheBudgetLetsRemovalProceed(t *testing.T) {
	s := newStage(t, pruneMax("0"))
	s.ready(s.push(fleetOf("acme", "globex")))
	blocked := s.push(fleetOf("acme"))
	s.failing(blocked, v1alpha1.ReasonPruneBlocked)

	s.change(func(ts *v1alpha1.TenantSource) { pruneMax("50%")(ts) })
	s.ready(blocked)
	if s.namespaceOf("globex-web").Annotations[v1alpha1.AnnotationRemovedAt] == "" {
		t.Error("globex-web is not marked")
	}
}

func TestForcePushToUnrelatedHistoryRemovesNothing(t *testing.T) {
	s := newStage(t)
	s.ready(s.announce("fleet", s.artifacts.commit(t, "Ours"), fleetOf("acme", "globex")))
	before := s.versions()

	s.failing(s.announce("fleet", s.artifacts.commit(t, "Theirs"), fleetOf("umbrella")), v1alpha1.ReasonPruneBlocked)

	after := s.versions()
	for name, version := range before {
		if after[name] != version {
			t.Errorf("%s was touched by an unrelated history", name)
		}
	}
	s.namespaceOf("umbrella-web") // what is asked for is still done
}

func TestDisabledPruneKeepsAndLists(t *testing.T) {
	s := newStage(t, func(ts *v1alpha1.TenantSource) {
		off := false
		ts.Spec.Prune.Enabled = &off
	})
	s.ready(s.push(fleetOf("acme", "globex")))
	before := s.versions()

	ts := s.ready(s.push(fleetOf("acme")))

	if diff := cmp.Diff(before, s.versions()); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Tenant/globex", "TenantNamespace/globex-web"}, ts.Status.PendingPrune); diff != "" {
		t.Errorf("pendingPrune: (-want +got)\n%s", diff)
	}
}

func TestNamespaceComesBackByRevert(t *testing.T) {
	s := newStage(t, pruneMax("100%"))
	s.ready(s.push(fleetOf("acme", "globex")))
	uid := s.namespaceOf("acme-web").UID

	removed := s.push(fleetOf("acme", "globex").without("acme/web.yaml"))
	s.ready(removed)
	web := s.namespaceOf("acme-web")
	if web.Annotations[v1alpha1.AnnotationRemovedIn] != removed {
		t.Fatalf("acme-web is not marked: %v", web.Annotations)
	}
	if web.Spec.Size != "small" || web.Labels[v1alpha1.LabelTenant] != "acme" {
		t.Errorf("its last spec was not kept: %+v", web.Spec)
	}

	s.ready(s.push(fleetOf("acme", "globex").with(files{"README.md": "reverted"})))
	web = s.namespaceOf("acme-web")
	if web.UID != uid {
		t.Error("it is another object")
	}
	for _, name := range []string{v1alpha1.AnnotationRemovedAt, v1alpha1.AnnotationRemovedIn} {
		if value, ok := web.Annotations[name]; ok {
			t.Errorf("still marked: %s=%s", name, value)
		}
	}
}

func TestATenantIsDeletedAfterItsLastNamespace(t *testing.T) {
	s := newStage(t, pruneMax("100%"))
	s.ready(s.push(fleetOf("acme", "globex")))
	s.ready(s.push(fleetOf("acme")))
	globex := has(s, &v1alpha1.Tenant{}, "globex", func(t *v1alpha1.Tenant) error {
		if t.Annotations[v1alpha1.AnnotationRemovedAt] == "" {
			return errors.New("not marked")
		}
		return nil
	})

	// The namespace operator, or a person, deletes what retention has kept.
	s.must(env.Client.Delete(t.Context(), s.namespaceOf("globex-web")))

	s.eventually(func(ctx context.Context) error {
		err := env.Client.Get(ctx, client.ObjectKeyFromObject(globex), globex)
		if err == nil {
			return errors.New("Tenant globex is still there")
		}
		return client.IgnoreNotFound(err)
	})
}

func TestAProfileInUseIsKept(t *testing.T) {
	s := newStage(t, pruneMax("100%"))
	gold := fleetOf("acme").with(files{
		"_platform/gold.yaml": profileFile("gold"),
		"acme/tenant.yaml":    strings.Replace(tenantFile("acme"), "profiles: [default]", "profiles: [default, gold]", 1),
		"acme/web.yaml":       strings.Replace(namespaceFile("acme", "web"), "profile: default", "profile: gold", 1),
	})
	s.ready(s.push(gold))

	// The namespace leaves with its profile, and is kept; so is the profile.
	left := s.push(fleetOf("acme").without("acme/web.yaml"))
	ts := s.ready(left)
	if err := env.Client.Get(t.Context(), client.ObjectKey{Name: "gold"}, &v1alpha1.NamespaceProfile{}); err != nil {
		t.Fatalf("profile gold: %v", err)
	}
	if message := apimeta.FindStatusCondition(ts.Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(message, "NamespaceProfile gold left Git and is kept while namespaces use it") {
		t.Errorf("the status does not say so: %s", message)
	}

	s.must(env.Client.Delete(t.Context(), s.namespaceOf("acme-web")))
	s.eventually(func(ctx context.Context) error {
		if err := env.Client.Get(ctx, client.ObjectKey{Name: "gold"}, &v1alpha1.NamespaceProfile{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("profile gold is still there: %v", err)
		}
		return nil
	})
}

func TestAnExceptionIsKeptAsGitHasItAndGoesWithIt(t *testing.T) {
	const granted = `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: acme-quay}
spec: {tenant: acme, allow: {registries: [quay.io/acme]}, owner: platform@example.com, reason: until it is mirrored, expires: "2099-03-31T00:00:00Z"}
`
	s := newStage(t, pruneMax("100%"))
	s.ready(s.push(fleetOf("acme").with(files{"_platform/acme-quay.yaml": granted})))
	e := &v1alpha1.TenantException{}
	s.must(env.Client.Get(t.Context(), client.ObjectKey{Name: "acme-quay"}, e))
	if at := e.Annotations[v1alpha1.AnnotationPath]; at != "_platform/acme-quay.yaml:1" {
		t.Errorf("it comes from %q", at)
	}

	// Made longer by hand, it is put back.
	ends := e.Spec.Expires
	e.Spec.Expires = metav1.NewTime(ends.AddDate(1, 0, 0))
	s.must(env.Client.Update(t.Context(), e))
	has(s, e, "acme-quay", func(e *v1alpha1.TenantException) error {
		if !e.Spec.Expires.Equal(&ends) {
			return fmt.Errorf("it expires %s, not %s", e.Spec.Expires, ends)
		}
		return nil
	})

	s.ready(s.push(fleetOf("acme")))
	if err := env.Client.Get(t.Context(), client.ObjectKey{Name: "acme-quay"}, e); !apierrors.IsNotFound(err) {
		t.Errorf("it left Git and is still there: %v", err)
	}
}

// Server-side apply leaves a part null whose last field goes, which no schema takes.
// Of several objects it is rehearsed first, and must pass there as well.
func TestThePartsThatACommitDropsAreGone(t *testing.T) {
	s := newStage(t)
	bare := fleetOf("acme").with(files{"acme/api.yaml": namespaceFile("acme", "api")})
	open := files{}
	for _, name := range []string{"api", "web"} {
		open["acme/"+name+".yaml"] = namespaceFile("acme", name) + "  labels: {example.com/team: shop}\n  network: {egress: [{to: [{cidr: 192.0.2.0/24}]}]}\n"
	}
	s.ready(s.push(bare))
	before := s.namespaceOf("acme-api").Spec
	for range 2 {
		s.ready(s.push(bare.with(open)))
		s.ready(s.push(bare))
		for _, name := range []string{"acme-api", "acme-web"} {
			if diff := cmp.Diff(before, s.namespaceOf(name).Spec); diff != "" {
				t.Errorf("%s (-want +got)\n%s", name, diff)
			}
		}
	}
}

func TestDriftIsPutBack(t *testing.T) {
	for name, tc := range map[string]struct {
		why    string
		change func(*v1alpha1.TenantNamespace)
	}{
		"a changed field": {"spec is Git's", func(n *v1alpha1.TenantNamespace) { n.Spec.Size = "large" }},
		"an added field":  {"server-side apply alone would leave it", func(n *v1alpha1.TenantNamespace) { n.Spec.Labels = map[string]string{"example.com/a": "b"} }},
		"a label":         {"policies read it", func(n *v1alpha1.TenantNamespace) { n.Labels[v1alpha1.LabelTenant] = "globex" }},
		"no source label": {"it says whose it is", func(n *v1alpha1.TenantNamespace) { delete(n.Labels, v1alpha1.LabelSource) }},
		"a false mark": {"only Git removes", func(n *v1alpha1.TenantNamespace) {
			n.Annotations[v1alpha1.AnnotationRemovedAt] = "2026-01-01T00:00:00Z"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.ready(s.push(fleetOf("acme")))
			before := s.namespaceOf("acme-web")

			changed := before.DeepCopy()
			tc.change(changed)
			s.must(env.Client.Update(t.Context(), changed, client.FieldOwner("kubectl-edit")))

			has(s, &v1alpha1.TenantNamespace{}, "acme-web", func(n *v1alpha1.TenantNamespace) error {
				if diff := cmp.Diff(before.Spec, n.Spec); diff != "" {
					return fmt.Errorf("%s: spec (-want +got)\n%s", tc.why, diff)
				}
				if diff := cmp.Diff(before.Labels, n.Labels); diff != "" {
					return fmt.Errorf("%s: labels (-want +got)\n%s", tc.why, diff)
				}
				if diff := cmp.Diff(before.Annotations, n.Annotations); diff != "" {
					return fmt.Errorf("%s: annotations (-want +got)\n%s", tc.why, diff)
				}
				return nil
			})
		})
	}
	t.Run("a deleted object", func(t *testing.T) {
		s := newStage(t)
		s.ready(s.push(fleetOf("acme")))
		web := s.namespaceOf("acme-web")
		s.must(env.Client.Delete(t.Context(), web))
		has(s, &v1alpha1.TenantNamespace{}, "acme-web", func(n *v1alpha1.TenantNamespace) error {
			if n.UID == web.UID {
				return errors.New("not deleted yet")
			}
			return nil
		})
	})
	t.Run("of a tenant that is broken in Git", func(t *testing.T) {
		s := newStage(t)
		s.ready(s.push(fleetOf("acme")))
		s.failing(s.push(fleetOf("acme").with(files{"acme/bad.yaml": "kind: [\n"})), v1alpha1.ReasonTenantsFailing)
		web := s.namespaceOf("acme-web")
		web.Spec.Size = "large"
		s.must(env.Client.Update(t.Context(), web))
		has(s, &v1alpha1.TenantNamespace{}, "acme-web", func(n *v1alpha1.TenantNamespace) error {
			if n.Spec.Size != "small" {
				return fmt.Errorf("size %q: its last good state is gone", n.Spec.Size)
			}
			return nil
		})
	})
}

func TestSteadyStateWritesNothing(t *testing.T) {
	s := newStage(t)
	s.ready(s.push(fleetOf("acme", "globex").with(files{"acme/clusters/prod.yaml": clusterFile("acme", "prod")})))
	versions := s.versions()

	// A new process finds everything in place.
	s.restart()
	if calls := s.calls.made(); len(calls) > 0 {
		t.Errorf("a restart asked the API server for %v", calls)
	}

	// The namespace operator reports; that is none of our business.
	before := s.reconciles("fleet")
	web := s.namespaceOf("acme-web")
	web.Status.ObservedGeneration = web.Generation
	s.must(env.Client.Status().Update(t.Context(), web))
	versions["TenantNamespace/acme-web"] = web.ResourceVersion

	// The same content at a new revision writes the TenantSource's status alone.
	s.calls.reset()
	s.ready(s.push(fleetOf("acme", "globex").with(files{"acme/clusters/prod.yaml": clusterFile("acme", "prod")})))
	if diff := cmp.Diff([]string{"PATCH " + s.statusPath()}, s.calls.made()); diff != "" {
		t.Errorf("calls (-want +got)\n%s", diff)
	}
	// It is counted a moment after its status is written.
	s.eventually(func(context.Context) error {
		if s.reconciles("fleet") == before {
			return errors.New("no reconcile is counted")
		}
		return nil
	})
	if got := s.reconciles("fleet") - before; got != 1 {
		t.Errorf("reconciled %d times, want once", got)
	}
	if diff := cmp.Diff(versions, s.versions()); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

// A warning is news once: neither the next push, nor a line above it, nor another
// process makes it news again.
func TestAWarningIsToldWhenItFirstAppears(t *testing.T) {
	s := newStage(t)
	to := func(names ...string) string {
		rule := "  network:\n    egress:\n"
		for _, name := range names {
			rule += "    - to: [{namespace: " + name + "}]\n"
		}
		return namespaceFile("acme", "web") + rule
	}
	first := `there is no namespace "acme-nowhere" yet`
	second := `there is no namespace "acme-neither" yet`

	all := fleetOf("acme", "globex")
	ts := s.ready(s.push(all.with(files{"acme/web.yaml": to("acme-nowhere")})))
	want := []v1alpha1.TenantWarning{{
		Tenant: "acme", Total: 1,
		Warnings: []string{`acme/web.yaml:10: spec.network.egress[0].to[0].namespace: there is no namespace "acme-nowhere" yet; add it, or use acme-web`},
	}}
	if diff := cmp.Diff(want, ts.Status.Warnings); diff != "" {
		t.Errorf("status.warnings (-want +got)\n%s", diff)
	}
	s.hasEvent(v1alpha1.KindTenantSource, first)

	// Nothing new.
	s.restart()
	s.ready(s.push(all.with(files{"acme/web.yaml": "# a line above\n" + to("acme-nowhere")})))
	s.ready(s.push(all.with(files{"acme/web.yaml": to("acme-nowhere"), "globex/api.yaml": namespaceFile("globex", "api")})))
	if got := s.warned(v1alpha1.KindTenantSource); len(got) != 1 {
		t.Errorf("the warning was told again: %q", got)
	}

	// Another one, of a Tenant that is there by now.
	s.ready(s.push(all.with(files{"acme/web.yaml": to("acme-nowhere", "acme-neither")})))
	s.hasEvent(v1alpha1.KindTenant, second)
	for _, note := range s.warned(v1alpha1.KindTenant) {
		if strings.Contains(note, first) && strings.Contains(note, second) {
			t.Errorf("what was known is told with what is new: %s", note)
		}
	}

	ts = s.ready(s.push(all))
	if len(ts.Status.Warnings) > 0 {
		t.Errorf("status.warnings lists what is mended: %v", ts.Status.Warnings)
	}
}

// warned are the notes of the warnings about objects of a kind, each as often as
// it was told.
func (s *stage) warned(kind string) (notes []string) {
	s.t.Helper()
	var list eventsv1.EventList
	s.must(env.Client.List(s.t.Context(), &list))
	for _, e := range list.Items {
		ours := e.Namespace == s.namespace || e.Related != nil && e.Related.Namespace == s.namespace
		if e.Reason != "FleetWarning" || e.Regarding.Kind != kind || !ours {
			continue
		}
		notes = append(notes, e.Note)
		if e.Series != nil {
			notes = append(notes, e.Note)
		}
	}
	return notes
}

func TestOneTenantPushTouchesNothingElse(t *testing.T) {
	s := newStage(t)
	all := fleetOf("acme", "globex", "initech")
	s.ready(s.push(all))
	before := s.versions()
	s.calls.reset()

	s.ready(s.push(all.with(files{"globex/web.yaml": strings.Replace(namespaceFile("globex", "web"), "size: small", "size: large", 1)})))

	want := []string{"PATCH /apis/aetherplatform.cloud/v1alpha1/tenantnamespaces/globex-web", "PATCH " + s.statusPath()}
	if diff := cmp.Diff(want, s.calls.made()); diff != "" {
		t.Errorf("calls (-want +got)\n%s", diff)
	}
	after := s.versions()
	for name, version := range before {
		if touched := after[name] != version; touched != (name == "TenantNamespace/globex-web") {
			t.Errorf("%s: touched %t", name, touched)
		}
	}
}

func TestADigestIsFetchedOnce(t *testing.T) {
	s := newStage(t)
	body := archive(t, fleetOf("acme"))
	s.ready(s.push(fleetOf("acme")))

	s.change(func(ts *v1alpha1.TenantSource) {
		ts.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "now"}
	})
	s.eventually(func(ctx context.Context) error {
		ts := &v1alpha1.TenantSource{}
		if err := env.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: "fleet"}, ts); err != nil {
			return err
		}
		if ts.Status.LastHandledReconcileAt != "now" {
			return errors.New("the request was not handled")
		}
		return nil
	})
	s.artifacts.mu.Lock()
	defer s.artifacts.mu.Unlock()
	if got := s.artifacts.served[digestOfBytes(body)]; got != 1 {
		t.Errorf("fetched %d times, want once", got)
	}
}

func TestTwoSourcesCannotClaimOneTenant(t *testing.T) {
	s := newStage(t)
	s.ready(s.push(fleetOf("acme")))
	s.source("other")
	contested := fleetOf("acme", "globex").with(files{"acme/tenant.yaml": strings.Replace(tenantFile("acme"), "displayName: acme", "displayName: hijacked", 1)})
	delete(contested, "_platform/profiles.yaml")
	contested["_platform/other.yaml"] = profileFile("default")

	ts := s.untilOther(s.announce("other", "main@sha1:1", contested))

	got := ""
	for _, f := range ts.Status.Failures {
		if f.Tenant == "acme" {
			got = f.Errors[0]
		}
	}
	want := fmt.Sprintf(`acme/tenant.yaml:1: Tenant "acme" is already claimed by TenantSource %s/fleet: remove it from one of the two`, s.namespace)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.namespaceOf("globex-web")
	has(s, &v1alpha1.Tenant{}, "acme", func(t *v1alpha1.Tenant) error {
		if t.Spec.DisplayName != "acme" {
			return fmt.Errorf("acme was taken over: %q", t.Spec.DisplayName)
		}
		return nil
	})

	// Deleting a source leaves what it applied, for the other to take over: at once,
	// without a push or an interval.
	s.must(env.Client.Delete(t.Context(), &v1alpha1.TenantSource{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "fleet"}}))
	has(s, &v1alpha1.Tenant{}, "acme", func(t *v1alpha1.Tenant) error {
		if t.Spec.DisplayName != "hijacked" || t.Labels[v1alpha1.LabelSource] != s.namespace+".other" {
			return fmt.Errorf("acme was not handed over: %q of %q", t.Spec.DisplayName, t.Labels[v1alpha1.LabelSource])
		}
		return nil
	})
}

func TestAHandMadeTenantIsNotOverwritten(t *testing.T) {
	s := newStage(t)
	s.must(env.Client.Create(t.Context(), &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: v1alpha1.TenantSpec{DisplayName: "by hand"}}))
	revision := s.push(fleetOf("acme", "globex"))
	ts := s.failing(revision, v1alpha1.ReasonTenantsFailing)
	if want := "made by hand, and differs"; !strings.Contains(ts.Status.Failures[0].Errors[0], want) {
		t.Errorf("got %v, want %q", ts.Status.Failures, want)
	}

	// Labelling it hands it over, and that is enough to go on.
	acme := &v1alpha1.Tenant{}
	s.must(env.Client.Get(t.Context(), client.ObjectKey{Name: "acme"}, acme))
	acme.Labels = map[string]string{v1alpha1.LabelSource: s.namespace + ".fleet"}
	s.must(env.Client.Update(t.Context(), acme))
	s.ready(revision)
	s.namespaceOf("acme-web")
}

func TestHalfAnArtifactChangesNothing(t *testing.T) {
	s := newStage(t, pruneMax("100%"))
	s.ready(s.push(fleetOf("acme", "globex")))
	versions := s.versions()

	body := archive(t, fleetOf("acme"))
	s.artifacts.set(digestOfBytes(body), body[:len(body)/2])
	s.announceArtifact("fleet", "main@sha1:half", digestOfBytes(body))
	ts := s.failing("main@sha1:half", v1alpha1.ReasonFetchFailed)
	if diff := cmp.Diff(versions, s.versions()); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	if ts.Status.LastAppliedRevision == "main@sha1:half" {
		t.Error("half an artifact counts as applied")
	}

	// The rest arrives; nobody has to do anything.
	s.artifacts.set(digestOfBytes(body), body)
	s.ready("main@sha1:half")
}

func TestAnObjectThatTheServerRefusesFailsItsTenantAlone(t *testing.T) {
	s := newStage(t)
	s.ready(s.push(fleetOf("acme", "globex")))
	// A policy that the offline check cannot know refuses one of two changes.
	s.refuse("acme-web")

	revision := s.push(fleetOf("acme", "globex").with(files{
		"acme/api.yaml":    namespaceFile("acme", "api"),
		"acme/web.yaml":    strings.Replace(namespaceFile("acme", "web"), "size: small", "size: large", 1),
		"globex/more.yaml": namespaceFile("globex", "more"),
	}))
	ts := s.failing(revision, v1alpha1.ReasonTenantsFailing)

	if got := ts.Status.Failures[0].Errors[0]; !strings.HasPrefix(got, "acme/web.yaml:1: cannot apply TenantNamespace acme-web: ") {
		t.Errorf("got %s, want the place of acme-web", got)
	}
	s.namespaceOf("globex-more")
	if err := env.Client.Get(t.Context(), client.ObjectKey{Name: "acme-api"}, &v1alpha1.TenantNamespace{}); !apierrors.IsNotFound(err) {
		t.Errorf("acme-api: %v; a broken commit was applied by half", err)
	}

	s.allow()
	s.ready(revision) // by itself, with backoff
	s.namespaceOf("acme-api")
}

func TestANamespacePlacedElsewhereIsNotApplied(t *testing.T) {
	s := newStage(t, pruneMax("100%"))
	s.stop()
	s.start("acme-prod")
	placed := strings.Replace(namespaceFile("acme", "web"), "size: small", "size: small\n  clusters: [acme-prod]", 1)
	all := fleetOf("acme", "globex").with(files{
		"acme/web.yaml":           placed,
		"acme/api.yaml":           namespaceFile("acme", "api"),
		"acme/clusters/prod.yaml": clusterFile("acme", "prod"),
	})
	s.ready(s.push(all))
	want := []string{"NamespaceProfile/default", "Tenant/acme", "TenantNamespace/acme-web"}
	var got []string
	for name := range s.versions() {
		got = append(got, name)
	}
	if diff := cmp.Diff(want, sorted(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	// Moving it away is a removal here.
	s.ready(s.push(all.with(files{"acme/web.yaml": namespaceFile("acme", "web"), "acme/api.yaml": strings.Replace(placed, "acme-web", "acme-api", 1)})))
	if s.namespaceOf("acme-web").Annotations[v1alpha1.AnnotationRemovedAt] == "" {
		t.Error("acme-web moved away and is not marked")
	}
}

func TestSuspendedSourceChangesNothing(t *testing.T) {
	s := newStage(t)
	first := s.push(fleetOf("acme"))
	s.ready(first)
	s.change(func(ts *v1alpha1.TenantSource) { ts.Spec.Suspend = true })
	s.failing(first, v1alpha1.ReasonSuspended)
	versions := s.versions()

	second := s.push(fleetOf("acme", "globex"))
	s.change(func(ts *v1alpha1.TenantSource) { ts.Spec.Interval = &metav1.Duration{Duration: time.Hour} })
	s.failing(first, v1alpha1.ReasonSuspended)
	if diff := cmp.Diff(versions, s.versions()); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}

	s.change(func(ts *v1alpha1.TenantSource) { ts.Spec.Suspend = false })
	s.ready(second)
}

func TestAMissingSourceIsWaitedFor(t *testing.T) {
	s := newStage(t, func(ts *v1alpha1.TenantSource) { ts.Spec.SourceRef.Name = "later" })
	s.until("fleet", "", metav1.ConditionUnknown, v1alpha1.ReasonSourceNotFound)
}

func TestAKindThatIsNotServedIsSaidAndHarmsNobody(t *testing.T) {
	s := newStage(t)
	s.must(env.Client.Create(t.Context(), &v1alpha1.TenantSource{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "oci"},
		Spec:       v1alpha1.TenantSourceSpec{SourceRef: v1alpha1.SourceRef{Kind: "OCIRepository", Name: "fleet"}},
	}))
	ts := s.until("oci", "", metav1.ConditionUnknown, v1alpha1.ReasonSourceNotFound)

	got := apimeta.FindStatusCondition(ts.Status.Conditions, v1alpha1.ConditionReady).Message
	if want := "the cluster does not serve source.toolkit.fluxcd.io/v1 OCIRepository: install Flux's source-controller"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.ready(s.push(fleetOf("acme")))
}

func TestANewRevisionOfABaseIsRendered(t *testing.T) {
	s := newStage(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}
	s.must(client.IgnoreAlreadyExists(env.Client.Create(t.Context(), ns)))
	repository := &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "base"},
		Spec:       sourcev1.GitRepositorySpec{URL: "https://git.example.com/base.git", Interval: metav1.Duration{Duration: time.Hour}},
	}
	s.must(env.Client.Create(t.Context(), repository))
	t.Cleanup(func() { s.must(env.Client.Delete(context.Background(), repository)) })
	announce := func(revision string, f files) {
		body := archiveBelow(t, "base/", f)
		s.artifacts.set(digestOfBytes(body), body)
		s.announceIn(v1alpha1.SystemNamespace, "base", revision, digestOfBytes(body))
	}
	const profile = "profiles/default/kustomization.yaml"
	components := files{}
	s.must(fs.WalkDir(base.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(base.FS, name)
		components[name] = string(data)
		return err
	}))
	revision := s.push(fleetOf("acme").with(files{
		"_platform/profiles.yaml": strings.Replace(profileFile("default"), "base: {path", "base: {sourceRef: {kind: GitRepository, name: base}, path", 1),
	}))
	s.failing(revision, v1alpha1.ReasonPlatformInvalid) // it is not there yet

	announce("main@sha1:base1", components)
	before := s.ready(revision).Status.Digest

	announce("main@sha1:base2", components.with(files{
		profile: strings.Replace(components[profile], "- ../../namespace/deploy\n", "", 1),
	}))
	s.eventually(func(ctx context.Context) error {
		ts := &v1alpha1.TenantSource{}
		if err := env.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: "fleet"}, ts); err != nil {
			return err
		}
		if ts.Status.Digest == before {
			return errors.New("the digest is that of the old base")
		}
		return nil
	})
}

func TestARestartInTheMiddleConverges(t *testing.T) {
	s := newStage(t)
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("team-%c%c", 'a'+i/26, 'a'+i%26))
	}
	revision := s.push(fleetOf(names...))
	has(s, &v1alpha1.Tenant{}, names[5], func(*v1alpha1.Tenant) error { return nil })
	s.stop()

	s.start("")
	ts := s.ready(revision)
	if ts.Status.Summary != "40/40" {
		t.Errorf("summary %s", ts.Status.Summary)
	}
	if got := len(s.versions()); got != 81 {
		t.Errorf("%d objects, want 40 tenants, 40 namespaces and a profile", got)
	}
}

// fleetOf is a platform and tenants, each with a namespace "web".
func fleetOf(tenants ...string) files {
	f := files{"_platform/profiles.yaml": profileFile("default")}
	for _, tenant := range tenants {
		f[tenant+"/tenant.yaml"] = tenantFile(tenant)
		f[tenant+"/web.yaml"] = namespaceFile(tenant, "web")
	}
	return f
}

func profileFile(name string) string {
	return fmt.Sprintf(`apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: %s}
spec:
  base: {path: profiles/default}
  sizes:
    small: {quota: {requests.cpu: "2", pods: "20"}}
    large: {quota: {requests.cpu: "16", pods: "200"}}
`, name)
}

func tenantFile(name string) string {
	return fmt.Sprintf(`apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata: {name: %[1]s}
spec:
  displayName: %[1]s
  namespaces: {max: 10, profiles: [default]}
`, name)
}

func namespaceFile(tenant, name string) string {
	return fmt.Sprintf(`apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: %[1]s-%[2]s}
spec:
  tenant: %[1]s
  profile: default
  size: small
`, tenant, name)
}

func clusterFile(tenant, name string) string {
	return fmt.Sprintf(`apiVersion: aetherplatform.cloud/v1alpha1
kind: WorkloadCluster
metadata: {name: %[1]s-%[2]s}
spec:
  tenant: %[1]s
  region: dk-1
  version: v1.36.3
`, tenant, name)
}

// change changes the TenantSource.
func (s *stage) change(f func(*v1alpha1.TenantSource)) {
	s.t.Helper()
	s.eventually(func(ctx context.Context) error {
		ts := &v1alpha1.TenantSource{}
		if err := env.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: "fleet"}, ts); err != nil {
			return err
		}
		f(ts)
		return env.Client.Update(ctx, ts)
	})
}

func (s *stage) untilOther(revision string) *v1alpha1.TenantSource {
	s.t.Helper()
	return s.until("other", revision, metav1.ConditionFalse, v1alpha1.ReasonPlatformInvalid)
}

func (s *stage) statusPath() string {
	return "/apis/aetherplatform.cloud/v1alpha1/namespaces/" + s.namespace + "/tenantsources/fleet/status"
}

// hasEvent waits for an event about a kind whose note contains text.
func (s *stage) hasEvent(kind, text string) {
	s.t.Helper()
	s.eventually(func(ctx context.Context) error {
		var list eventsv1.EventList
		if err := env.Client.List(ctx, &list); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Regarding.Kind == kind && strings.Contains(e.Note, text) {
				return nil
			}
		}
		return fmt.Errorf("no event about a %s says %q", kind, text)
	})
}

func eachObject(f func(client.Object)) func(runtime.Object) error {
	return func(o runtime.Object) error {
		f(o.(client.Object))
		return nil
	}
}

// refuse makes the API server refuse any change of a TenantNamespace.
func (s *stage) refuse(name string) {
	s.t.Helper()
	fail := admissionv1.Fail
	s.must(env.Client.Create(s.t.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "refuse"},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{v1alpha1.GroupVersion.Group}, APIVersions: []string{"*"}, Resources: []string{"tenantnamespaces"}},
			}}}},
			Validations: []admissionv1.Validation{{Expression: fmt.Sprintf("object.metadata.name != '%s'", name), Message: "not today"}},
		},
	}))
	s.must(env.Client.Create(s.t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "refuse"},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "refuse", ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}))
	s.t.Cleanup(s.allow)
	s.eventually(func(ctx context.Context) error {
		o := s.namespaceOf(name)
		o.Annotations["example.com/canary"] = "1"
		if err := env.Client.Update(ctx, o, client.DryRunAll); err == nil {
			return errors.New("the policy is not in effect")
		}
		return nil
	})
}

// allow takes the refusal back.
func (s *stage) allow() {
	s.t.Helper()
	for _, o := range []client.Object{&admissionv1.ValidatingAdmissionPolicyBinding{}, &admissionv1.ValidatingAdmissionPolicy{}} {
		o.SetName("refuse")
		s.must(client.IgnoreNotFound(env.Client.Delete(context.Background(), o)))
	}
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}
