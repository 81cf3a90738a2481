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
// The groups are platform (the default), what a plain `make up` runs; kyverno, openbao
// and chart, what it runs when it is asked to; clusters, what hosted control planes need;
// test, what only tests run; node, kind, generate, bench and lint.
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
	name string
	// group that it is built with, or several with spaces between them.
	group string
	// folder is the tool's module, below test/tools.
	folder string
	// module carries the version.
	module string
	// takes is said before a build that takes long.
	takes string
	// cgo says that a C compiler has a part in it.
	cgo bool
	// static needs no library of the system, and runs in an image that has none.
	static bool
	// tags that it is built with.
	tags string
	// copies that a folder is made of.
	copies []copied
	make   func(ctx context.Context, t tool, version, output string) error
}

// copied is files of a module: one, a folder, or those that a pattern names.
type copied struct {
	// folder below test/tools whose go.mod requires the module.
	folder, module string
	// files in the module, and where they go in the output.
	files, to string
}

var tools = []tool{
	{name: "crds", group: "platform", folder: "source-controller", module: sourceController, make: copyFiles, copies: []copied{
		{"source-controller", sourceController, "config/crd/bases/*.yaml", "."},
		{"kustomize-controller", kustomizeController, "config/crd/bases/*.yaml", "."},
		// Of the version that Aether itself has Cilium's types from.
		{own, cilium, "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml", "."},
		{"gateway-api", gatewayAPI, "config/crd/standard/gateway.networking.k8s.io_gateways.yaml", "."},
		{"gateway-api", gatewayAPI, "config/crd/standard/gateway.networking.k8s.io_listenersets.yaml", "."},
		{"gateway-api", gatewayAPI, "config/crd/standard/gateway.networking.k8s.io_*routes.yaml", "."},
	}},
	{name: "flux-roles", group: "platform", folder: "source-controller", module: sourceController, make: copyFiles, copies: []copied{
		{"source-controller", sourceController, "config/rbac/role.yaml", "source-controller"},
		{"kustomize-controller", kustomizeController, "config/rbac/role.yaml", "kustomize-controller"},
	}},
	// What Gitea's pages and repositories are made from. Of its languages one is enough.
	{name: "gitea-static", group: "platform", folder: "gitea", module: gitea, make: copyFiles, copies: []copied{
		{"gitea", gitea, "templates", "templates"},
		{"gitea", gitea, "public", "public"},
		{"gitea", gitea, "options/fileicon", "options/fileicon"},
		{"gitea", gitea, "options/gitignore", "options/gitignore"},
		{"gitea", gitea, "options/label", "options/label"},
		{"gitea", gitea, "options/license", "options/license"},
		{"gitea", gitea, "options/locale/locale_en-US.json", "options/locale"},
		{"gitea", gitea, "options/readme", "options/readme"},
	}},
	{name: "etcd", group: "platform", folder: "etcd", module: "go.etcd.io/etcd/server/v3", static: true,
		takes: "about 40 s on two cores", make: goBuild("go.etcd.io/etcd/server/v3", nil)},
	// With which the store is saved and restored: see docs/operations/disaster-recovery.md.
	{name: "etcdctl", group: "test", folder: "etcd", module: "go.etcd.io/etcd/etcdctl/v3", make: goBuild("go.etcd.io/etcd/etcdctl/v3", nil)},
	{name: "etcdutl", group: "test", folder: "etcd", module: "go.etcd.io/etcd/etcdutl/v3", make: goBuild("go.etcd.io/etcd/etcdutl/v3", nil)},
	{name: "kube-apiserver", group: "platform", folder: "kubernetes", module: "k8s.io/kubernetes", static: true,
		takes: "about 3 min on two cores", make: goBuild("k8s.io/kubernetes/cmd/kube-apiserver", kubernetesVersion)},
	{name: "kube-controller-manager", group: "platform", folder: "kubernetes", module: "k8s.io/kubernetes", static: true,
		takes: "about 1 min on two cores", make: goBuild("k8s.io/kubernetes/cmd/kube-controller-manager", kubernetesVersion)},
	{name: "kube-scheduler", group: "clusters node", folder: "kubernetes", module: "k8s.io/kubernetes", static: true,
		takes: "about 30 s on two cores", make: goBuild("k8s.io/kubernetes/cmd/kube-scheduler", kubernetesVersion)},
	{name: "kubectl", group: "test", folder: "kubectl", module: "k8s.io/kubectl", make: goBuild(".", nil)},
	{name: "gitea", group: "platform", folder: "gitea", module: gitea, cgo: true, tags: "sqlite sqlite_unlock_notify",
		takes: "about 3 min on two cores", make: goBuild(gitea, giteaVersion)},
	{name: "source-controller", group: "platform", folder: "source-controller", module: sourceController, static: true,
		takes: "about 3 min on two cores", make: goBuild(sourceController, nil)},
	{name: "kustomize-controller", group: "platform", folder: "kustomize-controller", module: kustomizeController, static: true,
		takes: "about 2 min on two cores", make: goBuild(kustomizeController, nil)},
	{name: "kyverno", group: "kyverno", folder: "kyverno", module: kyverno,
		takes: "about 2 min on two cores", make: goBuild(kyverno+"/cmd/kyverno", kyvernoVersion)},
	{name: "kubectl-kyverno", group: "test", folder: "kyverno", module: kyverno,
		takes: "about 1 min on two cores", make: goBuild(kyverno+"/cmd/cli/kubectl-kyverno", kyvernoVersion)},
	// Everything that Kyverno publishes to be installed: CRDs, roles, its configuration.
	{name: "kyverno-install", group: "kyverno", folder: "kyverno", module: kyverno, make: copyFiles, copies: []copied{
		{"kyverno", kyverno, "config/install-latest-testing.yaml", "."},
	}},
	// A main of our own around a core that is published as a module: see there.
	{name: "openbao", group: "openbao", folder: "openbao", module: "github.com/hashicorp/vault",
		takes: "about 1 min on two cores", make: goBuild(".", nil)},
	// What issues the certificates of hosted control planes: see there.
	{name: "cert-manager", group: "clusters", folder: "cert-manager", module: certManager,
		takes: "about 100 s on two cores", make: goBuild(".", nil)},
	{name: "cert-manager-crds", group: "clusters", folder: "cert-manager", module: certManager, make: copyFiles, copies: []copied{
		{"cert-manager", certManager, "deploy/crds/*.yaml", "."},
	}},
	// What shows whether control planes are what Cluster API expects: see there.
	{name: "cluster-api", group: "test", folder: "cluster-api", module: clusterAPI,
		takes: "about 1 min on two cores", make: goBuild(".", nil)},
	{name: "cluster-api-crds", group: "test", folder: "cluster-api", module: clusterAPI, make: copyFiles, copies: []copied{
		{"cluster-api", clusterAPI, "core/config/crd/bases/cluster.x-k8s.io_*.yaml", "."},
	}},
	{name: "controller-gen", group: "generate", folder: "controller-gen", module: "sigs.k8s.io/controller-tools",
		make: goBuild("sigs.k8s.io/controller-tools/cmd/controller-gen", nil)},
	{name: "crd-ref-docs", group: "generate", folder: "crd-ref-docs", module: "github.com/elastic/crd-ref-docs",
		make: goBuild("github.com/elastic/crd-ref-docs", nil)},
	{name: "helm", group: "chart", folder: "helm", module: helm,
		takes: "about 90 s on two cores", make: goBuild(helm+"/cmd/helm", helmVersion)},
	// Of the service discoveries it checks no configuration here, and they are most of it.
	{name: "promtool", group: "test", folder: "promtool", module: prometheus, tags: "remove_all_sd",
		takes: "about 1 min on two cores", make: goBuild(prometheus+"/cmd/promtool", nil)},
	{name: "kind", group: "kind", folder: "kind", module: kind, make: goBuild(kind, nil)},
	// What `aether diff` is measured beside: of the version whose packages the renderer has.
	{name: "kustomize", group: "bench", folder: "kustomize", module: kustomize, make: goBuild(kustomize, kustomizeVersion)},
	{name: "golangci-lint", group: "lint", folder: "golangci-lint", module: "github.com/golangci/golangci-lint/v2",
		takes: "about 4 min on two cores", make: goBuild("github.com/golangci/golangci-lint/v2/cmd/golangci-lint", nil)},
}

// Modules of which both a program and files are wanted.
const (
	gitea               = "code.gitea.io/gitea"
	sourceController    = "github.com/fluxcd/source-controller"
	kustomizeController = "github.com/fluxcd/kustomize-controller"
	cilium              = "github.com/cilium/cilium"
	kustomize           = "sigs.k8s.io/kustomize/kustomize/v5"
	kyverno             = "github.com/kyverno/kyverno"
	helm                = "helm.sh/helm/v3"
	kind                = "sigs.k8s.io/kind"
	gatewayAPI          = "sigs.k8s.io/gateway-api"
	prometheus          = "github.com/prometheus/prometheus"
	certManager         = "github.com/cert-manager/cert-manager"
	clusterAPI          = "sigs.k8s.io/cluster-api"
)

// own is the folder of the project's own go.mod, as seen from test/tools.
const own = "../.."

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
	if err := prerequisites(ctx, wanted); err != nil {
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
			if t.name == name || slices.Contains(strings.Fields(t.group), name) {
				found = append(found, t)
			}
		}
		if len(found) == before {
			return nil, fmt.Errorf("no tool or group is called %q; the groups are platform, kyverno, openbao, clusters, chart, test, node, kind, generate, bench and lint", name)
		}
	}
	return found, nil
}

// prerequisites fails before the first long build rather than after it.
func prerequisites(ctx context.Context, wanted []tool) error {
	if _, err := os.Stat("test/tools"); err != nil {
		return errors.New("run it in the root of the checkout: go run ./test/tools/build")
	}
	if _, err := exec.LookPath("git"); err != nil {
		return errors.New("git is not on the PATH; the local platform serves and fetches repositories with it: install git 2.31 or later")
	}
	for _, t := range wanted {
		_, stamp, err := t.state()
		if err != nil {
			return fmt.Errorf("cannot read the module of %s: %w", t.name, err)
		}
		if t.cgo && !t.current(stamp) {
			return compiler(ctx, t)
		}
	}
	return nil
}

// compiler tries whether Go finds a C compiler, and that one C's headers: on some
// systems they are two packages.
func compiler(ctx context.Context, t tool) error {
	const install = "install one, such as gcc with the headers of C's library " +
		"(Debian, Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc; Alpine: apk add gcc musl-dev; macOS: xcode-select --install)"
	named, err := goTool(ctx, t, "env", "CC")
	if err != nil {
		return err
	}
	words := strings.Fields(string(named))
	if len(words) == 0 {
		words = []string{"cc"}
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return fmt.Errorf("%s is built with a C compiler, and %q is not on the PATH: %s", t.name, words[0], install)
	}
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], "-x", "c", "-fsyntax-only", "-")...)
	cmd.Stdin = strings.NewReader("#include <stdlib.h>\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return fmt.Errorf("%s is built with a C compiler, and %q does not compile: %s\n%s", t.name, words[0], install, bytes.TrimSpace(out))
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
	h := sha256.New()
	fmt.Fprintln(h, t.name, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if t.tags != "" {
		fmt.Fprintln(h, t.tags)
	}
	if t.static {
		fmt.Fprintln(h, "static")
	}
	folders := []string{t.folder}
	for _, c := range t.copies {
		fmt.Fprintln(h, c)
		if !slices.Contains(folders, c.folder) {
			folders = append(folders, c.folder)
		}
	}
	for _, folder := range folders {
		for _, name := range []string{"go.mod", "go.sum"} {
			data, err := os.ReadFile(filepath.Join("test", "tools", folder, name))
			if err != nil {
				return "", "", err
			}
			h.Write(data)
		}
		sources, err := ownSources(folder)
		if err != nil {
			return "", "", err
		}
		for _, source := range sources {
			data, err := os.ReadFile(source)
			if err != nil {
				return "", "", err
			}
			fmt.Fprintln(h, filepath.ToSlash(source), len(data))
			h.Write(data)
		}
	}
	if version, err = versionIn(t.folder, t.module); err != nil {
		return "", "", err
	}
	return version, hex.EncodeToString(h.Sum(nil)), nil
}

// ownSources are the Go files of a tool's module that are in this repository: most
// have none. The project's own module, whose versions some tools take, is no tool.
func ownSources(folder string) ([]string, error) {
	if folder == own {
		return nil, nil
	}
	var sources []string
	err := filepath.WalkDir(filepath.Join("test", "tools", folder), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			sources = append(sources, path)
		}
		return err
	})
	return sources, err
}

// versionIn is the version of a module that the module in a folder requires.
func versionIn(folder, module string) (string, error) {
	data, err := os.ReadFile(filepath.Join("test", "tools", folder, "go.mod"))
	if err != nil {
		return "", err
	}
	version := requiredVersion(data, module)
	if version == "" {
		return "", fmt.Errorf("test/tools/%s/go.mod does not require %s", folder, module)
	}
	return version, nil
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
		_, err := goTool(ctx, t, "build", "-tags", t.tags, "-ldflags", flags, "-o", output, pkg)
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

// giteaVersion links in what Gitea says that it is.
func giteaVersion(version string) string {
	return "-X main.Version=" + strings.TrimPrefix(version, "v")
}

// kustomizeVersion links in what kustomize says that it is.
func kustomizeVersion(version string) string {
	return "-X sigs.k8s.io/kustomize/api/provenance.version=" + version
}

// helmVersion links in what Helm says that it is.
func helmVersion(version string) string {
	return "-X helm.sh/helm/v3/internal/version.version=" + version
}

// kyvernoVersion links in what Kyverno says that it is.
func kyvernoVersion(version string) string {
	return "-X github.com/kyverno/kyverno/pkg/version.BuildVersion=" + version
}

// copyFiles copies files out of modules, which go.sum verifies. They can be written
// to, unlike those of the module cache, so that who owns bin/ can remove it.
func copyFiles(ctx context.Context, t tool, _, output string) error {
	for _, c := range t.copies {
		dir, err := moduleDir(ctx, t, c)
		if err != nil {
			return err
		}
		found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(c.files)))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("%s holds no %s", c.module, c.files)
		}
		to := filepath.Join(output, filepath.FromSlash(c.to))
		for _, from := range found {
			info, err := os.Stat(from)
			switch {
			case err != nil:
			case info.IsDir():
				err = copyFolder(to, from)
			default:
				err = copyFile(filepath.Join(to, filepath.Base(from)), from)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// moduleDir is where the module cache has a module. The version is named so that
// the modules that this one requires are not asked for.
func moduleDir(ctx context.Context, t tool, c copied) (string, error) {
	version, err := versionIn(c.folder, c.module)
	if err != nil {
		return "", err
	}
	t.folder = c.folder
	listed, err := goTool(ctx, t, "mod", "download", "-json", c.module+"@"+version)
	if err != nil {
		return "", err
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(listed, &downloaded); err != nil {
		return "", fmt.Errorf("cannot read what `go mod download` says: %w", err)
	}
	return downloaded.Dir, nil
}

func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return copyFile(filepath.Join(to, relative), path)
	})
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o644))
}

// goTool runs the go command in the tool's module and returns its output.
func goTool(ctx context.Context, t tool, args ...string) ([]byte, error) {
	return goToolWith(ctx, t, nil, args...)
}

func goToolWith(ctx context.Context, t tool, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join("test", "tools", t.folder)
	cmd.Env = append(append(os.Environ(), "GOWORK=off"), env...)
	switch {
	case t.cgo:
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
	case t.static:
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
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
