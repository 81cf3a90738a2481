// Package convert is `aether convert`: manifests of other operators become Aether's.
package convert

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/convert"
)

// Options is what convert is asked.
type Options struct {
	*cli.Env
	Paths       []string
	As          string
	StripPrefix string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert",
		Short: "Make Aether's manifests of another operator's",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(externalSecrets(env))
	return cmd
}

func externalSecrets(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	cmd := &cobra.Command{
		Use:   "external-secrets FILE...",
		Short: "Convert manifests of External Secrets Operator",
		Long: `Convert ExternalSecrets and ClusterExternalSecrets that read from Vault or OpenBao,
with the SecretStores, ClusterSecretStores, Password generators and PushSecrets that
belong to them (external-secrets.io/v1 and v1beta1): into spec.secrets of
TenantNamespaces, or into SecretSyncs for an application repository. A FILE is a file, a
directory of .yaml and .yml files, or - for standard input. Give all that belong
together at once, stores too.

What cannot be carried over is never left out unseen: it is a comment in the output
and a line on standard error, file:line: what it is, and what to do instead; and then
the exit code is 1. No value of a secret is read or written, neither the cluster nor
OpenBao is asked.

Paths are written below the tenant's own in OpenBao. Say with --strip-prefix what that
is (spec.secrets.path of the Tenant, or its name), as long as the keys in the
manifests begin with it; keys outside of it are told, since OpenBao would refuse them.`,
		Example: `  aether convert external-secrets deploy/ --strip-prefix acme
  kubectl get secretstores,externalsecrets -n acme-web -o yaml | aether convert external-secrets -
  aether convert external-secrets secrets.yaml --as secretsync > secretsyncs.yaml`,
		Args: cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Paths = args
			return run(o)
		},
	}
	cmd.Flags().StringVar(&o.As, "as", "entries", "entries (of spec.secrets) or secretsync")
	cmd.Flags().StringVar(&o.StripPrefix, "strip-prefix", "", "the tenant's `path` in OpenBao, which keys begin with")
	cli.Values(cmd, "as", "entries", "secretsync")
	cli.CompleteFiles(cmd)
	return cmd
}

func run(o *Options) error {
	if o.As != "entries" && o.As != "secretsync" {
		return cli.Usage("--as entries or secretsync", "--as: %q is nothing that can be written", o.As)
	}
	files, err := o.read()
	if err != nil {
		return cli.Usage("name files or directories that can be read, or - for standard input", "%w", err)
	}
	result, err := convert.ExternalSecrets(files, convert.Options{StripPrefix: o.StripPrefix})
	if err != nil {
		return cli.Usage("mend the file, or leave it out", "%w", err)
	}
	write := result.Entries
	if o.As == "secretsync" {
		write = result.SecretSyncs
	}
	if err := write(o.Out); err != nil {
		return err
	}
	for _, s := range result.Skipped {
		fmt.Fprintf(o.Err, "note: %s\n", s)
	}
	if folder := result.Folder(); folder != "" && o.StripPrefix == "" {
		fmt.Fprintf(o.Err, "note: all keys begin with %s/; where that is the tenant's path in OpenBao, give --strip-prefix %s, since paths are written below it\n", folder, folder)
	}
	problems := result.Problems()
	for _, p := range problems {
		fmt.Fprintln(o.Err, p)
	}
	fmt.Fprintf(o.Err, "%s from %s, %s not carried over\n", cli.Count(len(result.Secrets), "secret"), cli.Count(len(files), "file"), cli.Count(len(problems), "thing"))
	if len(problems) > 0 {
		return cli.Findings()
	}
	return nil
}

// read reads files, and those in directories by name.
func (o *Options) read() ([]convert.File, error) {
	var files []convert.File
	for _, path := range o.Paths {
		if path == "-" {
			data, err := io.ReadAll(o.In)
			if err != nil {
				return nil, fmt.Errorf("cannot read standard input: %w", err)
			}
			files = append(files, convert.File{Name: "-", Data: data})
			continue
		}
		found := 0
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir(), name != path && !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)):
				return nil
			}
			data, err := os.ReadFile(name) //nolint:gosec // the user names it
			if err != nil {
				return err
			}
			found++
			files = append(files, convert.File{Name: filepath.ToSlash(name), Data: data})
			return nil
		})
		if p := (*fs.PathError)(nil); errors.As(err, &p) {
			return nil, fmt.Errorf("cannot read %s: %w", p.Path, p.Err)
		}
		if err != nil {
			return nil, err
		}
		if found == 0 {
			return nil, fmt.Errorf("%s holds no YAML", path)
		}
	}
	return files, nil
}
