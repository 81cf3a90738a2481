package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/testenv"
)

// A block of a page: a file of the fleet, or commands. What follows "not run:" says
// why a test cannot run them.
var (
	block    = regexp.MustCompile("(?ms)^```(yaml|sh)( not run: [^\n]+)?\n(.*?)^```$")
	fleetYML = regexp.MustCompile(`^# (tenants/\S+)\n`)
)

// pageLimit is how long the commands of one block may take.
const pageLimit = 3 * time.Minute

// toldLines is how many lines are shown of what failed.
const toldLines = 20

// What a reader copies works: the commands of each page are run in a checkout of the
// fleet repository, on a platform with the example fleet, with the files that the page
// shows written before. Each page begins with what the ones before have pushed.
func TestCommandsInTheDocumentationWork(t *testing.T) {
	root := testenv.Root()
	w := startWorld(t, filepath.Join(root, "tenants"))
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.becomesReady(head)

	var pages []string
	for _, glob := range []string{"*.md", "docs/*.md", "docs/*/*.md", "charts/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	run := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := block.FindAllStringSubmatch(string(text), -1)
		if !slices.ContainsFunc(blocks, func(b []string) bool { return b[1] == "sh" && b[2] == "" }) {
			continue
		}
		name, err := filepath.Rel(root, page)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.ToSlash(name), func(t *testing.T) {
			checkout := filepath.Join(t.TempDir(), "fleet")
			w.git("clone", "--quiet", "-c", "credential.helper=store --file '"+w.Credentials()+"'",
				"-c", "user.name=reader", "-c", "user.email=reader@example.com", w.PushURL(), checkout)
			for _, b := range blocks {
				switch name := fleetYML.FindStringSubmatch(b[3]); {
				case b[1] == "yaml" && name != nil:
					write(t, checkout, map[string]string{name[1]: b[3]})
				case b[1] == "sh" && b[2] == "":
					run++
					w.reads(t, checkout, b[3])
				}
			}
		})
	}
	if run < 10 {
		t.Errorf("only %d blocks were run", run)
	}
}

// reads runs commands as a reader would, and stops at the first that fails.
func (w *world) reads(t *testing.T, dir, commands string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pageLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-xeuo", "pipefail", "-c", commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(w.Root, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"KUBECONFIG="+w.Kubeconfig(), "GIT_TERMINAL_PROMPT=0", "HOME="+t.TempDir())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		t.Errorf("%v\n%s\n…\n%s", err, strings.TrimSpace(commands), strings.Join(lines[max(0, len(lines)-toldLines):], "\n"))
	}
}
