package fleet

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// fuzzed remembers the directories that stay the same.
var fuzzed = NewParser()

// checkFuzzed checks what holds for every input: no panic reaches the outside, each fault is
// one line at its place, it is the tenant's own, and it is the same every time.
func checkFuzzed(t *testing.T, tree Tree) {
	t.Helper()
	tree["acme/tenant.yaml"] = File{Data: []byte(tenant("acme", "network: {peers: [{tenant: globex}]}"))}
	tree["acme/web.yaml"] = File{Data: []byte(namespace("acme-web", ""))}
	tree["_platform/profiles.yaml"] = File{Data: []byte(platform)}
	f := fuzzed.Parse(tree, nil)
	for _, err := range append(f.Errors(), f.Warnings()...) {
		message := err.Error()
		switch {
		case strings.Contains(message, "report this as a bug"), strings.Contains(message, "kustomize failed"), strings.Contains(message, "not done after"):
			t.Errorf("panic: %s", message)
		case strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }):
			t.Errorf("not one line of text: %q", message)
		case err.Tenant != "globex" && !strings.Contains(message, "spec.network.peers[0]: "):
			t.Errorf("not the tenant's own: %s", message)
		case err.Tenant == "globex" && err.File != "globex" && !strings.HasPrefix(err.File, "globex/"):
			t.Errorf("of a file that is not the tenant's: %s", message)
		}
	}
	for _, tenant := range f.Tenants {
		for _, ns := range tenant.Namespaces {
			if tenant.Name == "globex" && len(tenant.Errors) == 0 && (ns.Value.Spec.Tenant != "globex" || !strings.HasPrefix(ns.Value.Name, tenant.Object.Value.Prefix())) {
				t.Errorf("globex may have %s of %s", ns.Value.Name, ns.Value.Spec.Tenant)
			}
		}
	}
	globex := Tree{}
	for name, file := range tree {
		if strings.HasPrefix(name, "globex/") {
			globex[name] = file
		}
	}
	again := readDirectory("globex", globex)
	if diff := cmp.Diff(fuzzed.read["globex"].errs, again.errs); diff != "" {
		t.Errorf("not the same every time:\n%s", diff)
	}
}

func ofGlobex(text string) string { return strings.ReplaceAll(text, "acme", "globex") }

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		tenant("acme", "namespaces: {max: 3, prefix: acme-}\nquota: {hard: {requests.cpu: 4}}"),
		tenant("acme", "") + "---\n" + namespace("acme-web", "network:\n  ingress:\n  - from: [{namespace: acme-web}, {cidr: 10.0.0.0/8}]\n    ports: [{port: 80, endPort: 90}]"),
		namespace("acme-web", "access:\n- &a {kind: User, name: \"dev@example.com\", role: editor}\n- *a"),
		namespace("acme-web", "gitops: {url: \"ssh://git@example.com/x\", interval: 5m}\noverrides: {quota: {pods: 1}}"),
		namespace("acme-web", "secrets:\n- {name: db, path: db, keys: {a: b}, template: {c: \"${data.d}\"}, generate: {e: {password: {}}}}"),
		namespace("acme-web", "labels: {<<: {a: b}, !!binary c: d, ? {e: f} : g}"),
		cluster("acme-prod", "network: {podCIDR: 10.0.0.0/16}"),
		"a: &a [*a]", "a: *b", "? - a\n: b", "- - - -", "%YAML 1.1\n---\n", "{", "\ufeffa: 1", "\xff", "kind: Tenant\nkind: Tenant", "a: !!int x", "0x_: 1e999", "a:\n\t- b",
	} {
		f.Add([]byte(ofGlobex(seed)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// The parser remembers what it read, and the fuzzer writes into its buffer again.
		checkFuzzed(t, Tree{"globex/x.yaml": {Data: bytes.Clone(data)}})
	})
}

func FuzzKustomization(f *testing.F) {
	for _, seed := range []string{
		"resources: [tenant.yaml, web.yaml, sub]\nlabels: [{pairs: {a: b}}]\ncommonAnnotations: {c: d}",
		"resources: [tenant.yaml, web.yaml]\ncomponents: [team]\npatches:\n- path: patch.yaml\n  target: {kind: TenantNamespace, name: \".*\"}",
		"resources: [tenant.yaml]\npatches:\n- patch: |\n    apiVersion: aetherplatform.cloud/v1alpha1\n    kind: Tenant\n    metadata: {name: globex}\n    spec: {cordoned: true, owners: null, $patch: replace}",
		"patches: [{patch: '[{op: add, path: /spec/access/-, value: {}}]', target: {labelSelector: a=b, annotationSelector: '!c'}}]",
		"resources: [., .., ../acme, sub/../sub, /x, 'https://x', 'a b', \"\\u0000\"]",
		"kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1", "resources: {}", "- a", "resources: [sub, sub]", "labels: [{}]", "patches: [{}]", "a: &a [*a]\nresources: *a",
	} {
		f.Add([]byte(seed), []byte("[{op: replace, path: /spec/size, value: large}]"))
	}
	f.Add([]byte("resources: [tenant.yaml, web.yaml]\npatches: [{path: patch.yaml}]"), []byte("apiVersion: aetherplatform.cloud/v1alpha1\nkind: TenantNamespace\nmetadata: {name: globex-web}\n$patch: delete\n---\n{}"))
	f.Fuzz(func(t *testing.T, kustomization, patch []byte) {
		checkFuzzed(t, Tree{
			"globex/kustomization.yaml":      {Data: bytes.Clone(kustomization)},
			"globex/patch.yaml":              {Data: bytes.Clone(patch)},
			"globex/tenant.yaml":             {Data: []byte(tenant("globex", ""))},
			"globex/web.yaml":                {Data: []byte(ofGlobex(namespace("acme-web", "")))},
			"globex/sub/kustomization.yaml":  {Data: []byte("resources: [db.yaml]\n")},
			"globex/sub/db.yaml":             {Data: []byte(ofGlobex(namespace("acme-db", "")))},
			"globex/team/kustomization.yaml": {Data: []byte("kind: Component\nlabels: [{pairs: {team: web}}]\n")},
		})
	})
}

func FuzzReadTarGz(f *testing.F) {
	f.Add(archiveOf(f, Tree{"acme/tenant.yaml": {Data: []byte("a: 1")}, "acme/x": {Link: "../y"}}))
	f.Add(tarGz(f, []entry{regular("tenants/../x", "y")}))
	f.Add(tarGz(f, []entry{regular("tenants/acme/x\ny.yaml", "y"), regular("tenants/acme", "y"), regular("tenants/acme/x.yaml", "y")}))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, archive []byte) {
		tree, err := ReadTarGz(bytes.NewReader(archive), "./tenants", nil)
		if err != nil {
			return
		}
		for name, file := range tree {
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") || len(name) > MaxPathBytes || len(file.Data) > MaxFileBytes {
				t.Errorf("%q is in the tree, with %d bytes", name, len(file.Data))
			}
		}
		NewParser().Parse(tree, nil)
	})
}
