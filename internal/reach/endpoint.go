package reach

import "slices"

// EndpointKind is a kind of endpoint.
type EndpointKind int

// Kinds of endpoints.
const (
	// Pods of a namespace.
	Pods EndpointKind = iota
	// Ingress is the ingress controller that Cilium itself is.
	Ingress
	// Node of the cluster, with what runs in its network.
	Node
	// APIServer is the Kubernetes API.
	APIServer
	// Host outside the cluster, by its names.
	Host
	// Address outside the cluster.
	Address
	// World is any address outside the cluster.
	World
)

// Endpoint is one end of a connection that may or may not be.
type Endpoint struct {
	Kind EndpointKind
	// Namespace of Pods.
	Namespace string
	// Labels of the Pod. Nil is any Pod that there may be in the namespace.
	Labels map[string]string
	// NamespaceLabels are filled in by a Model that knows the namespace. Nil is a
	// namespace of which nothing is known but that it is no tenant's.
	NamespaceLabels map[string]string
	// NamedPorts of the Pod: numbers by name.
	NamedPorts map[string]int
	// Local is for a Node: the other end runs on it.
	Local bool
	// Outside is for an APIServer: it is known to run on no node of the cluster.
	Outside bool
	// Names of a Host, or those that an Address is known to have.
	Names []string
	// Addresses of a Host, an Address or an APIServer, as far as they are known.
	Addresses Addresses
}

// PodsOf are any Pods of a namespace.
func PodsOf(namespace string) Endpoint { return Endpoint{Kind: Pods, Namespace: namespace} }

// anyPod says that nothing is known of the Pod.
func (e *Endpoint) anyPod() bool { return e.Kind == Pods && e.Labels == nil }

// among says whether an endpoint is one of those that a peer stands for.
func (e *Endpoint) among(p *Peer) answer {
	switch p.Kind {
	case PeerAll:
		return yes
	case PeerPods:
		if e.Kind != Pods {
			return no
		}
		return all(p.Constraints, e)
	case PeerEntity:
		return e.isEntity(p.Text)
	case PeerNetwork:
		return e.inside(p.Networks)
	case PeerHost:
		if slices.ContainsFunc(e.Names, func(name string) bool { return matches(p.Text, name) }) || e.Kind == World && p.Text == "*" {
			return yes
		}
		return no
	}
	return maybe // something that this package does not know
}

func (e *Endpoint) isEntity(name string) answer {
	is := func(ok bool) answer {
		if ok {
			return yes
		}
		return no
	}
	switch name {
	case "all":
		return yes
	case "cluster":
		return is(e.Kind == Pods || e.Kind == Ingress || e.Kind == Node || e.Kind == APIServer)
	case "host", "remote-node":
		if e.Kind == APIServer && !e.Outside {
			return maybe // it may run there
		}
		return is(e.Kind == Node && e.Local == (name == "host"))
	case "kube-apiserver":
		return is(e.Kind == APIServer)
	case "ingress":
		return is(e.Kind == Ingress)
	case "world":
		return e.inside(Everywhere)
	case "world-ipv4":
		return e.inside(AddressesOf("0.0.0.0/0"))
	case "world-ipv6":
		return e.inside(AddressesOf("::/0"))
	case "health", "init", "unmanaged", "none":
		return no // nothing of a tenant's or of the platform's
	}
	return maybe
}

// inside says whether a rule for addresses is for the endpoint. To Cilium such a
// rule is about the outside only: no Pod and no node is in any network.
func (e *Endpoint) inside(networks Addresses) answer {
	switch e.Kind {
	case Host, Address:
		if len(e.Addresses) == 0 {
			if networks.Holds(publicV4) {
				return yes
			}
			return no // a name is not expected to be in somebody's range
		}
	case APIServer:
		if !e.Outside && len(e.Addresses) > 0 {
			return no // on a node
		}
		if len(e.Addresses) == 0 {
			if networks.Holds(publicV4) {
				return maybe // it may be outside, and anywhere
			}
			return no
		}
	case World:
		switch {
		case networks.Internet():
			return yes
		case networks.Overlaps(publicV4), networks.Overlaps(publicV6):
			return maybe
		}
		return no
	default:
		return no
	}
	switch {
	case networks.Holds(e.Addresses):
		return yes
	case networks.Overlaps(e.Addresses):
		return maybe
	}
	return no
}
