package review

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/run"
	"github.com/aetherplatform/aether/internal/review/serve"
)

// ServeOptions is what review serve is asked.
type ServeOptions struct {
	*cli.Env
	cli.Cluster
	Engine
	Getenv func(string) string

	target
	Repos          []string
	Branch         string
	Reconcile      []string
	Listen, Probes string
	Reports        string
	KeepReports    int
	Workers, Queue int
	Timeout        time.Duration
}

func newServe(o *ServeOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Review pull requests as webhooks announce them",
		Long: `Serve webhooks: a pull request that is opened or pushed to is reviewed at once, as
"aether review" does it, and a push to the tracked branch makes Flux fetch.

Deliveries have to be signed with the secret in AETHER_WEBHOOK_SECRET; for GitLab
it is the webhook's secret token. The token for the forge is in AETHER_FORGE_TOKEN.
Let the forge send push and pull request events, as JSON. A delivery that was here
before does nothing, a newer head ends the review of an older one, and when too
many pull requests wait the answer is 503.

With --reports the whole report of each review is kept, shown below /reports/, and
linked from the comment and the status. Its address cannot be guessed and is told
there only, so that who may read the pull request may read it.

Put TLS in front of it: deliveries are signed, not encrypted.`,
		Example: `  aether review serve --forge gitea --url https://git.example.com --repo platform/fleet \
    --reconcile aether-system/fleet`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	o.target.addFlags(cmd)
	o.Cluster.AddFlags(flags)
	flags.StringArrayVar(&o.Repos, "repo", nil, "`owner/name` of a repository to review; may be repeated")
	flags.StringVar(&o.Branch, "branch", "main", "`branch` that Flux tracks")
	flags.StringArrayVar(&o.Reconcile, "reconcile", nil, "`namespace/name` of a GitRepository to fetch when the branch was pushed; may be repeated")
	flags.StringVar(&o.Listen, "listen", ":8080", "`address` for webhooks")
	flags.StringVar(&o.Probes, "probes", ":8081", "`address` for /healthz, /readyz and /metrics")
	flags.StringVar(&o.Reports, "reports", "", "`URL` by which people reach --listen, for comments to link to the whole report (default: no link)")
	flags.IntVar(&o.KeepReports, "keep-reports", 100, "how many whole reports to keep below --cache; the oldest go first")
	flags.IntVar(&o.Workers, "workers", 2, "how many pull requests to review at the same time")
	flags.IntVar(&o.Queue, "queue", 100, "how many pull requests may wait")
	flags.DurationVar(&o.Timeout, "timeout", 10*time.Minute, "how long a review may take")
	return cmd
}

func (o *ServeOptions) run(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(o.Err, nil))
	secret := o.Getenv("AETHER_WEBHOOK_SECRET")
	if secret == "" {
		return cli.Usage("set AETHER_WEBHOOK_SECRET to what the forge's webhook has as its secret", "there is no secret to check deliveries with")
	}
	if len(o.Repos) == 0 {
		return cli.Usage("aether review serve --repo platform/fleet", "which repositories are to be reviewed?")
	}
	if o.Cache == "" {
		dir, err := os.MkdirTemp("", "aether-review-*")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.Cache = dir
	}
	reports, err := o.reports()
	if err != nil {
		return err
	}
	reviewers := map[string]serve.Reviewer{}
	for _, repo := range o.Repos {
		f, err := o.open(o.Env, ciJob{}, o.Getenv, repo)
		if err != nil {
			return err
		}
		runner := &run.Runner{
			Forge: f, Mirror: &run.Mirror{Dir: filepath.Join(o.Cache, folder(repo))},
			Produce: o.Produce, Markdown: o.Markdown, Log: log.With("repository", repo),
		}
		if reports != nil {
			runner.Keep = func(pr *forge.PullRequest, r *review.Report) (string, error) { return reports.Keep(repo, pr, r) }
		}
		reviewers[repo] = runner
	}
	fetch, err := o.fetch(log)
	if err != nil {
		return err
	}
	server, err := serve.New(serve.Options{
		Kind: forge.Kind(o.Forge), Secret: []byte(secret), Repositories: reviewers, Branch: o.Branch, Pushed: fetch, Reports: reports,
		Workers: o.Workers, Queue: o.Queue, Timeout: o.Timeout, Now: o.Now, Log: log,
	})
	if err != nil {
		return cli.Usage("aether review serve --help", "%w", err)
	}
	return o.listen(ctx, server, log)
}

// reports keeps whole reports; nil where no address of theirs is known.
func (o *ServeOptions) reports() (*serve.Reports, error) {
	if o.Reports == "" {
		return nil, nil
	}
	if u, err := url.Parse(o.Reports); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, cli.Usage("--reports https://review.example.com", "--reports: %q is not an address by which people reach this server", o.Reports)
	}
	write := o.Formats["html"]
	if write == nil {
		write = writeJSON
	}
	reports, err := serve.NewReports(filepath.Join(o.Cache, "reports"), o.Reports, o.KeepReports, write)
	if err != nil {
		return nil, cli.Usage("--keep-reports 100", "%w", err)
	}
	return reports, nil
}

// fetch is what a push to the tracked branch does; nil where nothing is asked for.
func (o *ServeOptions) fetch(log *slog.Logger) (func(context.Context) error, error) {
	if len(o.Reconcile) == 0 {
		return nil, nil
	}
	sources := &serve.Sources{Now: o.Now, Log: log}
	for _, source := range o.Reconcile {
		namespace, name, ok := strings.Cut(source, "/")
		if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
			return nil, cli.Usage("--reconcile aether-system/fleet", "%q is not a GitRepository: write namespace/name", source)
		}
		sources.Keys = append(sources.Keys, client.ObjectKey{Namespace: namespace, Name: name})
	}
	c, err := o.Connect()
	if err != nil {
		return nil, err
	}
	sources.Client = c
	return sources.Fetch, nil
}

// Bounds of the server.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = time.Minute
	idleTimeout   = 2 * time.Minute
	// goodbye is how long requests under way may take once the server is to end.
	goodbye = 15 * time.Second
)

// listen serves until ctx ends, then lets requests and reviews come to their end.
func (o *ServeOptions) listen(ctx context.Context, server *serve.Server, log *slog.Logger) error {
	interrupted := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var config net.ListenConfig
	var servers []*http.Server
	for address, handler := range map[string]http.Handler{o.Listen: server.Handler(), o.Probes: server.Probes()} {
		listener, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return cli.Usage("choose other addresses with --listen and --probes", "cannot listen: %w", err)
		}
		s := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: bodyTimeout, IdleTimeout: idleTimeout}
		servers = append(servers, s)
		log.Info("listening", "address", listener.Addr().String())
		go func() { stop(fmt.Errorf("cannot serve %s: %w", address, s.Serve(listener))) }()
	}
	server.Run(ctx) // returns once every review has ended
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	var failed error
	if interrupted.Err() == nil { // nobody asked for an end
		failed = context.Cause(ctx)
	}
	for _, s := range servers {
		failed = errors.Join(failed, s.Shutdown(late))
	}
	return failed
}
