// Package review is `aether review`: a pull request gets a comment and a commit
// status that say what it will do.
package review

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/run"
)

// Engine is what makes and writes reports.
type Engine struct {
	// Produce compares two commits of a bare repository.
	Produce func(ctx context.Context, repoDir, baseRev, headRev string) (*review.Report, error)
	// Markdown writes a report within a limit in bytes, with a link to the whole of it,
	// and says whether anything was left out.
	Markdown func(r *review.Report, limit int, link string) (string, bool)
	// Formats that a whole report can be written in, by the ending of the file's name:
	// "html". JSON is always there.
	Formats map[string]func(io.Writer, *review.Report) error
}

// Options is what review is asked.
type Options struct {
	*cli.Env
	Engine
	// Getenv reads the environment of a CI job.
	Getenv func(string) string

	target
	PR      int
	Output  []string
	Link    string
	Timeout time.Duration
}

// target is the forge, for review and for review serve.
type target struct {
	Forge string
	URL   string
	Cache string
	Self  string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env, engine Engine) *cobra.Command {
	o := &Options{Env: env, Engine: engine, Getenv: os.Getenv}
	cmd := newReview(o)
	cmd.AddCommand(newServe(&ServeOptions{Env: env, Engine: engine, Getenv: os.Getenv}))
	return cmd
}

func newReview(o *Options) *cobra.Command {
	var repo string
	cmd := &cobra.Command{
		Use:   "review",
		Short: "Say on a pull request what it will do",
		Long: `Compare what a pull request's base and head render to, and say on the pull request
what that means: in one comment, which later runs update, and in the commit status
` + forge.Context + `, which your forge can require before a merge.

In a CI job of Gitea Actions, GitHub Actions or GitLab CI no flag is needed. The
token is taken from the environment only: AETHER_FORGE_TOKEN, or else GITEA_TOKEN,
GITHUB_TOKEN or GITLAB_TOKEN, as the forge is.

Base and head are fetched from the repository itself, into a folder of this
program's own. Nothing of the pull request is checked out or executed, so it may
run for pull requests from forks with a token that can write comments.

Exit codes:
  0  the review is on the pull request, and the change may be merged; or there is
     nothing to say, since it is closed or has a newer head
  1  the review is on the pull request, and the change must not be merged as it is
  2  the command cannot be run as written
  3  the forge could not be asked, or the review could not be made`,
		Example: `  aether review
  aether review --forge gitea --url https://git.example.com --repo platform/fleet --pr 12
  aether review --output report.html --output report.json`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), repo) },
	}
	flags := cmd.Flags()
	o.addFlags(cmd)
	flags.StringVar(&repo, "repo", "", "`owner/name` of the repository (default: the CI job's)")
	flags.IntVar(&o.PR, "pr", 0, "`number` of the pull request (default: the CI job's)")
	flags.StringArrayVarP(&o.Output, "output", "o", nil, "also write the whole report to this `file`; its ending says how: "+strings.Join(o.formats(), ", "))
	flags.StringVar(&o.Link, "link", "", "`URL` of the whole report, for the comment and the status (default: the CI job's)")
	flags.DurationVar(&o.Timeout, "timeout", 10*time.Minute, "how long the review may take")
	return cmd
}

func (t *target) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&t.Forge, "forge", "", "gitea, github or gitlab (default: the CI job's)")
	flags.StringVar(&t.URL, "url", "", "`URL` of the forge (default: the CI job's)")
	flags.StringVar(&t.Cache, "cache", "", "`folder` to keep fetched commits in, so that the next run fetches less")
	flags.StringVar(&t.Self, "user", "", "`name` of the token's user, where the token may not ask for it")
}

func (o *Options) run(ctx context.Context, repo string) error {
	ci := job(o.Getenv)
	repo = cmp.Or(repo, ci.repository)
	o.PR = cmp.Or(o.PR, ci.pr)
	if o.PR <= 0 {
		return cli.Usage("aether review --pr 12", "which pull request is to be reviewed?")
	}
	if repo == "" {
		return cli.Usage("aether review --repo platform/fleet --pr 12", "which repository is the pull request in?")
	}
	for _, file := range o.Output {
		if !slices.Contains(o.formats(), format(file)) {
			return cli.Usage("name it "+strings.TrimSuffix(file, filepath.Ext(file))+".json", "cannot write a report to %q: its name has to end in one of %s", file, strings.Join(o.formats(), ", "))
		}
	}
	f, err := o.open(o.Env, ci, o.Getenv, repo)
	if err != nil {
		return err
	}
	cache := o.Cache
	if cache == "" {
		if cache, err = os.MkdirTemp("", "aether-review-*"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(cache) }()
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	runner := &run.Runner{
		Forge: f, Mirror: &run.Mirror{Dir: filepath.Join(cache, folder(repo))}, Produce: o.Produce, Markdown: o.Markdown,
		Keep: func(_ *forge.PullRequest, r *review.Report) (string, error) {
			return cmp.Or(o.Link, ci.link), o.write(r)
		},
		Log: slog.New(slog.NewTextHandler(o.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	outcome, err := runner.Run(ctx, o.PR)
	if err != nil {
		return failed(err)
	}
	switch outcome.Ending {
	case run.NotOpen:
		fmt.Fprintf(o.Out, "#%d of %s is not open: nothing to review\n", o.PR, repo)
		return nil
	case run.Superseded:
		fmt.Fprintf(o.Out, "#%d of %s has a newer head: its own run reviews it\n", o.PR, repo)
		return nil
	}
	fmt.Fprintf(o.Out, "%s\n%s\n", run.Summary(outcome.Report), outcome.Comment)
	if outcome.Report.Failed() {
		return cli.Findings()
	}
	return nil
}

// open returns the forge.
func (t *target) open(env *cli.Env, ci ciJob, getenv func(string) string, repo string) (forge.Forge, error) {
	kind := forge.Kind(cmp.Or(t.Forge, string(ci.kind)))
	if kind == "" {
		return nil, cli.Usage("aether review --forge gitea", "which forge is the pull request on?")
	}
	address := cmp.Or(t.URL, ci.url)
	if address == "" && kind == forge.GitHub {
		address = "https://github.com"
	}
	f, err := forge.New(forge.Options{Kind: kind, URL: address, Repository: repo, Token: cli.ForgeToken(kind, getenv), Self: t.Self, Now: env.Now})
	if err != nil {
		return nil, cli.Usage("aether review --help", "%w", err)
	}
	return f, nil
}

// failed is the error of a forge that cannot be asked, and of a review that
// cannot be made.
func failed(err error) error {
	e := &cli.Error{Code: cli.ExitCluster, Err: err}
	if refused := (*forge.Error)(nil); errors.As(err, &refused) {
		e.Try = refused.Try()
	}
	return e
}

// folder is a repository's own in the cache; a name holds no "%".
func folder(repo string) string { return strings.ReplaceAll(repo, "/", "%") + ".git" }

func format(file string) string { return strings.TrimPrefix(filepath.Ext(file), ".") }

// formats that a whole report can be written in.
func (e *Engine) formats() []string {
	all := []string{"json"}
	for name := range e.Formats {
		if name != "json" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// write writes the whole report to the files that were asked for.
func (o *Options) write(r *review.Report) error {
	for _, file := range o.Output {
		write := o.Formats[format(file)]
		if write == nil {
			write = writeJSON
		}
		if err := create(file, func(w io.Writer) error { return write(w, r) }); err != nil {
			return err
		}
	}
	return nil
}

func create(file string, write func(io.Writer) error) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func writeJSON(w io.Writer, r *review.Report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
