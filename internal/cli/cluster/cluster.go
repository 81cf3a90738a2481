// Package cluster is `aether cluster`: what the management cluster knows of a hosted
// cluster, without a credential for that one.
package cluster

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

// namespacePrefix begins the name of a WorkloadCluster's namespace.
const namespacePrefix = "aether-cluster-"

// NewCommand returns `aether cluster`.
func NewCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Say how hosted clusters do",
		Long:  `Say how hosted clusters do, asked of the cluster where their control planes run.`,
		Args:  cli.Args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCerts(env))
	return cmd
}

// Place is where a control plane is found.
type Place struct {
	cli.Cluster
	Namespace string
}

// AddFlags adds those that choose it.
func (p *Place) AddFlags(cmd *cobra.Command) {
	p.Cluster.AddFlags(cmd.Flags())
	cmd.Flags().StringVarP(&p.Namespace, "namespace", "n", "", "`namespace` of a control plane that Cluster API asks for (default: aether-cluster-NAME)")
	cli.CompleteArgs(cmd, func(cmd *cobra.Command, args []string, _ string) []string {
		if len(args) > 0 {
			return nil
		}
		return p.Names(cmd.Context(), &cpv1.AetherControlPlaneList{}, client.InNamespace(p.Namespace))
	})
}

// Find reads the AetherControlPlane of a cluster.
func (p *Place) Find(ctx context.Context, c client.Client, name string) (*cpv1.AetherControlPlane, error) {
	namespace := p.Namespace
	if namespace == "" {
		namespace = namespacePrefix + name
	}
	cp := &cpv1.AetherControlPlane{}
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, cp)
	if !apierrors.IsNotFound(err) {
		return cp, cli.ClusterError(err, "read the control plane of "+name)
	}
	missing := &cli.Error{Code: cli.ExitNotFound, Err: fmt.Errorf("there is no cluster %q: namespace %s has no AetherControlPlane of that name", name, namespace)}
	var list cpv1.AetherControlPlaneList
	if c.List(ctx, &list) != nil { // who may not list all may still read one
		missing.Try = "is it in another namespace? --namespace; `kubectl get workloadcluster " + name + "` says whether Git asks for it"
		return nil, missing
	}
	var names []string
	for _, other := range list.Items {
		if other.Name == name {
			missing.Try = "it is in another namespace: --namespace " + other.Namespace
			return nil, missing
		}
		names = append(names, other.Name)
	}
	slices.Sort(names)
	switch near := cli.Nearest(name, names); {
	case len(near) > 0:
		missing.Try = "did you mean " + near[0] + "?"
	default:
		missing.Try = "`kubectl get aethercontrolplanes --all-namespaces` lists those there are"
	}
	return nil, missing
}
