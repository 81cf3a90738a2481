// Package gitea speaks as much of Gitea's API as the local platform needs to
// give a fleet its repository, to Gitea itself or to package forge.
package gitea

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Client calls the API as the administrator.
type Client struct {
	// URL of the forge, such as http://127.0.0.1:17444
	URL            string
	Name, Password string
}

// Version is what the forge says it is.
func (c *Client) Version(ctx context.Context) (string, error) {
	var out struct{ Version string }
	err := c.call(ctx, http.MethodGet, "/api/v1/version", nil, &out)
	return out.Version, err
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

// AddPushHook makes the forge post push events to a URL, signed with the secret.
func (c *Client) AddPushHook(ctx context.Context, org, name, url, secret string) error {
	return c.AddHook(ctx, org, name, url, secret, "push")
}

// AddHook makes the forge post events, such as push and pull_request, to a URL,
// signed with the secret.
func (c *Client) AddHook(ctx context.Context, org, name, url, secret string, events ...string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/repos/"+org+"/"+name+"/hooks", map[string]any{
		"type": "gitea", "active": true, "events": events,
		"config": map[string]string{"url": url, "content_type": "json", "secret": secret},
	}, nil)
}

// Token makes an API token for the client's own user.
func (c *Client) Token(ctx context.Context, name string) (string, error) {
	var out struct{ SHA1 string }
	err := c.call(ctx, http.MethodPost, "/api/v1/users/"+c.Name+"/tokens", map[string]any{
		"name": name, "scopes": []string{"read:user", "write:repository", "write:issue"},
	}, &out)
	return out.SHA1, err
}

// Require makes a merge into a branch wait for the commit statuses of contexts.
func (c *Client) Require(ctx context.Context, org, name, branch string, contexts ...string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/repos/"+org+"/"+name+"/branch_protections", map[string]any{
		"rule_name": branch, "enable_status_check": true, "status_check_contexts": contexts,
	}, nil)
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
