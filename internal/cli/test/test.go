// Package test is `aether test`: a fleet is held to what its platform team has
// pinned, without a cluster.
package test

import (
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

Files in tenants/ are no tests: what is pinned is not for a tenant to change.

The exit code is 1 when an expectation is not met, and 2 when a test cannot be read,
names what the fleet does not have, or when there is no test at all.`,
		Example: `  aether test .

  # For CI
  aether test . --output junit > isolation.xml`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Path = args[0]
			return run(o)
		},
	}
	cmd.Flags().StringVarP(&o.Output, "output", "o", "table", "table, json or junit")
	cmd.Flags().StringVar(&o.Workload, "cluster", "", "test what is placed on this workload cluster (default: the cluster that the fleet is reconciled in)")
	cmd.Flags().StringVar(&o.Base, "base", "", "`directory` of the base for profiles with a sourceRef (default: base beside tenants)")
	return cmd
}

func run(o *Options) error {
	if !slices.Contains([]string{"table", "json", "junit"}, o.Output) {
		return cli.Usage("--output table, json or junit", "--output: %q is not a format", o.Output)
	}
	checkout, err := cli.OpenCheckout(o.Path, o.Base)
	if err != nil {
		return err
	}
	tests, errs, err := read(o.Path, checkout.Dir)
	if err != nil {
		return cli.Usage("", "cannot read tests at %q: %w", o.Path, err)
	}
	if len(tests)+len(errs) == 0 {
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
	results, more := expect.Judge(isolation.FromFleet(result, checkout.File), tests)
	if errs = append(errs, more...); len(errs) > 0 {
		for _, e := range errs {
			fmt.Fprintln(o.Err, e)
		}
		return cli.Usage("correct them: a test that cannot be read pins nothing", "%s in the tests", cli.Count(len(errs), "error"))
	}
	if err := o.print(results); err != nil {
		return err
	}
	failed := 0
	for _, r := range results {
		if !r.Passed {
			failed++
		}
	}
	fmt.Fprintf(o.Err, "%s in %s: %d met, %d not\n", cli.Count(len(results), "expectation"), cli.Count(len(tests), "test"), len(results)-failed, failed)
	if failed > 0 {
		return cli.Findings()
	}
	return nil
}

// maxFile bounds what is read of one file.
const maxFile = 1 << 20

// read finds the tests below a directory, but those in the tenants' own. It follows no
// link out of it.
func read(dir, tenants string) (tests []*expect.Test, errs []*expect.Error, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = root.Close() }()
	files := root.FS()
	err = fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		place := filepath.Join(dir, filepath.FromSlash(path))
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (place == filepath.Clean(tenants) || path != "." && strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case !entry.Type().IsRegular() || !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)):
			return nil
		}
		info, err := entry.Info()
		if err != nil || info.Size() > maxFile {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		some, wrong := expect.Read(place, data)
		tests, errs = append(tests, some...), append(errs, wrong...)
		return nil
	})
	return tests, errs, err
}

func (o *Options) print(results []expect.Result) error {
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

func junit(w io.Writer, results []expect.Result) error {
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
