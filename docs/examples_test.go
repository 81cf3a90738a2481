// Package docs holds every example of the documentation to the code: what a
// reader copies from a page works.
package docs

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli/validate"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
)

// example is a fenced block of YAML in a page.
type example struct {
	page string
	line int
	text string
}

var (
	fence    = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	fileLine = regexp.MustCompile(`^# tenants/(\S+)\n`)
)

// A block that begins with "# tenants/<file>" is a file of the fleet. The blocks of
// a page are put into the example fleet in their order, as a reader would, and
// after each the fleet must have no errors.
func TestExamplesRenderInTheExampleFleet(t *testing.T) {
	examples, err := fleet.ReadDir(filepath.Join("..", "tenants"))
	if err != nil {
		t.Fatal(err)
	}
	renderer := render.New(render.Options{Bases: embedded})
	count := 0
	for page, blocks := range pages(t) {
		tree := maps.Clone(examples)
		for _, e := range blocks {
			name := fileLine.FindStringSubmatch(e.text)
			if name == nil {
				continue
			}
			count++
			tree[name[1]] = fleet.File{Data: []byte(e.text)}
			for _, err := range validate.Errors(renderer.Render(tree, nil)) {
				t.Errorf("%s:%d: tenants/%v", page, e.line, err)
			}
		}
	}
	if count == 0 {
		t.Error("found no example that is a file of a fleet")
	}
}

// forgeFile begins a block that a forge reads, and not Kubernetes.
var forgeFile = regexp.MustCompile(`^# \.(gitea|github)/workflows/\S+\.yaml\n|^# \.gitlab-ci\.yml\n`)

// Every other block is one or more whole objects, so that none escapes the test
// by being a fragment; or a whole file of a forge's, which is only read as YAML.
func TestExamplesAreFilesOrWholeObjects(t *testing.T) {
	for _, examples := range pages(t) {
		for _, e := range examples {
			for document := range strings.SplitSeq(e.text, "\n---\n") {
				var object struct {
					APIVersion string         `json:"apiVersion"`
					Kind       string         `json:"kind"`
					Metadata   map[string]any `json:"metadata"`
				}
				if err := yaml.Unmarshal([]byte(document), &object); err != nil {
					t.Errorf("%s:%d: %v", e.page, e.line, err)
				} else if forgeFile.MatchString(e.text) {
					continue
				} else if object.APIVersion == "" || object.Kind == "" {
					t.Errorf("%s:%d: the block is a fragment; show a whole object, or begin with # tenants/<file>", e.page, e.line)
				}
			}
		}
	}
}

// Links between pages lead to files that are there.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	for page, text := range texts(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: the link to %q leads nowhere", page, m[1])
			}
		}
	}
}

func pages(t *testing.T) map[string][]example {
	t.Helper()
	found := map[string][]example{}
	for page, text := range texts(t) {
		for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
			found[page] = append(found[page], example{page: page, line: 1 + strings.Count(text[:m[0]], "\n"), text: text[m[2]:m[3]]})
		}
	}
	return found
}

// texts are the pages by path, the README of the repository and of the fleet
// among them.
func texts(t *testing.T) map[string]string {
	t.Helper()
	files := []string{filepath.Join("..", "README.md"), filepath.Join("..", "CONTRIBUTING.md"), filepath.Join("..", "tenants", "README.md")}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[file] = string(data)
	}
	return found
}

// embedded takes the base of a profile with a sourceRef from the binary: the
// fleet's own base is this repository's.
func embedded(*v1alpha1.BaseSourceRef) (render.Base, error) { return render.EmbeddedBase(), nil }

// Every reason that a condition can have is in the table that says what to do.
func TestEveryReasonIsExplained(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("reference", "conditions.md"))
	if err != nil {
		t.Fatal(err)
	}
	var reasons [][]string
	for _, group := range []string{"v1alpha1", "controlplane/v1alpha1"} {
		source, err := os.ReadFile(filepath.Join("..", "api", group, "conditions.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`(?m)^\tReason\w+ += "(\w+)"$`).FindAllStringSubmatch(string(source), -1)
		if len(found) == 0 {
			t.Fatalf("found no reasons of %s", group)
		}
		reasons = append(reasons, found...)
	}
	for _, reason := range reasons {
		if !strings.Contains(string(page), "`"+reason[1]+"`") {
			t.Errorf("reference/conditions.md does not explain %s", reason[1])
		}
	}
}
