// Package gitea speaks as much of Gitea's API as the local platform needs to
// give a fleet its repository.
package gitea

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Client calls the API as a user who signs in.
type Client struct {
	// URL of the forge, such as http://127.0.0.1:17444
	URL            string
	Name, Password string
}

// EnsureUser makes a user who signs in with a password.
func (c *Client) EnsureUser(ctx context.Context, name, password string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/admin/users", map[string]any{
		"username": name, "email": name + "@localhost.localdomain", "password": password, "must_change_password": false,
	}, nil, http.StatusUnprocessableEntity)
}

// EnsureOrg makes an organisation.
func (c *Client) EnsureOrg(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/orgs", map[string]any{"username": name}, nil, http.StatusUnprocessableEntity)
}

// EnsureRepository makes an empty private repository whose default branch is main.
func (c *Client) EnsureRepository(ctx context.Context, org, name string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/orgs/"+org+"/repos", map[string]any{
		"name": name, "private": true, "default_branch": "main",
	}, nil, http.StatusConflict)
}

// Share gives a user the permission read or write on a repository.
func (c *Client) Share(ctx context.Context, org, name, user, permission string) error {
	return c.call(ctx, http.MethodPut, "/api/v1/repos/"+org+"/"+name+"/collaborators/"+user,
		map[string]any{"permission": permission}, nil)
}

// AddHook makes the forge post events, such as push and pull_request, to a URL,
// signed with the secret.
func (c *Client) AddHook(ctx context.Context, org, name, target, secret string, events ...string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/repos/"+org+"/"+name+"/hooks", map[string]any{
		"type": "gitea", "active": true, "events": events,
		"config": map[string]string{"url": target, "content_type": "json", "secret": secret},
	}, nil)
}

// Token makes an API token with these scopes for the client's own user.
func (c *Client) Token(ctx context.Context, name string, scopes ...string) (string, error) {
	var out struct{ SHA1 string }
	err := c.call(ctx, http.MethodPost, "/api/v1/users/"+c.Name+"/tokens", map[string]any{"name": name, "scopes": scopes}, &out)
	return out.SHA1, err
}

// Require makes a merge into a branch wait for the commit statuses of contexts.
// Whoever may write may still push to it.
func (c *Client) Require(ctx context.Context, org, name, branch string, contexts ...string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/repos/"+org+"/"+name+"/branch_protections", map[string]any{
		"rule_name": branch, "enable_push": true, "enable_status_check": true, "status_check_contexts": contexts,
	}, nil)
}

// OpenPull opens a pull request, and returns its number and address.
func (c *Client) OpenPull(ctx context.Context, org, name, head, base, title, body string) (number int, page string, err error) {
	var out struct {
		Number int
		URL    string `json:"html_url"`
	}
	err = c.call(ctx, http.MethodPost, "/api/v1/repos/"+org+"/"+name+"/pulls", map[string]any{
		"head": head, "base": base, "title": title, "body": body,
	}, &out)
	return out.Number, out.URL, err
}

// Merge merges a pull request. Where its checks have not passed, and while the forge
// looks for conflicts still, it is an error.
func (c *Client) Merge(ctx context.Context, org, name string, number int) error {
	path := fmt.Sprintf("/api/v1/repos/%s/%s/pulls/%d/merge", org, name, number)
	return c.call(ctx, http.MethodPost, path, map[string]any{"Do": "merge"}, nil)
}

// branchInterval is how often the forge is asked for a branch.
const branchInterval = 50 * time.Millisecond

// AwaitBranch returns once the forge knows a commit as a branch's: it takes note of
// a push a moment after git has been told that it is done, of the first one last.
func (c *Client) AwaitBranch(ctx context.Context, org, name, branch, commit string) error {
	tick := time.NewTicker(branchInterval)
	defer tick.Stop()
	for {
		at, err := c.branch(ctx, org, name, branch)
		if err != nil || at == commit {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// branch is the commit of a branch; empty where the forge knows of none.
func (c *Client) branch(ctx context.Context, org, name, branch string) (string, error) {
	path := "/api/v1/repos/" + org + "/" + name
	var repository struct{ Empty bool }
	if err := c.call(ctx, http.MethodGet, path, nil, &repository); err != nil || repository.Empty {
		return "", err // asked for a branch of an empty repository, Gitea 1.26 panics
	}
	var out struct{ Commit struct{ ID string } }
	err := c.call(ctx, http.MethodGet, path+"/branches/"+url.PathEscape(branch), nil, &out, http.StatusNotFound)
	return out.Commit.ID, err
}

// Comment is one on a pull request.
type Comment struct {
	ID   int64
	Body string
	User struct{ Login string }
	// URL of it on the page.
	URL string `json:"html_url"`
}

// Comments are all of a pull request's.
func (c *Client) Comments(ctx context.Context, org, name string, number int) ([]Comment, error) {
	var out []Comment
	err := c.call(ctx, http.MethodGet, fmt.Sprintf("/api/v1/repos/%s/%s/issues/%d/comments", org, name, number), nil, &out)
	return out, err
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// call sends one request. Statuses in fine are no error: what was to be made is there.
func (c *Client) call(ctx context.Context, method, path string, in, out any, fine ...int) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return err
	}
	request.SetBasicAuth(c.Name, c.Password)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if slices.Contains(fine, response.StatusCode) {
		return nil
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(answer)))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
