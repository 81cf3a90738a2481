package get

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func synced(namespace, name string, change func(*v1alpha1.SecretSync)) v1alpha1.SecretSync {
	at := func(ago time.Duration) *metav1.Time { t := metav1.NewTime(now.Add(-ago)); return &t }
	s := v1alpha1.SecretSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name)},
		Spec:       v1alpha1.SecretSyncSpec{SecretSource: v1alpha1.SecretSource{Path: "web/" + name, OnDelete: v1alpha1.OnDeleteDelete}},
		Status: v1alpha1.SecretSyncStatus{
			Source: "secret/acme/web/" + name, SecretName: name, Version: 3, VersionTime: at(50 * time.Hour), SyncedTime: at(49 * time.Hour),
			Conditions: []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSynced, Message: "Secret " + name + " holds version 3"}},
		},
	}
	change(&s)
	return s
}

func listed() []v1alpha1.SecretSync {
	return []v1alpha1.SecretSync{
		synced("acme-web", "db", func(s *v1alpha1.SecretSync) {
			s.Annotations = map[string]string{v1alpha1.AnnotationPath: "acme/namespaces/web.yaml:3"}
		}),
		synced("acme-api", "stripe", func(s *v1alpha1.SecretSync) {
			version := int64(2)
			s.Spec.Version, s.Spec.SecretName, s.Spec.RefreshInterval = &version, "stripe-key", &metav1.Duration{Duration: time.Hour}
			s.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonVersionGone, Message: "version 2 was deleted in OpenBao"}}
		}),
		synced("acme-web", "new", func(s *v1alpha1.SecretSync) { s.Status = v1alpha1.SecretSyncStatus{} }),
		synced("acme-web", "taken", func(s *v1alpha1.SecretSync) {
			s.Status.Version, s.Status.VersionTime, s.Status.SyncedTime = 0, nil, nil
			s.Status.Conditions = []metav1.Condition{
				{Type: "Ready", Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSecretTaken, Message: "there is a Secret taken already"},
				{Type: "Stalled", Status: metav1.ConditionTrue},
			}
		}),
	}
}

func TestSecretsAreListedWithVersionAgeAndNextRefresh(t *testing.T) {
	for output, want := range map[string]string{
		"table": `NAMESPACE   NAME     SECRET       SOURCE                   VERSION   AGE    SYNCED   NEXT     READY     STATUS
acme-api    stripe   stripe-key   secret/acme/web/stripe   3         2d2h   2d1h     soon     False     version 2 was deleted in OpenBao
acme-web    db       db           secret/acme/web/db       3         2d2h   2d1h     in 14s   True      Secret db holds version 3
acme-web    new      new          …/web/new                -         -      -        soon     Unknown   not looked at yet
acme-web    taken    taken        secret/acme/web/taken    -         -      -        -        False     there is a Secret taken already
`,
		"wide": `NAMESPACE   NAME     SECRET       SOURCE                   VERSION   AGE    SYNCED   NEXT     READY     STATUS                             WANTED   EVERY   ON DELETE   PATH
acme-api    stripe   stripe-key   secret/acme/web/stripe   3         2d2h   2d1h     soon     False     version 2 was deleted in OpenBao   2        60m     delete      -
acme-web    db       db           secret/acme/web/db       3         2d2h   2d1h     in 14s   True      Secret db holds version 3          latest   5m      delete      acme/namespaces/web.yaml:3
acme-web    new      new          …/web/new                -         -      -        soon     Unknown   not looked at yet                  latest   5m      delete      -
acme-web    taken    taken        secret/acme/web/taken    -         -      -        -        False     there is a Secret taken already    latest   5m      delete      -
`,
	} {
		t.Run(output, func(t *testing.T) {
			o := &Options{Env: &cli.Env{Now: func() time.Time { return now }}, Output: output}
			var out bytes.Buffer
			o.listSecrets(listed()).table.Print(&out, false)
			if diff := cmp.Diff(want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestJSONHasWhenASecretIsAskedForNext(t *testing.T) {
	o := &Options{Env: &cli.Env{Now: func() time.Time { return now }}, Output: "json", Names: []string{"db", "taken"}}
	var out bytes.Buffer
	if err := printObjects(&out, o.listSecrets(listed()), "json"); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Items []struct {
			Kind        string
			NextRefresh string
			Status      struct{ Version int }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 2 || got.Items[0].Kind != "SecretSync" || got.Items[0].Status.Version != 3 || got.Items[0].NextRefresh == "" {
		t.Errorf("got %+v", got)
	}
	if got.Items[1].NextRefresh != "" {
		t.Errorf("one that a person has to mend is asked for at %s", got.Items[1].NextRefresh)
	}
}

func TestKindsAreTakenByAnyName(t *testing.T) {
	for name, want := range map[string]string{
		"secrets": "secrets", "secret": "secrets", "SecretSync": "secrets", "secretsyncs": "secrets", "ssync": "secrets",
		"tenant": "tenants", "tnt": "tenants", "ns": "namespaces", "tenantnamespaces": "namespaces", "tsrc": "sources",
	} {
		if got, _, err := kindOf(name); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
	if _, _, err := kindOf("secrts"); err == nil || !strings.Contains(err.Error(), `nothing called "secrts"`) {
		t.Errorf("secrts: %v", err)
	}
}
