package main

import (
	"flag"

	"github.com/aetherplatform/aether/internal/config/operator"
	"github.com/aetherplatform/aether/internal/program"
)

// options are what the operator runs with.
type options = program.Options[operator.Config]

func namespaceOperator() program.Program[operator.Config] {
	return program.Program[operator.Config]{
		Name: "namespace-operator", Kind: operator.Kind, Default: operator.Default, Load: operator.Load,
		Common: func(c *operator.Config) program.Common {
			return program.Common{Namespace: &c.Namespace, LeaderElection: &c.LeaderElection, Metrics: &c.Metrics, Health: &c.Health, Log: &c.Log}
		},
		Flags: flags, Run: run,
	}
}

// flags are the operator's own.
func flags(flags *flag.FlagSet, c *operator.Config) map[string]string {
	flags.StringVar(&c.Cluster, "cluster", c.Cluster, "name of the workload cluster that this is; empty for the cluster that the fleet is reconciled in")
	flags.StringVar(&c.Namespace, "namespace", c.Namespace, "namespace that TenantSources and their Flux sources are read from, and that holds the leader's lease")
	flags.IntVar(&c.Concurrency, "concurrency", c.Concurrency, "how many namespaces are worked on side by side")
	flags.TextVar(&c.MemoryTarget, "memory-target", c.MemoryTarget, "memory, beside the program itself, within which garbage is collected less and less lazily; GOGC or GOMEMLIMIT switch this off")
	flags.StringVar(&c.OpenBao.Address, "openbao-address", c.OpenBao.Address, "OpenBao that secrets are read from, as https://host:port; empty for none but those that profiles name")
	flags.StringVar(&c.OpenBao.CAFile, "openbao-ca-file", c.OpenBao.CAFile, "certificates, in PEM, that OpenBao's is checked against; empty for the system's")
	return map[string]string{
		"cluster":         "cluster",
		"concurrency":     "concurrency",
		"memory-target":   "memoryTarget",
		"openbao-address": "openBao.address",
		"openbao-ca-file": "openBao.caFile",
	}
}
