package get

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

// clusters lists the Kubernetes clusters of tenants.
func clusters(ctx context.Context, c client.Client, o *Options) (*listing, error) {
	var list v1alpha1.WorkloadClusterList
	if err := c.List(ctx, &list); err != nil {
		return nil, err
	}
	l := &listing{table: cli.NewTable(o.header([]string{"CLUSTER", "TENANT", "VERSION", "READY", "STATUS", "REVISION", "AGE"}, "REGION", "ENDPOINT", "PATH")...)}
	for i := range list.Items {
		wc := &list.Items[i]
		l.all = append(l.all, wc.Name)
		if !o.wants(wc.Name) || o.Tenant != "" && wc.Spec.Tenant != o.Tenant {
			continue
		}
		ready := cli.ReadyOf(wc.Status.Conditions)
		row := []cli.Cell{cli.Text(wc.Name), cli.Text(wc.Spec.Tenant), cli.Text(version(wc)), ready.Cell(), cli.Text(o.message(ready)),
			cli.Text(o.revision(wc)), cli.Text(o.Age(wc.CreationTimestamp.Time))}
		if o.Output == "wide" {
			endpoint := ""
			if s := wc.Status.ControlPlane; s != nil {
				endpoint = s.Endpoint
			}
			row = append(row, cli.Text(wc.Spec.Region), cli.Text(orDash(endpoint)), cli.Text(orDash(wc.Annotations[v1alpha1.AnnotationPath])))
		}
		l.add(wc, row)
	}
	return l, nil
}

// version that a cluster has, and the one that it is on its way to.
func version(wc *v1alpha1.WorkloadCluster) string {
	if s := wc.Status.ControlPlane; s != nil && s.Version != "" && s.Version != wc.Spec.Version {
		return s.Version + " → " + wc.Spec.Version
	}
	return wc.Spec.Version
}
