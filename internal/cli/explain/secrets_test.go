package explain

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

func TestSecretsAreExplainedWithoutWhatTheyHold(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(ago time.Duration) *metav1.Time { t := metav1.NewTime(now.Add(-ago)); return &t }
	condition := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
	}
	pinned := int64(2)
	f := &facts{
		tenant: &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}},
		namespace: &v1alpha1.TenantNamespace{
			ObjectMeta: metav1.ObjectMeta{Name: "acme-web"},
			Spec: v1alpha1.TenantNamespaceSpec{Tenant: "acme", Size: "small", Secrets: []v1alpha1.NamespaceSecret{
				{Name: "db", SecretSource: v1alpha1.SecretSource{Path: "web/db"}},
				{Name: "stripe", SecretSource: v1alpha1.SecretSource{Path: "web/stripe", Version: &pinned}},
				{Name: "later", SecretSource: v1alpha1.SecretSource{Path: "web/later"}},
			}},
			Status: v1alpha1.TenantNamespaceStatus{Conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionTrue, v1alpha1.ReasonReconciled, "13 objects in place"),
				condition(v1alpha1.ConditionSecretsSynced, metav1.ConditionFalse, v1alpha1.ReasonSecretsNotSynced, "2 of 3 secrets: later, stripe"),
			}},
		},
		secrets: []v1alpha1.SecretSync{
			{
				ObjectMeta: metav1.ObjectMeta{Name: "db", UID: "db"}, Spec: v1alpha1.SecretSyncSpec{SecretSource: v1alpha1.SecretSource{Path: "web/db"}},
				Status: v1alpha1.SecretSyncStatus{Source: "secret/acme/web/db", Version: 3, VersionTime: at(50 * time.Hour), SyncedTime: at(49 * time.Hour),
					Conditions: []metav1.Condition{condition("Ready", metav1.ConditionTrue, v1alpha1.ReasonSynced, "holds version 3")}},
			},
			{
				ObjectMeta: metav1.ObjectMeta{Name: "ours", UID: "ours"}, Spec: v1alpha1.SecretSyncSpec{SecretName: "app", SecretSource: v1alpha1.SecretSource{Path: "web/app"}},
				Status: v1alpha1.SecretSyncStatus{Conditions: []metav1.Condition{
					condition("Ready", metav1.ConditionFalse, v1alpha1.ReasonSecretTaken, "there is a Secret app already"), condition("Stalled", metav1.ConditionTrue, v1alpha1.ReasonSecretTaken, ""),
				}},
			},
			{
				ObjectMeta: metav1.ObjectMeta{Name: "stripe", UID: "stripe"}, Spec: v1alpha1.SecretSyncSpec{SecretSource: v1alpha1.SecretSource{Path: "web/stripe", Version: &pinned}},
				Status: v1alpha1.SecretSyncStatus{Source: "secret/acme/web/stripe", Version: 1, VersionTime: at(99 * time.Hour), SyncedTime: at(98 * time.Hour),
					Conditions: []metav1.Condition{condition("Ready", metav1.ConditionFalse, v1alpha1.ReasonVersionGone, "version 2 was deleted in OpenBao")}},
			},
		},
	}
	r := explain(f, now)
	var out bytes.Buffer
	o := &Options{Env: &cli.Env{Out: &out, Now: func() time.Time { return now }}}
	o.printHead(r)
	if want := "Secrets      not synced: 2 of 3 secrets: later, stripe\n"; !strings.Contains(out.String(), want) {
		t.Errorf("it does not begin with %q:\n%s", want, out.String())
	}
	out.Reset()
	o.printSecrets(r)
	want := `
SECRET   FROM IN OPENBAO          VERSION       AGE    SYNCED   NEXT     ASKED FOR BY      STATE
db       secret/acme/web/db       3             2d2h   2d1h     in 18s   secrets[0]        synced
stripe   secret/acme/web/stripe   1, wanted 2   4d3h   4d2h     soon     secrets[1]        VersionGone: version 2 was deleted in OpenBao
later    secret/acme/web/later    -             -      -        -        secrets[2]        there is no SecretSync for it yet
app      secret/acme/web/app      -             -      -        -        SecretSync ours   SecretTaken: there is a Secret app already
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	data, err := json.Marshal(r.Secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"db","from":"secret/acme/web/db","version":3,"versionTime":"2026-02-27T10:00:00Z","syncedTime":"2026-02-27T11:00:00Z","nextRefresh":"2026-03-01T12:00:18Z","synced":true,"reason":"Synced","message":"holds version 3","askedFor":"secrets[0]"}`; string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
}
