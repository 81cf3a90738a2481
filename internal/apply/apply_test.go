package apply

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/observe"
	"github.com/aetherplatform/aether/internal/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) { testenv.Main(m, &env) }

// bench is a namespace to apply into, and what was sent.
type bench struct {
	*testing.T
	*Applier
	namespace string

	mu   sync.Mutex
	sent []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "apply-"}}
	if err := env.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, namespace: ns.Name}
	config := rest.CopyConfig(env.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.sent = append(b.sent, req.Method)
			return next.RoundTrip(req)
		})
	})
	applier, err := New(config, env.Client.RESTMapper(), v1alpha1.FieldOwnerNamespace)
	if err != nil {
		t.Fatal(err)
	}
	b.Applier = applier
	return b
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// requests are those since the last call.
func (b *bench) requests() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	sent := strings.Join(b.sent, " ")
	b.sent = nil
	return sent
}

func (b *bench) object(text string) *unstructured.Unstructured {
	b.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		b.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(data); err != nil {
		b.Fatal(err)
	}
	o.SetNamespace(b.namespace)
	return o
}

// patch is somebody else's.
func (b *bench) patch(o *unstructured.Unstructured, body string) {
	b.Helper()
	if err := env.Client.Patch(b.Context(), o.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(body)), client.FieldOwner("somebody")); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) live(o *unstructured.Unstructured) *unstructured.Unstructured {
	b.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(o.GroupVersionKind())
	if err := env.Client.Get(b.Context(), client.ObjectKeyFromObject(o), live); err != nil {
		b.Fatal(err)
	}
	return live
}

func (b *bench) ok(o *unstructured.Unstructured, err error) *unstructured.Unstructured {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	return o
}

const quota = `
apiVersion: v1
kind: ResourceQuota
metadata:
  name: quota
  labels: {aetherplatform.cloud/managed-by: namespace-operator, app.kubernetes.io/part-of: base}
spec: {hard: {pods: "20", requests.cpu: "2"}}
`

const deny = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, labels: {aetherplatform.cloud/managed-by: namespace-operator}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`

const binding = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editor, labels: {aetherplatform.cloud/managed-by: namespace-operator}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: editor}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
`

func TestEachWriteTakesOneRequest(t *testing.T) {
	b := newBench(t)
	b.ok(b.Create(t.Context(), b.object(quota)))
	if got := b.requests(); got != "POST" {
		t.Errorf("creating took %s", got)
	}
	b.ok(b.Apply(t.Context(), b.object(strings.Replace(quota, `pods: "20"`, `pods: "30"`, 1))))
	if got := b.requests(); got != "PATCH" {
		t.Errorf("changing took %s", got)
	}
}

func TestWhatIsDroppedGoesThoughItWasCreatedWithAPost(t *testing.T) {
	b := newBench(t)
	b.ok(b.Create(t.Context(), b.object(quota)))
	less := b.object(strings.NewReplacer(`, requests.cpu: "2"`, "", ", app.kubernetes.io/part-of: base", "").Replace(quota))
	live := b.ok(b.Apply(t.Context(), less))
	hard, _, _ := unstructured.NestedStringMap(live.Object, "spec", "hard")
	if diff := cmp.Diff(map[string]string{"pods": "20"}, hard); diff != "" {
		t.Errorf("spec.hard (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}, live.GetLabels()); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	b.requests()
	b.ok(b.Apply(t.Context(), b.object(strings.Replace(quota, `pods: "20"`, `pods: "30"`, 1))))
	b.ok(b.Apply(t.Context(), less))
	if got := b.requests(); got != "PATCH PATCH" {
		t.Errorf("once the fields are ours, two changes took %s", got)
	}
}

// Nor is the object made anew for it: to delete a policy would open what it closes.
func TestAPartWhoseLastFieldGoesLeavesNothingBehind(t *testing.T) {
	for name, c := range map[string]struct{ object, part string }{
		"a policy of Cilium": {part: "enableDefaultDeny", object: `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rules, labels: {aetherplatform.cloud/managed-by: namespace-operator}}
spec: {endpointSelector: {}, ingress: [{}], enableDefaultDeny: {ingress: true}}
`},
		"a Kustomization of Flux": {part: "postBuild", object: `
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, labels: {aetherplatform.cloud/managed-by: namespace-operator}}
spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: app}, postBuild: {substitute: {region: north}}}
`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			with := b.object(c.object)
			made := b.ok(b.Create(t.Context(), with))
			without := with.DeepCopy()
			unstructured.RemoveNestedField(without.Object, "spec", c.part)
			answer := b.ok(b.Apply(t.Context(), without))
			if _, there, _ := unstructured.NestedFieldNoCopy(answer.Object, "spec", c.part); there {
				t.Errorf("spec.%s is still there: %v", c.part, answer.Object["spec"])
			}
			if answer.GetUID() != made.GetUID() {
				t.Error("it was deleted and made anew")
			}
			b.ok(b.Apply(t.Context(), with))
			b.ok(b.Apply(t.Context(), without))
			live := b.live(with)
			if _, there, _ := unstructured.NestedFieldNoCopy(live.Object, "spec", c.part); there || live.GetUID() != made.GetUID() {
				t.Errorf("the second time round: UID %s, not %s; %v", live.GetUID(), made.GetUID(), live.Object["spec"])
			}
		})
	}
}

func TestNothingForeignRemains(t *testing.T) {
	cases := map[string]struct {
		why, object string
		foreign     []string // merge patches
	}{
		"a changed value": {
			why: "the first apply takes it back", object: quota,
			foreign: []string{`{"spec":{"hard":{"pods":"999"}}}`},
		},
		"a key more": {
			why: "server-side apply leaves another's keys", object: quota,
			foreign: []string{`{"spec":{"hard":{"secrets":"1"}}}`},
		},
		"a key less": {
			why: "the namespace would be unbounded", object: quota,
			foreign: []string{`{"spec":{"hard":{"requests.cpu":null}}}`},
		},
		"a selector": {
			why: "the policy would hold for fewer Pods", object: deny,
			foreign: []string{`{"spec":{"podSelector":{"matchLabels":{"a":"b"}}}}`},
		},
		"a rule": {
			why: "it opens everything", object: deny,
			foreign: []string{`{"spec":{"egress":[{}]}}`},
		},
		"a label of ours": {
			why: "policies go by them", object: deny,
			foreign: []string{`{"metadata":{"labels":{"aetherplatform.cloud/sealed":"false"}}}`},
		},
		"an owner": {
			why: "the object would be deleted with it", object: deny,
			foreign: []string{`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"1"}]}}`},
		},
		"a subject": {
			why: "it gives rights", object: binding,
			foreign: []string{`{"subjects":[{"kind":"User","name":"mallory","apiGroup":"rbac.authorization.k8s.io"}]}`},
		},
		"an unowned field": {
			why: "no apply removes what nobody owns", object: deny,
			foreign: []string{`{"spec":{"podSelector":{"matchLabels":{"a":"b"}}}}`, `{"metadata":{"managedFields":[{}]}}`},
		},
		"an unowned owner and label": {
			why: "no apply removes what nobody owns", object: deny,
			foreign: []string{
				`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"1"}],"labels":{"aetherplatform.cloud/x":"y"}}}`,
				`{"metadata":{"managedFields":[{}]}}`,
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, born := range []string{"with a POST", "with an apply"} {
				b := newBench(t)
				o := b.object(tc.object)
				want := b.ok(b.Create(t.Context(), o))
				if born == "with an apply" {
					want = b.ok(b.Apply(t.Context(), o))
				}
				b.patch(o, `{"metadata":{"annotations":{"example.com/mine":"yes"},"finalizers":["example.com/mine"]}}`)
				for _, body := range tc.foreign {
					b.patch(o, body)
				}
				before := b.live(o).GetResourceVersion()
				if diff := cmp.Diff(observe.Content(want), observe.Content(b.ok(b.DryRun(t.Context(), o)))); diff != "" {
					t.Errorf("%s: born %s: a dry-run says (-want +got):\n%s", tc.why, born, diff)
				}
				if b.live(o).GetResourceVersion() != before {
					t.Errorf("%s: born %s: a dry-run changed something", tc.why, born)
				}
				answer := b.ok(b.Repair(t.Context(), o, observe.HashOf(want)))
				live := b.live(o)
				if diff := cmp.Diff(observe.Content(want), observe.Content(live)); diff != "" {
					t.Errorf("%s: born %s: content (-want +got):\n%s", tc.why, born, diff)
				}
				if observe.HashOf(answer) != observe.HashOf(live) {
					t.Errorf("born %s: the answer is not what is there", born)
				}
				if live.GetAnnotations()["example.com/mine"] != "yes" || len(live.GetFinalizers()) != 1 {
					t.Errorf("born %s: what is others' is gone: %v", born, live.Object["metadata"])
				}
				b.patch(o, `{"metadata":{"finalizers":null}}`)
			}
		})
	}
}

func TestOtherDefaultsOfTheAPIServerAreNoDrift(t *testing.T) {
	b := newBench(t)
	o := b.object(deny)
	b.ok(b.Create(t.Context(), o))
	b.requests()
	b.ok(b.Repair(t.Context(), o, observe.Hash{1})) // as an older API server had answered
	if got := b.requests(); got != "PATCH POST" {
		t.Errorf("took %s, want an apply and a rehearsal, and no replacement", got)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(o.GroupVersionKind())
	if err := env.Client.List(t.Context(), list, client.InNamespace(b.namespace)); err != nil || len(list.Items) != 1 {
		t.Errorf("a rehearsal left %d objects (%v)", len(list.Items), err)
	}
}

func TestImmutableFields(t *testing.T) {
	t.Run("are changed by making the object anew, where that loses nothing", func(t *testing.T) {
		b := newBench(t)
		b.ok(b.Create(t.Context(), b.object(binding)))
		other := b.object(strings.Replace(binding, "name: editor}\nsubjects", "name: viewer}\nsubjects", 1))
		dry := b.ok(b.DryRun(t.Context(), other))
		if ref, _, _ := unstructured.NestedString(dry.Object, "roleRef", "name"); ref != "viewer" || dry.GetName() != "editor" {
			t.Errorf("a dry-run says %q of %q", ref, dry.GetName())
		}
		live := b.ok(b.Apply(t.Context(), other))
		if ref, _, _ := unstructured.NestedString(live.Object, "roleRef", "name"); ref != "viewer" {
			t.Errorf("roleRef is %q", ref)
		}
	})
	t.Run("leave the object in place, where what we want is wrong", func(t *testing.T) {
		b := newBench(t)
		was := b.ok(b.Create(t.Context(), b.object(binding)))
		_, err := b.Apply(t.Context(), b.object(strings.Replace(binding, "kind: User", "kind: Nobody", 1)))
		if !apierrors.IsInvalid(err) || !strings.HasPrefix(err.Error(), "cannot apply RoleBinding "+b.namespace+"/editor: ") {
			t.Errorf("error is %v", err)
		}
		if b.live(was).GetUID() != was.GetUID() {
			t.Error("deleted for something that cannot be")
		}
	})
	t.Run("are an error, where data would be lost", func(t *testing.T) {
		b := newBench(t)
		const claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n" +
			"spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: a}\n"
		was := b.ok(b.Create(t.Context(), b.object(claim)))
		_, err := b.Apply(t.Context(), b.object(strings.Replace(claim, "storageClassName: a", "storageClassName: b", 1)))
		if !apierrors.IsInvalid(err) {
			t.Errorf("error is %v", err)
		}
		if b.live(was).GetUID() != was.GetUID() {
			t.Error("data is lost")
		}
	})
}

func TestDeleteTakesOnlyTheVeryObject(t *testing.T) {
	b := newBench(t)
	o := b.ok(b.Create(t.Context(), b.object(deny)))
	if err := b.Delete(t.Context(), o.GroupVersionKind(), b.namespace, o.GetName(), "another"); err != nil {
		t.Errorf("deleting one that is not there any more: %v", err)
	}
	b.live(o)
	for range 2 {
		if err := b.Delete(t.Context(), o.GroupVersionKind(), b.namespace, o.GetName(), o.GetUID()); err != nil {
			t.Error(err)
		}
	}
}

func TestObjectsWithoutANamespaceAreRefused(t *testing.T) {
	b := newBench(t)
	o := b.object(deny)
	o.SetNamespace("")
	_, err := b.Create(t.Context(), o)
	if err == nil || err.Error() != "cannot create NetworkPolicy default-deny: it has no namespace" {
		t.Errorf("error is %v", err)
	}
}
