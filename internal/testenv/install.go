package testenv

import (
	"errors"
	"io"
	"io/fs"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/config/rbac"
	"github.com/aetherplatform/aether/policies"
)

// Install puts in place what an administrator installs for the namespace operator and the
// cluster controller: their Namespace, their rights and the admission policies.
func (e *Env) Install(t testing.TB) {
	t.Helper()
	if err := e.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"namespace-operator.yaml", "cluster-controller.yaml"} {
		e.create(t, rbac.FS, name)
	}
	if err := policies.Install(t.Context(), e.Client); err != nil {
		t.Fatal(err)
	}
}

// create creates the objects of a file.
func (e *Env) create(t testing.TB, files fs.FS, name string) {
	t.Helper()
	file, err := files.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	manifests := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := manifests.Decode(&o.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if err := e.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}
