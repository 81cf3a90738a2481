// Package doctor is `aether doctor`: what is wrong with a cluster, and what to do about it.
package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/doctor"
	"github.com/aetherplatform/aether/internal/version"
)

// Options is what doctor is asked.
type Options struct {
	*cli.Env
	cli.Cluster
	Namespace string
	Timeout   time.Duration
	Output    string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with a cluster, and what to do about it",
		Long: `Look at all that Aether needs in a cluster, and say what is wrong and what to do about
it: versions and clocks, the CRDs, Flux, Cilium and Kyverno, the admission policies,
the operator's permissions and those it must not have, webhooks that stand in its
way, whether it runs, and the state of its sources and secrets.

Each line is a check: ok, warning, FAILED, or skipped where it cannot be told. What you
may not read is skipped, and the line says which right is missing; a cluster
administrator sees everything. Nothing is changed, and no Secret is read: that the
admission policies are enforced is seen by a dry run, and what the operator may do is
asked of the API server.

The exit code is 0 when nothing failed, 1 when something did, and 3 when the cluster
could not be asked. In json and yaml there is a finding for each line; "check" is its
name for scripts, and does not change with what is found.`,
		Example: `  aether doctor

  # What failed, for a machine
  aether doctor --output json | jq '.findings[] | select(.outcome == "failed")'`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.Output, "output", "o", "text", "text, json or yaml")
	flags.StringVarP(&o.Namespace, "namespace", "n", v1alpha1.SystemNamespace, "namespace of the operator and of TenantSources")
	flags.DurationVar(&o.Timeout, "timeout", doctor.DefaultTimeout, "how long one check may take")
	o.AddFlags(flags)
	cli.Values(cmd, "output", "text", "json", "yaml")
	return cmd
}

// Report is what json and yaml hold.
type Report struct {
	Context  string                 `json:"context"`
	Version  string                 `json:"version"`
	Summary  map[doctor.Outcome]int `json:"summary"`
	Findings []doctor.Finding       `json:"findings"`
}

func run(ctx context.Context, o *Options) error {
	if err := cli.CheckOutput(o.Output, "text", "json", "yaml"); err != nil {
		return err
	}
	if o.Timeout <= 0 {
		return cli.Usage("--timeout 10s", "--timeout is longer than nothing")
	}
	config, name, err := o.Config()
	if err != nil {
		return err
	}
	findings, err := look(ctx, o, config)
	if err != nil {
		return err
	}
	report := &Report{Context: name, Version: version.Version, Findings: findings, Summary: map[doctor.Outcome]int{
		doctor.OK: 0, doctor.Warning: 0, doctor.Failed: 0, doctor.NotChecked: 0,
	}}
	for i := range findings {
		report.Summary[findings[i].Outcome]++
	}
	if err := o.print(report); err != nil {
		return err
	}
	if report.Summary[doctor.Failed] > 0 {
		return cli.Findings()
	}
	return nil
}

// look asks the cluster; the error is that it could not be asked at all.
func look(ctx context.Context, o *Options, config *rest.Config) ([]doctor.Finding, error) {
	defer o.Waiting("Looking at the cluster …")()
	d, err := doctor.New(ctx, doctor.Options{
		Config: config, Namespace: o.Namespace, Version: version.Version, Timeout: o.Timeout, Now: o.Now,
	})
	if err != nil {
		return nil, cli.ClusterError(err, "ask the cluster for its version")
	}
	findings := d.Look(ctx)
	return findings, ctx.Err()
}

func (o *Options) print(report *Report) error {
	if o.Output == "text" {
		o.text(report)
		return nil
	}
	return cli.Encode(o.Out, o.Output, report)
}

// styles are how outcomes look.
var styles = map[doctor.Outcome]cli.Cell{
	doctor.OK:         {Text: "ok", Style: cli.Good},
	doctor.Warning:    {Text: "warning", Style: cli.Wait},
	doctor.Failed:     {Text: "FAILED", Style: cli.Bad},
	doctor.NotChecked: {Text: "skipped", Style: cli.Faint},
}

// text prints a paragraph for each subject, a line for each finding, and what to do
// below it.
func (o *Options) text(report *Report) {
	width := 0
	for i := range report.Findings {
		width = max(width, len(report.Findings[i].Check))
	}
	subject := ""
	for i := range report.Findings {
		f := &report.Findings[i]
		if f.Subject != subject {
			if subject != "" {
				fmt.Fprintln(o.Out)
			}
			subject = f.Subject
			fmt.Fprintln(o.Out, subject)
		}
		cell := styles[f.Outcome]
		message := cli.ShortenRevisions(f.Message)
		if f.Object != "" {
			message = f.Object + ": " + message
		}
		pad := strings.Repeat(" ", len("warning")-len(cell.Text))
		fmt.Fprintf(o.Out, "  %s%s   %-*s   %s\n", o.Paint(cell.Style, cell.Text), pad, width, f.Check, message)
		if f.Advice != "" && f.Outcome != doctor.OK {
			fmt.Fprintf(o.Out, "  %s%s\n", strings.Repeat(" ", len("warning")+3+width+3), "try: "+o.Speak(f.Advice))
		}
	}
	s := report.Summary
	fmt.Fprintf(o.Err, "\n%d ok, %s, %d failed, %d skipped\n", s[doctor.OK], cli.Count(s[doctor.Warning], "warning"), s[doctor.Failed], s[doctor.NotChecked])
}
