package kyverno

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/review/policy"
)

func TestWhatOnlyAClusterKnowsIsSaid(t *testing.T) {
	deny := "    validate: {message: m, deny: {}}"
	context := func(entry string) string { return "    context: [{name: x, " + entry + "}]\n" + deny }
	role := `{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: c}, spec: {validationFailureAction: Enforce, rules: [{name: r, match: {any: [{resources: {kinds: [ConfigMap]}, %s}]}, exclude: {any: [{%s}]}, validate: {message: m, deny: {}}}]}}`
	for name, c := range map[string]struct{ policies, want string }{
		"resource.Get":         {vpol(`resource.Get('v1', 'configmaps', 'web', 'x') != null`, ""), "p unknown: " + readsCluster},
		"resource.list":        {vpol(`resource.list('v1', 'configmaps', 'web') != null`, ""), "p unknown: " + readsCluster},
		"resource by variable": {vpol(`variables.a.b != null`, `  variables: [{name: a, expression: "{'b': resource.Get('v1', 'configmaps', 'web', 'x')}"}]`), "p unknown: " + readsCluster},
		"globalContext":        {vpol(`globalContext.Get('a', '') == null`, ""), "p unknown: " + readsContext},
		"http":                 {vpol(`http.Get('http://127.0.0.1/').a == 1`, ""), "p unknown: " + callsHTTP},
		"image data":           {vpol(`image.GetMetadata('nginx').config != null`, ""), "p unknown: " + readsRegistry},
		"an exception that asks": {
			vpol("false", "") + "---\n{apiVersion: policies.kyverno.io/v1, kind: PolicyException, metadata: {name: e, namespace: web}, spec: {policyRefs: [{name: p, kind: ValidatingPolicy}], matchConditions: [{name: m, expression: \"resource.Get('v1', 'configmaps', 'web', 'x') != null\"}]}}",
			"p unknown: " + readsCluster,
		},
		"payloads":            {vpol("false", "  evaluation: {mode: JSON}"), "p unknown: it is for JSON payloads and not for objects of Kubernetes"},
		"nonsense":            {vpol("nonsense(", ""), "p unknown: " + notParsed},
		"apiCall":             {cpol(context(`apiCall: {urlPath: /api/v1/namespaces}`), ""), "c unknown: rule r: " + callsAPI},
		"a service":           {cpol(context(`apiCall: {service: {url: "http://127.0.0.1/"}}`), ""), "c unknown: rule r: " + callsAPI},
		"globalReference":     {cpol(context(`globalReference: {name: g}`), ""), "c unknown: rule r: " + readsContext},
		"imageRegistry":       {cpol(context(`imageRegistry: {reference: nginx}`), ""), "c unknown: rule r: " + readsRegistry},
		"a ConfigMap":         {cpol(context(`configMap: {name: a, namespace: b}`), ""), "c unknown: rule r: " + noConfigMap},
		"context of a loop":   {cpol(`    validate: {foreach: [{list: request.object.data, context: [{name: x, apiCall: {urlPath: /api}}], deny: {}}]}`, ""), "c unknown: rule r: " + callsAPI},
		"manifests":           {cpol(`    validate: {manifests: {attestors: [{entries: [{keys: {publicKeys: k}}]}]}}`, ""), "c unknown: rule r: " + manifests},
		"parameters":          {cpol(`    validate: {cel: {paramKind: {apiVersion: v1, kind: ConfigMap}, paramRef: {name: a}, expressions: [{expression: "false"}]}}`, ""), "c unknown: rule r: " + hasParameters},
		"an authorizer":       {cpol(`    validate: {cel: {expressions: [{expression: "authorizer.group('').resource('pods').check('get').allowed()"}]}}`, ""), "c unknown: rule r: " + asksRights},
		"roles in a variable": {cpol(`    validate: {deny: {conditions: {all: [{key: "{{request.roles}}", operator: AnyIn, value: [a]}]}}}`, ""), "c unknown: rule r: " + byRoles},
		"match by role":       {strings.Replace(strings.Replace(role, "%s", "clusterRoles: [admin]", 1), "%s", "resources: {names: [x]}", 1), "c unknown: rule r: " + byRoles},
		"exclude by role":     {strings.Replace(strings.Replace(role, "%s", "subjects: [{kind: Group, name: 'system:authenticated'}]", 1), "%s", "roles: ['web:admin']", 1), "c unknown: rule r: " + byRoles},
	} {
		t.Run(name, func(t *testing.T) {
			policies, notes := loaded(t, c.policies)
			if len(notes) > 0 {
				t.Errorf("notes: %v", notes)
			}
			if diff := cmp.Diff([]string{c.want}, said(policies, creation(objects(t, large)[0], nil))); diff != "" {
				t.Error(diff)
			}
			other := objects(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: m, namespace: web}}`)[0]
			if got := said(policies, creation(other, nil)); got != nil {
				t.Errorf("of an object that it is not about: %q", got)
			}
		})
	}
}

func TestKindsThatRefuseNothingAreListed(t *testing.T) {
	policies, notes := loaded(t, `
{apiVersion: policies.kyverno.io/v1, kind: MutatingPolicy, metadata: {name: a}}
---
{apiVersion: policies.kyverno.io/v1, kind: GeneratingPolicy, metadata: {name: b}}
---
{apiVersion: policies.kyverno.io/v1, kind: ImageValidatingPolicy, metadata: {name: c}}
---
{apiVersion: policies.kyverno.io/v1, kind: DeletingPolicy, metadata: {name: d}}
---
{apiVersion: kyverno.io/v2, kind: CleanupPolicy, metadata: {name: e, namespace: web}}
---
{apiVersion: policies.kyverno.io/v9, kind: DreamingPolicy, metadata: {name: f}}
---
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: g}
spec:
  rules:
  - {name: m, match: {any: [{resources: {kinds: [Pod]}}]}, mutate: {patchStrategicMerge: {metadata: {labels: {a: b}}}}}
  - {name: i, match: {any: [{resources: {kinds: [Pod]}}]}, verifyImages: [{imageReferences: ["*"], required: true}]}
---
{apiVersion: policies.kyverno.io/v1, kind: ValidatingPolicy, metadata: {name: h}, spec: {validations: 1}}
---
{apiVersion: kyverno.io/v2, kind: PolicyException, metadata: {name: x, namespace: web}, spec: {background: false, exceptions: [{policyName: g, ruleNames: [m]}], match: {any: [{resources: {kinds: [Pod]}, clusterRoles: [a]}]}}}
`)
	if len(policies) != 0 {
		t.Errorf("%d policies, want none", len(policies))
	}
	var got []string
	for _, n := range notes {
		got = append(got, string(n.Risk)+" "+n.Title+" | "+strings.Join(n.Details, ", "))
	}
	at := " (policies/p.yaml:1)"
	want := []string{
		"info 1 policy or rule of Kyverno is not evaluated: " + unknowableRoles + " | PolicyException x" + at,
		"info 1 policy or rule of Kyverno is not evaluated: " + newer + " | DreamingPolicy f" + at,
		"info 1 policy or rule of Kyverno is not evaluated: " + makes + " | GeneratingPolicy b" + at,
		"info 2 policies and rules of Kyverno are not evaluated: " + verifies + " | ClusterPolicy g: rule i" + at + ", ImageValidatingPolicy c" + at,
		"info 2 policies and rules of Kyverno are not evaluated: " + changes + " | ClusterPolicy g: rule m" + at + ", MutatingPolicy a" + at,
		"info 2 policies and rules of Kyverno are not evaluated: " + deletes + " | CleanupPolicy e" + at + ", DeletingPolicy d" + at,
		"medium Policies of policies/p.yaml:1 are not evaluated: cannot restore slice from float64 | ",
	}
	less := func(all []string) map[string]bool {
		set := map[string]bool{}
		for _, s := range all {
			set[s] = true
		}
		return set
	}
	if diff := cmp.Diff(less(want), less(got)); diff != "" {
		t.Error(diff)
	}
}

// Policies that call a server are never run: it hears nothing, though Kyverno's
// client would be let through to it.
func TestNoRequestLeavesTheProcess(t *testing.T) {
	var heard atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }))
	defer server.Close()
	registry := strings.TrimPrefix(server.URL, "http://")
	for _, text := range []string{
		vpol("http.Get('"+server.URL+"').a == 1", ""),
		vpol("http.get('"+server.URL+"').a == 1", ""),
		vpol("http.Post('"+server.URL+"', {'a': 'b'}).a == 1", ""),
		vpol("http.Client('').Get('"+server.URL+"').a == 1", ""),
		vpol("variables.v.a == 1", `  variables: [{name: v, expression: "http.Get('`+server.URL+`')"}]`),
		vpol("false", `  matchConditions: [{name: c, expression: "http.Get('`+server.URL+`').a == 1"}]`),
		vpol("[http].all(h, h.Get('"+server.URL+"').a == 1)", ""),
		vpol("image.GetMetadata('"+registry+"/a:b').config != null", ""),
		cpol("    context: [{name: x, apiCall: {service: {url: '"+server.URL+"'}}}]\n    validate: {deny: {conditions: {all: [{key: '{{x}}', operator: Equals, value: a}]}}}", enforce),
		cpol("    context: [{name: x, imageRegistry: {reference: '"+registry+"/a:b'}}]\n    validate: {deny: {conditions: {all: [{key: '{{x}}', operator: Equals, value: a}]}}}", enforce),
		cpol("    validate: {foreach: [{list: 'request.object.data', context: [{name: x, apiCall: {service: {url: '"+server.URL+"'}}}], deny: {conditions: {all: [{key: '{{x}}', operator: Equals, value: a}]}}}]}", enforce),
		cpol("    verifyImages: [{imageReferences: ['*'], required: true}]", enforce),
	} {
		policies, _ := loaded(t, text)
		for _, p := range policies {
			for _, v := range p.Judge(context.Background(), creation(objects(t, large)[0], nil)) {
				if v.Kind != policy.Unknown {
					t.Errorf("%s: %+v, want it not evaluated", text, v)
				}
			}
		}
	}
	if n := heard.Load(); n > 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestAPolicyThatBreaksOffIsGivenUp(t *testing.T) {
	ask := func(b *bounded, judge func(context.Context) []policy.Verdict) string {
		verdicts := b.run(context.Background(), judge)
		if len(verdicts) != 1 || verdicts[0].Kind != policy.Unknown {
			t.Fatalf("%+v, want one that is unknown", verdicts)
		}
		return verdicts[0].Message
	}
	release := make(chan struct{})
	defer close(release)
	b := newBounded()
	if got := ask(b, func(context.Context) []policy.Verdict { panic("a value that may be secret") }); got != panicked {
		t.Errorf("after a panic: %q, want %q", got, panicked)
	}
	if got := ask(b, func(context.Context) []policy.Verdict { t.Error("asked again"); return nil }); got != panicked {
		t.Errorf("the next time: %q, want %q", got, panicked)
	}
	b = newBounded()
	b.forOne = time.Millisecond
	if got := ask(b, func(context.Context) []policy.Verdict { <-release; return nil }); got != endless {
		t.Errorf("without an end: %q, want %q", got, endless)
	}
	b = newBounded()
	b.forAll = 0
	b.run(context.Background(), func(context.Context) []policy.Verdict { <-time.After(time.Microsecond); return nil })
	if got := ask(b, func(context.Context) []policy.Verdict { return nil }); got != tooLong {
		t.Errorf("when the time is used up: %q, want %q", got, tooLong)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if got := newBounded().run(ended, func(context.Context) []policy.Verdict { <-release; return nil }); got != nil {
		t.Errorf("a review that ended says %+v", got)
	}
}

// What an object makes expensive ends, with a refusal or as not evaluated.
func TestHostileObjectsEndInBoundedTime(t *testing.T) {
	items := "[" + strings.Repeat(`"xxxxxxxx",`, 2000) + "]"
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	hostile := `{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: web, labels: {a: "` + strings.Repeat("ab", 30) + `"}}, data: {size: "9"}, items: ` + items + `}`
	for name, text := range map[string]string{
		"quadratic CEL":    vpol("object.items.all(a, object.items.all(b, a == b))", ""),
		"cubic CEL":        vpol("object.items.all(a, object.items.all(b, object.items.all(c, a == b && b == c)))", ""),
		"growing text":     vpol("variables.c.size() > 1", `  variables: [{name: a, expression: "object.items.join(',')"}, {name: b, expression: "object.items.map(i, variables.a).join(',')"}, {name: c, expression: "object.items.map(i, variables.b).join(',')"}]`),
		"a loop of a loop": cpol(`    validate: {foreach: [{list: "request.object.items", foreach: [{list: "request.object.items", deny: {conditions: {all: [{key: "{{element}}", operator: Equals, value: b}]}}}]}]}`, enforce),
		"wildcards":        cpol(`    validate: {message: m, pattern: {metadata: {labels: {a: "*a*a*a*a*a*a*a*c"}}}}`, enforce),
	} {
		t.Run(name, func(t *testing.T) {
			policies, _ := loaded(t, text)
			for _, p := range policies {
				boundsOf(p).forOne = time.Second
			}
			start := time.Now()
			got := said(policies, creation(objects(t, hostile)[0], nil))
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if len(got) == 0 {
				t.Error("nothing is said")
			}
			t.Logf("%.200q in %v", got, time.Since(start))
		})
	}
	t.Run("deep", func(t *testing.T) {
		policies, _ := loaded(t, cpol(size, enforce)+"---\n"+vpol("false", ""))
		object := objects(t, large)[0]
		var nested any = "x"
		for range strings.Count(deep, "[") {
			nested = []any{nested}
		}
		object.Object["items"] = nested
		if got := said(policies, creation(object, nil)); len(got) != 2 {
			t.Errorf("%.300q, want two answers", got)
		}
	})
}

func boundsOf(p policy.Foreign) *bounded {
	switch p := p.(type) {
	case *celPolicy:
		return p.bounds
	case *classicPolicy:
		return p.bounds
	}
	return nil
}
