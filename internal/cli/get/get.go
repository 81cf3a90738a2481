// Package get is `aether get`: tenants, namespaces, clusters, secrets and sources with their
// state.
package get

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

// Options is what get is asked.
type Options struct {
	*cli.Env
	cli.Cluster
	Kind      string
	Names     []string
	Tenant    string
	Namespace string
	Output    string
	Forge     Forge
}

// kinds are what can be asked for, and how.
var kinds = map[string]func(context.Context, client.Client, *Options) (*listing, error){
	"tenants":    tenants,
	"namespaces": namespaces,
	"clusters":   clusters,
	"secrets":    secrets,
	"sources":    sources,
}

// kindNames are what can be asked for, as people are told.
var kindNames = slices.Sorted(maps.Keys(kinds))

// listing is what was found: a table for people and objects for machines.
type listing struct {
	table   *cli.Table
	objects []client.Object
	// beside are further fields of objects that the cluster does not hold, by object.
	beside map[client.Object]map[string]any
	// notes are lines for whoever reads the table.
	notes []string
	// all are the names that there are, whatever was asked for.
	all []string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	o := &Options{Env: env, Forge: Forge{Getenv: os.Getenv}}
	cmd := &cobra.Command{
		Use:   "get [tenants|namespaces|clusters|secrets|sources] [NAME...]",
		Short: "List tenants, namespaces, clusters, secrets or sources with their state",
		Long: `List what Aether keeps in the cluster, and whether it is as Git asks for: tenants
(the default), namespaces, clusters, secrets or sources. The column STATUS says why
something is not ready; REVISION is the commit that last changed it. "aether explain
namespace" tells the whole story of one namespace.

Secrets are those that are kept equal to OpenBao's: where each comes from, its
version there and that version's AGE, when the Secret was last written (SYNCED) and
when OpenBao is asked NEXT. A namespace may be named before the secrets in it. No
value is read, and none is shown.

Of sources, the column REVIEWED says whether what is applied is what was reviewed:
it follows the commit that was applied to the pull request that brought it, and
compares the digest that is applied with the one that the status aether/review of
its head tells. That takes a forge to ask, with --forge and --url, and a token that
may read the repository in AETHER_FORGE_TOKEN, or else GITEA_TOKEN, GITHUB_TOKEN or
GITLAB_TOKEN. The forge that you name is the only host that is sent it. It is False
with a reason where nobody reviewed it, the review refused it, or something else is
applied, such as a merge after the branch had moved on; Unknown where it cannot be
told, and - where no forge is named. In json and yaml it is the field "review".

kubectl shows the same objects: kubectl get tenants, tenantnamespaces,
workloadclusters, secretsyncs, tenantsources, or all of them with kubectl get aether -A.`,
		Example: `  aether get
  aether get namespaces --tenant acme
  aether get clusters --output wide
  aether get secrets acme-web
  aether get sources --output wide
  aether get sources --forge gitea --url https://git.example.com
  aether get namespaces acme-web --output yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Kind = "tenants"
			if len(args) > 0 {
				o.Kind, o.Names = args[0], args[1:]
			}
			return run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.Output, "output", "o", "table", "table, wide, yaml or json")
	flags.StringVar(&o.Tenant, "tenant", "", "only this tenant's")
	flags.StringVarP(&o.Namespace, "namespace", "n", "", "only this namespace, or the secrets or sources in it (default: all)")
	o.AddFlags(flags)
	o.Forge.addFlags(flags)
	cli.Values(cmd, "output", "table", "wide", "yaml", "json")
	cli.CompleteFlag(cmd, "tenant", func(cmd *cobra.Command, _ []string, _ string) []string {
		return o.Cluster.Names(cmd.Context(), &v1alpha1.TenantList{})
	})
	cli.CompleteFlag(cmd, "namespace", func(cmd *cobra.Command, _ []string, _ string) []string {
		return o.Cluster.Names(cmd.Context(), &v1alpha1.TenantNamespaceList{})
	})
	cli.CompleteArgs(cmd, o.complete)
	return cmd
}

// complete offers kinds, then names. A secret's namespace comes before it.
func (o *Options) complete(cmd *cobra.Command, args []string, _ string) []string {
	if len(args) == 0 {
		return kindNames
	}
	kind, _, err := kindOf(args[0])
	if err != nil {
		return nil
	}
	switch {
	case kind == "tenants":
		return o.Cluster.Names(cmd.Context(), &v1alpha1.TenantList{})
	case kind == "clusters":
		return o.Cluster.Names(cmd.Context(), &v1alpha1.WorkloadClusterList{})
	case kind == "sources":
		return o.Cluster.Names(cmd.Context(), &v1alpha1.TenantSourceList{}, client.InNamespace(o.Namespace))
	case kind == "secrets" && o.Namespace != "":
		return o.Cluster.Names(cmd.Context(), &v1alpha1.SecretSyncList{}, client.InNamespace(o.Namespace))
	case kind == "secrets" && len(args) > 1:
		return o.Cluster.Names(cmd.Context(), &v1alpha1.SecretSyncList{}, client.InNamespace(args[1]))
	}
	return o.Cluster.Names(cmd.Context(), &v1alpha1.TenantNamespaceList{})
}

func run(ctx context.Context, o *Options) error {
	if err := cli.CheckOutput(o.Output, "table", "wide", "yaml", "json"); err != nil {
		return err
	}
	kind, list, err := kindOf(o.Kind)
	if err != nil {
		return err
	}
	o.Kind = kind
	o.takeNamespace()
	if err := o.Forge.check(); err != nil {
		return err
	}
	c, err := o.Connect()
	if err != nil {
		return err
	}
	found, err := list(ctx, c, o)
	if e := (*cli.Error)(nil); errors.As(err, &e) {
		return err
	}
	if err != nil {
		return cli.ClusterError(err, "list "+o.Kind)
	}
	for _, name := range o.Names {
		if !slices.Contains(found.all, name) {
			return cli.NotFound(strings.TrimSuffix(o.Kind, "s"), name, found.all)
		}
	}

	switch o.Output {
	case "json", "yaml":
		return printObjects(o.Out, found, o.Output)
	}
	if len(found.objects) == 0 {
		fmt.Fprintf(o.Err, "no %s found\n", o.Kind)
		return nil
	}
	found.table.Print(o.Out, o.Color)
	for _, note := range found.notes {
		fmt.Fprintln(o.Err, note)
	}
	return nil
}

// takeNamespace reads the first name as the namespace where secrets are asked for:
// there they have their names, and not in a fleet.
func (o *Options) takeNamespace() {
	if o.Kind == "secrets" && o.Namespace == "" && len(o.Names) > 0 {
		o.Namespace, o.Names = o.Names[0], o.Names[1:]
	}
}

// kindOf takes a kind by its name, in plural or singular, or by its resource's
// name as kubectl knows it.
func kindOf(name string) (string, func(context.Context, client.Client, *Options) (*listing, error), error) {
	plain := strings.TrimPrefix(strings.ToLower(name), "tenant")
	switch plain {
	case "", "s", "tnt":
		plain = "tenants"
	case "namespace", "ns", "tns":
		plain = "namespaces"
	case "cluster", "workloadcluster", "workloadclusters", "wlc":
		plain = "clusters"
	case "secret", "secretsync", "secretsyncs", "ssync":
		plain = "secrets"
	case "source", "src", "tsrc":
		plain = "sources"
	}
	if list, ok := kinds[plain]; ok {
		return plain, list, nil
	}
	try := "aether get tenants, namespaces, clusters, secrets or sources"
	if near := cli.Nearest(name, kindNames); len(near) > 0 {
		try = "aether get " + near[0]
	}
	return "", nil, cli.Usage(try, "there is nothing called %q to get", name)
}

func (o *Options) wants(name string) bool { return len(o.Names) == 0 || slices.Contains(o.Names, name) }

func (o *Options) header(short []string, wide ...string) []string {
	if o.Output == "wide" {
		return append(short, wide...)
	}
	return short
}

func (o *Options) revision(obj client.Object) string {
	return o.shorten(obj.GetAnnotations()[v1alpha1.AnnotationRevision])
}

func (o *Options) shorten(revision string) string {
	switch {
	case revision == "":
		return "-"
	case o.Output == "wide":
		return revision
	default:
		return cli.ShortRevision(revision)
	}
}

func tenants(ctx context.Context, c client.Client, o *Options) (*listing, error) {
	var list v1alpha1.TenantList
	if err := c.List(ctx, &list); err != nil {
		return nil, err
	}
	l := &listing{table: cli.NewTable(o.header([]string{"TENANT", "NAMESPACES", "READY", "STATUS", "REVISION", "AGE"}, "DISPLAY NAME", "PATH")...)}
	for i := range list.Items {
		t := &list.Items[i]
		l.all = append(l.all, t.Name)
		if !o.wants(t.Name) || o.Tenant != "" && t.Name != o.Tenant {
			continue
		}
		ready := cli.ReadyOf(t.Status.Conditions)
		row := []cli.Cell{cli.Text(t.Name), cli.Text(orDash(t.Status.Summary)), ready.Cell(), cli.Text(o.message(ready)),
			cli.Text(o.revision(t)), cli.Text(o.Age(t.CreationTimestamp.Time))}
		if o.Output == "wide" {
			row = append(row, cli.Text(orDash(t.Spec.DisplayName)), cli.Text(orDash(t.Annotations[v1alpha1.AnnotationPath])))
		}
		l.add(t, row)
	}
	return l, nil
}

func namespaces(ctx context.Context, c client.Client, o *Options) (*listing, error) {
	var list v1alpha1.TenantNamespaceList
	if err := c.List(ctx, &list); err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b v1alpha1.TenantNamespace) int {
		return strings.Compare(a.Spec.Tenant+"/"+a.Name, b.Spec.Tenant+"/"+b.Name)
	})
	l := &listing{table: cli.NewTable(o.header([]string{"NAMESPACE", "TENANT", "SIZE", "READY", "STATUS", "REVISION", "AGE"}, "PROFILE", "OBJECTS", "PATH")...)}
	for i := range list.Items {
		n := &list.Items[i]
		l.all = append(l.all, n.Name)
		if !o.wants(n.Name) || o.Tenant != "" && n.Spec.Tenant != o.Tenant || o.Namespace != "" && n.Name != o.Namespace {
			continue
		}
		ready := cli.ReadyOf(n.Status.Conditions)
		row := []cli.Cell{cli.Text(n.Name), cli.Text(n.Spec.Tenant), cli.Text(n.Spec.Size), ready.Cell(), cli.Text(o.message(ready)),
			cli.Text(o.revision(n)), cli.Text(o.Age(n.CreationTimestamp.Time))}
		if o.Output == "wide" {
			row = append(row, cli.Text(n.Spec.Profile), cli.Text(fmt.Sprint(len(n.Status.Inventory))), cli.Text(orDash(n.Annotations[v1alpha1.AnnotationPath])))
		}
		l.add(n, row)
		l.noteSecrets(n)
	}
	return l, nil
}

func sources(ctx context.Context, c client.Client, o *Options) (*listing, error) {
	var list v1alpha1.TenantSourceList
	if err := c.List(ctx, &list, client.InNamespace(o.Namespace)); err != nil {
		return nil, err
	}
	l := &listing{table: cli.NewTable(o.header([]string{"NAMESPACE", "SOURCE", "TENANTS", "READY", "STATUS", "REVISION", "REVIEWED", "AGE"}, "FROM", "PATH", "DIGEST", "REVIEW")...)}
	for i := range list.Items {
		s := &list.Items[i]
		l.all = append(l.all, s.Name)
		if !o.wants(s.Name) {
			continue
		}
		ready := cli.ReadyOf(s.Status.Conditions)
		row := []cli.Cell{cli.Text(s.Namespace), cli.Text(s.Name), cli.Text(orDash(s.Status.Summary)), ready.Cell(), cli.Text(o.message(ready)),
			cli.Text(o.shorten(s.Status.LastAppliedRevision)), cli.Text("-"), cli.Text(o.Age(s.CreationTimestamp.Time))}
		message := "-"
		if o.Forge.named() {
			verdict := o.Forge.review(ctx, c, s)
			row[len(row)-2] = cli.StatusCell(verdict.Status)
			message = verdict.Message
			if err := l.say(s, verdict, o.Output == "wide"); err != nil {
				return nil, err
			}
		}
		if o.Output == "wide" {
			row = append(row, cli.Text(s.Spec.SourceRef.Kind+"/"+s.Spec.SourceRef.Name), cli.Text(s.Spec.Path), cli.Text(orDash(s.Status.Digest)), cli.Text(message))
		}
		l.add(s, row)
	}
	return l, nil
}

func (l *listing) add(obj client.Object, row []cli.Cell) {
	l.objects = append(l.objects, obj)
	l.table.Add(row...)
}

// message is the Ready condition's, cut where a line would wrap; wide shows all.
func (o *Options) message(ready cli.Ready) string {
	const room = 80 // characters, so that most tables fit a terminal
	if o.Output == "wide" {
		return orDash(ready.Message)
	}
	runes := []rune(orDash(cli.ShortenRevisions(ready.Message)))
	if len(runes) <= room {
		return string(runes)
	}
	return string(runes[:room-1]) + "…"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printObjects writes a v1 List, as kubectl does, without managedFields.
func printObjects(w io.Writer, found *listing, format string) error {
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}, Items: []unstructured.Unstructured{}}
	for _, obj := range found.objects {
		obj.SetManagedFields(nil)
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
		if err != nil {
			return fmt.Errorf("cannot print %s: %w", obj.GetName(), err)
		}
		maps.Copy(content, found.beside[obj])
		u := unstructured.Unstructured{Object: content}
		u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kindName(obj)))
		list.Items = append(list.Items, u)
	}
	return cli.Encode(w, format, list.UnstructuredContent())
}

func kindName(obj client.Object) string {
	switch obj.(type) {
	case *v1alpha1.Tenant:
		return v1alpha1.KindTenant
	case *v1alpha1.TenantNamespace:
		return v1alpha1.KindTenantNamespace
	case *v1alpha1.SecretSync:
		return v1alpha1.KindSecretSync
	default:
		return v1alpha1.KindTenantSource
	}
}
