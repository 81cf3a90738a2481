package namespace

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// What Tenants are indexed by: their prefix, and all that it begins with. A fleet may
// have thousands of them, and each reconcile of each namespace asks.
const (
	indexPrefix    = "spec.namespaces.prefix"
	indexBeginning = "spec.namespaces.prefix, beginnings"
)

func indexTenants(indexer client.FieldIndexer) error {
	add := func(field string, of func(prefix string) []string) error {
		return indexer.IndexField(context.Background(), &v1alpha1.Tenant{}, field, func(o client.Object) []string {
			return of(o.(*v1alpha1.Tenant).Prefix())
		})
	}
	err := errors.Join(
		add(indexPrefix, func(prefix string) []string { return []string{prefix} }),
		add(indexBeginning, beginnings),
	)
	if err != nil {
		return fmt.Errorf("cannot index Tenants by %s: %w", indexPrefix, err)
	}
	return nil
}

// beginnings are the prefixes that a name with this one has too, itself included: each
// ends with "-".
func beginnings(prefix string) []string {
	var all []string
	for i := range prefix {
		if prefix[i] == '-' {
			all = append(all, prefix[:i+1])
		}
	}
	return all
}

// overlapping are the other tenants whose prefix meets a tenant's. They must not be
// changed.
func overlapping(ctx context.Context, from client.Reader, t *v1alpha1.Tenant) ([]*v1alpha1.Tenant, error) {
	var others []*v1alpha1.Tenant
	with := func(field, value string) error {
		var list v1alpha1.TenantList
		if err := from.List(ctx, &list, client.MatchingFields{field: value}, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("cannot list Tenants: %w", err)
		}
		for i := range list.Items {
			if other := &list.Items[i]; other.Name != t.Name {
				others = append(others, other)
			}
		}
		return nil
	}
	prefix := t.Prefix()
	if err := with(indexBeginning, prefix); err != nil {
		return nil, err
	}
	for _, shorter := range beginnings(prefix) {
		if shorter == prefix {
			continue
		}
		if err := with(indexPrefix, shorter); err != nil {
			return nil, err
		}
	}
	return others, nil
}

// prefixHolder is the tenant that has a prefix overlapping t's for the longest time,
// and longer than t; nil when there is none.
func prefixHolder(ctx context.Context, from client.Reader, t *v1alpha1.Tenant) (*v1alpha1.Tenant, error) {
	others, err := overlapping(ctx, from, t)
	holder := t
	for _, other := range others {
		if earlier(other, holder) {
			holder = other
		}
	}
	if holder == t {
		return nil, err
	}
	return holder, err
}

func earlier(a, b *v1alpha1.Tenant) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

func prefixTaken(t, holder *v1alpha1.Tenant) string {
	return fmt.Sprintf("spec.namespaces.prefix: %q overlaps with %q of Tenant %q; choose another", t.Prefix(), holder.Prefix(), holder.Name)
}
