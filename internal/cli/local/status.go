package local

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/local"
)

// StatusOptions is what `aether local status` is asked.
type StatusOptions struct {
	*cli.Env
	place
}

func newStatus(env *cli.Env) *cobra.Command {
	o := &StatusOptions{Env: env}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the platform's processes: which run, where, and how they do",
		Long: `List the platform's processes with their ports, health and versions. The exit code
is 1 when one of them does not run or is not healthy.`,
		Example: `  aether local status`,
		Args:    cli.Args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return status(cmd.Context(), o) },
	}
	o.addFlags(cmd)
	return cmd
}

func status(ctx context.Context, o *StatusOptions) error {
	platform, err := o.open()
	if err != nil {
		return err
	}
	states := platform.Status(ctx)
	table := cli.NewTable("PROCESS", "PID", "PORT", "STATE", "VERSION", "WHAT IT IS")
	fine := true
	for _, s := range states {
		state := cli.Cell{Text: s.State, Style: cli.Good}
		if s.State != local.Healthy {
			state.Style, fine = cli.Bad, false
		}
		table.Add(cli.Text(s.Name), cli.Text(strconv.Itoa(s.PID)), cli.Text(port(s.Process)), state, cli.Text(s.Version), cli.Text(s.What))
	}
	table.Print(o.Out, o.Color)
	fmt.Fprintf(o.Out, "\nLogs are in %s\n", short(platform.Logs()))
	if platform.OpenBao {
		printOpenBao(o.Env, platform)
	}
	if !fine {
		return cli.Findings()
	}
	return nil
}

// printOpenBao says how `bao`, or `vault`, talks to the server.
func printOpenBao(env *cli.Env, p *local.Platform) {
	fmt.Fprintf(env.Out, `
Secrets are served by OpenBao's API:

  export BAO_ADDR=%s VAULT_ADDR=%[1]s
  export BAO_CACERT=%s VAULT_CACERT=%[2]s
  root token         %s
`, p.OpenBaoAddress(), p.OpenBaoCA(), short(p.OpenBaoToken()))
}

// port that a process serves on; some serve on none.
func port(p *local.Process) string {
	if p.Port == 0 {
		return "-"
	}
	return strconv.Itoa(p.Port)
}
