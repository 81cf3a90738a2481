package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// leave marks a namespace as controllers/source does when it has left Git.
func (w *world) leave(name string) {
	w.Helper()
	update(w, tenantNamespace(name), func(tn *v1alpha1.TenantNamespace) {
		tn.Annotations[v1alpha1.AnnotationRemovedAt] = w.clock.Now().Format(time.RFC3339)
		tn.Annotations[v1alpha1.AnnotationRemovedIn] = "main@sha1:0002"
	})
}

func TestRemovedNamespaceIsCordonedAndComesBack(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("removed"), tenantNamespace("removed-web", func(tn *v1alpha1.TenantNamespace) {
		tn.Spec.GitOps = &v1alpha1.GitOps{URL: "https://git.example.com/a.git", Branch: "main", Path: "./"}
	}))
	w.ready("removed-web")
	before := w.contents("removed-web")

	w.leave("removed-web")
	w.says("removed-web", v1alpha1.ReasonRemovedFromGit,
		"Removed from Git at 2026-11-21T12:00:00Z in main@sha1:0002; kept, cordoned, until its TenantNamespace is deleted or its file is put back")
	if !w.isSealed("removed-web") {
		t.Error("Pods are admitted into a removed namespace")
	}
	w.reconcileUntil("removed-web", func() error {
		if got := sorted(w.contents("removed-web")); slices.Contains(got, "RoleBinding/editor") || slices.Contains(got, "RoleBinding/admin") {
			return fmt.Errorf("write access is left: %v", got)
		}
		return nil
	})
	w.settled("removed-web")
	w.writesNothing(func() { _, _ = w.reconcile("removed-web") })

	update(w, tenantNamespace("removed-web"), func(tn *v1alpha1.TenantNamespace) {
		delete(tn.Annotations, v1alpha1.AnnotationRemovedAt)
		delete(tn.Annotations, v1alpha1.AnnotationRemovedIn)
	})
	w.ready("removed-web")
	if w.isSealed("removed-web") {
		t.Error("sealed though its file is back")
	}
	if got, want := sorted(w.contents("removed-web")), sorted(before); !slices.Equal(got, want) {
		t.Errorf("there is %v, want %v", got, want)
	}
}

func TestCordonedTenantAdmitsNothingNew(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("cordoned"), tenantNamespace("cordoned-web"))
	w.ready("cordoned-web")
	w.recorder.take()

	update(w, tenant("cordoned"), func(t *v1alpha1.Tenant) { t.Spec.Cordoned = true })
	tn := w.says("cordoned-web", v1alpha1.ReasonCordoned, `Cordoned by Tenant "cordoned"; 9 objects in place`)
	if !w.isSealed("cordoned-web") {
		t.Errorf("Pods are admitted: %+v", tn.Status.Conditions)
	}

	update(w, tenant("cordoned"), func(t *v1alpha1.Tenant) { t.Spec.Cordoned = false })
	w.says("cordoned-web", v1alpha1.ReasonReconciled, "12 objects in place")
	if w.isSealed("cordoned-web") {
		t.Error("sealed though the tenant is not cordoned any more")
	}
}

func TestRetention(t *testing.T) {
	kcm := testenv.Start(t)
	kcm.StartControllerManager(t)
	w := newWorldIn(t, kcm.Client, kcm.Config, profile("default"), tenant("retained", func(s *v1alpha1.TenantSpec) {
		s.Deletion = v1alpha1.Deletion{Policy: v1alpha1.DeletionDelete, Retention: &metav1.Duration{Duration: 48 * time.Hour}}
	}), tenantNamespace("retained-web"))
	w.ready("retained-web")

	w.leave("retained-web")
	w.says("retained-web", v1alpha1.ReasonRemovedFromGit,
		"Removed from Git at 2026-11-21T12:00:00Z in main@sha1:0002; kept, cordoned, until 2026-11-23T12:00:00Z, then deleted unless its file is put back")

	w.clock.advance(47 * time.Hour)
	w.settled("retained-web")
	result, err := w.reconcile("retained-web")
	if err != nil || result.RequeueAfter != time.Hour {
		t.Errorf("woken again in %v (%v), want exactly the hour that is left", result.RequeueAfter, err)
	}
	if ns := w.namespace("retained-web"); ns.DeletionTimestamp != nil {
		t.Error("deleted before its time")
	}

	w.clock.advance(time.Hour)
	eventually(t, func(ctx context.Context) error {
		_, err := w.Reconciler.Reconcile(ctx, request("retained-web"))
		for _, o := range []client.Object{w.nsObject("retained-web"), tenantNamespace("retained-web")} {
			if gone := testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(o), o)); gone != nil {
				return fmt.Errorf("%T: %w (%v)", o, gone, err)
			}
		}
		return nil
	})

	t.Run("a namespace deleted by hand comes back, new and sealed first", func(t *testing.T) {
		w.create(tenantNamespace("retained-api"))
		w.ready("retained-api")
		was := w.namespace("retained-api").UID
		w.must(w.Client.Delete(t.Context(), w.nsObject("retained-api")))
		w.until("retained-api", func(*v1alpha1.TenantNamespace) error {
			ns := w.nsObject("retained-api")
			if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(ns), ns); err != nil {
				return err
			}
			if ns.UID == was {
				return errors.New("the old one is still there")
			}
			return nil
		})
		w.ready("retained-api")
		if got := sorted(w.contents("retained-api")); !slices.Equal(got, usual) {
			t.Errorf("there is %v, want %v", got, usual)
		}
	})
}

func TestDeletedTenantNamespaceDeletesOnlyWhatHasLeftGit(t *testing.T) {
	w := newWorld(t, profile("default"), tenant("deleted"), tenantNamespace("deleted-kept"), tenantNamespace("deleted-gone"), tenantNamespace("deleted-orphan"))
	for _, name := range []string{"deleted-kept", "deleted-gone", "deleted-orphan"} {
		w.ready(name)
	}

	w.must(w.Client.Delete(t.Context(), tenantNamespace("deleted-kept")))
	w.gone("deleted-kept")
	if ns := w.namespace("deleted-kept"); ns.DeletionTimestamp != nil || ns.Labels[v1alpha1.LabelSealed] != opened {
		t.Errorf("a namespace that had not left Git: %+v", ns.ObjectMeta)
	}

	w.leave("deleted-gone")
	w.must(w.Client.Delete(t.Context(), tenantNamespace("deleted-gone")))
	w.until("deleted-gone", func(tn *v1alpha1.TenantNamespace) error {
		if c := meta.FindStatusCondition(tn.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Reason != v1alpha1.ReasonNamespaceTerminating {
			return fmt.Errorf("Ready is %+v", c)
		}
		return nil
	})
	if ns := w.namespace("deleted-gone"); ns.DeletionTimestamp == nil {
		t.Error("a namespace that had left Git is kept")
	}

	w.leave("deleted-orphan")
	w.must(w.Client.Delete(t.Context(), tenant("deleted")))
	w.must(w.Client.Delete(t.Context(), tenantNamespace("deleted-orphan")))
	w.gone("deleted-orphan")
	if ns := w.namespace("deleted-orphan"); ns.DeletionTimestamp != nil {
		t.Error("deleted though nothing says whose it was")
	}
}
