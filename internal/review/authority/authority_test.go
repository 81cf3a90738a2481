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
		r, err := parseRule(pattern + " @x")
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		for _, path := range c.match {
			if !r.pattern.MatchString(path) {
				t.Errorf("%q does not match %q", pattern, path)
			}
		}
		for _, path := range c.not {
			if r.pattern.MatchString(path) {
				t.Errorf("%q matches %q", pattern, path)
			}
		}
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
