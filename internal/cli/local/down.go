package local

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
)

// DownOptions is what `aether local down` is asked.
type DownOptions struct {
	*cli.Env
	place
}

func newDown(env *cli.Env) *cobra.Command {
	o := &DownOptions{Env: env}
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the platform and remove every trace of it",
		Long: `Stop every process of the platform and remove its folder: the repositories, the
cluster's data, the logs and the passwords. Only processes that "aether local up"
started are touched.`,
		Example: `  aether local down`,
		Args:    cli.Args(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return down(o) },
	}
	o.addFlags(cmd)
	return cmd
}

func down(o *DownOptions) error {
	platform, err := o.open()
	if err != nil {
		return err
	}
	running := len(platform.Running())
	if err := platform.Stop(); err != nil {
		return &cli.Error{Code: cli.ExitCluster, Err: err, Try: "`aether local status` says what still runs; end it by its process number"}
	}
	fmt.Fprintf(o.Err, "Stopped the %d processes of the platform and removed %s.\n", running, short(o.dir))
	return nil
}
