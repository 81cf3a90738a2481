// Package program is what the programs that run controllers have in common: a command
// line over a configuration file over defaults, their probes, metrics and logs, and who of
// several replicas works.
package program

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"

	kubeconfig "sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/version"
)

// Config is the configuration of a program, such as operator.Config.
type Config interface {
	Validate() config.Problems
	YAML() ([]byte, error)
}

// Program is one of the programs, with a configuration of type C.
type Program[C Config] struct {
	// Name of the program, as its binary is called.
	Name string
	// Kind of its configuration file.
	Kind string
	// Default is the configuration without a file.
	Default func() C
	// Load is the defaults with what a file says in their place. It judges the form alone.
	Load func(data []byte, file string) (C, config.Places, error)
	// Common are the fields of a configuration that all programs have.
	Common func(*C) Common
	// Flags adds flags of the program's own, whose values are their defaults, and returns
	// the field that each sets.
	Flags func(*flag.FlagSet, *C) map[string]string
	// Run runs it until it is told to end.
	Run func(Options[C]) error
}

// Common are the fields that the configurations of all programs have.
type Common struct {
	Namespace      *string
	LeaderElection *config.LeaderElection
	Metrics        *config.Metrics
	Health         *config.Health
	Log            *config.Log
}

// Options are what a program runs with: the defaults, the file over them, and the flags
// over both.
type Options[C Config] struct {
	Config C
	// File is the configuration file; empty for none.
	File string
	// Places say where the file and the flags set what.
	Places config.Places
	// Print asks for the configuration, and for nothing to be started.
	Print bool
	// Version asks for the version, and for nothing to be started.
	Version bool
}

// Command is the program, and returns its exit code: 1 when it cannot run, 2 when it was
// called wrongly.
func (p Program[C]) Command(args []string, stdout, stderr io.Writer) int {
	o, err := p.Parse(args, stderr)
	if err != nil {
		return 2 // Parse has said why
	}
	switch {
	case o.Version:
		fmt.Fprintln(stdout, version.Get().Line(p.Name))
	case o.Print:
		err = o.print(stdout)
	default:
		err = p.Run(o)
	}
	if err != nil {
		fmt.Fprintln(stderr, p.Name+":", err)
		return 1
	}
	return 0
}

// print prints a file that --config takes.
func (o Options[C]) print(stdout io.Writer) error {
	text, err := o.Config.YAML()
	if err == nil {
		_, err = stdout.Write(text)
	}
	if err != nil {
		return fmt.Errorf("cannot print the configuration: %w", err)
	}
	return nil
}

// Parse makes the options of a command line. All that is wrong with them has been written
// to stderr when it returns an error.
func (p Program[C]) Parse(args []string, stderr io.Writer) (Options[C], error) {
	o := Options[C]{Config: p.Default()}
	flags, fields := p.FlagSet(&o, stderr)
	if err := flags.Parse(args); err != nil {
		return o, err // the flag package has said why
	}
	err := p.complete(&o, flags, fields, args)
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return o, err
}

// complete puts the file below the flags, and judges what both make.
func (p Program[C]) complete(o *Options[C], flags *flag.FlagSet, fields map[string]string, args []string) error {
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.File != "" {
		data, err := os.ReadFile(o.File)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		if o.Config, o.Places, err = p.Load(data, o.File); err != nil {
			return err
		}
		// Once more, over the file.
		again, _ := p.FlagSet(o, io.Discard)
		if err := again.Parse(args); err != nil {
			return err
		}
	}
	flags.Visit(func(f *flag.Flag) {
		if field, is := fields[f.Name]; is {
			o.Places.SetBy(f.Name, field)
		}
	})
	return o.Places.Explain(o.Config.Validate())
}

// commonFields are what the flags of all programs set, by the flag.
var commonFields = map[string]string{
	"namespace":                 "namespace",
	"leader-elect":              "leaderElection.enabled",
	"metrics-bind-address":      "metrics.bindAddress",
	"pprof":                     "metrics.pprof",
	"health-probe-bind-address": "health.bindAddress",
	"log-level":                 "log.level",
	"log-format":                "log.format",
}

// FlagSet is bound to the options, whose values are the flags' defaults; fields are what
// the flags set, by the flag.
func (p Program[C]) FlagSet(o *Options[C], stderr io.Writer) (flags *flag.FlagSet, fields map[string]string) {
	flags = flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	kubeconfig.RegisterFlags(flags) // --kubeconfig
	flags.StringVar(&o.File, "config", o.File, "configuration file, of kind "+p.Kind+"; flags come before what it says")
	flags.BoolVar(&o.Print, "print-config", o.Print, "print the configuration that file and flags make, as a file, and start nothing")
	flags.BoolVar(&o.Version, "version", o.Version, "print the version of this program, and start nothing")

	fields = p.Flags(flags, &o.Config)
	c := p.Common(&o.Config)
	if flags.Lookup("namespace") == nil {
		flags.StringVar(c.Namespace, "namespace", *c.Namespace, "namespace that this program runs in, and that holds the leader's lease")
	}
	flags.BoolVar(&c.LeaderElection.Enabled, "leader-elect", c.LeaderElection.Enabled, "work only while holding the lease, so that several replicas can run")
	flags.StringVar(&c.Metrics.BindAddress, "metrics-bind-address", c.Metrics.BindAddress, "address of Prometheus metrics; 0 for none")
	flags.BoolVar(&c.Metrics.Pprof, "pprof", c.Metrics.Pprof, "serve /debug/pprof/ beside the metrics")
	flags.StringVar(&c.Health.BindAddress, "health-probe-bind-address", c.Health.BindAddress, "address of /healthz and /readyz; 0 for none")
	flags.StringVar(&c.Log.Level, "log-level", c.Log.Level, "debug, info or error")
	flags.StringVar(&c.Log.Format, "log-format", c.Log.Format, "json or text")
	maps.Copy(fields, commonFields)
	return flags, fields
}

// Main runs a program with the command line of this process, and ends it.
func (p Program[C]) Main() { os.Exit(p.Command(os.Args[1:], os.Stdout, os.Stderr)) }
