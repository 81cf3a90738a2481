//go:build node

package node

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/testenv"
)

// The example fleet's cluster came up with the platform, made by the cluster controller as
// a program of its own, with its own rights. Who may asks for a credential, is an admin
// with it, and is none any more once the group has no rights.
func TestTheFleetsClusterIsUsedByWhoMay(t *testing.T) {
	w := newWorld(t)
	inside := w.asksIn("acme-prod")
	if err := inside.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mine"}}); err != nil {
		t.Fatalf("who holds a credential cannot use the cluster: %v", err)
	}
	w.await("the controllers of the cluster to work", func() (bool, error) {
		err := inside.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "kube-root-ca.crt"}, &corev1.ConfigMap{})
		return err == nil, err
	})

	admins := &rbacv1.ClusterRoleBinding{}
	if err := inside.Get(t.Context(), client.ObjectKey{Name: "aether:admins"}, admins); err != nil {
		t.Fatal(err)
	}
	metav1.SetMetaDataAnnotation(&admins.ObjectMeta, rbacv1.AutoUpdateAnnotationKey, "false")
	admins.Subjects = nil
	if err := inside.Update(t.Context(), admins); err != nil {
		t.Fatal(err)
	}
	w.await("the credential to be worth nothing", func() (bool, error) {
		err := inside.List(t.Context(), &corev1.NamespaceList{})
		return apierrors.IsForbidden(err), err
	})
}

// asksIn is a client of a cluster, with a credential that `aether kubeconfig` gives.
func (w *world) asksIn(cluster string) client.Client {
	w.Helper()
	file := filepath.Join(w.TempDir(), cluster)
	out, err := exec.CommandContext(w.Context(), filepath.Join(testenv.Root(), "bin", "aether"),
		"kubeconfig", cluster, "--kubeconfig", w.Kubeconfig(), "--output", file).CombinedOutput()
	if err != nil {
		w.Fatalf("aether kubeconfig: %v\n%s", err, out)
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		w.Fatal(err)
	}
	if strings.Contains(string(out), "PRIVATE") {
		w.Error("it shows the key")
	}
	config.Dial, config.Timeout = w.dial, 5*time.Second
	inside, err := client.New(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		w.Fatalf("the API servers do not answer who asked for a credential: %v", err)
	}
	return inside
}
