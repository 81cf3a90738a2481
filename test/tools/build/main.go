// Command build makes the programs that the local platform, the tests and the
// generators run, from their Go modules, into bin/. Each has a small module of its
// own beside this folder, so that their requirements do not meet and go.sum
// verifies every byte.
//
// What is there already and made from the same module by the same Go is left
// alone, so a second run takes no time. It builds one program after another:
// kube-apiserver alone keeps a small machine busy.
//
//	go run ./test/tools/build [GROUP|TOOL...]
//	go run ./test/tools/build -needs   # packages of Debian that the group node needs and that are not there
//
// The groups are platform (the default), node, generate and lint.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A tool is a file, or for crds a folder, in bin/.
type tool struct {
	name  string
	group string
	// folder is the tool's module, below test/tools.
	folder string
	// module carries the version.
	module string
	// besides is a module of the project's own go.mod that the tool is made from too.
	besides string
	// takes is said before a build that takes long.
	takes string
	make  func(ctx context.Context, t tool, version, output string) error
}

var tools = []tool{
	{name: "crds", group: "platform", folder: "flux", module: "github.com/fluxcd/source-controller", besides: cilium, make: moduleCRDs},
	{name: "etcd", group: "platform", folder: "etcd", module: "go.etcd.io/etcd/server/v3",
		takes: "about 40 s on two cores", make: goBuild("go.etcd.io/etcd/server/v3", nil)},
	{name: "kube-apiserver", group: "platform", folder: "kubernetes", module: "k8s.io/kubernetes",
		takes: "about 3 min on two cores", make: goBuild("k8s.io/kubernetes/cmd/kube-apiserver", kubernetesVersion)},
	{name: "kube-controller-manager", group: "platform", folder: "kubernetes", module: "k8s.io/kubernetes",
		takes: "about 1 min on two cores", make: goBuild("k8s.io/kubernetes/cmd/kube-controller-manager", kubernetesVersion)},
	{name: "controller-gen", group: "generate", folder: "controller-gen", module: "sigs.k8s.io/controller-tools",
		make: goBuild("sigs.k8s.io/controller-tools/cmd/controller-gen", nil)},
	{name: "crd-ref-docs", group: "generate", folder: "crd-ref-docs", module: "github.com/elastic/crd-ref-docs",
		make: goBuild("github.com/elastic/crd-ref-docs", nil)},
	{name: "golangci-lint", group: "lint", folder: "golangci-lint", module: "github.com/golangci/golangci-lint/v2",
		takes: "about 4 min on two cores", make: goBuild("github.com/golangci/golangci-lint/v2/cmd/golangci-lint", nil)},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "make tools:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, names []string) error {
	if slices.Equal(names, []string{"-needs"}) {
		_, err := fmt.Fprintln(out, missingPackages())
		return err
	}
	wanted, err := selected(names)
	if err != nil {
		return err
	}
	if err := prerequisites(); err != nil {
		return err
	}
	if slices.ContainsFunc(wanted, func(t tool) bool { return t.group == "node" && t.name != "coredns" }) {
		if err := nodePrerequisites(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join("bin", ".stamps"), 0o755); err != nil {
		return err
	}
	for i, t := range wanted {
		version, stamp, err := t.state()
		if err != nil {
			return fmt.Errorf("cannot read the module of %s: %w", t.name, err)
		}
		if t.current(stamp) {
			continue
		}
		fmt.Fprintf(out, "[%d/%d] %s %s %s", i+1, len(wanted), t.name, version, ellipsis(t.takes))
		start := time.Now()
		if err := t.build(ctx, version, stamp); err != nil {
			fmt.Fprintln(out)
			return fmt.Errorf("cannot build %s: %w", t.name, err)
		}
		fmt.Fprintf(out, " %.0f s\n", time.Since(start).Seconds())
	}
	return nil
}

func selected(names []string) ([]tool, error) {
	if len(names) == 0 {
		names = []string{"platform"}
	}
	var found []tool
	for _, name := range names {
		before := len(found)
		for _, t := range tools {
			if t.name == name || t.group == name {
				found = append(found, t)
			}
		}
		if len(found) == before {
			return nil, fmt.Errorf("no tool or group is called %q; the groups are platform, node, generate and lint", name)
		}
	}
	return found, nil
}

// prerequisites fails before the first long build rather than after it.
func prerequisites() error {
	if _, err := os.Stat("test/tools"); err != nil {
		return errors.New("run it in the root of the checkout: go run ./test/tools/build")
	}
	if _, err := exec.LookPath("git"); err != nil {
		return errors.New("git is not on the PATH; the local platform serves and fetches repositories with it: install git 2.31 or later")
	}
	return nil
}

func ellipsis(takes string) string {
	if takes == "" {
		return "…"
	}
	return "(" + takes + " when nothing is cached) …"
}

// state is the tool's version and the stamp of what it would be built from.
func (t tool) state() (version, stamp string, err error) {
	folder := filepath.Join("test", "tools", t.folder)
	h := sha256.New()
	fmt.Fprintln(h, t.name, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return "", "", err
		}
		h.Write(data)
		if name == "go.mod" {
			version = requiredVersion(data, t.module)
		}
	}
	if version == "" {
		return "", "", fmt.Errorf("%s/go.mod does not require %s", folder, t.module)
	}
	if t.besides != "" {
		mod, err := os.ReadFile("go.mod")
		if err != nil {
			return "", "", err
		}
		fmt.Fprintln(h, t.besides, requiredVersion(mod, t.besides))
	}
	return version, hex.EncodeToString(h.Sum(nil)), nil
}

// requiredVersion reads one version from a go.mod; running `go list` for it
// would cost more than everything else that a run with nothing to do does.
func requiredVersion(mod []byte, module string) string {
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1]
		}
	}
	return ""
}

func (t tool) output() string { return filepath.Join("bin", t.name) }
func (t tool) stamp() string  { return filepath.Join("bin", ".stamps", t.name) }

func (t tool) current(stamp string) bool {
	if _, err := os.Stat(t.output()); err != nil {
		return false
	}
	built, err := os.ReadFile(t.stamp())
	return err == nil && string(built) == stamp
}

// build makes the tool beside its place and moves it there, so that a build that
// is interrupted leaves no half of a program, and one that runs is not disturbed.
func (t tool) build(ctx context.Context, version, stamp string) error {
	next, err := filepath.Abs(filepath.Join("bin", ".stamps", t.name+".next"))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := t.make(ctx, t, version, next); err != nil {
		return err
	}
	if err := os.RemoveAll(t.output()); err != nil {
		return err
	}
	if err := os.Rename(next, t.output()); err != nil {
		return err
	}
	return os.WriteFile(t.stamp(), []byte(stamp), 0o644)
}

// goBuild builds a main package of the tool's module. ldflags may be nil.
func goBuild(pkg string, ldflags func(version string) string) func(context.Context, tool, string, string) error {
	return func(ctx context.Context, t tool, version, output string) error {
		flags := "-s -w"
		if ldflags != nil {
			flags += " " + ldflags(version)
		}
		_, err := goTool(ctx, t, "build", "-ldflags", flags, "-o", output, pkg)
		return err
	}
}

// kubernetesVersion links the version in: without it the programs say v0.0.0 and
// clients cannot parse what the server is.
func kubernetesVersion(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	var flags []string
	for _, set := range []string{
		"k8s.io/component-base/version.gitVersion=" + version,
		"k8s.io/component-base/version.gitMajor=" + parts[0],
		"k8s.io/component-base/version.gitMinor=" + parts[1],
		"k8s.io/client-go/pkg/version.gitVersion=" + version,
	} {
		flags = append(flags, "-X", set)
	}
	return strings.Join(flags, " ")
}

// cilium is the module that the project's own code has Cilium's types from; the
// CRD has to be of the same version.
const cilium = "github.com/cilium/cilium"

// moduleCRDs copies the CRDs of what the platform works with out of its modules:
// those of the Flux controllers, and of Cilium the one that Aether writes.
func moduleCRDs(ctx context.Context, t tool, _, output string) error {
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	own := tool{folder: filepath.Join("..", "..")}
	for _, from := range []struct {
		tool
		module, files, prefix string
	}{
		{t, "github.com/fluxcd/source-controller", "config/crd/bases/*.yaml", ""},
		{t, "github.com/fluxcd/kustomize-controller", "config/crd/bases/*.yaml", ""},
		{own, cilium, "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml", "cilium.io_"},
	} {
		mod, err := os.ReadFile(filepath.Join("test", "tools", from.folder, "go.mod"))
		if err != nil {
			return err
		}
		// The version is named so that the modules these require are not asked for.
		listed, err := goTool(ctx, from.tool, "mod", "download", "-json", from.module+"@"+requiredVersion(mod, from.module))
		if err != nil {
			return err
		}
		var downloaded struct{ Dir string }
		if err := json.Unmarshal(listed, &downloaded); err != nil {
			return fmt.Errorf("cannot read what `go mod download` says: %w", err)
		}
		files, err := fs.Glob(os.DirFS(downloaded.Dir), from.files)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s holds no CRDs at %s", from.module, from.files)
		}
		slices.Sort(files)
		for _, name := range files {
			data, err := os.ReadFile(filepath.Join(downloaded.Dir, name))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(output, from.prefix+filepath.Base(name)), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// goTool runs the go command in the tool's module and returns its output.
func goTool(ctx context.Context, t tool, args ...string) ([]byte, error) {
	return goToolWith(ctx, t, nil, args...)
}

func goToolWith(ctx context.Context, t tool, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join("test", "tools", t.folder)
	cmd.Env = append(append(os.Environ(), "GOWORK=off"), env...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		return nil, fmt.Errorf("`go %s` in %s: %w\n%s%s", args[0], cmd.Dir, err, out.Bytes(), problems.Bytes())
	}
	return out.Bytes(), nil
}
