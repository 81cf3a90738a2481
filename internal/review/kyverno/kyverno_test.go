package kyverno

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"bytes"
	"errors"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/policy"
	"io"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

// objects of a YAML text.
func objects(t testing.TB, text string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096); ; {
		o := &unstructured.Unstructured{}
		err := d.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
}

// loaded are the policies of a YAML text; what is not of Kyverno is beside them.
func loaded(t testing.TB, text string) ([]policy.Foreign, []review.Finding) {
	t.Helper()
	var declared []policy.Declared
	var beside []*unstructured.Unstructured
	for _, o := range objects(t, text) {
		switch o.GroupVersionKind().Group {
		case celGroup, classicGroup:
			declared = append(declared, policy.Declared{Unstructured: o, Place: review.Place{File: "policies/p.yaml", Line: 1}})
		default:
			beside = append(beside, o)
		}
	}
	return Engine{}.Load(declared, beside)
}

// writer is the operator, as package policy has it.
var writer = &user.DefaultInfo{
	Name:   "system:serviceaccount:aether-system:namespace-operator",
	Groups: []string{"system:serviceaccounts", "system:serviceaccounts:aether-system", "system:authenticated"},
}

// creation of an object, in a Namespace with these labels.
func creation(o *unstructured.Unstructured, labels map[string]string) *policy.Request {
	gvk := o.GroupVersionKind()
	resource, _ := meta.UnsafeGuessKindToResource(gvk)
	r := &policy.Request{
		Kind: gvk, Resource: resource, Namespace: o.GetNamespace(), Name: o.GetName(), Operation: admission.Create,
		Object: o, User: writer, Options: map[string]any{"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
		Secret: gvk.Group == "" && gvk.Kind == "Secret",
	}
	if r.Namespace != "" {
		r.In = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.Namespace, Labels: labels}}
	}
	return r
}

// update of an object, and its deletion.
func update(old, now *unstructured.Unstructured) *policy.Request {
	r := creation(now, nil)
	r.Operation, r.OldObject = admission.Update, old
	return r
}

func deletion(o *unstructured.Unstructured) *policy.Request {
	r := creation(o, nil)
	r.Operation, r.OldObject, r.Object = admission.Delete, o, nil
	return r
}

// said is what all policies have against a request, as a person would read it.
func said(policies []policy.Foreign, r *policy.Request) []string {
	var lines []string
	for _, p := range policies {
		for _, v := range p.Judge(context.Background(), r) {
			kind := map[policy.VerdictKind]string{policy.Denies: "denies", policy.Warns: "warns", policy.Unknown: "unknown"}[v.Kind]
			lines = append(lines, p.Name()+" "+kind+": "+v.Message)
		}
	}
	return lines
}

// vpol is a ValidatingPolicy on ConfigMaps and Secrets; more are further fields.
func vpol(expression, more string) string {
	return `apiVersion: policies.kyverno.io/v1
kind: ValidatingPolicy
metadata: {name: p}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps, secrets], operations: [CREATE, UPDATE]}]
  validations: [{expression: "` + expression + `", message: refused}]
` + more + "\n"
}

// cpol is a ClusterPolicy with one rule on ConfigMaps and Secrets.
func cpol(rule, more string) string {
	return `apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: c}
spec:
  rules:
  - name: r
    match: {any: [{resources: {kinds: [ConfigMap, Secret]}}]}
` + rule + "\n" + more + "\n"
}

const (
	enforce = "  validationFailureAction: Enforce"
	size    = "    validate: {message: too large, pattern: {data: {size: '<4'}}}"
	large   = `{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: web, labels: {app: web}}, data: {size: "9"}}`
	tooBig  = "c denies: r: validation error: too large. rule r failed at path /data/size/"
)

func TestWhatKyvernoSays(t *testing.T) {
	secret := `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: web}, data: {size: c2VjcmV0}}`
	pod := `{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: web}, spec: {hostNetwork: true, containers: [{name: a, image: nginx}]}}`
	deployment := `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: web}, spec: {selector: {}, template: {spec: {hostNetwork: true, containers: [{name: a, image: "nginx:1"}]}}}}`
	for name, c := range map[string]struct {
		why      string
		policies string
		object   string
		labels   map[string]string
		want     []string
	}{
		"a ValidatingPolicy that is met": {
			"nothing is said", vpol("object.data.size == '9'", ""), large, nil, nil,
		},
		"a ValidatingPolicy": {
			"Deny is the default", vpol("object.data.size == '1'", ""), large, nil, []string{"p denies: refused"},
		},
		"one that only audits": {
			"Audit refuses nothing", vpol("object.data.size == '1'", "  validationActions: [Audit]"), large, nil, []string{"p warns: refused"},
		},
		"one that is for background scans alone": {
			"the webhook never asks it", vpol("false", "  evaluation: {admission: {enabled: false}}"), large, nil, []string{"p warns: refused"},
		},
		"an expression that fails": {
			"Kyverno refuses what it cannot evaluate", vpol("object.data.missing == ''", ""), large, nil, []string{"p denies: error: no such key: missing"},
		},
		"a condition that fails": {
			"failurePolicy Fail is the default",
			vpol("false", `  matchConditions: [{name: c, expression: "object.data.missing == ''"}]`), large, nil,
			[]string{"p denies: failed to load context: no such key: missing"},
		},
		"a condition that fails and is ignored": {
			"failurePolicy Ignore is about conditions",
			vpol("false", "  failurePolicy: Ignore\n  matchConditions: [{name: c, expression: \"object.data.missing == ''\"}]"), large, nil, nil,
		},
		"variables, the Namespace and the user": {
			"they are the request's",
			vpol("variables.tier != 'prod' || !request.userInfo.username.endsWith('namespace-operator')", `  variables: [{name: tier, expression: "namespaceObject.metadata.labels.tier"}]`),
			large, map[string]string{"tier": "prod"}, []string{"p denies: refused"},
		},
		"a namespaceSelector that does not match": {
			"labels of the rendered Namespace decide",
			`{apiVersion: policies.kyverno.io/v1, kind: ValidatingPolicy, metadata: {name: p}, spec: {matchConstraints: {namespaceSelector: {matchLabels: {tier: prod}}, resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: ["*"], operations: ["*"]}]}, validations: [{expression: "false"}]}}`,
			large, map[string]string{"tier": "dev"}, nil,
		},
		"a NamespacedValidatingPolicy elsewhere": {
			"it is about its own Namespace",
			`{apiVersion: policies.kyverno.io/v1, kind: NamespacedValidatingPolicy, metadata: {name: p, namespace: other}, spec: {matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: ["*"]}]}, validations: [{expression: "false", message: "no"}]}}`,
			large, nil, nil,
		},
		"a NamespacedValidatingPolicy": {
			"named by its Namespace",
			`{apiVersion: policies.kyverno.io/v1, kind: NamespacedValidatingPolicy, metadata: {name: p, namespace: web}, spec: {matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: ["*"]}]}, validations: [{expression: "false", message: "no"}]}}`,
			large, nil, []string{"web/p denies: no"},
		},
		"a Pod's policy on a Deployment": {
			"Kyverno makes rules for controllers of Pods",
			`{apiVersion: policies.kyverno.io/v1, kind: ValidatingPolicy, metadata: {name: p}, spec: {matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]}, validations: [{expression: "!object.spec.hostNetwork", message: "no host"}]}}`,
			deployment, nil, []string{"p denies: no host"},
		},
		"an exception": {
			"of base, it holds",
			vpol("false", "") + "---\n{apiVersion: policies.kyverno.io/v1, kind: PolicyException, metadata: {name: e, namespace: web}, spec: {policyRefs: [{name: p, kind: ValidatingPolicy}], matchConditions: [{name: m, expression: \"object.metadata.name == 'm'\"}]}}",
			large, nil, nil,
		},
		"an exception that is over": {
			"expiresAt",
			vpol("false", "") + "---\n{apiVersion: policies.kyverno.io/v1, kind: PolicyException, metadata: {name: e, namespace: web}, spec: {expiresAt: \"2020-01-01T00:00:00Z\", policyRefs: [{name: p, kind: ValidatingPolicy}]}}",
			large, nil, []string{"p denies: refused"},
		},
		"an expression on a Secret": {
			"only what the policy wrote is shown", vpol("false", ""), secret, nil, []string{"p denies: refused"},
		},
		"what an expression makes of a Secret": {
			"it is not shown", `{apiVersion: policies.kyverno.io/v1, kind: ValidatingPolicy, metadata: {name: p}, spec: {matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [secrets], operations: [CREATE]}]}, validations: [{expression: "false", messageExpression: "string(object.data.size)"}]}}`,
			secret, nil, []string{"p denies: " + policy.Hidden},
		},
		"a pattern": {
			"Enforce refuses", cpol(size, enforce), large, nil, []string{tooBig},
		},
		"a pattern that audits": {
			"Audit is the default", cpol(size, ""), large, nil, []string{"c warns: r: validation error: too large. rule r failed at path /data/size/"},
		},
		"a rule with an action of its own": {
			"it outweighs the policy's", cpol("    validate: {failureAction: Enforce, message: too large, pattern: {data: {size: '<4'}}}", ""), large, nil, []string{tooBig},
		},
		"an action by Namespace": {
			"overrides decide", cpol(size, enforce+"\n  validationFailureActionOverrides: [{action: Audit, namespaces: [web]}]"), large, nil,
			[]string{"c warns: r: validation error: too large. rule r failed at path /data/size/"},
		},
		"anyPattern": {
			"one has to match", cpol("    validate: {message: neither, anyPattern: [{data: {size: '1'}}, {data: {size: '2'}}]}", enforce), large, nil,
			[]string{"c denies: r: validation error: neither. rule r[0] failed at path /data/size/ rule r[1] failed at path /data/size/"},
		},
		"deny": {
			"JMESPath on the request", cpol(`    validate: {message: "{{request.operation}} of {{request.object.metadata.name}}", deny: {conditions: {all: [{key: "{{request.object.data.size}}", operator: GreaterThan, value: 4}]}}}`, enforce), large, nil,
			[]string{"c denies: r: CREATE of m"},
		},
		"foreach": {
			"each element", `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: c}, spec: {validationFailureAction: Enforce, rules: [{name: r, match: {any: [{resources: {kinds: [Pod]}}]}, validate: {message: "no tag", foreach: [{list: request.object.spec.containers, pattern: {image: "*:*"}}]}}]}}`, pod, nil,
			[]string{"c denies: r: validation failure: validation error: no tag. rule r failed at path /image/"},
		},
		"podSecurity": {
			"the levels of Pod Security", `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: c}, spec: {validationFailureAction: Enforce, rules: [{name: r, match: {any: [{resources: {kinds: [Pod]}}]}, validate: {podSecurity: {level: baseline, version: latest}}}]}}`, pod, nil,
			[]string{`c denies: r: Validation rule 'r' failed. It violates PodSecurity "baseline:latest": (Forbidden reason: host namespaces, field error list: [spec.hostNetwork is forbidden, forbidden values found: true])`},
		},
		"cel of a ClusterPolicy": {
			"with the labels of the Namespace", cpol(`    validate: {cel: {expressions: [{expression: "namespaceObject.metadata.labels.tier != 'prod'", message: "not in prod"}]}}`, enforce), large, map[string]string{"tier": "prod"},
			[]string{"c denies: r: not in prod"},
		},
		"a classic Pod's rule on a Deployment": {
			"Kyverno makes rules for controllers of Pods", `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: c}, spec: {validationFailureAction: Enforce, rules: [{name: r, match: {any: [{resources: {kinds: [Pod]}}]}, validate: {message: "no host", pattern: {spec: {"=(hostNetwork)": false}}}}]}}`, deployment, nil,
			[]string{"c denies: autogen-r: validation error: no host. rule autogen-r failed at path /spec/template/spec/hostNetwork/"},
		},
		"a subresource": {
			"what is rendered has none", `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: c}, spec: {validationFailureAction: Enforce, rules: [{name: r, match: {any: [{resources: {kinds: [Pod/exec]}}]}, validate: {deny: {}}}]}}`, pod, nil, nil,
		},
		"wildcards in kinds": {
			"of groups and kinds", `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: c}, spec: {validationFailureAction: Enforce, rules: [{name: r, match: {any: [{resources: {kinds: ["*/Config*", "v1/Config*"], namespaces: ["w*"], names: ["m"], selector: {matchLabels: {app: "w*"}}}}]}, validate: {message: "no", deny: {}}}]}}`, large, nil,
			[]string{"c denies: r: no"},
		},
		"a classic exception": {
			"of base, it holds", cpol(size, enforce) + "---\n{apiVersion: kyverno.io/v2, kind: PolicyException, metadata: {name: e, namespace: web}, spec: {exceptions: [{policyName: c, ruleNames: [r]}], match: {any: [{resources: {kinds: [ConfigMap], names: [m]}}]}}}",
			large, nil, nil,
		},
		"a ConfigMap beside the policies": {
			"it is read", cpol(`    context: [{name: limits, configMap: {name: limits, namespace: kyverno}}]
    validate: {message: too large, deny: {conditions: {all: [{key: "{{request.object.data.size}}", operator: GreaterThan, value: "{{limits.data.most}}"}]}}}`, enforce) +
				"---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: limits, namespace: kyverno}, data: {most: \"5\"}}",
			large, nil, []string{"c denies: r: too large"},
		},
		"a subject": {
			"the operator writes what is rendered", `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: c}, spec: {validationFailureAction: Enforce, rules: [{name: r, match: {any: [{resources: {kinds: [ConfigMap]}}]}, exclude: {any: [{subjects: [{kind: ServiceAccount, name: namespace-operator, namespace: aether-system}]}]}, validate: {message: "no", deny: {}}}]}}`, large, nil, nil,
		},
		"a classic rule on a Secret": {
			"only what the policy wrote is shown", cpol(size, enforce), secret, nil, []string{"c denies: r: too large"},
		},
		"a variable in a message on a Secret": {
			"it is not shown", cpol(`    validate: {message: "{{request.object.data.size}}", deny: {}}`, enforce), secret, nil, []string{"c denies: r: " + policy.Hidden},
		},
	} {
		t.Run(name, func(t *testing.T) {
			policies, notes := loaded(t, c.policies)
			if len(notes) > 0 {
				t.Errorf("notes: %v", notes)
			}
			if diff := cmp.Diff(c.want, said(policies, creation(objects(t, c.object)[0], c.labels))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
		})
	}
}

func TestRequestsOtherThanCreations(t *testing.T) {
	small := objects(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: web}, data: {size: "1"}}`)[0]
	big := objects(t, large)[0]
	all, _ := loaded(t, cpol(`    validate: {message: stays, deny: {conditions: {all: [{key: "{{request.operation}}", operator: Equals, value: DELETE}]}}}`, enforce)+
		"---\n"+vpol("request.operation != 'UPDATE' || object.data.size == oldObject.data.size", ""))
	for _, c := range []struct {
		why  string
		r    *policy.Request
		want []string
	}{
		{"nothing was there", creation(big, nil), nil},
		{"oldObject is what base has", update(small, big), []string{"p denies: refused"}},
		{"a classic rule is about deletions too", deletion(big), []string{"c denies: r: stays"}},
	} {
		if diff := cmp.Diff(c.want, said(all, c.r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.why, diff)
		}
	}
}

// Kyverno lets an object that breaks a rule go on breaking it, whatever the message
// says of it.
func TestAClassicRuleThatBaseBreaksIsOldWhateverItSays(t *testing.T) {
	rule := `    validate: {message: "{{request.object.data.size}} is too large", deny: {}}`
	for more, want := range map[string]string{"": "r", ", allowExistingViolations: false": ""} {
		all, _ := loaded(t, cpol(rule[:len(rule)-1]+more+"}", enforce))
		verdicts := all[0].Judge(context.Background(), creation(objects(t, large)[0], nil))
		if len(verdicts) != 1 || verdicts[0].Same != want {
			t.Errorf("%q: %+v, want it told apart by %q", more, verdicts, want)
		}
	}
}

func TestWhatPassesTheScreenIsWhatKyvernoHasNothingAgainst(t *testing.T) {
	const rules = `apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: p}
spec:
  validationFailureAction: Enforce
  rules:
  - name: size
    match: {any: [{resources: {kinds: [ConfigMap]}}]}
    exclude: {any: [{resources: {namespaces: [spared]}}]}
    celPreconditions: [{name: c, expression: "object == null || object.metadata.name != 'free'"}]
    validate: {message: "too large", cel: {variables: [{name: size, expression: "object.data.size"}], expressions: [{expression: "variables.size < '5'"}]}}
  - name: place
    match: {any: [{resources: {kinds: [ConfigMap], operations: [CREATE]}}]}
    validate: {cel: {expressions: [{expression: "namespaceObject.metadata.?labels.?tier.orValue('') != 'prod'", messageExpression: "'not ' + object.metadata.name"}]}}
  - {name: named, match: {any: [{resources: {kinds: [ConfigMap]}}]}, validate: {message: "no name", pattern: {metadata: {name: "?*"}}}}
`
	o := func(name, namespace, data string) *unstructured.Unstructured {
		return objects(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: `+name+`, namespace: `+namespace+`}, data: `+data+`}`)[0]
	}
	small, large, none := o("m", "web", `{size: "1"}`), o("m", "web", `{size: "9"}`), o("m", "web", `{}`)
	for name, c := range map[string]struct {
		request *policy.Request
		passes  bool
	}{
		"one that passes":                {creation(small, map[string]string{}), true},
		"one that does not":              {creation(large, map[string]string{}), false},
		"an expression that fails":       {creation(none, map[string]string{}), false},
		"one that is excluded":           {creation(o("m", "spared", `{size: "9"}`), map[string]string{}), false}, // Kyverno tells
		"one that is left out by a name": {creation(o("free", "web", `{size: "9"}`), map[string]string{}), true},
		"a Namespace that matters":       {creation(small, map[string]string{"tier": "prod"}), false},
		"an update":                      {update(large, small), true},
		"an update for the worse":        {update(small, large), false},
		"a deletion":                     {deletion(small), false},
	} {
		t.Run(name, func(t *testing.T) {
			policies, _ := loaded(t, rules)
			p := policies[0].(*classicPolicy)
			got := said(policies, c.request)
			about := p.about(c.request.Kind)
			if len(about.screen) != 2 || about.rest == nil || len(about.rest.GetSpec().Rules) != 1 {
				t.Fatalf("%d rules are screened, want the two of CEL", len(about.screen))
			}
			if passes := about.screen.passes(t.Context(), c.request); passes != c.passes {
				t.Errorf("passes the screen: %t", passes)
			}
			about.screen = nil
			p.kinds.Store(c.request.Kind, about)
			if diff := cmp.Diff(said(policies, c.request), got); diff != "" {
				t.Errorf("without the screen, it is (-want +got):\n%s", diff)
			}
		})
	}
}
