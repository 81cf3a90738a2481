package sources

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

// mirror is a bare repository that holds the newest commit of another one. A
// fetch brings only the objects that the commit before did not have.
type mirror struct{ dir string }

type login struct{ name, password string }

// fetchedRef is where the mirror keeps what it fetched.
const fetchedRef = "refs/aether/fetched"

func openMirror(ctx context.Context, dir string) (mirror, error) {
	m := mirror{dir}
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		return m, nil
	}
	// What a start that was cut off left behind is of no use.
	if err := os.RemoveAll(dir); err != nil {
		return m, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return m, err
	}
	_, err := m.git(ctx, nil, "init", "--quiet", "--bare", ".")
	return m, err
}

// fetch brings the newest commit of a ref and returns its hash.
func (m mirror) fetch(ctx context.Context, url string, as login, ref string) (string, error) {
	// Killed in the middle of a fetch, git leaves its lock behind. Only one fetch
	// of a repository runs at a time, so a lock that is there is nobody's.
	if err := os.Remove(filepath.Join(m.dir, "shallow.lock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.Remove(filepath.Join(m.dir, fetchedRef+".lock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	// The header goes by the environment: a command line can be read by everyone.
	env := []string{"GIT_CONFIG_COUNT=0"}
	if as != (login{}) {
		basic := base64.StdEncoding.EncodeToString([]byte(as.name + ":" + as.password))
		env = []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: Basic " + basic}
	}
	_, err := m.git(ctx, env, "-c", "gc.auto=0", "-c", "maintenance.auto=false",
		"fetch", "--quiet", "--force", "--depth=1", "--no-tags", "--no-write-fetch-head", url, ref+":"+fetchedRef)
	if err != nil {
		return "", fetchFailure(err, ref)
	}
	// A tag's own object is not the commit.
	out, err := m.git(ctx, nil, "rev-parse", fetchedRef+"^{commit}")
	return strings.TrimSpace(string(out)), err
}

// fetchFailure says in Flux's terms why git could not fetch.
func fetchFailure(err error, ref string) error {
	said := err.Error()
	for _, sign := range []string{"could not read Username", "could not read Password", "Authentication failed", "returned error: 401", "returned error: 403"} {
		if strings.Contains(said, sign) {
			return &fetchError{sourcev1.AuthenticationFailedReason, "failed to checkout and determine revision: authentication required or refused"}
		}
	}
	if strings.Contains(said, "couldn't find remote ref") {
		return &fetchError{sourcev1.GitOperationFailedReason, fmt.Sprintf("failed to checkout and determine revision: reference not found: '%s'", ref)}
	}
	return &fetchError{sourcev1.GitOperationFailedReason, "failed to checkout and determine revision: " + said}
}

// git runs git in the mirror with none of the user's configuration.
func (m mirror) git(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := m.command(ctx, args...)
	cmd.Env = append(cmd.Env, env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(said.String()), " "))
	}
	return out.Bytes(), nil
}

func (m mirror) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = m.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + m.dir, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ALLOW_PROTOCOL=http:https",
	}
	return cmd
}
