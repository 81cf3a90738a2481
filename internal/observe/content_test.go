package observe

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return o
}

const policy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny
  namespace: acme-web
  uid: 5f3b
  resourceVersion: "7"
  labels: {aetherplatform.cloud/tenant: acme}
spec: {podSelector: {}, policyTypes: [Ingress]}
`

const namespace = `
apiVersion: v1
kind: Namespace
metadata:
  name: acme-web
  labels: {aetherplatform.cloud/tenant: acme, pod-security.kubernetes.io/enforce: restricted, cost-center: shared}
  managedFields:
  - manager: aether-namespace
    operation: Update
    fieldsV1: {"f:metadata": {"f:labels": {"f:cost-center": {}}}}
spec: {finalizers: [kubernetes]}
`

const account = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: deploy, namespace: acme-web}
`

func TestHashTellsWhatIsOurs(t *testing.T) {
	cases := map[string]struct {
		why    string
		object string
		change func(*unstructured.Unstructured)
		differ bool
	}{
		"a spec": {
			why: "it is what was asked for", object: policy, differ: true,
			change: func(o *unstructured.Unstructured) { set(o, []any{"Egress"}, "spec", "policyTypes") },
		},
		"a field beside the spec": {
			why: "Cilium reads specs", object: policy, differ: true,
			change: func(o *unstructured.Unstructured) { set(o, []any{}, "specs") },
		},
		"Aether's label": {
			why: "watches and policies go by it", object: policy, differ: true,
			change: func(o *unstructured.Unstructured) { o.SetLabels(nil) },
		},
		"Aether's label added": {
			why: "nobody else may set one", object: policy, differ: true,
			change: func(o *unstructured.Unstructured) {
				o.SetAnnotations(map[string]string{"aetherplatform.cloud/x": "y"})
			},
		},
		"an owner": {
			why: "the object would be deleted with it", object: policy, differ: true,
			change: func(o *unstructured.Unstructured) {
				set(o, []any{map[string]any{"uid": "1"}}, "metadata", "ownerReferences")
			},
		},
		"another's annotation": {
			why: "it does nothing to us", object: policy,
			change: func(o *unstructured.Unstructured) { o.SetAnnotations(map[string]string{"example.com/x": "y"}) },
		},
		"a finalizer":     {why: "it is its controller's", object: policy, change: func(o *unstructured.Unstructured) { o.SetFinalizers([]string{"example.com/x"}) }},
		"a status":        {why: "it is observed, not asked for", object: policy, change: func(o *unstructured.Unstructured) { set(o, "x", "status", "y") }},
		"another version": {why: "every write has one", object: policy, change: func(o *unstructured.Unstructured) { o.SetResourceVersion("8") }},
		"a Namespace's finalizers in its spec": {
			why: "Kubernetes sets them", object: namespace,
			change: func(o *unstructured.Unstructured) { set(o, []any{}, "spec", "finalizers") },
		},
		"a Pod Security label": {
			why: "it decides which Pods are admitted, whoever sets it", object: namespace, differ: true,
			change: func(o *unstructured.Unstructured) {
				set(o, "v1.20", "metadata", "labels", "pod-security.kubernetes.io/enforce-version")
			},
		},
		"a label that we own": {
			why: "the profile set it", object: namespace, differ: true,
			change: func(o *unstructured.Unstructured) { set(o, "mine", "metadata", "labels", "cost-center") },
		},
		"a label that we own, taken over": {
			why: "who changes a field takes it from us", object: namespace, differ: true,
			change: func(o *unstructured.Unstructured) { o.SetManagedFields(nil) },
		},
		"a label of others on a Namespace": {
			why: "many tools set some", object: namespace,
			change: func(o *unstructured.Unstructured) { set(o, "yes", "metadata", "labels", "example.com/scanned") },
		},
		"pull secrets of a ServiceAccount": {
			why: "registry controllers add them", object: account,
			change: func(o *unstructured.Unstructured) {
				set(o, []any{map[string]any{"name": "x"}}, "imagePullSecrets")
			},
		},
		"automount of a ServiceAccount": {
			why: "it is ours to say", object: account, differ: true,
			change: func(o *unstructured.Unstructured) { set(o, false, "automountServiceAccountToken") },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := object(t, tc.object)
			after := before.DeepCopy()
			tc.change(after)
			if differ := HashOf(before) != HashOf(after); differ != tc.differ {
				t.Errorf("hashes differ: %v, want %v, because %s", differ, tc.differ, tc.why)
			}
		})
	}
}

func set(o *unstructured.Unstructured, value any, path ...string) {
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		panic(err)
	}
}

func TestHashIsReadAsItIsWritten(t *testing.T) {
	h := HashOf(object(t, policy))
	if got := ParseHash(h.String()); got != h {
		t.Errorf("%s is read as %s", h, got)
	}
	for _, bad := range []string{"", "x", "00", h.String() + "00"} {
		if got := ParseHash(bad); got != (Hash{}) {
			t.Errorf("%q is read as %s, want the hash that nothing has", bad, got)
		}
	}
}

func TestWatchesAndAnswersHashAlike(t *testing.T) {
	const text = `{"spec":{"int":1,"big":9007199254740993,"float":1.5,"exp":1e3,"list":[1,"a",null,true,{"n":-3}]}}`
	var answer, event map[string]any
	if err := utiljson.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	in := json.NewDecoder(strings.NewReader(text))
	in.UseNumber()
	if err := in.Decode(&event); err != nil {
		t.Fatal(err)
	}
	numbers(event)
	a, e := HashOf(&unstructured.Unstructured{Object: answer}), HashOf(&unstructured.Unstructured{Object: event})
	if a != e {
		t.Errorf("an answer to a write hashes to %s, the event of it to %s:\n%#v\n%#v", a, e, answer, event)
	}
}

func TestObjectsOfOddShapesHash(t *testing.T) {
	for _, text := range []string{"kind: Namespace\nmetadata: x", "metadata: {labels: [a]}", "kind: Namespace\nmetadata: {managedFields: x}", "{}"} {
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := utiljson.Unmarshal(data, &u.Object); err != nil {
			t.Fatal(err)
		}
		if HashOf(u) == (Hash{}) || HashOf(u) != HashOf(u.DeepCopy()) {
			t.Errorf("%q hashes to %s", text, HashOf(u))
		}
	}
}

func TestContentIsDecidedByName(t *testing.T) {
	if IsContent(schema.GroupKind{Kind: "ConfigMap"}, "metadata", "finalizers") {
		t.Error("finalizers are content")
	}
	if IsContent(schema.GroupKind{Kind: "Secret"}, "secrets") != true {
		t.Error("only a ServiceAccount's secrets are others'")
	}
}
