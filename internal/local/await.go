package local

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Outcome is what became of a revision.
type Outcome struct {
	Source     v1alpha1.TenantSource
	Tenants    []v1alpha1.Tenant
	Namespaces []v1alpha1.TenantNamespace
	// Clusters, where the platform runs what makes them.
	Clusters []v1alpha1.WorkloadCluster
}

// Look reads what the cluster holds now.
func (p *Platform) Look(ctx context.Context) (*Outcome, error) {
	o := &Outcome{}
	key := client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: fleetName}
	if err := p.Client.Get(ctx, key, &o.Source); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("cannot get TenantSource %s: %w", key, err)
	}
	var tenants v1alpha1.TenantList
	if err := p.Client.List(ctx, &tenants); err != nil {
		return nil, fmt.Errorf("cannot list Tenants: %w", err)
	}
	var namespaces v1alpha1.TenantNamespaceList
	if err := p.Client.List(ctx, &namespaces); err != nil {
		return nil, fmt.Errorf("cannot list TenantNamespaces: %w", err)
	}
	o.Tenants, o.Namespaces = tenants.Items, namespaces.Items
	slices.SortFunc(o.Namespaces, func(a, b v1alpha1.TenantNamespace) int {
		return cmp.Or(cmp.Compare(a.Spec.Tenant, b.Spec.Tenant), cmp.Compare(a.Name, b.Name))
	})
	if p.Clusters {
		var clusters v1alpha1.WorkloadClusterList
		if err := p.Client.List(ctx, &clusters); err != nil {
			return nil, fmt.Errorf("cannot list WorkloadClusters: %w", err)
		}
		o.Clusters = clusters.Items
	}
	return o, nil
}

// Await waits until a revision has been read and everything has settled: it is
// ready, or only a person can help. It tells progress as it comes. Where time runs
// out, it returns what there is with the error.
func (p *Platform) Await(ctx context.Context, revision string) (*Outcome, error) {
	var o *Outcome
	told := ""
	err := poll(ctx, func() (bool, error) {
		now, err := p.Look(ctx)
		if err != nil {
			if o != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return false, err
		}
		o = now
		if line := o.progress(revision); line != told {
			_, _ = fmt.Fprintln(p.Progress, "  "+line)
			told = line
		}
		return o.Read(revision) && o.settled(), nil
	})
	return o, err
}

// Read is whether the source has read the revision, and applied what can be.
func (o *Outcome) Read(revision string) bool {
	return o.Source.Status.LastAttemptedRevision == revision &&
		o.Source.Status.ObservedGeneration == o.Source.Generation && !reconciling(o.Source.Status.Conditions)
}

// Ready is whether the source and every tenant and namespace is.
func (o *Outcome) Ready() bool {
	ready := current(&o.Source, o.Source.Status.ObservedGeneration) && isReady(o.Source.Status.Conditions)
	return ready && o.readyTenants() == len(o.Tenants) && o.readyNamespaces() == o.present() && o.readyClusters() == len(o.Clusters)
}

func (o *Outcome) settled() bool {
	for i := range o.Tenants {
		t := &o.Tenants[i]
		counts := o.count(t.Name)
		// A tenant waits for its namespaces; whether they are done is asked below.
		waits := counts.Ready+counts.Removed < counts.Total
		if !current(t, t.Status.ObservedGeneration) || t.Status.Namespaces != counts || !waits && !done(t.Status.Conditions) {
			return false
		}
	}
	for i := range o.Namespaces {
		n := &o.Namespaces[i]
		switch {
		case !current(n, n.Status.ObservedGeneration), hasLeft(n) != saysLeft(n):
			return false
		case !hasLeft(n) && !done(n.Status.Conditions):
			return false
		}
	}
	for i := range o.Clusters {
		if c := &o.Clusters[i]; !current(c, c.Status.ObservedGeneration) || !done(c.Status.Conditions) {
			return false
		}
	}
	return true
}

// count is what a tenant's status is to say of its namespaces: it is written a
// moment after theirs.
func (o *Outcome) count(tenant string) (c v1alpha1.NamespaceCounts) {
	for i := range o.Namespaces {
		n := &o.Namespaces[i]
		if n.Spec.Tenant != tenant {
			continue
		}
		c.Total++
		switch {
		case hasLeft(n):
			c.Removed++
		case current(n, n.Status.ObservedGeneration) && isReady(n.Status.Conditions):
			c.Ready++
		}
	}
	return c
}

// present counts the namespaces that Git asks for, those that it let go aside.
func (o *Outcome) present() (count int) {
	for i := range o.Namespaces {
		if !hasLeft(&o.Namespaces[i]) {
			count++
		}
	}
	return count
}

// hasLeft is whether a namespace has left Git and is kept. Leaving and coming back
// change no generation, so the status is compared as well, by saysLeft.
func hasLeft(n *v1alpha1.TenantNamespace) bool {
	_, left := n.Annotations[v1alpha1.AnnotationRemovedAt]
	return left
}

func saysLeft(n *v1alpha1.TenantNamespace) bool {
	ready := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Reason == v1alpha1.ReasonRemovedFromGit
}

func (o *Outcome) readyTenants() (count int) {
	for i := range o.Tenants {
		t := &o.Tenants[i]
		if current(t, t.Status.ObservedGeneration) && isReady(t.Status.Conditions) && t.Status.Namespaces == o.count(t.Name) {
			count++
		}
	}
	return count
}

func (o *Outcome) readyNamespaces() (count int) {
	for i := range o.Namespaces {
		if n := &o.Namespaces[i]; current(n, n.Status.ObservedGeneration) && isReady(n.Status.Conditions) {
			count++
		}
	}
	return count
}

func (o *Outcome) readyClusters() (count int) {
	for i := range o.Clusters {
		if c := &o.Clusters[i]; current(c, c.Status.ObservedGeneration) && isReady(c.Status.Conditions) {
			count++
		}
	}
	return count
}

func (o *Outcome) progress(revision string) string {
	if o.Source.Status.LastAttemptedRevision != revision {
		return "waiting for the fleet to be read …"
	}
	line := fmt.Sprintf("ready: %d of %d tenants, %d of %d namespaces",
		o.readyTenants(), len(o.Tenants), o.readyNamespaces(), o.present())
	if len(o.Clusters) > 0 {
		line += fmt.Sprintf(", %d of %d clusters", o.readyClusters(), len(o.Clusters))
	}
	return line
}

func current(object client.Object, observed int64) bool { return observed == object.GetGeneration() }

func isReady(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionTrue(conditions, "Ready")
}

// done is whether nothing more will happen by itself.
func done(conditions []metav1.Condition) bool {
	return isReady(conditions) || meta.IsStatusConditionTrue(conditions, "Stalled")
}

func reconciling(conditions []metav1.Condition) bool {
	ready := meta.FindStatusCondition(conditions, "Ready")
	return ready == nil || ready.Status == metav1.ConditionUnknown
}

// pollInterval is how often the cluster is asked whether it is done.
const pollInterval = 100 * time.Millisecond

// poll asks until the answer is yes, an error, or the end of ctx.
func poll(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		yes, err := ask()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
