// Package isolation lays out who may reach whom in a fleet as a matrix, and judges
// what was seen of a cluster by it.
//
// What is expected comes from the rendered objects, through package reach. The
// package makes no connection itself: package live does, and hands back what it saw.
package isolation

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/reach"
)

// Kind is what an end of a connection is.
type Kind string

// Kinds of ends.
const (
	// Namespace of a tenant.
	Namespace Kind = "namespace"
	// Other is a namespace of the cluster that is no tenant's.
	Other Kind = "other"
	// Ingress is where the ingress controller runs.
	Ingress Kind = "ingress"
	// World is anywhere outside the cluster.
	World     Kind = "world"
	DNS       Kind = "dns"
	Host      Kind = "host"
	Address   Kind = "address"
	APIServer Kind = "apiserver"
	Node      Kind = "node"
	Metadata  Kind = "metadata"
)

// End is a row or a column.
type End struct {
	// Name is unique among the rows, and among the columns.
	Name   string `json:"name"`
	Kind   Kind   `json:"kind"`
	Tenant string `json:"tenant,omitempty"`
	// Unprobed says why no connection is made from there, or to there.
	Unprobed string `json:"unprobed,omitempty"`

	Endpoint reach.Endpoint `json:"-"`
	// Ports that are tried there whoever comes, beside those that rules name.
	Ports []reach.Port `json:"-"`
}

// Pods says that it is a namespace in which Pods can be made.
func (e *End) Pods() bool { return e.Endpoint.Kind == reach.Pods && e.Kind != DNS }

// Check is one connection.
type Check struct {
	From, To *End
	Port     reach.Port
	Verdict  reach.Verdict
}

// Plan is the matrix, and every connection that tells about it.
type Plan struct {
	Rows, Columns []*End
	Checks        []*Check
	Model         *reach.Model
}

// Input is what a plan is made of.
type Input struct {
	// Model of what is rendered.
	Model *reach.Model
	// Tenants by namespace: the rows, and columns.
	Tenants map[string]string
	// Ingress controllers.
	Ingress []reach.Endpoint
	// Other is a namespace of nobody's.
	Other string
	// Labels of the Pods that stand for a namespace; nil for any Pod.
	Labels map[string]string
	// Only says which rows and columns are asked about: one end of each connection is
	// one of them. Nil is all.
	Only func(namespace string) bool
	// Also are hosts and addresses outside the cluster, beside those that rules name.
	Also []Target
	// Cluster is what is known of it; nil offline.
	Cluster *Cluster
}

// Target is a host or an address outside, and a port there.
type Target struct {
	Host string
	Port int
}

// Cluster is where parts of a cluster are.
type Cluster struct {
	// APIServers are the addresses behind the Service kubernetes.
	APIServers []netip.AddrPort
	// Nodes by address.
	Nodes []netip.Addr
	// Hosts are the addresses of names.
	Hosts map[string][]netip.Addr
}

// Ports of what every cluster has.
const (
	kubeletPort   = 10250
	apiServerPort = 6443
	https         = 443
)

// New lays out the matrix.
func New(in Input) *Plan {
	p := &Plan{Model: in.Model}
	spare := in.Model.Spare()
	names := make([]string, 0, len(in.Tenants))
	for name := range in.Tenants {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(strings.Compare(in.Tenants[a], in.Tenants[b]), strings.Compare(a, b))
	})
	anywhere := []reach.Port{{Number: spare, Protocol: "TCP"}, {Number: spare, Protocol: "UDP"}}
	for _, name := range names {
		pods := reach.PodsOf(name)
		pods.Labels = in.Labels
		p.Rows = append(p.Rows, &End{Name: name, Kind: Namespace, Tenant: in.Tenants[name], Endpoint: pods, Ports: anywhere})
	}
	for _, e := range in.Ingress {
		name := "ingress controller in " + e.Namespace
		for _, key := range slices.Sorted(maps.Keys(e.Labels)) {
			if _, ours := in.Labels[key]; !ours {
				name += " " + key + "=" + e.Labels[key]
			}
		}
		p.Rows = append(p.Rows, &End{Name: name, Kind: Ingress, Endpoint: e, Ports: anywhere})
	}
	if in.Other != "" {
		other := reach.PodsOf(in.Other)
		other.Labels = in.Labels
		p.Rows = append(p.Rows, &End{Name: in.Other, Kind: Other, Endpoint: other, Ports: append(slices.Clone(anywhere), reach.Port{Number: 53, Protocol: "UDP"})})
	}
	p.Columns = slices.Clone(p.Rows)
	p.Rows = append(p.Rows, &End{
		Name: "the internet", Kind: World, Endpoint: reach.Endpoint{Kind: reach.World},
		Unprobed: "nothing of ours runs outside the cluster",
	})
	p.outside(in, names)
	p.cluster(in)
	for _, from := range p.Rows {
		for _, to := range p.Columns {
			// What is nobody's shows whether anything answers outside.
			compares := from.Kind == Other && !to.Pods()
			if (from.Pods() || to.Pods()) && (in.Only == nil || in.Only(from.Name) || in.Only(to.Name) || compares) {
				p.add(from, to)
			}
		}
	}
	return p
}

// outside adds the hosts and networks that rules name, and those that are asked for.
func (p *Plan) outside(in Input, names []string) {
	var hosts []string
	var networks []reach.Addresses
	for _, name := range names {
		h, n := in.Model.Outside(name)
		hosts, networks = append(hosts, h...), append(networks, n...)
	}
	var addresses []Target
	for _, also := range in.Also {
		if _, err := netip.ParseAddr(also.Host); err == nil {
			addresses = append(addresses, also)
			continue
		}
		hosts = append(hosts, also.Host)
	}
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		e := &End{Name: host, Kind: Host, Endpoint: reach.Endpoint{Kind: reach.Host, Names: []string{host}}}
		for _, also := range in.Also {
			if also.Host == host && also.Port != 0 {
				e.Ports = append(e.Ports, tcp(also.Port)...)
			}
		}
		e.Ports = p.answersAt(names, e)
		if strings.Contains(host, "*") {
			e.Unprobed = "it is a pattern; name a host of it with --also"
		}
		p.Columns = append(p.Columns, e)
	}
	// An address of each network, and one beside it, where none is known that answers.
	for _, network := range networks {
		if len(network) == 0 || network.Internet() {
			continue
		}
		inside := func(t Target) bool { return network.Holds(reach.One(netip.MustParseAddr(t.Host))) }
		if !slices.ContainsFunc(addresses, inside) {
			addresses = append(addresses, Target{Host: network.First().String()})
		}
		beside := Target{Host: network[len(network)-1].To.Next().String()}
		if network[len(network)-1].To.Next().IsValid() && !slices.Contains(addresses, beside) {
			addresses = append(addresses, beside)
		}
	}
	seen := map[string]*End{}
	for _, a := range addresses {
		e := seen[a.Host]
		if e == nil {
			e = &End{Name: a.Host, Kind: Address, Endpoint: reach.Endpoint{Kind: reach.Address, Addresses: reach.One(netip.MustParseAddr(a.Host))}}
			seen[a.Host] = e
			p.Columns = append(p.Columns, e)
		}
		if a.Port != 0 {
			e.Ports = append(e.Ports, tcp(a.Port)...)
		}
	}
	for _, e := range seen {
		e.Ports = p.answersAt(names, e)
	}
	const metadata = "169.254.169.254"
	meta := seen[metadata]
	if meta == nil {
		meta = &End{Name: metadata, Endpoint: reach.Endpoint{Kind: reach.Address, Addresses: reach.One(netip.MustParseAddr(metadata))}}
		p.Columns = append(p.Columns, meta)
	}
	meta.Kind, meta.Ports = Metadata, append(meta.Ports, tcp(80)...)
}

// answersAt is where something outside may be expected to answer: at the ports that
// were asked for, and at those of the rules that name it, or a network around it.
// What nobody named answers at none, and a refusal there would tell nothing.
func (p *Plan) answersAt(names []string, e *End) []reach.Port {
	ports := slices.Clone(e.Ports)
	for _, name := range names {
		ports = append(ports, p.Model.Naming(name, e.Endpoint)...)
	}
	if len(ports) == 0 {
		ports = tcp(https)
	}
	slices.SortFunc(ports, reach.ComparePorts)
	return slices.Compact(ports)
}

// cluster adds the DNS, the API server and the nodes.
func (p *Plan) cluster(in Input) {
	dns := reach.PodsOf("kube-system")
	dns.Labels = map[string]string{"k8s-app": "kube-dns"}
	p.Columns = append(p.Columns, &End{Name: "DNS", Kind: DNS, Endpoint: dns, Ports: []reach.Port{{Number: 53, Protocol: "UDP"}, {Number: 53, Protocol: "TCP"}}})
	if in.Cluster == nil {
		p.Columns = append(p.Columns,
			&End{Name: "API server", Kind: APIServer, Endpoint: reach.Endpoint{Kind: reach.APIServer}, Ports: tcp(https, apiServerPort)},
			&End{Name: "its node", Kind: Node, Endpoint: reach.Endpoint{Kind: reach.Node, Local: true}, Ports: tcp(kubeletPort)},
			&End{Name: "another node", Kind: Node, Endpoint: reach.Endpoint{Kind: reach.Node}, Ports: tcp(kubeletPort)})
		return
	}
	for _, e := range p.Columns {
		if e.Kind != Host {
			continue
		}
		of := func(name string) (out reach.Addresses) {
			for _, a := range in.Cluster.Hosts[name] {
				out = append(out, reach.One(a)...)
			}
			return out.Tidy()
		}
		// Cilium knows hosts by their addresses: what shares one shares what is allowed.
		for name := range in.Cluster.Hosts {
			if name != e.Name && of(name).Overlaps(of(e.Name)) {
				e.Endpoint.Names = append(e.Endpoint.Names, name)
			}
		}
		if e.Endpoint.Addresses = of(e.Name); len(e.Endpoint.Addresses) == 0 && e.Unprobed == "" {
			e.Unprobed = "the cluster's DNS does not know it"
		}
	}
	api := &End{Name: "API server", Kind: APIServer, Endpoint: reach.Endpoint{Kind: reach.APIServer, Outside: true}}
	for _, a := range in.Cluster.APIServers {
		api.Endpoint.Addresses = append(api.Endpoint.Addresses, reach.One(a.Addr())...)
		api.Ports = append(api.Ports, tcp(int(a.Port()))...)
		if slices.Contains(in.Cluster.Nodes, a.Addr()) {
			api.Endpoint.Outside = false
		}
	}
	if len(api.Ports) == 0 {
		api.Unprobed = "the cluster does not say where it is"
	}
	api.Endpoint.Addresses = api.Endpoint.Addresses.Tidy()
	p.Columns = append(p.Columns, api)
	p.Columns = append(p.Columns, &End{Name: "its node", Kind: Node, Endpoint: reach.Endpoint{Kind: reach.Node, Local: true}, Ports: tcp(kubeletPort)})
	if len(in.Cluster.Nodes) > 1 {
		p.Columns = append(p.Columns, &End{Name: "another node", Kind: Node, Endpoint: reach.Endpoint{Kind: reach.Node}, Ports: tcp(kubeletPort)})
	}
}

func tcp(numbers ...int) []reach.Port {
	var out []reach.Port
	for _, n := range numbers {
		out = append(out, reach.Port{Number: n, Protocol: "TCP"})
	}
	return out
}

// add adds what tells about one cell: the ports at which an answer may change.
func (p *Plan) add(from, to *End) {
	ports := slices.Clone(to.Ports)
	switch to.Kind {
	case Namespace, Other, Ingress:
		ports = append(ports, p.Model.Edges(from.Endpoint, to.Endpoint)...)
	}
	ports = slices.DeleteFunc(ports, func(port reach.Port) bool {
		return !to.Pods() && to.Kind != DNS && port.Protocol != "TCP" // nobody has to answer to UDP
	})
	slices.SortFunc(ports, reach.ComparePorts)
	for _, port := range slices.Compact(ports) {
		p.Checks = append(p.Checks, &Check{From: from, To: to, Port: port, Verdict: p.Model.May(from.Endpoint, to.Endpoint, port)})
	}
}

// Told is why a connection is allowed or refused, for one end.
func Told(s reach.Side) string {
	switch {
	case s.Rule != nil && !s.Allowed:
		return "denied by " + s.Rule.String()
	case s.Rule != nil:
		return s.Rule.String()
	case s.Policy != nil:
		return fmt.Sprintf("no rule; %s refuses the rest", s.Policy)
	}
	return "nothing refuses it"
}

// nothing is the side of an end without policies.
var nothing = reach.Side{Allowed: true}
