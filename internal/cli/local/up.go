package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/local"
)

// UpOptions is what `aether local up` is asked.
type UpOptions struct {
	*cli.Env
	place
	PortBase int
	Fleet    string
	Nodes    int
	Kyverno  bool
	OpenBao  bool
	Chart    bool
	Clusters bool
	Timeout  time.Duration
}

func newUp(env *cli.Env) *cobra.Command {
	o := &UpOptions{Env: env}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the platform, push the example fleet, wait until it is ready",
		Long: `Start the platform, push tenants/ of this checkout to the local forge as the fleet
repository, and wait until every tenant is ready. On the example fleet it also opens
a pull request, which the review server comments on. What is started keeps running
until "aether local down".

Ctrl-C, or a failure, leaves nothing running.`,
		Example: `  aether local up
  aether local up --port-base 18440
  aether local up --nodes 1
  aether local up --nodes 1 --chart
  aether local up --nodes 1 --clusters
  aether local up --kyverno
  aether local up --openbao
  aether local up --fleet ../my-fleet/tenants`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd.Context(), o) },
	}
	o.addFlags(cmd)
	cmd.Flags().IntVar(&o.PortBase, "port-base", local.DefaultPortBase, fmt.Sprintf("first of the %d `port`s to listen on", local.PortCount))
	cmd.Flags().StringVar(&o.Fleet, "fleet", "", "`folder` to push as the fleet's tenants/ (default: tenants in the checkout)")
	cmd.Flags().IntVar(&o.Nodes, "nodes", 0, "how many real nodes Pods run on; they need root on Linux")
	cmd.Flags().BoolVar(&o.Kyverno, "kyverno", false, "run Kyverno too, with the policies of policies/kyverno")
	cmd.Flags().BoolVar(&o.OpenBao, "openbao", false, "run a server with OpenBao's API too, with secrets for the example fleet")
	cmd.Flags().BoolVar(&o.Chart, "chart", false, "install Aether by its Helm chart, and Flux, as Pods on the nodes instead of processes")
	cmd.Flags().BoolVar(&o.Clusters, "clusters", false, "run what makes the fleet's clusters too, whose control planes are Pods on the nodes")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 5*time.Minute, "how long to wait for the tenants")
	return cmd
}

func up(ctx context.Context, o *UpOptions) error {
	if err := o.resolve(); err != nil {
		return err
	}
	if o.Fleet == "" {
		o.Fleet = filepath.Join(o.root, "tenants")
	}
	fmt.Fprintf(o.Err, "Starting the platform in %s\n", short(o.dir))
	var outside map[string]string
	if o.Nodes > 0 {
		outside = local.Outside
	}
	platform, err := local.Start(ctx, local.Options{
		Root: o.root, Dir: o.dir, Ports: local.PortsFrom(o.PortBase), Fleet: o.Fleet, Sample: true, Nodes: o.Nodes,
		World: outside, Kyverno: o.Kyverno, OpenBao: o.OpenBao, Chart: o.Chart, Clusters: o.Clusters, Progress: o.Err, Now: o.Now,
	})
	if err != nil {
		return o.explain(ctx, err, nil)
	}
	outcome, err := o.await(ctx, platform)
	if err != nil && (outcome == nil || !errors.Is(err, context.DeadlineExceeded)) {
		return o.explain(ctx, err, platform)
	}

	reviewed := o.awaitReview(ctx, platform)
	if ctx.Err() != nil {
		return o.explain(ctx, ctx.Err(), platform)
	}

	fmt.Fprintln(o.Out)
	printOutcome(o.Env, outcome, nil)
	printNext(o.Env, platform, outcome, reviewed)
	switch {
	case err != nil:
		return &cli.Error{Code: cli.ExitFindings, Err: fmt.Errorf("not everything is ready after %s", o.Timeout),
			Try: "`aether explain namespace NAME` says what a namespace waits for; the platform keeps running until `make down`"}
	case !outcome.Ready():
		return cli.Findings()
	}
	return nil
}

// await waits until the fleet that was pushed is ready.
func (o *UpOptions) await(ctx context.Context, p *local.Platform) (*local.Outcome, error) {
	pushed, err := p.Head(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	outcome, err := p.Await(ctx, pushed.Revision())
	if errors.Is(err, context.DeadlineExceeded) && !outcome.Read(pushed.Revision()) {
		// No tenant is to blame for that.
		return nil, p.Blame("namespace-operator", fmt.Errorf("it had not read the fleet after %s", o.Timeout))
	}
	return outcome, err
}

// reviewTimeout is how long the sample pull request's review is waited for once the
// tenants are ready. It is begun long before, and takes about a second.
const reviewTimeout = 15 * time.Second

// awaitReview says of the sample pull request, where there is one, what there is to
// be read on it. Without the review the platform is as good.
func (o *UpOptions) awaitReview(ctx context.Context, p *local.Platform) string {
	if p.Opened == nil {
		return ""
	}
	if err := p.AwaitReview(ctx, reviewTimeout); err != nil {
		return fmt.Sprintf("its review is not there yet (%v): %s", err, short(filepath.Join(p.Logs(), "review.log")))
	}
	return "its comment says what it would do"
}

// explain says why there is no platform. Nothing runs any more when it returns.
func (o *UpOptions) explain(ctx context.Context, err error, p *local.Platform) error {
	if ctx.Err() != nil {
		// Start has ended what it began; the folder is of no use to anyone.
		p, err := local.Open(o.dir)
		if err == nil {
			err = p.Stop()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failure(err)
		}
		fmt.Fprintln(o.Err, "\nInterrupted: nothing is left running.")
		return &cli.Error{Code: cli.ExitInterrupted}
	}
	if p != nil {
		err = errors.Join(err, p.Halt())
	}
	var process *local.ProcessError
	if errors.As(err, &process) {
		fmt.Fprintf(o.Err, "\nThe end of %s:\n  %s\n\n", short(process.Log), strings.ReplaceAll(process.End, "\n", "\n  "))
	}
	return failure(err)
}

func printNext(env *cli.Env, p *local.Platform, outcome *local.Outcome, reviewed string) {
	example := "NAME"
	if len(outcome.Namespaces) > 0 {
		example = outcome.Namespaces[0].Name
	}
	fmt.Fprintf(env.Out, `
The platform runs until `+"`make down`"+`.

  export KUBECONFIG=%s

  fleet repository   %s
  credentials        %s
`, p.Kubeconfig(), p.PushURL(), short(p.Credentials()))
	if p.Opened != nil {
		fmt.Fprintf(env.Out, `  pull request       %s
                     %s; sign in with the credentials
`, p.Opened.URL, reviewed)
	}
	if p.Kyverno {
		fmt.Fprintln(env.Out, "  policies           held by Kyverno too: kubectl get validatingpolicies")
	}
	if p.OpenBao {
		printOpenBao(env, openBaoOf(p))
	}
	fmt.Fprintf(env.Out, `
Try next:

  bin/aether explain namespace %s
  edit a file below %s, then: bin/aether local push
  git clone -c credential.helper='store --file %s' %s my-fleet
`, example, short(p.Fleet), p.Credentials(), p.PushURL())
	if p.Nodes > 0 {
		fmt.Fprintln(env.Out, "  bin/aether verify isolation")
	}
}
