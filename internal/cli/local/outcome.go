package local

import (
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/local"
)

// printOutcome prints every tenant and namespace with its state, or those of some
// tenants only, and then what is wrong in Git. It returns whether anything is
// not as it should be.
func printOutcome(env *cli.Env, o *local.Outcome, only []string) (bad bool) {
	wanted := func(tenant string) bool { return only == nil || slices.Contains(only, tenant) }
	failing := map[string]v1alpha1.TenantFailure{}
	for _, f := range o.Source.Status.Failures {
		failing[f.Tenant] = f
	}

	table := cli.NewTable("TENANT", "NAMESPACE", "READY", "REVISION", "STATUS")
	for i := range o.Tenants {
		t := &o.Tenants[i]
		if !wanted(t.Name) {
			continue
		}
		ready := cli.ReadyOf(t.Status.Conditions)
		bad = bad || !ready.True()
		table.Add(cli.Text(t.Name), cli.Text(""), ready.Cell(), revision(t), cli.Text(ready.Message))
		for j := range o.Namespaces {
			n := &o.Namespaces[j]
			if n.Spec.Tenant != t.Name {
				continue
			}
			ready := cli.ReadyOf(n.Status.Conditions)
			bad = bad || !ready.True()
			table.Add(cli.Text(""), cli.Text(n.Name), ready.Cell(), revision(n), cli.Text(ready.Message))
		}
	}
	table.Print(env.Out, env.Color)
	bad = printClusters(env, o, wanted) || bad

	for _, f := range o.Source.Status.Failures {
		// What is wrong with the platform directory is everyone's business.
		if !wanted(f.Tenant) && f.Tenant != v1alpha1.PlatformDirectory {
			continue
		}
		bad = true
		fmt.Fprintf(env.Out, "\n%s %s, nothing of it was changed:\n", env.Paint(cli.Bad, f.Tenant+" has errors"), "in Git")
		for _, e := range f.Errors {
			fmt.Fprintln(env.Out, "  "+e)
		}
		if more := int(f.Total) - len(f.Errors); more > 0 {
			fmt.Fprintf(env.Out, "  and %d more: aether validate lists them all\n", more)
		}
	}
	source := cli.ReadyOf(o.Source.Status.Conditions)
	if !source.True() && len(o.Source.Status.Failures) == 0 {
		bad = true
		fmt.Fprintf(env.Out, "\n%s %s\n", env.Paint(cli.Bad, "The source is not ready:"), source.Message)
		for _, pending := range o.Source.Status.PendingPrune {
			fmt.Fprintln(env.Out, "  "+pending)
		}
	}
	return bad
}

func revision(o client.Object) cli.Cell {
	return cli.Text(cli.ShortRevision(o.GetAnnotations()[v1alpha1.AnnotationRevision]))
}

// printClusters prints the clusters of the tenants that are wanted, where there are any.
// It returns whether one is not as it should be.
func printClusters(env *cli.Env, o *local.Outcome, wanted func(tenant string) bool) (bad bool) {
	table, listed := cli.NewTable("TENANT", "CLUSTER", "VERSION", "READY", "REVISION", "STATUS"), false
	for i := range o.Clusters {
		c := &o.Clusters[i]
		if !wanted(c.Spec.Tenant) {
			continue
		}
		ready := cli.ReadyOf(c.Status.Conditions)
		listed, bad = true, bad || !ready.True()
		table.Add(cli.Text(c.Spec.Tenant), cli.Text(c.Name), cli.Text(c.Spec.Version), ready.Cell(), revision(c), cli.Text(ready.Message))
	}
	if listed {
		fmt.Fprintln(env.Out)
		table.Print(env.Out, env.Color)
	}
	return bad
}
