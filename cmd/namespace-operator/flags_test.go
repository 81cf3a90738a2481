package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/config/operator"
	"github.com/aetherplatform/aether/internal/program/programtest"
	"github.com/aetherplatform/aether/internal/version"
)

// write makes a configuration file with what it says below its header.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	text = "apiVersion: config.aetherplatform.cloud/v1alpha1\nkind: NamespaceOperatorConfig\n" + text
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFlagsComeBeforeTheFileAndTheFileBeforeTheDefaults(t *testing.T) {
	file := write(t, "cluster: acme-prod\nconcurrency: 8\nleaderElection: {enabled: true}\nmetrics: {bindAddress: \":1\", pprof: true}\nlog: {level: debug}\n")
	for name, c := range map[string]struct {
		args []string
		set  func(*operator.Config)
	}{
		"no flag":                  {nil, func(*operator.Config) {}},
		"a flag":                   {[]string{"--concurrency=4"}, func(c *operator.Config) { c.Concurrency = 4 }},
		"a flag with its default":  {[]string{"--concurrency=32"}, func(c *operator.Config) { c.Concurrency = 32 }},
		"a flag that is empty":     {[]string{"--cluster="}, func(c *operator.Config) { c.Cluster = "" }},
		"switched off":             {[]string{"--leader-elect=false", "--pprof=false"}, func(c *operator.Config) { c.LeaderElection.Enabled, c.Metrics.Pprof = false, false }},
		"of two the last":          {[]string{"--log-level=info", "--log-level=error"}, func(c *operator.Config) { c.Log.Level = "error" }},
		"what the file leaves out": {[]string{"--memory-target=1Gi"}, func(c *operator.Config) { c.MemoryTarget = 1 << 30 }},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			got, err := namespaceOperator().Parse(append(c.args, "--config", file), &stderr)
			if err != nil {
				t.Fatal(err, stderr.String())
			}
			want := operator.Default()
			want.Cluster, want.Concurrency, want.LeaderElection.Enabled, want.Log.Level = "acme-prod", 8, true, "debug"
			want.Metrics = config.Metrics{BindAddress: ":1", Pprof: true}
			c.set(&want)
			if diff := cmp.Diff(want, got.Config); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEachFlagSetsItsField(t *testing.T) {
	programtest.EachFlagSetsItsField(t, namespaceOperator(), map[string]string{
		"cluster": "acme-prod", "concurrency": "7", "memory-target": "1Gi", "openbao-address": "https://bao", "openbao-ca-file": "/ca.crt",
	})
}

func TestPrintConfigPrintsAFileThatMakesTheSame(t *testing.T) {
	file := write(t, "openBao:\n  address: https://openbao.example.com:8200\n  auth: {method: approle, appRole: {roleID: \"0123\", secretIDFile: /run/id}}\n")
	first := runs(t, 0, "--config", file, "--print-config", "--concurrency=3", "--metrics-bind-address=0")
	for _, line := range []string{"concurrency: 3\n", `  bindAddress: "0"` + "\n", "  address: https://openbao.example.com:8200\n", `      roleID: "0123"` + "\n", "  checkInterval: 5m\n"} {
		if !strings.Contains(first, line) {
			t.Errorf("it does not print %q", line)
		}
	}
	printed := filepath.Join(t.TempDir(), "printed.yaml")
	if err := os.WriteFile(printed, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, runs(t, 0, "--print-config", "--config="+printed)); diff != "" {
		t.Errorf("printed again (-first +again):\n%s", diff)
	}
}

func TestWhatCannotRunIsToldOnStderrAndEndsWithTwo(t *testing.T) {
	file := write(t, "log: {format: xml}\nopenBao:\n  address: http://x\n")
	unread := write(t, "clutser: acme\n")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"every problem, at its place": {[]string{"--config", file, "--print-config", "--concurrency=0"},
			"--concurrency: 0 is too small; use at least 1\n" +
				file + `:3: log.format: "xml" is not a format; use json or text` + "\n" +
				file + `:5: openBao.address: "http://x" is no address; write https://host:port, since secrets do not travel in the clear` + "\n"},
		"flags that mend the file": {[]string{"--config", file, "--log-format=text", "--openbao-address=x"},
			`--openbao-address: "x" is no address; write https://host:port, since secrets do not travel in the clear` + "\n"},
		"a file that is not there": {[]string{"--config=/nowhere/config.yaml"}, "--config: open /nowhere/config.yaml: no such file or directory\n"},
		"a file that is none":      {[]string{"--config", unread}, unread + ":3: clutser: there is no such field; did you mean cluster?\n"},
		"an argument":              {[]string{"run"}, "unexpected argument \"run\"\n"},
		"no file": {[]string{"--log-level=warn", "--memory-target=0"},
			"--memory-target: 0 is too small; use more than nothing, such as 320Mi\n--log-level: \"warn\" is not a level; use debug, info or error\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, runs(t, 2, c.args...)); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

func TestACAFileThatIsNotThereIsToldWithItsPlace(t *testing.T) {
	file := write(t, "openBao:\n  caFile: /nowhere/ca.crt\n")
	for want, args := range map[string][]string{
		file + ":4: openBao.caFile: open /nowhere/ca.crt: no such file or directory": {"--config", file},
		"--openbao-ca-file: open /nowhere/else: no such file or directory":           {"--config", file, "--openbao-ca-file=/nowhere/else"},
	} {
		o, err := namespaceOperator().Parse(args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := secrets(o); err == nil || err.Error() != want {
			t.Errorf("it says %v, want %q", err, want)
		}
	}
}

func TestTheReferenceHasEveryField(t *testing.T) { programtest.Reference(t, namespaceOperator()) }

// runs is what the program prints, on stdout if it is to end with 0, and else on stderr.
func runs(t *testing.T, code int, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if got := namespaceOperator().Command(args, &stdout, &stderr); got != code {
		t.Fatalf("it ends with %d, want %d; it says:\n%s", got, code, &stderr)
	}
	says, silent := &stdout, &stderr
	if code != 0 {
		says, silent = silent, says
	}
	if silent.Len() > 0 {
		t.Errorf("it says too:\n%s", silent)
	}
	return says.String()
}

// Whatever else is asked for: nothing is started.
func TestVersionIsPrintedAsAetherPrintsIt(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := namespaceOperator().Command([]string{"--version"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
	if got, want := stdout.String(), version.Get().Line("namespace-operator")+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
