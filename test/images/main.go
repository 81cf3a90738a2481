// Command images makes container images of this repository's programs and of
// those that a node of the local platform runs, into bin/images/, one tar of an
// OCI layout each, without Docker or a registry:
//
//	go run ./test/images            # all of them
//	go run ./test/images probe pause
//
// Two runs on the same sources make the same digests. Any tool that reads OCI
// layouts takes them: `ctr images import`, `crane push`, `skopeo copy`.
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
)

// programs by the name of their image. One without a package is there already: it
// was made by test/tools/build.
var programs = []struct{ name, pkg string }{
	{"aether", "./cmd/aether"},
	{"namespace-operator", "./cmd/namespace-operator"},
	{"pause", "./test/pause"},
	{"probe", "./test/probe"},
	{"coredns", ""},
}

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
	for _, p := range programs {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		program := filepath.Join("bin", p.name)
		if p.pkg != "" {
			program = filepath.Join(static, p.name)
			// Nothing of the machine, the folder or the hour goes into it.
			build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", program, p.pkg)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			build.Stdout, build.Stderr = os.Stdout, os.Stderr
			if err := build.Run(); err != nil {
				return fmt.Errorf("cannot build %s: %w", p.name, err)
			}
		}
		made := image.Image{
			Name: "aetherplatform.cloud/" + p.name + ":local", Program: program,
			OS: runtime.GOOS, Architecture: runtime.GOARCH,
		}
		file := filepath.Join(images, p.name+".tar")
		digest, err := made.Write(file)
		if err != nil {
			return fmt.Errorf("cannot make the image of %s: %w", p.name, err)
		}
		fmt.Printf("%-28s %s@%s\n", file, made.Name, digest)
	}
	return nil
}
