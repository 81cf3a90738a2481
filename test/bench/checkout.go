package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/local"
)

// checkout is a working copy of the fleet repository, as a team would have one.
type checkout struct{ dir string }

// clone makes a checkout of a repository of the platform's forge.
func clone(ctx context.Context, p *local.Platform, url, dir string) (*checkout, error) {
	c := &checkout{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	_, err := c.git(ctx, "clone", "--quiet", "-c", "credential.helper=store --file '"+p.Credentials()+"'",
		"-c", "user.name=bench", "-c", "user.email=bench@example.com", url, ".")
	return c, err
}

// write puts files below tenants/.
func (c *checkout) write(tree fleet.Tree) error {
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		name := filepath.Join(c.dir, "tenants", filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, tree[path].Data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// commit commits all that was written and returns the revision as Flux names it.
func (c *checkout) commit(ctx context.Context) (string, error) {
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "--message", "bench"}} {
		if _, err := c.git(ctx, args...); err != nil {
			return "", err
		}
	}
	head, err := c.git(ctx, "rev-parse", "HEAD")
	return "main@sha1:" + head, err
}

func (c *checkout) push(ctx context.Context) error {
	_, err := c.git(ctx, "push", "--quiet", "origin", "HEAD:main")
	return err
}

func (c *checkout) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
