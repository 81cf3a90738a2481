package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// Etcd goes back to a backup, by the commands of the page, below controllers that have
// seen more. All that was pushed since is in place again, nothing is deleted, and what
// nobody has changed is not even written. Then all that there is left is the repository:
// a new cluster with it has every namespace again, with the same content.
func TestAClusterComesBackFromABackupAndFromGitAlone(t *testing.T) {
	w := newWorld(t, fleetOf("ant", "bee", "cat"))
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.becomesReady(head)

	dir := t.TempDir()
	w.runsOnThePage(dir, "etcdctl snapshot save")
	saved, uids := w.versions(), w.uids()

	if err := os.Remove(filepath.Join(w.checkout, "tenants", "cat", "namespaces", "web.yaml")); err != nil {
		t.Fatal(err)
	}
	letGo := time.Now().Truncate(time.Second) // as an annotation tells it
	pushed := w.pushes("One more, one other, one less", map[string]string{
		"ant/namespaces/new.yaml": namespaceYAML("ant", "ant-new"),
		"bee/namespaces/web.yaml": namespaceYAML("bee", "bee-web") + "  access:\n  - {kind: Group, name: bee-guests, role: viewer}\n",
	})
	w.becomesReady(pushed)
	want := w.identities()

	for _, name := range []string{"kube-apiserver", "etcd"} {
		if err := w.Kill(name); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	w.runsOnThePage(dir, "etcdutl snapshot restore")
	w.revives(t.Context())
	w.runsOnThePage(dir, "aether reconcile")
	w.converges(pushed)
	t.Logf("it has converged %.1f s after etcd was restored", time.Since(begun).Seconds())

	if diff := cmp.Diff(want, w.identities()); diff != "" {
		t.Errorf("the cluster does not hold what it held (-before the restore +after):\n%s", diff)
	}
	after := w.uids()
	maps.DeleteFunc(after, func(name string, _ types.UID) bool { return name == "ant-new" })
	if diff := cmp.Diff(uids, after); diff != "" {
		t.Errorf("namespaces are not those of the backup (-want +got):\n%s", diff)
	}
	// Only these were pushed to.
	maps.DeleteFunc(saved, func(name, _ string) bool {
		return strings.Contains(name, "bee-web") || strings.Contains(name, "cat-web")
	})
	w.leavesAsItWas(saved)

	removed := &v1alpha1.TenantNamespace{}
	if err := w.Client.Get(t.Context(), client.ObjectKey{Name: "cat-web"}, removed); err != nil {
		t.Fatal(err)
	}
	// At its first time, where the operator still knew that, or anew.
	if at, err := time.Parse(time.RFC3339, removed.Annotations[v1alpha1.AnnotationRemovedAt]); err != nil || at.Before(letGo) {
		t.Errorf("cat-web was marked as removed at %s (%v), want after Git let go of it at %s", at, err, letGo)
	}
	var guests rbacv1.RoleBindingList
	if err := w.Client.List(t.Context(), &guests, client.InNamespace("bee-web")); err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(guests.Items); !strings.Contains(text, "bee-guests") {
		t.Errorf("the change of bee-web is lost: its bindings are %s", text)
	}

	if err := w.Halt(); err != nil {
		t.Fatal(err)
	}
	anew := startWorld(t, "")
	anew.git("fetch", "--quiet", w.checkout, "HEAD")
	anew.git("push", "--quiet", "origin", "FETCH_HEAD:refs/heads/main")
	anew.becomesReady(pushed)
	// What had left Git was in the cluster alone.
	want = slices.DeleteFunc(want, func(identity string) bool { return strings.Contains(identity, "cat-web") })
	if diff := cmp.Diff(want, anew.identities()); diff != "" {
		t.Errorf("the new cluster is not like the lost one (-lost +new):\n%s", diff)
	}
}

// uids are those of tenants' namespaces.
func (w *world) uids() map[string]types.UID {
	w.Helper()
	var namespaces corev1.NamespaceList
	if err := w.Client.List(w.Context(), &namespaces, client.HasLabels{v1alpha1.LabelTenant}); err != nil {
		w.Fatal(err)
	}
	uids := map[string]types.UID{}
	for i := range namespaces.Items {
		if ns := &namespaces.Items[i]; ns.DeletionTimestamp == nil {
			uids[ns.Name] = ns.UID
		}
	}
	return uids
}

// runsOnThePage runs the block with a command, of the page about disasters, on the
// platform's etcd.
func (w *world) runsOnThePage(dir, command string) {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "operations", "disaster-recovery.md"))
	if err != nil {
		w.Fatal(err)
	}
	pki := filepath.Join(w.Dir, "pki")
	peer := fmt.Sprintf("https://127.0.0.1:%d", w.Ports.EtcdPeer)
	for name, value := range map[string]string{
		"ETCDCTL_ENDPOINTS": fmt.Sprintf("https://127.0.0.1:%d", w.Ports.Etcd),
		"ETCDCTL_CACERT":    filepath.Join(pki, "etcd-ca.crt"),
		"ETCDCTL_CERT":      filepath.Join(pki, "etcd-client.crt"),
		"ETCDCTL_KEY":       filepath.Join(pki, "etcd-client.key"),
		"DATA_DIR":          filepath.Join(w.Dir, "etcd"),
		"NAME":              "local", "CLUSTER": "local=" + peer, "PEER": peer,
	} {
		w.Setenv(name, value)
	}
	for _, b := range block.FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(b[3], command) {
			w.reads(w.T, dir, b[3])
			if w.Failed() {
				w.FailNow()
			}
			return
		}
	}
	w.Fatalf("the page shows no %q", command)
}
