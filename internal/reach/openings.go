package reach

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxSegments bounds how many differently opened pieces of a port range a
// namespace's networks are compared in.
const maxSegments = 512

// PeerKind is a kind of peer.
type PeerKind int

// Kinds of peers.
const (
	PeerAll PeerKind = iota
	PeerPods
	PeerEntity
	PeerNetwork
	PeerHost
	// PeerOpaque is what this package does not know; it covers only itself.
	PeerOpaque
)

// Peer is one end of a connection.
type Peer struct {
	Kind PeerKind
	// Pods of the namespace itself that it is about; "" is all of them.
	Pods string
	// L7 is what limits a connection further; "" is nothing.
	L7 string
	// Text is an entity, a host name, or something opaque.
	Text string
	// Constraints that Pods have to meet, sorted.
	Constraints []Constraint
	Networks    Addresses
}

func (p Peer) key() string {
	texts := make([]string, len(p.Constraints))
	for i, c := range p.Constraints {
		texts[i] = c.text
	}
	return fmt.Sprint(int(p.Kind), "\x00", p.Pods, "\x00", p.L7, "\x00", p.Text, "\x00", strings.Join(texts, "\x01"))
}

// Openings is who may connect on which ports.
type Openings struct {
	peers map[string]*Opening
	order []string
	// networks with ports; they are compared by address.
	networks []Opening
	// patterns are the keys of host names with a wildcard.
	patterns []string
}

// Opening is a peer and the ports on which it may connect.
type Opening struct {
	Peer  Peer
	Ports *Ports
}

func newOpenings() *Openings { return &Openings{peers: map[string]*Opening{}} }

// Add adds who may connect on some ports, which are not changed.
func (o *Openings) Add(p Peer, on *Ports) {
	if p.Kind == PeerEntity {
		switch p.Text {
		case "all":
			p.Kind, p.Text = PeerAll, ""
		case "world":
			p = Peer{Kind: PeerNetwork, Pods: p.Pods, L7: p.L7, Networks: Everywhere}
		case "world-ipv4":
			p = Peer{Kind: PeerNetwork, Pods: p.Pods, L7: p.L7, Networks: AddressesOf("0.0.0.0/0")}
		case "world-ipv6":
			p = Peer{Kind: PeerNetwork, Pods: p.Pods, L7: p.L7, Networks: AddressesOf("::/0")}
		case "none":
			return
		}
	}
	if p.Kind == PeerNetwork {
		o.networks = append(o.networks, Opening{p, on})
		return
	}
	k := p.key()
	have := o.peers[k]
	if have == nil {
		have = &Opening{p, &Ports{}}
		o.peers[k] = have
		o.order = append(o.order, k)
		if p.Kind == PeerHost && strings.Contains(p.Text, "*") {
			o.patterns = append(o.patterns, k)
		}
	}
	have.Ports.Join(on)
}

// Tidy joins what can be joined; what is added after it is not.
func (o *Openings) Tidy() {
	for _, p := range o.peers {
		p.Ports.Tidy()
	}
	// Networks on the same ports are one set, so that there is less to compare.
	type key struct{ pods, l7, ports string }
	byPorts := map[key]int{}
	var networks []Opening
	for _, n := range o.networks {
		k := key{n.Peer.Pods, n.Peer.L7, n.Ports.full()}
		i, ok := byPorts[k]
		if !ok {
			i = len(networks)
			byPorts[k] = i
			networks = append(networks, Opening{Peer{Kind: PeerNetwork, Pods: k.pods, L7: k.l7}, n.Ports})
		}
		networks[i].Peer.Networks = append(networks[i].Peer.Networks, n.Peer.Networks...)
	}
	for i := range networks {
		networks[i].Peer.Networks = networks[i].Peer.Networks.Tidy()
	}
	o.networks = networks
}

// full is like String, without a bound.
func (p *Ports) full() string {
	return fmt.Sprint(p.All, p.Spans, slices.Sorted(maps.Keys(p.Named)))
}

// Beyond is what o allows and base does not, in a stable order.
func (o *Openings) Beyond(base *Openings) []Opening {
	var out []Opening
	for _, k := range o.order {
		mine := o.peers[k]
		left := mine.Ports
		for _, other := range base.covering(mine.Peer) {
			left = left.Without(other)
		}
		if !left.Empty() {
			left.Tidy()
			out = append(out, Opening{mine.Peer, left})
		}
	}
	out = append(out, o.networksBeyond(base)...)
	slices.SortStableFunc(out, func(a, b Opening) int { return strings.Compare(a.Peer.key(), b.Peer.key()) })
	return out
}

// covering is the ports on which a peer, or one that it is among, is allowed.
func (o *Openings) covering(p Peer) []*Ports {
	var out []*Ports
	try := func(wider Peer) {
		for _, pods := range []string{p.Pods, ""} {
			for _, l7 := range []string{p.L7, ""} {
				wider.Pods, wider.L7 = pods, l7
				if have := o.peers[wider.key()]; have != nil {
					out = append(out, have.Ports)
				}
				if l7 == "" {
					break
				}
			}
			if pods == "" {
				break
			}
		}
	}
	try(Peer{Kind: PeerAll})
	switch p.Kind {
	case PeerPods:
		try(Peer{Kind: PeerEntity, Text: "cluster"})
		o.widerPods(p, try)
	case PeerEntity:
		try(p)
		try(Peer{Kind: PeerEntity, Text: "cluster"})
	case PeerHost:
		try(p)
		for _, k := range o.patterns {
			wide := o.peers[k].Peer
			if (wide.Pods == "" || wide.Pods == p.Pods) && (wide.L7 == "" || wide.L7 == p.L7) && matches(wide.Text, p.Text) {
				out = append(out, o.peers[k].Ports)
			}
		}
		for _, n := range o.networks {
			if (n.Peer.Pods == "" || n.Peer.Pods == p.Pods) && (n.Peer.L7 == "" || n.Peer.L7 == p.L7) && n.Peer.Networks.Holds(publicV4) {
				out = append(out, n.Ports)
			}
		}
	default:
		try(p)
	}
	return out
}

// widerPods tries every selector that has fewer constraints.
func (o *Openings) widerPods(p Peer, try func(Peer)) {
	const most = 8
	if n := len(p.Constraints); n <= most {
		for subset := range 1 << n {
			wider := Peer{Kind: PeerPods}
			for i, c := range p.Constraints {
				if subset&(1<<i) != 0 {
					wider.Constraints = append(wider.Constraints, c)
				}
			}
			try(wider)
		}
		return
	}
	have := map[string]bool{}
	for _, c := range p.Constraints {
		have[c.text] = true
	}
	for _, k := range o.order {
		other := o.peers[k].Peer
		if other.Kind == PeerPods && !slices.ContainsFunc(other.Constraints, func(c Constraint) bool { return !have[c.text] }) {
			try(Peer{Kind: PeerPods, Constraints: other.Constraints})
		}
	}
}

// matches says whether a pattern of host names allows all that another does. As
// in Cilium, '*' stands for no dot, and "*" alone for every name.
func matches(pattern, name string) bool {
	if pattern == "*" {
		return true
	}
	if strings.ContainsAny(pattern, `[]?\/`) || strings.Contains(pattern, "**") || strings.Contains(name, "**") || name == "*" {
		return pattern == name
	}
	ok, err := path.Match(strings.ReplaceAll(pattern, ".", "/"), strings.ReplaceAll(name, ".", "/"))
	return ok && err == nil
}

// networksBeyond compares addresses port by port: in each piece of a port range
// in which the same rules hold.
func (o *Openings) networksBeyond(base *Openings) []Opening {
	type piece struct {
		protocol string // "" for all that no list of ports names
		Span
		named string
	}
	type group struct{ pods, l7 string }
	var out []Opening
	groups := map[group][]Opening{}
	var order []group
	for _, n := range o.networks {
		g := group{n.Peer.Pods, n.Peer.L7}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], n)
	}
	for _, g := range order {
		mine := groups[g]
		var others []Opening
		for _, n := range base.networks {
			if (n.Peer.Pods == "" || n.Peer.Pods == g.pods) && (n.Peer.L7 == "" || n.Peer.L7 == g.l7) {
				others = append(others, n)
			}
		}
		for _, on := range base.covering(Peer{Kind: PeerNetwork, Pods: g.pods, L7: g.l7}) {
			others = append(others, Opening{Peer{Networks: Everywhere}, on}) // everyone is Everywhere
		}

		var pieces []piece
		cuts := map[string]map[int]bool{}
		names := map[string]bool{}
		all := false
		for _, n := range slices.Concat(mine, others) {
			all = all || n.Ports.All
			for protocol, spans := range n.Ports.Spans {
				if cuts[protocol] == nil {
					cuts[protocol] = map[int]bool{}
				}
				for _, s := range spans {
					cuts[protocol][s.From], cuts[protocol][s.To+1] = true, true
				}
			}
			for name := range n.Ports.Named {
				names[name] = true
			}
		}
		for _, protocol := range slices.Sorted(maps.Keys(cuts)) {
			edges := slices.Sorted(maps.Keys(cuts[protocol]))
			for i := range len(edges) - 1 {
				pieces = append(pieces, piece{protocol: protocol, Span: Span{edges[i], edges[i+1] - 1}})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			pieces = append(pieces, piece{named: name})
		}
		if all {
			pieces = append(pieces, piece{})
		}
		if len(pieces)*max(1, len(mine)+len(others)) > maxSegments*64 {
			out = append(out, Opening{Peer{Kind: PeerOpaque, Pods: g.pods, L7: g.l7, Text: "networks, by more rules than can be compared: read them"}, &Ports{All: true}})
			continue
		}

		holds := func(n Opening, p piece) bool {
			switch {
			case n.Ports.All:
				return true
			case p.named != "":
				return n.Ports.Named[p.named]
			case p.protocol == "":
				return false
			}
			return slices.ContainsFunc(n.Ports.Spans[p.protocol], func(s Span) bool { return s.From <= p.From && p.To <= s.To })
		}
		reach := func(all []Opening, p piece) (Addresses, string) {
			var set Addresses
			var which []byte
			for i, n := range all {
				if holds(n, p) {
					set = append(set, n.Peer.Networks...)
					which = fmt.Append(which, i, " ")
				}
			}
			return set, string(which)
		}
		known := map[string]Addresses{}
		byText := map[string]*Opening{}
		var texts []string
		for _, p := range slices.Backward(pieces) { // all ports first
			a, i := reach(mine, p)
			b, j := reach(others, p)
			k := i + "|" + j
			left, ok := known[k]
			if !ok {
				left = a.Tidy().Without(b.Tidy())
				known[k] = left
			}
			if len(left) == 0 {
				continue
			}
			text := strings.Join(left.Texts(), ",")
			if byText[text] == nil {
				byText[text] = &Opening{Peer{Kind: PeerNetwork, Pods: g.pods, L7: g.l7, Text: text, Networks: left}, &Ports{}}
				texts = append(texts, text)
			}
			on := byText[text].Ports
			switch {
			case on.All:
			case p.named != "":
				on.Name(p.named)
			case p.protocol == "":
				on.All = true
			default:
				on.Add(p.protocol, p.From, p.To)
			}
		}
		for _, text := range texts {
			byText[text].Ports.Tidy()
			out = append(out, *byText[text])
		}
	}
	return out
}
