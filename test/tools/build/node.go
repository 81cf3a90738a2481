package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// What a real node runs beside the platform: Linux only. The times are of two
// cores with nothing cached; together they take about a quarter of an hour.
var nodeTools = []tool{
	{name: "kubelet", folder: "kubernetes", module: "k8s.io/kubernetes",
		takes: "about 2 min on two cores", make: goBuild("k8s.io/kubernetes/cmd/kubelet", kubernetesVersion)},
	// Without seccomp no Pod that asks for the runtime's profile starts. It needs C.
	{name: "runc", folder: "runc", module: "github.com/opencontainers/runc",
		takes: "about 30 s on two cores", make: goBuildWith("github.com/opencontainers/runc", "seccomp", true)},
	{name: "containerd", folder: "containerd", module: "github.com/containerd/containerd/v2",
		takes: "about 2 min on two cores", make: goBuildWith("github.com/containerd/containerd/v2/cmd/containerd", "", false)},
	{name: "containerd-shim-runc-v2", folder: "containerd", module: "github.com/containerd/containerd/v2",
		make: goBuildWith("github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "", false)},
	{name: "ctr", folder: "containerd", module: "github.com/containerd/containerd/v2",
		make: goBuildWith("github.com/containerd/containerd/v2/cmd/ctr", "", false)},
	{name: "cni-loopback", folder: "cni", module: "github.com/containernetworking/plugins",
		make: goBuildWith("github.com/containernetworking/plugins/plugins/main/loopback", "", false)},
	{name: "coredns", folder: "coredns", module: "github.com/coredns/coredns",
		takes: "about 2 min on two cores", make: goBuildWith(".", "", false)},
	{name: "cilium-bpf", folder: "cilium", module: cilium, make: ciliumSources},
	{name: "cilium-agent", folder: "cilium", module: cilium,
		takes: "about 5 min on two cores", make: goBuildWith("github.com/cilium/cilium/daemon", "", false)},
	{name: "cilium-operator", folder: "cilium", module: cilium,
		takes: "about 1 min on two cores", make: goBuildWith("github.com/cilium/cilium/operator", "ipam_provider_operator", false)},
	{name: "cilium-cni", folder: "cilium", module: cilium,
		make: goBuildWith("github.com/cilium/cilium/plugins/cilium-cni", "", false)},
}

// A need is what the system must provide for a node: a program, or with pkg-config
// a library, and the package of Debian 12 that has it.
type need struct{ program, library, debian string }

var nodeNeeds = []need{
	{program: "gcc", debian: "gcc libc6-dev"},
	{library: "libseccomp", debian: "libseccomp-dev"},
	{program: "pkg-config", debian: "pkg-config"},
	{program: "clang-19", debian: "clang-19"},
	{program: "llc-19", debian: "llvm-19"},
	{program: "ip", debian: "iproute2"},
	{program: "iptables", debian: "iptables"},
	{program: "ipset", debian: "ipset"},
}

// missing are the needs that the system does not meet.
func missing() []need {
	return slices.DeleteFunc(slices.Clone(nodeNeeds), func(n need) bool {
		if n.library != "" {
			return exec.Command("pkg-config", "--exists", n.library).Run() == nil
		}
		_, err := exec.LookPath(n.program)
		return err == nil
	})
}

// missingPackages are the packages of Debian that are to be installed, for
// `make node-deps`.
func missingPackages() string {
	var names []string
	for _, n := range missing() {
		names = append(names, n.debian)
	}
	return strings.Join(names, " ")
}

// nodePrerequisites names all that is missing, before anything is built.
func nodePrerequisites() error {
	if runtime.GOOS != "linux" {
		return errors.New("a node runs on Linux only; everything else does without one")
	}
	var names []string
	for _, n := range missing() {
		names = append(names, cmp.Or(n.program, n.library))
	}
	if len(names) > 0 {
		return fmt.Errorf("%s: missing, and a node needs it: run `make node-deps`, which installs on Debian: %s",
			strings.Join(names, ", "), missingPackages())
	}
	return nil
}

func init() {
	for _, t := range nodeTools {
		t.group = "node"
		tools = append(tools, t)
	}
}

// goBuildWith builds a program with build tags, with C or without: without, it
// needs no library of the system, and runs in an image that has none.
func goBuildWith(pkg, tags string, c bool) func(context.Context, tool, string, string) error {
	return func(ctx context.Context, t tool, _, output string) error {
		enabled := "CGO_ENABLED=0"
		if c {
			enabled = "CGO_ENABLED=1"
		}
		_, err := goToolWith(ctx, t, []string{enabled}, "build", "-tags", tags, "-ldflags", "-s -w", "-o", output, pkg)
		return err
	}
}

// ciliumSources copies what the agent compiles for the kernel out of its module.
func ciliumSources(ctx context.Context, t tool, version, output string) error {
	listed, err := goTool(ctx, t, "mod", "download", "-json", t.module+"@"+version)
	if err != nil {
		return err
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(listed, &downloaded); err != nil {
		return fmt.Errorf("cannot read what `go mod download` says: %w", err)
	}
	from := filepath.Join(downloaded.Dir, "bpf")
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == "tests" || name == "complexity-tests" {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(output, name), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(output, name), data, 0o644)
	})
}
