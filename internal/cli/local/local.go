// Package local is `aether local`: the whole platform on this machine.
package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/local"
)

// NewCommand returns `aether local` with its commands.
func NewCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "local COMMAND",
		Short: "Run the whole platform on this machine",
		Long: `Run the whole platform on this machine: a Kubernetes API server, Gitea with the
fleet repository, Flux, and Aether. Nothing needs root or a container, and all of it
listens on 127.0.0.1 only.

"make up" builds what is missing and runs "aether local up"; "make down" runs
"aether local down".`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newUp(env), newDown(env), newStatus(env), newPush(env))
	return cmd
}

// place is where the platform is.
type place struct {
	root string
	dir  string
}

func (p *place) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.root, "root", "", "checkout of Aether (default: the one that the current folder is in)")
	cmd.Flags().StringVar(&p.dir, "dir", "", "`folder` of the platform (default: .aether in the checkout)")
}

// resolve fills in what was left out.
func (p *place) resolve() error {
	if p.root == "" {
		root, err := local.FindRoot(".")
		if err != nil {
			return failure(err)
		}
		p.root = root
	}
	if p.dir == "" {
		p.dir = filepath.Join(p.root, ".aether")
	}
	return nil
}

// open finds the platform that was started there.
func (p *place) open() (*local.Platform, error) {
	if err := p.resolve(); err != nil {
		return nil, err
	}
	platform, err := local.Open(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notUp(p.dir)
	}
	return platform, err
}

// connect finds a platform of which everything runs.
func (p *place) connect() (*local.Platform, error) {
	platform, err := p.open()
	if err != nil {
		return nil, err
	}
	if running := platform.Running(); len(running) < len(platform.Processes) || len(running) == 0 {
		return nil, &cli.Error{Code: cli.ExitCluster, Err: fmt.Errorf("%d of the %d processes of the platform run", len(running), len(platform.Processes)),
			Try: "`aether local status` says which; `make down up` starts afresh"}
	}
	return platform, platform.Connect()
}

func notUp(dir string) error {
	return &cli.Error{Code: cli.ExitCluster, Err: fmt.Errorf("no platform is up in %s", short(dir)), Try: "make up"}
}

// failure says what to try about a platform that did not start.
func failure(err error) error {
	var missing *local.MissingError
	var running *local.RunningError
	var occupied *local.OccupiedError
	var port *local.PortError
	var process *local.ProcessError
	switch {
	case errors.As(err, &missing):
		return &cli.Error{Code: cli.ExitUsage, Err: err, Try: missing.Try}
	case errors.As(err, &running):
		try := "use it as it is (`aether local status`), or stop it first: make down"
		if running.Running < running.All {
			try = "make down, then make up"
		}
		return &cli.Error{Code: cli.ExitUsage, Err: err, Try: try}
	case errors.As(err, &occupied):
		return &cli.Error{Code: cli.ExitUsage, Err: err, Try: "look at what it holds, and remove it: rm -r " + short(occupied.Dir)}
	case errors.As(err, &port):
		return &cli.Error{Code: cli.ExitUsage, Err: err,
			Try: fmt.Sprintf("choose other ports, `make up PORT_BASE=18440`, or find who has it: ss -ltnp 'sport = :%d'", port.Port)}
	case errors.As(err, &process):
		return &cli.Error{Code: cli.ExitCluster, Err: err, Try: "read the log, above in part; `make down` removes what is left"}
	default:
		return &cli.Error{Code: cli.ExitCluster, Err: err, Try: "the logs are in .aether/logs until `make down`"}
	}
}

// short is a path as a person would type it here.
func short(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	relative, err := filepath.Rel(here, path)
	if err != nil || len(relative) > len(path) {
		return path
	}
	return relative
}
