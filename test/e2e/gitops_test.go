package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A team's own repository is applied with the namespace's own rights: what it holds
// for the namespace is there, what it holds for another namespace ends up in its
// own, and what is nobody's namespace is refused, and Flux says so.
func TestATeamsOwnRepositoryIsAppliedWithTheNamespacesOwnRights(t *testing.T) {
	w := newWorld(t, fleetOf("ant", "bee"))
	app := w.application("ant", "app")
	app.pushes("Begin", map[string]string{"deploy/settings.yaml": configMap("settings", "", "one")})

	handedOver := namespaceYAML("ant", "ant-web") + "  gitops:\n    url: " + app.url + "\n    path: ./deploy\n    interval: 1m\n    secretName: git-credentials\n"
	w.becomesReady(w.pushes("Hand ant-web over", map[string]string{"ant/namespaces/web.yaml": handedOver}))
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ant-web", Name: "git-credentials"},
		StringData: map[string]string{"username": app.user, "password": app.token},
	})
	w.fetches("ant-web")
	w.eventually(time.Minute, "the team's ConfigMap", func() bool { return w.setting("ant-web", "settings") == "one" })

	begun := time.Now()
	app.pushes("Change it", map[string]string{"deploy/settings.yaml": configMap("settings", "", "two")})
	w.fetches("ant-web")
	w.eventually(time.Minute, "the team's change", func() bool { return w.setting("ant-web", "settings") == "two" })
	t.Logf("a push to the team's repository was applied in %.2f s", time.Since(begun).Seconds())

	app.pushes("Write to a neighbour", map[string]string{"deploy/theirs.yaml": configMap("theirs", "bee-web", "ant was here")})
	w.fetches("ant-web")
	w.eventually(time.Minute, "it in the team's own namespace", func() bool { return w.setting("ant-web", "theirs") != "" })
	if got := w.setting("bee-web", "theirs"); got != "" {
		t.Errorf("ant's repository wrote %q into bee-web", got)
	}

	app.pushes("Take the cluster", map[string]string{"deploy/power.yaml": `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: ant-power
rules:
- {apiGroups: ["*"], resources: ["*"], verbs: ["*"]}
`})
	w.fetches("ant-web")
	said := ""
	w.eventually(time.Minute, "Flux saying that it may not", func() bool {
		said = w.kustomization("ant-web")
		return strings.Contains(said, "forbidden")
	})
	if who := "system:serviceaccount:ant-web:deploy"; !strings.Contains(said, who) {
		t.Errorf("Flux says %q, not that %s was refused", said, who)
	}
	err := w.Client.Get(t.Context(), client.ObjectKey{Name: "ant-power"}, &rbacv1.ClusterRole{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the ClusterRole of ant's repository: %v, want that it is not there", err)
	}
}

// application is a team's own repository on the forge.
type application struct {
	*world
	url, user, token string
}

// application makes a private repository with a user who reads and writes it.
func (w *world) application(owner, name string) *application {
	w.Helper()
	admin, err := w.Admin()
	if err != nil {
		w.Fatal(err)
	}
	a := &application{url: admin.URL + "/" + owner + "/" + name + ".git", user: owner + "-team"}
	user := *admin
	user.Name, user.Password = a.user, "only-for-a-token"
	for _, do := range []func() error{
		func() error { return admin.EnsureOrg(w.Context(), owner) },
		func() error { return admin.EnsureRepository(w.Context(), owner, name) },
		func() error { return admin.EnsureUser(w.Context(), user.Name, user.Password) },
		func() error { return admin.Share(w.Context(), owner, name, user.Name, "write") },
		func() error {
			a.token, err = user.Token(w.Context(), name, "write:repository")
			return err
		},
	} {
		if err := do(); err != nil {
			w.Fatal(err)
		}
	}
	a.world = &world{T: w.T, Platform: w.Platform, checkout: filepath.Join(w.TempDir(), name)}
	if err := os.Mkdir(a.checkout, 0o700); err != nil {
		w.Fatal(err)
	}
	a.git("init", "--quiet", "--initial-branch=main")
	a.git("remote", "add", "origin", strings.Replace(a.url, "://", "://"+a.user+":"+a.token+"@", 1))
	return a
}

// pushes commits files, in the repository's own folders, and pushes them.
func (a *application) pushes(message string, files map[string]string) {
	a.Helper()
	write(a, a.checkout, files)
	a.git("add", "--all")
	a.git("commit", "--quiet", "--message", message)
	a.git("push", "--quiet", "origin", "HEAD:main")
}

// fetches asks Flux to look at a namespace's repository now, as `flux reconcile` does.
func (w *world) fetches(namespace string) {
	w.Helper()
	source := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app"}}
	patch := client.MergeFrom(source.DeepCopy())
	source.Annotations = map[string]string{fluxmeta.ReconcileRequestAnnotation: time.Now().Format(time.RFC3339Nano)}
	if err := w.Client.Patch(w.Context(), source, patch); err != nil {
		w.Fatal(err)
	}
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.Client.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// setting is the value that a ConfigMap of the test's holds; empty where it is not there.
func (w *world) setting(namespace, name string) string {
	w.Helper()
	var found corev1.ConfigMap
	err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &found)
	if client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
	return found.Data["value"]
}

// kustomization is what Flux says of a namespace's repository.
func (w *world) kustomization(namespace string) string {
	w.Helper()
	var found kustomizev1.Kustomization
	if err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: "app"}, &found); err != nil {
		w.Fatal(err)
	}
	ready := meta.FindStatusCondition(found.Status.Conditions, "Ready")
	if ready == nil {
		return ""
	}
	return ready.Message
}

func configMap(name, namespace, value string) string {
	if namespace != "" {
		namespace = "\n  namespace: " + namespace
	}
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + namespace + "\ndata:\n  value: " + value + "\n"
}
