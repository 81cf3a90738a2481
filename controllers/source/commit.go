package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	gitobject "github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	gitmemory "github.com/go-git/go-git/v5/storage/memory"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// commits reads what an artifact does not carry: the message of its commit.
type commits interface {
	message(ctx context.Context, repository *sourcev1.GitRepository, revision string) (string, error)
}

// remoteTimeout bounds one look at a Git server.
const remoteTimeout = 30 * time.Second

// remoteCommits asks the repository itself, with the credentials that Flux uses.
// It is asked only when a revision would remove more than the budget.
type remoteCommits struct {
	// secrets are read from the API server when they are needed, and not held.
	secrets client.Reader
}

func (r remoteCommits) message(ctx context.Context, repository *sourcev1.GitRepository, revision string) (string, error) {
	hash, err := hashOf(revision)
	if err != nil {
		return "", err
	}
	if p := repository.Spec.Provider; p != "" && p != sourcev1.GitProviderGeneric {
		return "", fmt.Errorf("spec.provider %q of the GitRepository is not supported here; raise spec.prune.max instead", p)
	}
	options := &git.FetchOptions{Depth: 1, Tags: git.NoTags}
	if ref := repository.Spec.SecretRef; ref != nil {
		var secret corev1.Secret
		key := client.ObjectKey{Namespace: repository.Namespace, Name: ref.Name}
		if err := r.secrets.Get(ctx, key, &secret); err != nil {
			return "", fmt.Errorf("cannot get Secret %s: %w", key, err)
		}
		if options.Auth, err = authOf(repository.Spec.URL, secret.Data); err != nil {
			return "", fmt.Errorf("cannot use Secret %s: %w", key, err)
		}
		options.CABundle = secret.Data["ca.crt"]
	}

	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	storage := gitmemory.NewStorage()
	remote := git.NewRemote(storage, &config.RemoteConfig{Name: "origin", URLs: []string{repository.Spec.URL}})

	// By hash, or where a server does not serve those, by the branch, of which the
	// revision was the newest commit a moment ago.
	for _, from := range append([]string{hash.String()}, branchOf(revision)...) {
		options.RefSpecs = []config.RefSpec{config.RefSpec(from + ":refs/heads/aether")}
		if err = remote.FetchContext(ctx, options); err == nil || errors.Is(err, git.NoErrAlreadyUpToDate) {
			break
		}
	}
	if err != nil && !errors.Is(err, git.NoErrAlreadyUpToDate) {
		return "", err
	}
	commit, err := gitobject.GetCommit(storage, hash)
	if err != nil {
		return "", fmt.Errorf("the branch has moved on from %s", hash)
	}
	return commit.Message, nil
}

// hashOf is the commit of a Flux revision: "main@sha1:<hex>" or "sha1:<hex>".
func hashOf(revision string) (plumbing.Hash, error) {
	_, hex, ok := strings.Cut(revision, "sha1:")
	if !ok || !plumbing.IsHash(hex) {
		return plumbing.ZeroHash, fmt.Errorf("revision %q names no commit by SHA-1", revision)
	}
	return plumbing.NewHash(hex), nil
}

// branchOf is the branch of a Flux revision, if it names one.
func branchOf(revision string) []string {
	name, _, ok := strings.Cut(revision, "@sha1:")
	switch {
	case !ok:
		return nil
	case strings.HasPrefix(name, "refs/"):
		return []string{name}
	}
	return []string{"refs/heads/" + name}
}

// authOf makes credentials of a Secret as Flux documents it for GitRepository.
func authOf(url string, secret map[string][]byte) (transport.AuthMethod, error) {
	if strings.HasPrefix(url, "ssh://") {
		user := "git"
		if endpoint, err := transport.NewEndpoint(url); err == nil && endpoint.User != "" {
			user = endpoint.User
		}
		keys, err := gitssh.NewPublicKeys(user, secret["identity"], string(secret["password"]))
		if err != nil {
			return nil, fmt.Errorf("cannot read identity: %w", err)
		}
		if keys.HostKeyCallback, err = hostKeys(secret["known_hosts"]); err != nil {
			return nil, fmt.Errorf("cannot read known_hosts: %w", err)
		}
		return keys, nil
	}
	switch {
	case len(secret["bearerToken"]) > 0:
		return &githttp.TokenAuth{Token: string(secret["bearerToken"])}, nil
	case len(secret["username"]) > 0 || len(secret["password"]) > 0:
		return &githttp.BasicAuth{Username: string(secret["username"]), Password: string(secret["password"])}, nil
	}
	return nil, nil
}

// hostKeys reads known_hosts, for which the library wants a file. It holds public
// keys only, and is gone when they have been read.
func hostKeys(known []byte) (ssh.HostKeyCallback, error) {
	file, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(known); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return gitssh.NewKnownHostsCallback(file.Name())
}
