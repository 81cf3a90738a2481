package source

import (
	"context"
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// stores are what informers hold of the kinds that come from Git, by kind. A source asks
// them for what is its own: there may be hundreds, and each would else go through the
// objects of all at each push.
type stores map[string]toolscache.Indexer

// What objects are indexed by.
const (
	bySource  = "source"  // as v1alpha1.LabelSource has it
	byTenant  = "tenant"  // namespaces and clusters
	byProfile = "profile" // namespaces
)

var indexers = toolscache.Indexers{
	bySource: func(o any) ([]string, error) {
		return []string{o.(client.Object).GetLabels()[v1alpha1.LabelSource]}, nil
	},
	byTenant: func(o any) ([]string, error) {
		switch o := o.(type) {
		case *v1alpha1.TenantNamespace:
			return []string{o.Spec.Tenant}, nil
		case *v1alpha1.WorkloadCluster:
			return []string{o.Spec.Tenant}, nil
		}
		return nil, nil
	},
	byProfile: func(o any) ([]string, error) {
		if n, ok := o.(*v1alpha1.TenantNamespace); ok {
			return []string{n.Spec.Profile}, nil
		}
		return nil, nil
	},
}

// storesOf has the informers of a manager index what they hold. They must not have
// begun.
func storesOf(informers cache.Informers) (stores, error) {
	all := stores{}
	for _, kind := range fromGit {
		informer, err := informers.GetInformer(context.Background(), kind, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("cannot watch %T: %w", kind, err)
		}
		shared, ok := informer.(toolscache.SharedIndexInformer)
		if !ok {
			return nil, fmt.Errorf("cannot index %T: its informer is a %T", kind, informer)
		}
		if err := shared.AddIndexers(indexers); err != nil {
			return nil, fmt.Errorf("cannot index %T: %w", kind, err)
		}
		all[keyOf(kind).kind] = shared.GetIndexer()
	}
	return all, nil
}

// world is the cluster as one TenantSource sees it: nothing in it may be changed.
type world struct {
	stores
	// own are the source's objects, as they were when the reconcile began.
	own map[key]client.Object
}

// of is the world of a source.
func (s stores) of(source string) (world, error) {
	w := world{s, map[key]client.Object{}}
	for _, store := range s {
		objects, err := store.ByIndex(bySource, source)
		if err != nil {
			return world{}, fmt.Errorf("cannot list what is of TenantSource %s: %w", source, err)
		}
		for _, held := range objects {
			o := held.(client.Object)
			w.own[keyOf(o)] = o
		}
	}
	return w, nil
}

// get is an object, whoever's it is; nil where there is none.
func (w world) get(k key) client.Object {
	if o := w.own[k]; o != nil {
		return o
	}
	held, ok, err := w.stores[k.kind].GetByKey(k.name)
	if err != nil || !ok {
		return nil
	}
	return held.(client.Object)
}

// holdsSome is whether a tenant has a namespace or a cluster.
func (w world) holdsSome(tenant string) bool {
	return w.any(v1alpha1.KindTenantNamespace, byTenant, tenant) || w.any(v1alpha1.KindWorkloadCluster, byTenant, tenant)
}

// isUsed is whether a namespace has a profile.
func (w world) isUsed(profile string) bool {
	return w.any(v1alpha1.KindTenantNamespace, byProfile, profile)
}

func (s stores) any(kind, index, value string) bool {
	keys, err := s[kind].IndexKeys(index, value)
	return err != nil || len(keys) > 0 // what cannot be told is not gone
}

// incumbents are the tenants of the cluster and what they have to themselves.
func (s stores) incumbents() map[string]tenancy.Holding {
	tenants := s[v1alpha1.KindTenant].List()
	held := make(map[string]tenancy.Holding, len(tenants))
	for _, o := range tenants {
		t := o.(*v1alpha1.Tenant)
		held[t.Name] = tenancy.HoldingOf(t)
	}
	return held
}
