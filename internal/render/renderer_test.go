package render

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
)

const kindHeader = "apiVersion: aetherplatform.cloud/v1alpha1\nkind: "

func file(kind, body string) fleet.File {
	return fleet.File{Data: []byte(kindHeader + kind + strings.TrimRight(body, "\n ") + "\n")}
}

// tenantFile names acme and globex as peers, of which only these two agree.
func tenantFile(name string) fleet.File {
	peers := "{tenant: acme}, {tenant: globex}"
	switch name {
	case "acme":
		peers = "{tenant: globex}"
	case "globex":
		peers = "{tenant: acme}"
	}
	return file("Tenant", fmt.Sprintf(`
metadata: {name: %s}
spec:
  owners: [{kind: Group, name: %[1]s-admins, role: admin}]
  namespaces: {profiles: [default, strict]}
  network: {peers: [%s]}
`, name, peers))
}

func namespaceFile(tenant, name, profile, size string) fleet.File {
	return file("TenantNamespace", fmt.Sprintf(`
metadata: {name: %s-%s}
spec:
  tenant: %[1]s
  profile: %[3]s
  size: %[4]s
  network:
    ingress: [{from: [{tenant: globex, namespace: globex-api}, {tenant: acme, namespace: acme-web}], ports: [{port: 80}]}]
`, tenant, name, profile, size))
}

func profileFile(name, path, sizes string) fleet.File {
	return file("NamespaceProfile", fmt.Sprintf(`
metadata: {name: %s}
spec:
  base: {path: %s}
  sizes: {%s}
`, name, path, sizes))
}

const twoSizes = `small: {quota: {pods: "10"}}, large: {quota: {pods: "100"}}`

// smallFleet is two profiles, and three tenants: acme and globex, which are peers,
// and initech, which uses the profile strict alone.
func smallFleet() fleet.Tree {
	return fleet.Tree{
		"_platform/default.yaml":  profileFile("default", "profiles/default", twoSizes),
		"_platform/strict.yaml":   profileFile("strict", "profiles/restricted", twoSizes),
		"acme/tenant.yaml":        tenantFile("acme"),
		"acme/web.yaml":           namespaceFile("acme", "web", "default", "small"),
		"globex/tenant.yaml":      tenantFile("globex"),
		"globex/api.yaml":         namespaceFile("globex", "api", "default", "large"),
		"initech/tenant.yaml":     tenantFile("initech"),
		"initech/namespaces.yaml": namespaceFile("initech", "db", "strict", "small"),
	}
}

func with(tree fleet.Tree, path string, f fleet.File) fleet.Tree {
	tree = maps.Clone(tree)
	tree[path] = f
	return tree
}

func changed(r *Result) []string {
	var names []string
	for _, t := range r.Tenants {
		if t.Changed {
			names = append(names, t.Name)
		}
	}
	return names
}

// messages is every error of a result.
func messages(r *Result) []string {
	out := []string{}
	for _, e := range r.Fleet.PlatformErrors {
		out = append(out, e.Error())
	}
	for _, t := range r.Tenants {
		for _, e := range t.Errors {
			out = append(out, e.Error())
		}
	}
	return out
}

func TestAPushCostsOnlyWhatDependsOnIt(t *testing.T) {
	tests := map[string]struct {
		why  string
		push func(fleet.Tree) fleet.Tree
		want []string
	}{
		"nothing": {
			why:  "a new revision alone changes nobody",
			push: func(tree fleet.Tree) fleet.Tree { return tree },
		},
		"a tenant's size": {
			why: "no other tenant depends on it",
			push: func(tree fleet.Tree) fleet.Tree {
				return with(tree, "acme/web.yaml", namespaceFile("acme", "web", "default", "large"))
			},
			want: []string{"acme"},
		},
		"a profile": {
			why: "only the tenants that use it get other objects",
			push: func(tree fleet.Tree) fleet.Tree {
				return with(tree, "_platform/strict.yaml", profileFile("strict", "profiles/restricted", strings.ReplaceAll(twoSizes, "10", "11")))
			},
			want: []string{"initech"},
		},
		"one side of a peering": {
			why: "the other's rules for it close",
			push: func(tree fleet.Tree) fleet.Tree {
				return with(tree, "globex/tenant.yaml", fleet.File{Data: []byte(strings.Replace(string(tree["globex/tenant.yaml"].Data), "{tenant: acme}", "", 1))})
			},
			want: []string{"acme", "globex"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := New(Options{})
			first := r.Render(smallFleet(), nil)
			if errs := messages(first); len(errs) > 0 {
				t.Fatal(errs)
			}
			if diff := cmp.Diff([]string{"acme", "globex", "initech"}, changed(first)); diff != "" {
				t.Fatalf("the first render (-want +got):\n%s", diff)
			}
			second := r.Render(tt.push(smallFleet()), nil)
			if diff := cmp.Diff(tt.want, changed(second)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.why, diff)
			}
			if same := first.Digest == second.Digest; same != (tt.want == nil) {
				t.Errorf("%s: digest %s, then %s", tt.why, first.Digest, second.Digest)
			}
		})
	}
}

func TestWhereSomethingIsWrittenDoesNotEnterTheDigest(t *testing.T) {
	tree := smallFleet()
	want := New(Options{}).Render(tree, nil)

	moved := maps.Clone(tree)
	delete(moved, "acme/web.yaml")
	moved["acme/namespaces/web.yaml"] = fleet.File{Data: append([]byte("# moved\n\n"), tree["acme/web.yaml"].Data...)}
	got := New(Options{}).Render(moved, nil)
	if got.Digest != want.Digest {
		t.Errorf("got %s, want %s", got.Digest, want.Digest)
	}
	if path := annotation(got.Tenants[0].Objects()[1], v1alpha1.AnnotationPath); path != "acme/namespaces/web.yaml:3" {
		t.Errorf("path: got %s", path)
	}
}

func TestEveryClusterReportsOneDigestAndGetsItsOwnChildren(t *testing.T) {
	placed := strings.Replace(string(namespaceFile("acme", "web", "default", "small").Data), "  size:", "  clusters: [acme-prod]\n  size:", 1)
	tree := with(smallFleet(), "acme/web.yaml", fleet.File{Data: []byte(placed)})
	tree["acme/prod.yaml"] = file("WorkloadCluster", "\nmetadata: {name: acme-prod}\nspec: {tenant: acme, region: dk-1, version: v1.36.3}\n")

	here, there := New(Options{}).Render(tree, nil), New(Options{Cluster: "acme-prod"}).Render(tree, nil)
	if errs := messages(here); len(errs) > 0 {
		t.Fatal(errs)
	}
	if here.Digest != there.Digest {
		t.Errorf("digests differ: %s and %s", here.Digest, there.Digest)
	}
	count := func(r *Result) (n []int) {
		for _, tenant := range r.Tenants {
			n = append(n, len(tenant.Children()))
		}
		return n
	}
	if got := count(here); got[0] != 0 || got[1] == 0 {
		t.Errorf("in the cluster of the fleet: children %v, want none of acme", got)
	}
	if got := count(there); got[0] == 0 || got[1] != 0 {
		t.Errorf("in acme-prod: children %v, want those of acme only", got)
	}
}

// brokenBase is a base whose profiles/default has a wrong field.
func brokenBase() Base {
	base := component(map[string]string{
		"profiles/default/kustomization.yaml": "components: [../../namespace/namespace, ../../namespace/own]\n",
		"namespace/own/own.yaml":              configMap("{name: a}", `{x: "${size.qota}"}`),
	})
	base.Revision = "broken"
	return base
}

func TestAProfileThatBreaksKeepsItsLastGoodTemplate(t *testing.T) {
	custom := func(sizes string) fleet.Tree {
		profile := strings.Replace(string(profileFile("default", "profiles/default", sizes).Data), "base: {", "base: {sourceRef: {kind: GitRepository, name: base}, ", 1)
		return with(smallFleet(), "_platform/default.yaml", fleet.File{Data: []byte(profile)})
	}
	current := EmbeddedBase()
	r := New(Options{Bases: func(*v1alpha1.BaseSourceRef) (Base, error) { return current, nil }})

	good := r.Render(custom(twoSizes), nil)
	if errs := messages(good); len(errs) > 0 {
		t.Fatal(errs)
	}
	current = brokenBase()
	broken := r.Render(custom(twoSizes), nil)
	want := []string{`_platform/default.yaml:1: spec.base: namespace/own/own.yaml: ConfigMap "a": data.x: ${size.qota}: undefined field 'qota'; size has limits, name, quota`}
	if diff := cmp.Diff(want, messages(broken)); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if broken.Digest != good.Digest || changed(broken) != nil {
		t.Errorf("a base that broke changed %v", changed(broken))
	}

	cold := New(Options{Bases: func(*v1alpha1.BaseSourceRef) (Base, error) { return current, nil }}).Render(custom(twoSizes), nil)
	want = append(want,
		`acme/web.yaml:1: spec.profile: "default" cannot be used: it does not compile, see the errors of _platform`,
		`globex/api.yaml:1: spec.profile: "default" cannot be used: it does not compile, see the errors of _platform`)
	if diff := cmp.Diff(want, messages(cold)); diff != "" {
		t.Errorf("without a last good template (-want +got):\n%s", diff)
	}
	if initech := cold.Tenants[2]; len(initech.Applied) == 0 {
		t.Error("a broken profile stopped a tenant that does not use it")
	}

	current = EmbeddedBase()
	if again := r.Render(custom(twoSizes), nil); again.Digest != good.Digest || len(messages(again)) > 0 {
		t.Errorf("after the repair: %v", messages(again))
	}
}

func TestABaseThatCannotBeReadIsAnErrorOfItsProfile(t *testing.T) {
	profile := strings.Replace(string(profileFile("strict", "profiles/default", twoSizes).Data), "base: {", "base: {sourceRef: {kind: GitRepository, name: base}, ", 1)
	tree := with(smallFleet(), "_platform/strict.yaml", fleet.File{Data: []byte(profile)})
	tests := map[string]struct {
		bases func(*v1alpha1.BaseSourceRef) (Base, error)
		want  string
	}{
		"offline": {nil, `_platform/strict.yaml:1: spec.base: sourceRef: GitRepository "base" cannot be read here; leave sourceRef out to use the embedded base`},
		"away": {
			func(*v1alpha1.BaseSourceRef) (Base, error) { return Base{}, errors.New("no artifact yet") },
			`_platform/strict.yaml:1: spec.base: no artifact yet`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := messages(New(Options{Bases: tt.bases}).Render(tree, nil))
			if len(got) == 0 || got[0] != tt.want {
				t.Errorf("got  %v\nwant %s", got, tt.want)
			}
		})
	}
}

func TestATenantsErrorIsItsOwn(t *testing.T) {
	bad := strings.Replace(string(namespaceFile("acme", "web", "default", "small").Data), "tenant: globex, namespace: globex-api", "cidr: 169.254.169.254/32", 1)
	r := New(Options{})
	before := r.Render(smallFleet(), nil)
	after := r.Render(with(smallFleet(), "acme/web.yaml", fleet.File{Data: []byte(bad)}), nil)

	acme := after.Tenants[0]
	if len(acme.Errors) != 1 || !strings.HasPrefix(acme.Errors[0].Error(), "acme/web.yaml:") || !strings.Contains(acme.Errors[0].Message, "link-local") {
		t.Errorf("errors: %v", acme.Errors)
	}
	if acme.Objects() != nil || acme.Children() != nil || acme.Digest != "" {
		t.Error("a tenant with an error has something to apply")
	}
	for i := 1; i < len(after.Tenants); i++ {
		if after.Tenants[i].Digest != before.Tenants[i].Digest || after.Tenants[i].Changed {
			t.Errorf("it changed %s", after.Tenants[i].Name)
		}
	}
}

// Whatever is pushed, in whatever order, a renderer that remembers gives what one
// that remembers nothing gives.
func TestWhatIsRememberedIsWhatWouldBeRendered(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	edits := []func(fleet.Tree){
		func(tree fleet.Tree) {
			tree["acme/web.yaml"] = namespaceFile("acme", "web", "default", pick(random, "small", "large", "huge"))
		},
		func(tree fleet.Tree) {
			tree["acme/db.yaml"] = namespaceFile("acme", "db", pick(random, "default", "strict"), "small")
		},
		func(tree fleet.Tree) { delete(tree, "acme/db.yaml") },
		func(tree fleet.Tree) { tree["globex/tenant.yaml"] = tenantFile(pick(random, "globex", "other")) },
		func(tree fleet.Tree) {
			tree["initech/x.yaml"] = fleet.File{Data: []byte(pick(random, "# nothing\n", "{{", "kind: Secret\n"))}
		},
		func(tree fleet.Tree) { delete(tree, "initech/x.yaml") },
		func(tree fleet.Tree) {
			tree["_platform/default.yaml"] = profileFile("default", pick(random, "profiles/default", "profiles/restricted"), pick(random, twoSizes, `small: {quota: {pods: "1"}}, large: {quota: {pods: "2"}}`))
		},
		func(tree fleet.Tree) {
			tree["umbrella/tenant.yaml"] = tenantFile("umbrella")
			tree["umbrella/lab.yaml"] = namespaceFile("umbrella", "lab", "default", "small")
		},
		func(tree fleet.Tree) { delete(tree, "umbrella/tenant.yaml") },
		func(tree fleet.Tree) { delete(tree, "umbrella/lab.yaml") },
	}
	tree := smallFleet()
	remembers := New(Options{})
	remembers.Render(tree, nil)
	for step := range 40 {
		tree = maps.Clone(tree)
		edits[random.IntN(len(edits))](tree)
		warm, cold := remembers.Render(tree, nil), New(Options{}).Render(tree, nil)
		if diff := cmp.Diff(summary(t, cold), summary(t, warm)); diff != "" {
			t.Fatalf("after edit %d (-cold +warm):\n%s", step, diff)
		}
	}
}

func pick(random *rand.Rand, options ...string) string { return options[random.IntN(len(options))] }

// summary is everything of a result but what says what changed.
func summary(t *testing.T, r *Result) map[string]string {
	out := map[string]string{"": r.Digest, "errors": strings.Join(messages(r), "\n")}
	for _, tenant := range r.Tenants {
		out[tenant.Name] = tenant.Digest
		out[tenant.Name+" objects"] = string(asYAML(t, tenant.Objects()))
		out[tenant.Name+" children"] = string(asYAML(t, tenant.Children()))
	}
	return out
}

func TestAFleetRendersToTheSameBytesEveryTime(t *testing.T) {
	want := summary(t, New(Options{}).Render(smallFleet(), nil))
	for range 3 {
		if diff := cmp.Diff(want, summary(t, New(Options{}).Render(smallFleet(), nil))); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestObjectsOfGitCarryWhereTheyCameFrom(t *testing.T) {
	result := New(Options{}).Render(smallFleet(), nil)
	acme := result.Tenants[0]
	want := []string{"Tenant/acme", "TenantNamespace/acme-web"}
	if diff := cmp.Diff(want, ids(acme.Objects())); diff != "" {
		t.Fatal(diff)
	}
	for _, o := range append(acme.Objects(), result.Platform[0].Object()) {
		if o.Object["status"] != nil {
			t.Errorf("%s has a status", o.GetName())
		}
		if annotation(o, v1alpha1.AnnotationDigest) != DigestOf(o) || annotation(o, v1alpha1.AnnotationPath) == "" {
			t.Errorf("%s: annotations %v", o.GetName(), o.GetAnnotations())
		}
	}
	for _, o := range acme.Objects() {
		if o.GetLabels()[v1alpha1.LabelTenant] != "acme" {
			t.Errorf("%s: labels %v", o.GetName(), o.GetLabels())
		}
	}
	if kind := result.Platform[0].Object().GetKind(); kind != v1alpha1.KindNamespaceProfile {
		t.Errorf("the platform's profiles are missing: %s", kind)
	}
}
