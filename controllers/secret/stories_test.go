package secret_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
)

// TestOperator runs the controllers as they are run: with the identity, the rights and
// under the policies that Aether installs, against a real OpenBao API.
func TestOperator(t *testing.T) {
	w := start(t)
	stop := w.operate(t)

	t.Run("a secret in OpenBao becomes a Secret", func(t *testing.T) {
		w.bao.Put(t, "acme/web/db", map[string]any{"username": "app", "password": canary + "-1", "host": "db"})
		w.namespaceOf(t, "acme-web", `{name: db, path: web/db, keys: {PASSWORD: password}, template: {DSN: "postgres://${data.username}:${data.password}@${data.host}/app"}, refreshInterval: 10s, labels: {example.com/team: web}}`)
		o := w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-1", "DSN": "postgres://app:" + canary + "-1@db/app"})
		if o.Labels["example.com/team"] != "web" || o.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBySecretSync || o.Labels[v1alpha1.LabelTenant] != "acme" {
			t.Errorf("its labels are %v", o.Labels)
		}
		ss := w.says(t, "acme-web", "db", v1alpha1.ReasonSynced, "Version 1 of secret/acme/web/db")
		if ss.Status.Version != 1 || ss.Status.Source != "secret/acme/web/db" || ss.Status.SecretName != "db" || ss.Status.VersionTime == nil || ss.Status.SyncedTime == nil {
			t.Errorf("its status is %+v", ss.Status)
		}
	})
	t.Run("and the TenantNamespace says so", func(t *testing.T) {
		w.eventually(t, func(ctx context.Context) error {
			tn := &v1alpha1.TenantNamespace{}
			if err := w.Client.Get(ctx, client.ObjectKey{Name: "acme-web"}, tn); err != nil {
				return err
			}
			c := meta.FindStatusCondition(tn.Status.Conditions, v1alpha1.ConditionSecretsSynced)
			if c == nil || c.Status != metav1.ConditionTrue || c.Message != "1 of 1 hold what OpenBao has" {
				return fmt.Errorf("SecretsSynced is %+v", c)
			}
			return nil
		})
	})
	t.Run("what changes in OpenBao changes in the cluster", func(t *testing.T) {
		w.bao.Put(t, "acme/web/db", map[string]any{"username": "app", "password": canary + "-2", "host": "db"})
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-2", "DSN": "postgres://app:" + canary + "-2@db/app"})
	})
	t.Run("what is asked about is looked at at once", func(t *testing.T) {
		w.bao.Put(t, "acme/web/db", map[string]any{"username": "app", "password": canary + "-3", "host": "db"})
		change(t, w, &v1alpha1.SecretSync{}, "acme-web", "db", func(*v1alpha1.SecretSync) {})
		w.ask(t, "acme-web", "db")
		asked := time.Now()
		w.says(t, "acme-web", "db", v1alpha1.ReasonSynced, "Version 3 of secret/acme/web/db")
		if took := time.Since(asked); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	t.Run("nobody in the cluster changes it", func(t *testing.T) {
		o := w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-3", "DSN": "postgres://app:" + canary + "-3@db/app"})
		o.Data["PASSWORD"] = []byte("mine")
		if err := w.Client.Update(t.Context(), o); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "holds what OpenBao has") {
			t.Errorf("a cluster admin changes it: %v", err)
		}
		if err := w.Client.Delete(t.Context(), o); !apierrors.IsForbidden(err) {
			t.Errorf("a cluster admin deletes it: %v", err)
		}
	})
	t.Run("and where the policy is not there, it is put back", func(t *testing.T) {
		sync := w.ClientAs(t, "system:serviceaccount:acme-web:aether-secret-sync", "system:masters") // whom the policy lets
		o := w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-3", "DSN": "postgres://app:" + canary + "-3@db/app"})
		o.Data["PASSWORD"] = []byte("mine")
		if err := sync.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-3", "DSN": "postgres://app:" + canary + "-3@db/app"})
		if err := sync.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-3", "DSN": "postgres://app:" + canary + "-3@db/app"})
	})
	t.Run("a version is pinned", func(t *testing.T) {
		change(t, w, &v1alpha1.TenantNamespace{}, "", "acme-web", func(tn *v1alpha1.TenantNamespace) {
			tn.Spec.Secrets[0].Version, tn.Spec.Secrets[0].Template = new(int64(1)), nil
		})
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-1"})
		change(t, w, &v1alpha1.TenantNamespace{}, "", "acme-web", func(tn *v1alpha1.TenantNamespace) { tn.Spec.Secrets[0].Version = new(int64(9)) })
		w.says(t, "acme-web", "db", v1alpha1.ReasonSecretNotFound, `OpenBao has no version 9 of secret/acme/web/db; name another in spec.version, or leave it out for the latest; Secret "db" keeps version 1`)
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-1"})
		change(t, w, &v1alpha1.TenantNamespace{}, "", "acme-web", func(tn *v1alpha1.TenantNamespace) { tn.Spec.Secrets[0].Version = nil })
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-3"})
	})
	t.Run("a deleted version is said, and not synced as empty", func(t *testing.T) {
		if err := w.bao.Root.KVv2("secret").Delete(t.Context(), "acme/web/db"); err != nil {
			t.Fatal(err)
		}
		w.ask(t, "acme-web", "db")
		w.says(t, "acme-web", "db", v1alpha1.ReasonVersionGone, `version 3 of secret/acme/web/db was deleted in OpenBao; bring it back with: bao kv undelete -mount=secret -versions=3 acme/web/db`)
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-3"})
		if err := w.bao.Root.KVv2("secret").Destroy(t.Context(), "acme/web/db", []int{3}); err != nil {
			t.Fatal(err)
		}
		w.says(t, "acme-web", "db", v1alpha1.ReasonVersionGone, `version 3 of secret/acme/web/db is gone for good in OpenBao`)
		w.bao.Put(t, "acme/web/db", map[string]any{"password": canary + "-4"})
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-4"})
	})
	t.Run("a team's own SecretSync is served", func(t *testing.T) {
		w.bao.Put(t, "acme/web/api", map[string]any{"token": canary + "-5"})
		deploy := w.ClientAs(t, "system:serviceaccount:acme-web:deploy")
		ss := &v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Namespace: "acme-web", Name: "api"}}
		ss.Spec.SecretName, ss.Spec.Path, ss.Spec.OnDelete = "api-token", "web/api", v1alpha1.OnDeleteRetain
		if err := deploy.Create(t.Context(), ss); err != nil {
			t.Fatal(err)
		}
		w.holds(t, "acme-web", "api-token", map[string]string{"token": canary + "-5"})
		w.says(t, "acme-web", "api", v1alpha1.ReasonSynced, "Version 1 of secret/acme/web/api")

		if err := deploy.Delete(t.Context(), ss); err != nil {
			t.Fatal(err)
		}
		w.gone(t, &v1alpha1.SecretSync{}, "acme-web", "api")
		o := w.holds(t, "acme-web", "api-token", map[string]string{"token": canary + "-5"})
		if len(o.Labels) > 0 || len(o.OwnerReferences) > 0 {
			t.Errorf("what was retained has labels %v and owners %v", o.Labels, o.OwnerReferences)
		}
		if err := deploy.Delete(t.Context(), o); err != nil {
			t.Errorf("what was retained is not the team's: %v", err)
		}
	})
	t.Run("what the team has is not taken", func(t *testing.T) {
		own := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "acme-web", Name: "own"}, StringData: map[string]string{"a": "b"}}
		if err := w.Client.Create(t.Context(), own); err != nil {
			t.Fatal(err)
		}
		ss := &v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Namespace: "acme-web", Name: "own"}}
		ss.Spec.Path = "web/db"
		if err := w.Client.Create(t.Context(), ss); err != nil {
			t.Fatal(err)
		}
		w.says(t, "acme-web", "own", v1alpha1.ReasonSecretTaken, `Secret "own" is there and was not made by a SecretSync, so it is left as it is`)
		other := &v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Namespace: "acme-web", Name: "other"}}
		other.Spec.Path, other.Spec.SecretName = "web/db", "db"
		if err := w.Client.Create(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		w.says(t, "acme-web", "other", v1alpha1.ReasonSecretTaken, `Secret "db" is made by SecretSync "db"`)
		w.holds(t, "acme-web", "own", map[string]string{"a": "b"})
		for _, o := range []client.Object{ss, other} {
			if err := w.Client.Delete(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a path that is empty is said", func(t *testing.T) {
		w.namespaceOf(t, "acme-empty", `{name: db, path: nothing/here, refreshInterval: 10s}`)
		w.says(t, "acme-empty", "db", v1alpha1.ReasonSecretNotFound, "OpenBao has nothing at secret/acme/nothing/here; write it with: bao kv put -mount=secret acme/nothing/here KEY=VALUE")
		w.bao.Put(t, "acme/nothing/here", map[string]any{"a": canary})
		w.holds(t, "acme-empty", "db", map[string]string{"a": canary})
	})
	t.Run("what there is none of is made, once", func(t *testing.T) {
		w.namespaceOf(t, "acme-made", `{name: db, path: made/db, generate: {password: {password: {length: 24}}, key: {privateKey: {}}}}`)
		w.says(t, "acme-made", "db", v1alpha1.ReasonSynced, "Version 1 of secret/acme/made/db")
		there, err := w.bao.Root.KVv2("secret").Get(t.Context(), "acme/made/db")
		if err != nil {
			t.Fatal(err)
		}
		w.holds(t, "acme-made", "db", map[string]string{"password": there.Data["password"].(string), "key": there.Data["key"].(string)})
	})
	t.Run("workloads that say so are restarted, but not at first", func(t *testing.T) {
		w.bao.Put(t, "acme/roll/db", map[string]any{"a": canary + "-1"})
		w.namespaceOf(t, "acme-roll", `{name: db, path: roll/db, rollout: [{kind: Deployment, name: web}, {kind: StatefulSet, name: none}]}`)
		w.holds(t, "acme-roll", "db", map[string]string{"a": canary + "-1"})
		d := deployment("acme-roll", "web")
		w.eventually(t, func(ctx context.Context) error { return w.Client.Create(ctx, d) })
		w.bao.Put(t, "acme/roll/db", map[string]any{"a": canary + "-2"})
		w.ask(t, "acme-roll", "db")
		w.eventually(t, func(ctx context.Context) error {
			if err := w.Client.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
				return err
			}
			if got := d.Spec.Template.Annotations["db.secret.aetherplatform.cloud/version"]; got != "2.1" {
				return fmt.Errorf("its Pods have %q", got)
			}
			return nil
		})
		w.eventually(t, func(ctx context.Context) error {
			o := &corev1.Secret{}
			if err := w.Client.Get(ctx, client.ObjectKey{Namespace: "acme-roll", Name: "db"}, o); err != nil {
				return err
			}
			if _, pending := o.Annotations[v1alpha1.AnnotationRollout]; pending {
				return fmt.Errorf("it is still to be done")
			}
			return nil
		})
	})
	t.Run("OpenBao being away takes nothing away", func(t *testing.T) {
		w.bao.Put(t, "globex/app", map[string]any{"password": canary})
		w.namespaceOf(t, "globex-app", `{name: app, path: app, refreshInterval: 24h}`)
		w.says(t, "globex-app", "app", v1alpha1.ReasonSynced, "Version 1")
		w.bao.Seal(t)
		w.ask(t, "acme-web", "db")
		// One of them has asked, and each is told the same, which names nobody's path.
		w.says(t, "acme-web", "db", v1alpha1.ReasonOpenBaoUnavailable, `OpenBao is away: it is sealed (503); Secret "db" keeps version 4`)
		w.ask(t, "globex-app", "app")
		w.says(t, "globex-app", "app", v1alpha1.ReasonOpenBaoUnavailable, `OpenBao is away: it is sealed (503); Secret "app" keeps version 1`)
		w.holds(t, "acme-web", "db", map[string]string{"PASSWORD": canary + "-4"})
		w.bao.Unseal(t)
		w.says(t, "acme-web", "db", v1alpha1.ReasonSynced, "Version 4")
		w.bao.Kill(t)
		w.ask(t, "acme-web", "db")
		w.says(t, "acme-web", "db", v1alpha1.ReasonOpenBaoUnavailable, `; Secret "db" keeps version 4`)
		w.bao.Restart(t)
		w.says(t, "acme-web", "db", v1alpha1.ReasonSynced, "Version 4")
	})
	t.Run("a role that somebody changed in OpenBao is put back", func(t *testing.T) {
		const role = "auth/kubernetes/role/aether-ns-globex-app" // whose secret is looked at once a day
		if _, err := w.bao.Root.Logical().DeleteWithContext(t.Context(), role); err != nil {
			t.Fatal(err)
		}
		w.eventually(t, func(ctx context.Context) error {
			there, err := w.bao.Root.Logical().ReadWithContext(ctx, role)
			if err == nil && there == nil {
				err = fmt.Errorf("there is none")
			}
			return err
		})
	})
	t.Run("a steady state is silent", func(t *testing.T) { w.silence(t) })
	stop()
	stop = w.operate(t)
	t.Run("and so is another process that takes over", func(t *testing.T) { w.silence(t) })
	t.Run("what leaves Git leaves the cluster", func(t *testing.T) {
		change(t, w, &v1alpha1.TenantNamespace{}, "", "acme-empty", func(tn *v1alpha1.TenantNamespace) { tn.Spec.Secrets = nil })
		w.gone(t, &v1alpha1.SecretSync{}, "acme-empty", "db")
		w.gone(t, &corev1.Secret{}, "acme-empty", "db")
	})
	t.Run("and OpenBao", func(t *testing.T) {
		w.eventually(t, func(ctx context.Context) error {
			role, err := w.bao.Root.Logical().ReadWithContext(ctx, "auth/kubernetes/role/aether-ns-acme-empty")
			if role != nil {
				err = fmt.Errorf("the role is still there")
			}
			return err
		})
	})
	t.Run("no foreign path was asked for as a namespace", func(t *testing.T) {
		for _, e := range openbaotest.Served(w.bao.AuditLog(t)) {
			if ns := e.Metadata["service_account_namespace"]; strings.HasPrefix(ns, "acme-") && strings.HasPrefix(e.Path, "secret/") &&
				!strings.HasPrefix(e.Path, "secret/data/acme/") && !strings.HasPrefix(e.Path, "secret/metadata/acme/") {
				t.Errorf("%s was served %s", ns, e.Path)
			}
		}
	})
	t.Run("no value is anywhere but in Secrets", func(t *testing.T) { w.tellsNothing(t) })
	stop()
}

// silence waits until nothing has been written for three refreshes, and fails if that
// does not come.
func (w *world) silence(t *testing.T) {
	t.Helper()
	since := time.Now()
	w.eventually(t, func(context.Context) error {
		sent := slices.DeleteFunc(w.wire.writes(), func(s string) bool {
			return strings.Contains(s, "/leases") || strings.HasSuffix(s, "/token") // to log in with
		})
		if len(sent) > 0 {
			since = time.Now()
		}
		if time.Since(since) < 12*time.Second { // more than a refresh of acme-web's
			return fmt.Errorf("wrote %v", sent)
		}
		return nil
	})
}

// tellsNothing looks for values in all that the operator said.
func (w *world) tellsNothing(t *testing.T) {
	t.Helper()
	said := map[string]string{"log": w.log.String(), "what it wrote": w.wire.bodies.String()}
	var syncs v1alpha1.SecretSyncList
	var namespaces v1alpha1.TenantNamespaceList
	var events eventsv1.EventList
	for name, list := range map[string]client.ObjectList{"SecretSyncs": &syncs, "TenantNamespaces": &namespaces, "events": &events} {
		if err := w.Client.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		said[name] = fmt.Sprintf("%+v", list)
	}
	if len(events.Items) == 0 || len(syncs.Items) == 0 || said["log"] == "" {
		t.Error("there is nothing to look at")
	}
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	said["metrics"] = fmt.Sprint(families)
	if !strings.Contains(said["metrics"], "aether_secret_syncs") {
		t.Error("there is no metric of SecretSyncs")
	}
	for what, text := range said {
		if found := w.bao.Credential(text, canary); found != "" {
			t.Errorf("%s holds %s", what, found)
		}
	}
}

func deployment(namespace, name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	no, yes := false, true
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
					Containers: []corev1.Container{{Name: "app", Image: "registry.example.com/acme/app:1", SecurityContext: &corev1.SecurityContext{
						AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					}}},
				},
			},
		},
	}
}
