// Package explain is `aether explain`: the whole story of one namespace. What
// made each object, what state it is in, why the namespace is not ready, who has
// access, and what may talk to it.
//
// It reads and never writes: facts are gathered from the cluster, and what they
// mean is decided without it.
package explain

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

// Options is what explain is asked.
type Options struct {
	*cli.Env
	cli.Cluster
	Name   string
	Output string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	cmd := &cobra.Command{
		Use:   "explain namespace NAME",
		Short: "Tell the whole story of a namespace",
		Long: `Tell the whole story of a namespace, for the person who asks "why is it so?":

  - the file, line and commit that asked for it, and whether it is ready, or why not
  - every object made for it: the component that made it, the commit and line, and
    whether it is present, drifted (someone changed it; it is being put back) or
    missing
  - its secrets: where in OpenBao each comes from, its version and that version's age,
    when it is asked for next, and why it is not synced; never what it holds
  - its quota: used, granted, and the tenant's budget
  - who has access, and where that is written
  - what may reach it and what it may reach, with what the other side still refuses
  - the exceptions it has: what they allow, until when, who answers for them, and why
  - for a namespace that left Git: when, in which commit, and until when it is kept

The exit code is 1 when the namespace is not ready.`,
		Example: `  aether explain namespace acme-web
  aether explain namespace acme-web --output json`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 2 && (args[0] == "namespace" || args[0] == "ns"):
				return nil
			case len(args) == 1 && args[0] != "namespace":
				return cli.Usage("aether explain namespace "+args[0], "say what %q is", args[0])
			default:
				return cli.Usage("aether explain namespace NAME", "name the namespace to explain")
			}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[1]
			return run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.Output, "output", "o", "text", "text, yaml or json")
	o.AddFlags(cmd.Flags())
	cli.Values(cmd, "output", "text", "yaml", "json")
	cli.CompleteArgs(cmd, func(cmd *cobra.Command, args []string, _ string) []string {
		switch len(args) {
		case 0:
			return []string{"namespace"}
		case 1:
			return o.Cluster.Names(cmd.Context(), &v1alpha1.TenantNamespaceList{})
		}
		return nil
	})
	return cmd
}

func run(ctx context.Context, o *Options) error {
	if err := cli.CheckOutput(o.Output, "text", "yaml", "json"); err != nil {
		return err
	}
	c, err := o.Connect()
	if err != nil {
		return err
	}
	facts, err := gather(ctx, c, o.Name)
	if err != nil {
		return err
	}
	report := explain(facts, o.Now())

	switch o.Output {
	case "text":
		o.print(report)
	default:
		if err := cli.Encode(o.Out, o.Output, report); err != nil {
			return err
		}
	}
	if !report.Ready {
		return cli.Findings()
	}
	return nil
}
