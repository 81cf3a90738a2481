package fleet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKustomizationsStayInTheirDirectory: what a kustomization may do, and how the rest is refused.
func TestKustomizationsStayInTheirDirectory(t *testing.T) {
	cases := map[string]struct {
		why   string
		files map[string]string
		want  []string
	}{
		"a tenant that is built": {
			why: "the file that an object comes from is named",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
labels: [{pairs: {example.com/team: web}}]
`,
			},
		},
		"an error in what is built": {
			why: "it is where a person wrote it",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
`,
				"acme/web.yaml": namespace("acme-web", `access:
- {kind: User, name: a, role: owner}`),
			},
			want: []string{
				`acme/web.yaml:8: spec.access[0].role: "owner" is not a role; use admin, editor or viewer`,
			},
		},
		"an error that a patch makes": {
			why: "what is checked is what is built",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
patches:
- target: {kind: TenantNamespace}
  patch: |
    - {op: replace, path: /spec/tenant, value: globex}
`,
			},
			want: []string{
				`acme/web.yaml:5: spec.tenant: "globex" is not the tenant of this directory; write acme, or move the file to globex/ (as built by acme/kustomization.yaml)`,
			},
		},
		"a patch that makes another kind": {
			why: "what is checked is what is built",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
patches:
- target: {kind: TenantNamespace}
  options: {allowKindChange: true}
  patch: |
    - {op: replace, path: /kind, value: NamespaceProfile}
`,
			},
			want: []string{
				"acme/web.yaml:2: kind: NamespaceProfile belongs in _platform; a tenant's directory holds Tenant, TenantNamespace or WorkloadCluster (as built by acme/kustomization.yaml)",
			},
		},
		"a path into another tenant's directory": {
			why: "no tenant may read another's files (invariant 1)",
			files: map[string]string{
				"acme/kustomization.yaml": `resources:
- ../globex
`,
			},
			want: []string{
				`acme/kustomization.yaml:2: resources[0]: "../globex" leaves acme; list paths inside it`,
			},
		},
		"paths that leave by the root": {
			why: "no tenant may read another's files (invariant 1)",
			files: map[string]string{
				"acme/kustomization.yaml": `resources:
- /etc/passwd
- ../../x
- a/../../globex/web.yaml
`,
			},
			want: []string{
				`acme/kustomization.yaml:2: resources[0]: "/etc/passwd" is absolute; list paths inside acme`,
				`acme/kustomization.yaml:3: resources[1]: "../../x" leaves acme; list paths inside it`,
				`acme/kustomization.yaml:4: resources[2]: "a/../../globex/web.yaml" leaves acme; list paths inside it`,
			},
		},
		"remote resources": {
			why: "a reconciler must not be made to fetch",
			files: map[string]string{
				"acme/kustomization.yaml": `resources:
- https://example.com/a.yaml
- git@github.com:evil/repo
- github.com/evil/repo?ref=main
- "git::https://example.com/x"
- ssh://example.com/x
components:
- https://example.com/c
patches:
- path: https://example.com/p.yaml
`,
			},
			want: []string{
				`acme/kustomization.yaml:2: resources[0]: "https://example.com/a.yaml" is remote; copy it into acme and list it by its path`,
				`acme/kustomization.yaml:3: resources[1]: "git@github.com:evil/repo" is remote; copy it into acme and list it by its path`,
				`acme/kustomization.yaml:4: resources[2]: "github.com/evil/repo?ref=main" is remote; copy it into acme and list it by its path`,
				`acme/kustomization.yaml:5: resources[3]: "git::https://example.com/x" is remote; copy it into acme and list it by its path`,
				`acme/kustomization.yaml:6: resources[4]: "ssh://example.com/x" is remote; copy it into acme and list it by its path`,
				`acme/kustomization.yaml:8: components[0]: "https://example.com/c" is remote; copy it into acme and list it by its path`,
				`acme/kustomization.yaml:10: patches[0].path: "https://example.com/p.yaml" is remote; copy it into acme and list it by its path`,
			},
		},
		"a directory that looks like a repository": {
			why: "Kustomize would take it for one and clone it",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [github.com/evil/repo, tenant.yaml, web.yaml]
`,
				"acme/github.com/evil/repo/kustomization.yaml": `resources: [db.yaml]
`,
				"acme/github.com/evil/repo/db.yaml": namespace("acme-db", ""),
			},
		},
		"generators and plugins": {
			why: "they run what is not ours",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
generators: [g.yaml]
transformers: [t.yaml]
validators: [v.yaml]
configurations: [c.yaml]
crds: [c.yaml]
openapi: {path: o.json}
helmCharts: [{name: x}]
configMapGenerator: [{name: x}]
replacements: []
namePrefix: x-
resource: []
`,
			},
			want: []string{
				"acme/kustomization.yaml:2: generators: is not honoured in a tenant's directory, since it changes how others' files are built; use resources, components, patches, labels and commonAnnotations",
				"acme/kustomization.yaml:3: transformers: is not honoured in a tenant's directory, since it changes how others' files are built; use resources, components, patches, labels and commonAnnotations",
				"acme/kustomization.yaml:4: validators: is not honoured in a tenant's directory, since it changes how others' files are built; use resources, components, patches, labels and commonAnnotations",
				"acme/kustomization.yaml:5: configurations: is not honoured in a tenant's directory, since it changes how others' files are built; use resources, components, patches, labels and commonAnnotations",
				"acme/kustomization.yaml:6: crds: is not honoured in a tenant's directory, since it changes how others' files are built; use resources, components, patches, labels and commonAnnotations",
				"acme/kustomization.yaml:7: openapi: is not honoured in a tenant's directory, since it changes how others' files are built; use resources, components, patches, labels and commonAnnotations",
				"acme/kustomization.yaml:8: helmCharts: runs Helm, which a tenant's directory cannot; commit what it makes; use resources, components, patches, labels and commonAnnotations",
				"acme/kustomization.yaml:9: configMapGenerator: is not honoured in a tenant's directory; use resources, components, patches, labels and commonAnnotations",
				"acme/kustomization.yaml:10: replacements: is not honoured in a tenant's directory, since copies of copies grow without bound; write the value where it is needed",
				"acme/kustomization.yaml:11: namePrefix: is not honoured in a tenant's directory, so that each name can be searched for; write the names out",
				"acme/kustomization.yaml:12: resource: no such field; write resources",
			},
		},
		"a cycle": {
			why: "it has no end",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml, a]
`,
				"acme/a/kustomization.yaml": `resources: [../b]
`,
				"acme/b/kustomization.yaml": `resources: [../a]
`,
			},
			want: []string{
				`acme/b/kustomization.yaml:1: resources[0]: "../a" names a kustomization that names this one; break the cycle`,
			},
		},
		"a cycle that nothing names": {
			why: "it is not left out unseen",
			files: map[string]string{
				"acme/a/kustomization.yaml": `resources: [../b]
`,
				"acme/b/kustomization.yaml": `resources: [../a]
`,
			},
			want: []string{
				"acme/a/kustomization.yaml: is named only by kustomizations that name each other; list it in one that is built",
				"acme/b/kustomization.yaml: is named only by kustomizations that name each other; list it in one that is built",
			},
		},
		"itself": {
			why: "it has no end",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [., tenant.yaml, web.yaml]
`,
			},
			want: []string{
				`acme/kustomization.yaml:1: resources[0]: "." is the directory of this kustomization; list its files`,
			},
		},
		"a symbolic link": {
			why: "it could lead anywhere",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml, more]
`,
				"acme/more": "-> ../globex",
			},
			want: []string{
				`acme/kustomization.yaml:1: resources[2]: "more" leads through the symbolic link acme/more; commit the files themselves`,
				`acme/more: is a symbolic link to "../globex"; commit the file itself`,
			},
		},
		"a file that nothing names": {
			why: "it is not left out unseen",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml]
`,
				"acme/sub/kustomization.yaml": `resources: []
`,
			},
			want: []string{
				"acme/sub/kustomization.yaml: is not built, since acme/kustomization.yaml does not name it; list it under resources there, or move it out of acme",
				"acme/web.yaml: is not used, since acme/kustomization.yaml does not name it; list it under resources there, or remove it",
			},
		},
		"files and directories that are not there": {
			why: "each is reported",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml, db.yaml, dir, ""]
`,
				"acme/dir/notes.txt": "x",
			},
			want: []string{
				`acme/kustomization.yaml:1: resources[2]: "db.yaml" is not there; name a file or directory of acme`,
				`acme/kustomization.yaml:1: resources[3]: "dir" holds no kustomization.yaml; list its files`,
				"acme/kustomization.yaml:1: resources[4]: is empty; name a file or a directory",
			},
		},
		"a component": {
			why: "it is built where it is named",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
components: [team]
`,
				"acme/team/kustomization.yaml": `apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
- path: patch.yaml
  target: {kind: TenantNamespace}
`,
				"acme/team/patch.yaml": `- {op: add, path: /spec/labels, value: {example.com/team: web}}
`,
			},
		},
		"a component by itself": {
			why: "it has nothing to change",
			files: map[string]string{
				"acme/team/kustomization.yaml": `apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
`,
			},
			want: []string{
				"acme/team/kustomization.yaml:2: kind: a Component is built only where a kustomization lists it under components; add one",
			},
		},
		"a component among resources, and the other way round": {
			why: "Kustomize's own message does not say where",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml, team]
components: [sub, web.yaml]
`,
				"acme/team/kustomization.yaml": `kind: Component
`,
				"acme/sub/kustomization.yaml": `resources: []
`,
			},
			want: []string{
				`acme/kustomization.yaml:1: resources[2]: "team" is a Component; list it under components`,
				`acme/kustomization.yaml:2: components[0]: "sub" is no Component; list it under resources`,
				`acme/kustomization.yaml:2: components[1]: "web.yaml" is a file; list it under resources`,
			},
		},
		"an alias bomb in a patch": {
			why: "Kustomize would write it out",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
patches:
- patch: |
    a: &a [x,x,x,x,x,x,x,x,x,x]
    b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]
    c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]
    d: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]
`,
			},
			want: []string{
				"acme/kustomization.yaml:3: patches[0].patch: c[8][0]: YAML aliases stand for more than 1000 values; write the values out",
			},
		},
		"copies of copies": {
			why: "thirty operations make a billion values",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
patches:
- target: {kind: Tenant}
  patch: |
    - {op: copy, from: /spec, path: /spec/a}
`,
			},
			want: []string{
				`acme/kustomization.yaml:4: patches[0].patch: [0].op: "copy" is not honoured in a tenant's directory, since copies of copies grow without bound; use add, replace or remove`,
			},
		},
		"the same unit over and over": {
			why: "doubling seven times makes more than a hundred",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml, a1, b1]
`,
				"acme/a1/kustomization.yaml": `resources: [../a2, ../b2]
`,
				"acme/b1/kustomization.yaml": `resources: [../a2, ../b2]
`,
				"acme/a2/kustomization.yaml": `resources: [../a3, ../b3]
`,
				"acme/b2/kustomization.yaml": `resources: [../a3, ../b3]
`,
				"acme/a3/kustomization.yaml": `resources: [../a4, ../b4]
`,
				"acme/b3/kustomization.yaml": `resources: [../a4, ../b4]
`,
				"acme/a4/kustomization.yaml": `resources: [../a5, ../b5]
`,
				"acme/b4/kustomization.yaml": `resources: [../a5, ../b5]
`,
				"acme/a5/kustomization.yaml": `resources: [../a6, ../b6]
`,
				"acme/b5/kustomization.yaml": `resources: [../a6, ../b6]
`,
				"acme/a6/kustomization.yaml": `resources: [../a7, ../b7]
`,
				"acme/b6/kustomization.yaml": `resources: [../a7, ../b7]
`,
				"acme/a7/kustomization.yaml": `resources: []
`,
				"acme/b7/kustomization.yaml": `resources: []
`,
			},
			want: []string{
				"acme/kustomization.yaml: reads more than 100 kustomizations, each counted as often as it is named; name fewer",
			},
		},
		"a resource twice": {
			why: "Kustomize's message names the tenant's own paths",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml, web.yaml]
`,
			},
			want: []string{
				`acme/kustomization.yaml:1: resources[2]: "web.yaml" is listed twice; keep one`,
			},
		},
		"a patch that fits nothing": {
			why: "Kustomize's message is passed on",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
patches:
- patch: |
    apiVersion: aetherplatform.cloud/v1alpha1
    kind: TenantNamespace
    metadata: {name: acme-wbe}
    spec: {size: large}
`,
			},
			want: []string{
				`acme/kustomization.yaml: cannot be built: no resource matches strategic merge patch "TenantNamespace.v1alpha1.aetherplatform.cloud/acme-wbe.[noNs]": no matches for Id TenantNamespace.v1alpha1.aetherplatform.cloud/acme-wbe.[noNs]; failed to find unique target for patch TenantNamespace.v1alpha1.aetherplatform.cloud/acme-wbe.[noNs]`,
			},
		},
		"a patch that cannot be applied": {
			why: "Kustomize's message is passed on",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
patches:
- target: {kind: Tenant}
  patch: |
    - {op: add, path: /a/b/c, value: 1}
`,
			},
			want: []string{
				`acme/kustomization.yaml: cannot be built: add operation does not apply: doc is missing path: "/a/b/c": missing value`,
			},
		},
		"two kustomizations in a directory": {
			why: "Kustomize takes neither",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
`,
				"acme/Kustomization": `resources: []
`,
			},
			want: []string{
				"acme/kustomization.yaml: is a second kustomization beside acme/Kustomization; keep one",
			},
		},
		"a kind of someone else's": {
			why: "it is refused before it is built",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml, secret.yaml]
`,
				"acme/secret.yaml": `apiVersion: v1
kind: Secret
metadata: {name: x}
`,
			},
			want: []string{
				`acme/secret.yaml:2: kind: "Secret" is not a kind that may be here; use Tenant, TenantNamespace or WorkloadCluster`,
			},
		},
		"a patch that moves an object to another name": {
			why: "names are checked in what is built",
			files: map[string]string{
				"acme/kustomization.yaml": `resources: [tenant.yaml, web.yaml]
patches:
- target: {kind: TenantNamespace}
  options: {allowNameChange: true}
  patch: |
    - {op: replace, path: /metadata/name, value: globex-web}
`,
			},
			want: []string{
				`acme/web.yaml:3: metadata.name: "globex-web" is not under the prefix "acme-" of Tenant "acme"; call it "acme-globex-web"`,
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := says(NewParser().Parse(fleetOf(c.files), nil))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", c.why, diff)
			}
		})
	}
}
