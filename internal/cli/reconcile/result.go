package reconcile

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

// Result is what json and yaml hold: what became of Git as it is now. Lists are there even
// where they are empty.
type Result struct {
	// Source is the TenantSource, as namespace/name.
	Source string `json:"source"`
	// Revision that was applied, or tried to be, and the Digest of what it renders to.
	Revision string `json:"revision"`
	Digest   string `json:"digest"`
	// Ready is the source's condition.
	Ready Ready `json:"ready"`
	// Tenants that the revision has, and how many of them were applied.
	Tenants Tenants `json:"tenants"`
	// Namespaces of the source.
	Namespaces Namespaces `json:"namespaces"`
	// Failures are tenants with errors in Git.
	Failures []Failure `json:"failures"`
	// PendingPrune is what would be removed, once it is allowed.
	PendingPrune []string `json:"pendingPrune"`
	// NotReady are the namespaces that are not as Git asks, by name.
	NotReady []NotReady `json:"notReady"`
}

// Ready is a condition of the type Ready.
type Ready struct {
	Status  metav1.ConditionStatus `json:"status"`
	Reason  string                 `json:"reason"`
	Message string                 `json:"message"`
}

// Tenants are counts of tenants.
type Tenants struct {
	Total   int `json:"total"`
	Applied int `json:"applied"`
}

// Namespaces are counts of namespaces. Those that left Git and are kept are not in Total.
type Namespaces struct {
	Total   int `json:"total"`
	Ready   int `json:"ready"`
	Removed int `json:"removed"`
}

// Failure is a tenant of which nothing was applied.
type Failure struct {
	Tenant string   `json:"tenant"`
	Errors []string `json:"errors"`
	// More errors than those that the status has room for.
	More int `json:"more"`
}

// NotReady is a namespace, and why it is not ready.
type NotReady struct {
	Namespace string `json:"namespace"`
	Reason    string `json:"reason"`
	Message   string `json:"message"`
}

// resultOf reads the statuses of a source and of its namespaces.
func resultOf(source *v1alpha1.TenantSource, namespaces []*v1alpha1.TenantNamespace) *Result {
	status := source.Status
	ready := cli.ReadyOf(status.Conditions)
	total := int(status.Tenants.Total)
	r := &Result{
		Source: source.Namespace + "/" + source.Name, Revision: status.LastAttemptedRevision, Digest: status.Digest,
		Ready:    Ready{ready.Status, ready.Reason, ready.Message},
		Tenants:  Tenants{Total: total, Applied: total - int(status.Tenants.Failed)},
		Failures: []Failure{}, PendingPrune: append([]string{}, status.PendingPrune...), NotReady: []NotReady{},
	}
	for _, f := range status.Failures {
		r.Failures = append(r.Failures, Failure{Tenant: f.Tenant, Errors: append([]string{}, f.Errors...), More: max(0, int(f.Total)-len(f.Errors))})
	}
	for _, n := range namespaces {
		switch ready := cli.ReadyOf(n.Status.Conditions); {
		case ready.Reason == v1alpha1.ReasonRemovedFromGit: // as Git asks
			r.Namespaces.Removed++
		case ready.True():
			r.Namespaces.Ready++
		default:
			r.NotReady = append(r.NotReady, NotReady{n.Name, ready.Reason, ready.Message})
		}
	}
	slices.SortFunc(r.NotReady, func(a, b NotReady) int { return cmp.Compare(a.Namespace, b.Namespace) })
	r.Namespaces.Total = len(namespaces) - r.Namespaces.Removed
	return r
}

func (o *Options) print(r *Result) error {
	if o.Output != "table" {
		return cli.Encode(o.Out, o.Output, r)
	}
	counts := fmt.Sprintf("%d of %d ready", r.Namespaces.Ready, r.Namespaces.Total)
	if r.Namespaces.Removed > 0 {
		counts += fmt.Sprintf("; %d removed and kept", r.Namespaces.Removed)
	}
	table := cli.NewTable()
	table.Add(cli.Text("Source"), cli.Text(r.Source))
	table.Add(cli.Text("Revision"), cli.Text(r.Revision))
	table.Add(cli.Text("Tenants"), cli.Text(fmt.Sprintf("%d of %d applied", r.Tenants.Applied, r.Tenants.Total)))
	table.Add(cli.Text("Namespaces"), cli.Text(counts))
	table.Add(cli.Text("Digest"), cli.Text(r.Digest))
	table.Add(cli.Text("Ready"), cli.StatusCell(r.Ready.Status))
	table.Add(cli.Text(""), cli.Text(r.Ready.Message))
	table.Print(o.Out, o.Color)
	for _, f := range r.Failures {
		for _, e := range f.Errors {
			fmt.Fprintf(o.Out, "%s: %s\n", f.Tenant, e)
		}
		if f.More > 0 {
			fmt.Fprintf(o.Out, "%s: and %s more; aether validate shows all\n", f.Tenant, cli.Count(f.More, "error"))
		}
	}
	for _, id := range r.PendingPrune {
		fmt.Fprintf(o.Out, "would be removed: %s\n", id)
	}
	for _, n := range r.NotReady {
		fmt.Fprintf(o.Out, "%s: %s: %s\n", n.Namespace, n.Reason, n.Message)
	}
	return nil
}
