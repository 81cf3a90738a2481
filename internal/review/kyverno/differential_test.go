package kyverno

import (
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	policiesv1beta1 "github.com/kyverno/api/api/policies.kyverno.io/v1beta1"
	kyvernov1 "github.com/kyverno/kyverno/api/kyverno/v1"
	"github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno/apis/v1alpha1"
	"github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno/processor"
	"github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno/store"
	"github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno/variables"
	engineapi "github.com/kyverno/kyverno/pkg/engine/api"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/internal/review/policy"
)

// policiesToCompare are one of each sort that both can evaluate.
const policiesToCompare = `
apiVersion: policies.kyverno.io/v1
kind: ValidatingPolicy
metadata: {name: labelled}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps, services], operations: [CREATE]}]
  variables: [{name: labels, expression: "object.metadata.?labels.orValue({})"}]
  validations: [{expression: "'app' in variables.labels", messageExpression: "'no app on ' + object.metadata.name"}]
---
apiVersion: policies.kyverno.io/v1
kind: ValidatingPolicy
metadata: {name: pods}
spec:
  validationActions: [Audit]
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  matchConditions: [{name: c, expression: "object.metadata.name != 'exempt'"}]
  validations: [{expression: "object.spec.containers.all(c, c.image.contains(':'))", message: "no tag"}]
---
apiVersion: policies.kyverno.io/v1
kind: ValidatingPolicy
metadata: {name: prod}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {tier: prod}}
    resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], resources: ["*"], operations: ["*"]}]
  validations: [{expression: "object.data.size == '1'", message: "not in prod"}]
---
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: pattern}
spec:
  validationFailureAction: Enforce
  rules:
  - {name: small, match: {any: [{resources: {kinds: [ConfigMap]}}]}, validate: {message: "too large", pattern: {data: {size: "<5"}}}}
  - {name: tag, match: {any: [{resources: {kinds: [Pod]}}]}, exclude: {any: [{resources: {namespaces: ["dev*"]}}]}, validate: {message: "no tag", pattern: {spec: {containers: [{image: "*:*"}]}}}}
---
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: various}
spec:
  rules:
  - {name: any, match: {any: [{resources: {kinds: ["*"], names: ["m*"]}}]}, validate: {message: "neither", anyPattern: [{metadata: {labels: {app: "?*"}}}, {metadata: {labels: {name: "?*"}}}]}}
  - {name: deny, match: {all: [{resources: {kinds: [v1/ConfigMap], selector: {matchLabels: {app: web}}}}]}, preconditions: {all: [{key: "{{request.object.data.size}}", operator: GreaterThan, value: 3}]}, validate: {message: "{{request.object.metadata.name}} is denied", deny: {}}}
  - {name: loop, match: {any: [{resources: {kinds: [Pod]}}]}, validate: {message: "latest", foreach: [{list: "request.object.spec.containers", deny: {conditions: {any: [{key: "{{element.image}}", operator: Equals, value: "*:latest"}]}}}]}}
  - {name: secure, match: {any: [{resources: {kinds: [Pod], namespaceSelector: {matchLabels: {tier: prod}}}}]}, validate: {podSecurity: {level: restricted, version: latest}}}
  - {name: cel, match: {any: [{resources: {kinds: [Service]}}]}, validate: {cel: {expressions: [{expression: "object.spec.type != 'NodePort'", message: "no node ports"}]}}}
`

const objectsToCompare = `
{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: prod, labels: {app: web}}, data: {size: "9"}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: small, namespace: dev}, data: {size: "1"}}
---
{apiVersion: v1, kind: Service, metadata: {name: s, namespace: dev}, spec: {type: NodePort}}
---
{apiVersion: v1, kind: Service, metadata: {name: ms, namespace: prod, labels: {name: s}}, spec: {type: ClusterIP}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: prod}, spec: {hostNetwork: true, containers: [{name: a, image: nginx}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: exempt, namespace: dev}, spec: {containers: [{name: a, image: "nginx:latest"}, {name: b, image: "nginx:1"}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: prod}, spec: {template: {spec: {containers: [{name: a, image: "nginx:latest"}]}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: j, namespace: dev}, spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: nginx}]}}}}}}
`

// tiers are the labels of the Namespaces that the objects are in.
var tiers = map[string]map[string]string{"prod": {"tier": "prod"}, "dev": {"tier": "dev"}}

// What `kyverno apply` fails is what is reported here, policy by policy and object
// by object.
func TestResultsAreThoseOfKyvernosOwnCommand(t *testing.T) {
	ours, _ := loaded(t, policiesToCompare)
	compared := 0
	for _, o := range objects(t, objectsToCompare) {
		theirs := kyvernoApply(t, o)
		for _, p := range ours {
			var got []string
			for _, v := range p.Judge(t.Context(), creation(o, tiers[o.GetNamespace()])) {
				if v.Kind == policy.Unknown {
					t.Errorf("%s on %s: %s", p.Name(), o.GetName(), v.Message)
				}
				got = append(got, v.Message)
			}
			slices.Sort(got)
			compared += len(got)
			if diff := cmp.Diff(theirs[p.Name()], got); diff != "" {
				t.Errorf("%s on %s %s (-kyverno +ours):\n%s", p.Name(), o.GetKind(), o.GetName(), diff)
			}
		}
	}
	if compared < 10 {
		t.Errorf("%d violations were compared, want a table that says something", compared)
	}
}

// kyvernoApply is what Kyverno's command fails an object for, by policy.
func kyvernoApply(t *testing.T, o *unstructured.Unstructured) map[string][]string {
	t.Helper()
	p := &processor.PolicyProcessor{
		Store: &store.Store{}, Resource: *o.DeepCopy(), Out: io.Discard, Rc: &processor.ResultCounts{},
		NamespaceSelectorMap: tiers, RESTMapper: mapper(),
	}
	p.Store.SetLocal(true)
	for _, d := range objects(t, policiesToCompare) {
		var into any
		if d.GetKind() == "ClusterPolicy" {
			c := &kyvernov1.ClusterPolicy{}
			p.Policies = append(p.Policies, c)
			into = c
		} else {
			v := &policiesv1beta1.ValidatingPolicy{}
			p.ValidatingPolicies = append(p.ValidatingPolicies, v)
			into = v
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object, into); err != nil {
			t.Fatal(err)
		}
	}
	values := &v1alpha1.ValuesSpec{}
	for name, labels := range tiers {
		values.Namespaces = append(values.Namespaces, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	var err error
	if p.Variables, err = variables.New(io.Discard, nil, "", "", values); err != nil {
		t.Fatal(err)
	}
	responses, err := p.ApplyPoliciesOnResource()
	if err != nil {
		t.Fatal(err)
	}
	failed := map[string][]string{}
	for _, r := range responses {
		name := r.Policy().GetName()
		for i := range r.PolicyResponse.Rules {
			rule := &r.PolicyResponse.Rules[i]
			if !rule.HasStatus(engineapi.RuleStatusFail, engineapi.RuleStatusError) {
				continue
			}
			message := rule.Message()
			if r.Policy().AsKyvernoPolicy() != nil { // a ValidatingPolicy has no rules to name
				message = rule.Name() + ": " + message
			}
			failed[name] = append(failed[name], policy.OneLine(message))
		}
		slices.Sort(failed[name])
	}
	return failed
}

// mapper knows the kinds of the objects.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, k := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "ConfigMap"},
		{Version: "v1", Kind: "Service"},
		{Version: "v1", Kind: "Pod"},
		{Group: "apps", Version: "v1", Kind: "Deployment"},
		{Group: "batch", Version: "v1", Kind: "CronJob"},
	} {
		m.Add(k, meta.RESTScopeNamespace)
	}
	return m
}
