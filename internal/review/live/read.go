package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// page is how many objects one request lists.
const page = 500

// ErrChoose is what Report returns where it has to be told which TenantSource
// applies the fleet.
var ErrChoose = errors.New("which TenantSource applies the fleet cannot be told")

// list visits the objects of a kind.
func (c *cluster) list(ctx context.Context, kind schema.GroupVersionKind, selector string, visit func(*unstructured.Unstructured) error) error {
	resource, isAsked := fromGit[kind.Kind]
	at := v1alpha1.GroupVersion.WithResource(resource)
	if !isAsked || kind.Group != v1alpha1.GroupVersion.Group {
		mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		at = mapping.Resource
	}
	options := metav1.ListOptions{LabelSelector: selector, Limit: page}
	for {
		list, err := c.client.Resource(at).List(ctx, options)
		if apierrors.IsNotFound(err) {
			return &meta.NoKindMatchError{GroupKind: kind.GroupKind(), SearchedVersions: []string{kind.Version}}
		}
		if err != nil {
			return fmt.Errorf("cannot list %s: %w", kind.Kind, err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			by := takeOwners(o)
			if c.samples || isAsked || kind.Kind == "Namespace" {
				c.owners[idOf(o)] = by
			}
			if err := visit(o); err != nil {
				return err
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// fromGit are the kinds that come from Git, and their resources: they are the first
// that is asked for, and discovery does not say why it is refused.
var fromGit = map[string]string{
	v1alpha1.KindTenant: "tenants", v1alpha1.KindTenantNamespace: "tenantnamespaces",
	v1alpha1.KindWorkloadCluster: "workloadclusters", v1alpha1.KindNamespaceProfile: "namespaceprofiles",
	v1alpha1.KindTenantException: "tenantexceptions",
}

// readSource reads what came from Git, and which TenantSource applies this fleet.
func (c *cluster) readSource(ctx context.Context) error {
	var holders []string
	for _, kind := range slices.Sorted(maps.Keys(fromGit)) {
		err := c.list(ctx, v1alpha1.GroupVersion.WithKind(kind), "", func(o *unstructured.Unstructured) error {
			c.asked[idOf(o)] = o
			if source := sourceOf(o); source != "" {
				holders = append(holders, source)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(holders)
	holders = slices.Compact(holders)
	switch {
	case c.Source != "":
		c.source = strings.Replace(c.Source, "/", ".", 1)
	case len(holders) > 1:
		for i := range holders {
			holders[i] = strings.Replace(holders[i], ".", "/", 1)
		}
		return fmt.Errorf("%w: there are %s", ErrChoose, strings.Join(holders, ", "))
	case len(holders) == 1:
		c.source = holders[0]
	}
	return c.readStatus(ctx)
}

// readStatus reads what the TenantSource says of what it has applied.
func (c *cluster) readStatus(ctx context.Context) error {
	namespace, name, named := strings.Cut(c.source, ".")
	if !named {
		return nil
	}
	resource := v1alpha1.GroupVersion.WithResource("tenantsources")
	o, err := c.client.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && c.Source != "":
		return fmt.Errorf("%w: there is no %s", ErrChoose, c.Source)
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("cannot get TenantSource %s/%s: %w", namespace, name, err)
	}
	source := typed[v1alpha1.TenantSource](o)
	if source == nil {
		return nil
	}
	c.digest = source.Status.Digest
	for _, failure := range source.Status.Failures {
		for _, e := range failure.Errors {
			c.known[e] = true
		}
	}
	return nil
}

// incumbents are what the tenants that are applied already have to themselves.
func (c *cluster) incumbents() map[string]tenancy.Holding {
	held := map[string]tenancy.Holding{}
	for key, o := range c.asked {
		if key.Kind != v1alpha1.KindTenant {
			continue
		}
		if t := typed[v1alpha1.Tenant](o); t != nil {
			held[t.Name] = tenancy.HoldingOf(t)
		}
	}
	return held
}

// markKnown marks the errors that the cluster reports already, whatever line they
// are in now.
func (c *cluster) markKnown(errs []review.Error) []review.Error {
	for i := range errs {
		e := &errs[i]
		for known := range c.known {
			place, message, _ := strings.Cut(known, ": ")
			file, _, _ := strings.Cut(place, ":")
			if message == e.Message && strings.HasSuffix(e.Place.File, file) {
				e.Old = true
			}
		}
	}
	return errs
}

// readChildren reads the Namespaces, and what Aether made in them: of each kind
// that is rendered, or that an inventory names.
func (c *cluster) readChildren(ctx context.Context, head *review.Side) error {
	namespace := schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	err := c.list(ctx, namespace, "", func(o *unstructured.Unstructured) error {
		c.namespaces[o.GetName()] = o
		return nil
	})
	if err != nil {
		return err
	}
	kinds := map[schema.GroupKind]schema.GroupVersionKind{}
	for key, o := range c.asked {
		if key.Kind != v1alpha1.KindTenantNamespace {
			continue
		}
		for _, kind := range inventoryOf(o) {
			kinds[kind.GroupKind()] = kind
		}
	}
	for _, t := range head.Tenants {
		for i := range t.Objects {
			if o := &t.Objects[i]; !isAsked(o) {
				kind := schema.FromAPIVersionAndKind(o.APIVersion, o.Kind)
				kinds[kind.GroupKind()] = kind
			}
		}
	}
	delete(kinds, namespace.GroupKind())
	selector := v1alpha1.LabelManagedBy + "=" + v1alpha1.ManagedBy
	if c.Head.Tenant != "" {
		selector += "," + v1alpha1.LabelTenant + "=" + c.Head.Tenant
	}
	rendered := map[id]*review.Rendered{}
	if c.samples {
		for _, t := range head.Tenants {
			for i := range t.Objects {
				rendered[keyOf(&t.Objects[i])] = &t.Objects[i]
			}
		}
	}
	// What is as it should be is not kept: of ten thousand namespaces nearly all is.
	visit := func(o *unstructured.Unstructured) error {
		key := idOf(o)
		if now := rendered[key]; now != nil {
			settled, err := c.settles(ctx, now, o)
			if err != nil {
				return err
			}
			if settled {
				delete(c.owners, key)
				c.settled.Add(1)
				return nil
			}
		}
		c.children[key] = o
		return nil
	}
	for _, kind := range kinds {
		err := c.list(ctx, kind, selector, visit)
		if meta.IsNoMatchError(err) {
			c.unserved[kind] = 0
		} else if err != nil {
			return err
		}
	}
	return nil
}

// inventoryOf are the kinds that a TenantNamespace says were made for it. An entry
// is "<namespace>_<name>_<group>_<kind>".
func inventoryOf(tn *unstructured.Unstructured) []schema.GroupVersionKind {
	entries, _, _ := unstructured.NestedSlice(tn.Object, "status", "inventory")
	var kinds []schema.GroupVersionKind
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		name, _ := entry["id"].(string)
		version, _ := entry["v"].(string)
		if parts := strings.Split(name, "_"); len(parts) >= 4 {
			kinds = append(kinds, schema.GroupVersionKind{Group: parts[len(parts)-2], Version: version, Kind: parts[len(parts)-1]})
		}
	}
	return kinds
}
