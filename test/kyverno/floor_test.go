package kyverno

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/aetherplatform/aether/internal/testenv"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// tenantUser is the person in userinfo.yaml. RBAC refuses her nothing here: what is
// refused, a policy refuses.
const tenantUser = "alice@example.com"

// withoutPodSecurity: what the Pod Security admission of the API server refuses, no
// policy is asked about any more.
func withoutPodSecurity() testenv.Option {
	return testenv.WithFlag("disable-admission-plugins", "ServiceAccount", "PodSecurity")
}

// The API server keeps the floor by itself, with nothing else running.
func TestFloorHoldsWithoutKyverno(t *testing.T) {
	e := testenv.Start(t, withoutPodSecurity())
	all := folders(t)
	installFloor(t, e, all)
	populate(t, e.Client, all)
	alice := e.ClientAs(t, tenantUser, "system:masters")
	awaitRefusal(t, alice, all, folder.essential)

	holds(t, alice, all, folder.essential)
}

// An object of a Namespace that is no tenant's is nobody's business.
func TestFloorLeavesOtherNamespacesAlone(t *testing.T) {
	e := testenv.Start(t, withoutPodSecurity())
	all := folders(t)
	installFloor(t, e, all)
	populate(t, e.Client, all)
	alice := e.ClientAs(t, tenantUser, "system:masters")
	awaitRefusal(t, alice, all, folder.essential)
	if err := e.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nobodys"}}); err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, c := range f.cases {
			if c.admits || c.schema || strings.Contains(c.object.GetName(), "system-node-critical") {
				continue
			}
			elsewhere := c.object.DeepCopy()
			elsewhere.SetNamespace("nobodys")
			if err := attempt(t.Context(), alice, elsewhere); err != nil && strings.Contains(err.Error(), "aether-") {
				t.Errorf("%s %s is refused where no tenant is: %v", f.name, c, err)
			}
		}
	}
}

// installFloor applies the generated policies alone.
func installFloor(t testing.TB, e *testenv.Env, all []folder) {
	t.Helper()
	for _, f := range all {
		path := filepath.Join(testenv.Root(), "policies", "admission", f.name, "policy.yaml")
		if !floor(f.policies[0]) {
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s is not essential and is in policies/admission", f.name)
			}
			continue
		}
		for _, o := range decode(t, path) {
			if err := e.Client.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// awaitRefusal returns once each policy refuses one of its cases: a policy is
// enforced a moment after it is stored, each in its own time.
func awaitRefusal(t testing.TB, c client.Client, all []folder, wanted func(folder, string) bool) {
	t.Helper()
	for _, f := range all {
		seen := map[string]bool{}
		for _, e := range f.cases {
			if e.admits || e.schema || seen[e.policy] || !wanted(f, e.policy) {
				continue
			}
			seen[e.policy] = true
			testenv.Eventually(t, func(ctx context.Context) error {
				err := attempt(ctx, c, e.object)
				if !refusedBy(err, e.policy) {
					return fmt.Errorf("%s does not refuse %s yet: %v", e.policy, e, err)
				}
				return nil
			})
		}
	}
}

// What `kubectl apply -k` installs is every policy.
func TestKustomizationsNameEveryPolicy(t *testing.T) {
	for _, dir := range []string{"admission", "kyverno"} {
		paths, err := filepath.Glob(filepath.Join(testenv.Root(), "policies", dir, "*", "policy.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, path := range paths {
			want = append(want, filepath.Base(filepath.Dir(path))+"/policy.yaml")
		}
		var got struct{ Resources []string }
		read(t, filepath.Join(testenv.Root(), "policies", dir, "kustomization.yaml"), &got)
		if diff := cmp.Diff(want, got.Resources); diff != "" {
			t.Errorf("policies/%s/kustomization.yaml (-want +got):\n%s", dir, diff)
		}
	}
}

// The rule that Kyverno applies and the one that the API server does are one text.
func TestFloorIsWhatKyvernoHolds(t *testing.T) {
	for _, f := range folders(t) {
		if !floor(f.policies[0]) {
			continue
		}
		made := decode(t, filepath.Join(testenv.Root(), "policies", "admission", f.name, "policy.yaml"))
		for i, p := range f.policies {
			if got := made[2*i]; got.GetName() != p.GetName() || !bytes.Equal(rules(t, p), rules(t, got)) {
				t.Errorf("%s: run make generate", p.GetName())
			}
			if got := made[2*i+1]; got.GetKind() != "ValidatingAdmissionPolicyBinding" {
				t.Errorf("%s has no binding", p.GetName())
			}
		}
	}
}

func rules(t *testing.T, p *unstructured.Unstructured) []byte {
	t.Helper()
	spec, _, err := unstructured.NestedMap(p.Object, "spec")
	if err != nil {
		t.Fatal(err)
	}
	delete(spec, "validationActions")
	delete(spec, "evaluation")
	data, err := (&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Spec", "spec": spec}}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return data
}
