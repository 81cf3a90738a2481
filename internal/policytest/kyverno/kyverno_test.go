package kyverno

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/policytest"
)

// vpol allows what has a label, of some kind.
func vpol(group, resource, expression string) string {
	return `apiVersion: policies.kyverno.io/v1
kind: ValidatingPolicy
metadata: {name: p}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: ["` + group + `"], apiVersions: ["*"], resources: [` + resource + `], operations: [CREATE]}]
  validations: [{expression: "` + expression + `", message: "no team"}]
`
}

const classic = `apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: p}
spec:
  validationFailureAction: Enforce
  background: false
  rules:
  - name: team
    match: {any: [{resources: {kinds: [ConfigMap]}}]}
    validate: {message: "no team", pattern: {metadata: {labels: {team: "?*"}}}}
`

const labelled = "'team' in object.metadata.?labels.orValue({})"

func object(version, kind, name, labels string) string {
	return "---\napiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: web, labels: {" + labels + "}}\n"
}

var objects = object("v1", "ConfigMap", "good", "team: a") + object("v1", "ConfigMap", "bad", "a: b") + object("v1", "Secret", "other", "a: b")

// judged runs one test, as package policytest does.
func judged(t *testing.T, policy, objects, fields string) (results, errs []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"policy.yaml": policy, "resources.yaml": objects} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests, wrong := policytest.Read("kyverno-test.yaml", "kyverno-test.yaml", []byte(`apiVersion: cli.kyverno.io/v1alpha1
kind: Test
metadata: {name: t}
policies: [policy.yaml]
resources: [resources.yaml]
`+fields))
	all, more, err := policytest.Run(t.Context(), Tests{}, dir, filepath.Join(dir, "tenants"), tests)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		results = append(results, strings.Join(append([]string{r.Expected + ": " + r.Got}, r.Failures...), " | "))
	}
	for _, e := range append(wrong, more...) {
		errs = append(errs, e.Error())
	}
	return results, errs
}

func TestKyvernoSaysWhetherExpectationsAreMet(t *testing.T) {
	gateway := object("gateway.networking.k8s.io/v1", "Gateway", "good", "team: a") + object("gateway.networking.k8s.io/v1", "Gateway", "bad", "a: b")
	const notFound = "and the policy was not asked: there is no such policy or rule in the files of the test, or it is not about the object"
	const notAbout = "and the policy was not asked: it is not about the object; correct what it matches, or expect skip"
	for name, c := range map[string]struct {
		why, policy, objects, results string
		want                          []string
	}{
		"met": {
			"both are so", vpol("", "configmaps", labelled), objects,
			"- {policy: p, isValidatingPolicy: true, kind: ConfigMap, result: pass, resources: [web/good]}\n- {policy: p, isValidatingPolicy: true, kind: ConfigMap, result: fail, resources: [web/bad]}\n",
			[]string{"p passes ConfigMap web/good: pass", "p refuses ConfigMap web/bad: fail"},
		},
		"not met": {
			"it is refused", vpol("", "configmaps", labelled), objects,
			"- {policy: p, isValidatingPolicy: true, kind: ConfigMap, result: pass, resources: [web/bad]}\n",
			[]string{"p passes ConfigMap web/bad: fail | v1/ConfigMap/web/bad: expected pass, got fail: no team"},
		},
		"of a ClusterPolicy": {
			"each kind of policy is Kyverno's to know", classic, objects,
			"- {policy: p, rule: team, kind: ConfigMap, result: pass, resources: [web/good]}\n- {policy: p, rule: team, kind: ConfigMap, result: fail, resources: [web/bad]}\n",
			[]string{"p/team passes ConfigMap web/good: pass", "p/team refuses ConfigMap web/bad: fail"},
		},
		"not asked": {
			"Kyverno passes what no rule is about", classic, objects,
			"- {policy: p, rule: team, kind: Secret, result: fail, resources: [web/other]}\n",
			[]string{"p/team refuses Secret web/other: not asked | rule team: v1/Secret/web/other: expected fail, " + notAbout},
		},
		"not to be asked": {
			"the file says so", classic, objects,
			"- {policy: p, rule: team, kind: Secret, result: skip, resources: [web/other]}\n",
			[]string{"p/team skips Secret web/other: not asked"},
		},
		"not found": {
			"Kyverno does not tell a policy that is not there from one that is not about the object", vpol("", "configmaps", labelled), objects,
			"- {policy: p, kind: Secret, result: fail, resources: [web/other]}\n- {policy: q, kind: ConfigMap, result: skip, resources: [web/bad]}\n",
			[]string{
				"p refuses Secret web/other: not asked | v1/Secret/web/other: expected fail, " + notFound,
				"q skips ConfigMap web/bad: not asked | v1/ConfigMap/web/bad: expected skip, " + notFound,
			},
		},
		"no such object": {
			"Kyverno would say nothing of it", vpol("", "configmaps", labelled), objects,
			"- {policy: p, isValidatingPolicy: true, kind: ConfigMap, result: pass, resources: [web/good, web/god]}\n",
			[]string{
				"p passes ConfigMap web/good: pass",
				"p passes ConfigMap web/god: not asked | expected pass, and the policy was not asked: there is no such policy, rule or object in the files of the test",
			},
		},
		"a Gateway": {
			"Kyverno's command takes them for gatewaies, and asks nobody", vpol("gateway.networking.k8s.io", "gateways", labelled), gateway,
			"- {policy: p, isValidatingPolicy: true, kind: Gateway, result: pass, resources: [web/good]}\n- {policy: p, isValidatingPolicy: true, kind: Gateway, result: fail, resources: [web/bad]}\n",
			[]string{"p passes Gateway web/good: pass", "p refuses Gateway web/bad: fail"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			results, errs := judged(t, c.policy, c.objects, "results:\n"+c.results)
			if errs != nil {
				t.Fatal(errs)
			}
			if diff := cmp.Diff(c.want, results); diff != "" {
				t.Errorf("%s: %s", c.why, diff)
			}
		})
	}
}

// Policies that ask a server are never run, whatever the test says that it answers:
// it hears nothing, though Kyverno's client would be let through to it.
func TestNoRequestLeavesTheProcess(t *testing.T) {
	var heard atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }))
	defer server.Close()
	registry := strings.TrimPrefix(server.URL, "http://")
	rule := func(rule string) string {
		return strings.Replace(classic, "    validate: {", rule+"\n    validate: {", 1)
	}
	const (
		toServer   = "policy.yaml calls a server"
		toRegistry = "policy.yaml asks an image's registry"
	)
	for name, c := range map[string]struct{ policy, fields, want string }{
		"http":             {vpol("", "configmaps", "http.Get('"+server.URL+"').a == 1"), "", toServer},
		"http as a value":  {vpol("", "configmaps", "[http].all(h, h.Get('"+server.URL+"').a == 1)"), "", toServer},
		"http answered":    {vpol("", "configmaps", "http.Get('"+server.URL+"').a == 1"), "apiCallResponses: [{url: 'http://example.com', response: {body: {a: 1}}}]\n", toServer},
		"in a List":        {"apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(vpol("", "configmaps", "http.Get('"+server.URL+"').a == 1")), "\n", "\n  "), "", toServer},
		"data of an image": {vpol("", "configmaps", "image.GetMetadata('"+registry+"/a:b').config != null"), "", toRegistry},
		"a service":        {rule("    context: [{name: x, apiCall: {service: {url: '" + server.URL + "'}}}]"), "", toServer},
		"a registry":       {rule("    context: [{name: x, imageRegistry: {reference: '" + registry + "/a:b'}}]"), "", toRegistry},
		"verifyImages":     {strings.Replace(classic, "validate: {message: \"no team\", pattern: {metadata: {labels: {team: \"?*\"}}}}", "verifyImages: [{imageReferences: ['*'], required: true}]", 1), "", toRegistry},
		"images":           {"apiVersion: policies.kyverno.io/v1\nkind: ImageValidatingPolicy\nmetadata: {name: p}\nspec: {matchImageReferences: [{glob: '*'}], attestors: [], validations: []}\n", "", toRegistry},
		"requests of HTTP": {vpol("", "configmaps", labelled), "httpPayloads: [resources.yaml]\n", "kyverno-test.yaml tests requests of HTTP and not objects of Kubernetes"},
	} {
		t.Run(name, func(t *testing.T) {
			results, errs := judged(t, c.policy, objects, c.fields+"results: [{policy: p, kind: ConfigMap, result: fail, resources: [web/bad]}]\n")
			want := []string{"p refuses ConfigMap web/bad: not asked | expected fail, and the policy was not asked: " + c.want + "; expect skip, or test it with Kyverno's own command"}
			if diff := cmp.Diff(want, results); diff != "" || errs != nil {
				t.Errorf("%s%s", errs, diff)
			}
		})
	}
	if n := heard.Load(); n > 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

// What is about HTTP but asks nobody is run.
func TestAWordIsNoRequest(t *testing.T) {
	results, errs := judged(t, vpol("", "configmaps", "object.metadata.name != 'http' && object.metadata.name != 'http://a'"), objects,
		"results: [{policy: p, kind: ConfigMap, result: pass, resources: [web/bad]}]\n")
	if diff := cmp.Diff([]string{"p passes ConfigMap web/bad: pass"}, results); diff != "" || errs != nil {
		t.Errorf("%s%s", errs, diff)
	}
}

// Whatever is in the files, an answer comes back, and it is not that all is well.
func TestHostileFilesAreErrors(t *testing.T) {
	expects := "results: [{policy: p, kind: ConfigMap, result: pass, resources: [web/good]}]\n"
	for name, c := range map[string]struct{ policy, objects, fields string }{
		"a policy that is none":       {"a: b\n", objects, ""},
		"a policy that is no YAML":    {"a: [\n", objects, ""},
		"an unknown field":            {strings.Replace(classic, "background: false", "ground: false", 1), objects, ""},
		"an expression that is wrong": {vpol("", "configmaps", "nonsense("), objects, ""},
		"an object that is none":      {vpol("", "configmaps", labelled), "- 1\n- 2\n", ""},
		"an object without a kind":    {vpol("", "configmaps", labelled), "metadata: {name: good}\n", ""},
		"no objects":                  {vpol("", "configmaps", labelled), "", ""},
		"a bomb":                      {vpol("", "configmaps", labelled), bomb(), ""},
		"deep":                        {vpol("", "configmaps", labelled), strings.Repeat("[", 20000), ""},
		"a policy of null":            {"apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: null\nspec: null\n", objects, ""},
		"an operation":                {vpol("", "configmaps", labelled), objects, "values: {globalValues: {request.operation: NONE}}\n"},
		"values of another type":      {vpol("", "configmaps", labelled), objects, "values: 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			results, errs := judged(t, c.policy, c.objects, c.fields+expects)
			if len(errs) == 0 && !strings.Contains(strings.Join(results, ""), " | ") {
				t.Errorf("%q and no error", results)
			}
			for _, text := range append(results, errs...) {
				if strings.Contains(text, os.TempDir()) || strings.Contains(text, "\n") {
					t.Errorf("not for a reader: %q", text)
				}
			}
		})
	}
}

func bomb() string {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 10; i++ {
		this, last := string(rune('0'+i)), string(rune('0'+i-1))
		text += "a" + this + ": &a" + this + " [" + strings.TrimSuffix(strings.Repeat("*a"+last+", ", 9), ", ") + "]\n"
	}
	return text
}
