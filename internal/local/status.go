package local

import (
	"context"
	"debug/buildinfo"
	"strings"
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
	// Version of the module that the program was built from; empty where it is this
	// repository's own, or does not run.
	Version string
}

// Status looks at every process.
func (p *Platform) Status(ctx context.Context) []Status {
	all := make([]Status, len(p.Processes))
	trusted, err := trust(p.file(pkiDir))
	var looks sync.WaitGroup
	for i, process := range p.Processes {
		all[i] = Status{Process: process, State: Ended}
		if !process.alive() {
			continue
		}
		looks.Go(func() {
			all[i].State = Healthy
			if err != nil || process.healthy(ctx, trusted) != nil {
				all[i].State = Unhealthy
			}
			all[i].Version = process.version()
		})
	}
	looks.Wait()
	return all
}

// ownModule begins the paths of this repository's own programs.
const ownModule = "github.com/aetherplatform/aether/"

// version is that of the module that a program was built from; empty where it is
// this repository's own.
func (p *Process) version() string {
	built, err := buildinfo.ReadFile(p.Path)
	if err != nil {
		return ""
	}
	if strings.HasPrefix(built.Path, ownModule) {
		return ""
	}
	return built.Main.Version
}
