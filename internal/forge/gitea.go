package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"code.gitea.io/sdk/gitea"
)

// giteaForge is a repository of Gitea or Forgejo.
type giteaForge struct {
	o      Options
	client *http.Client

	mu   sync.Mutex
	user string
}

const (
	// Gitea has no limit of its own; its pages become slow far below its database's.
	giteaComment = 256 << 10
	// Its column is of 255 in older versions.
	giteaDescription = 255
	giteaPage        = 50
	// giteaActions is the user of the token that a job of Gitea Actions is given.
	giteaActions = "gitea-actions"
	// giteaScope is in a refusal that a scope would change.
	giteaScope = "required scope"
)

func (g *giteaForge) CommentLimit() int { return giteaComment }

func (g *giteaForge) Remote() Remote { return g.o.remote("aether", "refs/pull/%d/head") }

// api is a client for one call: the library keeps the context in it.
func (g *giteaForge) api(ctx context.Context) (*gitea.Client, error) {
	return gitea.NewClient(g.o.URL, gitea.SetContext(ctx), gitea.SetHTTPClient(g.client), gitea.SetToken(g.o.Token),
		gitea.SetGiteaVersion("")) // what is called here is in every version, and asking costs a request
}

func (g *giteaForge) PullRequest(ctx context.Context, n int) (*PullRequest, error) {
	doing := fmt.Sprintf("read pull request #%d of %s", n, g.o.Repository)
	api, err := g.api(ctx)
	if err != nil {
		return nil, g.o.explain(doing, err)
	}
	pr, _, err := api.GetPullRequest(g.o.owner(), g.o.name(), int64(n))
	if err != nil {
		return nil, g.o.explain(doing, err)
	}
	if pr.Base == nil || pr.Head == nil {
		return nil, g.o.explain(doing, errors.New("the forge's answer names no base or no head"))
	}
	return pullOfGitea(pr), nil
}

func pullOfGitea(pr *gitea.PullRequest) *PullRequest {
	out := &PullRequest{
		Number: int(pr.Index), Title: pr.Title, BaseBranch: pr.Base.Ref, BaseSHA: pr.Base.Sha, HeadBranch: pr.Head.Ref, HeadSHA: pr.Head.Sha,
		Fork: pr.Head.RepoID != pr.Base.RepoID, State: Open, URL: pr.HTMLURL, Changed: pr.HTMLURL + "/files",
	}
	if pr.Head.Repository != nil {
		out.HeadCloneURL = pr.Head.Repository.CloneURL
	}
	switch {
	case pr.HasMerged:
		out.State = Merged
	case pr.State != gitea.StateOpen:
		out.State = Closed
	}
	return out
}

func (g *giteaForge) MergedAs(ctx context.Context, sha string) (*PullRequest, error) {
	doing := "find the pull request of " + sha
	api, err := g.api(ctx)
	if err != nil {
		return nil, g.o.explain(doing, err)
	}
	pr, _, err := api.GetCommitPullRequest(g.o.owner(), g.o.name(), sha)
	if IsNotFound(err) {
		// It says the same of a repository that it does not show.
		_, _, err = api.GetSingleCommit(g.o.owner(), g.o.name(), sha)
		return nil, g.o.explain(doing, err)
	}
	if err != nil {
		return nil, g.o.explain(doing, err)
	}
	if !pr.HasMerged || pr.MergedCommitID == nil || *pr.MergedCommitID != sha || pr.Base == nil || pr.Head == nil {
		return nil, nil
	}
	out := pullOfGitea(pr)
	// A branch that was pushed to after the merge is what Gitea tells as the head.
	refs, _, err := api.GetRepoRefs(g.o.owner(), g.o.name(), fmt.Sprintf("pull/%d/head", out.Number))
	if err != nil && !IsNotFound(err) {
		return nil, g.o.explain(doing, err)
	}
	for _, ref := range refs {
		if ref.Ref == fmt.Sprintf("refs/pull/%d/head", out.Number) && ref.Object != nil {
			out.HeadSHA = ref.Object.SHA
		}
	}
	return out, nil
}

func (g *giteaForge) StatusOf(ctx context.Context, sha string) (*Status, error) {
	doing := "read the status of " + sha
	api, err := g.api(ctx)
	if err != nil {
		return nil, g.o.explain(doing, err)
	}
	var newest *gitea.Status
	for page := 1; page < maxPages; page++ {
		list, _, err := api.ListStatuses(g.o.owner(), g.o.name(), sha, gitea.ListStatusesOption{ListOptions: gitea.ListOptions{Page: page, PageSize: giteaPage}})
		if err != nil {
			return nil, g.o.explain(doing, err)
		}
		fresh := false
		for _, s := range list {
			if s.Context == Context && (newest == nil || s.ID > newest.ID) {
				newest = s
			}
			fresh = true
		}
		if !fresh {
			break
		}
	}
	if newest == nil {
		return nil, nil
	}
	return &Status{State: StatusState(newest.State), Description: newest.Description, Link: newest.TargetURL}, nil
}

func (g *giteaForge) SameFiles(ctx context.Context, one, other string) (bool, error) {
	doing := fmt.Sprintf("compare %s with %s", one, other)
	api, err := g.api(ctx)
	if err != nil {
		return false, g.o.explain(doing, err)
	}
	var trees []string
	for _, sha := range []string{one, other} {
		commit, _, err := api.GetSingleCommit(g.o.owner(), g.o.name(), sha)
		if err != nil {
			return false, g.o.explain(doing, err)
		}
		if commit.RepoCommit == nil || commit.RepoCommit.Tree == nil {
			return false, g.o.explain(doing, errors.New("the forge's answer names no tree"))
		}
		trees = append(trees, commit.RepoCommit.Tree.SHA)
	}
	return trees[0] == trees[1], nil
}

func (g *giteaForge) SetStatus(ctx context.Context, sha string, s Status) error {
	doing := "set the status of " + sha
	api, err := g.api(ctx)
	if err != nil {
		return g.o.explain(doing, err)
	}
	_, _, err = api.CreateStatus(g.o.owner(), g.o.name(), sha, gitea.CreateStatusOption{
		State: gitea.StatusState(s.State), Description: oneLine(s.Description, giteaDescription), TargetURL: s.Link, Context: Context,
	})
	return g.o.explain(doing, err)
}

func (g *giteaForge) UpsertComment(ctx context.Context, n int, marker, body string) (string, error) {
	return upsert(ctx, g, &g.o, n, marker, body)
}

func (g *giteaForge) self(ctx context.Context) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.user == "" {
		g.user = g.o.Self
	}
	if g.user != "" {
		return g.user, nil
	}
	api, err := g.api(ctx)
	if err != nil {
		return "", err
	}
	me, _, err := api.GetMyUserInfo()
	switch {
	case mayNotAsk(err):
		g.user = giteaActions
	case err != nil:
		return "", err
	default:
		g.user = me.UserName
	}
	return g.user, nil
}

// mayNotAsk is whether the token is a CI job's, which has no user to ask for. One
// that lacks a scope has a user, whose comment would not be found again under
// another's name: every review would make one more.
func mayNotAsk(err error) bool {
	var e *Error
	return errors.As(err, &e) && !strings.Contains(e.Message, giteaScope) && (e.Status == http.StatusForbidden && !e.Limited || e.Status == http.StatusNotFound)
}

func (g *giteaForge) page(ctx context.Context, n, page int) ([]comment, int, error) {
	api, err := g.api(ctx)
	if err != nil {
		return nil, 0, err
	}
	list, _, err := api.ListIssueComments(g.o.owner(), g.o.name(), int64(n), gitea.ListIssueCommentOptions{
		ListOptions: gitea.ListOptions{Page: page, PageSize: giteaPage},
	})
	if err != nil {
		return nil, 0, err
	}
	found := make([]comment, 0, len(list))
	for _, c := range list {
		one := comment{id: c.ID, body: c.Body, url: c.HTMLURL}
		if c.Poster != nil {
			one.author = c.Poster.UserName
		}
		found = append(found, one)
	}
	// Versions differ in whether they page, and by how many: until nothing new comes.
	return found, page + 1, nil
}

func (g *giteaForge) create(ctx context.Context, n int, body string) (string, error) {
	api, err := g.api(ctx)
	if err != nil {
		return "", err
	}
	made, _, err := api.CreateIssueComment(g.o.owner(), g.o.name(), int64(n), gitea.CreateIssueCommentOption{Body: body})
	if err != nil {
		return "", err
	}
	return made.HTMLURL, nil
}

func (g *giteaForge) edit(ctx context.Context, _ int, id int64, body string) (string, error) {
	api, err := g.api(ctx)
	if err != nil {
		return "", err
	}
	edited, _, err := api.EditIssueComment(g.o.owner(), g.o.name(), id, gitea.EditIssueCommentOption{Body: body})
	if err != nil {
		return "", err
	}
	return edited.HTMLURL, nil
}

func (g *giteaForge) remove(ctx context.Context, _ int, id int64) error {
	api, err := g.api(ctx)
	if err != nil {
		return err
	}
	_, err = api.DeleteIssueComment(g.o.owner(), g.o.name(), id)
	return err
}
