package diff

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/repository/gittest"
	"github.com/aetherplatform/aether/internal/review"
)

var small = gittest.Files{
	"f/tenants/_platform/profiles.yaml": strings.Replace(benchProfile, "%d", "20", 1),
	"f/tenants/acme/tenant.yaml":        strings.ReplaceAll(benchTenant, "%[1]s", "acme"),
}

func diff(t *testing.T, dir string, change func(*Options)) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	o := &Options{Env: &cli.Env{Out: &stdout, Err: &stderr}, Repo: dir, Path: "f", Base: "main", Output: "text", NoCache: true}
	change(o)
	code = cli.Report(&stderr, run(t.Context(), o))
	return code, stdout.String(), stderr.String()
}

func TestExitCodesAreThoseOfKubectlDiff(t *testing.T) {
	g := gittest.NewBare(t)
	main := g.Commit("main", small)
	g.Commit("changed", small.With(gittest.Files{"f/tenants/acme/tenant.yaml": strings.ReplaceAll(small["f/tenants/acme/tenant.yaml"], "max: 20", "max: 21")}), main)
	g.Commit("moved", small.With(gittest.Files{"f/tenants/acme/tenant.yaml": "", "f/tenants/acme/t.yaml": small["f/tenants/acme/tenant.yaml"]}), main)
	g.Commit("broken", small.With(gittest.Files{"f/tenants/acme/tenant.yaml": "kind: Tenant\n"}), main)
	for name, test := range map[string]struct {
		change func(*Options)
		want   int
		says   string
	}{
		"the same":       {func(o *Options) { o.Head = "main" }, 0, ""},
		"a file moved":   {func(o *Options) { o.Head = "moved" }, 0, ""},
		"changed":        {func(o *Options) { o.Head = "changed" }, 1, ""},
		"broken":         {func(o *Options) { o.Head = "broken" }, 5, "f/tenants/acme/tenant.yaml:1: acme: apiVersion: is missing"},
		"no such head":   {func(o *Options) { o.Head = "chnged" }, 2, `--head: there is no revision "chnged" in this repository`},
		"no base":        {func(o *Options) { o.Base = "" }, 2, "--base: say what to compare with"},
		"no format":      {func(o *Options) { o.Output = "yaml" }, 2, `--output: "yaml" is not a format`},
		"bare":           {func(*Options) {}, 2, "--head main"},
		"another path":   {func(o *Options) { o.Head, o.Path = "main", "." }, 2, "say with --path"},
		"a path out":     {func(o *Options) { o.Head, o.Path = "main", "../x" }, 2, "no folder inside"},
		"no such tenant": {func(o *Options) { o.Head, o.Tenant = "main", "acne" }, 2, "did you mean acme?"},
	} {
		code, _, errs := diff(t, g.Dir, test.change)
		if code != test.want || !strings.Contains(errs, test.says) {
			t.Errorf("%s: exit code %d and %q; want %d and %q", name, code, errs, test.want, test.says)
		}
	}
}

func TestTheUsersFilesStayAsTheyAreAndCount(t *testing.T) {
	g := gittest.New(t)
	g.Commit("main", small)
	file := filepath.Join(g.Dir, "f/tenants/acme/tenant.yaml")
	for name, content := range small {
		name = filepath.Join(g.Dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(content, "max: 20", "max: 7")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := diff(t, g.Dir, func(o *Options) { o.Output = "json" })
	if code != 1 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var report review.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	want := []review.Field{{Path: "spec.namespaces.max", Old: float64(20), New: float64(7)}}
	if len(report.Changes) != 1 || !cmp.Equal(want, report.Changes[0].Fields) || report.Head.Name != "working tree" || report.Head.Digest == "" {
		t.Errorf("report: %s", out)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file is now %s, %v", after, err)
	}
}
