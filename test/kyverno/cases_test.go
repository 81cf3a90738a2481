package kyverno

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/testenv"
)

// folder is one of policies/kyverno: policies with their cases.
type folder struct {
	name       string
	policies   []*unstructured.Unstructured
	namespaces []*corev1.Namespace
	cases      []expectation
}

// expectation is what is to become of an object by a policy.
type expectation struct {
	policy string
	object *unstructured.Unstructured
	admits bool
	// schema: the API server's own validation refuses it too, before any policy does.
	schema bool
}

func (e expectation) String() string {
	return fmt.Sprintf("%s %s/%s", e.object.GetKind(), e.object.GetNamespace(), e.object.GetName())
}

// floor says whether a policy is essential to isolation, and so exists as a
// ValidatingAdmissionPolicy too.
func floor(policy *unstructured.Unstructured) bool {
	return policy.GetLabels()["aetherplatform.cloud/floor"] == "true"
}

func (f folder) essential(policy string) bool {
	return slices.ContainsFunc(f.policies, func(p *unstructured.Unstructured) bool { return p.GetName() == policy && floor(p) })
}

// annotationSchema on a case says that the API server refuses it by itself.
const annotationSchema = "tests/api-server"

// folders reads policies/kyverno.
func folders(t testing.TB) []folder {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testenv.Root(), "policies", "kyverno", "*", "policy.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no policies below policies/kyverno: %v", err)
	}
	var all []folder
	for _, path := range paths {
		dir := filepath.Dir(path)
		f := folder{name: filepath.Base(dir), policies: decode(t, path)}
		var values struct {
			Namespaces []*corev1.Namespace `json:"namespaces"`
		}
		read(t, filepath.Join(dir, "values.yaml"), &values)
		f.namespaces = values.Namespaces
		var expected struct {
			Results []struct {
				Policy, Kind, Result string
				Resources            []string
			} `json:"results"`
		}
		read(t, filepath.Join(dir, "kyverno-test.yaml"), &expected)
		objects := decode(t, filepath.Join(dir, "resources.yaml"))
		for _, result := range expected.Results {
			for _, name := range result.Resources {
				i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool {
					return o.GetKind() == result.Kind && o.GetNamespace()+"/"+o.GetName() == name
				})
				if i < 0 {
					t.Fatalf("%s: kyverno-test.yaml expects something of %s %s, which is not in resources.yaml", f.name, result.Kind, name)
				}
				_, schema := objects[i].GetAnnotations()[annotationSchema]
				f.cases = append(f.cases, expectation{policy: result.Policy, object: objects[i], admits: result.Result == "pass", schema: schema})
			}
		}
		if len(f.cases) < len(objects) {
			t.Fatalf("%s: kyverno-test.yaml expects nothing of %d objects of resources.yaml", f.name, len(objects)-len(f.cases))
		}
		all = append(all, f)
	}
	return all
}

func read(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatalf("cannot read %s: %v", path, err)
	}
}

func decode(t testing.TB, path string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var objects []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(o); {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}

// populate makes what the cases refer to.
func populate(t testing.TB, c client.Client, all []folder) {
	t.Helper()
	for _, f := range all {
		for _, ns := range f.namespaces {
			if err := c.Create(t.Context(), ns.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			if f.name == "required" {
				continue
			}
			// What a profile has, so that nothing else than its policy refuses a case.
			defaults := corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
			}}
			if err := c.Create(t.Context(), &corev1.LimitRange{
				ObjectMeta: metav1.ObjectMeta{Name: "defaults", Namespace: ns.Name}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{defaults}},
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"low", "high"} {
		if err := c.Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 1}); err != nil {
			t.Fatal(err)
		}
	}
}

// holds tries the cases of those policies that are wanted, as dry runs, and asserts
// that it is the policy that refuses.
func holds(t *testing.T, c client.Client, all []folder, wanted func(folder, string) bool) {
	t.Helper()
	tried := 0
	for _, f := range all {
		for _, e := range f.cases {
			if !wanted(f, e.policy) {
				continue
			}
			tried++
			t.Run(f.name+" "+e.String(), func(t *testing.T) { e.check(t, c) })
		}
	}
	if tried == 0 {
		t.Error("no case was tried")
	}
}

func (e expectation) check(t *testing.T, c client.Client) {
	t.Helper()
	err := attempt(t.Context(), c, e.object)
	switch {
	case e.admits && err != nil:
		t.Errorf("is refused: %v", err)
	case e.admits:
	case err == nil:
		t.Error("is not refused")
	case e.schema && apierrors.IsInvalid(err):
	case !refusedBy(err, e.policy):
		t.Errorf("is refused, but not by %s: %v", e.policy, err)
	}
}

// refusedBy says whether an error is a refusal by a rule of the policy. That it could
// not be evaluated, or that Kyverno could not be asked, is none.
func refusedBy(err error, policy string) bool {
	if err == nil {
		return false
	}
	said := err.Error()
	if strings.Contains(said, "failed to evaluate") || strings.Contains(said, "resulted in error") {
		return false
	}
	return strings.Contains(said, "ValidatingAdmissionPolicy '"+policy+"'") && strings.Contains(said, "denied request:") ||
		strings.Contains(said, "denied the request:") && strings.Contains(said, "Policy "+policy+" failed:")
}

// attempt sends an object as the person in userinfo.yaml would, as a dry run.
func attempt(ctx context.Context, c client.Client, o *unstructured.Unstructured) error {
	o = o.DeepCopy()
	o.SetCreationTimestamp(metav1.Time{}) // of the offline cases alone
	return c.Create(ctx, o, client.DryRunAll)
}
