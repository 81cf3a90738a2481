// Package forge speaks with the forges where fleets are reviewed: Gitea (and
// Forgejo), GitHub and GitLab. It reads a pull request, keeps one comment on it,
// and sets one commit status.
//
// It believes what a forge says about a pull request and nothing that its author
// wrote: titles and branch names are for showing, never for deciding, and no
// address in an answer is ever followed.
package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Forge is a repository of a forge.
type Forge interface {
	// PullRequest returns a pull request as it is now.
	PullRequest(ctx context.Context, n int) (*PullRequest, error)
	// UpsertComment makes the comment of the token's user that begins with the marker
	// say this body, which has to begin with it too, and returns its address. There
	// is one such comment afterwards, however many there were.
	UpsertComment(ctx context.Context, n int, marker, body string) (string, error)
	// SetStatus says on a commit how its review ended.
	SetStatus(ctx context.Context, sha string, s Status) error
	// Remote is where the repository's commits are fetched from.
	Remote() Remote
	// CommentLimit is the size of the largest comment that the forge takes, in bytes.
	CommentLimit() int
}

// PullRequest is what a review needs to know of one.
type PullRequest struct {
	Number int
	// Title is whatever its author wrote.
	Title string
	// BaseBranch is what it merges into, and BaseSHA the commit that the forge
	// compares with: the tip of the branch, or for GitLab the merge base.
	BaseBranch, BaseSHA string
	// HeadBranch is a branch of whatever repository it comes from.
	HeadBranch, HeadSHA string
	// HeadCloneURL is the repository that it comes from; empty when that is gone.
	HeadCloneURL string
	// Fork says that this is another repository.
	Fork  bool
	State State
	// URL is its page, and Changed the page of its changed files.
	URL, Changed string
}

// State of a pull request.
type State string

// States.
const (
	Open   State = "open"
	Closed State = "closed"
	Merged State = "merged"
)

// Context is what the status of a review is called; a forge can require it.
const Context = "aether/review"

// Status of a commit.
type Status struct {
	State StatusState
	// Description is cut where it is longer than the forge takes.
	Description string
	// Link to more, or empty.
	Link string
}

// StatusState is how a review is.
type StatusState string

// States of a status.
const (
	Pending StatusState = "pending"
	Success StatusState = "success"
	// Failure: the change must not be merged as it is.
	Failure StatusState = "failure"
	// Broken: the review could not be made.
	Broken StatusState = "error"
)

// Remote is where the commits of a repository and its pull requests are.
type Remote struct {
	// URL is the address to clone, made from the configured one.
	URL string
	// User and Token to fetch with; only for the host of URL.
	User, Token string
	// PullRef is the ref of a pull request's head in this very repository, so that a
	// fork need never be asked: "refs/pull/%d/head".
	PullRef string
}

// Kind of a forge.
type Kind string

// Kinds.
const (
	Gitea  Kind = "gitea"
	GitHub Kind = "github"
	GitLab Kind = "gitlab"
)

// Kinds that there are.
var Kinds = []Kind{Gitea, GitHub, GitLab}

// Options of a Forge.
type Options struct {
	Kind Kind
	// URL of the forge as people open it: https://github.com, https://git.example.com.
	URL string
	// Repository is "owner/name"; for GitLab with all its groups.
	Repository string
	// Token of the API. Nothing that this package returns or prints holds it.
	Token string
	// Self is the name of the token's user. It is asked for where it is empty, which
	// the tokens of GitHub's and Gitea's CI jobs may not do: then it is the CI's own user.
	Self string
	// Transport to use; http.DefaultTransport where it is nil.
	Transport http.RoundTripper
	// Now is the clock, and Wait how to let time pass; real ones where they are nil.
	Now  func() time.Time
	Wait func(context.Context, time.Duration) error
}

// New returns a repository of a forge.
func New(o Options) (Repository, error) {
	if !slices.Contains(Kinds, o.Kind) {
		return nil, fmt.Errorf("%q is not a forge: use gitea, github or gitlab", o.Kind)
	}
	u, err := parseAddress(o.URL)
	if err != nil {
		return nil, err
	}
	o.URL = u.String()
	if err := CheckRepository(o.Kind, o.Repository); err != nil {
		return nil, err
	}
	if o.Token == "" {
		return nil, errors.New("there is no token for the forge: set AETHER_FORGE_TOKEN")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	client := newClient(o, u)
	switch o.Kind {
	case GitHub:
		return newGitHub(o, client)
	case GitLab:
		return newGitLab(o, client)
	default:
		return &giteaForge{o: o, client: client}, nil
	}
}

// CheckAddress says whether New takes the address of a forge.
func CheckAddress(address string) error {
	_, err := parseAddress(address)
	return err
}

func parseAddress(address string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(address, "/"))
	switch {
	case strings.Contains(address, "@"), err == nil && (u.RawQuery != "" || u.Fragment != ""):
		return nil, errors.New("the address of a forge holds no credentials and no query: write https://git.example.com")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%q is not the address of a forge: write https://git.example.com", address)
	}
	return u, nil
}

// CheckRepository says whether New takes the name of a repository.
func CheckRepository(kind Kind, name string) error {
	if parts := strings.Split(name, "/"); len(parts) < 2 || len(parts) > 2 && kind != GitLab || slices.ContainsFunc(parts, badSegment) {
		return fmt.Errorf("%q is not a repository: write owner/name", name)
	}
	return nil
}

// badSegment is whether a part of a repository's name could mean another path.
func badSegment(s string) bool {
	return s == "" || s == "." || s == ".." || strings.ContainsAny(s, "?#%\\ \t\r\n:@")
}

func (o *Options) remote(user, pullRef string) Remote {
	return Remote{URL: o.URL + "/" + o.Repository + ".git", User: user, Token: o.Token, PullRef: pullRef}
}

func (o *Options) owner() string { owner, _, _ := strings.Cut(o.Repository, "/"); return owner }

func (o *Options) name() string { _, name, _ := strings.Cut(o.Repository, "/"); return name }

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
