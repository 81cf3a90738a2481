//go:build node || kind

package incluster

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/local/gitea"
)

// The fleet's repository on the forge.
const (
	owner      = "platform"
	repository = "fleet"
)

// clones makes a checkout of the fleet.
func (w *world) clones() {
	w.Helper()
	var err error
	if w.forge, err = w.Admin(); err != nil {
		w.Fatal(err)
	}
	w.checkout = w.TempDir()
	w.git("clone", "--quiet", "-c", "user.name=proof", "-c", "user.email=proof@example.com",
		w.remote(), ".")
}

// remote is the fleet's repository, with who is pushing.
func (w *world) remote() string {
	w.Helper()
	remote, err := url.Parse(w.forge.URL)
	if err != nil {
		w.Fatal(err)
	}
	remote.User = url.UserPassword(w.forge.Name, w.forge.Password)
	return remote.JoinPath(owner, repository+".git").String()
}

// push commits everything to a branch, pushes it, and returns the revision as Flux
// names it.
func (w *world) push(branch, message string) (string, error) {
	for _, args := range [][]string{
		{"add", "--all"},
		{"commit", "--quiet", "--allow-empty", "--message", message},
		{"push", "--quiet", "origin", "HEAD:" + branch},
	} {
		if _, err := w.tryGit(args...); err != nil {
			return "", err
		}
	}
	head, err := w.tryGit("rev-parse", "HEAD")
	return branch + "@sha1:" + head, err
}

func (w *world) git(args ...string) string {
	w.Helper()
	out, err := w.tryGit(args...)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *world) tryGit(args ...string) (string, error) {
	cmd := exec.CommandContext(w.Context(), "git", args...)
	cmd.Dir = w.checkout
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// isReviewedAndMerged pushes the checkout to a branch, opens a pull request, waits for
// a comment that names what it would make, sees that the review server's Pod wrote it,
// and merges it.
func (w *world) isReviewedAndMerged(branch, title, named string) {
	w.Helper()
	revision, err := w.push(branch, title)
	if err != nil {
		w.Fatal(err)
	}
	_, commit, _ := strings.Cut(revision, "@sha1:")
	if err := w.forge.AwaitBranch(w.Context(), owner, repository, branch, commit); err != nil {
		w.Fatal(err)
	}
	number, _, err := w.forge.OpenPull(w.Context(), owner, repository, branch, "main", title, "")
	if err != nil {
		w.Fatal(err)
	}
	w.waits("a review of the pull request", func() (bool, error) {
		comments, err := w.forge.Comments(w.Context(), owner, repository, number)
		return slices.ContainsFunc(comments, func(c gitea.Comment) bool { return strings.Contains(c.Body, named) }), err
	})
	reviewed := fmt.Sprintf(`"msg":"reviewed","repository":"%s/%s","pull request":%d,"ending":"posted"`, owner, repository, number)
	w.waits("the review server's Pod to log "+reviewed, func() (bool, error) {
		return strings.Contains(w.log("review"), reviewed), nil
	})
	if log := w.log("review"); strings.Contains(log, "nothing is cached") {
		w.Errorf("the Pod has no place to keep results in:\n%s", log)
	}
	var refusal error
	w.waits("the pull request to be merged", func() (bool, error) {
		refusal = w.forge.Merge(w.Context(), owner, repository, number) // while it looks for conflicts it says no
		return refusal == nil, nil
	})
	w.git("switch", "--quiet", "main")
	w.git("pull", "--quiet", "--no-rebase", "origin", "main")
	w.awaits("main@sha1:" + w.git("rev-parse", "HEAD"))
}
