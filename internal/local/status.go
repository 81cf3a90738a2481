package local

import (
	"context"
	"os/exec"
	"strings"
	"sync"

	"github.com/aetherplatform/aether/internal/local/gitea"
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
	// Version that the program says it is, where it says one.
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
			if v := p.version(ctx, process); v != "" {
				all[i].Version = v
			}
		})
	}
	looks.Wait()
	return all
}

// version asks a program, or its file, which it is.
func (p *Platform) version(ctx context.Context, process *Process) string {
	switch process.Name {
	case "etcd", "kube-apiserver", "kube-controller-manager":
		out, err := exec.CommandContext(ctx, process.Path, "--version").Output()
		if err != nil {
			return ""
		}
		first, _, _ := strings.Cut(string(out), "\n")
		return "v" + strings.TrimPrefix(first[strings.LastIndexByte(first, ' ')+1:], "v")
	case "gitea":
		version, err := (&gitea.Client{URL: p.forgeURL()}).Version(ctx)
		if err != nil {
			return ""
		}
		return "v" + version
	default:
		return ""
	}
}
