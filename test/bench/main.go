// Command bench measures what docs/benchmarks.md says, on a platform of its own:
// how fast a fleet comes to be, how long a push takes and what it costs when so
// many namespaces are present, and what an idle operator does.
//
// Every figure is measured against something in the same run: the first apply
// against a plain client that applies the same objects to the same API server,
// a push at one size against the same push at others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/test/bench/sample"
)

type options struct {
	root     string
	first    int
	sizes    []int
	pushes   int
	idle     time.Duration
	profiles string
	secrets  int
	layout
}

func main() {
	var o options
	var sizes string
	flag.StringVar(&o.root, "root", ".", "the checkout, with its bin/")
	flag.IntVar(&o.first, "first", 1000, "namespaces of the first apply; 0 leaves it out")
	flag.StringVar(&sizes, "sizes", "10,1000,10000", "numbers of namespaces to push at, rising")
	flag.IntVar(&o.pushes, "pushes", 30, "pushes at each size; 0 leaves them out")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long the idle operator is watched at each size")
	flag.IntVar(&o.secrets, "secrets", 10000, "Secrets to keep equal to OpenBao's; 0 leaves them out")
	flag.BoolVar(&o.packed, "packed", false, "a file a tenant in Git when pushes are measured, instead of one a namespace")
	flag.IntVar(&o.repository, "repository", 0, "namespaces in a repository and its TenantSource when pushes are measured; 0: all are in one")
	flag.StringVar(&o.profiles, "profiles", "", "folder for profiles: CPU of the API server and the operator during the first apply and the pushes, and the operator's heap")
	flag.Parse()
	if o.repository%sample.NamespacesPerTenant != 0 {
		fmt.Fprintf(os.Stderr, "-repository: %d is not a multiple of %d\n", o.repository, sample.NamespacesPerTenant)
		os.Exit(2)
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < sample.NamespacesPerTenant {
			fmt.Fprintf(os.Stderr, "-sizes: %q is not a number of at least %d\n", size, sample.NamespacesPerTenant)
			os.Exit(2)
		}
		o.sizes = append(o.sizes, n)
	}

	log.SetLogger(logr.Discard()) // what the API server warns of, while policies are installed
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot measure: %v\n", err)
		os.Exit(1)
	}
}

// run measures the first apply, secrets and pushes, each on a platform of its own.
func run(ctx context.Context, o options) error {
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o700); err != nil {
			return err
		}
	}
	if o.first > 0 {
		if err := onPlatform(ctx, o, false, func(s *stage) error { return firstApply(ctx, s, o.first) }); err != nil {
			return err
		}
	}
	if o.secrets > 0 {
		if err := onPlatform(ctx, o, true, func(s *stage) error { return secrets(ctx, s, o.secrets, o.idle) }); err != nil {
			return err
		}
	}
	if o.pushes == 0 {
		return nil
	}
	return onPlatform(ctx, o, false, func(s *stage) error {
		for _, size := range o.sizes {
			if err := pushes(ctx, s, o.layout, size, o.pushes); err != nil {
				return err
			}
			if err := idle(ctx, s, size, o.idle); err != nil {
				return err
			}
		}
		return nil
	})
}

// stage is a platform that is measured.
type stage struct {
	*local.Platform
	*checkout
	profiles string
	// parts are the repositories beside the platform's own, by name.
	parts map[string]bool
}

// onPlatform starts a platform whose fleet holds one profile and no tenant, and
// stops it afterwards.
func onPlatform(ctx context.Context, o options, openBao bool, measure func(*stage) error) (err error) {
	dir, err := os.MkdirTemp("", "aether-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ports, err := local.FreePorts()
	if err != nil {
		return err
	}
	seed := &checkout{dir: filepath.Join(dir, "seed")}
	if err := seed.write(sample.Fleet("seed", sample.NamespacesPerTenant)); err != nil {
		return err
	}
	p, err := local.Start(ctx, local.Options{
		Root: o.root, Dir: filepath.Join(dir, "platform"), Ports: ports, Fleet: filepath.Join(seed.dir, "tenants"),
		OpenBao: openBao, Attached: true, Progress: os.Stderr, Now: time.Now,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	c, err := clone(ctx, p, p.PushURL(), filepath.Join(dir, "checkout"))
	if err != nil {
		return err
	}
	return measure(&stage{Platform: p, checkout: c, profiles: o.profiles, parts: map[string]bool{}})
}

// percentile of durations, by nearest rank.
func percentile(all []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
