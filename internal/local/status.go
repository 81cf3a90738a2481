package local

import (
	"context"
	"debug/buildinfo"
	"sync"
)

// States of a process.
const (
	Healthy   = "healthy"
	Unhealthy = "not healthy"
	Ended     = "ended"
)

// Status is how a process does.
type Status struct {
	*Process
	// State is Healthy, Unhealthy or Ended.
	State string
	// Version of the module that the program was built from, or "-".
	Version string
}

// Status looks at every process.
func (p *Platform) Status(ctx context.Context) []Status {
	all := make([]Status, len(p.Processes))
	trusted, err := trust(p.file(pkiDir))
	var looks sync.WaitGroup
	for i, process := range p.Processes {
		all[i] = Status{Process: process, State: Ended, Version: "-"}
		if !process.alive() {
			continue
		}
		looks.Go(func() {
			all[i].State = Healthy
			if err != nil || process.healthy(ctx, trusted) != nil {
				all[i].State = Unhealthy
			}
			if v := process.version(); v != "" {
				all[i].Version = v
			}
		})
	}
	looks.Wait()
	return all
}

// version is that of the module that a program was built from; empty where it is
// this repository's own, and as it is on disk.
func (p *Process) version() string {
	built, err := buildinfo.ReadFile(p.Path)
	if err != nil || built.Main.Version == "(devel)" {
		return ""
	}
	return built.Main.Version
}
