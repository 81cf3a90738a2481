package explain

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

// facts is what the cluster knows about a namespace.
type facts struct {
	namespace *v1alpha1.TenantNamespace
	// tenant and profile are nil where there are none.
	tenant  *v1alpha1.Tenant
	profile *v1alpha1.NamespaceProfile

	// exceptions are all that the platform grants.
	exceptions []*v1alpha1.TenantException

	// tenants and namespaces are all that the API server holds, for peers and for
	// what the other side of a connection allows.
	tenants    map[string]*v1alpha1.Tenant
	namespaces map[string]*v1alpha1.TenantNamespace

	// live holds the objects of the inventory by ID; nil for one that is missing.
	live map[string]*unstructured.Unstructured
	// quotas are those that Aether made, with the usage that Kubernetes has counted.
	quotas []corev1.ResourceQuota
	// secrets are those of spec.secrets and those that the team made.
	secrets []v1alpha1.SecretSync
}

// gather reads everything, once.
func gather(ctx context.Context, c client.Client, name string) (*facts, error) {
	f := &facts{
		tenants:    map[string]*v1alpha1.Tenant{},
		namespaces: map[string]*v1alpha1.TenantNamespace{},
		live:       map[string]*unstructured.Unstructured{},
	}
	var namespaces v1alpha1.TenantNamespaceList
	if err := c.List(ctx, &namespaces); err != nil {
		return nil, cli.ClusterError(err, "list namespaces")
	}
	names := make([]string, 0, len(namespaces.Items))
	for i := range namespaces.Items {
		n := &namespaces.Items[i]
		names = append(names, n.Name)
		f.namespaces[n.Name] = n
	}
	if f.namespace = f.namespaces[name]; f.namespace == nil {
		return nil, cli.NotFound("namespace", name, names)
	}

	var tenants v1alpha1.TenantList
	if err := c.List(ctx, &tenants); err != nil {
		return nil, cli.ClusterError(err, "list tenants")
	}
	for i := range tenants.Items {
		f.tenants[tenants.Items[i].Name] = &tenants.Items[i]
	}
	f.tenant = f.tenants[f.namespace.Spec.Tenant]

	var profile v1alpha1.NamespaceProfile
	err := c.Get(ctx, client.ObjectKey{Name: f.namespace.Spec.Profile}, &profile)
	switch {
	case err == nil:
		f.profile = &profile
	case !apierrors.IsNotFound(err):
		return nil, cli.ClusterError(err, "get NamespaceProfile "+f.namespace.Spec.Profile)
	}

	var exceptions v1alpha1.TenantExceptionList
	if err := c.List(ctx, &exceptions); err != nil {
		return nil, cli.ClusterError(err, "list exceptions")
	}
	for i := range exceptions.Items {
		f.exceptions = append(f.exceptions, &exceptions.Items[i])
	}

	for _, entry := range f.namespace.Status.Inventory {
		live, err := get(ctx, c, entry)
		if err != nil {
			return nil, cli.ClusterError(err, "get "+entry.ID)
		}
		f.live[entry.ID] = live
	}

	var quotas corev1.ResourceQuotaList
	if err := c.List(ctx, &quotas, client.InNamespace(name), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}); err != nil {
		return nil, cli.ClusterError(err, "list ResourceQuotas in "+name)
	}
	f.quotas = quotas.Items

	var secrets v1alpha1.SecretSyncList
	if err := c.List(ctx, &secrets, client.InNamespace(name)); err != nil && !meta.IsNoMatchError(err) {
		return nil, cli.ClusterError(err, "list SecretSyncs in "+name)
	}
	f.secrets = secrets.Items
	return f, nil
}

// get reads an object of the inventory; nil when it is not there.
func get(ctx context.Context, c client.Client, entry v1alpha1.InventoryEntry) (*unstructured.Unstructured, error) {
	id, ok := parseID(entry)
	if !ok {
		return nil, nil
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(id.kind)
	err := c.Get(ctx, client.ObjectKey{Namespace: id.namespace, Name: id.name}, u)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return u, nil
}

// identity is what an inventory's ID says.
type identity struct {
	namespace, name string
	kind            schema.GroupVersionKind
}

// parseID reads "<namespace>_<name>_<group>_<kind>". A colon in a name, as RBAC
// allows, is written "__".
func parseID(entry v1alpha1.InventoryEntry) (identity, bool) {
	namespace, rest, ok := strings.Cut(entry.ID, "_")
	i := strings.LastIndex(rest, "_")
	if !ok || i < 0 {
		return identity{}, false
	}
	kind, rest := rest[i+1:], rest[:i]
	if i = strings.LastIndex(rest, "_"); i < 0 {
		return identity{}, false
	}
	return identity{
		namespace: namespace,
		name:      strings.ReplaceAll(rest[:i], "__", ":"),
		kind:      schema.GroupVersionKind{Group: rest[i+1:], Version: entry.Version, Kind: kind},
	}, true
}
