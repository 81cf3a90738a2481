package compare_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cache"
	"github.com/aetherplatform/aether/internal/repository"
	"github.com/aetherplatform/aether/internal/repository/gittest"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/compare"
)

const profile = `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes:
    small: {quota: {requests.cpu: "1", pods: "20"}}
`

const tenant = `apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata: {name: acme}
spec:
  owners: [{kind: Group, name: admins, role: admin}]
  quota: {hard: {requests.cpu: "64"}}
`

func namespace(name, more string) string {
	return fmt.Sprintf("apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: %s}\nspec:\n  tenant: acme\n  size: small\n%s", name, more)
}

func fleetOf() gittest.Files {
	files := gittest.Files{"tenants/_platform/profiles.yaml": profile, "tenants/acme/tenant.yaml": tenant}
	for i := range 6 {
		name := fmt.Sprintf("acme-n%d", i)
		files["tenants/acme/"+name+".yaml"] = namespace(name, "")
	}
	return files
}

// run compares two contents of a repository.
func run(t *testing.T, base, head gittest.Files, change ...func(*compare.Options)) (*review.Side, *review.Side, *review.Report) {
	t.Helper()
	g := gittest.NewBare(t)
	repo, err := repository.Open(g.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	source := func(name string, files gittest.Files) compare.Source {
		commit := g.Commit(name, files)
		fsys, err := repo.Files(commit)
		if err != nil {
			t.Fatal(err)
		}
		return compare.Source{Name: name, Commit: commit, Files: fsys}
	}
	o := compare.Options{Base: source("base", base), Head: source("head", head)}
	for _, c := range change {
		c(&o)
	}
	b, h, report, err := compare.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b, h, report
}

// lines is a report for comparing: a line a change, with its fields.
func lines(report *review.Report) []string {
	var out []string
	for _, c := range report.Changes {
		line := fmt.Sprintf("%s %s %s/%s@%s", c.Action, c.Kind, c.Namespace, c.Name, c.Cluster)
		for _, f := range c.Fields {
			line += fmt.Sprintf(" %s:%v->%v", f.Path, f.Old, f.New)
		}
		out = append(out, line)
	}
	return out
}

func TestAProfileShowsEveryNamespaceItTouchesAsOneGroup(t *testing.T) {
	base := fleetOf()
	head := base.With(gittest.Files{"tenants/_platform/profiles.yaml": strings.Replace(profile, `"20"`, `"25"`, 1)})
	_, _, report := run(t, base, head)
	if len(report.Groups) != 1 {
		t.Fatalf("%d groups: %v", len(report.Groups), lines(report))
	}
	g := report.Groups[0]
	want := review.Group{
		Key: g.Key, Cause: "tenants/_platform/profiles.yaml", Tenants: []string{"acme"},
		Namespaces:     []string{"acme-n0", "acme-n1", "acme-n2", "acme-n3", "acme-n4", "acme-n5"},
		Representative: g.Representative,
	}
	if diff := cmp.Diff(want, g); diff != "" {
		t.Error(diff)
	}
	if got := lines(report)[g.Representative]; got != "changed ResourceQuota acme-n0/quota@ spec.hard.pods:20->25" {
		t.Errorf("the representative is %s", got)
	}
	if s := report.Summary; s.Changed != 7 || s.Namespaces != 6 || s.Tenants != 1 {
		t.Errorf("summary: %+v", s)
	}
}

func TestAGroupNamesTheNamespacesOfItsProfileThatItIsNotIn(t *testing.T) {
	sizes := func(small, large string) string {
		return profile[:strings.Index(profile, "    small:")] +
			fmt.Sprintf("    small: {quota: {requests.cpu: \"1\", pods: %q}}\n    large: {quota: {requests.cpu: \"1\", pods: %q}}\n    fixed: {quota: {requests.cpu: \"1\"}}\n", small, large)
	}
	base := fleetOf().With(gittest.Files{
		"tenants/_platform/profiles.yaml": sizes("20", "200"),
		"tenants/acme/large.yaml":         strings.Replace(namespace("acme-large", ""), "size: small", "size: large", 1),
		"tenants/acme/fixed.yaml":         strings.Replace(namespace("acme-fixed", ""), "size: small", "size: fixed", 1),
	})
	_, _, report := run(t, base, base.With(gittest.Files{"tenants/_platform/profiles.yaml": sizes("25", "250")}))
	if len(report.Groups) != 1 {
		t.Fatalf("%d groups: %v", len(report.Groups), lines(report))
	}
	g := report.Groups[0]
	if diff := cmp.Diff([][]string{{"acme-large"}, {"acme-fixed"}}, [][]string{g.Otherwise, g.Unchanged}); diff != "" {
		t.Errorf("otherwise and unchanged (-want +got):\n%s", diff)
	}
}

// What is granted is seen where it takes effect; what has ended is so only in a
// cluster, since Git says the same on every day.
func TestAnExceptionChangesTheNamespacesThatHaveIt(t *testing.T) {
	granted := fleetOf().With(gittest.Files{"tenants/_platform/quay.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: quay}
spec: {tenant: acme, namespaces: [acme-n1], allow: {registries: [quay.io/acme]}, owner: platform, reason: until it is mirrored, expires: "2020-01-01T00:00:00Z"}
`})
	_, _, report := run(t, fleetOf(), granted)
	want := []string{
		"created TenantException /quay@",
		"changed Namespace acme-n1/acme-n1@ metadata.annotations[aetherplatform.cloud/exceptions]:<nil>->registries:quay.io/acme@2020-01-01T00:00:00Z",
	}
	if diff := cmp.Diff(want, lines(report)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for now, want := range map[time.Time]bool{{}: true, time.Date(2019, 12, 31, 0, 0, 0, 0, time.UTC): true, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC): false} {
		files := fstest.MapFS{}
		for name, text := range granted {
			files[name] = &fstest.MapFile{Data: []byte(text)}
		}
		side, _, err := compare.Render(t.Context(), compare.Options{Head: compare.Source{Name: "head", Files: files}, Now: now}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range side.Tenants["acme"].Objects {
			if o.Kind != "Namespace" || o.Name != "acme-n1" {
				continue
			}
			_, got, _ := unstructured.NestedString(o.Content, "metadata", "annotations", v1alpha1.AnnotationExceptions)
			if got != want {
				t.Errorf("at %s it has the exception: %t, want %t", now, got, want)
			}
		}
	}
}

func TestWhatDiffers(t *testing.T) {
	const web = "tenants/acme/acme-n0.yaml"
	access := `  access:
  - {kind: User, name: a@example.com, role: editor}
  - {kind: User, name: b@example.com, role: editor}
`
	for name, test := range map[string]struct {
		why        string
		base, head gittest.Files
		want       []string
	}{
		"reordered, commented and written-out defaults": {
			why:  "objects are compared, not lines",
			base: gittest.Files{web: namespace("acme-n0", access)},
			head: gittest.Files{web: "# a comment\n" + namespace("acme-n0", `  profile: default
  access:
  - {kind: User, name: b@example.com, role: editor}
  - {kind: User, name: a@example.com, role: editor}
`)},
		},
		"the same quantity written otherwise": {
			why:  "1 is 1000m",
			head: gittest.Files{"tenants/_platform/profiles.yaml": strings.Replace(profile, `requests.cpu: "1"`, `requests.cpu: 1000m`, 1)},
		},
		"a file that is renamed": {
			why:  "nothing that is applied changes",
			head: gittest.Files{web: "", "tenants/acme/web.yaml": namespace("acme-n0", "")},
			want: []string{"moved TenantNamespace acme-n0/acme-n0@"},
		},
		"one subject more": {
			why:  "a subject is told apart by what it is, not by where it stands",
			base: gittest.Files{web: namespace("acme-n0", strings.Join(strings.Split(access, "\n")[:2], "\n"))},
			head: gittest.Files{web: namespace("acme-n0", access)},
			want: []string{
				"changed RoleBinding acme-n0/editor@ subjects[kind=User,apiGroup=rbac.authorization.k8s.io,name=b@example.com]:<nil>->map[apiGroup:rbac.authorization.k8s.io kind:User name:b@example.com]",
				"changed TenantNamespace acme-n0/acme-n0@ spec.access[kind=User,name=b@example.com,role=editor]:<nil>->map[kind:User name:b@example.com role:editor]",
			},
		},
		"a tenant with an error": {
			why:  "it keeps what it has: nothing is deleted",
			head: gittest.Files{web: namespace("acme-n0", "  sise: small\n"), "tenants/acme/acme-n1.yaml": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := fleetOf().With(test.base)
			head := base.With(test.head)
			_, _, report := run(t, base, head)
			if diff := cmp.Diff(test.want, lines(report)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
		})
	}
}

func TestALinkInHeadIsAnErrorAndIsNotFollowed(t *testing.T) {
	base := fleetOf()
	head := base.With(gittest.Files{"tenants/acme/more.yaml": gittest.Link + "../_platform/profiles.yaml"})
	_, side, report := run(t, base, head)
	if len(report.Errors) != 1 || report.Errors[0].Place.File != "tenants/acme/more.yaml" || report.Errors[0].Old {
		t.Errorf("errors: %+v", report.Errors)
	}
	if side.Digest != "" || !report.Failed() {
		t.Error("a fleet with errors has a digest, or passes")
	}
}

func TestAnErrorThatBaseHasIsOldWhereverItsLineIs(t *testing.T) {
	base := fleetOf().With(gittest.Files{"tenants/acme/x.yaml": namespace("acme-x", "  sise: small\n")})
	head := base.With(gittest.Files{"tenants/acme/x.yaml": "# moved down\n" + namespace("acme-x", "  sise: small\n")})
	_, _, report := run(t, base, head)
	if len(report.Errors) != 1 || !report.Errors[0].Old || report.Failed() {
		t.Errorf("errors: %+v", report.Errors)
	}
}

// secretBase is a base of the repository's own with one more object.
func secretBase(value string) gittest.Files {
	return gittest.Files{
		"tenants/_platform/profiles.yaml":      strings.Replace(profile, "{path: profiles/default}", "{path: profiles/own, sourceRef: {kind: GitRepository, name: fleet}}", 1),
		"base/profiles/own/kustomization.yaml": "resources: [namespace.yaml, secret.yaml]\n",
		"base/profiles/own/namespace.yaml":     "apiVersion: v1\nkind: Namespace\nmetadata: {name: '${namespace.name}'}\n",
		"base/profiles/own/secret.yaml":        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: " + value + "}\n",
	}
}

func TestValuesOfSecretsAreInNoReport(t *testing.T) {
	base := fleetOf().With(secretBase("hunter2"))
	_, _, report := run(t, base, base.With(secretBase("hunter3")))
	if len(report.Groups) != 1 || report.Groups[0].Cause != "base/profiles/own" {
		t.Errorf("groups: %+v", report.Groups)
	}
	if got := lines(report)[0]; got != "changed Secret acme-n0/s@ stringData.password:(redacted)->(redacted)" {
		t.Error(got)
	}
	_, _, created := run(t, fleetOf(), base)
	for _, r := range []*review.Report{report, created} {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "hunter") || len(r.Changes) == 0 {
			t.Errorf("a value is in %s", data)
		}
	}
}

func TestWhatIsRememberedChangesNothing(t *testing.T) {
	base := fleetOf()
	head := base.With(gittest.Files{"tenants/acme/acme-n0.yaml": namespace("acme-n0", "  labels: {example.com/a: b}\n")})
	store, err := cache.OpenAt(t.TempDir(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	remember := func(o *compare.Options) { o.Store = store }
	var reports []string
	for _, options := range [][]func(*compare.Options){nil, {remember}, {remember}} {
		_, side, report := run(t, base, head, options...)
		reports = append(reports, side.Digest+"\n"+strings.Join(lines(report), "\n"))
	}
	if reports[0] != reports[1] || reports[0] != reports[2] || !strings.HasPrefix(reports[0], "sha256:") {
		t.Errorf("%q", reports)
	}
}
