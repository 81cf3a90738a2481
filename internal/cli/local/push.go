package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/local"
)

// PushOptions is what `aether local push` is asked.
type PushOptions struct {
	*cli.Env
	place
	Message string
	Timeout time.Duration
}

func newPush(env *cli.Env) *cobra.Command {
	o := &PushOptions{Env: env}
	cmd := &cobra.Command{
		Use:   "push",
		Short: "Push tenants/ as it is on disk, and say what became of it",
		Long: `Commit tenants/ of this checkout as it is on disk to the fleet repository of the
local forge, push it, wait, and say what became of each tenant that changed.
Your own repository is not touched: nothing is staged or committed in it.

The exit code is 1 when a tenant has errors or a namespace is not ready.`,
		Example: `  aether local push
  aether local push --message "Give acme a namespace for ledgers"`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return push(cmd.Context(), o) },
	}
	o.addFlags(cmd)
	cmd.Flags().StringVarP(&o.Message, "message", "m", "Change the fleet", "message of the commit")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 2*time.Minute, "how long to wait for the outcome")
	return cmd
}

func push(ctx context.Context, o *PushOptions) error {
	platform, err := o.connect()
	if err != nil {
		return err
	}
	if platform.Fleet == "" {
		return cli.Usage("git clone "+platform.PushURL(), "the platform was started without a fleet")
	}
	begun := o.Now()
	pushed, err := platform.Push(ctx, platform.Fleet, o.Message)
	if errors.Is(err, local.ErrNothingToPush) {
		fmt.Fprintf(o.Err, "Nothing to push: the fleet repository holds %s as it is.\n", short(platform.Fleet))
		return nil
	}
	if err != nil {
		return &cli.Error{Code: cli.ExitCluster, Err: fmt.Errorf("cannot push: %w", err), Try: "aether local status"}
	}
	fmt.Fprintf(o.Err, "Pushed %s: %s\n", cli.ShortRevision(pushed.Revision()), strings.Join(pushed.Changed, ", "))

	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	platform.Progress = o.Err
	outcome, err := platform.Await(ctx, pushed.Revision())
	if outcome == nil {
		return cli.ClusterError(err, "see what became of it")
	}
	took := o.Now().Sub(begun)

	fmt.Fprintln(o.Out)
	var only []string
	if !slices.Contains(pushed.Changed, v1alpha1.PlatformDirectory) {
		only = pushed.Changed
	}
	bad := printOutcome(o.Env, outcome, only)
	switch {
	case err != nil:
		return &cli.Error{Code: cli.ExitFindings, Err: fmt.Errorf("not everything is ready after %s", o.Timeout),
			Try: "`aether explain namespace NAME` says what a namespace waits for"}
	case bad:
		return cli.Findings()
	}
	fmt.Fprintf(o.Err, "\nReady %.1f s after the push began.\n", took.Seconds())
	return nil
}
