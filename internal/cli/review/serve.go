package review

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/config/reviewserver"
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

	// Config are the defaults, the file over them, and the flags over both.
	reviewserver.Config
	// File is the configuration file; empty for none.
	File string
	// Print asks for the configuration, and for nothing to be started.
	Print bool
}

// serveFields are the fields of the file that flags set, by the flag.
var serveFields = map[string]string{
	"forge":     "forge.type",
	"url":       "forge.url",
	"user":      "forge.user",
	"repo":      "repositories",
	"branch":    "branch",
	"reconcile": "reconcile",
	"cache":     "cache",
	"reports":   "reports.url",
	"listen":    "webhooks.bindAddress",
	"probes":    "probes.bindAddress",
}

func newServe(o *ServeOptions) *cobra.Command {
	o.Config = reviewserver.Default()
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

All settings can be in a file, --config, and some only there; flags come before it.
--print-config shows what is there to be set. Neither has secrets.

Put TLS in front of it: deliveries are signed, not encrypted.`,
		Example: `  aether review serve --forge gitea --url https://git.example.com --repo platform/fleet \
    --reconcile aether-system/fleet
  aether review serve --config review.yaml`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.configure(cmd.Flags()); err != nil {
				return err
			}
			if o.Print {
				return o.print()
			}
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	o.AddFlags(flags)
	flags.StringVar(&o.File, "config", "", "configuration `file`, of kind "+reviewserver.Kind+"; flags come before what it says")
	flags.BoolVar(&o.Print, "print-config", false, "print the configuration that file and flags make, as a file, and start nothing")
	flags.StringVar((*string)(&o.Forge.Type), "forge", string(o.Forge.Type), "gitea, github or gitlab")
	flags.StringVar(&o.Forge.URL, "url", o.Forge.URL, "`URL` of the forge (default for github: https://github.com)")
	flags.StringVar(&o.Forge.User, "user", o.Forge.User, "`name` of the token's user, where the token may not ask for it")
	flags.StringArrayVar(&o.Repositories, "repo", o.Repositories, "`owner/name` of a repository to review; may be repeated")
	flags.StringVar(&o.Branch, "branch", o.Branch, "`branch` that Flux tracks")
	flags.StringArrayVar(&o.Reconcile, "reconcile", o.Reconcile, "`namespace/name` of a GitRepository to fetch when the branch was pushed; may be repeated")
	flags.StringVar(&o.Cache, "cache", o.Cache, "`folder` to keep fetched commits and reports in (default: one that goes with the server)")
	flags.StringVar(&o.Reports.URL, "reports", o.Reports.URL, "`URL` by which people reach --listen, for comments to link to the whole report (default: no link)")
	flags.StringVar(&o.Webhooks.BindAddress, "listen", o.Webhooks.BindAddress, "`address` for webhooks")
	flags.StringVar(&o.Probes.BindAddress, "probes", o.Probes.BindAddress, "`address` for /healthz, /readyz and /metrics")
	return cmd
}

// configure puts the file below the flags, and judges what both make.
func (o *ServeOptions) configure(flags *pflag.FlagSet) error {
	const try = "aether review serve --print-config shows every field"
	given := map[string]func() error{} // how to set what the command line has
	flags.Visit(func(f *pflag.Flag) {
		if _, is := serveFields[f.Name]; !is {
			return
		}
		if list, is := f.Value.(pflag.SliceValue); is {
			values := list.GetSlice()
			given[f.Name] = func() error { return list.Replace(values) }
			return
		}
		text := f.Value.String()
		given[f.Name] = func() error { return f.Value.Set(text) }
	})
	var places config.Places
	if o.File != "" {
		data, err := os.ReadFile(o.File)
		if err != nil {
			return cli.Usage(try, "--config: %w", err)
		}
		if o.Config, places, err = reviewserver.Load(data, o.File); err != nil {
			return cli.Usage(try, "%w", err)
		}
	}
	for name, set := range given {
		if err := set(); err != nil {
			return cli.Usage(try, "--%s: %w", name, err)
		}
		places.SetBy(name, serveFields[name])
	}
	if err := places.Explain(o.Validate()); err != nil {
		return cli.Usage(try, "%w", err)
	}
	return nil
}

// print prints a file that --config takes.
func (o *ServeOptions) print() error {
	text, err := o.YAML()
	if err == nil {
		_, err = o.Out.Write(text)
	}
	return err
}

func (o *ServeOptions) run(ctx context.Context) error {
	log := slog.New(o.Log.Handler(o.Err))
	secret := o.Getenv("AETHER_WEBHOOK_SECRET")
	if secret == "" {
		return cli.Usage("set AETHER_WEBHOOK_SECRET to what the forge's webhook has as its secret", "there is no secret to check deliveries with")
	}
	if len(o.Repositories) == 0 {
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
	at := target{Forge: string(o.Forge.Type), URL: o.Forge.URL, Self: o.Forge.User}
	for _, repo := range o.Repositories {
		f, err := at.open(o.Env, ciJob{}, o.Getenv, repo)
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
		Kind: o.Forge.Type, Secret: []byte(secret), Repositories: reviewers, Branch: o.Branch, Pushed: fetch, Reports: reports,
		Workers: o.Workers, Queue: o.Queue, Timeout: o.Timeout.Duration, Now: o.Now, Log: log,
	})
	if err != nil {
		return cli.Usage("aether review serve --help", "%w", err)
	}
	return o.listen(ctx, server, log)
}

// reports keeps whole reports; nil where no address of theirs is known.
func (o *ServeOptions) reports() (*serve.Reports, error) {
	if o.Reports.URL == "" {
		return nil, nil
	}
	write := o.Formats["html"]
	if write == nil {
		write = writeJSON
	}
	return serve.NewReports(filepath.Join(o.Cache, "reports"), o.Reports.URL, o.Reports.Keep, write)
}

// fetch is what a push to the tracked branch does; nil where nothing is asked for.
func (o *ServeOptions) fetch(log *slog.Logger) (func(context.Context) error, error) {
	if len(o.Reconcile) == 0 {
		return nil, nil
	}
	sources := &serve.Sources{Now: o.Now, Log: log}
	for _, source := range o.Reconcile {
		namespace, name := reviewserver.Source(source)
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
	var listening net.ListenConfig
	var servers []*http.Server
	for address, handler := range map[string]http.Handler{o.Webhooks.BindAddress: server.Handler(), o.Probes.BindAddress: server.Probes()} {
		listener, err := listening.Listen(ctx, "tcp", address)
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
