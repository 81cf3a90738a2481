package authority

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/review"
)

// tree is a repository of files by path.
func tree(pairs ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		files[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return files
}

func side(files fs.FS, tenants ...*v1alpha1.Tenant) *review.Side {
	s := &review.Side{Files: files, Tenants: map[string]*review.Tenant{}}
	for _, t := range tenants {
		s.Tenants[t.Name] = &review.Tenant{Name: t.Name, Tenant: &fleet.Tenant{
			Name: t.Name, Object: &fleet.Object[*v1alpha1.Tenant]{Value: t, Position: fleet.Position{File: t.Name + "/tenant.yaml", Line: 1}},
		}}
	}
	return s
}

func tenant(change func(*v1alpha1.TenantSpec)) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	t.Spec.Quota = &v1alpha1.TenantQuota{Hard: corev1.ResourceList{"requests.cpu": resource.MustParse("4")}}
	change(&t.Spec)
	return t
}

func unchanged(*v1alpha1.TenantSpec) {}

func check(t *testing.T, base, head *review.Side) *review.Report {
	t.Helper()
	report := &review.Report{}
	if err := Check(base, head, report); err != nil {
		t.Fatal(err)
	}
	return report
}

// said is approvals as a person would read them.
func said(approvals []review.Approval) []string {
	var lines []string
	for _, a := range approvals {
		line := a.Path
		if a.Platform {
			line += " PLATFORM"
		}
		lines = append(lines, strings.Join(append([]string{line}, a.Owners...), " "))
	}
	return lines
}

func TestWhoHasToApprove(t *testing.T) {
	const owners = "* @everyone\n/tenants/acme/ @acme\n/tenants/acme/secret/\n/base/ @platform\n"
	for name, c := range map[string]struct {
		why        string
		base, head fstest.MapFS
		want       []string
	}{
		"the last matching line wins": {
			why:  "as every forge reads it",
			base: tree("CODEOWNERS", owners),
			head: tree("CODEOWNERS", owners, "tenants/acme/web.yaml", "a", "tenants/globex/web.yaml", "b"),
			want: []string{"tenants/acme/web.yaml @acme", "tenants/globex/web.yaml @everyone"},
		},
		"a line without owners takes ownership away": {
			why:  "standard syntax",
			base: tree("CODEOWNERS", owners),
			head: tree("CODEOWNERS", owners, "tenants/acme/secret/x.yaml", "a"),
			want: nil,
		},
		"a CODEOWNERS in the head gives nobody rights": {
			why:  "or who opens a pull request would approve it",
			base: tree("CODEOWNERS", "* @platform\n", "tenants/acme/web.yaml", "a"),
			head: tree("CODEOWNERS", "* @mallory\n", "tenants/acme/web.yaml", "b"),
			want: []string{"CODEOWNERS PLATFORM @platform", "tenants/acme/web.yaml @platform"},
		},
		"a CODEOWNERS that only head has is no authority": {
			why:  "there is none at base, also not of lower precedence",
			base: tree("tenants/acme/web.yaml", "a", "docs/CODEOWNERS", "* @platform\n"),
			head: tree("tenants/acme/web.yaml", "b", "docs/CODEOWNERS", "* @platform\n", "CODEOWNERS", "* @mallory\n"),
			want: []string{"CODEOWNERS PLATFORM @platform", "tenants/acme/web.yaml @platform"},
		},
		"what only the platform team may change": {
			why:  "it is in every tenant",
			base: tree("base/namespace/quota.yaml", "a"),
			head: tree("base/namespace/quota.yaml", "b", "policies/p.yaml", "a", "tenants/_platform/p.yaml", "a", ".gitea/workflows/ci.yaml", "a",
				".gitlab-ci.yml", "a", "tenants/astray.yaml", "a", "README.md", "not looked at"),
			want: []string{".gitea/workflows/ci.yaml PLATFORM", ".gitlab-ci.yml PLATFORM", "base/namespace/quota.yaml PLATFORM",
				"policies/p.yaml PLATFORM", "tenants/_platform/p.yaml PLATFORM", "tenants/astray.yaml PLATFORM"},
		},
		"each section has its own last line": {
			why:  "GitLab's sections are asked one by one",
			base: tree("CODEOWNERS", "/tenants/ @all\n[Security] @sec\n/tenants/acme/\n^[Docs] @docs\n*.md\n[security]\n/tenants/globex/ @globex\n"),
			head: tree("CODEOWNERS", "/tenants/ @all\n[Security] @sec\n/tenants/acme/\n^[Docs] @docs\n*.md\n[security]\n/tenants/globex/ @globex\n",
				"tenants/acme/a.md", "a", "tenants/globex/b.yaml", "b"),
			want: []string{"tenants/acme/a.md @all", "tenants/acme/a.md @sec", "tenants/acme/a.md @docs", "tenants/globex/b.yaml @all", "tenants/globex/b.yaml @globex"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := said(check(t, side(c.base), side(c.head)).Approvals)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
		})
	}
}

func TestOnlyThePlatformTeamChangesATenantsLimits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.TenantSpec)
		want   string // "" is the team's own
	}{
		"its display name is the team's own": {func(s *v1alpha1.TenantSpec) { s.DisplayName = "Acme" }, ""},
		"its owners are the team's own":      {func(s *v1alpha1.TenantSpec) { s.Owners = []v1alpha1.Access{{Role: "admin"}} }, ""},
		"a quota written in another way is none": {func(s *v1alpha1.TenantSpec) {
			s.Quota = &v1alpha1.TenantQuota{Hard: corev1.ResourceList{"requests.cpu": resource.MustParse("4000m")}}
		}, ""},
		"the quota": {func(s *v1alpha1.TenantSpec) { s.Quota.Hard["requests.cpu"] = resource.MustParse("400") }, "changes limits of the Tenant: spec.quota"},
		"prefix, profiles and peers": {func(s *v1alpha1.TenantSpec) {
			s.Namespaces.Prefix, s.Namespaces.Profiles = "x-", []string{"open"}
			s.Network.Peers = []v1alpha1.Peer{{Tenant: "globex"}}
		}, "changes limits of the Tenant: spec.namespaces.prefix, spec.namespaces.profiles, spec.network.peers"},
		"hostnames": {func(s *v1alpha1.TenantSpec) { s.Hostnames = []string{"a.example.com"} }, "changes limits of the Tenant: spec.hostnames"},
		"a cordon":  {func(s *v1alpha1.TenantSpec) { s.Cordoned = true }, "changes limits of the Tenant: spec.cordoned"},
	} {
		t.Run(name, func(t *testing.T) {
			base := side(tree("tenants/acme/tenant.yaml", "a"), tenant(unchanged))
			head := side(tree("tenants/acme/tenant.yaml", "b"), tenant(c.change))
			var want []review.Approval
			if c.want != "" {
				want = []review.Approval{{Path: "tenants/acme/tenant.yaml", Platform: true, Reason: c.want}}
			}
			if diff := cmp.Diff(want, check(t, base, head).Approvals); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestATenantThatComesOrGoesIsThePlatformTeams(t *testing.T) {
	with, without := side(tree("tenants/acme/tenant.yaml", "a"), tenant(unchanged)), side(tree())
	for _, sides := range [][2]*review.Side{{with, without}, {without, with}} {
		got := said(check(t, sides[0], sides[1]).Approvals)
		if diff := cmp.Diff([]string{"tenants/acme/tenant.yaml PLATFORM"}, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestALineThatCannotBeReadIsReported(t *testing.T) {
	const owners = "* @all\n/ @mallory\n/a/[xy] @a\n/b/ not-an-owner\n[broken\n/tenants/acme/ @acme # its team\n"
	report := check(t, side(tree("CODEOWNERS", owners)), side(tree("CODEOWNERS", owners, "tenants/acme/a.yaml", "a")))
	if diff := cmp.Diff([]string{"tenants/acme/a.yaml @acme"}, said(report.Approvals)); diff != "" {
		t.Error(diff)
	}
	want := []review.Finding{{
		Risk: review.Info, Category: CodeOwnersInvalid, Place: review.Place{File: "CODEOWNERS", Line: 2},
		Title: "CODEOWNERS of base has 4 lines that cannot be read, which give nobody a right",
		Details: []string{
			`CODEOWNERS:2: "/" is no pattern; write "*" for every file`,
			`CODEOWNERS:3: "[xy]": ranges in brackets are not part of CODEOWNERS; write a line for each, or \[ for the character`,
			`CODEOWNERS:4: "not-an-owner" is no owner; write @user, @organisation/team or an e-mail address`,
			`CODEOWNERS:5: is no section; write [Name], ^[Name] or [Name][2] @owner, and "\[" where a path begins with a bracket`,
		},
	}}
	if diff := cmp.Diff(want, report.Findings); diff != "" {
		t.Error(diff)
	}
}

func TestALinkIsNoCodeOwners(t *testing.T) {
	files := tree("evil", "* @mallory\n", "tenants/acme/a.yaml", "a")
	files["CODEOWNERS"] = &fstest.MapFile{Data: []byte("evil"), Mode: fs.ModeSymlink}
	head := tree("tenants/acme/a.yaml", "b", "evil", "* @mallory\n")
	head["CODEOWNERS"] = files["CODEOWNERS"]
	report := check(t, side(files), side(head))
	if len(report.Approvals) != 0 || len(report.Findings) != 1 {
		t.Errorf("approvals %v, findings %v; want none, and one on the link", report.Approvals, report.Findings)
	}
}

func TestAChangeOfThousandsOfFilesIsFolded(t *testing.T) {
	head := tree("CODEOWNERS", "* @all\n")
	for i := range 3000 {
		head["tenants/acme/ns"+strings.Repeat("x", i)+".yaml"] = &fstest.MapFile{}
	}
	report := check(t, side(tree("CODEOWNERS", "* @all\n")), side(head))
	want := []review.Approval{{Path: "tenants/acme/", Owners: []string{"@all"}, Reason: "owned by line 1 of CODEOWNERS (3000 files)"}}
	if diff := cmp.Diff(want, report.Approvals); diff != "" {
		t.Error(diff)
	}
}

func TestASectionOfGitLabsSaysWhoseApprovalsAreNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		why, owners string
		want        []review.Approval
	}{
		"a number of approvals": {
			why:    "[Name][2] needs two of its owners",
			owners: "[Net][2] @net @sec\n/tenants/\n",
			want: []review.Approval{{Path: "tenants/acme/a.yaml", Owners: []string{"@net", "@sec"}, Needed: 2,
				Reason: `owned by line 2 of CODEOWNERS, section "Net", which needs 2 approvals`}},
		},
		"an optional section": {
			why:    "GitLab asks nobody there, whatever number it has",
			owners: "^[Net][2] @net\n/tenants/\n",
			want: []review.Approval{{Path: "tenants/acme/a.yaml", Owners: []string{"@net"},
				Reason: `owned by line 2 of CODEOWNERS, section "Net", optional`}},
		},
		"the owners of a line": {
			why:    "they replace the section's own",
			owners: "[Net] @net\n/tenants/ @line @group/sub\n",
			want: []review.Approval{{Path: "tenants/acme/a.yaml", Owners: []string{"@line", "@group/sub"},
				Reason: `owned by line 2 of CODEOWNERS, section "Net"`}},
		},
		"an exclusion": {
			why:    "it holds in its own section",
			owners: "* @all\n[Net] @net\n*\n!/tenants/acme/\n",
			want:   []review.Approval{{Path: "tenants/acme/a.yaml", Owners: []string{"@all"}, Reason: "owned by line 1 of CODEOWNERS"}},
		},
		"two sections of one name": {
			why:    "they are one; one of them that is required makes them so, and the most approvals are needed",
			owners: "^[Net] @net\n*.md\n[net][3]\n*.yaml @a @b @c\n",
			want: []review.Approval{{Path: "tenants/acme/a.yaml", Owners: []string{"@a", "@b", "@c"}, Needed: 3,
				Reason: `owned by line 4 of CODEOWNERS, section "Net", which needs 3 approvals`}},
		},
		"no number": {
			why:    "[0] counts as one",
			owners: "[Net][0] @net\n/tenants/\n",
			want:   []review.Approval{{Path: "tenants/acme/a.yaml", Owners: []string{"@net"}, Reason: `owned by line 2 of CODEOWNERS, section "Net"`}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			report := check(t, side(tree("CODEOWNERS", c.owners)), side(tree("CODEOWNERS", c.owners, "tenants/acme/a.yaml", "a")))
			if diff := cmp.Diff(c.want, report.Approvals); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
			if len(report.Findings) > 0 {
				t.Errorf("it is reported as wrong: %v", report.Findings)
			}
		})
	}
}

func TestAFileIsOfGitLabsDialectWhereItHasASectionOrIsWhereOnlyGitLabLooks(t *testing.T) {
	for name, c := range map[string]struct {
		file, owners string
		want         bool
	}{
		"GitLab's folder":          {gitlabFile, "* @a\n", true},
		"a section":                {"CODEOWNERS", "* @a\n[Docs] @d\n", true},
		"an optional section":      {"CODEOWNERS", "* @a\r\n^[Docs][2]\r\n", true},
		"neither":                  {"CODEOWNERS", "* @a\n# [Docs]\n", false},
		"a bracket within a path":  {"CODEOWNERS", "/a/[xy] @a\n", false},
		"an escaped bracket":       {".github/CODEOWNERS", "\\[x] @a\n", false},
		"a bracket that goes on":   {"CODEOWNERS", "[xy]/a @a\n", false},
		"what is only half of one": {"CODEOWNERS", "[xy @a\n", false},
	} {
		if got := parseCodeOwners(c.file, []byte(c.owners)).gitlab; got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

func TestPatternsOfGitLab(t *testing.T) {
	for pattern, c := range map[string]struct{ match, not []string }{
		"*":           {match: []string{"a", "a/b"}},
		"*.yaml":      {match: []string{"a.yaml", "x/a.yaml"}, not: []string{"a.yaml/b"}},
		"/docs/":      {match: []string{"docs/a", "docs/x/a"}, not: []string{"x/docs/a"}},
		"docs/":       {match: []string{"docs/a", "x/docs/a/b"}},
		"/docs":       {match: []string{"docs"}, not: []string{"docs/a"}},
		"docs/a.md":   {match: []string{"docs/a.md", "x/docs/a.md"}, not: []string{"xdocs/a.md"}},
		"docs/*":      {match: []string{"docs/a", "x/docs/a"}, not: []string{"docs/x/a"}},
		"/docs/*.md":  {match: []string{"docs/a.md", "docs/.md"}, not: []string{"docs/x/a.md", "x/docs/a.md"}},
		"/docs/**/*":  {match: []string{"docs/a", "docs/x/a"}, not: []string{"x/docs/a"}},
		"**/b":        {match: []string{"b", "x/b"}, not: []string{"b/c"}},
		`/a\ b/`:      {match: []string{"a b/c"}},
		"/a/**/b/c.x": {match: []string{"a/b/c.x", "a/x/b/c.x"}, not: []string{"x/a/b/c.x"}},
	} {
		matches(t, pattern, true, c.match, c.not)
	}
}

// matches holds a pattern, in GitLab's dialect or GitHub's, against paths that it is
// to match and paths that it is not to.
func matches(t *testing.T, pattern string, gitlab bool, match, not []string) {
	t.Helper()
	r, err := parseRule(pattern+" @x", gitlab)
	if err != nil {
		t.Errorf("%q: %v", pattern, err)
		return
	}
	for _, path := range match {
		if !r.pattern.MatchString(path) {
			t.Errorf("%q does not match %q", pattern, path)
		}
	}
	for _, path := range not {
		if r.pattern.MatchString(path) {
			t.Errorf("%q matches %q", pattern, path)
		}
	}
}

func TestPatterns(t *testing.T) {
	for pattern, c := range map[string]struct{ match, not []string }{
		"*":             {match: []string{"a", "a/b"}},
		"*.yaml":        {match: []string{"a.yaml", "x/a.yaml"}, not: []string{"a.yml"}},
		"/docs/":        {match: []string{"docs/a", "docs/x/a"}, not: []string{"x/docs/a", "docs", "docsx/a"}},
		"docs/":         {match: []string{"docs/a", "x/docs/a"}, not: []string{"docs"}},
		"/docs":         {match: []string{"docs", "docs/a"}, not: []string{"x/docs", "docsx"}},
		"docs/*":        {match: []string{"docs/a"}, not: []string{"docs/x/a", "x/docs/a"}},
		"a/**/b":        {match: []string{"a/b", "a/x/b", "a/x/y/b/c"}, not: []string{"ab", "x/a/b"}},
		"**/b":          {match: []string{"b", "x/y/b"}, not: []string{"xb"}},
		"/a/**":         {match: []string{"a/b", "a/b/c"}, not: []string{"a", "ab"}},
		`with\ space/`:  {match: []string{"with space/a"}, not: []string{"with/a", `with\ space/a`}},
		`\#file`:        {match: []string{"#file"}},
		"a?c":           {match: []string{"abc"}, not: []string{"a/c", "ac"}},
		"a.c":           {match: []string{"a.c"}, not: []string{"abc"}},
		"/tenants/é~,=": {match: []string{"tenants/é~,="}},
	} {
		matches(t, pattern, false, c.match, c.not)
	}
}

func FuzzCodeOwners(f *testing.F) {
	f.Add("* @a\n/x/ @b # c\n[S][2] @c\n!a\n\\# @d\n", "x/y")
	f.Add("/ @a\n^[x] a@b.c\n** \n***\na//b", "a/b")
	f.Fuzz(func(t *testing.T, text, path string) {
		c := parseCodeOwners("CODEOWNERS", []byte(text))
		for _, o := range c.owners(path) {
			if len(o.owners) == 0 || o.line < 1 {
				t.Errorf("%q has an owner of line %d that is nobody", path, o.line)
			}
			for _, name := range o.owners {
				if !strings.Contains(text, name) {
					t.Errorf("%q is owned by %q, who is not in the file", path, name)
				}
			}
		}
	})
}
