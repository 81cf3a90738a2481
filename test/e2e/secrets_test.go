package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"code.gitea.io/sdk/gitea"
	"github.com/openbao/openbao/api/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
	"github.com/aetherplatform/aether/internal/openbao/server"
)

// canary is in every value that the test writes, and must be in nothing that a process
// says.
const canary = "c4n4ry"

// secretsArriveWhateverEnds pushes, kills and looks: what OpenBao has comes into
// Secrets, and nowhere else.
func secretsArriveWhateverEnds(w *world, bao *api.Client) {
	w.Helper()
	w.saysAllItCan()

	w.run("the example fleet's secrets arrive", func(w *world) {
		db, err := bao.KVv2(server.Secrets).Get(w.Context(), "acme/web/db")
		if err != nil {
			w.Fatal(err)
		}
		w.holds("acme-web", "db", "PGPASSWORD", db.Data["password"].(string))
		w.holds("acme-web", "db", "DSN", fmt.Sprintf("postgres://%s:%s@%s/shop", db.Data["username"], db.Data["password"], db.Data["host"]))
		key, err := bao.KVv2(server.Secrets).Get(w.Context(), "acme/web/tls-api")
		if err != nil {
			w.Fatal(err)
		}
		w.holds("acme-web", "tls-api", "key", key.Data["key"].(string))
	})
	w.run("a push that adds one brings it", func(w *world) {
		w.keeps(bao, "acme/added", "-added")
		w.becomesReady(w.pushes("Add a secret", map[string]string{
			"acme/namespaces/added.yaml": namespaceYAML("acme", "acme-added") + "  secrets:\n  - {name: added, path: added, refreshInterval: 10s}\n",
		}))
		w.holds("acme-added", "added", "password", canary+"-added")
	})
	w.run("the operator is killed in the middle of many", func(w *world) {
		const many = 60
		var list strings.Builder
		for i := range many {
			w.keeps(bao, fmt.Sprintf("acme/many/%d", i), fmt.Sprintf("-%d", i))
			fmt.Fprintf(&list, "  - {name: s%d, path: many/%d}\n", i, i)
		}
		pushed := w.pushes("Add many", map[string]string{
			"acme/namespaces/many.yaml": namespaceYAML("acme", "acme-many") + "  secrets:\n" + list.String(),
		})
		w.eventually(settleLimit, "the first of many Secrets", func() bool {
			var made corev1.SecretList
			if err := w.Client.List(w.Context(), &made, client.InNamespace("acme-many")); err != nil {
				w.Fatal(err)
			}
			return len(made.Items) > 0
		})
		<-time.After(rand.N(500 * time.Millisecond))
		if err := w.Kill("namespace-operator"); err != nil {
			w.Fatal(err)
		}
		w.revives(w.Context())
		w.converges(pushed)
		for i := range many {
			w.holds("acme-many", fmt.Sprintf("s%d", i), "password", fmt.Sprintf("%s-%d", canary, i))
		}
	})
	w.run("OpenBao is killed, and nothing is lost", func(w *world) {
		if err := w.Kill("openbao"); err != nil {
			w.Fatal(err)
		}
		w.saysOf("acme-added", "added", v1alpha1.ReasonOpenBaoUnavailable)
		w.holds("acme-added", "added", "password", canary+"-added")
		w.revives(w.Context())
		w.keeps(bao, "acme/added", "-again")
		w.holds("acme-added", "added", "password", canary+"-again")
		w.saysOf("acme-added", "added", v1alpha1.ReasonSynced)
	})
	w.run("a review says where a secret is, and not what", func(w *world) {
		forge := w.forge()
		number, head := forge.proposes(proposal{branch: "more-secrets", files: map[string]string{
			"tenants/acme/namespaces/added.yaml": namespaceYAML("acme", "acme-added") + "  secrets:\n  - {name: added, path: many/1, refreshInterval: 10s}\n",
		}})
		forge.reviews(head, gitea.StatusSuccess)
		w.tells("the review", forge.comment(number).Body)
		if body := forge.comment(number).Body; !strings.Contains(body, "many/1") {
			w.Errorf("the review says nothing of the path:\n%s", body)
		}
	})
	w.run("no process has told a value or a credential", func(w *world) { w.toldNothing() })
	w.run("of two operators one works, and what the other goes on with is made once", func(w *world) {
		first, second := w.runsReplicas()
		leader, standby := w.elects(first, second, 2*leaseDuration)
		const many = 60
		var list strings.Builder
		for i := range many {
			fmt.Fprintf(&list, "  - {name: g%d, path: made/%d, generate: {password: {password: {length: 24}}}}\n", i, i)
		}
		w.lets("openBao: {}", "openBao: {generate: true}")
		pushed := w.pushes("Make many", map[string]string{
			"acme/namespaces/made.yaml": namespaceYAML("acme", "acme-made") + "  secrets:\n" + list.String(),
		})
		w.eventually(settleLimit, "the first that is made", func() bool {
			made, err := bao.Logical().ListWithContext(w.Context(), server.Secrets+"/metadata/acme/made")
			return err == nil && made != nil
		})
		if err := w.Kill(leader.name); err != nil {
			w.Fatal(err)
		}
		w.leads(standby, 2*leaseDuration)
		w.becomesReady(pushed)
		for i := range many {
			var made *api.KVSecret
			w.eventually(settleLimit, fmt.Sprintf("acme/made/%d", i), func() (ok bool) {
				var err error
				made, err = bao.KVv2(server.Secrets).Get(w.Context(), fmt.Sprintf("acme/made/%d", i))
				return err == nil
			})
			if made.VersionMetadata.Version != 1 {
				w.Errorf("acme/made/%d was made %d times", i, made.VersionMetadata.Version)
			}
			w.holds("acme-made", fmt.Sprintf("g%d", i), "password", made.Data["password"].(string))
		}
		w.logsTellNothing()
	})
}

// lets changes what the platform's files say.
func (w *world) lets(from, to string) {
	w.Helper()
	changed := 0
	err := filepath.WalkDir(filepath.Join(w.checkout, "tenants", v1alpha1.PlatformDirectory), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), from) {
			return err
		}
		changed++
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), from, to)), 0o600)
	})
	if err != nil || changed == 0 {
		w.Fatalf("%d files say %q (%v)", changed, from, err)
	}
}

// run runs a part of the story.
func (w *world) run(name string, do func(*world)) {
	w.Helper()
	w.Run(name, func(t *testing.T) { do(&world{T: t, Platform: w.Platform, checkout: w.checkout}) })
}

// saysAllItCan has the operator log what it can, from its next start.
func (w *world) saysAllItCan() {
	w.Helper()
	for _, p := range w.Processes {
		if p.Name == "namespace-operator" {
			p.Args = append(p.Args, "--log-level=debug")
		}
	}
	if err := w.Kill("namespace-operator"); err != nil {
		w.Fatal(err)
	}
	w.revives(w.Context())
}

// keeps writes a secret into OpenBao.
func (w *world) keeps(bao *api.Client, path, what string) {
	w.Helper()
	if _, err := bao.KVv2(server.Secrets).Put(w.Context(), path, map[string]any{"password": canary + what}); err != nil {
		w.Fatalf("cannot write %s: %v", path, err)
	}
}

// holds waits for a Secret that holds a value.
func (w *world) holds(namespace, name, key, value string) {
	w.Helper()
	w.eventually(settleLimit, "Secret "+namespace+"/"+name, func() bool {
		o := &corev1.Secret{}
		err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o)
		return err == nil && string(o.Data[key]) == value
	})
}

// saysOf waits for what a SecretSync says.
func (w *world) saysOf(namespace, name, reason string) {
	w.Helper()
	w.eventually(settleLimit, "SecretSync "+namespace+"/"+name+" that says "+reason, func() bool {
		ss := &v1alpha1.SecretSync{}
		err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, ss)
		c := meta.FindStatusCondition(ss.Status.Conditions, v1alpha1.ConditionReady)
		return err == nil && c != nil && c.Reason == reason
	})
}

// toldNothing looks through everything that processes say: their logs, the operator's
// metrics, events, and what Aether's own kinds hold.
func (w *world) toldNothing() {
	w.Helper()
	w.logsTellNothing()
	w.tells("the operator's metrics", w.metrics())
	for what, list := range map[string]client.ObjectList{
		"events": &eventsv1.EventList{}, "SecretSyncs": &v1alpha1.SecretSyncList{}, "TenantNamespaces": &v1alpha1.TenantNamespaceList{},
		"Tenants": &v1alpha1.TenantList{}, "profiles": &v1alpha1.NamespaceProfileList{}, "sources": &v1alpha1.TenantSourceList{},
	} {
		if err := w.Client.List(w.Context(), list); err != nil {
			w.Fatal(err)
		}
		if meta.LenList(list) == 0 {
			w.Errorf("there are no %s to look at", what)
		}
		text, err := json.Marshal(list)
		if err != nil {
			w.Fatal(err)
		}
		w.tells(what, string(text))
	}
}

func (w *world) logsTellNothing() {
	w.Helper()
	logs, debug := 0, false
	err := filepath.WalkDir(w.Logs(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		logs++
		debug = debug || strings.Contains(string(text), `"level":"DEBUG`)
		w.tells(filepath.Base(path), string(text))
		return err
	})
	if err != nil || logs < processes || !debug {
		w.Fatalf("there are %d logs (%v), in debug: %t", logs, err, debug)
	}
}

// metrics are the operator's.
func (w *world) metrics() string {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/metrics", w.Ports.OperatorMetrics), nil)
	if err != nil {
		w.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(text), "aether_secret_syncs") {
		w.Fatalf("the metrics tell nothing of secrets (%v)", err)
	}
	return string(text)
}

// tells fails if a text holds a value, a token of OpenBao's or one of the cluster's.
func (w *world) tells(what, text string) {
	w.Helper()
	root, err := os.ReadFile(w.OpenBaoToken())
	if err != nil {
		w.Fatal(err)
	}
	if found := openbaotest.Credential(text, canary, strings.TrimSpace(string(root))); found != "" {
		w.Errorf("%s holds %s", what, found)
	}
}
