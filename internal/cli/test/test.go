// Package test is `aether test`: a fleet is held to what its platform team has
// pinned, without a cluster.
package test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/validate"
	"github.com/aetherplatform/aether/internal/isolation"
	"github.com/aetherplatform/aether/internal/isolation/expect"
	"github.com/aetherplatform/aether/internal/policytest"
)

// Options is what test is asked.
type Options struct {
	*cli.Env
	Path     string
	Base     string
	Workload string
	Output   string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	cmd := &cobra.Command{
		Use:   "test PATH",
		Short: "Hold a fleet to what its platform team has pinned",
		Long: `Hold the fleet at PATH, the root of a fleet repository, to its own tests, without a
cluster: every file below PATH that holds an IsolationTest says who must reach whom,
and who must never. What is so is computed from the rendered fleet, as Cilium
enforces it.

Every kyverno-test.yaml below PATH says what Kyverno's policies must make of which
objects, and is run with the code of Kyverno's own command, without any network. An
object that no policy was asked about is as expected only where skip is expected.

Files in tenants/ are no tests, and tests name no file of a tenant's: what is pinned
is not for a tenant to change.

The exit code is 1 when an expectation is not met, and 2 when a test cannot be read
or run, names what the fleet does not have, or when there is no test at all.`,
		Example: `  aether test .

  # For CI
  aether test . --output junit > isolation.xml`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Path = args[0]
			return run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.Output, "output", "o", "table", "table, json or junit")
	cmd.Flags().StringVar(&o.Workload, "cluster", "", "test what is placed on this workload cluster (default: the cluster that the fleet is reconciled in)")
	cmd.Flags().StringVar(&o.Base, "base", "", "`directory` of the base for profiles with a sourceRef (default: base beside tenants)")
	cli.Values(cmd, "output", "table", "json", "junit")
	cli.CompleteDirs(cmd)
	return cmd
}

func run(ctx context.Context, o *Options) error {
	if !slices.Contains([]string{"table", "json", "junit"}, o.Output) {
		return cli.Usage("--output table, json or junit", "--output: %q is not a format", o.Output)
	}
	checkout, err := cli.OpenCheckout(o.Path, o.Base)
	if err != nil {
		return err
	}
	found, err := read(o.Path, checkout.Dir)
	if err != nil {
		return cli.Usage("", "cannot read tests at %q: %w", o.Path, err)
	}
	if len(found.isolation)+len(found.policies)+len(found.errs) == 0 {
		return cli.Usage("name the root of the repository, and put files of kind "+expect.Kind+" into tests/, beside tenants/",
			"there is no test at %q", o.Path)
	}
	result := checkout.Render(o.Workload)
	if wrong := validate.Errors(result); len(wrong) > 0 {
		for _, e := range wrong {
			fmt.Fprintf(o.Err, "%s: %s: %s\n", checkout.Place(e.Position), e.Tenant, e.Message)
		}
		return cli.Usage("aether validate "+o.Path, "the fleet has errors, so its tests would tell nothing")
	}
	isolated, errs := expect.Judge(isolation.FromFleet(result, checkout.File), found.isolation)
	errs = append(found.errs, errs...)
	results := fromIsolation(isolated)
	if o.KyvernoTests != nil {
		judged, wrong, err := policytest.Run(ctx, o.KyvernoTests, o.Path, checkout.Dir, found.policies)
		if err != nil {
			return cli.Usage("", "cannot run the tests of Kyverno's policies: %w", err)
		}
		results, errs = append(results, fromPolicies(judged)...), append(errs, wrong...)
	}
	if len(errs) > 0 {
		for _, e := range errs {
			fmt.Fprintln(o.Err, e)
		}
		return cli.Usage("correct them: a test that cannot be read pins nothing", "%s in the tests", cli.Count(len(errs), "error"))
	}
	if err := o.print(results); err != nil {
		return err
	}
	return o.sum(results, found)
}

// sum tells how many expectations are met, and fails if not all are.
func (o *Options) sum(results []result, found found) error {
	failed, tests := 0, len(found.isolation)+len(found.policies)
	for _, r := range results {
		if !r.Passed {
			failed++
		}
	}
	notRun := 0
	if o.KyvernoTests == nil {
		notRun = len(found.policies)
	}
	fmt.Fprintf(o.Err, "%s in %s: %d met, %d not\n", cli.Count(len(results), "expectation"), cli.Count(tests-notRun, "test"), len(results)-failed, failed)
	switch {
	case notRun > 0:
		return cli.Usage("run the aether that is released, which has Kyverno built in",
			"%s of Kyverno's policies not run: this build of aether has no Kyverno", cli.Count(notRun, "test"))
	case failed > 0:
		return cli.Findings()
	}
	return nil
}

// maxFile bounds what is read of one file.
const maxFile = 1 << 20

// found is what a repository holds of tests, and what is wrong with them.
type found struct {
	isolation []*expect.Test
	policies  []*policytest.Test
	errs      []*expect.Error
}

// read finds the tests below a directory, but none in the tenants' own. It follows no
// link out of it.
func read(dir, tenants string) (all found, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return all, err
	}
	defer func() { _ = root.Close() }()
	owned, err := filepath.Rel(dir, tenants)
	if err != nil {
		return all, err
	}
	owned = filepath.ToSlash(owned)
	files := root.FS()
	err = fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case path == ".":
			return nil
		case entry.IsDir() && (strings.HasPrefix(name, ".") || policytest.IsTenants(path, owned)):
			return fs.SkipDir
		case !entry.Type().IsRegular() || policytest.IsTenants(path, owned) || !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)):
			return nil
		}
		place := filepath.Join(dir, filepath.FromSlash(path))
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxFile {
			if entry.Name() == policytest.FileName {
				all.errs = append(all.errs, &expect.Error{File: place, Line: 1, Message: "it is larger than 1 MiB; make several files of it"})
			}
			return nil
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		var wrong []*expect.Error
		if entry.Name() == policytest.FileName {
			var some []*policytest.Test
			some, wrong = policytest.Read(place, path, data)
			all.policies = append(all.policies, some...)
		} else {
			var some []*expect.Test
			some, wrong = expect.Read(place, data)
			all.isolation = append(all.isolation, some...)
		}
		all.errs = append(all.errs, wrong...)
		return nil
	})
	return all, err
}

// result is what became of an expectation of either kind of test.
type result struct {
	expect.Result
	// Of a policy alone.
	Policy   string `json:"policy,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Resource string `json:"resource,omitempty"`
	Want     string `json:"want,omitempty"`
	Got      string `json:"got,omitempty"`
}

func fromIsolation(all []expect.Result) []result {
	out := make([]result, 0, len(all))
	for i := range all {
		out = append(out, result{Result: all[i]})
	}
	return out
}

func fromPolicies(all []policytest.Result) []result {
	out := make([]result, 0, len(all))
	for i := range all {
		r := &all[i]
		out = append(out, result{
			Result: expect.Result{Test: r.Test, File: r.File, Line: r.Line, Expected: r.Expected, Passed: r.Passed, Failures: r.Failures},
			Policy: r.Policy, Rule: r.Rule, Resource: r.Resource, Want: r.Want, Got: r.Got,
		})
	}
	return out
}

func (o *Options) print(results []result) error {
	switch o.Output {
	case "json":
		encoder := json.NewEncoder(o.Out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(results)
	case "junit":
		return junit(o.Out, results)
	}
	table := cli.NewTable("RESULT", "TEST", "EXPECTED")
	for _, r := range results {
		result := cli.Cell{Text: "met", Style: cli.Good}
		if !r.Passed {
			result = cli.Cell{Text: "NOT MET", Style: cli.Bad}
		}
		if r.Passed && r.Got == policytest.NotAsked {
			result.Text = policytest.NotAsked
		}
		table.Add(result, cli.Text(r.Test), cli.Text(r.Expected))
	}
	table.Print(o.Out, o.Color)
	for _, r := range results {
		if r.Passed {
			continue
		}
		fmt.Fprintf(o.Out, "\n%s:%d: %s: %s\n", r.File, r.Line, r.Test, r.Expected)
		if r.Why != "" {
			fmt.Fprintf(o.Out, "  because: %s\n", isolation.Line(r.Why))
		}
		for _, f := range r.Failures {
			fmt.Fprintf(o.Out, "  %s\n", isolation.Line(f))
		}
	}
	return nil
}

// The parts of JUnit's report that CI systems read.
type (
	suites struct {
		XMLName xml.Name `xml:"testsuites"`
		Suites  []*suite `xml:"testsuite"`
	}
	suite struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Cases    []test `xml:"testcase"`
	}
	test struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		File    string   `xml:"file,attr"`
		Line    int      `xml:"line,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func junit(w io.Writer, results []result) error {
	var all suites
	by := map[string]*suite{}
	for _, r := range results {
		s := by[r.Test]
		if s == nil {
			s = &suite{Name: r.Test}
			by[r.Test] = s
			all.Suites = append(all.Suites, s)
		}
		c := test{Name: r.Expected, Class: r.Test, File: r.File, Line: r.Line}
		s.Tests++
		if !r.Passed {
			s.Failures++
			c.Failure = &failure{Message: r.Failures[0], Text: strings.Join(r.Failures, "\n")}
		}
		s.Cases = append(s.Cases, c)
	}
	data, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	return err
}
