package meaning

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

// maxSegments bounds how many differently opened pieces of a port range a
// namespace's networks are compared in.
const maxSegments = 512

// network finds who can now reach what. Policies add up: what one opens is open.
func (w *world) network(f *facts, s *scope) {
	if s.namespace == "" || s.gone() || s.same(classNetwork) {
		return
	}
	base, head := readPolicies(s.namespace, s.base[classNetwork]), readPolicies(s.namespace, s.head[classNetwork])
	if s.new || w.unreadable[s.tenant] && s.empty(s.base) {
		base = closedPolicies() // as every namespace is before anything is opened
	}
	for _, way := range []struct {
		in         bool
		word       string
		base, head *traffic
	}{{true, "ingress", base.ingress, head.ingress}, {false, "egress", base.egress, head.egress}} {
		place := s.place(classNetwork)
		one := fact{tenant: s.tenant, scope: s.scopeKey, place: place}
		switch {
		case way.base.closed && !way.head.closed:
			one.risk, one.category = review.High, review.IsolationEroded
			one.text = "Nothing refuses " + way.word + " of " + markWhere + " by default any more"
			if s.new {
				one.text = "Nothing refuses " + way.word + " of " + markWhere + ", which " + markIs + " new, by default"
			}
			one.detail = []string{"A namespace without a default-deny policy is open to everything, whatever its other policies allow"}
			f.add(one)
			continue
		case !way.base.closed && way.head.closed:
			one.risk, one.category = review.Info, review.NetworkClosed
			one.text = "All " + way.word + " of " + markWhere + " is now refused but what is opened"
			f.add(one)
			continue
		case !way.head.closed:
			continue // open before and after
		}
		w.opened(f, s, way.in, way.base, way.head, false)
		w.opened(f, s, way.in, way.head, way.base, true)
		for _, what := range way.base.deny.beyond(way.head.deny) {
			one := one
			one.risk, one.category = review.High, review.IsolationEroded
			one.text = markWhere + " no longer refuses " + way.word + " " + map[bool]string{true: "from ", false: "to "}[way.in] + w.describe(s, what.peer).text + " on " + what.ports.String()
			f.add(one)
		}
		for _, what := range way.head.deny.beyond(way.base.deny) {
			one := one
			one.risk, one.category = review.Info, review.NetworkClosed
			one.text = markWhere + " now refuses " + way.word + " " + map[bool]string{true: "from ", false: "to "}[way.in] + w.describe(s, what.peer).text + " on " + what.ports.String()
			f.add(one)
		}
	}
}

// opened adds a fact for each peer that head allows and base does not; with
// closed, the other way round.
func (w *world) opened(f *facts, s *scope, in bool, base, head *traffic, closed bool) {
	for _, what := range head.allow.beyond(base.allow) {
		d := w.describe(s, what.peer)
		one := fact{
			risk: d.risk, category: review.NetworkOpened, who: d.text, noun: d.noun,
			tenant: s.tenant, scope: s.scopeKey, place: s.place(classNetwork),
		}
		subject := markWhere
		if what.peer.pods != "" {
			subject = "Pods (" + plain(what.peer.pods) + ") of " + markWhere
		}
		can := " can now "
		if closed {
			can, one.risk, one.category = " can no longer ", review.Info, review.NetworkClosed
		} else if s.new {
			if one.risk = lower(one.risk); one.risk == review.Info {
				continue // itself, its tenant and DNS: what every new namespace is for
			}
		}
		verb := "reach " + markWho
		if in {
			verb = "be reached by " + markWho
		}
		one.text = subject + can + verb + " on " + what.ports.String()
		if what.peer.l7 != "" {
			one.text += ", for some requests"
		}
		f.add(one)
	}
}

func lower(r review.Risk) review.Risk {
	switch r {
	case review.High:
		return review.Medium
	case review.Medium:
		return review.Low
	}
	return review.Info
}

// description of a peer, for people.
type description struct {
	text, noun string
	risk       review.Risk
	internet   bool
}

func (w *world) describe(s *scope, p peer) description {
	switch p.kind {
	case peerAll:
		return description{text: "everyone", noun: "peers", risk: review.High}
	case peerEntity:
		d := description{text: "the cluster's " + plain(p.text), noun: "peers", risk: review.Medium}
		switch p.text {
		case "host", "remote-node", "kube-apiserver", "cluster":
			d.risk = review.High
		case "ingress":
			d.text = "the ingress controller"
		case "health":
			d.risk = review.Low
		}
		if p.text == "cluster" {
			d.text = "everything in the cluster"
		}
		return d
	case peerNetwork:
		d := description{text: "networks " + list(p.networks.texts()), noun: "networks", risk: review.Medium}
		if len(p.networks) == 1 {
			d.text = "network " + p.networks.texts()[0]
		}
		if p.networks.internet() {
			d = description{text: "the internet", noun: "networks", risk: review.High, internet: true}
		}
		if p.networks.overlaps(metadata) {
			d.risk, d.internet = review.High, false
			d.text += ", the clouds' metadata service (169.254.169.254) included"
		}
		return d
	case peerHost:
		d := description{text: plain(p.text), noun: "hosts", risk: review.Low}
		if strings.Contains(p.text, "*") {
			d.risk = review.Medium
			d.text = "any host of " + d.text
			if suffix := strings.TrimLeft(p.text, "*."); !strings.Contains(suffix, ".") {
				d.risk = review.High
			}
		}
		if strings.Trim(p.text, "*") == "" {
			d.text = "the internet, by any host name"
		}
		return d
	case peerOpaque:
		return description{text: plain(p.text), noun: "peers", risk: review.High}
	}
	return w.describePods(s, p)
}

func (w *world) describePods(s *scope, p peer) description {
	var namespace, tenant string
	var others, labels []string
	for _, c := range p.constraints {
		switch key, value, _ := strings.Cut(c, "="); key {
		case "namespace":
			namespace = value
		case "tenant":
			tenant = value
		default:
			if strings.HasPrefix(c, "namespace ") {
				labels = append(labels, plain(strings.TrimPrefix(c, "namespace ")))
			} else {
				others = append(others, plain(strings.TrimPrefix(c, "pod ")))
			}
		}
	}
	pods := ""
	if len(others) > 0 {
		pods = "Pods (" + list(others) + ") of "
	}
	if tenant == "" && namespace != "" {
		tenant = w.owners[namespace]
		if namespace == s.namespace {
			tenant = s.tenant
		}
	}
	foreign := review.High
	if tenant == s.tenant {
		foreign = review.Low
	}
	switch {
	case namespace == s.namespace && tenant == s.tenant:
		return description{text: pods + "its own Pods", noun: "peers", risk: review.Low}
	case namespace != "" && tenant == s.tenant:
		return description{text: pods + "namespace " + plain(namespace) + " of its own tenant", noun: "namespaces of their own tenants", risk: review.Low}
	case namespace != "" && tenant != "":
		return description{text: pods + "namespace " + plain(namespace) + " of tenant " + plain(tenant), noun: "namespaces of other tenants", risk: foreign}
	case namespace != "" && w.controllers[namespace]:
		return description{text: pods + "the ingress controller in " + plain(namespace), noun: "ingress controllers", risk: review.Medium}
	case namespace == "kube-system" && slices.Equal(others, []string{"k8s-app=kube-dns"}):
		return description{text: "the cluster's DNS", noun: "peers", risk: review.Info}
	case namespace != "":
		return description{text: pods + "namespace " + plain(namespace), noun: "namespaces", risk: review.Medium}
	case tenant != "" && tenant == s.tenant:
		return description{text: pods + "every namespace of its own tenant", noun: "peers", risk: review.Low}
	case tenant != "":
		return description{text: pods + "every namespace of tenant " + plain(tenant), noun: "other tenants", risk: review.High}
	case len(labels) > 0:
		return description{text: pods + "every namespace with " + list(labels), noun: "peers", risk: review.High}
	}
	return description{text: pods + "every namespace of the cluster", noun: "peers", risk: review.High}
}

// Kinds of peers.
type peerKind int

const (
	peerAll peerKind = iota
	peerPods
	peerEntity
	peerNetwork
	peerHost
	// peerOpaque is what this package does not know; it covers only itself.
	peerOpaque
)

// peer is one end of a connection.
type peer struct {
	kind peerKind
	// pods of the namespace itself that it is about; "" is all of them.
	pods string
	// l7 is what limits a connection further; "" is nothing.
	l7 string
	// text is an entity, a host name, or something opaque.
	text string
	// constraints that Pods have to meet, sorted.
	constraints []string
	networks    addresses
}

func (p peer) key() string {
	return fmt.Sprint(int(p.kind), "\x00", p.pods, "\x00", p.l7, "\x00", p.text, "\x00", strings.Join(p.constraints, "\x01"))
}

// openings is who may connect on which ports.
type openings struct {
	peers map[string]*opening
	order []string
	// networks with ports; they are compared by address.
	networks []opening
	// patterns are the keys of host names with a wildcard.
	patterns []string
}

type opening struct {
	peer  peer
	ports *ports
}

func newOpenings() *openings { return &openings{peers: map[string]*opening{}} }

func (o *openings) add(p peer, on *ports) {
	if p.kind == peerEntity {
		switch p.text {
		case "all":
			p.kind, p.text = peerAll, ""
		case "world":
			p = peer{kind: peerNetwork, pods: p.pods, l7: p.l7, networks: everywhere}
		case "world-ipv4":
			p = peer{kind: peerNetwork, pods: p.pods, l7: p.l7, networks: addressesOf("0.0.0.0/0")}
		case "world-ipv6":
			p = peer{kind: peerNetwork, pods: p.pods, l7: p.l7, networks: addressesOf("::/0")}
		case "none":
			return
		}
	}
	if p.kind == peerNetwork {
		o.networks = append(o.networks, opening{p, on})
		return
	}
	k := p.key()
	have := o.peers[k]
	if have == nil {
		have = &opening{p, &ports{}}
		o.peers[k] = have
		o.order = append(o.order, k)
		if p.kind == peerHost && strings.Contains(p.text, "*") {
			o.patterns = append(o.patterns, k)
		}
	}
	have.ports.join(on)
}

func (o *openings) tidy() {
	for _, p := range o.peers {
		p.ports.tidy()
	}
	// Networks on the same ports are one set, so that there is less to compare.
	type key struct{ pods, l7, ports string }
	byPorts := map[key]int{}
	var networks []opening
	for _, n := range o.networks {
		n.ports.tidy()
		k := key{n.peer.pods, n.peer.l7, n.ports.full()}
		i, ok := byPorts[k]
		if !ok {
			i = len(networks)
			byPorts[k] = i
			networks = append(networks, opening{peer{kind: peerNetwork, pods: k.pods, l7: k.l7}, n.ports})
		}
		networks[i].peer.networks = append(networks[i].peer.networks, n.peer.networks...)
	}
	for i := range networks {
		networks[i].peer.networks = networks[i].peer.networks.tidy()
	}
	o.networks = networks
}

// full is like String, without a bound.
func (p *ports) full() string {
	return fmt.Sprint(p.all, p.spans, slices.Sorted(maps.Keys(p.named)))
}

// beyond is what o allows and base does not, in a stable order.
func (o *openings) beyond(base *openings) []opening {
	var out []opening
	for _, k := range o.order {
		mine := o.peers[k]
		left := mine.ports
		for _, other := range base.covering(mine.peer) {
			left = left.without(other)
		}
		if !left.empty() {
			left.tidy()
			out = append(out, opening{mine.peer, left})
		}
	}
	out = append(out, o.networksBeyond(base)...)
	slices.SortStableFunc(out, func(a, b opening) int { return strings.Compare(a.peer.key(), b.peer.key()) })
	return out
}

// covering is the ports on which a peer, or one that it is among, is allowed.
func (o *openings) covering(p peer) []*ports {
	var out []*ports
	try := func(wider peer) {
		for _, pods := range []string{p.pods, ""} {
			for _, l7 := range []string{p.l7, ""} {
				wider.pods, wider.l7 = pods, l7
				if have := o.peers[wider.key()]; have != nil {
					out = append(out, have.ports)
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
	try(peer{kind: peerAll})
	switch p.kind {
	case peerPods:
		try(peer{kind: peerEntity, text: "cluster"})
		o.widerPods(p, try)
	case peerEntity:
		try(p)
		try(peer{kind: peerEntity, text: "cluster"})
	case peerHost:
		try(p)
		for _, k := range o.patterns {
			wide := o.peers[k].peer
			if (wide.pods == "" || wide.pods == p.pods) && (wide.l7 == "" || wide.l7 == p.l7) && matches(wide.text, p.text) {
				out = append(out, o.peers[k].ports)
			}
		}
		for _, n := range o.networks {
			if (n.peer.pods == "" || n.peer.pods == p.pods) && (n.peer.l7 == "" || n.peer.l7 == p.l7) && n.peer.networks.holds(publicV4) {
				out = append(out, n.ports)
			}
		}
	default:
		try(p)
	}
	return out
}

// widerPods tries every selector that has fewer constraints.
func (o *openings) widerPods(p peer, try func(peer)) {
	const most = 8
	if n := len(p.constraints); n <= most {
		for subset := range 1 << n {
			wider := peer{kind: peerPods}
			for i, c := range p.constraints {
				if subset&(1<<i) != 0 {
					wider.constraints = append(wider.constraints, c)
				}
			}
			try(wider)
		}
		return
	}
	have := map[string]bool{}
	for _, c := range p.constraints {
		have[c] = true
	}
	for _, k := range o.order {
		other := o.peers[k].peer
		if other.kind == peerPods && !slices.ContainsFunc(other.constraints, func(c string) bool { return !have[c] }) {
			try(peer{kind: peerPods, constraints: other.constraints})
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
func (o *openings) networksBeyond(base *openings) []opening {
	type piece struct {
		protocol string // "" for all that no list of ports names
		span
		named string
	}
	type group struct{ pods, l7 string }
	var out []opening
	groups := map[group][]opening{}
	var order []group
	for _, n := range o.networks {
		g := group{n.peer.pods, n.peer.l7}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], n)
	}
	for _, g := range order {
		mine := groups[g]
		var others []opening
		for _, n := range base.networks {
			if (n.peer.pods == "" || n.peer.pods == g.pods) && (n.peer.l7 == "" || n.peer.l7 == g.l7) {
				others = append(others, n)
			}
		}
		for _, on := range base.covering(peer{kind: peerNetwork, pods: g.pods, l7: g.l7}) {
			others = append(others, opening{peer{networks: everywhere}, on}) // everyone is everywhere
		}

		var pieces []piece
		cuts := map[string]map[int]bool{}
		names := map[string]bool{}
		all := false
		for _, n := range slices.Concat(mine, others) {
			all = all || n.ports.all
			for protocol, spans := range n.ports.spans {
				if cuts[protocol] == nil {
					cuts[protocol] = map[int]bool{}
				}
				for _, s := range spans {
					cuts[protocol][s.from], cuts[protocol][s.to+1] = true, true
				}
			}
			for name := range n.ports.named {
				names[name] = true
			}
		}
		for _, protocol := range slices.Sorted(maps.Keys(cuts)) {
			edges := slices.Sorted(maps.Keys(cuts[protocol]))
			for i := range len(edges) - 1 {
				pieces = append(pieces, piece{protocol: protocol, span: span{edges[i], edges[i+1] - 1}})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			pieces = append(pieces, piece{named: name})
		}
		if all {
			pieces = append(pieces, piece{})
		}
		if len(pieces)*max(1, len(mine)+len(others)) > maxSegments*64 {
			out = append(out, opening{peer{kind: peerOpaque, pods: g.pods, l7: g.l7, text: "networks, by more rules than can be compared: read them"}, &ports{all: true}})
			continue
		}

		holds := func(n opening, p piece) bool {
			switch {
			case n.ports.all:
				return true
			case p.named != "":
				return n.ports.named[p.named]
			case p.protocol == "":
				return false
			}
			return slices.ContainsFunc(n.ports.spans[p.protocol], func(s span) bool { return s.from <= p.from && p.to <= s.to })
		}
		reach := func(all []opening, p piece) (addresses, string) {
			var set addresses
			var which []byte
			for i, n := range all {
				if holds(n, p) {
					set = append(set, n.peer.networks...)
					which = fmt.Append(which, i, " ")
				}
			}
			return set, string(which)
		}
		known := map[string]addresses{}
		byText := map[string]*opening{}
		var texts []string
		for _, p := range slices.Backward(pieces) { // all ports first
			a, i := reach(mine, p)
			b, j := reach(others, p)
			k := i + "|" + j
			left, ok := known[k]
			if !ok {
				left = a.tidy().without(b.tidy())
				known[k] = left
			}
			if len(left) == 0 {
				continue
			}
			text := strings.Join(left.texts(), ",")
			if byText[text] == nil {
				byText[text] = &opening{peer{kind: peerNetwork, pods: g.pods, l7: g.l7, text: text, networks: left}, &ports{}}
				texts = append(texts, text)
			}
			on := byText[text].ports
			switch {
			case on.all:
			case p.named != "":
				on.name(p.named)
			case p.protocol == "":
				on.all = true
			default:
				on.add(p.protocol, p.from, p.to)
			}
		}
		for _, text := range texts {
			byText[text].ports.tidy()
			out = append(out, *byText[text])
		}
	}
	return out
}
