// Package reach knows who may reach whom: it reads network policies as Cilium
// enforces them, and answers for one connection or for a whole namespace.
//
// A connection is allowed when the policies of both ends allow it. A Pod without a
// policy for a direction allows everything in it; with one, only what a rule
// allows, and nothing that a rule denies. NetworkPolicies and Cilium's add up.
//
// Where something cannot be known — a rule for Pods with some label, asked about
// any Pod; a field that is not read — a connection counts as allowed, and the
// answer says that it is in doubt: what must not be possible is then never called
// impossible by mistake. The package has no client and no clock, and it decides
// nothing about what ought to be.
package reach

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Model is the namespaces of a cluster and their policies. It may be asked by many
// at once.
type Model struct {
	namespaces map[string]*namespace
	// clusterwide policies are read for every namespace.
	clusterwide []Object
}

type namespace struct {
	labels   map[string]string
	objects  []Object
	policies func() *Policies
}

// New makes a model of objects: it takes Namespaces and the kinds of policies, and
// leaves out the rest. Policies are read when they are asked about, once.
func New(objects []*unstructured.Unstructured) *Model {
	m := &Model{namespaces: map[string]*namespace{}}
	for _, u := range objects {
		switch kind := u.GetKind(); {
		case kind == "Namespace" && u.GetAPIVersion() == "v1":
			m.namespace(u.GetName()).labels = u.GetLabels()
		case kind == KindClusterwide:
			m.clusterwide = append(m.clusterwide, object(u))
		case kind == KindKubernetes && strings.HasPrefix(u.GetAPIVersion(), "networking.k8s.io/"), kind == KindCilium:
			n := m.namespace(u.GetNamespace())
			n.objects = append(n.objects, object(u))
		}
	}
	for name, n := range m.namespaces {
		if n.labels == nil {
			n.labels = map[string]string{}
		}
		n.policies = sync.OnceValue(func() *Policies { return Read(name, slices.Concat(n.objects, m.clusterwide)) })
	}
	return m
}

func (m *Model) namespace(name string) *namespace {
	n := m.namespaces[name]
	if n == nil {
		n = &namespace{}
		m.namespaces[name] = n
	}
	return n
}

func object(u *unstructured.Unstructured) Object {
	annotations := u.GetAnnotations()
	return Object{
		Policy: Policy{
			Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(),
			Component: annotations[v1alpha1.AnnotationComponent], Place: annotations[v1alpha1.AnnotationPath],
		},
		Content: u.Object,
	}
}

// Namespaces are the names of those that the model knows, sorted.
func (m *Model) Namespaces() []string { return slices.Sorted(maps.Keys(m.namespaces)) }

// Knows says whether the model has a namespace.
func (m *Model) Knows(namespace string) bool { return m.namespaces[namespace] != nil }

// Labels of a namespace.
func (m *Model) Labels(namespace string) map[string]string {
	if n := m.namespaces[namespace]; n != nil {
		return n.labels
	}
	return nil
}

// Policies of a namespace; nil when the model does not know it.
func (m *Model) Policies(namespace string) *Policies {
	if n := m.namespaces[namespace]; n != nil {
		return n.policies()
	}
	return nil
}

// Has says whether the model has a policy of that kind and name.
func (m *Model) Has(p *Policy) bool {
	of := m.clusterwide
	if n := m.namespaces[p.Namespace]; n != nil {
		of = slices.Concat(n.objects, of)
	}
	return slices.ContainsFunc(of, func(o Object) bool { return o.Kind == p.Kind && o.Namespace == p.Namespace && o.Name == p.Name })
}

// Port is a port and its protocol: TCP, UDP or SCTP; or ICMP or ICMPv6, and a type.
type Port struct {
	Number   int    `json:"port"`
	Protocol string `json:"protocol"`
}

// String is "8443/TCP".
func (p Port) String() string { return strconv.Itoa(p.Number) + "/" + p.Protocol }

// Side is what the policies of one end say.
type Side struct {
	Allowed bool
	// Doubt: it depends on something that is not known.
	Doubt bool
	// Limited: not everything that is said on the connection passes, or not to everyone.
	Limited bool
	// Rule that allows it, or denies it; nil where no rule does.
	Rule *Rule
	// Policy that refuses what no rule allows; nil where nothing does.
	Policy *Policy
}

// Verdict is whether a connection is allowed, and why.
type Verdict struct {
	Allowed bool
	Doubt   bool
	// Egress is what the policies of the source say, Ingress those of the target.
	Egress, Ingress Side
}

// May says whether one end may connect to the other.
func (m *Model) May(from, to Endpoint, port Port) Verdict {
	m.complete(&from)
	m.complete(&to)
	v := Verdict{Egress: Side{Allowed: true}, Ingress: Side{Allowed: true}}
	if t := m.traffic(&from, false); t != nil {
		v.Egress = t.decide(&from, &to, &to, port)
	}
	switch t := m.traffic(&to, true); {
	case t == nil:
	case from.Kind == Node && from.Local: // no policy holds a node back from the Pods that it runs
	default:
		v.Ingress = t.decide(&to, &from, &to, port)
	}
	v.Allowed = v.Egress.Allowed && v.Ingress.Allowed
	v.Doubt = v.Egress.Doubt && v.Ingress.Allowed || v.Ingress.Doubt && v.Egress.Allowed
	return v
}

// complete adds what the model knows of an endpoint.
func (m *Model) complete(e *Endpoint) {
	if n := m.namespaces[e.Namespace]; n != nil && e.Kind == Pods {
		e.NamespaceLabels = n.labels
	}
}

// traffic is the policies of an endpoint for a direction; nil where it has none.
func (m *Model) traffic(e *Endpoint, in bool) *Traffic {
	if e.Kind != Pods {
		return nil
	}
	n := m.namespaces[e.Namespace]
	if n == nil {
		if len(m.clusterwide) == 0 {
			return nil
		}
		n = &namespace{policies: func() *Policies { return Read(e.Namespace, m.clusterwide) }}
	}
	if in {
		return n.policies().Ingress
	}
	return n.policies().Egress
}

// decide is what the policies of self say to a connection with a peer, on a port
// of target.
func (t *Traffic) decide(self, peer, target *Endpoint, port Port) Side {
	s := Side{Allowed: true}
	best := no
	var rule *Rule
	for i := range t.Rules {
		r := &t.Rules[i]
		is := min(r.Pods.selects(self), peer.among(&r.Peer), r.Ports.holds(target, port))
		switch {
		case is == no:
		case r.Deny && r.Peer.L7 == "" && is == yes:
			return Side{Rule: r}
		case r.Deny:
			s.Doubt = true
		case is > best || is == best && rule.Peer.L7 != "" && r.Peer.L7 == "":
			best, rule = is, r
		}
	}
	for _, c := range t.closing {
		if c.pods.selects(self) == yes {
			s.Policy = c.policy
			break
		}
	}
	switch {
	case rule != nil:
		s.Rule, s.Limited = rule, rule.Peer.L7 != ""
		s.Doubt = s.Doubt || best == maybe && s.Policy != nil
	case s.Policy != nil:
		s = Side{Policy: s.Policy}
	}
	return s
}

// holds says whether a port of an endpoint is one of a rule's.
func (p *Ports) holds(target *Endpoint, port Port) answer {
	if p.All {
		return yes
	}
	for _, s := range p.Spans[port.Protocol] {
		if s.From <= port.Number && port.Number <= s.To {
			return yes
		}
	}
	if len(p.Named) == 0 {
		return no
	}
	out := no
	if family, ok := families[port.Protocol]; ok {
		for name := range p.Named {
			kind, is := strings.CutPrefix(name, icmpName(family, ""))
			number, err := strconv.Atoi(kind)
			switch {
			case is && err == nil && number == port.Number:
				return yes
			case is && err != nil: // a type by its name
				out = maybe
			}
		}
		return out
	}
	for name := range p.Named {
		name, protocol, _ := strings.Cut(name, "/")
		if protocol != port.Protocol && protocol != "ANY" {
			continue
		}
		if number, has := target.NamedPorts[name]; has && number == port.Number {
			return yes
		}
		if target.anyPod() {
			out = maybe
		}
	}
	return out
}

// icmpName is how a kind of ICMP is named among ports.
func icmpName(family string, kind any) string {
	return fmt.Sprintf("%s %s type %v", icmp, family, kind)
}

var families = map[string]string{"ICMP": "IPv4", "ICMPv6": "IPv6"}

// Open is the ports on which one end may connect to the other, and whether any of
// that is in doubt.
func (m *Model) Open(from, to Endpoint) (*Ports, bool) {
	m.complete(&from)
	m.complete(&to)
	out, doubt := everyPort(), false
	if t := m.traffic(&from, false); t != nil {
		out, doubt = t.open(&from, &to)
	}
	if t := m.traffic(&to, true); t != nil && (from.Kind != Node || !from.Local) {
		in, doubtful := t.open(&to, &from)
		out, doubt = out.and(in), doubt || doubtful
	}
	return out, doubt && !out.Empty()
}

// open is the ports that the policies of self open to a peer.
func (t *Traffic) open(self, peer *Endpoint) (*Ports, bool) {
	out, deny, doubt := &Ports{}, &Ports{}, false
	closed := slices.ContainsFunc(t.closing, func(c closing) bool { return c.pods.selects(self) == yes })
	if !closed {
		out = everyPort()
	}
	for i := range t.Rules {
		r := &t.Rules[i]
		is := min(r.Pods.selects(self), peer.among(&r.Peer))
		switch {
		case is == no:
		case r.Deny && is == yes && r.Peer.L7 == "":
			deny.Join(r.Ports)
		case r.Deny:
			doubt = true
		default:
			doubt = doubt || is == maybe && closed
			out.Join(r.Ports)
		}
	}
	out.Tidy()
	deny.Tidy()
	return out.spelled().Without(deny.spelled()), doubt
}

// everyPort is all of them, by number: so that some can be taken away.
func everyPort() *Ports { return (&Ports{All: true}).spelled() }

// icmp stands for all of ICMP where ports are spelled.
const icmp = "ICMP"

// spelled writes "all" as every port of every protocol.
func (p *Ports) spelled() *Ports {
	if !p.All {
		return p
	}
	out := &Ports{}
	out.Add("ANY", 0, LastPort)
	out.Name(icmp)
	for n := range p.Named {
		out.Name(n)
	}
	return out
}

// Told is the ports as a person would tell them: every port is "every port".
func (p *Ports) Told() string {
	every := everyPort()
	if len(every.Without(p).Spans) == 0 {
		return (&Ports{All: true}).String()
	}
	return p.String()
}

// Shared is what is in both.
func (p *Ports) Shared(o *Ports) *Ports { return p.spelled().and(o.spelled()) }

// and is what is in both. Both are spelled and tidy.
func (p *Ports) and(o *Ports) *Ports {
	out := &Ports{}
	for protocol, spans := range p.Spans {
		for _, a := range spans {
			for _, b := range o.Spans[protocol] {
				out.Add(protocol, max(a.From, b.From), min(a.To, b.To))
			}
		}
	}
	for _, both := range [][2]*Ports{{p, o}, {o, p}} {
		for n := range both[0].Named {
			// A kind of ICMP is among all of it. What a port's name stands for is not known.
			if both[1].Named[n] || both[1].Named[icmp] && strings.HasPrefix(n, icmp) || !strings.HasPrefix(n, icmp) && len(both[1].Spans) > 0 {
				out.Name(n)
			}
		}
	}
	out.Tidy()
	return out
}

// List is some of the ports, in order: the first and the last of each span.
func (p *Ports) List() []Port {
	var out []Port
	for _, protocol := range slices.Sorted(maps.Keys(p.Spans)) {
		for _, s := range p.Spans[protocol] {
			out = append(out, Port{s.From, protocol})
			if s.To != s.From {
				out = append(out, Port{s.To, protocol})
			}
		}
	}
	slices.SortFunc(out, ComparePorts)
	return slices.Compact(out)
}

// ComparePorts orders ports by number, then by protocol.
func ComparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Number, b.Number), strings.Compare(a.Protocol, b.Protocol))
}

// Edges are the ports at which the answer may change: the ends of every span that a
// rule of either end names, for whomever.
func (m *Model) Edges(from, to Endpoint) []Port {
	var out []Port
	add := func(t *Traffic) {
		if t == nil {
			return
		}
		for i := range t.Rules {
			for _, p := range t.Rules[i].Ports.List() {
				if p.Number > 0 && p.Number < LastPort {
					out = append(out, p)
				}
			}
		}
	}
	add(m.traffic(&from, false))
	add(m.traffic(&to, true))
	slices.SortFunc(out, ComparePorts)
	return slices.Compact(out)
}

// Spare is a port that no rule names, but one that names every port: what is open
// at it is open at every port that nobody thought of.
func (m *Model) Spare() int {
	named := func(number int) bool {
		for _, n := range m.namespaces {
			for _, t := range []*Traffic{n.policies().Ingress, n.policies().Egress} {
				for i := range t.Rules {
					for _, spans := range t.Rules[i].Ports.Spans {
						for _, s := range spans {
							if s.From <= number && number <= s.To && s.To-s.From < LastPort-1 {
								return true
							}
						}
					}
				}
			}
		}
		return false
	}
	for number := 20000; number < LastPort; number++ {
		if !named(number) {
			return number
		}
	}
	return LastPort
}

// Outside are the host names, patterns and networks outside the cluster that the
// rules of a namespace let its Pods reach, each network as a rule has it.
func (m *Model) Outside(namespace string) (hosts []string, networks []Addresses) {
	p := m.Policies(namespace)
	if p == nil {
		return nil, nil
	}
	for i := range p.Egress.Rules {
		switch r := &p.Egress.Rules[i]; {
		case r.Deny:
		case r.Peer.Kind == PeerHost:
			hosts = append(hosts, r.Peer.Text)
		default:
			networks = append(networks, r.Peer.outside()...)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), networks
}

// Inside are the networks that the rules of a namespace let in, each as a rule has it.
func (m *Model) Inside(namespace string) []Addresses {
	p := m.Policies(namespace)
	if p == nil {
		return nil
	}
	var out []Addresses
	for i := range p.Ingress.Rules {
		if r := &p.Ingress.Rules[i]; !r.Deny {
			out = append(out, r.Peer.outside()...)
		}
	}
	return out
}

// outside are the addresses outside the cluster that a peer stands for.
func (p *Peer) outside() []Addresses {
	switch {
	case p.Kind == PeerNetwork:
		return []Addresses{p.Networks}
	case p.Kind == PeerAll, p.Kind == PeerEntity && (p.Text == "all" || strings.HasPrefix(p.Text, "world")):
		return []Addresses{Everywhere}
	}
	return nil
}

// Strangers are the namespaces that rules of a namespace name and that the model does
// not know.
func (m *Model) Strangers(namespace string, in bool) []string {
	self := PodsOf(namespace)
	t := m.traffic(&self, in)
	if t == nil {
		return nil
	}
	names := map[string]bool{}
	for i := range t.Rules {
		for _, c := range t.Rules[i].Peer.Constraints {
			if !c.namespace || c.key != namespaceName || t.Rules[i].Deny {
				continue
			}
			for _, name := range c.values {
				names[name] = names[name] || c.operator == "In" && !m.Knows(name)
			}
		}
	}
	maps.DeleteFunc(names, func(_ string, strange bool) bool { return !strange })
	return slices.Sorted(maps.Keys(names))
}

// HostMatches says whether a pattern of host names, or a name, stands for all that
// another does.
func HostMatches(pattern, name string) bool { return matches(pattern, name) }

// Naming are the ports of a namespace's egress rules that name an endpoint outside the
// cluster, or a network around it that is not the whole internet.
func (m *Model) Naming(namespace string, to Endpoint) []Port {
	p := m.Policies(namespace)
	if p == nil {
		return nil
	}
	var out []Port
	for i := range p.Egress.Rules {
		r := &p.Egress.Rules[i]
		names := r.Peer.Kind == PeerHost || r.Peer.Kind == PeerNetwork && !r.Peer.Networks.Internet()
		if names && !r.Ports.All && to.among(&r.Peer) == yes {
			out = append(out, r.Ports.List()...)
		}
	}
	return out
}

// Locate rewrites where policies come from, as the reader knows those places. It is
// for a model that has not been asked anything yet.
func (m *Model) Locate(place func(string) string) {
	for _, n := range m.namespaces {
		for i := range n.objects {
			if o := &n.objects[i]; o.Place != "" {
				o.Place = place(o.Place)
			}
		}
	}
}
