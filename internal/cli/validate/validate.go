// Package validate is `aether validate`: a whole fleet is checked on disk, with
// the code that the controllers run.
package validate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
)

// Options is what validate is asked.
type Options struct {
	*cli.Env
	Path   string
	Base   string
	Output string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	cmd := &cobra.Command{
		Use:   "validate PATH",
		Short: "Check a whole fleet offline",
		Long: `Check the fleet at PATH without a cluster: the root of a fleet repository, or its
tenants directory. What is checked is what the cluster would check: every file
is read, every rule between objects is applied, every profile is compiled and
every namespace is rendered, with the code that the controllers run.

A fleet is checked whole, because names, peers and quotas depend on one another.
Every error is printed on a line of its own, "file:line: tenant: message", so
that editors and CI can lead to the place. What is allowed and is likely not meant
is a warning, on standard error; the exit code does not depend on it.

A profile without base.sourceRef uses the base inside this program. One with a
sourceRef is checked with base/ beside the tenants directory, or with --base.`,
		Example: `  # The fleet of this repository
  aether validate .

  # For a machine: [] when nothing is wrong
  aether validate . --output json`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Path = args[0]
			return run(o)
		},
	}
	cmd.Flags().StringVarP(&o.Output, "output", "o", "text", "text or json")
	cmd.Flags().StringVar(&o.Base, "base", "", "`directory` of the base for profiles with a sourceRef (default: base beside tenants)")
	cli.Values(cmd, "output", "text", "json")
	cli.CompleteDirs(cmd)
	return cmd
}

// Finding is one error, as `-o json` prints it.
type Finding struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Tenant  string `json:"tenant"`
	Message string `json:"message"`
}

func run(o *Options) error {
	if o.Output != "text" && o.Output != "json" {
		return cli.Usage("--output text or --output json", "--output: %q is not a format", o.Output)
	}
	checkout, err := cli.OpenCheckout(o.Path, o.Base)
	if err != nil {
		return err
	}
	result := checkout.Render("")
	errs := Errors(result)

	if o.Output == "json" {
		err = o.printJSON(checkout, errs)
	} else {
		for _, e := range errs {
			fmt.Fprintf(o.Out, "%s: %s: %s\n", checkout.Place(e.Position), e.Tenant, e.Message)
		}
	}
	if err != nil {
		return err
	}
	// As the TenantSource reports them: Ready does not depend on them, nor does the
	// exit code.
	for _, w := range append(result.Fleet.Warnings(), ended(result.Fleet, o.Now())...) {
		fmt.Fprintf(o.Err, "warning: %s: %s: %s\n", checkout.Place(w.Position), w.Tenant, w.Message)
	}
	o.summarise(result, errs)
	if len(errs) > 0 {
		return cli.Findings()
	}
	return nil
}

// ended are exceptions that nobody has any more. A fleet does not know the time, so
// that it is read the same whenever it is.
func ended(f *fleet.Fleet, now time.Time) []*fleet.Error {
	var list []*fleet.Error
	add := func(at fleet.Position, name string, expires time.Time) {
		if !expires.After(now) {
			list = append(list, &fleet.Error{Position: at, Tenant: v1alpha1.PlatformDirectory,
				Message: fmt.Sprintf("exception %s ended at %s; delete it, or write another spec.expires", name, expires.UTC().Format(time.RFC3339))})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Profiles)) {
		p := f.Profiles[name]
		for _, e := range p.Value.Spec.Exceptions {
			add(p.Position, e.Name, e.Expires.Time)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Exceptions)) {
		e := f.Exceptions[name]
		add(e.Position, name, e.Value.Spec.Expires.Time)
	}
	return list
}

// Errors is all that is wrong with a fleet, by position.
func Errors(result *render.Result) []*fleet.Error {
	errs := slices.Clone(result.Fleet.PlatformErrors)
	for _, t := range result.Tenants {
		errs = append(errs, t.Errors...)
	}
	slices.SortStableFunc(errs, func(a, b *fleet.Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
	return errs
}

func (o *Options) printJSON(checkout *cli.Checkout, errs []*fleet.Error) error {
	findings := make([]Finding, 0, len(errs))
	for _, e := range errs {
		findings = append(findings, Finding{File: checkout.File(e.File), Line: e.Line, Tenant: e.Tenant, Message: e.Message})
	}
	encoder := json.NewEncoder(o.Out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(findings)
}

// summarise counts on standard error, where warnings are too, so that standard
// output is errors only.
func (o *Options) summarise(result *render.Result, errs []*fleet.Error) {
	namespaces, clusters, failing := 0, 0, 0
	for _, t := range result.Tenants {
		namespaces += len(t.Namespaces)
		clusters += len(t.Clusters)
		if len(t.Errors) > 0 {
			failing++
		}
	}
	counts := fmt.Sprintf("%s, %s, %s", cli.Count(len(result.Tenants), "tenant"), cli.Count(namespaces, "namespace"),
		cli.Count(len(result.Fleet.Profiles), "profile"))
	if n := len(result.Fleet.Exceptions); n > 0 {
		counts += ", " + cli.Count(n, "exception")
	}
	if clusters > 0 {
		counts += ", " + cli.Count(clusters, "cluster")
	}
	if len(errs) == 0 {
		fmt.Fprintf(o.Err, "ok: %s\n", counts)
		return
	}
	var in []string
	if len(result.Fleet.PlatformErrors) > 0 {
		in = append(in, "the platform directory")
	}
	if failing > 0 {
		in = append(in, cli.Count(failing, "tenant"))
	}
	fmt.Fprintf(o.Err, "%s in %s; checked %s\n", cli.Count(len(errs), "error"), strings.Join(in, " and "), counts)
}
