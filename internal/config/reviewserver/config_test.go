package reviewserver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/config/configtest"
	"github.com/aetherplatform/aether/internal/config/reviewserver"
	"github.com/aetherplatform/aether/internal/forge"
)

// header begins every file.
const header = "apiVersion: config.aetherplatform.cloud/v1alpha1\nkind: ReviewServerConfig\n"

// defaults are the whole file that changes nothing.
const defaults = header + `forge:
  type: ""
  url: ""
  user: ""
repositories: []
branch: main
reconcile: []
workers: 2
queue: 100
timeout: 10m
cache: ""
reports:
  url: ""
  keep: 100
webhooks:
  bindAddress: :8080
probes:
  bindAddress: :8081
log:
  level: info
  format: json
`

func TestWithoutAFileTheDefaultsHold(t *testing.T) {
	written, err := reviewserver.Default().YAML()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaults, string(written)); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if problems := reviewserver.Default().Validate(); len(problems) > 0 {
		t.Errorf("the defaults have problems: %v", problems)
	}
}

func TestAFileChangesWhatItSaysAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		set  func(*reviewserver.Config)
	}{
		"nothing but its kind": {header, func(*reviewserver.Config) {}},
		"the defaults":         {defaults, func(*reviewserver.Config) {}},
		"nulls":                {header + "forge:\nrepositories: ~\nreports: {keep: }\n", func(*reviewserver.Config) {}},
		"lists, in both styles": {header + "repositories: [platform/fleet, \"a/b\"]\nreconcile:\n- aether-system/fleet\n", func(c *reviewserver.Config) {
			c.Repositories, c.Reconcile = []string{"platform/fleet", "a/b"}, []string{"aether-system/fleet"}
		}},
		"every kind of value": {header + `
forge: {type: gitlab, url: https://git.example.com/under, user: bot}
repositories: [a/b/c]
branch: trunk
workers: 4
timeout: 1m30s
reports: {url: https://review.example.com, keep: 1}
probes: {bindAddress: 127.0.0.1:9}
log: {format: text}
`, func(c *reviewserver.Config) {
			c.Forge = reviewserver.Forge{Type: forge.GitLab, URL: "https://git.example.com/under", User: "bot"}
			c.Repositories, c.Branch, c.Workers = []string{"a/b/c"}, "trunk", 4
			c.Timeout = config.Duration{Duration: 90 * time.Second}
			c.Reports = reviewserver.Reports{URL: "https://review.example.com", Keep: 1}
			c.Probes.BindAddress, c.Log.Format = "127.0.0.1:9", "text"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, places, err := reviewserver.Load([]byte(c.text), "config.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if err := places.Explain(got.Validate()); err != nil {
				t.Errorf("it has problems:\n%v", err)
			}
			want := reviewserver.Default()
			c.set(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			configtest.PrintedIsRead(t, reviewserver.Load, got)
		})
	}
}

// How a file is read is the same for all: package operator's tests have every case.
func TestWhatIsNoConfigurationIsToldWithItsLine(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"the operator's": {strings.Replace(header, "ReviewServerConfig", "NamespaceOperatorConfig", 1), []string{
			`config.yaml:2: kind: is "NamespaceOperatorConfig", which this program does not read; write ReviewServerConfig`,
		}},
		"a secret in the file, which is not repeated": {header + "forge:\n  token: hush\n", []string{
			`config.yaml:4: forge.token: there is no such field; write type, url or user`,
		}},
		"one text for a list": {header + "repositories: platform/fleet\n", []string{
			`config.yaml:3: repositories: is "platform/fleet"; write a list, such as [platform/fleet]`,
		}},
		"a mapping for a list": {header + "repositories: {platform: fleet}\n", []string{
			`config.yaml:3: repositories: is a mapping; write a list, such as [a, b]`,
		}},
		"what is no text in a list": {header + "reconcile:\n- aether-system/fleet\n- 1\n-\n- [a]\n- !!str b\n", []string{
			`config.yaml:5: reconcile[1]: 1 is not text; write it in quotes: "1"`,
			`config.yaml:6: reconcile[2]: is empty; write text, or leave it out`,
			`config.yaml:7: reconcile[3]: is a list; write text`,
			`config.yaml:8: reconcile[4]: has the tag "!!str"; write the value without a tag`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := reviewserver.Load([]byte(c.text), "config.yaml")
			if err == nil {
				t.Fatal("it is read")
			}
			if diff := cmp.Diff(c.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValuesThatCannotBeAreToldAllAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a forge": {"forge: {type: svn, url: git.example.com}\n", []string{
			`config.yaml:3: forge.type: "svn" is not a forge; use gitea, github or gitlab`,
			`config.yaml:3: forge.url: "git.example.com" is not the address of a forge: write https://git.example.com`,
		}},
		"passwords, which are not repeated": {"forge: {url: \"https://me:hush@x:y\"}\nreports: {url: \"https://me:hush@x\"}\n", []string{
			`config.yaml:3: forge.url: the address of a forge holds no credentials and no query: write https://git.example.com`,
			`config.yaml:4: reports.url: "…@x" is not an address by which people reach this server; write one such as https://review.example.com`,
		}},
		"names, each at its line": {"forge: {type: gitea}\nrepositories:\n- platform/fleet\n- a/b/c\nbranch: \"\"\nreconcile: [fleet, a/b, a/b/c]\n", []string{
			`config.yaml:6: repositories[1]: "a/b/c" is not a repository: write owner/name`,
			`config.yaml:7: branch: is empty; write one such as main`,
			`config.yaml:8: reconcile[0]: "fleet" is not a GitRepository; write namespace/name, such as aether-system/fleet`,
			`config.yaml:8: reconcile[2]: "a/b/c" is not a GitRepository; write namespace/name, such as aether-system/fleet`,
		}},
		"nothing to work with": {"workers: 0\nqueue: -1\ntimeout: 999ms\nreports: {keep: 0}\n", []string{
			`config.yaml:3: workers: 0 is too small; use at least 1`,
			`config.yaml:4: queue: -1 is too small; use at least 1`,
			`config.yaml:5: timeout: 999ms is too short; use at least 1s`,
			`config.yaml:6: reports.keep: 0 is too small; use at least 1`,
		}},
		"addresses to listen at": {"webhooks: {bindAddress: \"0\"}\nprobes: {bindAddress: \"8081\"}\n", []string{
			`config.yaml:3: webhooks.bindAddress: "0" is no address to listen at; write one such as :8080 or 127.0.0.1:8080`,
			`config.yaml:4: probes.bindAddress: "8081" is no address to listen at; write one such as :8080 or 127.0.0.1:8080`,
		}},
		"one address for both": {"probes: {bindAddress: \":8080\"}\n", []string{
			`config.yaml:3: probes.bindAddress: ":8080" is where webhooks are served; write another`,
		}},
		"logs": {"log: {level: warn, format: xml}\n", []string{
			`config.yaml:3: log.level: "warn" is not a level; use debug, info or error`,
			`config.yaml:3: log.format: "xml" is not a format; use json or text`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, places, err := reviewserver.Load([]byte(header+c.text), "config.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if err = places.Explain(got.Validate()); err == nil {
				t.Fatal("it is let through")
			}
			if diff := cmp.Diff(c.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range append([]string{
		defaults, header,
		header + "repositories: [a, \" b: # c\", '0x1', \"null\", é]\nreconcile: []",
		header + "repositories: &a [*a]", header + "repositories: &a [x]\nreconcile: *a", header + "repositories: [[a], {b: c}, ~, !!binary _w==]",
		header + "timeout: -2562047h47m16.854775808s\nforge: {type: \"\", url: \"https://a@b\"}",
	}, configtest.Broken...) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { configtest.ReadOrRefused(t, reviewserver.Load, data) })
}
