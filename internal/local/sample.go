package local

import (
	"context"
	"embed"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Pull is a pull request on the fleet's repository.
type Pull struct {
	Number int    `json:"number"`
	URL    string `json:"url"`
}

// The sample pull request changes a file of the example fleet, and adds one. Its
// review has something to say of each.
const (
	sampleBranch  = "open-the-shop"
	sampleTitle   = "Open the shop to the world"
	sampleChanged = "acme/namespaces/web.yaml"
	sampleOld     = "from: [{ingressController: true}]"
	sampleNew     = "from: [{ingressController: true}, {cidr: 0.0.0.0/0}]"
	sampleAdded   = "acme/namespaces/newsletter.yaml"
)

//go:embed sample
var sample embed.FS

// openSample opens the sample pull request, where the fleet is the example fleet.
func (p *Platform) openSample(ctx context.Context) error {
	if !p.Sample || p.Fleet == "" {
		return nil
	}
	web, err := os.ReadFile(filepath.Join(p.Fleet, filepath.FromSlash(sampleChanged)))
	if err != nil || strings.Count(string(web), sampleOld) != 1 {
		return nil // another fleet, or an example that someone is trying things in
	}
	if _, err := os.Stat(filepath.Join(p.Fleet, filepath.FromSlash(sampleAdded))); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	added, err := sample.ReadFile("sample/newsletter.yaml")
	if err != nil {
		return err
	}
	body, err := sample.ReadFile("sample/description.md")
	if err != nil {
		return err
	}
	repo, err := p.openRepo(ctx, p.Fleet)
	if err != nil {
		return err
	}
	commit, err := repo.branch(ctx, sampleBranch, sampleTitle, map[string]string{
		tenantsDir + "/" + sampleChanged: strings.Replace(string(web), sampleOld, sampleNew, 1),
		tenantsDir + "/" + sampleAdded:   string(added),
	})
	if err != nil {
		return err
	}
	admin, err := p.Admin()
	if err != nil {
		return err
	}
	if err := admin.AwaitBranch(ctx, forgeOrg, fleetName, sampleBranch, commit); err != nil {
		return err
	}
	number, url, err := admin.OpenPull(ctx, forgeOrg, fleetName, sampleBranch, "main", sampleTitle, string(body))
	if err != nil {
		return p.Blame("gitea", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Opened = &Pull{Number: number, URL: url}
	return p.save()
}

// ErrNoReview says that a pull request has no review yet.
var ErrNoReview = errors.New("the review is not there yet")

// AwaitReview returns once the sample pull request has its review, or ErrNoReview
// after a while: a platform without that comment is as good as one with it.
func (p *Platform) AwaitReview(ctx context.Context, limit time.Duration) error {
	admin, err := p.Admin()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrNoReview)
	defer cancel()
	return poll(ctx, func() (bool, error) {
		comments, err := admin.Comments(ctx, forgeOrg, fleetName, p.Opened.Number)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return false, err
		}
		for _, c := range comments {
			if c.User.Login == reviewUser {
				return true, nil
			}
		}
		return false, nil
	})
}
