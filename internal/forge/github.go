package forge

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"github.com/google/go-github/v88/github"
)

// githubForge is a repository of GitHub, in the cloud or of one's own.
type githubForge struct {
	o   Options
	api *github.Client

	mu   sync.Mutex
	user string
}

const (
	// GitHub counts characters; bytes are never fewer.
	githubComment     = 65_536
	githubDescription = 140
	githubPage        = 100
	// githubActions is the user of the token that a job of GitHub Actions is given.
	githubActions = "github-actions[bot]"
)

func newGitHub(o Options, client *http.Client) (Repository, error) {
	options := []github.ClientOptionsFunc{
		github.WithHTTPClient(client), github.WithAuthToken(o.Token), github.WithDisableRateLimitCheck(),
	}
	if u, err := url.Parse(o.URL); err == nil && u.Host != "github.com" {
		options = append(options, github.WithEnterpriseURLs(o.URL+"/", o.URL+"/"))
	}
	api, err := github.NewClient(options...)
	if err != nil {
		return nil, o.explain("speak with GitHub", err)
	}
	return &githubForge{o: o, api: api}, nil
}

func (g *githubForge) CommentLimit() int { return githubComment }

func (g *githubForge) Remote() Remote { return g.o.remote("x-access-token", "refs/pull/%d/head") }

func (g *githubForge) PullRequest(ctx context.Context, n int) (*PullRequest, error) {
	pr, _, err := g.api.PullRequests.Get(ctx, g.o.owner(), g.o.name(), n)
	if err != nil {
		return nil, g.o.explain(fmt.Sprintf("read pull request #%d of %s", n, g.o.Repository), err)
	}
	return pullOfGitHub(pr), nil
}

func pullOfGitHub(pr *github.PullRequest) *PullRequest {
	head, base := pr.GetHead(), pr.GetBase()
	out := &PullRequest{
		Number: pr.GetNumber(), Title: pr.GetTitle(), BaseBranch: base.GetRef(), BaseSHA: base.GetSHA(), HeadBranch: head.GetRef(), HeadSHA: head.GetSHA(),
		HeadCloneURL: head.GetRepo().GetCloneURL(), Fork: head.GetRepo().GetID() != base.GetRepo().GetID(),
		State: Open, URL: pr.GetHTMLURL(), Changed: pr.GetHTMLURL() + "/files",
	}
	switch {
	case pr.GetMerged(), pr.MergedAt != nil: // a list tells only when
		out.State = Merged
	case pr.GetState() != "open":
		out.State = Closed
	}
	return out
}

func (g *githubForge) MergedAs(ctx context.Context, sha string) (*PullRequest, error) {
	list, _, err := g.api.PullRequests.ListPullRequestsWithCommit(ctx, g.o.owner(), g.o.name(), sha, &github.ListOptions{PerPage: githubPage})
	if err != nil {
		return nil, g.o.explain("find the pull request of "+sha, err)
	}
	for _, pr := range list {
		if pr.MergedAt != nil && pr.GetMergeCommitSHA() == sha {
			return pullOfGitHub(pr), nil
		}
	}
	return nil, nil
}

func (g *githubForge) StatusOf(ctx context.Context, sha string) (*Status, error) {
	for page := 1; page != 0; {
		combined, response, err := g.api.Repositories.GetCombinedStatus(ctx, g.o.owner(), g.o.name(), sha, &github.ListOptions{Page: page, PerPage: githubPage})
		if err != nil {
			return nil, g.o.explain("read the status of "+sha, err)
		}
		for _, s := range combined.Statuses { // the newest of each context
			if s.GetContext() == Context {
				return &Status{State: StatusState(s.GetState()), Description: s.GetDescription(), Link: s.GetTargetURL()}, nil
			}
		}
		page = response.NextPage
	}
	return nil, nil
}

func (g *githubForge) SameFiles(ctx context.Context, one, other string) (bool, error) {
	var trees []string
	for _, sha := range []string{one, other} {
		commit, _, err := g.api.Git.GetCommit(ctx, g.o.owner(), g.o.name(), sha)
		if err != nil {
			return false, g.o.explain(fmt.Sprintf("compare %s with %s", one, other), err)
		}
		trees = append(trees, commit.GetTree().GetSHA())
	}
	return trees[0] != "" && trees[0] == trees[1], nil
}

func (g *githubForge) SetStatus(ctx context.Context, sha string, s Status) error {
	status := github.RepoStatus{
		State: github.Ptr(string(s.State)), Context: github.Ptr(Context),
		// In characters; bytes are never fewer.
		Description: github.Ptr(oneLine(s.Description, githubDescription)),
	}
	if s.Link != "" {
		status.TargetURL = github.Ptr(s.Link)
	}
	_, _, err := g.api.Repositories.CreateStatus(ctx, g.o.owner(), g.o.name(), sha, status)
	return g.o.explain("set the status of "+sha, err)
}

func (g *githubForge) UpsertComment(ctx context.Context, n int, marker, body string) (string, error) {
	return upsert(ctx, g, &g.o, n, marker, body)
}

func (g *githubForge) self(ctx context.Context) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.user == "" {
		g.user = g.o.Self
	}
	if g.user != "" {
		return g.user, nil
	}
	me, _, err := g.api.Users.Get(ctx, "")
	switch {
	case mayNotAsk(err):
		g.user = githubActions
	case err != nil:
		return "", err
	default:
		g.user = me.GetLogin()
	}
	return g.user, nil
}

func (g *githubForge) page(ctx context.Context, n, page int) ([]comment, int, error) {
	list, response, err := g.api.Issues.ListComments(ctx, g.o.owner(), g.o.name(), n, &github.IssueListCommentsOptions{
		ListOptions: github.ListOptions{Page: page, PerPage: githubPage},
	})
	if err != nil {
		return nil, 0, err
	}
	found := make([]comment, 0, len(list))
	for _, c := range list {
		found = append(found, comment{id: c.GetID(), author: c.GetUser().GetLogin(), body: c.GetBody(), url: c.GetHTMLURL()})
	}
	return found, response.NextPage, nil
}

func (g *githubForge) create(ctx context.Context, n int, body string) (string, error) {
	made, _, err := g.api.Issues.CreateComment(ctx, g.o.owner(), g.o.name(), n, &github.IssueComment{Body: &body})
	return made.GetHTMLURL(), err
}

func (g *githubForge) edit(ctx context.Context, _ int, id int64, body string) (string, error) {
	edited, _, err := g.api.Issues.EditComment(ctx, g.o.owner(), g.o.name(), id, &github.IssueComment{Body: &body})
	return edited.GetHTMLURL(), err
}

func (g *githubForge) remove(ctx context.Context, _ int, id int64) error {
	_, err := g.api.Issues.DeleteComment(ctx, g.o.owner(), g.o.name(), id)
	return err
}
