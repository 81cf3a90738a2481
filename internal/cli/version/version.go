// Package version is `aether version`.
package version

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/version"
)

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long: `Print the version of this program, the commit it was built from and the Go it was
built with. It asks no cluster.`,
		Example: `  aether version
  aether version --output json`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			info := version.Get()
			switch output {
			case "text":
				_, err := fmt.Fprintln(env.Out, info.Line("aether"))
				return err
			case "json":
				encoder := json.NewEncoder(env.Out)
				encoder.SetIndent("", "  ")
				return encoder.Encode(info)
			default:
				return cli.Usage("--output text or --output json", "--output: %q is not a format", output)
			}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cli.Values(cmd, "output", "text", "json")
	return cmd
}
