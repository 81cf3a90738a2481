// Package root is the command `aether`: it puts the commands together and turns
// how they end into an exit code.
package root

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/cluster"
	"github.com/aetherplatform/aether/internal/cli/convert"
	"github.com/aetherplatform/aether/internal/cli/diff"
	"github.com/aetherplatform/aether/internal/cli/doctor"
	"github.com/aetherplatform/aether/internal/cli/explain"
	"github.com/aetherplatform/aether/internal/cli/get"
	"github.com/aetherplatform/aether/internal/cli/local"
	"github.com/aetherplatform/aether/internal/cli/reconcile"
	"github.com/aetherplatform/aether/internal/cli/render"
	"github.com/aetherplatform/aether/internal/cli/review"
	"github.com/aetherplatform/aether/internal/cli/test"
	"github.com/aetherplatform/aether/internal/cli/validate"
	"github.com/aetherplatform/aether/internal/cli/verify"
	"github.com/aetherplatform/aether/internal/cli/version"
)

// NewCommand returns `aether` with all its commands.
func NewCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aether",
		Short: "Tenants on Kubernetes, from Git",
		Long: `Aether turns a Git repository of tenant specs into isolated Kubernetes namespaces.

With this program you check and render a fleet before you push it, ask a cluster
what became of it and why, and run a whole platform on your own machine.

` + cli.ExitCodes,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetIn(env.In)
	cmd.SetOut(env.Out)
	cmd.SetErr(env.Err)
	cmd.SetFlagErrorFunc(cli.UsageOf)
	cmd.SetUsageTemplate(usage)
	cmd.AddGroup(
		&cobra.Group{ID: "offline", Title: "On files, without a cluster:"},
		&cobra.Group{ID: "forge", Title: "On pull requests:"},
		&cobra.Group{ID: "cluster", Title: "In a cluster:"},
		&cobra.Group{ID: "local", Title: "On this machine:"},
		&cobra.Group{ID: "about", Title: "About this program:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			cmd.AddCommand(c)
		}
	}
	add("offline", validate.NewCommand(env), test.NewCommand(env), render.NewCommand(env), diff.NewCommand(env), convert.NewCommand(env))
	add("forge", review.NewCommand(env, engine(env)))
	add("cluster", doctor.NewCommand(env), get.NewCommand(env), explain.NewCommand(env), reconcile.NewCommand(env), verify.NewCommand(env), cluster.NewCommand(env), cluster.NewKubeconfigCommand(env))
	add("local", local.NewCommand(env))
	add("about", version.NewCommand(env))
	cmd.SetHelpCommandGroupID("about")
	cmd.SetCompletionCommandGroupID("about")
	each(cmd, func(c *cobra.Command) {
		if c.ValidArgsFunction == nil {
			c.ValidArgsFunction = cobra.NoFileCompletions // it takes no argument
		}
		if c.Flags().Lookup("context") != nil {
			cli.CompleteFlag(c, "context", cli.Contexts)
		}
	})
	speak(env, cmd)
	return cmd
}

// Execute runs aether with arguments and returns its exit code. When ctx ends, a person
// has had enough: what was to be printed is not, and the code says so.
func Execute(ctx context.Context, env *cli.Env, args []string) int {
	env, held := cli.Hold(ctx, env)
	cmd := NewCommand(env)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if unwritten := held.Flush(); err == nil || ctx.Err() != nil && unwritten != nil {
		err = unwritten
	}
	var e *cli.Error
	told := errors.As(err, &e) && e.Code == cli.ExitInterrupted
	if err != nil && ctx.Err() != nil && !told {
		err = &cli.Error{Code: cli.ExitInterrupted, Err: errors.New("interrupted")}
	}
	return cli.Report(env.Err, err)
}

// unknownCommand says which command was meant. Cobra calls it for arguments that
// are no command's name.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	try := "aether --help"
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if near := cli.Nearest(args[0], names); len(near) > 0 {
		try = "did you mean aether " + strings.Join(near, " or aether ") + "?"
	}
	return cli.Usage(try, "there is no command %q", args[0])
}

// usage is cobra's template without what our commands do not have, and with the
// examples where the eye falls first.
const usage = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{range $group := .Groups}}

{{$group.Title}}{{range $cmds}}{{if and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if not .Groups}}

Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" says more, with examples.{{end}}
`
