// Package configtest has what the tests of all configuration files ask: that what is
// printed is read again, and that the reference has every field.
package configtest

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/config"
)

// Config is the configuration of a program.
type Config interface {
	Validate() config.Problems
	YAML() ([]byte, error)
}

// Broken are files that no program's configuration is, to begin fuzzing with.
var Broken = []string{
	"kind: a\nkind: b", "- - - -", "{", "a: *b", "\ufeffa: 1", "\xff", "a:\n\t- b", "%YAML 1.1\n---\n", "---\n---\n",
}

// ReadOrRefused wants a file, whatever it holds, to be read or to be refused in lines that
// can be read; and what is read to be printed as a file of which the same is made.
func ReadOrRefused[C Config](t *testing.T, load func([]byte, string) (C, config.Places, error), data []byte) {
	t.Helper()
	c, places, err := load(bytes.Clone(data), "config.yaml")
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "config.yaml:") || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) }) {
				t.Errorf("not a line with a place: %q", line)
			}
		}
		return
	}
	_ = places.Explain(c.Validate())
	PrintedIsRead(t, load, c)
}

// PrintedIsRead wants what a configuration is printed as to be the same configuration.
func PrintedIsRead[C Config](t *testing.T, load func([]byte, string) (C, config.Places, error), c C) {
	t.Helper()
	written, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := load(written, "printed.yaml")
	if err != nil {
		t.Fatalf("what is printed is not read: %v\n%s", err, written)
	}
	if diff := cmp.Diff(c, again); diff != "" {
		t.Errorf("what is printed is another configuration (-first +again):\n%s", diff)
	}
}

// Fields are the values of a configuration by their paths, as text.
func Fields(t *testing.T, c Config) map[string]string {
	t.Helper()
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	var at []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if item, is := strings.CutPrefix(strings.TrimSpace(line), "- "); is {
			found[strings.Join(at, ".")] += " " + item
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		depth := (len(name) - len(strings.TrimLeft(name, " "))) / 2
		at = append(at[:depth], strings.TrimSpace(name))
		if value != "" {
			found[strings.Join(at, ".")] = strings.Trim(value, ` "`)
		}
	}
	return found
}

// row is one of a reference's table of fields: field, default, flag.
var row = regexp.MustCompile("(?m)^\\| `([a-zA-Z.]+)` \\| (.*?) \\| (.*?) \\| .+ \\|$")

// Reference wants a page to show the defaults as they are printed, and to have a row for
// each field with its default and its flag. fieldOf has the fields that flags set.
func Reference(t *testing.T, page string, defaults Config, fieldOf map[string]string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	printed, err := defaults.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("```yaml\n"+string(printed)+"```\n")) {
		t.Errorf("the page does not show the defaults, which are:\n%s", printed)
	}
	flagOf := map[string]string{}
	for name, field := range fieldOf {
		flagOf[field] = "`--" + name + "`"
	}
	want := map[string]string{}
	for path, value := range Fields(t, defaults) {
		if path == "apiVersion" || path == "kind" {
			continue
		}
		if value != "" {
			value = "`" + value + "`"
		}
		want[path] = fmt.Sprintf("%s | %s", value, flagOf[path])
	}
	got := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		got[m[1]] = m[2] + " | " + m[3]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows of the page (-want +got):\n%s", diff)
	}
}
