package policy

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"

	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/review"
)

// policies is a repository with these below policies/.
func policies(pairs ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		files["policies/"+pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return files
}

// bound is a policy on ConfigMaps with its binding; spec and binding are further fields.
func bound(spec, binding string) string {
	return `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: p}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps, secrets], operations: ["*"]}]
` + indent(spec) + `
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: b}
spec:
  policyName: p
` + indent(binding) + "\n"
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

const deny = "validationActions: [Deny]"

// small refuses ConfigMaps whose size is above 3.
const small = `validations: [{expression: "object == null || int(object.data.size) <= 3", messageExpression: "'too large: ' + object.data.size"}]`

func configMap(t testing.TB, size string) review.Rendered {
	return parsed(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: acme-web}, data: {size: "`+size+`"}}`)
}

func namespace(t testing.TB, label string) review.Rendered {
	return parsed(t, `{apiVersion: v1, kind: Namespace, metadata: {name: acme-web, labels: {tier: "`+label+`"}}}`)
}

// said is violations as a person would read them.
func said(report *review.Report) []string {
	var lines []string
	for _, v := range report.Violations {
		line := v.Kind + "/" + v.Name + ": " + v.Policy + ": " + v.Message
		if v.Old {
			line += " (old)"
		}
		lines = append(lines, line)
	}
	return lines
}

func titles(report *review.Report) []string {
	var lines []string
	for _, f := range report.Findings {
		lines = append(lines, string(f.Risk)+" "+string(f.Category)+": "+f.Title)
	}
	return lines
}

func TestWhatPoliciesRefuse(t *testing.T) {
	type objects = []review.Rendered
	for name, c := range map[string]struct {
		why        string
		policy     string
		base, head objects
		want       []string
	}{
		"a new object": {
			why: "it is created", policy: bound(small, deny),
			head: objects{configMap(t, "9")}, want: []string{"ConfigMap/c: p: too large: 9"},
		},
		"a change that newly breaks it": {
			why: "base was in order", policy: bound(small, deny),
			base: objects{configMap(t, "2")}, head: objects{configMap(t, "9")}, want: []string{"ConfigMap/c: p: too large: 9"},
		},
		"an old violation does not fail the check": {
			why:    "base is refused with the same message",
			policy: bound(`validations: [{expression: "int(object.data.size) <= 3", message: too large}]`, deny),
			base:   objects{configMap(t, "8")}, head: objects{configMap(t, "9")}, want: []string{"ConfigMap/c: p: too large (old)"},
		},
		"an object that does not change": {
			why: "the change has no part in it", policy: bound(small, deny),
			base: objects{configMap(t, "9")}, head: objects{configMap(t, "9")},
		},
		"an object that is the same in a Namespace that is not": {
			why:    "policies select by Namespace",
			policy: bound(small, deny+"\nmatchResources: {namespaceSelector: {matchLabels: {tier: prod}}}"),
			base:   objects{namespace(t, "dev"), configMap(t, "9")}, head: objects{namespace(t, "prod"), configMap(t, "9")},
			want: []string{"ConfigMap/c: p: too large: 9"},
		},
		"an object that is the same, by what is said of its Namespace": {
			why:    "an expression reads the Namespace's labels",
			policy: bound(`validations: [{expression: "namespaceObject.metadata.labels.tier == 'dev'", message: not dev}]`, deny),
			base:   objects{namespace(t, "dev"), configMap(t, "9")}, head: objects{namespace(t, "prod"), configMap(t, "9")},
			want: []string{"ConfigMap/c: p: not dev"},
		},
		"an object that is the same, by the whole of its Namespace": {
			why:    "labels can be read in more ways than one",
			policy: bound(`validations: [{expression: "[namespaceObject].all(n, n.metadata.labels.tier == 'dev')", message: not dev}]`, deny),
			base:   objects{namespace(t, "dev"), configMap(t, "9")}, head: objects{namespace(t, "prod"), configMap(t, "9")},
			want: []string{"ConfigMap/c: p: not dev"},
		},
		"an object that is the same to a policy": {
			why: "it asks only for the Namespace's name, so the change has no part in it",
			policy: bound(`validations: [{expression: "namespaceObject != null && namespaceObject.metadata.name != 'acme-web' && !has(namespaceObject.metadata.deletionTimestamp)", message: not here}]`,
				deny+"\nmatchResources: {namespaceSelector: {matchExpressions: [{key: tier, operator: Exists}]}}"),
			base: objects{namespace(t, "dev"), configMap(t, "9")}, head: objects{namespace(t, "prod"), configMap(t, "9")},
		},
		"a Namespace that is not selected": {
			why:    "the rendered labels decide",
			policy: bound(small, deny+"\nmatchResources: {namespaceSelector: {matchLabels: {tier: prod}}}"),
			head:   objects{namespace(t, "dev"), configMap(t, "9")},
		},
		"an object that is not selected": {
			why: "objectSelector", policy: bound(small, deny+"\nmatchResources: {objectSelector: {matchLabels: {a: b}}}"),
			head: objects{configMap(t, "9")},
		},
		"a transition": {
			why:    "oldObject is what base has",
			policy: bound(`validations: [{expression: "oldObject == null || object.data.size == oldObject.data.size", message: immutable}]`, deny),
			base:   objects{configMap(t, "1")}, head: objects{configMap(t, "2")}, want: []string{"ConfigMap/c: p: immutable"},
		},
		"a deletion": {
			why:    "what base has and head has not",
			policy: bound(`validations: [{expression: "request.operation != 'DELETE'", message: stays}]`, deny),
			base:   objects{configMap(t, "1")}, want: []string{"ConfigMap/c: p: stays"},
		},
		"another user": {
			why: "the operator writes what is rendered",
			policy: bound(`matchConditions: [{name: people, expression: "!request.userInfo.username.startsWith('system:serviceaccount:aether-system:')"}]
`+small, deny),
			head: objects{configMap(t, "9")},
		},
		"variables and the Namespace": {
			why: "as in the API server",
			policy: bound(`variables: [{name: tier, expression: "namespaceObject.metadata.labels.tier"}]
validations: [{expression: "variables.tier != 'prod'", messageExpression: "'not in ' + variables.tier"}]`, deny),
			head: objects{namespace(t, "prod"), configMap(t, "1")}, want: []string{"ConfigMap/c: p: not in prod"},
		},
		"an expression that fails": {
			why:    "failurePolicy is Fail by default",
			policy: bound(`validations: [{expression: "object.data.missing == 'x'"}]`, deny),
			head:   objects{configMap(t, "1")},
			want:   []string{"ConfigMap/c: p: expression 'object.data.missing == 'x'' resulted in error: no such key: missing"},
		},
		"an expression that fails and is ignored": {
			why:    "failurePolicy Ignore",
			policy: bound("failurePolicy: Ignore\n"+`validations: [{expression: "object.data.missing == 'x'"}]`, deny),
			head:   objects{configMap(t, "1")},
		},
		"what is secret in a message": {
			why:    "no value of a Secret is in any output",
			policy: bound(`validations: [{expression: "object.data.size == ''", messageExpression: "'bad: ' + object.data.size"}, {expression: "int(object.data.size) > 0"}]`, deny),
			head:   objects{parsed(t, `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: acme-web}, data: {size: c2VjcmV0}}`)},
			want:   []string{"Secret/s: p: " + Hidden, "Secret/s: p: an expression cannot be evaluated " + Hidden},
		},
		"parameters of the repository": {
			why: "they are beside the policy",
			policy: bound(`paramKind: {apiVersion: v1, kind: ConfigMap}
validations: [{expression: "int(object.data.size) <= int(params.data.most)", message: too large}]`,
				deny+"\nparamRef: {name: limits, namespace: aether-system, parameterNotFoundAction: Deny}") +
				"---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: limits, namespace: aether-system}, data: {most: \"5\"}}\n",
			head: objects{configMap(t, "6")}, want: []string{"ConfigMap/c: p: too large"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := policies("p.yaml", c.policy)
			report := evaluate(t, side(files, c.base...), side(files, c.head...))
			if diff := cmp.Diff(c.want, said(report)); diff != "" {
				t.Errorf("%s (-want +got):\n%s\nfindings: %q", c.why, diff, titles(report))
			}
			if len(report.Findings) > 0 {
				t.Errorf("findings: %q, want none", titles(report))
			}
		})
	}
}

func TestWhatIsNotEvaluatedIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		want   []string
	}{
		"a warning": {
			bound(small, "validationActions: [Warn, Audit]"),
			[]string{`info PolicyWarning: Policy "p" warns of 1 object and refuses none`},
		},
		"an authorizer": {
			bound(`validations: [{expression: "authorizer.group('').resource('pods').check('get').allowed()"}]`, deny),
			[]string{`info PolicyNotEvaluated: Policy "p" is not evaluated on 1 object: it asks what the user is allowed, which only a cluster knows`},
		},
		"parameters that are elsewhere": {
			bound("paramKind: {apiVersion: v1, kind: ConfigMap}\n"+small, deny+"\nparamRef: {name: limits, parameterNotFoundAction: Allow}"),
			[]string{`info PolicyNotEvaluated: Policy "p" is not evaluated on 1 object: its parameters, ConfigMap "limits" of binding "b", are not in the repository`},
		},
		"Kyverno": {
			"{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: a}}\n---\n{apiVersion: policies.kyverno.io/v1, kind: ValidatingPolicy, metadata: {name: b}}\n",
			[]string{"info PolicyNotEvaluated: 2 policies of Kyverno are not evaluated by this build of aether: the cluster decides on them"},
		},
		"a policy that does not compile": {
			bound(`validations: [{expression: "nonsense("}]`, deny),
			[]string{`info PolicyNotEvaluated: Policy "p" is not evaluated on 1 object: it does not compile`},
		},
		"what is no YAML": {
			"a: [",
			[]string{"medium PolicyNotEvaluated: Policies of policies/p.yaml:1 are not evaluated: yaml: line 1: did not find expected node content"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := policies("p.yaml", c.policy)
			report := evaluate(t, side(files), side(files, configMap(t, "9")))
			got := titles(report)
			for i := range got { // what the compiler says is its own
				if before, _, cut := strings.Cut(got[i], ", so that no API server takes it"); cut {
					got[i] = before
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if len(report.Violations) > 0 {
				t.Errorf("violations: %q, want none", said(report))
			}
		})
	}
}

func TestAPolicyOfTheHeadIsShownAndHasNoEffect(t *testing.T) {
	for name, c := range map[string]struct {
		base, head fstest.MapFS
		want       []string
		violations int
	}{
		"added": {
			policies(), policies("p.yaml", bound(small, deny)),
			[]string{"medium PolicyChanged: Policies change: ValidatingAdmissionPolicy p is new, ValidatingAdmissionPolicyBinding b is new"}, 0,
		},
		"lifted": {
			policies("p.yaml", bound(small, deny)), policies(),
			[]string{"high PolicyChanged: Policies change: ValidatingAdmissionPolicy p goes, ValidatingAdmissionPolicyBinding b goes"}, 1,
		},
		"weakened": {
			policies("p.yaml", bound(small, deny)), policies("p.yaml", bound(small, "validationActions: [Warn]")),
			[]string{"high PolicyChanged: Policies change: ValidatingAdmissionPolicyBinding b changes"}, 1,
		},
		"replaced from another file": {
			policies("p.yaml", bound(small, deny)), policies("p.yaml", bound(small, deny), "z.yaml", bound(`validations: [{expression: "true"}]`, deny)),
			[]string{"high PolicyChanged: Policies change: ValidatingAdmissionPolicy p is new, ValidatingAdmissionPolicyBinding b is new"}, 1,
		},
		"an exception": {
			policies(), policies("e.yaml", "{apiVersion: kyverno.io/v2, kind: PolicyException, metadata: {name: e}}"),
			[]string{"high PolicyChanged: Policies change: PolicyException e is new"}, 0,
		},
		"left out of a kustomization": {
			policies("p.yaml", bound(small, deny), "kustomization.yaml", "resources: [p.yaml]"),
			policies("p.yaml", bound(small, deny), "kustomization.yaml", "resources: []"),
			[]string{"high PolicyChanged: policies/kustomization.yaml is changed, and with it perhaps which policies hold"}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			report := evaluate(t, side(c.base), side(c.head, configMap(t, "9")))
			if diff := cmp.Diff(c.want, titles(report)); diff != "" {
				t.Error(diff)
			}
			if len(report.Violations) != c.violations {
				t.Errorf("violations: %q, want %d", said(report), c.violations)
			}
		})
	}
}

// A kustomization decides which files hold, and none of it leaves the directory.
func TestAKustomizationOfPolicies(t *testing.T) {
	t.Run("patches are applied", func(t *testing.T) {
		files := policies("p.yaml", bound(small, deny), "kustomization.yaml", `resources: [p.yaml]
patches: [{target: {kind: ValidatingAdmissionPolicyBinding}, patch: "[{op: replace, path: /spec/validationActions, value: [Warn]}]"}]`)
		report := evaluate(t, side(files), side(files, configMap(t, "9")))
		if len(report.Violations) != 0 || len(report.Findings) != 1 {
			t.Errorf("violations %q, findings %q; want a warning alone", said(report), titles(report))
		}
	})
	t.Run("a URL is refused", func(t *testing.T) {
		files := policies("kustomization.yaml", "resources: ['https://example.com/p.yaml']")
		report := evaluate(t, side(files), side(files))
		if got := titles(report); len(got) != 1 || !strings.Contains(got[0], "is not a path inside") {
			t.Errorf("findings %q, want that it is not evaluated", got)
		}
	})
}

// The objects of a tenant with errors stay as they are: nothing of it is applied.
func TestATenantWithErrorsDeletesNothing(t *testing.T) {
	files := policies("p.yaml", bound(`validations: [{expression: "request.operation != 'DELETE'"}]`, deny))
	head := side(files)
	head.Tenants["acme"].Errors = []*fleet.Error{{Message: "broken"}}
	if got := said(evaluate(t, side(files, configMap(t, "1")), head)); got != nil {
		t.Errorf("violations %q, want none", got)
	}
}

// A hostile object costs what the API server lets it cost, and is refused as there.
func TestAnExpensiveObjectIsEndedByTheBudget(t *testing.T) {
	items := strings.Repeat(`"xxxxxxxx",`, 3000)
	object := parsed(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: n}, data: {}, items: [`+items+`]}`)
	files := policies("p.yaml", bound(`validations: [{expression: "object.items.all(a, object.items.all(b, a == b))"}]`, deny))
	got := said(evaluate(t, side(files), side(files, object)))
	if len(got) != 1 || !strings.Contains(got[0], "cost") {
		t.Errorf("violations %q, want one about the cost", got)
	}
}

func TestAReviewThatIsCancelledSaysNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	files := policies("p.yaml", bound(small, deny))
	report := &review.Report{}
	err := Evaluate(ctx, side(files), side(files, configMap(t, "9")), report, nil)
	if !errors.Is(err, context.Canceled) || len(report.Violations) > 0 {
		t.Errorf("error %v with violations %q, want %v and none", err, said(report), context.Canceled)
	}
}

func TestALinkIsNoPolicy(t *testing.T) {
	files := policies()
	files["evil.yaml"] = &fstest.MapFile{Data: []byte(bound(small, deny))}
	files["policies/p.yaml"] = &fstest.MapFile{Data: []byte("../evil.yaml"), Mode: fs.ModeSymlink}
	report := evaluate(t, side(files), side(files, configMap(t, "9")))
	if len(report.Violations) != 0 || len(report.Findings) != 1 || report.Findings[0].Category != NotEvaluated {
		t.Errorf("violations %q, findings %q; want that it is not read", said(report), titles(report))
	}
}

// Expressions see the request as the API server shows it.
func TestTheRequestIsTheAPIServers(t *testing.T) {
	one := configMap(t, "1")
	w := newWorld(side(policies()), side(policies(), one))
	r := w.request(step{operation: admission.Create, head: &one})
	theirs, err := runtime.DefaultUnstructuredConverter.ToUnstructured(
		plugin.CreateAdmissionRequest(r.Attributes, metav1.GroupVersionResource(r.GetResource()), metav1.GroupVersionKind(r.GetKind())))
	if err != nil {
		t.Fatal(err)
	}
	ours := r.variable()
	for _, field := range []string{"kind", "resource", "subResource", "requestKind", "requestResource", "requestSubResource",
		"name", "namespace", "operation", "userInfo", "dryRun"} {
		if diff := cmp.Diff(theirs[field], ours[field]); diff != "" {
			t.Errorf("request.%s (-theirs +ours):\n%s", field, diff)
		}
	}
}

func TestConditionsOnTheUserAreToldApart(t *testing.T) {
	for text, never := range map[string]bool{
		"request.userInfo.username != 'system:serviceaccount:aether-system:namespace-operator'": true,
		"request.userInfo.username == 'someone'":                                                true,
		"request.userInfo.username != 'someone'":                                                false,
		"request.userInfo.username == 'someone' || request.name == 'x'":                         false,
		"request.userInfo.username == 'someone' || has(object.metadata.label)":                  false,
		"object.metadata.name == request.userInfo.username":                                     false,
		"false": false,
	} {
		s := mustLoad(t, policies("p.yaml", bound(`matchConditions: [{name: c, expression: "`+text+`"}]`+"\n"+small, deny)))
		p := s.policies[0]
		if err := p.compile(); err != nil {
			t.Fatal(err)
		}
		if p.never != never {
			t.Errorf("%s: never is %v, want %v", text, p.never, never)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(bound(small, deny))
	f.Add("a: [\n---\nkind: List\nitems: [{kind: x}, 1]\n--- # c\n- 1\n")
	f.Add("apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: p}\nspec: {matchConstraints: {namespaceSelector: {matchExpressions: [{key: a, operator: X}]}}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		files := policies("p.yaml", text)
		s, err := load(files, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.policies {
			if p.Name == "" || len(p.bindings) == 0 || p.constraints == nil {
				t.Errorf("policy %q is in force and cannot be", p.Name)
			}
		}
		found, err := changes(policies(), files, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, finding := range found {
			if strings.ContainsAny(finding.Title, "\n\r") || len(finding.Title) > 1000 {
				t.Errorf("title %q", finding.Title)
			}
		}
	})
}
