// Package policytest runs the tests of a fleet's Kyverno policies: files called
// kyverno-test.yaml, as Kyverno's own command reads them.
//
// It decides which files are tests, what they may name and what their results are
// worth; what a policy says of an object is for a Runner, which is Kyverno's code.
// What a test names is copied out of the repository for it, file by file: nothing
// else is within its reach, no URL, no link and nothing that a tenant can write.
package policytest

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/aetherplatform/aether/internal/isolation/expect"
)

// FileName is what a file of tests is called.
const FileName = "kyverno-test.yaml"

// What a document of tests says of itself.
const (
	apiVersion = "cli.kyverno.io/v1alpha1"
	kind       = "Test"
)

// Runner is Kyverno. It runs the one test in dir/kyverno-test.yaml, of which all
// files are below root, and asks nobody else.
type Runner interface {
	Run(ctx context.Context, root, dir string) (Outcome, error)
}

// Outcome is what Kyverno says of one test.
type Outcome struct {
	// Rows are in the order of the results that the test expects.
	Rows []Row
	// NotAsked is why the test was not run at all, or empty.
	NotAsked string
	// Notes are what could not be loaded.
	Notes []string
}

// Row is one policy or rule on one object.
type Row struct {
	Policy, Rule string
	// Resource is group/version/kind/namespace/name, or the path of a payload.
	Resource string
	// Passed is Kyverno's own view: an object that no policy was asked about passes.
	Passed bool
	// Reason is Ok, Excluded, or why not.
	Reason  string
	Message string
}

// Reasons of a row that mean something of their own.
const (
	reasonOK       = "Ok"
	reasonExcluded = "Excluded"  // nothing of the policy was asked
	reasonNotFound = "Not found" // nor does it know the policy
)

// Test is one document of a file of tests.
type Test struct {
	File   string // as the user would type it
	Line   int
	Name   string
	Expect []Expectation

	dir      string // in the repository
	document []byte // JSON: what was checked is what is run
	refs     []ref
}

// Expectation is what is to become of one object, or of every object.
type Expectation struct {
	Line                                   int
	Policy, Rule, Kind, Resource, Want, On string
	// payload: the object is a payload of JSON, named by its path.
	payload bool
}

// String is the expectation as a sentence.
func (e *Expectation) String() string {
	policy, verb := e.Policy, map[string]string{"pass": "passes", "fail": "refuses", "skip": "skips", "warn": "warns of"}[e.Want]
	if e.Rule != "" {
		policy += "/" + e.Rule
	}
	if verb == "" {
		verb = "says " + e.Want + " of"
	}
	what := strings.TrimSpace(e.Kind + " " + cmp.Or(e.Resource, "every object"))
	if e.On != "" {
		what += " on " + e.On
	}
	return policy + " " + verb + " " + what
}

// Result is what became of an expectation.
type Result struct {
	Test     string
	File     string
	Line     int
	Expected string
	Policy   string
	Rule     string
	Resource string
	Want     string
	Got      string
	Passed   bool
	Failures []string
}

// Run runs the tests of the repository at dir, one after another, and returns what
// became of each expectation, and what could not be run.
func Run(ctx context.Context, runner Runner, dir, tenants string, tests []*Test) (results []Result, errs []*expect.Error, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = root.Close() }()
	owned, err := filepath.Rel(dir, tenants)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tests {
		some, wrong, err := t.run(ctx, runner, repository{root, filepath.ToSlash(owned)})
		if err != nil {
			return nil, nil, err
		}
		results, errs = append(results, some...), append(errs, wrong...)
	}
	return results, errs, nil
}

func (t *Test) run(ctx context.Context, runner Runner, from repository) (results []Result, errs []*expect.Error, err error) {
	stage, err := os.MkdirTemp("", "aether-test-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(stage) }()
	if errs, err = t.copyTo(stage, from); err != nil || len(errs) > 0 {
		return nil, errs, err
	}
	outcome, err := runner.Run(ctx, stage, filepath.Join(stage, filepath.FromSlash(t.dir)))
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	// Of a file in the copy people know only where it is in the repository.
	named := strings.NewReplacer(stage+string(filepath.Separator), "", stage, ".")
	if err != nil {
		return nil, []*expect.Error{{File: t.File, Line: t.Line, Message: oneLine(named.Replace(err.Error()))}}, nil
	}
	for i := range outcome.Notes {
		outcome.Notes[i] = oneLine(named.Replace(outcome.Notes[i]))
	}
	outcome.NotAsked = named.Replace(outcome.NotAsked)
	return t.judge(&outcome), nil, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// repository is where tests are read from.
type repository struct {
	root    *os.Root
	tenants string // the directory of the tenants
}

// platform is the one directory beside the tenants' that is no tenant's.
const platform = "_platform"

// IsTenants says whether a path is a tenant's, given the directory of the tenants.
func IsTenants(name, tenants string) bool {
	below := name
	if tenants != "." {
		rest, is := strings.CutPrefix(name, tenants+"/")
		if !is {
			return false
		}
		below = rest
	}
	first, _, _ := strings.Cut(below, "/")
	return first != platform && first != "."
}

// Bounds of what one test may name.
const (
	maxFile  = 1 << 20
	maxFiles = 2000
	maxBytes = 32 << 20
)

// copyTo copies what a test names, and the test itself.
func (t *Test) copyTo(stage string, from repository) (errs []*expect.Error, err error) {
	into, err := os.OpenRoot(stage)
	if err != nil {
		return nil, err
	}
	defer func() { _ = into.Close() }()
	c := copier{repository: from, stage: into}
	queue := t.refs
	for len(queue) > 0 {
		r := queue[0]
		queue = queue[1:]
		fail := func(format string, args ...any) {
			errs = append(errs, &expect.Error{File: t.File, Line: r.line, Message: r.at + ": " + fmt.Sprintf(format, args...)})
		}
		name, why := c.resolve(t.dir, r.path)
		if why != "" {
			fail("%q %s", r.path, why)
			continue
		}
		if why, err = c.copy(name); err != nil {
			return nil, err
		} else if why != "" {
			fail("%q %s", r.path, why)
			continue
		}
		if r.cluster {
			more, why := crdsOf(into, name, r)
			if why != "" {
				fail("%q %s", r.path, why)
			}
			queue = append(queue, more...)
		}
	}
	if len(errs) > 0 {
		return errs, nil
	}
	at := filepath.FromSlash(t.dir)
	if err := into.MkdirAll(at, 0o700); err != nil {
		return nil, err
	}
	return nil, into.WriteFile(filepath.Join(at, FileName), t.document, 0o600)
}

type copier struct {
	repository
	stage *os.Root
	files int
	bytes int64
}

const instead = "write a path inside the repository, from the directory of the test"

// resolve is where in the repository a path leads, or why it may not.
func (c *copier) resolve(dir, to string) (name, why string) {
	name = path.Join(dir, to)
	switch {
	case strings.Contains(to, "://") || strings.HasPrefix(to, "git@"):
		return "", "is a URL, and nothing is fetched: put the file into the repository, and write its path"
	case to == "-":
		return "", "is standard input; " + instead
	case path.IsAbs(to) || filepath.IsAbs(to) || name == ".." || strings.HasPrefix(name, "../"):
		return "", "leaves the repository; " + instead
	case IsTenants(name, c.tenants):
		return "", "is a tenant's, who could change what the test says: name a file that is the platform's"
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		info, err := c.root.Lstat(path.Join(parts[:i+1]...))
		switch {
		case err != nil:
			return "", "is not there; " + instead
		case info.Mode()&fs.ModeSymlink != 0:
			return "", "is behind a link; name the file itself"
		}
	}
	return name, ""
}

// copy copies a file, or the files of a directory that can be read as YAML or JSON.
func (c *copier) copy(name string) (why string, err error) {
	err = fs.WalkDir(c.root.FS(), name, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case file != name && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			if file == c.tenants || IsTenants(file, c.tenants) {
				why = "holds the tenants' files, who could change what the test says: name directories without them"
				return fs.SkipAll
			}
			return nil
		case !entry.Type().IsRegular(), file != name && (!readable(file) || entry.Name() == FileName):
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		c.files++
		c.bytes += info.Size()
		if info.Size() > maxFile || c.files > maxFiles || c.bytes > maxBytes {
			why = "is too large: files of 1 MiB, 2000 in all, are what one test may name"
			return fs.SkipAll
		}
		data, err := c.root.ReadFile(filepath.FromSlash(file))
		if err != nil {
			return err
		}
		into := filepath.FromSlash(file)
		if err := c.stage.MkdirAll(filepath.Dir(into), 0o700); err != nil {
			return err
		}
		return c.stage.WriteFile(into, data, 0o600)
	})
	return why, err
}

func readable(file string) bool {
	switch path.Ext(file) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}
