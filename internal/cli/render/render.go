// Package render is `aether render`: the objects of a fleet, as they will be in
// the cluster.
package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/validate"
	"github.com/aetherplatform/aether/internal/render"
)

// Options is what render is asked.
type Options struct {
	*cli.Env
	Path      string
	Base      string
	Cluster   string
	Tenant    string
	Namespace string
	Revision  string
	Output    string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	cmd := &cobra.Command{
		Use:   "render PATH",
		Short: "Print the objects that a fleet becomes",
		Long: `Print the objects that the fleet at PATH becomes, in the order in which they are
applied: the platform's profiles, then for each tenant what is read from Git and
what is made of it. It is the code that the controllers run, so what you read
here is what the cluster gets; the controllers add only what they alone can
know: whether a Namespace is sealed, and its Tenant's UID.

The last line on standard error holds the digest of the whole fleet, whatever
part of it is printed. When a TenantSource shows the same digest in its status,
the cluster runs exactly this.

Where a tenant has errors they go to standard error, the others are printed, and
the exit code is 1.`,
		Example: `  # One namespace
  aether render . --namespace acme-web

  # What a change does to one tenant
  git worktree add ../main main
  diff <(aether render ../main --tenant acme) <(aether render . --tenant acme)

  # A file for each namespace
  aether render . --output out/`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Path = args[0]
			return run(o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Tenant, "tenant", "", "print only this tenant")
	flags.StringVarP(&o.Namespace, "namespace", "n", "", "print only this namespace")
	flags.StringVarP(&o.Output, "output", "o", "-", "`directory` to write a file for each namespace to; - is standard output")
	flags.StringVar(&o.Revision, "revision", "", "source revision to write into the objects' provenance, such as main@sha1:…")
	flags.StringVar(&o.Cluster, "cluster", "", "render what is placed on this workload cluster (default: the cluster that the fleet is reconciled in)")
	flags.StringVar(&o.Base, "base", "", "`directory` of the base for profiles with a sourceRef (default: base beside tenants)")
	cli.CompleteFlag(cmd, "tenant", func(_ *cobra.Command, args []string, _ string) []string {
		return cli.TenantsIn(cli.FirstOr(args, "."))
	})
	cli.CompleteDirs(cmd)
	return cmd
}

func run(o *Options) error {
	checkout, err := cli.OpenCheckout(o.Path, o.Base)
	if err != nil {
		return err
	}
	result := checkout.Render(o.Cluster)
	errs := validate.Errors(result)
	for _, e := range errs {
		fmt.Fprintf(o.Err, "%s: %s: %s\n", checkout.Place(e.Position), e.Tenant, e.Message)
	}

	files, err := o.choose(result)
	if err != nil {
		return err
	}
	if o.Output == "-" {
		err = printAll(o.Out, files)
	} else {
		err = writeAll(o.Output, files)
	}
	if err != nil {
		return err
	}
	o.summarise(result, files)
	if len(errs) > 0 {
		return cli.Findings()
	}
	return nil
}

// file is objects that belong together, and what to call the file with them.
type file struct {
	name    string
	objects []*unstructured.Unstructured
}

// choose takes what the flags ask for: a file for the platform, and for each
// tenant one for what is not in a namespace and one for each namespace.
func (o *Options) choose(result *render.Result) ([]file, error) {
	var files []file
	var tenants, namespaces []string
	if o.Tenant == "" && o.Namespace == "" {
		platform := file{name: v1alpha1.PlatformDirectory + ".yaml"}
		for i := range result.Platform {
			platform.objects = append(platform.objects, result.Platform[i].Object())
		}
		files = append(files, platform)
	}
	for _, t := range result.Tenants {
		tenants = append(tenants, t.Name)
		if o.Tenant != "" && t.Name != o.Tenant {
			continue
		}
		for _, f := range split(t) {
			name := f.name
			if name != "" {
				namespaces = append(namespaces, name)
			}
			if o.Namespace != "" && name != o.Namespace {
				continue
			}
			f.name = filepath.Join(t.Name, name+".yaml")
			if name == "" {
				f.name = filepath.Join(t.Name, "tenant.yaml")
			}
			files = append(files, f)
		}
	}
	switch {
	case o.Tenant != "" && !slices.Contains(tenants, o.Tenant):
		return nil, o.missing("tenant", o.Tenant, tenants)
	case o.Namespace != "" && len(files) == 0:
		return nil, o.missing("namespace", o.Namespace, namespaces)
	}
	for _, f := range files {
		o.stamp(f.objects)
	}
	return files, nil
}

func (o *Options) missing(kind, name string, names []string) error {
	var e *cli.Error
	err := cli.NotFound(kind, name, names)
	if errors.As(err, &e) {
		e.Code = cli.ExitUsage
		if len(cli.Nearest(name, names)) == 0 {
			e.Try = "`aether validate " + o.Path + "` says whether the fleet can be read"
		}
	}
	return err
}

// split sorts a tenant's objects by namespace; "" holds what is in none.
func split(t *render.TenantResult) []file {
	files := []file{{name: ""}}
	index := map[string]int{"": 0}
	add := func(namespace string, u *unstructured.Unstructured) {
		i, ok := index[namespace]
		if !ok {
			i = len(files)
			index[namespace] = i
			files = append(files, file{name: namespace})
		}
		files[i].objects = append(files[i].objects, u)
	}
	for _, u := range t.Objects() {
		if u.GetKind() == v1alpha1.KindTenantNamespace {
			add(u.GetName(), u)
			continue
		}
		add("", u)
	}
	if t.Children == nil {
		return files
	}
	for _, u := range t.Children() {
		if u.GetKind() == "Namespace" {
			add(u.GetName(), u)
			continue
		}
		add(u.GetNamespace(), u)
	}
	return files
}

// stamp writes the revision that the user named into provenance. The digest
// leaves provenance out, and so does not change.
func (o *Options) stamp(objects []*unstructured.Unstructured) {
	if o.Revision == "" {
		return
	}
	for i, u := range objects {
		u = u.DeepCopy()
		annotations := u.GetAnnotations()
		if annotations[v1alpha1.AnnotationPath] == "" {
			continue
		}
		annotations[v1alpha1.AnnotationRevision] = o.Revision
		u.SetAnnotations(annotations)
		objects[i] = u
	}
}

func printAll(w io.Writer, files []file) error {
	first := true
	for _, f := range files {
		for _, u := range f.objects {
			if !first {
				if _, err := io.WriteString(w, "---\n"); err != nil {
					return err
				}
			}
			first = false
			data, err := yaml.Marshal(u.Object)
			if err != nil {
				return fmt.Errorf("cannot print %s %s: %w", u.GetKind(), u.GetName(), err)
			}
			if _, err := w.Write(data); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeAll(dir string, files []file) error {
	for _, f := range files {
		var data bytes.Buffer
		if err := printAll(&data, []file{f}); err != nil {
			return err
		}
		path := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // manifests hold no secrets, and others read them
			return cli.Usage("", "cannot write %q: %w", path, err)
		}
		if err := os.WriteFile(path, data.Bytes(), 0o644); err != nil { //nolint:gosec // likewise
			return cli.Usage("", "cannot write %q: %w", path, err)
		}
	}
	return nil
}

// summarise prints counts of what was printed and the digest of the whole fleet.
func (o *Options) summarise(result *render.Result, files []file) {
	objects, namespaces := 0, 0
	for _, f := range files {
		objects += len(f.objects)
		for _, u := range f.objects {
			if u.GetKind() == "Namespace" {
				namespaces++
			}
		}
	}
	fmt.Fprintf(o.Err, "%s in %s; digest of the fleet: %s\n", cli.Count(objects, "object"), cli.Count(namespaces, "namespace"), result.Digest)
}
