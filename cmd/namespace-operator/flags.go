package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	kubeconfig "sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/config/operator"
)

// options are what the operator runs with: the defaults, the file over them, and the flags
// over both.
type options struct {
	operator.Config
	// file is the configuration file; empty for none.
	file string
	// places say where the file and the flags set what.
	places config.Places
	// print asks for the configuration, and for nothing to be started.
	print bool
	// version asks for the version, and for nothing to be started.
	version bool
}

// fields that flags set, by the flag.
var fields = map[string]string{
	"cluster":                   "cluster",
	"namespace":                 "namespace",
	"concurrency":               "concurrency",
	"memory-target":             "memoryTarget",
	"leader-elect":              "leaderElection.enabled",
	"metrics-bind-address":      "metrics.bindAddress",
	"pprof":                     "metrics.pprof",
	"health-probe-bind-address": "health.bindAddress",
	"log-level":                 "log.level",
	"log-format":                "log.format",
	"openbao-address":           "openBao.address",
	"openbao-ca-file":           "openBao.caFile",
}

// flags are bound to the options, whose values are their defaults.
func (o *options) flags(stderr io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("namespace-operator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	kubeconfig.RegisterFlags(flags) // --kubeconfig
	flags.StringVar(&o.file, "config", o.file, "configuration file, of kind "+operator.Kind+"; flags come before what it says")
	flags.BoolVar(&o.print, "print-config", o.print, "print the configuration that file and flags make, as a file, and start nothing")
	flags.BoolVar(&o.version, "version", o.version, "print the version of this program, and start nothing")
	flags.StringVar(&o.Cluster, "cluster", o.Cluster, "name of the workload cluster that this is; empty for the cluster that the fleet is reconciled in")
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace that TenantSources and their Flux sources are read from, and that holds the leader's lease")
	flags.IntVar(&o.Concurrency, "concurrency", o.Concurrency, "how many namespaces are worked on side by side")
	flags.TextVar(&o.MemoryTarget, "memory-target", o.MemoryTarget, "memory, beside the program itself, within which garbage is collected less and less lazily; GOGC or GOMEMLIMIT switch this off")
	flags.BoolVar(&o.LeaderElection.Enabled, "leader-elect", o.LeaderElection.Enabled, "work only while holding the lease, so that several replicas can run")
	flags.StringVar(&o.Metrics.BindAddress, "metrics-bind-address", o.Metrics.BindAddress, "address of Prometheus metrics; 0 for none")
	flags.BoolVar(&o.Metrics.Pprof, "pprof", o.Metrics.Pprof, "serve /debug/pprof/ beside the metrics")
	flags.StringVar(&o.Health.BindAddress, "health-probe-bind-address", o.Health.BindAddress, "address of /healthz and /readyz; 0 for none")
	flags.StringVar(&o.Log.Level, "log-level", o.Log.Level, "debug, info or error")
	flags.StringVar(&o.Log.Format, "log-format", o.Log.Format, "json or text")
	flags.StringVar(&o.OpenBao.Address, "openbao-address", o.OpenBao.Address, "OpenBao that secrets are read from, as https://host:port; empty for none but those that profiles name")
	flags.StringVar(&o.OpenBao.CAFile, "openbao-ca-file", o.OpenBao.CAFile, "certificates, in PEM, that OpenBao's is checked against; empty for the system's")
	return flags
}

// parse makes the options of a command line. All that is wrong with them has been written
// to stderr when it returns an error.
func parse(args []string, stderr io.Writer) (options, error) {
	o := options{Config: operator.Default()}
	flags := o.flags(stderr)
	if err := flags.Parse(args); err != nil {
		return o, err // the flag package has said why
	}
	err := o.complete(flags, args)
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return o, err
}

// complete puts the file below the flags, and judges what both make.
func (o *options) complete(flags *flag.FlagSet, args []string) error {
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.file != "" {
		data, err := os.ReadFile(o.file)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		if o.Config, o.places, err = operator.Load(data, o.file); err != nil {
			return err
		}
		// Once more, over the file.
		if err := o.flags(io.Discard).Parse(args); err != nil {
			return err
		}
	}
	flags.Visit(func(f *flag.Flag) {
		if field, is := fields[f.Name]; is {
			o.places.SetBy(f.Name, field)
		}
	})
	return o.places.Explain(o.Validate())
}
