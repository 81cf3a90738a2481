// Package programtest has what the tests of all programs ask of their command lines.
package programtest

import (
	"flag"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aetherplatform/aether/internal/config/configtest"
	"github.com/aetherplatform/aether/internal/program"
	"github.com/aetherplatform/aether/internal/testenv"
)

// fieldless are flags that set no field of the file.
var fieldless = []string{"config", "print-config", "version", "kubeconfig"}

// common are values of the flags that all programs have, other than their defaults.
var common = map[string]string{
	"namespace": "aether", "leader-elect": "true", "metrics-bind-address": ":1", "pprof": "true",
	"health-probe-bind-address": ":2", "log-level": "debug", "log-format": "text",
}

// EachFlagSetsItsField wants every flag that is the field of a file to set that field, and
// no other. values are those of the program's own flags, other than their defaults.
func EachFlagSetsItsField[C program.Config](t *testing.T, p program.Program[C], values map[string]string) {
	t.Helper()
	before := configtest.Fields(t, p.Default())
	flags, fields := p.FlagSet(new(program.Options[C]), io.Discard)
	flags.VisitAll(func(f *flag.Flag) {
		field, is := fields[f.Name]
		if !is {
			if !slices.Contains(fieldless, f.Name) {
				t.Errorf("--%s sets no field of the file", f.Name)
			}
			return
		}
		value, is := values[f.Name]
		if !is {
			value = common[f.Name]
		}
		o, err := p.Parse([]string{"--" + f.Name + "=" + value}, io.Discard)
		if err != nil {
			t.Fatalf("--%s=%s: %v", f.Name, value, err)
		}
		for path, got := range configtest.Fields(t, o.Config) {
			if changed := got != before[path]; changed != (path == field) {
				t.Errorf("--%s=%s makes %s %s, which was %s", f.Name, value, path, got, before[path])
			}
		}
	})
}

// Reference wants docs/reference/<program>-config.md to show the defaults as they are
// printed, and to have a row for each field with its default and its flag.
func Reference[C program.Config](t *testing.T, p program.Program[C]) {
	t.Helper()
	_, fields := p.FlagSet(new(program.Options[C]), io.Discard)
	configtest.Reference(t, filepath.Join(testenv.Root(), "docs", "reference", p.Name+"-config.md"), p.Default(), fields)
}
