package convert

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"

	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/secret"
	"github.com/aetherplatform/aether/internal/testenv"
)

var update = flag.Bool("update", false, "write what is converted into testdata")

// converted is a directory of testdata, converted for tenant acme.
func converted(t *testing.T, dir, prefix string) *Result {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatal(dir, err)
	}
	var files []File
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{filepath.Base(name), data})
	}
	r, err := ExternalSecrets(files, Options{StripPrefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

var directories = map[string]string{"web": "acme", "left": "acme", "cluster": "shared"}

func TestManifestsAreConvertedAsReviewed(t *testing.T) {
	for dir, prefix := range directories {
		t.Run(dir, func(t *testing.T) {
			r := converted(t, dir, prefix)
			var entries, syncs, problems bytes.Buffer
			for _, p := range r.Problems() {
				fmt.Fprintln(&problems, p)
			}
			for _, err := range []error{r.Entries(&entries), r.SecretSyncs(&syncs)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			golden(t, dir+".entries.golden", entries.Bytes())
			golden(t, dir+".secretsyncs.golden", syncs.Bytes())
			golden(t, dir+".problems.golden", problems.Bytes())
			for _, p := range r.Problems() {
				if !strings.Contains(entries.String(), "# NOT CARRIED OVER: "+p.String()+"\n") {
					t.Errorf("no comment says: %s", p)
				}
			}
		})
	}
}

// The fleet's own reading is what `aether validate` and the operator do.
func TestEntriesAreValidInAFleet(t *testing.T) {
	for dir, prefix := range directories {
		t.Run(dir, func(t *testing.T) {
			var out bytes.Buffer
			if err := converted(t, dir, prefix).Entries(&out); err != nil {
				t.Fatal(err)
			}
			const header = "apiVersion: aetherplatform.cloud/v1alpha1\nkind: "
			tree := fleet.Tree{
				"_platform/profile.yaml": {Data: []byte(header + "NamespaceProfile\nmetadata: {name: default}\nspec: {base: {path: profiles/default}, openBao: {mounts: [secret, kv], generate: true}, sizes: {small: {quota: {pods: \"9\"}}}}\n")},
				"acme/tenant.yaml":       {Data: []byte(header + "Tenant\nmetadata: {name: acme}\nspec: {namespaces: {max: 9}}\n")},
			}
			for i, doc := range strings.Split(out.String(), "---\n") {
				if strings.Contains(doc, "\nspec:\n") || strings.HasPrefix(doc, "spec:\n") {
					name := fmt.Sprintf("acme-n%d", i)
					tree["acme/"+name+".yaml"] = fleet.File{Data: []byte(header + "TenantNamespace\nmetadata: {name: " + name + "}\n" + strings.Replace(doc, "spec:\n", "spec:\n  tenant: acme\n  size: small\n", 1))}
				}
			}
			if len(tree) < 3 {
				t.Fatalf("there is nothing to hold against the schema:\n%s", out.String())
			}
			for _, err := range fleet.NewParser().Parse(tree, nil).Errors() {
				t.Error(err)
			}
		})
	}
}

func TestSecretSyncsAreValidInACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what needs an API server")
	}
	env := testenv.Start(t)
	for _, name := range []string{"acme-web", "acme-api"} {
		ns := &corev1.Namespace{}
		ns.Name = name
		if err := env.Client.Create(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
	}
	for dir, prefix := range directories {
		var out bytes.Buffer
		if err := converted(t, dir, prefix).SecretSyncs(&out); err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(out.String(), "---\n") {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
				t.Fatal(err)
			}
			if o.Object == nil {
				continue // comments
			}
			if o.GetNamespace() == "" {
				o.SetNamespace("acme-web")
			}
			if err := env.Client.Create(t.Context(), o, client.DryRunAll); err != nil {
				t.Errorf("%s: %v\n%s", dir, err, doc)
			}
		}
	}
}

// What was a template makes the same text as before of what OpenBao has.
func TestATemplateMakesTheTextThatItMadeBefore(t *testing.T) {
	var dsn *Secret
	for _, s := range converted(t, "web", "acme").Secrets {
		if s.Name == "dsn" {
			dsn = s
		}
	}
	recipe, err := secret.Compile("spec", &dsn.SecretSource)
	if err != nil {
		t.Fatal(err)
	}
	made, err := recipe.Make(map[string]any{"username": "app", "password": "x", "key-file": "AAEC"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for key, value := range made {
		got[key] = string(value)
	}
	want := map[string]string{"DSN": "postgres://app:x@db.acme-db:5432/app?options=${x}", "encoded": "YXBwOng=", "raw": "\x00\x01\x02", "price": "$$app"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTemplatesAreTranslated(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                  "plain",
		"{{ .a }}":               "${data.a}",
		"{{- .a -}} b":           "${data.a}b",
		"{{ $.a }}{{ .data.b }}": "${data.a}${data.b}",
		`{{ index . "a-b" }}{{ index .data "c" }}`: `${data["a-b"]}${data.c}`,
		"{{ .in }}":                             `${data["in"]}`,
		"{{ .a | b64dec | b64enc }}":            "${base64.encode(base64.decode(data.a))}",
		"{{ .a | b64dec | toString | trim }}":   "${string(base64.decode(data.a)).trim()}",
		"{{ b64enc .a }}":                       "${base64.encode(bytes(data.a))}",
		`{{ (printf "%s-%v%%" .a .b) | trim }}`: `${(data.a + "-" + data.b + "%").trim()}`,
		`{{ "fixed" | b64enc }}`:                `${base64.encode(bytes("fixed"))}`,
		"${x} $${y} $":                          "$${x} $$${y} $",
		"$${{ .a }}":                            `${"$$"}${data.a}`,
		"{{/* said */}}a":                       "a",
		"{{ .a | upper }}":                      `.a | upper: upper cannot be converted`,
		"{{ range .a }}{{ end }}":               "{{range .a}}{{end}} cannot be converted",
		"{{ $x := .a }}":                        "cannot be converted",
		"{{ .a.b }}":                            ".a.b cannot be converted",
		`{{ printf "%d" .a }}`:                  "cannot be converted",
		`{{ printf "%s" .a .b }}`:               "cannot be converted",
		"{{ .none }}":                           ".none is no key that data or dataFrom reads",
		"{{ `{{ .a }}` }}":                      "is a template of Helm",
		"{{ .a":                                 "it is no Go template",
	} {
		got, err := translate(text, func(name string) (expression, bool) { return fieldOf(name), name != "none" })
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, strings.TrimPrefix(want, ".a | upper: "))) {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

// What fields are told of must not depend on how they are asked for.
func TestNoFieldIsDroppedInSilence(t *testing.T) {
	const manifest = `apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: a, namespace: acme-web}
spec:
  later: true
  secretStoreRef: {name: vault, later: true}
  target: {later: true, template: {later: true, metadata: {later: true}}}
  data: [{secretKey: a, later: true, remoteRef: {key: a, property: a, later: true}, sourceRef: {later: true}}]
  dataFrom: [{later: true, extract: {key: a, later: true}}]
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: vault, namespace: acme-web}
spec: {later: true, provider: {later: true, vault: {server: "https://x.example.com", path: secret, later: true}}}
`
	r, err := ExternalSecrets([]File{{"a.yaml", []byte(strings.Replace(manifest, "{later: true, vault", "{vault", 1))}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	path := regexp.MustCompile(`^(\S*later): it has no counterpart`)
	for _, p := range r.Problems() {
		if m := path.FindStringSubmatch(p.Message); m != nil {
			told[m[1]] = true
		}
	}
	for _, want := range []string{
		"spec.later", "spec.secretStoreRef.later", "spec.target.later", "spec.target.template.later", "spec.target.template.metadata.later",
		"spec.data[0].later", "spec.data[0].remoteRef.later", "spec.data[0].sourceRef.later", "spec.dataFrom[0].later", "spec.dataFrom[0].extract.later", "spec.provider.vault.later",
	} {
		if !told[want] {
			t.Errorf("nothing is said of %s; said:\n%v", want, r.Problems())
		}
	}
}

func TestWhatIsNoYAMLIsAnError(t *testing.T) {
	_, err := ExternalSecrets([]File{{"chart.yaml", []byte("a: {{ .Values.a }}\n  b")}}, Options{})
	if err == nil || !strings.Contains(err.Error(), "chart.yaml is not YAML: ") || !strings.Contains(err.Error(), "convert what `helm template` prints") {
		t.Error(err)
	}
}

func FuzzConvert(f *testing.F) {
	for dir := range directories {
		names, _ := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ExternalSecrets([]File{{"x.yaml", data}}, Options{StripPrefix: "acme"})
		if err != nil {
			return
		}
		for _, s := range r.Secrets {
			if _, err := secret.Compile("spec", &s.SecretSource); err != nil {
				t.Errorf("%s: %v", s.From, err)
			}
		}
		if err := r.Entries(&bytes.Buffer{}); err != nil {
			t.Error(err)
		}
	})
}
