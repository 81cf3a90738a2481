package review

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/config/configtest"
	"github.com/aetherplatform/aether/internal/config/reviewserver"
)

// write makes a configuration file with what it says below its header.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	text = "apiVersion: config.aetherplatform.cloud/v1alpha1\nkind: ReviewServerConfig\n" + text
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// prints is the configuration that a command line makes.
func prints(t *testing.T, args ...string) reviewserver.Config {
	t.Helper()
	code, stdout, stderr := execute(t, Engine{}, environment("AETHER_WEBHOOK_SECRET", "hush", "AETHER_FORGE_TOKEN", "hush"), append([]string{"serve", "--print-config"}, args...)...)
	if code != 0 || stderr != "" {
		t.Fatalf("%v gives %d and\n%s", args, code, stderr)
	}
	if strings.Contains(stdout, "hush") {
		t.Errorf("it prints a secret:\n%s", stdout)
	}
	c, _, err := reviewserver.Load([]byte(stdout), "printed.yaml")
	if err != nil {
		t.Fatalf("what is printed is not read: %v\n%s", err, stdout)
	}
	return c
}

func TestFlagsComeBeforeTheFileAndTheFileBeforeTheDefaults(t *testing.T) {
	file := write(t, "forge: {type: gitea, url: https://git.example.com, user: bot}\nrepositories: [a/b, c/d]\nreconcile: [x/y]\nworkers: 7\nprobes: {bindAddress: \":1\"}\n")
	for name, c := range map[string]struct {
		args []string
		set  func(*reviewserver.Config)
	}{
		"no flag":                     {nil, func(*reviewserver.Config) {}},
		"a flag":                      {[]string{"--url=https://other.example"}, func(c *reviewserver.Config) { c.Forge.URL = "https://other.example" }},
		"a flag with its default":     {[]string{"--probes=:8081"}, func(c *reviewserver.Config) { c.Probes.BindAddress = ":8081" }},
		"a flag that is empty":        {[]string{"--user="}, func(c *reviewserver.Config) { c.Forge.User = "" }},
		"of two the last":             {[]string{"--branch=x", "--branch=y"}, func(c *reviewserver.Config) { c.Branch = "y" }},
		"a list takes a list's place": {[]string{"--repo=e/f", "--repo=g/h"}, func(c *reviewserver.Config) { c.Repositories = []string{"e/f", "g/h"} }},
	} {
		t.Run(name, func(t *testing.T) {
			want := reviewserver.Default()
			want.Forge = reviewserver.Forge{Type: "gitea", URL: "https://git.example.com", User: "bot"}
			want.Repositories, want.Reconcile, want.Workers, want.Probes.BindAddress = []string{"a/b", "c/d"}, []string{"x/y"}, 7, ":1"
			c.set(&want)
			if diff := cmp.Diff(want, prints(t, append(c.args, "--config", file)...)); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

// Every flag that is the field of a file sets that field, and no other flag does.
func TestAFlagSetsItsField(t *testing.T) {
	values := map[string]string{
		"forge": "gitlab", "url": "https://git.example.com", "user": "bot", "repo": "a/b", "branch": "trunk", "reconcile": "a/b",
		"cache": "/cache", "reports": "https://review.example.com", "listen": ":1", "probes": ":2",
	}
	before := configtest.Fields(t, reviewserver.Default())
	newServe(&ServeOptions{Env: &cli.Env{Now: time.Now}}).Flags().VisitAll(func(f *pflag.Flag) {
		field, is := serveFields[f.Name]
		if !is {
			if f.Name != "config" && f.Name != "print-config" && f.Name != "kubeconfig" && f.Name != "context" {
				t.Errorf("--%s sets no field of the file", f.Name)
			}
			return
		}
		for path, value := range configtest.Fields(t, prints(t, "--"+f.Name+"="+values[f.Name])) {
			if changed := value != before[path]; changed != (path == field) {
				t.Errorf("--%s=%s makes %s %s, which was %s", f.Name, values[f.Name], path, value, before[path])
			}
		}
	})
}

func TestWhatCannotBeServedIsToldAtItsPlace(t *testing.T) {
	file := write(t, "repositories:\n- fleet\nlog: {format: xml}\n")
	unread := write(t, "repositorys: []\n")
	const try = "\ntry:   aether review serve --print-config shows every field\n"
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"every problem": {[]string{"--config", file, "--listen=8080"}, "error: " +
			file + `:4: repositories[0]: "fleet" is not a repository: write owner/name` + "\n" +
			`--listen: "8080" is no address to listen at; write one such as :8080 or 127.0.0.1:8080` + "\n" +
			file + `:5: log.format: "xml" is not a format; use json or text`},
		"a flag in the place of what is wrong": {[]string{"--config", file, "--repo=x"}, "error: " +
			`--repo: "x" is not a repository: write owner/name` + "\n" +
			file + `:5: log.format: "xml" is not a format; use json or text`},
		"a file that is not there": {[]string{"--config=/nowhere/config.yaml"}, "error: --config: open /nowhere/config.yaml: no such file or directory"},
		"a file that is none":      {[]string{"--config", unread}, "error: " + unread + ":3: repositorys: there is no such field; did you mean repositories?"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := execute(t, Engine{}, environment(), append([]string{"serve"}, c.args...)...)
			if diff := cmp.Diff(c.want+try, stderr); code != cli.ExitUsage || stdout != "" || diff != "" {
				t.Errorf("it ends with %d, prints %q, and says (-want +got):\n%s", code, stdout, diff)
			}
		})
	}
}

func TestTheReferenceHasEveryField(t *testing.T) {
	configtest.Reference(t, filepath.Join("..", "..", "..", "docs", "reference", "review-server-config.md"), reviewserver.Default(), serveFields)
}
