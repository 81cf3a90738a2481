package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tenantsDir is where a fleet is in its repository.
const tenantsDir = "tenants"

// emptyTree is Git's name for a tree with nothing in it.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// repo is a repository of the platform's own, in which commits are put together
// from a folder without touching that folder.
type repo struct {
	dir    string
	folder string
	url    string
	env    []string
}

func (p *Platform) openRepo(ctx context.Context, fleet string) (*repo, error) {
	admin, err := p.Admin()
	if err != nil {
		return nil, err
	}
	basic := base64.StdEncoding.EncodeToString([]byte(admin.Name + ":" + admin.Password))
	r := &repo{dir: p.file("push.git"), folder: fleet, url: p.PushURL(), env: append(os.Environ(),
		"GIT_DIR="+p.file("push.git"), "GIT_WORK_TREE="+fleet, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_CONFIG_COUNT=3",
		// By the environment: a command line can be read by everyone.
		"GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: Basic "+basic,
		"GIT_CONFIG_KEY_1=core.hooksPath", "GIT_CONFIG_VALUE_1="+os.DevNull,
		"GIT_CONFIG_KEY_2=core.autocrlf", "GIT_CONFIG_VALUE_2=false",
	)}
	if _, err := os.Stat(filepath.Join(r.dir, "HEAD")); err != nil {
		if _, err := r.git(ctx, "", "init", "--quiet"); err != nil {
			return nil, err
		}
	}
	// Who has not told Git a name can still push here.
	if _, err := r.git(ctx, "", "var", "GIT_COMMITTER_IDENT"); err != nil {
		const name, mail = "Aether local platform", "local@localhost.localdomain"
		r.env = append(r.env, "GIT_AUTHOR_NAME="+name, "GIT_AUTHOR_EMAIL="+mail, "GIT_COMMITTER_NAME="+name, "GIT_COMMITTER_EMAIL="+mail)
	}
	return r, nil
}

// fetch brings the branch main and returns its commit, empty where there is none yet.
func (r *repo) fetch(ctx context.Context) (string, error) {
	listed, err := r.git(ctx, "", "ls-remote", r.url, "refs/heads/main")
	if err != nil || listed == "" {
		return "", err
	}
	commit, _, _ := strings.Cut(listed, "\t")
	_, err = r.git(ctx, "", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", r.url, commit)
	return commit, err
}

// writeTree is the tree of a commit with tenants/ replaced by the folder.
func (r *repo) writeTree(ctx context.Context, parent string) (string, error) {
	folder := r.withIndex("folder")
	if _, err := folder.git(ctx, "", "add", "--all", "."); err != nil {
		return "", err
	}
	tenants, err := folder.git(ctx, "", "write-tree")
	if err != nil {
		return "", err
	}
	whole := r.withIndex("whole")
	if err := os.Remove(filepath.Join(r.dir, "index-whole")); err != nil && !os.IsNotExist(err) {
		return "", err
	}
	if parent != "" {
		if _, err := whole.git(ctx, "", "read-tree", parent); err != nil {
			return "", err
		}
		if _, err := whole.git(ctx, "", "rm", "--quiet", "-r", "--cached", "--ignore-unmatch", tenantsDir); err != nil {
			return "", err
		}
	}
	if _, err := whole.git(ctx, "", "read-tree", "--prefix="+tenantsDir+"/", tenants); err != nil {
		return "", err
	}
	return whole.git(ctx, "", "write-tree")
}

// branch pushes a branch with files in place of, or beside, those of main, and
// returns its commit.
func (r *repo) branch(ctx context.Context, name, message string, files map[string]string) (string, error) {
	parent, err := r.fetch(ctx)
	if err != nil {
		return "", err
	}
	staged := r.withIndex("branch")
	if _, err := staged.git(ctx, "", "read-tree", parent); err != nil {
		return "", err
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		blob, err := staged.git(ctx, files[path], "hash-object", "-w", "--stdin")
		if err != nil {
			return "", err
		}
		if _, err := staged.git(ctx, "", "update-index", "--add", "--cacheinfo", "100644,"+blob+","+path); err != nil {
			return "", err
		}
	}
	tree, err := staged.git(ctx, "", "write-tree")
	if err != nil {
		return "", err
	}
	commit, err := r.git(ctx, message+"\n", "commit-tree", tree, "-p", parent, "-F", "-")
	if err != nil {
		return "", err
	}
	_, err = r.git(ctx, "", "push", "--quiet", r.url, commit+":refs/heads/"+name)
	return commit, err
}

// withIndex is the same repository with a staging area of its own.
func (r *repo) withIndex(name string) *repo {
	with := *r
	with.env = append(append([]string{}, r.env...), "GIT_INDEX_FILE="+filepath.Join(r.dir, "index-"+name))
	return &with
}

// git runs git and returns what it says, without the last newline.
func (r *repo) git(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = r.folder, r.env
	cmd.Stdin = strings.NewReader(input)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("`git %s`: %w: %s", args[0], err, strings.Join(strings.Fields(said.String()), " "))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}
