// Package version is `aether version`, and knows which version this program is.
package version

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
)

// Version of the program. A release sets it with
// -ldflags "-X github.com/aetherplatform/aether/internal/cli/version.Version=v1.2.3".
var Version = "devel"

// Info is what `-o json` prints.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Get returns the version of the running program.
func Get() Info {
	info := Info{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Commit = s.Value
		case "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
	return info
}

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
			info := Get()
			switch output {
			case "text":
				commit := info.Commit
				if commit == "" {
					commit = "unknown commit"
				}
				if info.Modified {
					commit += " with changes"
				}
				_, err := fmt.Fprintf(env.Out, "aether %s (%s, %s, %s)\n", info.Version, commit, info.Go, info.Platform)
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
	return cmd
}
