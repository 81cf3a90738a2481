// Command release makes what is published of a version, into dist/:
//
//	go run ./release -version v0.1.0
//	go run ./release -manifests bin/aether.yaml   # the plain manifests of this checkout, alone
//
// It makes archives of the programs for every platform, images, the Helm chart, plain
// manifests, bills of materials, the version's part of CHANGELOG.md, and checksums of all.
// The same commit and the same Go make the same files, bit by bit.
//
// It signs nothing and sends nothing anywhere: see docs/how-to/release.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/semver"

	"github.com/aetherplatform/aether/internal/prose"
)

// helm is the program that packages the chart.
const helm = "bin/helm"

// platforms that aether is built for. A Pod runs on Linux alone, and so does the operator.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"}

// program is one that is published.
type program struct {
	name string
	// pods says that it runs in Pods alone.
	pods bool
}

var programs = []program{
	{name: "aether"}, {name: "aether-etcd", pods: true}, {name: "cluster-controller", pods: true}, {name: "namespace-operator", pods: true},
}

func names(programs []program) []string {
	var all []string
	for _, p := range programs {
		all = append(all, p.name)
	}
	return all
}

// options are what is made of what.
type options struct {
	version    string
	platforms  []string
	programs   []program
	dir        string
	allowDirty bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(stderr)
	version := flags.String("version", "", "version to make, such as v0.1.0")
	on := flags.String("platforms", strings.Join(platforms, ","), "platforms to build for")
	of := flags.String("programs", strings.Join(names(programs), ","), "programs to build")
	dir := flags.String("out", "dist", "folder to write; a release that is there is replaced")
	dirty := flags.Bool("allow-dirty", false, "make it of what is not committed, too; not to be published")
	manifest := flags.String("manifests", "", "write the plain manifests of the checkout to this file, and make no release")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *manifest != "" {
		return writeManifests(ctx, *manifest)
	}
	o := options{version: *version, dir: *dir, allowDirty: *dirty}
	for _, p := range strings.Split(*on, ",") {
		if !slices.Contains(platforms, p) {
			return fmt.Errorf("-platforms: %q is not one that is released; use %s", p, strings.Join(platforms, ", "))
		}
		o.platforms = append(o.platforms, p)
	}
	for _, name := range strings.Split(*of, ",") {
		i := slices.IndexFunc(programs, func(p program) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("-programs: %q is not one that is released; use %s", name, prose.Either(names(programs)))
		}
		o.programs = append(o.programs, programs[i])
	}
	return run(ctx, o, stdout)
}

// release is one that is being made.
type release struct {
	options
	// built holds the programs, in a folder a platform; next holds what becomes dist/.
	built, next string
	commit      string
	// time of the commit: everything in an archive has it. Of the epoch, tar would warn
	// whoever unpacks it.
	time    time.Time
	changes string
}

// number is the version without its v, as charts and tags of images have it.
func (r *release) number() string { return strings.TrimPrefix(r.version, "v") }

func run(ctx context.Context, o options, out io.Writer) error {
	r := &release{options: o}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(filepath.Clean(o.dir)), ".release-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	r.built, r.next = filepath.Join(work, "built"), filepath.Join(work, "dist")
	if err := os.Mkdir(r.next, 0o755); err != nil { //nolint:gosec // for everyone to read
		return err
	}

	type step struct {
		name string
		do   func(context.Context) error
	}
	var steps []step
	for _, platform := range o.platforms {
		steps = append(steps, step{"programs for " + platform, func(ctx context.Context) error { return r.build(ctx, platform) }})
	}
	steps = append(steps,
		step{"archives", r.archives},
		step{"bills of materials", r.bills},
		step{"images", r.images},
		step{"chart", r.chart},
		step{"manifests", r.manifests},
		step{"changelog", r.changelog},
		step{"checksums", r.checksums},
	)
	begin := time.Now() //nolint:forbidigo // of what is printed, and of nothing that is made
	for i, s := range steps {
		fmt.Fprintf(out, "[%d/%d] %s …", i+1, len(steps), s.name)
		start := time.Now() //nolint:forbidigo // as above
		if err := s.do(ctx); err != nil {
			fmt.Fprintln(out)
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			return err
		}
		fmt.Fprintf(out, " %.1f s\n", time.Since(start).Seconds())
	}
	if err := errors.Join(os.RemoveAll(o.dir), os.Rename(r.next, o.dir)); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s of %s is in %s/, after %.0f s\n", r.version, r.commit, filepath.Clean(o.dir), time.Since(begin).Seconds())
	return nil
}

// prepare refuses, before the first long step, what the last would.
func (r *release) prepare(ctx context.Context) error {
	if r.version == "" {
		return errors.New("say which version: make release VERSION=v0.1.0")
	}
	// Tags of images hold no build metadata, as in v0.1.0+1.
	if !semver.IsValid(r.version) || semver.Canonical(r.version) != r.version {
		return fmt.Errorf("%q is not a version; write it as v0.1.0, or v0.1.0-rc.1 before it", r.version)
	}
	changelog, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return fmt.Errorf("run it in the root of the checkout: %w", err)
	}
	if r.changes, err = section(string(changelog), r.version); err != nil {
		return fmt.Errorf("CHANGELOG.md: %w", err)
	}
	if err := needHelm(); err != nil {
		return err
	}
	if r.commit, err = git(ctx, "rev-parse", "HEAD"); err != nil {
		return err
	}
	at, err := git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return fmt.Errorf("git tells %q for the time of %s", at, r.commit)
	}
	r.time = time.Unix(seconds, 0).UTC()
	changed, err := git(ctx, "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		if !r.allowDirty {
			return fmt.Errorf("there are changes that no commit holds; commit or remove them, or try it with -allow-dirty:\n%s", changed)
		}
		r.commit += "-dirty"
	}
	return replaceable(r.dir)
}

// replaceable says whether a folder may go: it is none, is empty, or is a release.
func replaceable(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, checksums)); err != nil && len(files) > 0 {
		return fmt.Errorf("%s holds something that is not a release: remove it, or write to another folder with -out", dir)
	}
	return nil
}

func needHelm() error {
	if _, err := os.Stat(helm); err != nil {
		return fmt.Errorf("%s is not there; build it: go run ./test/tools/build helm", helm)
	}
	return nil
}

// git returns what git prints.
func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			return "", fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(string(failed.Stderr)))
		}
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimRight(string(out), "\n"), nil // the space before a change is git's
}
