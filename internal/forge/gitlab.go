package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// gitlabForge is a project of GitLab, where pull requests are merge requests and
// comments are notes.
type gitlabForge struct {
	o   Options
	api *gitlab.Client

	mu   sync.Mutex
	user string
}

const (
	// GitLab counts characters; bytes are never fewer.
	gitlabComment     = 1_000_000
	gitlabDescription = 255
	gitlabPage        = 100
)

// unlimited is a limiter that lets everything pass: the transport waits where the
// forge says so.
type unlimited struct{}

func (unlimited) Wait(context.Context) error { return nil }

func newGitLab(o Options, client *http.Client) (Repository, error) {
	api, err := gitlab.NewClient(o.Token, gitlab.WithBaseURL(o.URL), gitlab.WithHTTPClient(client),
		gitlab.WithoutRetries(), gitlab.WithCustomLimiter(unlimited{}))
	if err != nil {
		return nil, o.explain("speak with GitLab", err)
	}
	return &gitlabForge{o: o, api: api}, nil
}

func (g *gitlabForge) CommentLimit() int { return gitlabComment }

func (g *gitlabForge) Remote() Remote { return g.o.remote("oauth2", "refs/merge-requests/%d/head") }

func (g *gitlabForge) PullRequest(ctx context.Context, n int) (*PullRequest, error) {
	mr, _, err := g.api.MergeRequests.GetMergeRequest(g.o.Repository, int64(n), nil, gitlab.WithContext(ctx))
	if err != nil {
		return nil, g.o.explain(fmt.Sprintf("read merge request !%d of %s", n, g.o.Repository), err)
	}
	out := g.pull(&mr.BasicMergeRequest)
	out.BaseSHA = mr.DiffRefs.BaseSha
	return out, nil
}

func (g *gitlabForge) pull(mr *gitlab.BasicMergeRequest) *PullRequest {
	out := &PullRequest{
		Number: int(mr.IID), Title: mr.Title, BaseBranch: mr.TargetBranch, HeadBranch: mr.SourceBranch, HeadSHA: mr.SHA,
		Fork: mr.SourceProjectID != mr.TargetProjectID, State: Open, URL: mr.WebURL, Changed: mr.WebURL + "/diffs",
	}
	if !out.Fork {
		out.HeadCloneURL = g.Remote().URL
	}
	switch mr.State {
	case "opened":
	case "merged":
		out.State = Merged
	default: // closed, or locked while it is being merged
		out.State = Closed
	}
	return out
}

func (g *gitlabForge) MergedAs(ctx context.Context, sha string) (*PullRequest, error) {
	list, _, err := g.api.Commits.ListMergeRequestsByCommit(g.o.Repository, sha, gitlab.WithContext(ctx))
	if err != nil {
		return nil, g.o.explain("find the merge request of "+sha, err)
	}
	for _, mr := range list {
		// A fast-forward makes no commit: the head is what the branch holds then.
		if mr.State == "merged" && (mr.MergeCommitSHA == sha || mr.MergeCommitSHA == "" && (mr.SquashCommitSHA == sha || mr.SHA == sha)) {
			return g.pull(mr), nil
		}
	}
	return nil, nil
}

func (g *gitlabForge) StatusOf(ctx context.Context, sha string) (*Status, error) {
	list, _, err := g.api.Commits.GetCommitStatuses(g.o.Repository, sha, &gitlab.GetCommitStatusesOptions{Name: gitlab.Ptr(Context)}, gitlab.WithContext(ctx))
	if err != nil {
		return nil, g.o.explain("read the status of "+sha, err)
	}
	var newest *gitlab.CommitStatus
	for _, s := range list {
		if s.Name == Context && (newest == nil || s.ID > newest.ID) {
			newest = s
		}
	}
	if newest == nil {
		return nil, nil
	}
	out := &Status{State: Broken, Description: newest.Description, Link: newest.TargetURL}
	switch newest.Status {
	case "success":
		out.State = Success
	case "failed": // which a review that could not be made is as well
		out.State = Failure
	case "pending", "running", "created":
		out.State = Pending
	}
	return out, nil
}

func (g *gitlabForge) SameFiles(ctx context.Context, one, other string) (bool, error) {
	found, _, err := g.api.Repositories.Compare(g.o.Repository, &gitlab.CompareOptions{From: &one, To: &other, Straight: gitlab.Ptr(true)}, gitlab.WithContext(ctx))
	if err != nil {
		return false, g.o.explain(fmt.Sprintf("compare %s with %s", one, other), err)
	}
	return len(found.Diffs) == 0 && !found.CompareTimeout, nil
}

// gitlabStates are GitLab's words for ours.
var gitlabStates = map[StatusState]gitlab.BuildStateValue{
	Pending: gitlab.Pending, Success: gitlab.Success, Failure: gitlab.Failed, Broken: gitlab.Failed,
}

func (g *gitlabForge) SetStatus(ctx context.Context, sha string, s Status) error {
	o := &gitlab.SetCommitStatusOptions{
		State: gitlabStates[s.State], Name: gitlab.Ptr(Context), Description: gitlab.Ptr(oneLine(s.Description, gitlabDescription)),
	}
	if s.Link != "" {
		o.TargetURL = gitlab.Ptr(s.Link)
	}
	_, _, err := g.api.Commits.SetCommitStatus(g.o.Repository, sha, o, gitlab.WithContext(ctx))
	var refused *Error
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest && strings.Contains(refused.Message, "Cannot transition status") {
		return nil // it has that state already
	}
	return g.o.explain("set the status of "+sha, err)
}

func (g *gitlabForge) UpsertComment(ctx context.Context, n int, marker, body string) (string, error) {
	return upsert(ctx, g, &g.o, n, marker, body)
}

func (g *gitlabForge) self(ctx context.Context) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.user == "" {
		g.user = g.o.Self
	}
	if g.user != "" {
		return g.user, nil
	}
	me, _, err := g.api.Users.CurrentUser(gitlab.WithContext(ctx))
	if err != nil {
		return "", err
	}
	g.user = me.Username
	return g.user, nil
}

func (g *gitlabForge) page(ctx context.Context, n, page int) ([]comment, int, error) {
	list, response, err := g.api.Notes.ListMergeRequestNotes(g.o.Repository, int64(n), &gitlab.ListMergeRequestNotesOptions{
		ListOptions: gitlab.ListOptions{Page: int64(page), PerPage: gitlabPage},
		OrderBy:     gitlab.Ptr("created_at"), Sort: gitlab.Ptr("asc"),
	}, gitlab.WithContext(ctx))
	if err != nil {
		return nil, 0, err
	}
	found := make([]comment, 0, len(list))
	for _, note := range list {
		if !note.System {
			found = append(found, comment{id: note.ID, author: note.Author.Username, body: note.Body, url: g.note(n, note.ID)})
		}
	}
	if len(found) == 0 && len(list) > 0 {
		// A page of nothing but GitLab's own notes is not the end.
		found = append(found, comment{id: list[0].ID})
	}
	return found, int(response.NextPage), nil
}

// note is the address of a note, which the API does not tell.
func (g *gitlabForge) note(n int, id int64) string {
	return fmt.Sprintf("%s/%s/-/merge_requests/%d#note_%d", g.o.URL, g.o.Repository, n, id)
}

func (g *gitlabForge) create(ctx context.Context, n int, body string) (string, error) {
	made, _, err := g.api.Notes.CreateMergeRequestNote(g.o.Repository, int64(n), &gitlab.CreateMergeRequestNoteOptions{Body: &body}, gitlab.WithContext(ctx))
	if err != nil {
		return "", err
	}
	return g.note(n, made.ID), nil
}

func (g *gitlabForge) edit(ctx context.Context, n int, id int64, body string) (string, error) {
	_, _, err := g.api.Notes.UpdateMergeRequestNote(g.o.Repository, int64(n), id, &gitlab.UpdateMergeRequestNoteOptions{Body: &body}, gitlab.WithContext(ctx))
	return g.note(n, id), err
}

func (g *gitlabForge) remove(ctx context.Context, n int, id int64) error {
	_, err := g.api.Notes.DeleteMergeRequestNote(g.o.Repository, int64(n), id, gitlab.WithContext(ctx))
	return err
}
