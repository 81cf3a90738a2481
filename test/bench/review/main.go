// Command review measures `aether diff` beside what one would do without it: build
// both revisions with kustomize, and `diff -r` what comes out.
//
// Both are whole processes on the same fleet, in turn, and use all processors.
// kustomize is given what Aether renders as plain resources, so that all it has to
// do is to read, check, order and print them: no overlay, patch or generator makes
// it slower, and it knows nothing of what the difference means. A tenant is a
// kustomization, as teams keep theirs: one of a thousand namespaces takes kustomize
// many minutes (-layout fleet shows it).
//
// `aether diff` says what the difference means and asks Aether's own policies, and
// the commit that it looks at is new to its cache each time; base is known there, as
// it is on any machine that reviewed a change before.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/aetherplatform/aether/test/bench/sample"
)

type options struct {
	root    string
	dir     string
	tenants int
	runs    int
	layout  string
	only    string
	change  string
	// policies is a folder of more policies.
	policies string
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "the checkout, with its bin/")
	flag.StringVar(&o.dir, "dir", "", "folder to keep what is generated in, and to find it in again (default: one that is removed afterwards)")
	flag.IntVar(&o.tenants, "tenants", 1000, "tenants, of ten namespaces each")
	flag.IntVar(&o.runs, "runs", 1, "times that kustomize is measured, with Aether before and after it each time")
	flag.StringVar(&o.layout, "layout", "tenant", "what a kustomization holds: tenant or fleet")
	flag.StringVar(&o.only, "only", "", "aether or kustomize: measure one of them, without a ratio")
	flag.StringVar(&o.change, "change", "", "one or all: measure one change (default: both)")
	flag.StringVar(&o.policies, "policies", "", "folder of policies, such as Kyverno's, to ask beside Aether's own")
	flag.Parse()
	if o.layout != perTenant && o.layout != wholeFleet || o.tenants < 1 || o.runs < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot measure: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.root, err = filepath.Abs(o.root); err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "aether-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	w := &world{options: o}
	if err := w.write(ctx); err != nil {
		return err
	}
	fmt.Printf("%d tenants, %d namespaces; %d runs on %d processors\n",
		o.tenants, o.tenants*sample.NamespacesPerTenant, o.runs, runtime.NumCPU())
	for _, c := range cases {
		if w.change != "" && w.change != c.name {
			continue
		}
		if err := w.measure(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// measure runs one case both ways, in turn, and prints medians. A machine's speed
// drifts, so Aether goes before and after kustomize.
func (w *world) measure(ctx context.Context, c change) error {
	var aether, kustomize, narrow []cost
	ask := func(edition int) error {
		if w.only == "kustomize" {
			return nil
		}
		spent, err := w.aether(ctx, c, edition)
		aether = append(aether, spent)
		return err
	}
	for i := range w.runs {
		if err := ask(2 * i); err != nil {
			return err
		}
		if w.only != "aether" {
			spent, err := w.kustomize(ctx, c, w.folders())
			if err != nil {
				return err
			}
			kustomize = append(kustomize, spent)
			if c.folder != nil && w.layout == perTenant {
				if spent, err = w.kustomize(ctx, c, []string{c.folder(w)}); err != nil {
					return err
				}
				narrow = append(narrow, spent)
			}
		}
		if err := ask(2*i + 1); err != nil {
			return err
		}
	}
	fmt.Printf("\n%s\n", c.title)
	show("aether diff", aether)
	show("kustomize build of both, diff -r", kustomize)
	show("kustomize build of that tenant alone, diff -r", narrow)
	ratio("kustomize / aether", kustomize, aether)
	ratio("kustomize of that tenant alone / aether", narrow, aether)
	return nil
}

// cost is what processes took.
type cost struct {
	wall, cpu time.Duration
	// peak is the resident memory of the largest of them, in bytes.
	peak int64
}

func median[T ~int64](all []cost, of func(cost) T) T {
	values := make([]T, len(all))
	for i, c := range all {
		values[i] = of(c)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func wallOf(c cost) time.Duration { return c.wall }
func cpuOf(c cost) time.Duration  { return c.cpu }
func peakOf(c cost) int64         { return c.peak }

func show(what string, all []cost) {
	if len(all) == 0 {
		return
	}
	fmt.Printf("  %-46s %8.2f s wall %8.2f s CPU %6d MiB in the largest process\n", what,
		median(all, wallOf).Seconds(), median(all, cpuOf).Seconds(), median(all, peakOf)>>20)
}

func ratio(what string, a, b []cost) {
	if len(a) == 0 || len(b) == 0 {
		return
	}
	fmt.Printf("  %-46s %8.1f × wall %8.1f × CPU\n", what,
		median(a, wallOf).Seconds()/median(b, wallOf).Seconds(), median(a, cpuOf).Seconds()/median(b, cpuOf).Seconds())
}
