package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/testenv"
)

// The program is run in the root of the checkout, and so are its tests.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := os.Chdir(testenv.Root()); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// small makes a release of the operator for one platform: aether takes a minute to link.
func small(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dist")
	var out bytes.Buffer
	err := command(t.Context(), []string{"-version", "v0.1.0", "-platforms", "linux/" + runtime.GOARCH,
		"-programs", "namespace-operator", "-out", dir, "-allow-dirty"}, &out, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return dir
}

// filesOf are the files of a folder, with their sums.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, f := range list {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		sums[f.Name()] = hex.EncodeToString(sum[:])
	}
	return sums
}

func TestTwoReleasesOfOneCommitAreTheSameBitByBit(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("this is %s: the operator is published for Linux alone", runtime.GOOS)
	}
	first, second := small(t), small(t)
	files := filesOf(t, first)
	if diff := cmp.Diff(files, filesOf(t, second)); diff != "" {
		t.Errorf("they differ (-first +second):\n%s", diff)
	}

	end := "_v0.1.0_linux_" + runtime.GOARCH
	want := []string{"CHANGELOG.md", "aether-0.1.0.tgz", "aether.yaml", "checksums.txt", "images.txt",
		"namespace-operator_v0.1.0_image.tar", "namespace-operator" + end + ".tar.gz", "namespace-operator" + end + ".cdx.json"}
	for _, name := range want {
		if files[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	if len(files) != len(want) {
		t.Errorf("there are %d files, want %d: %v", len(files), len(want), files)
	}

	t.Run("checksums are of every file", func(t *testing.T) {
		data, err := os.ReadFile(filepath.Join(first, checksums))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		if len(lines) != len(files)-1 {
			t.Errorf("there are %d sums of %d files", len(lines), len(files)-1)
		}
		for _, line := range lines {
			sum, name, _ := strings.Cut(line, "  ")
			if files[name] != sum {
				t.Errorf("%s has not the sum %s", name, sum)
			}
		}
	})
	t.Run("the program knows its version", func(t *testing.T) {
		data, err := os.ReadFile(filepath.Join(first, "namespace-operator"+end+".tar.gz"))
		if err != nil {
			t.Fatal(err)
		}
		entries, _, err := unpack(data)
		if err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(t.TempDir(), "namespace-operator")
		names := ""
		for _, e := range entries {
			names += e.name + " "
			if e.name == "namespace-operator" {
				if err := os.WriteFile(program, e.data, 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}
		if names != "LICENSE README.md namespace-operator " {
			t.Errorf("the archive holds %s", names)
		}
		commit, err := git(t.Context(), "rev-parse", "HEAD")
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, "--version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "namespace-operator v0.1.0 ("+commit) {
			t.Errorf("it says %q (%v)", out, err)
		}
	})
	t.Run("manifests name the image", func(t *testing.T) {
		list, err := os.ReadFile(filepath.Join(first, "images.txt"))
		if err != nil {
			t.Fatal(err)
		}
		name, digest, _ := strings.Cut(strings.TrimSpace(string(list)), "@")
		text, err := os.ReadFile(filepath.Join(first, "aether.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "image: "+name+"\n") || !strings.HasPrefix(digest, "sha256:") {
			t.Errorf("no Pod of them runs %s", name)
		}
	})
	t.Run("and are those of make manifests", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "aether.yaml")
		if err := command(t.Context(), []string{"-manifests", file}, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		ours, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		published, err := os.ReadFile(filepath.Join(first, "aether.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		// The chart of a checkout is of the version that comes next, or was last.
		if diff := cmp.Diff(unversioned(string(published)), unversioned(string(ours))); diff != "" {
			t.Errorf("they differ (-release +checkout):\n%s", diff)
		}
	})
}

// unversioned is a manifest without the lines that tell a version.
func unversioned(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "app.kubernetes.io/version: ") && !strings.Contains(line, "image: "+registry) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// The API server looks at every field, as `kubectl apply --server-side --validate=strict`
// has it do, and finds nothing that is Helm's.
func TestAnAPIServerTakesThePlainManifests(t *testing.T) {
	c := testenv.Start(t).Client
	text, err := plain(t.Context(), "charts/aether")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "helm.sh") || strings.Contains(string(text), "managed-by: Helm") {
		t.Error("something of them is Helm's")
	}
	tried := 0
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; tried++ {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		options := []client.ApplyOption{client.FieldOwner("kubectl"), client.ForceOwnership}
		if tried == 0 {
			if o.GetKind() != "Namespace" || o.GetName() != "aether-system" {
				t.Fatalf("they begin with %s %s", o.GetKind(), o.GetName())
			}
		} else { // the others need the namespace
			options = append(options, client.DryRunAll)
		}
		if err := client.WithFieldValidation(c, metav1.FieldValidationStrict).Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), options...); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	if tried < 40 {
		t.Errorf("only %d objects were tried", tried)
	}
}

func TestAReleaseThatCannotBeIsRefusedFirst(t *testing.T) {
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	version := func(v string) []string { return []string{"-version", v} }
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no version":     {nil, "say which version: make release VERSION=v0.1.0"},
		"no v":           {version("0.1.0"), `"0.1.0" is not a version; write it as v0.1.0, or v0.1.0-rc.1 before it`},
		"no patch":       {version("v0.1"), `"v0.1" is not a version; write it as v0.1.0, or v0.1.0-rc.1 before it`},
		"build metadata": {version("v0.1.0+1"), `"v0.1.0+1" is not a version; write it as v0.1.0, or v0.1.0-rc.1 before it`},
		"no changes":     {version("v99.0.0"), `CHANGELOG.md: there is no section for v99.0.0; begin one with "## v99.0.0 - YYYY-MM-DD", above "## v0.1.0 (unreleased)"`},
		"platform":       {[]string{"-version", "v0.1.0", "-platforms", "plan9/amd64"}, `-platforms: "plan9/amd64" is not one that is released; use linux/amd64, linux/arm64, darwin/amd64, darwin/arm64`},
		"program":        {[]string{"-version", "v0.1.0", "-programs", "probe"}, `-programs: "probe" is not one that is released; use aether, aether-etcd, cluster-controller or namespace-operator`},
		"folder":         {[]string{"-version", "v0.1.0", "-allow-dirty", "-out", other}, other + ` holds something that is not a release: remove it, or write to another folder with -out`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := command(t.Context(), c.args, io.Discard, io.Discard); errorText(err) != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// What no commit holds, nobody can make again.
func TestATreeWithChangesAndOneWithoutHelmMakeNoRelease(t *testing.T) {
	t.Chdir(t.TempDir())
	commit := func() {
		t.Helper()
		for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "x"}} {
			if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
				t.Fatalf("git %v: %v\n%s", args, err, out)
			}
		}
	}
	refused := func() string {
		return errorText(command(t.Context(), []string{"-version", "v0.1.0"}, io.Discard, io.Discard))
	}
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("CHANGELOG.md", "## v0.1.0\n\nThe first.\n")
	commit()
	if got, want := refused(), "bin/helm is not there; build it: go run ./test/tools/build helm"; got != want {
		t.Errorf("without Helm: %s\nwant %s", got, want)
	}
	write(helm, "")
	if got, want := refused(), "there are changes that no commit holds; commit or remove them, or try it with -allow-dirty:\n?? bin/"; got != want {
		t.Errorf("with changes: %s\nwant %s", got, want)
	}
}
