// Command images makes container images of this repository's programs and of
// those that a node of the local platform runs, into bin/images/, one tar of an
// OCI layout each, without Docker or a registry:
//
//	go run ./test/images            # all of them, but for those of a hosted control plane
//	go run ./test/images probe pause
//	go run ./test/images etcd kube-apiserver kube-controller-manager kube-scheduler
//
// Two runs on the same sources make the same digests. Any tool that reads OCI
// layouts takes them: `ctr images import`, `skopeo copy oci-archive:…`, and
// `crane push` of the folder that the tar unpacks to. Beside each image of a program
// of this repository is its bill of materials, <program>.cdx.json.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/aetherplatform/aether/internal/local/image"
	"github.com/aetherplatform/aether/internal/sbom"
)

// A program by the name of its image. One without a package is there already: it was
// made by test/tools/build.
type program struct {
	name, pkg string
	// folder of the image.
	folder string
}

var programs = []program{
	{name: "aether", pkg: "./cmd/aether"},
	{name: "aether-etcd", pkg: "./cmd/aether-etcd"},
	{name: "namespace-operator", pkg: "./cmd/namespace-operator"},
	{name: "cluster-controller", pkg: "./cmd/cluster-controller"},
	{name: "pause", pkg: "./test/pause"},
	{name: "probe", pkg: "./test/probe"},
	{name: "coredns"},
	{name: "source-controller"},
	{name: "kustomize-controller"},
}

// hosted are what a hosted control plane runs. They are large, and made only when they
// are named. As in the images of registry.k8s.io they are called by their names alone.
var hosted = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// searched is a folder where runtimes look for a program that has no path.
const searched = "/usr/local/bin"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "make images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	const images, static = "bin/images", "bin/images/static"
	if err := os.MkdirAll(static, 0o755); err != nil {
		return err
	}
	wanted := slices.Clone(programs)
	if len(names) > 0 {
		for _, name := range hosted {
			wanted = append(wanted, program{name: name, folder: searched})
		}
		wanted = slices.DeleteFunc(wanted, func(p program) bool { return !slices.Contains(names, p.name) })
	}
	for _, p := range wanted {
		file := filepath.Join("bin", p.name)
		if p.pkg != "" {
			file = filepath.Join(static, p.name)
			// Nothing of the machine, the folder or the hour goes into it.
			build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", file, p.pkg)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			build.Stdout, build.Stderr = os.Stdout, os.Stderr
			if err := build.Run(); err != nil {
				return fmt.Errorf("cannot build %s: %w", p.name, err)
			}
		}
		made := image.Image{
			Name: "aetherplatform.cloud/" + p.name + ":local", Program: file, Folder: p.folder,
			OS: runtime.GOOS, Architecture: runtime.GOARCH,
		}
		packed := filepath.Join(images, p.name+".tar")
		digest, err := made.Write(packed)
		if err != nil {
			return fmt.Errorf("cannot make the image of %s: %w", p.name, err)
		}
		fmt.Printf("%-28s %s@%s\n", packed, made.Name, digest)
		if p.pkg == "" {
			continue // of others, who tell what is in it
		}
		materials, err := sbom.Of(file, "")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(images, p.name+".cdx.json"), materials, 0o644); err != nil {
			return err
		}
	}
	return nil
}
