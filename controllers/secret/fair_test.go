package secret_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/controllers/secret"
)

// A tenant that asks for more than OpenBao may be asked for waits for itself.
func TestOneTenantsManySecretsHoldUpNobodyElse(t *testing.T) {
	w := start(t)
	w.operate(t, func(o *secret.Options) { o.Rate = 5 })
	w.bao.Put(t, "acme/db", map[string]any{"password": canary})
	w.bao.Put(t, "globex/db", map[string]any{"password": canary})
	w.namespaceOf(t, "acme-web", `{name: first, path: db}`)
	w.namespaceOf(t, "globex-web", `{name: first, path: db}`)
	w.says(t, "acme-web", "first", v1alpha1.ReasonSynced, "")
	w.says(t, "globex-web", "first", v1alpha1.ReasonSynced, "")

	const many = 150 // half a minute's requests
	for i := range many {
		w.syncs(t, "acme-web", fmt.Sprintf("many-%d", i), "db")
	}
	w.syncs(t, "globex-web", "one", "db")
	w.says(t, "globex-web", "one", v1alpha1.ReasonSynced, "")

	var all v1alpha1.SecretSyncList
	if err := w.Client.List(t.Context(), &all, client.InNamespace("acme-web")); err != nil {
		t.Fatal(err)
	}
	waiting := 0
	for _, ss := range all.Items {
		if !meta.IsStatusConditionTrue(ss.Status.Conditions, v1alpha1.ConditionReady) {
			waiting++
		}
	}
	if waiting < many/4 {
		t.Errorf("%d of %d of the other tenant's wait; the one was not served in turn", waiting, many)
	}
}

// The quota of a size counts SecretSyncs, as it counts Pods.
func TestAQuotaEndsHowManySecretSyncsATeamMakes(t *testing.T) {
	w := start(t)
	w.operate(t)
	w.create(t, `{apiVersion: aetherplatform.cloud/v1alpha1, kind: TenantNamespace, metadata: {name: globex-few, finalizers: [aetherplatform.cloud/namespace]}, spec: {tenant: globex, size: few}}`)
	// The API server counts by what a cache tells it of the quota, a moment late.
	counted := func(want int64) {
		t.Helper()
		w.eventually(t, func(ctx context.Context) error {
			var quotas corev1.ResourceQuotaList
			if err := w.Client.List(ctx, &quotas, client.InNamespace("globex-few")); err != nil {
				return err
			}
			if len(quotas.Items) == 1 {
				if used, is := quotas.Items[0].Status.Used["count/secretsyncs.aetherplatform.cloud"]; is && used.Value() == want {
					return nil
				}
			}
			return fmt.Errorf("%d are not counted yet: %+v", want, quotas.Items)
		})
	}
	counted(0)
	w.syncs(t, "globex-few", "one", "db")
	counted(1)
	w.syncs(t, "globex-few", "two", "db")
	counted(2)
	w.eventually(t, func(ctx context.Context) error {
		third := &v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Namespace: "globex-few", Name: "three"}}
		third.Spec.Path = "db"
		if err := w.Client.Create(ctx, third, client.DryRunAll); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
			return fmt.Errorf("a third: %v", err)
		}
		return nil
	})
}

// syncs makes a SecretSync as a team would.
func (w *world) syncs(t testing.TB, namespace, name, path string) {
	t.Helper()
	ss := &v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	ss.Spec.Path = path
	if err := w.Client.Create(t.Context(), ss); err != nil {
		t.Fatal(err)
	}
}
