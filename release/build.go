package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/aetherplatform/aether/internal/local/image"
	"github.com/aetherplatform/aether/internal/sbom"
)

// linked are the variables that a program has its version from. Go would write down the
// commit by itself, but nothing in a worktree of git, and by the tags that a clone has.
const linked = "-X github.com/aetherplatform/aether/internal/version.Version=%s -X github.com/aetherplatform/aether/internal/version.Commit=%s"

// registry, and folder in it, of the images; the chart's default.
const registry = "ghcr.io/aetherplatform"

// each calls do for every program on every platform that it is published for.
func (r *release) each(do func(p program, system, arch string) error) error {
	for _, platform := range r.platforms {
		system, arch, _ := strings.Cut(platform, "/")
		for _, p := range r.programs {
			if p.pods && system != "linux" {
				continue
			}
			if err := do(p, system, arch); err != nil {
				return err
			}
		}
	}
	return nil
}

// at is where a program is once it is built.
func (r *release) at(p program, system, arch string) string {
	return filepath.Join(r.built, system+"_"+arch, p.name)
}

// file is the path of what is published of a program for a platform.
func (r *release) file(p program, system, arch, end string) string {
	return filepath.Join(r.next, fmt.Sprintf("%s_%s_%s_%s%s", p.name, r.version, system, arch, end))
}

// build builds the programs for a platform.
func (r *release) build(ctx context.Context, platform string) error {
	return r.each(func(p program, system, arch string) error {
		if system+"/"+arch != platform {
			return nil
		}
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags=-s -w -buildid= "+fmt.Sprintf(linked, r.version, r.commit),
			"-o", r.at(p, system, arch), "./cmd/"+p.name)
		// Nothing of the machine goes into it, nor of what its user prefers.
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch,
			"GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s for %s: %w\n%s", p.name, platform, err, out)
		}
		return nil
	})
}

// bills writes the bill of materials of each program: what is linked differs from one
// platform to another.
func (r *release) bills(context.Context) error {
	return r.each(func(p program, system, arch string) error {
		bill, err := sbom.Of(r.at(p, system, arch), r.version)
		if err != nil {
			return err
		}
		return publish(r.file(p, system, arch, ".cdx.json"), bill)
	})
}

// images writes an image of each program, for all that is Linux, and lists them by
// digest: that is what a publisher signs.
func (r *release) images(ctx context.Context) error {
	byProgram := map[string][]image.Image{}
	err := r.each(func(p program, system, arch string) error {
		if system == "linux" {
			byProgram[p.name] = append(byProgram[p.name], image.Image{
				Name: registry + "/" + p.name + ":" + r.number(), Program: r.at(p, system, arch),
				OS: system, Architecture: arch,
				Labels: map[string]string{
					"org.opencontainers.image.source":   "https://github.com/aetherplatform/aether",
					"org.opencontainers.image.version":  r.version,
					"org.opencontainers.image.revision": r.commit,
					"org.opencontainers.image.licenses": "Apache-2.0",
				},
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, p := range r.programs {
		of := byProgram[p.name]
		if len(of) == 0 {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		digest, err := image.WriteIndex(filepath.Join(r.next, p.name+"_"+r.version+"_image.tar"), of...)
		if err != nil {
			return fmt.Errorf("cannot make the image of %s: %w", p.name, err)
		}
		fmt.Fprintf(&list, "%s@%s\n", of[0].Name, digest)
	}
	if list.Len() == 0 {
		return nil
	}
	return publish(filepath.Join(r.next, "images.txt"), []byte(list.String()))
}

// publish writes a file for everyone to read.
func publish(file string, data []byte) error {
	return os.WriteFile(file, data, 0o644) //nolint:gosec // see above
}
