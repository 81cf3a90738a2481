package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// aether measures `aether diff` of an edition that its cache has not seen.
func (w *world) aether(ctx context.Context, c change, run int) (spent cost, err error) {
	cache := filepath.Join(w.dir, "cache-"+c.name)
	diff := func(branch string) (cost, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(w.root, "bin", "aether"),
			"diff", "--repo", w.repo(), "--base", base, "--head", branch)
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
		return w.timed(cmd, "aether-"+c.name+".txt", 1)
	}
	if run == 0 { // what was reviewed before
		if err := os.RemoveAll(cache); err != nil {
			return cost{}, err
		}
		if _, err := diff(w.branch(c, 0)); err != nil {
			return cost{}, err
		}
	}
	return diff(w.branch(c, run+1))
}

// kustomize measures builds of both sides, as many at a time as there are
// processors, and a diff of what they print.
func (w *world) kustomize(ctx context.Context, c change, folders []string) (cost, error) {
	begin := time.Now()
	var total cost
	var mu sync.Mutex
	work, building := errgroup.WithContext(ctx)
	work.SetLimit(runtime.NumCPU())
	for _, side := range []string{base, c.name} {
		built := filepath.Join(w.dir, "built", side)
		if err := errors.Join(os.RemoveAll(built), os.MkdirAll(built, 0o700)); err != nil {
			return cost{}, err
		}
		for _, folder := range folders {
			work.Go(func() error {
				out := filepath.Join(built, strings.Trim(folder, ".")+".yaml")
				cmd := exec.CommandContext(building, filepath.Join(w.root, "bin", "kustomize"),
					"build", filepath.Join(w.side(side), folder), "--output", out)
				spent, err := w.timed(cmd, "kustomize.txt", 0)
				mu.Lock()
				defer mu.Unlock()
				total.add(spent)
				return err
			})
		}
	}
	if err := work.Wait(); err != nil {
		return cost{}, err
	}
	diff := exec.CommandContext(ctx, "diff", "-r", "-u", filepath.Join(w.dir, "built", base), filepath.Join(w.dir, "built", c.name))
	spent, err := w.timed(diff, "diff-"+c.name+".txt", 1)
	total.add(spent)
	total.wall = time.Since(begin)
	return total, err
}

func (c *cost) add(more cost) {
	c.cpu += more.cpu
	c.peak = max(c.peak, more.peak)
}

// timed runs a process to its end, with what it says in a file. An exit code other
// than the expected is an error.
func (w *world) timed(cmd *exec.Cmd, output string, code int) (cost, error) {
	out, err := os.Create(filepath.Join(w.dir, output))
	if err != nil {
		return cost{}, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	begin := time.Now()
	err = cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		return cost{}, err
	}
	spent := cost{wall: time.Since(begin), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		spent.peak = usage.Maxrss
		if runtime.GOOS != "darwin" { // which counts bytes, and others KiB
			spent.peak <<= 10
		}
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		said, _ := os.ReadFile(out.Name())
		return cost{}, fmt.Errorf("%s ended with %d: %s", cmd, got, said[:min(len(said), 1000)])
	}
	return spent, nil
}
