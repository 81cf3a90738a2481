package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/isolation"
	"github.com/aetherplatform/aether/internal/reach"
)

// facts are what the cluster says of itself.
type facts struct {
	isolation.Cluster
	// labels and uids of the namespaces, by name.
	labels map[string]map[string]string
	uids   map[string]types.UID
	// nodes are the addresses of the nodes, by name.
	nodes map[string]netip.Addr
	// dns is the address of the Service kube-dns.
	dns   string
	live  *reach.Model
	notes []string
}

// discover asks the cluster for its namespaces, its nodes, its policies, and where
// its DNS and its API are.
func (r *run) discover(ctx context.Context) (*facts, error) {
	f := &facts{labels: map[string]map[string]string{}, uids: map[string]types.UID{}, nodes: map[string]netip.Addr{}}
	var objects []*unstructured.Unstructured
	for _, kind := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "Namespace"},
		{Group: "networking.k8s.io", Version: "v1", Kind: reach.KindKubernetes},
		{Group: "cilium.io", Version: "v2", Kind: reach.KindCilium},
		{Group: "cilium.io", Version: "v2", Kind: reach.KindClusterwide},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := r.Client.List(ctx, list)
		switch {
		case kind.Kind == reach.KindClusterwide && (meta.IsNoMatchError(err) || apierrors.IsNotFound(err)):
			continue // not every Cilium has them
		case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
			return nil, fmt.Errorf("cannot read %s: this cluster does not enforce what the fleet renders: %w", kind.Kind, err)
		case err != nil && kind.Kind == "Namespace":
			return nil, fmt.Errorf("cannot list Namespaces: %w", err)
		case err != nil:
			f.notes = append(f.notes, fmt.Sprintf("%s could not be read, so differences are blamed on the fleet's policies: %v", kind.Kind, err))
			objects = nil
			continue
		}
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	}
	if len(f.notes) == 0 {
		f.live = reach.New(objects)
	}
	for _, u := range objects {
		if u.GetKind() == "Namespace" {
			f.labels[u.GetName()], f.uids[u.GetName()] = u.GetLabels(), u.GetUID()
		}
	}
	if len(f.labels) == 0 {
		return nil, errors.New("cannot list Namespaces: there is none")
	}
	if err := r.places(ctx, f); err != nil {
		return nil, err
	}
	return f, nil
}

// places finds nodes, DNS and API servers. What may not be read is left out, and said.
func (r *run) places(ctx context.Context, f *facts) error {
	missing := func(what string, err error) error {
		if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot read %s: %w", what, err)
		}
		if err != nil {
			f.notes = append(f.notes, fmt.Sprintf("%s could not be read, so it is not tried: %v", what, err))
		}
		return nil
	}
	var nodes corev1.NodeList
	if err := missing("Nodes", r.Client.List(ctx, &nodes)); err != nil {
		return err
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		for _, a := range n.Status.Addresses {
			address, err := netip.ParseAddr(a.Address)
			if a.Type == corev1.NodeInternalIP && err == nil {
				f.Nodes = append(f.Nodes, address)
				if _, ok := f.nodes[n.Name]; !ok {
					f.nodes[n.Name] = address
				}
			}
		}
	}
	var dns corev1.Service
	if err := missing("Service kube-system/kube-dns", r.Client.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "kube-dns"}, &dns)); err != nil {
		return err
	}
	f.dns = dns.Spec.ClusterIP
	var slicesOf discoveryv1.EndpointSliceList
	if err := missing("EndpointSlices of Service default/kubernetes", r.Client.List(ctx, &slicesOf, client.InNamespace("default"),
		client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"})); err != nil {
		return err
	}
	for _, s := range slicesOf.Items {
		for _, e := range s.Endpoints {
			for _, a := range e.Addresses {
				address, err := netip.ParseAddr(a)
				for _, port := range s.Ports {
					if err == nil && port.Port != nil {
						f.APIServers = append(f.APIServers, netip.AddrPortFrom(address, uint16(*port.Port)))
					}
				}
			}
		}
	}
	return nil
}

// absent says why no Pod can be in a namespace.
func (f *facts) absent(row *isolation.End) error {
	of, ok := f.labels[row.Endpoint.Namespace]
	switch {
	case !ok && row.Kind == isolation.Ingress:
		return fmt.Errorf("there is no namespace %s in the cluster", row.Endpoint.Namespace)
	case !ok:
		return fmt.Errorf("namespace %s is not in the cluster: has the fleet been applied?", row.Endpoint.Namespace)
	case row.Kind == isolation.Namespace && of[v1alpha1.LabelTenant] != row.Tenant:
		return fmt.Errorf("namespace %s is tenant %q's in the cluster, not %q's", row.Name, of[v1alpha1.LabelTenant], row.Tenant)
	case row.Kind == isolation.Namespace && of[v1alpha1.LabelSealed] != "false":
		return fmt.Errorf("namespace %s is sealed: `aether explain namespace %s` says what it waits for", row.Name, row.Name)
	}
	return nil
}

// resolve asks the cluster's DNS for the hosts, from a namespace without policies if
// there is one.
func (r *run) resolve(ctx context.Context, plan *isolation.Plan, f *facts, other string) error {
	var hosts []string
	for _, c := range plan.Columns {
		if c.Kind == isolation.Host && c.Unprobed == "" {
			hosts = append(hosts, c.Name)
		}
	}
	asked := r.pods[other]
	for _, row := range plan.Rows {
		if len(asked) == 0 {
			asked = r.pods[row.Name]
		}
	}
	if len(asked) == 0 || len(hosts) == 0 {
		return nil
	}
	answers, err := r.ask(ctx, asked[0], "resolve", hosts)
	if err != nil {
		return err
	}
	f.Hosts = map[string][]netip.Addr{}
	for i, a := range answers {
		for text := range strings.FieldsSeq(a.Answer) {
			if address, err := netip.ParseAddr(text); err == nil && a.OK {
				f.Hosts[hosts[i]] = append(f.Hosts[hosts[i]], address)
			}
		}
		slices.SortFunc(f.Hosts[hosts[i]], netip.Addr.Compare)
	}
	return nil
}
