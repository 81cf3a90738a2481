package local

import (
	"cmp"
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
	Output string
}

func newStatus(env *cli.Env) *cobra.Command {
	o := &StatusOptions{Env: env}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the platform's processes: which run, where, and how they do",
		Long: `List the platform's processes with their ports, health and versions. The exit code
is 1 when one of them does not run or is not healthy.`,
		Example: `  aether local status
  aether local status --output json | jq -r '.processes[] | select(.state != "healthy").log'`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return status(cmd.Context(), o) },
	}
	o.addFlags(cmd)
	cmd.Flags().StringVarP(&o.Output, "output", "o", "table", "table, json or yaml")
	cli.Values(cmd, "output", "table", "json", "yaml")
	return cmd
}

// Report is what json and yaml hold.
type Report struct {
	// Dir is the platform's folder, and Logs the one of its logs.
	Dir  string `json:"dir"`
	Logs string `json:"logs"`
	// Healthy says that every process is.
	Healthy bool `json:"healthy"`
	// Processes in the order they were started.
	Processes []Process `json:"processes"`
	// OpenBao is how its API is talked to; left out where it does not run.
	OpenBao *OpenBao `json:"openBao,omitempty"`
}

// Process is one of the platform's.
type Process struct {
	Name string `json:"name"`
	// What it is, for people.
	What string `json:"what,omitempty"`
	// PID that it has, or had.
	PID int `json:"pid"`
	// Port that it serves on; left out where it serves on none.
	Port int `json:"port,omitempty"`
	// State is healthy, not healthy or ended.
	State string `json:"state"`
	// Version of the module that the program was built from; left out for our own.
	Version string `json:"version,omitempty"`
	// Log is the file that it writes to.
	Log string `json:"log"`
}

// OpenBao is an address, the file of the authority that its certificate is of, and the
// file with the root token.
type OpenBao struct {
	Address   string `json:"address"`
	CAFile    string `json:"caFile"`
	TokenFile string `json:"tokenFile"`
}

func status(ctx context.Context, o *StatusOptions) error {
	if err := cli.CheckOutput(o.Output, "table", "json", "yaml"); err != nil {
		return err
	}
	platform, err := o.open()
	if err != nil {
		return err
	}
	report := reportOf(platform, platform.Status(ctx))
	if o.Output == "table" {
		o.print(report)
	} else if err := cli.Encode(o.Out, o.Output, report); err != nil {
		return err
	}
	if !report.Healthy {
		return cli.Findings()
	}
	return nil
}

func reportOf(p *local.Platform, states []local.Status) *Report {
	report := &Report{Dir: p.Dir, Logs: p.Logs(), Healthy: true, Processes: []Process{}}
	for _, s := range states {
		report.Healthy = report.Healthy && s.State == local.Healthy
		report.Processes = append(report.Processes, Process{
			Name: s.Name, What: s.What, PID: s.PID, Port: s.Port, State: s.State, Version: s.Version, Log: s.Log,
		})
	}
	if p.OpenBao {
		report.OpenBao = openBaoOf(p)
	}
	return report
}

func openBaoOf(p *local.Platform) *OpenBao {
	return &OpenBao{Address: p.OpenBaoAddress(), CAFile: p.OpenBaoCA(), TokenFile: p.OpenBaoToken()}
}

func (o *StatusOptions) print(r *Report) {
	table := cli.NewTable("PROCESS", "PID", "PORT", "STATE", "VERSION", "WHAT IT IS")
	for _, p := range r.Processes {
		state := cli.Cell{Text: p.State, Style: cli.Good}
		if p.State != local.Healthy {
			state.Style = cli.Bad
		}
		port := "-" // some serve on none
		if p.Port != 0 {
			port = strconv.Itoa(p.Port)
		}
		table.Add(cli.Text(p.Name), cli.Text(strconv.Itoa(p.PID)), cli.Text(port), state, cli.Text(cmp.Or(p.Version, "-")), cli.Text(p.What))
	}
	table.Print(o.Out, o.Color)
	fmt.Fprintf(o.Out, "\nLogs are in %s\n", short(r.Logs))
	if r.OpenBao != nil {
		printOpenBao(o.Env, r.OpenBao)
	}
}

// printOpenBao says how `bao`, or `vault`, talks to the server.
func printOpenBao(env *cli.Env, b *OpenBao) {
	fmt.Fprintf(env.Out, `
Secrets are served by OpenBao's API:

  export BAO_ADDR=%s VAULT_ADDR=%[1]s
  export BAO_CACERT=%s VAULT_CACERT=%[2]s
  root token         %s
`, b.Address, b.CAFile, short(b.TokenFile))
}
