package policytest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// says is a Runner that says the same of every test, and remembers what it saw.
type says struct {
	Outcome
	err  error
	seen []string
}

func (s *says) Run(_ context.Context, root, _ string) (Outcome, error) {
	err := filepath.WalkDir(root, func(file string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, _ := filepath.Rel(root, file)
			s.seen = append(s.seen, filepath.ToSlash(name))
		}
		return err
	})
	return s.Outcome, errors.Join(err, s.err)
}

func test(fields string) string {
	return "apiVersion: cli.kyverno.io/v1alpha1\nkind: Test\nmetadata: {name: t}\n" + fields
}

const expects = "results: [{policy: p, kind: Pod, result: fail, resources: [web/x]}]\n"

// repositoryOf writes files, and runs the test in policies/p.
func repositoryOf(t *testing.T, text string, files map[string]string, runner Runner) (results []Result, errs []string) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if to, is := strings.CutPrefix(data, "link:"); is {
			if err := os.Symlink(to, file); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests, wrong := Read("policies/p/kyverno-test.yaml", "policies/p/kyverno-test.yaml", []byte(text))
	results, more, err := Run(t.Context(), runner, dir, filepath.Join(dir, "tenants"), tests)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(wrong, more...) {
		errs = append(errs, e.Error())
	}
	return results, errs
}

func TestATestReachesOnlyWhatIsThePlatforms(t *testing.T) {
	files := map[string]string{
		"policies/p/policy.yaml": "a: 1", "policies/user.yaml": "a: 1", "tenants/acme/x.yaml": "a: 1",
		"policies/p/link.yaml": "link:/etc/hostname", "policies/p/out": "link:../../tenants/acme",
		"policies/p/cluster.yaml": "spec: {CRDs: [../../../crd.yaml, 'https://example.com/crd.yaml']}",
	}
	const end = "; write a path inside the repository, from the directory of the test"
	const tenants = " is a tenant's, who could change what the test says: name a file that is the platform's"
	const at = "policies/p/kyverno-test.yaml:"
	for name, c := range map[string]struct {
		why, fields string
		want        []string
	}{
		"a URL":             {"nothing is fetched", "policies:\n- https://example.com/p.yaml\n", []string{at + `5: policies[0]: "https://example.com/p.yaml" is a URL, and nothing is fetched: put the file into the repository, and write its path`}},
		"a repository":      {"nothing is cloned", "resources: ['git@example.com:a/b']\n", []string{at + `4: resources[0]: "git@example.com:a/b" is a URL, and nothing is fetched: put the file into the repository, and write its path`}},
		"standard input":    {"it is nobody's file", "policies: ['-']\n", []string{at + `4: policies[0]: "-" is standard input` + end}},
		"an absolute path":  {"it is of the machine", "userinfo: /etc/passwd\n", []string{at + `4: userinfo: "/etc/passwd" leaves the repository` + end}},
		"a path out":        {"it is not the repository's", "variables: ../../../x.yaml\n", []string{at + `4: variables: "../../../x.yaml" leaves the repository` + end}},
		"a tenant's file":   {"a tenant must not weaken a test", "resources: [../../tenants/acme/x.yaml]\n", []string{at + `4: resources[0]: "../../tenants/acme/x.yaml"` + tenants}},
		"all tenants":       {"a tenant must not weaken a test", "resources: [../../tenants]\n", []string{at + `4: resources[0]: "../../tenants" holds the tenants' files, who could change what the test says: name directories without them`}},
		"a link":            {"it leads where it wants", "resources: [link.yaml]\n", []string{at + `4: resources[0]: "link.yaml" is behind a link; name the file itself`}},
		"behind a link":     {"it leads where it wants", "resources: [out/x.yaml]\n", []string{at + `4: resources[0]: "out/x.yaml" is behind a link; name the file itself`}},
		"nothing":           {"it is not there", "exceptions: [x.yaml]\n", []string{at + `4: exceptions[0]: "x.yaml" is not there` + end}},
		"a result's file":   {"results name files too", "results: [{policy: p, result: pass, patchedResources: ../../../x}]\n", []string{at + `4: results[0].patchedResources: "../../../x" leaves the repository` + end}},
		"of global context": {"so does it", "globalContextEntries: [{name: a, resourceFiles: [/x]}]\n", []string{at + `4: globalContextEntries[0].resourceFiles[0]: "/x" leaves the repository` + end}},
		"through an alias":  {"YAML has names for values", "policies: [&a /x, *a]\n", []string{at + `4: policies[0]: "/x" leaves the repository` + end, at + `4: policies[1]: "/x" leaves the repository` + end}},
		"in another case": {"Kyverno reads names in any case", "Policies: [https://example.com/p.yaml]\n", []string{
			at + `4: the test: there is no field "Policies"; did you mean policies?`,
		}},
		"of a cluster's resources": {"files name files", "clusterResources: [cluster.yaml]\n", []string{
			at + `4: clusterResources[0]: spec.crds[0] of cluster.yaml: "../../../crd.yaml" leaves the repository` + end,
			at + `4: clusterResources[0]: spec.crds[1] of cluster.yaml: "https://example.com/crd.yaml" is a URL, and nothing is fetched: put the file into the repository, and write its path`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			text := test(c.fields)
			if !strings.Contains(text, "results:") {
				text += expects
			}
			runner := &says{}
			_, errs := repositoryOf(t, text, files, runner)
			if diff := cmp.Diff(c.want, errs); diff != "" {
				t.Errorf("%s: %s", c.why, diff)
			}
			if runner.seen != nil {
				t.Errorf("it was run: %s", c.why)
			}
		})
	}
}

func TestWhoseAFileIs(t *testing.T) {
	for name, want := range map[string]bool{
		"tenants/acme": true, "tenants/acme/x.yaml": true, "tenants/x.yaml": true, "tenants/_platformer/x.yaml": true,
		"tenants": false, "tenants/_platform/x.yaml": false, "policies/tenants/x.yaml": false, "tenants-more/x.yaml": false,
	} {
		if got := IsTenants(name, "tenants"); got != want {
			t.Errorf("%s is a tenant's: %v, want %v", name, got, want)
		}
	}
	if !IsTenants("acme/x.yaml", ".") || IsTenants("_platform/x.yaml", ".") || IsTenants(".", ".") {
		t.Error("in the directory of the tenants itself, all but _platform is theirs")
	}
}

func TestATestIsGivenWhatItNamesAndNothingElse(t *testing.T) {
	runner := &says{}
	_, errs := repositoryOf(t, test("policies: [.]\nuserinfo: ../user.yaml\n"+expects), map[string]string{
		"policies/p/policy.yaml": "a: 1", "policies/p/kyverno-test.yaml": "a: 1", "policies/p/more/x.yml": "a: 1", "policies/p/secret": "a",
		"policies/p/link.yaml": "link:/etc/hostname", "policies/p/.hidden/x.yaml": "a: 1", "policies/user.yaml": "a: 1", "policies/other.yaml": "a: 1",
	}, runner)
	if errs != nil {
		t.Fatal(errs)
	}
	want := []string{"policies/p/kyverno-test.yaml", "policies/p/more/x.yml", "policies/p/policy.yaml", "policies/user.yaml"}
	if diff := cmp.Diff(want, runner.seen); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoTestIsAnError(t *testing.T) {
	const at = "policies/p/kyverno-test.yaml:"
	for name, c := range map[string]struct{ text, want string }{
		"no YAML":        {"a: [\n", "1: it is not YAML: "},
		"another kind":   {"apiVersion: v1\nkind: Pod\n", `1: v1 Pod is no test`},
		"a list":         {"- a\n", "1: the test is no map"},
		"no results":     {test(""), "1: results: it expects nothing"},
		"no name":        {"apiVersion: cli.kyverno.io/v1alpha1\nkind: Test\n" + expects, "1: metadata.name: it has no name"},
		"no policy":      {test("results: [{result: pass}]\n"), "4: results[0].policy: it names no policy"},
		"another result": {test("results:\n- policy: p\n  result: denied\n"), `5: results[0].result: "denied" is no result; write pass, fail, skip, warn or error`},
		"a wrong field":  {test("polices: [a]\n" + expects), `4: the test: there is no field "polices"; did you mean policies?`},
		"written twice":  {test("policies: [a]\npolicies: [b]\n" + expects), `the field "policies" is written twice`},
		"no list":        {test("results: {policy: p}\n"), "4: results: write a list"},
		"no text":        {test("policies: [{a: b}]\n" + expects), "4: policies[0]: write a text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := repositoryOf(t, c.text, nil, &says{})
			if len(errs) == 0 || !strings.HasPrefix(errs[0], at) || !strings.Contains(errs[0], c.want) {
				t.Errorf("%q, want %s%s", errs, at, c.want)
			}
		})
	}
}

func TestWhatThePolicyWasNotAskedAboutIsNotMet(t *testing.T) {
	const pod = "v1/Pod/web/x"
	row := func(reason string) Row {
		return Row{Policy: "p", Resource: pod, Reason: reason, Passed: reason == "Ok" || reason == "Excluded"}
	}
	none := "expected fail, and the policy was not asked: there is no such policy, rule or object in the files of the test"
	for name, c := range map[string]struct {
		why, expects string
		outcome      Outcome
		got          string
		failures     []string
	}{
		"as expected":    {"it is", expects, Outcome{Rows: []Row{row("Ok")}}, "fail", nil},
		"not so":         {"it is not", expects, Outcome{Rows: []Row{{Policy: "p", Resource: pod, Reason: "Want fail, got pass", Message: "a\n b"}}}, "pass", []string{pod + ": expected fail, got pass: a b"}},
		"Excluded":       {"Kyverno passes it", expects, Outcome{Rows: []Row{row("Excluded")}}, NotAsked, []string{pod + ": expected fail, and the policy was not asked: it is not about the object; correct what it matches, or expect skip"}},
		"skip expected":  {"the file says so", strings.Replace(expects, "fail", "skip", 1), Outcome{Rows: []Row{row("Excluded")}}, NotAsked, nil},
		"no row":         {"Kyverno leaves out what it does not find", expects, Outcome{Notes: []string{"x.yaml: wrong"}}, NotAsked, []string{none, "could not be loaded: x.yaml: wrong"}},
		"another object": {"Kyverno tries all objects where it finds none", expects, Outcome{Rows: []Row{{Policy: "p", Resource: "v1/Pod/web/y", Passed: true, Reason: "Ok"}}}, NotAsked, []string{none}},
		"another kind of the same name": {"it was not meant", expects, Outcome{Rows: []Row{
			{Policy: "p", Resource: "v1/Service/web/x", Passed: true, Reason: "Excluded"}, row("Ok"),
		}}, "fail", nil},
		"one rule of two": {"all have to be", expects, Outcome{Rows: []Row{
			{Policy: "p", Rule: "a", Resource: pod, Passed: true, Reason: "Ok"}, {Policy: "p", Rule: "b", Resource: pod, Reason: "Want fail, got pass"},
		}}, "pass", []string{"rule b: " + pod + ": expected fail, got pass"}},
		"an invalid policy":  {"Kyverno would not take it", expects, Outcome{Rows: []Row{{Policy: "p", Resource: pod, Reason: "Invalid Policy", Message: "no rules"}}}, "Invalid Policy", []string{pod + ": expected fail, got Invalid Policy: no rules"}},
		"a policy that asks": {"nobody is asked", expects, Outcome{NotAsked: "p.yaml calls a server"}, NotAsked, []string{"expected fail, and the policy was not asked: p.yaml calls a server; expect skip, or test it with Kyverno's own command"}},
		"skip of one":        {"the file says so", strings.Replace(expects, "fail", "skip", 1), Outcome{NotAsked: "p.yaml calls a server"}, NotAsked, nil},
	} {
		t.Run(name, func(t *testing.T) {
			results, errs := repositoryOf(t, test(c.expects), nil, &says{Outcome: c.outcome})
			if errs != nil || len(results) != 1 {
				t.Fatalf("%q, %d results", errs, len(results))
			}
			r := results[0]
			if r.Got != c.got || r.Passed != (c.failures == nil) {
				t.Errorf("got %q, passed %v, want %q: %s", r.Got, r.Passed, c.got, c.why)
			}
			if diff := cmp.Diff(c.failures, r.Failures); diff != "" {
				t.Errorf("%s: %s", c.why, diff)
			}
		})
	}
}

func TestEachExpectationGetsItsOwnRows(t *testing.T) {
	text := test(`results:
- policy: p
  kind: Pod
  result: pass
  resources: [web/x, web/y]
- {policy: p, kind: Pod, result: fail, operation: UPDATE, resources: [x]}
- {policy: q, kind: Pod, result: pass}
`)
	ok := func(policy, name string) Row {
		return Row{Policy: policy, Resource: "v1/Pod/web/" + name, Passed: true, Reason: "Ok"}
	}
	results, _ := repositoryOf(t, text, nil, &says{Outcome: Outcome{Rows: []Row{
		ok("p", "x"), ok("p", "y"), {Policy: "p", Resource: "v1/Pod/web/x", Reason: "Want fail, got pass"}, ok("q", "x"), ok("q", "y"),
	}}})
	var got []string
	for _, r := range results {
		got = append(got, r.Expected+": "+r.Got)
	}
	want := []string{"p passes Pod web/x: pass", "p passes Pod web/y: pass", "p refuses Pod x on UPDATE: pass", "q passes Pod every object: pass"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if results[0].Line != 8 || results[2].Line != 9 {
		t.Errorf("lines %d and %d, want 8 and 9", results[0].Line, results[2].Line)
	}
}

func TestAnErrorNamesFilesOfTheRepository(t *testing.T) {
	dir := ""
	runner := runnerFunc(func(root string) (Outcome, error) {
		dir = root
		return Outcome{}, errors.New("cannot read " + filepath.Join(root, "policies", "x.yaml") + ":\n wrong")
	})
	_, errs := repositoryOf(t, test(expects), nil, runner)
	if diff := cmp.Diff([]string{"policies/p/kyverno-test.yaml:1: cannot read policies/x.yaml: wrong"}, errs); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the copy is left behind: %v", err)
	}
}

type runnerFunc func(root string) (Outcome, error)

func (f runnerFunc) Run(_ context.Context, root, _ string) (Outcome, error) { return f(root) }
