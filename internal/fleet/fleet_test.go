package fleet

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// The example of the design, as it is written there. It names two namespaces and
// a peer that it does not show: that is warned of, and no error.
func TestDesignsExampleHasNoErrors(t *testing.T) {
	tree, err := ReadDir("testdata/design")
	if err != nil {
		t.Fatal(err)
	}
	f := NewParser().Parse(tree, nil)
	want := []string{
		`warning: acme/namespaces/payments.yaml:13: spec.network.ingress[0].from[1].namespace: there is no namespace "acme-web" yet; add it, or use acme-payments`,
		`warning: acme/namespaces/payments.yaml:16: spec.network.egress[0].to[2].namespace: there is no namespace "acme-ledger" yet; add it, or use acme-payments`,
		`warning: acme/tenant.yaml:12: spec.network.peers[0]: there is no Tenant "globex" yet; it takes effect when Tenant "globex" names acme as a peer too`,
	}
	if diff := cmp.Diff(want, says(f)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	acme := f.Tenants[0]
	payments := acme.Namespaces[0]
	if got, want := payments.Position.String(), "acme/namespaces/payments.yaml:2"; got != want {
		t.Errorf("acme-payments is at %s, want %s", got, want)
	}
	if got := payments.Value.Spec.GitOps.Interval; got == nil || got.Duration.String() != "5m0s" {
		t.Errorf("the default of spec.gitops.interval is %v", got)
	}
	if got := acme.Object.Value.Spec.Namespaces.Profiles; len(got) != 1 || got[0] != "default" {
		t.Errorf("spec.namespaces.profiles is %v", got)
	}
}

// Invariant 3, and the reason for reading directories apart: whatever is in one,
// the others read as if it were not there.
func TestBrokenTenantBreaksNobodyElse(t *testing.T) {
	healthy := map[string]string{"acme/tenant.yaml": tenant("acme", "network: {peers: [{tenant: globex}]}")}
	alone := NewParser().Parse(fleetOf(healthy), nil).Tenants[0]

	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
	broken := map[string]map[string]string{
		"malformed YAML":         {"globex/tenant.yaml": "kind: [\n"},
		"no Tenant":              {"globex/notes.yaml": "# nothing yet\n"},
		"a bomb":                 {"globex/tenant.yaml": bomb},
		"a link to acme":         {"globex": "-> acme"},
		"claims on acme's names": {"globex/tenant.yaml": tenant("globex", ""), "globex/web.yaml": namespace("acme-web", "")},
		"a prefix around acme's": {"ac/tenant.yaml": tenant("ac", "namespaces: {prefix: acme-}\nunknown: 1")},
		"a cycle":                {"globex/kustomization.yaml": "resources: [a]\n", "globex/a/kustomization.yaml": "resources: [../b]\n", "globex/b/kustomization.yaml": "resources: [../a]\n"},
		"acme's files":           {"globex/kustomization.yaml": "resources: [../acme/web.yaml]\n"},
		"the platform":           {"_platform/more.yaml": "kind: [\n"},
		"the root":               {"stray.yaml": "kind: [\n"},
		"an unknown directory":   {"_shared/x.yaml": "kind: [\n"},
	}
	for name, files := range broken {
		t.Run(name, func(t *testing.T) {
			all := maps.Clone(healthy)
			maps.Copy(all, files)
			f := NewParser().Parse(fleetOf(all), nil)
			for _, got := range f.Tenants {
				if got.Name != "acme" {
					continue
				}
				if diff := cmp.Diff(describeTenant(alone), describeTenant(got)); diff != "" {
					t.Errorf("acme reads otherwise (-alone +with it):\n%s", diff)
				}
			}
			if len(f.Errors()) == 0 {
				t.Error("the fault is not reported")
			}
		})
	}
}

// describeTenant is all of a tenant but its peers and warnings, which others have
// a say in.
func describeTenant(t *Tenant) []any {
	out := []any{t.Name, t.Hash, t.Object.Value}
	for _, ns := range t.Namespaces {
		out = append(out, ns.Position, ns.Value)
	}
	for _, err := range t.Errors {
		out = append(out, err.Error())
	}
	return out
}

func TestNewcomerNeverDisplacesAnIncumbent(t *testing.T) {
	const overlap = `metadata.name: the prefix %q overlaps with %q of Tenant %q; choose one such that neither begins with the other`
	cases := map[string]struct {
		why        string
		files      map[string]string
		incumbents map[string]tenancy.Holding
		want       []string
	}{
		"two newcomers": {
			why:   "without a cluster, the earlier name has it",
			files: map[string]string{"acme-dev/tenant.yaml": tenant("acme-dev", "")},
			want:  []string{"acme-dev/tenant.yaml:3: " + fmt.Sprintf(overlap, "acme-dev-", "acme-", "acme")},
		},
		"an incumbent with the later name": {
			why:        "its namespaces are there already",
			files:      map[string]string{"acme-dev/tenant.yaml": tenant("acme-dev", "")},
			incumbents: applied("acme-dev"),
			want:       []string{"acme/tenant.yaml:3: " + fmt.Sprintf(overlap, "acme-", "acme-dev-", "acme-dev")},
		},
		"an incumbent that has left Git": {
			why:        "its namespaces are kept, and come back when it does",
			incumbents: applied("acme-dev"),
			want:       []string{"acme/tenant.yaml:3: " + fmt.Sprintf(overlap, "acme-", "acme-dev-", "acme-dev")},
		},
		"an incumbent whose directory is broken": {
			why:        "its last good state stays",
			files:      map[string]string{"acme-dev/tenant.yaml": "kind: [\n"},
			incumbents: applied("acme-dev"),
			want: []string{
				"acme-dev/tenant.yaml:2: is not YAML: did not find expected node content",
				"acme/tenant.yaml:3: " + fmt.Sprintf(overlap, "acme-", "acme-dev-", "acme-dev"),
			},
		},
		"a newcomer with errors": {
			why:   "it is not applied, so it takes nothing",
			files: map[string]string{"ac/tenant.yaml": tenant("ac", "namespaces: {prefix: acme-}\nowners: [{kind: ServiceAccount, name: x, namespace: y, role: admin}]")},
			want:  []string{`ac/tenant.yaml:7: spec.owners[0].namespace: "y" is no namespace of Tenant "ac"; add it`},
		},
		"two incumbents": {
			why:        "what is applied is applied",
			files:      map[string]string{"acme-dev/tenant.yaml": tenant("acme-dev", "")},
			incumbents: applied("acme", "acme-dev"),
		},
		"an incumbent that moves onto another": {
			why:        "it is a newcomer there",
			files:      map[string]string{"globex/tenant.yaml": tenant("globex", "namespaces: {prefix: acme-}")},
			incumbents: applied("acme", "globex"),
			want: []string{
				`globex/tenant.yaml:6: spec.namespaces.prefix: the prefix "acme-" overlaps with "acme-" of Tenant "acme"; choose one such that neither begins with the other`,
			},
		},
		"its own": {
			why:        "a tenant does not collide with itself",
			files:      map[string]string{"acme/tenant.yaml": tenant("acme", "namespaces: {prefix: acme-web-}"), "acme/web.yaml": ""},
			incumbents: applied("acme"),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := says(NewParser().Parse(fleetOf(c.files), c.incumbents))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", c.why, diff)
			}
		})
	}
}

func TestPeersAreMutual(t *testing.T) {
	acme := tenant("acme", "network: {peers: [{tenant: globex}, {tenant: initech}]}")
	cases := map[string]struct {
		why   string
		files map[string]string
		want  []string
	}{
		"both agree":        {"that is what peering is", map[string]string{"globex/tenant.yaml": tenant("globex", "network: {peers: [{tenant: acme}]}")}, []string{"globex"}},
		"one does not":      {"nobody is opened without being asked", map[string]string{"globex/tenant.yaml": tenant("globex", "")}, nil},
		"one is not there":  {"there is nothing to agree", nil, nil},
		"one is unreadable": {"nothing of it changes in the cluster, so neither does what it agreed to", map[string]string{"globex/tenant.yaml": "kind: ["}, []string{"globex"}},
		"one has errors elsewhere": {
			"what it says of peers can be read",
			map[string]string{"globex/tenant.yaml": tenant("globex", "network: {peers: [{tenant: acme}]}"), "globex/x.yaml": "kind: ["}, []string{"globex"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"acme/tenant.yaml": acme}
			maps.Copy(files, c.files)
			for _, got := range NewParser().Parse(fleetOf(files), nil).Tenants {
				if got.Name != "acme" {
					continue
				}
				if diff := cmp.Diff(c.want, got.Peers); diff != "" {
					t.Errorf("%s\n(-want +got):\n%s", c.why, diff)
				}
				if len(got.Errors) > 0 {
					t.Errorf("%s: %v", c.why, got.Errors[0])
				}
			}
		})
	}
}

// A Parser that has seen other fleets says what a new one says.
func TestRememberedDirectoriesChangeNothing(t *testing.T) {
	steps := []map[string]string{
		{},
		{"acme/web.yaml": namespace("acme-web", "access: [{kind: User, name: a, role: nobody}]")},
		{"_platform/profiles.yaml": strings.Replace(platform, "small:", "tiny:", 1)},
		{"globex/tenant.yaml": tenant("globex", "network: {peers: [{tenant: acme}]}"), "acme/tenant.yaml": tenant("acme", "network: {peers: [{tenant: globex}]}")},
		{"globex/tenant.yaml": tenant("globex", "namespaces: {prefix: acme-x-}")},
		{},
	}
	old := NewParser()
	for i, files := range steps {
		tree := fleetOf(files)
		want, got := NewParser().Parse(tree, nil), old.Parse(tree, nil)
		if diff := cmp.Diff(says(want), says(got)); diff != "" {
			t.Errorf("step %d (-new +old):\n%s", i, diff)
		}
		for j := range want.Tenants {
			if diff := cmp.Diff(want.Tenants[j].Peers, got.Tenants[j].Peers); diff != "" {
				t.Errorf("step %d: peers (-new +old):\n%s", i, diff)
			}
		}
	}
	a, b := old.Parse(fleetOf(nil), nil), old.Parse(fleetOf(map[string]string{"globex/tenant.yaml": tenant("globex", "")}), nil)
	if a.Tenants[0].Namespaces[0] != b.Tenants[0].Namespaces[0] {
		t.Error("an unchanged directory is read again")
	}
}

func TestHashIsOfContentAndPlace(t *testing.T) {
	hash := func(files map[string]string) string { return NewParser().Parse(fleetOf(files), nil).Tenants[0].Hash }
	base := hash(nil)
	for name, files := range map[string]map[string]string{
		"a file moves":            {"acme/web.yaml": "", "acme/w/eb.yaml": namespace("acme-web", "")},
		"a comment":               {"acme/web.yaml": namespace("acme-web", "") + "# hi\n"},
		"a file is divided":       {"acme/web.yaml": namespace("acme-web", "")[:10], "acme/web2.yaml": namespace("acme-web", "")[10:]},
		"a file becomes a link":   {"acme/web.yaml": "-> " + namespace("acme-web", "")},
		"a file that is no YAML":  {"acme/notes.txt": " "},
		"the tenant is peered to": {"acme/tenant.yaml": tenant("acme", "network: {peers: [{tenant: globex}]}")},
	} {
		if hash(files) == base {
			t.Errorf("%s, and the hash does not change", name)
		}
	}
	if hash(map[string]string{"globex/tenant.yaml": tenant("globex", "")}) != base {
		t.Error("another tenant changes the hash")
	}
}

func TestBuiltObjectsNameTheFileTheyComeFrom(t *testing.T) {
	f := NewParser().Parse(fleetOf(map[string]string{
		"acme/kustomization.yaml":     "resources: [tenant.yaml, web.yaml, sub]\n",
		"acme/sub/kustomization.yaml": "resources: [all.yaml]\npatches:\n- target: {name: acme-b}\n  patch: '[{op: replace, path: /spec/size, value: large}]'\n",
		"acme/sub/all.yaml":           "# two of them\n" + namespace("acme-a", "") + "---\n" + namespace("acme-b", ""),
	}), nil)
	got := says(f)
	for _, ns := range f.Tenants[0].Namespaces {
		got = append(got, fmt.Sprintf("%s %s %s %v", ns.Value.Name, ns.Position, ns.Value.Spec.Size, ns.Value.Annotations))
	}
	want := []string{
		"acme-a acme/sub/all.yaml:2 small map[]",
		"acme-b acme/sub/all.yaml:9 large map[]",
		"acme-web acme/web.yaml:1 small map[]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Patches times objects is what a build costs, and a build cannot be stopped.
func TestBuildsAreBounded(t *testing.T) {
	many := func(n int) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, "%s---\n", namespace(fmt.Sprintf("acme-n%d", i), ""))
		}
		return all.String()
	}
	cases := map[string]struct {
		objects, patches int
		want             string
	}{
		"objects": {MaxBuiltObjects, 0, "acme/kustomization.yaml: builds 501 objects, more than 500; split it, or list plain files without it"},
		"patches": {99, 11, "acme/kustomization.yaml: has 11 patches and labels (2 KiB) for 100 objects, which is too much; patch less, or split it"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := says(NewParser().Parse(fleetOf(map[string]string{
				"acme/web.yaml":           many(c.objects),
				"acme/kustomization.yaml": "resources: [tenant.yaml, web.yaml]\npatches:\n" + strings.Repeat("- {target: {kind: Tenant}, patch: '[{op: add, path: /spec/cordoned, value: true}]'}\n", c.patches),
			}), nil))
			if diff := cmp.Diff([]string{c.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("a: 1\n---\n")
	for range MaxErrors * 2 {
		text.WriteString("kind: Secret\n---\n")
	}
	errs := NewParser().Parse(fleetOf(map[string]string{"acme/x.yaml": text.String()}), nil).Errors()
	if len(errs) != MaxErrors+1 {
		t.Fatalf("got %d errors", len(errs))
	}
	if got, want := errs[0].Error(), "acme: has 101 more errors; mend these first"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFilesBeyondBounds(t *testing.T) {
	cases := map[string]struct {
		why  string
		text string
		want string
	}{
		"documents": {"each costs more than its bytes", strings.Repeat("--- {}\n", MaxDocuments+1), "acme/x.yaml:1001: more than 1000 documents in one file; split it"},
		"depth":     {"recursion has a bound", namespace("acme-x", "overrides: {limits: [{max: "+strings.Repeat("{a: ", MaxDepth)+"1"+strings.Repeat("}", MaxDepth)+"}]}"), "acme/x.yaml:7: spec.overrides.limits[0].max.a: is not a number or text; write a number such as 4, or a quantity such as 500m or 8Gi"},
		"brackets":  {"a parser could run out of stack", "a: " + strings.Repeat("[", 100_000), "acme/x.yaml:1: is not YAML: exceeded max depth of 10000"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range NewParser().Parse(fleetOf(map[string]string{"acme/x.yaml": c.text}), nil).Errors() {
				got = append(got, err.Error())
			}
			if !strings.Contains(strings.Join(got, "\n"), c.want) {
				t.Errorf("%s: got\n%s\nwant %s", c.why, strings.Join(got, "\n"), c.want)
			}
		})
	}
}

func TestEveryKindsSchemaCompiles(t *testing.T) {
	for kind, compiled := range schemas {
		if s := compiled(); s.rules == nil || s.structural == nil {
			t.Errorf("%s has no rules", kind)
		}
	}
	if len(schemas) != len(kindsOf("acme"))+len(kindsOf(v1alpha1.PlatformDirectory)) {
		t.Error("a kind that may be in a fleet has no schema")
	}
}

// Invariant 3: to be told more of what is wrong must not make any of it right.
func TestWhatHasAnUnknownFieldIsInNoTenant(t *testing.T) {
	files := map[string]string{
		"acme/tenant.yaml": tenant("acme", "colour: red"),
		"acme/web.yaml":    namespace("acme-web", "colour: red"),
		"acme/prod.yaml":   cluster("acme-prod", "colour: red"),
	}
	acme := NewParser().Parse(fleetOf(files), nil).Tenants[0]
	if len(acme.Errors) != len(files) {
		t.Errorf("the errors are %v, want the unknown fields", acme.Errors)
	}
	if acme.Object != nil || len(acme.Namespaces) > 0 || len(acme.Clusters) > 0 {
		t.Errorf("the tenant holds %v, %v, %v", acme.Object, acme.Namespaces, acme.Clusters)
	}
}
