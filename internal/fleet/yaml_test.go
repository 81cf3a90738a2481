package fleet

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestYAMLIsReadStrictly: each fault of a file has one message, at its place.
func TestYAMLIsReadStrictly(t *testing.T) {
	cases := map[string]struct {
		why   string
		files map[string]string
		want  []string
	}{
		"valid": {
			why:   "the fleet that every case changes has no fault",
			files: map[string]string{},
		},
		"malformed YAML": {
			why: "the first thing that goes wrong",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-web
spec:
  tenant: acme
`,
			},
			want: []string{
				"acme/web.yaml:4: is not YAML: did not find expected ',' or '}'",
			},
		},
		"a tab as indentation": {
			why: "editors insert them, and YAML's own message does not name them",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata:
	name: acme-web
`,
			},
			want: []string{
				"acme/web.yaml:4: is not YAML: found character that cannot start any token; indent with spaces, not tabs",
			},
		},
		"a syntax error in the second document": {
			why: "what is before it is read",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "") + "---\nkind: [\n",
			},
			want: []string{
				"acme/web.yaml:9: is not YAML: did not find expected node content",
			},
		},
		"a null byte": {
			why: "editors hide it",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "labels: {a: \"x\x00\"}"),
			},
			want: []string{
				"acme/web.yaml:7: has the invisible character U+0000; remove it",
			},
		},
		"text that runs backwards": {
			why: "a reviewer must see what is applied",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "labels: {a: \"x\u202e\"}"),
			},
			want: []string{
				"acme/web.yaml:7: has the invisible character U+202E; remove it",
			},
		},
		"another encoding than UTF-8": {
			why: "it would be read as something else",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "labels: {a: \"\xff\"}"),
			},
			want: []string{
				"acme/web.yaml:7: is not UTF-8 text; save the file as UTF-8",
			},
		},
		"a byte order mark and CRLF": {
			why: "editors on Windows write them; they harm nothing",
			files: map[string]string{
				"acme/web.yaml": "\ufeff" + strings.ReplaceAll(namespace("acme-web", ""), "\n", "\r\n"),
			},
		},
		"an unknown field": {
			why: "a mistyped field must not be ignored",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "netwrok: {}"),
			},
			want: []string{
				"acme/web.yaml:7: spec.netwrok: no such field; write network",
			},
		},
		"a required field mistyped": {
			why: "one fault, one message",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-web}
spec: {tenannt: acme, size: small}
`,
			},
			want: []string{
				"acme/web.yaml:4: spec.tenannt: no such field; write tenant",
			},
		},
		"unknown fields deep inside": {
			why: "each is reported",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `network:
  ingress:
  - from: [{cird: 203.0.113.0/24}]
    prots: []
    wholly_else: 1`),
			},
			want: []string{
				"acme/web.yaml:9: spec.network.ingress[0].from[0].cird: no such field; write cidr",
				"acme/web.yaml:10: spec.network.ingress[0].prots: no such field; write ports",
				"acme/web.yaml:11: spec.network.ingress[0].wholly_else: no such field; use from or ports",
			},
		},
		"a duplicate field": {
			why: "parsers disagree on which one counts",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `labels:
  team: a
  team: b
size: large`),
			},
			want: []string{
				"acme/web.yaml:9: spec.labels.team: is written twice, first in line 8; keep one",
				"acme/web.yaml:10: spec.size: is written twice, first in line 6; keep one",
			},
		},
		"status": {
			why: "it is Aether's to write",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "") + "status: {digest: x}\n",
			},
			want: []string{
				"acme/web.yaml:7: status: is Aether's to write; leave it out",
			},
		},
		"metadata that Git cannot say": {
			why: "an owner reference or a finalizer would reach beyond the object",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata:
  name: acme-web
  namespace: kube-system
  finalizers: [a/b]
  ownerReferences: []
spec: {tenant: acme, size: small}
`,
			},
			want: []string{
				"acme/web.yaml:5: metadata.namespace: is not for Git to say; metadata holds name, labels and annotations",
				"acme/web.yaml:6: metadata.finalizers: is not for Git to say; metadata holds name, labels and annotations",
				"acme/web.yaml:7: metadata.ownerReferences: is not for Git to say; metadata holds name, labels and annotations",
			},
		},
		"labels of the platform on the object": {
			why: "prune and ownership labels steer controllers",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata:
  name: acme-web
  labels: {kustomize.toolkit.fluxcd.io/prune: disabled}
  annotations: {aetherplatform.cloud/removed-at: now}
spec: {tenant: acme, size: small}
`,
			},
			want: []string{
				"acme/web.yaml:5: metadata.labels[kustomize.toolkit.fluxcd.io/prune]: is set by the platform; use a prefix of your own, such as example.com/team",
				"acme/web.yaml:6: metadata.annotations[aetherplatform.cloud/removed-at]: is set by the platform; use a prefix of your own, such as example.com/team",
			},
		},
		"wrong types": {
			why: "YAML guesses types from how a value looks",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `labels: {version: 1.10, released: true, year: 2026}
access: {kind: User}
network: []
secrets: none
clusters: [{}]`),
			},
			want: []string{
				`acme/web.yaml:7: spec.labels.released: true is not text; write it in quotes: "true"`,
				`acme/web.yaml:7: spec.labels.version: 1.10 is not text; write it in quotes: "1.10"`,
				`acme/web.yaml:7: spec.labels.year: 2026 is not text; write it in quotes: "2026"`,
				"acme/web.yaml:8: spec.access: is a mapping; write a list, each item after a '-'",
				"acme/web.yaml:9: spec.network: is a list; write egress or ingress below it",
				`acme/web.yaml:10: spec.secrets: is "none"; write a list, each item after a '-'`,
				"acme/web.yaml:11: spec.clusters[0]: is a mapping; write text",
			},
		},
		"a number in quotes": {
			why: "the message shows it without",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `namespaces: {max: "10"}
cordoned: "yes"`),
			},
			want: []string{
				`acme/tenant.yaml:6: spec.namespaces.max: is "10"; write a whole number without quotes: 10`,
				`acme/tenant.yaml:7: spec.cordoned: is "yes"; write true or false`,
			},
		},
		"no name": {
			why: "nothing can be said of an object without one",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {}
spec: {tenant: acme, size: small}
`,
			},
			want: []string{
				"acme/web.yaml:3: metadata.name: is missing; write the name of the TenantNamespace",
			},
		},
		"a kind of someone else's": {
			why: "tenants' directories hold three kinds, whatever the cluster serves",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: v1
kind: Secret
metadata: {name: x}
`,
			},
			want: []string{
				`acme/web.yaml:2: kind: "Secret" is not a kind that may be here; use Tenant, TenantNamespace or WorkloadCluster`,
			},
		},
		"a List that wraps other kinds": {
			why: "it is a kind like any other",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: x}}
`,
			},
			want: []string{
				`acme/web.yaml:2: kind: "List" is not a kind that may be here; use Tenant, TenantNamespace or WorkloadCluster`,
			},
		},
		"a mistyped kind": {
			why: "the nearest is named",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamspace
metadata: {name: acme-web}
`,
			},
			want: []string{
				`acme/web.yaml:2: kind: "TenantNamspace" is not a kind that may be here; use TenantNamespace`,
			},
		},
		"another version": {
			why: "only one is served",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1beta1
kind: TenantNamespace
metadata: {name: acme-web}
spec: {tenant: acme, size: small}
`,
			},
			want: []string{
				`acme/web.yaml:1: apiVersion: "aetherplatform.cloud/v1beta1" does not serve TenantNamespace; write aetherplatform.cloud/v1alpha1`,
			},
		},
		"a profile in a tenant's directory": {
			why: "a profile decides for everyone",
			files: map[string]string{
				"acme/profile.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes: {huge: {quota: {pods: "9"}}}
`,
			},
			want: []string{
				"acme/profile.yaml:2: kind: NamespaceProfile belongs in _platform; a tenant's directory holds Tenant, TenantNamespace or WorkloadCluster",
			},
		},
		"a Tenant in the platform's directory": {
			why: "names belong to one directory",
			files: map[string]string{
				"_platform/acme.yaml": tenant("globex", ""),
			},
			want: []string{
				"_platform/acme.yaml:2: kind: Tenant belongs in a tenant's directory; _platform holds NamespaceProfile or TenantException",
			},
		},
		"a document that is a list": {
			why: "it is no object",
			files: map[string]string{
				"acme/web.yaml": `- a
- b
`,
			},
			want: []string{
				"acme/web.yaml:1: is a list; write apiVersion, kind, metadata and spec",
			},
		},
		"no kind": {
			why: "it is no object",
			files: map[string]string{
				"acme/web.yaml": `hello: world
`,
			},
			want: []string{
				"acme/web.yaml:1: kind: is missing; write Tenant, TenantNamespace or WorkloadCluster",
			},
		},
		"an alias bomb": {
			why: "nine lines that stand for a billion values",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `labels: {a: &a [x,x,x,x,x,x,x,x,x]}
annotations:
  b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]
  c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]
  d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]
clusters: *d`),
			},
			want: []string{
				"acme/web.yaml:7: spec.labels.a: is a list; write text",
				"acme/web.yaml:9: spec.annotations.b: is a list; write text",
				"acme/web.yaml:10: spec.annotations.c: is a list; write text",
				"acme/web.yaml:10: spec.clusters[0]: is a list; write text",
				"acme/web.yaml:10: spec.clusters[1]: is a list; write text",
				"acme/web.yaml:10: spec.clusters[2]: is a list; write text",
				"acme/web.yaml:10: spec.clusters[3]: is a list; write text",
				"acme/web.yaml:10: spec.clusters[4]: is a list; write text",
				"acme/web.yaml:10: spec.clusters[5]: is a list; write text",
				"acme/web.yaml:10: spec.clusters[6]: is a list; write text",
				"acme/web.yaml:10: spec.clusters[7]: is a list; write text",
				"acme/web.yaml:10: spec.clusters[8]: is a list; write text",
				"acme/web.yaml:11: spec.annotations.d: is a list; write text",
			},
		},
		"an alias of itself": {
			why: "it has no end",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "access: &a [*a]"),
			},
			want: []string{
				"acme/web.yaml:7: spec.access[0]: is a list; write kind, name, namespace or role below it",
			},
		},
		"a few aliases": {
			why: "people write them to say a thing once",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `access:
- &dev {kind: User, name: dev@example.com, role: editor}
- *dev`),
			},
		},
		"a merge key": {
			why: "it hides which value counts",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `access:
- &dev {kind: User, name: dev@example.com, role: editor}
- {<<: *dev, role: admin}`),
			},
			want: []string{
				"acme/web.yaml:9: spec.access[1]: merges with <<; write the fields out",
			},
		},
		"a tag": {
			why: "it makes a value something else than it looks like",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "labels: {a: !!binary aGVsbG8=}"),
			},
			want: []string{
				`acme/web.yaml:7: spec.labels.a: has the tag "!!binary"; write the value without a tag`,
			},
		},
		"nested beyond reason": {
			why: "recursion has a bound",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "labels: {a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"),
			},
			want: []string{
				"acme/web.yaml:7: spec.labels.a: is a list; write text",
			},
		},
		"a file in no tenant's directory": {
			why: "nobody owns it",
			files: map[string]string{
				"web.yaml": namespace("acme-web", ""),
			},
			want: []string{
				"web.yaml: is in no tenant's directory; move it to <tenant>/web.yaml, or to _platform/web.yaml",
			},
		},
		"README, hidden and other files": {
			why: "they are people's",
			files: map[string]string{
				"README.md":        "# hi",
				"acme/README.md":   "kind: [",
				"acme/.ci.yaml":    "kind: [",
				"acme/logo.svg":    "<svg/>",
				"acme/.git/x.yaml": "kind: [",
			},
		},
		"a symbolic link": {
			why: "it could lead to another tenant's files",
			files: map[string]string{
				"acme/ledger.yaml": "-> ../globex/ledger.yaml",
			},
			want: []string{
				`acme/ledger.yaml: is a symbolic link to "../globex/ledger.yaml"; commit the file itself`,
			},
		},
		"a tenant's directory that is a link": {
			why: "it must not pass for a tenant that left",
			files: map[string]string{
				"globex": "-> acme",
			},
			want: []string{
				`globex: is a symbolic link to "acme"; commit the file itself`,
			},
		},
		"a directory without a Tenant": {
			why: "it would pass for a tenant that left",
			files: map[string]string{
				"acme/tenant.yaml": "",
			},
			want: []string{
				"acme: holds no Tenant; add acme/tenant.yaml with kind: Tenant and metadata.name: acme",
			},
		},
		"two Tenants in a directory": {
			why: "one directory is one tenant",
			files: map[string]string{
				"acme/z.yaml": tenant("globex", ""),
			},
			want: []string{
				`acme/z.yaml:3: metadata.name: "globex" is not what the directory is called; write acme, or move the file to globex/`,
			},
		},
		"an object twice": {
			why: "the position of both is named",
			files: map[string]string{
				"acme/x.yaml": namespace("acme-web", "") + "---\n" + namespace("acme-db", ""),
			},
			want: []string{
				`acme/x.yaml:3: metadata.name: "acme-web" is in acme/web.yaml:1 too; keep one`,
			},
		},
		"a directory that begins with _": {
			why: "these are the platform's to name",
			files: map[string]string{
				"_shared/x.yaml": namespace("acme-x", ""),
			},
			want: []string{
				"_shared: is no tenant's directory; use _platform for what is the platform's, and a tenant's name for a tenant",
			},
		},
		"empty documents": {
			why: "a comment is no object",
			files: map[string]string{
				"acme/web.yaml": "# the web\n---\n---\n" + namespace("acme-web", ""),
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
