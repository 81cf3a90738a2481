package attacks

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
	"github.com/aetherplatform/aether/policies"
)

// The operator itself, as a process, under its own identity, RBAC and all
// policies: it makes a namespace, puts it back, adopts one and lets one go, and
// is refused nothing on the way.
func TestOperatorWorksWithItsIdentityAndNoMore(t *testing.T) {
	w := buildWorld(t, testenv.Start(t))
	w.StartControllerManager(t)
	w.must(t, policies.Install(t.Context(), w.Client))
	log := w.runOperator(t)

	profile := &v1alpha1.NamespaceProfile{}
	w.must(t, yaml.UnmarshalStrict([]byte(profileYAML), profile))
	w.must(t, w.Client.Create(t.Context(), profile))
	web := &v1alpha1.TenantNamespace{}
	w.must(t, yaml.UnmarshalStrict([]byte(namespaceYAML), web))
	web.Name, web.Spec.Tenant = "acme-web", "acme"
	old := web.DeepCopy()
	old.Name = "acme-old"

	// One that is new, and one that is there already and permits its adoption.
	w.must(t, w.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: old.Name}}))
	w.must(t, w.as(t, platformUser).Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: old.Name}},
		client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"aetherplatform.cloud/adoptable-by":"acme"}}}`))))
	for _, tns := range []*v1alpha1.TenantNamespace{web, old} {
		w.must(t, w.as(t, platformUser).Create(t.Context(), tns))
		w.awaitReady(t, tns)
		if ns := w.fresh(t, tns.Name); ns.Labels[v1alpha1.LabelSealed] != "false" || ns.Labels[v1alpha1.LabelTenant] != "acme" {
			t.Errorf("%s is Ready with labels %v", ns.Name, ns.Labels)
		}
	}

	// Put back: nobody may take the default-deny, so an admin has to lift the policy.
	binding := object(bindingKind, "", "aether-owned-objects", nil)
	w.must(t, w.Client.Delete(t.Context(), binding))
	deny := object(networkPolicyKind, web.Name, "default-deny", nil)
	var uid types.UID
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(deny), deny); err != nil {
			return err
		}
		uid = deny.GetUID()
		return w.Client.Delete(ctx, deny)
	})
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(deny), deny); err != nil {
			return err
		}
		if deny.GetUID() == uid {
			return errNotYet
		}
		return nil
	})

	// Let go: it has left Git, and a person deletes what was kept.
	removed := old.DeepCopy()
	removed.Annotations = map[string]string{v1alpha1.AnnotationRemovedAt: "2026-01-01T00:00:00Z", v1alpha1.AnnotationRemovedIn: "main@sha1:0"}
	w.must(t, apply(t.Context(), w.operator(t), removed))
	w.must(t, w.as(t, platformUser).Delete(t.Context(), old))
	testenv.Eventually(t, func(ctx context.Context) error {
		return testenv.Gone(w.Client.Get(ctx, client.ObjectKey{Name: old.Name}, &corev1.Namespace{}))
	})

	for line := range strings.Lines(log()) {
		if strings.Contains(line, "forbidden") || strings.Contains(line, "denied") {
			t.Errorf("the operator was refused something: %s", line)
		}
	}

	// Reinstalling the CRDs deleted people's namespaces in an operator of this kind
	// (capsule#1181).
	t.Run("and the deletion of its CRD takes no namespace", func(t *testing.T) {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "tenantnamespaces.aetherplatform.cloud"}}
		w.must(t, w.Client.Delete(t.Context(), crd))
		testenv.Eventually(t, func(ctx context.Context) error {
			return testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(crd), crd))
		})
		if ns := w.fresh(t, web.Name); ns.Status.Phase != corev1.NamespaceActive || ns.Labels[v1alpha1.LabelSealed] != "false" {
			t.Errorf("the Namespace is %s with labels %v", ns.Status.Phase, ns.Labels)
		}
		w.must(t, w.Client.Get(t.Context(), client.ObjectKeyFromObject(deny), deny))
	})
}

func (w *world) awaitReady(t *testing.T, tns *v1alpha1.TenantNamespace) {
	t.Helper()
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(tns), tns); err != nil {
			return err
		}
		ready := apimeta.FindStatusCondition(tns.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionTrue {
			return fmt.Errorf("%s is not Ready: %+v", tns.Name, ready)
		}
		return nil
	})
}

// runOperator starts the program as the operator's service account, until the
// test ends, and returns what it has logged.
func (w *world) runOperator(t *testing.T) (log func() string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "namespace-operator")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, testenv.Root()+"/cmd/namespace-operator").CombinedOutput(); err != nil {
		t.Fatalf("cannot build the operator: %v\n%s", err, out)
	}
	path := filepath.Join(t.TempDir(), "operator.log")
	file, err := os.Create(path)
	w.must(t, err)
	cmd := exec.CommandContext(t.Context(), bin, "--leader-elect", "--metrics-bind-address=0", "--health-probe-bind-address=0",
		"--kubeconfig="+w.Kubeconfig(t, operatorUser, "system:serviceaccounts", "system:serviceaccounts:"+v1alpha1.SystemNamespace))
	cmd.Stdout, cmd.Stderr = file, file
	w.must(t, cmd.Start())
	log = func() string {
		data, err := os.ReadFile(path)
		w.must(t, err)
		return string(bytes.TrimSpace(data))
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the operator's log:\n%s", log())
		}
	})
	return log
}
