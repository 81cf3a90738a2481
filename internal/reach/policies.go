package reach

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/cilium/pkg/iana"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy/api"

	"github.com/aetherplatform/aether/internal/fields"
)

// Kinds of policies.
const (
	KindKubernetes  = "NetworkPolicy"
	KindCilium      = "CiliumNetworkPolicy"
	KindClusterwide = "CiliumClusterwideNetworkPolicy"
)

// Policy names a policy, and says where it comes from as far as that is known.
type Policy struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Component of the base that made it, such as "namespace/network".
	Component string `json:"component,omitempty"`
	// Place in Git, "tenants/acme/web.yaml:3".
	Place string `json:"place,omitempty"`
}

// String is "CiliumNetworkPolicy acme-web/tenant-rules".
func (p *Policy) String() string {
	if p.Namespace == "" {
		return p.Kind + " " + p.Name
	}
	return p.Kind + " " + p.Namespace + "/" + p.Name
}

// Object is a policy with its content, which is not changed.
type Object struct {
	Policy
	Content map[string]any
}

// Rule is who may connect, or may not, with some of a namespace's Pods.
type Rule struct {
	Policy *Policy
	// Path of the rule in its policy: "spec.egress[1].toCIDRSet[0]".
	Path string
	// Deny: it refuses, whatever other rules allow.
	Deny  bool
	Pods  *Selector
	Peer  Peer
	Ports *Ports
}

// String is "CiliumNetworkPolicy acme-web/tenant-rules spec.egress[0]".
func (r *Rule) String() string { return r.Policy.String() + " " + r.Path }

// Traffic is one direction of a namespace.
type Traffic struct {
	Rules []Rule
	// closing are the policies that refuse what no rule allows.
	closing []closing
}

type closing struct {
	policy *Policy
	pods   *Selector
}

// Closed says that what no policy allows is refused, for every Pod.
func (t *Traffic) Closed() bool {
	return slices.ContainsFunc(t.closing, func(c closing) bool { return c.pods.Text == "" })
}

// Allow is who is allowed by any rule.
func (t *Traffic) Allow() *Openings { return t.openings(false) }

// Deny is who is refused by any rule.
func (t *Traffic) Deny() *Openings { return t.openings(true) }

func (t *Traffic) openings(deny bool) *Openings {
	out := newOpenings()
	for i := range t.Rules {
		if r := &t.Rules[i]; r.Deny == deny {
			out.Add(r.Peer, r.Ports)
		}
	}
	out.Tidy()
	return out
}

// Policies is what the network policies of a namespace come to.
type Policies struct{ Ingress, Egress *Traffic }

// Closed is the policies of a namespace in which nothing is opened.
func Closed() *Policies {
	closed := func() *Traffic { return &Traffic{closing: []closing{{pods: &Selector{}}}} }
	return &Policies{closed(), closed()}
}

// Read reads the policies of a namespace. What it cannot make sense of opens what it
// may open, and closes nothing.
func Read(namespace string, objects []Object) *Policies {
	out := &Policies{&Traffic{}, &Traffic{}}
	for i := range objects {
		o := &objects[i]
		r := reader{out, namespace, &o.Policy}
		switch o.Kind {
		case KindKubernetes:
			r.kubernetes(fields.At(o.Content, "spec"))
			continue
		case KindClusterwide:
			r.namespace = "" // what it names is of no namespace
		}
		if spec := fields.At(o.Content, "spec"); spec != nil {
			r.cilium("spec", spec)
		}
		for j, spec := range fields.List(o.Content, "specs") {
			r.cilium(fmt.Sprintf("specs[%d]", j), spec)
		}
	}
	return out
}

// reader reads one policy.
type reader struct {
	*Policies
	namespace string
	policy    *Policy
}

func (r *reader) add(t *Traffic, rule Rule) {
	rule.Policy, rule.Peer.Pods = r.policy, rule.Pods.Text
	t.Rules = append(t.Rules, rule)
}

func (r *reader) kubernetes(spec any) {
	pods := selectorOf(fields.At(spec, "podSelector"), podKey)
	types := fields.Texts(spec, "policyTypes")
	if len(types) == 0 {
		types = []string{"Ingress"}
		if len(fields.List(spec, "egress")) > 0 {
			types = append(types, "Egress")
		}
	}
	for _, way := range []struct {
		t                 *Traffic
		kind, rules, from string
	}{{r.Ingress, "Ingress", "ingress", "from"}, {r.Egress, "Egress", "egress", "to"}} {
		if !slices.Contains(types, way.kind) {
			continue
		}
		way.t.closing = append(way.t.closing, closing{r.policy, pods})
		for i, rule := range fields.List(spec, way.rules) {
			at := fmt.Sprintf("spec.%s[%d]", way.rules, i)
			on := kubernetesPorts(fields.List(rule, "ports"))
			peers := fields.List(rule, way.from)
			if len(peers) == 0 {
				r.add(way.t, Rule{Path: at, Pods: pods, Peer: Peer{Kind: PeerAll}, Ports: on})
			}
			for j, from := range peers {
				for _, one := range kubernetesPeer(r.namespace, from) {
					r.add(way.t, Rule{Path: fmt.Sprintf("%s.%s[%d]", at, way.from, j), Pods: pods, Peer: one, Ports: on})
				}
			}
		}
	}
}

func kubernetesPeer(namespace string, from any) []Peer {
	if block := fields.At(from, "ipBlock"); block != nil {
		return []Peer{networkPeer(fields.Text(block, "cidr"), fields.Texts(block, "except"))}
	}
	namespaces, pods := fields.At(from, "namespaceSelector"), fields.At(from, "podSelector")
	alternatives := [][]Constraint{nil}
	if namespaces == nil {
		alternatives = [][]Constraint{{namespaceKey(namespaceName).is(namespace)}}
	} else {
		alternatives = constraints(alternatives, namespaces, namespaceKey)
	}
	return podPeers(constraints(alternatives, pods, podKey))
}

func kubernetesPorts(list []any) *Ports {
	if len(list) == 0 {
		return &Ports{All: true}
	}
	out := &Ports{}
	for _, one := range list {
		protocol := cmp.Or(fields.Text(one, "protocol"), "TCP")
		switch port := fields.At(one, "port").(type) {
		case nil:
			out.Add(protocol, 0, LastPort)
		case string:
			out.Name(port + "/" + protocol)
		default:
			from := number(port)
			out.Add(protocol, from, max(from, number(fields.At(one, "endPort"))))
		}
	}
	out.Tidy()
	return out
}

// number is a port as JSON or YAML has it; what is beyond all ports is the last.
func number(v any) int {
	switch n := v.(type) {
	case int64:
		return int(min(max(n, 0), LastPort))
	case int:
		return min(max(n, 0), LastPort)
	case float64:
		return int(min(max(n, 0), LastPort))
	case string:
		i, _ := strconv.Atoi(n)
		return min(max(i, 0), LastPort)
	}
	return 0
}

// cilium reads one spec of a CiliumNetworkPolicy.
func (r *reader) cilium(at string, spec any) {
	if fields.At(spec, "nodeSelector") != nil {
		return // for nodes, not for Pods
	}
	pods := selectorOf(fields.At(spec, "endpointSelector"), ciliumKey)
	for _, way := range []struct {
		t          *Traffic
		rules, dir string
	}{{r.Ingress, "ingress", "from"}, {r.Egress, "egress", "to"}} {
		allow, deny := fields.List(spec, way.rules), fields.List(spec, way.rules+"Deny")
		closes := len(allow) > 0 || len(deny) > 0
		if said, ok := fields.At(spec, "enableDefaultDeny", way.rules).(bool); ok {
			closes = said
		}
		if closes {
			way.t.closing = append(way.t.closing, closing{r.policy, pods})
		}
		for i, rule := range allow {
			r.ciliumRule(way.t, way.dir, rule, Rule{Path: fmt.Sprintf("%s.%s[%d]", at, way.rules, i), Pods: pods})
		}
		for i, rule := range deny {
			r.ciliumRule(way.t, way.dir, rule, Rule{Path: fmt.Sprintf("%s.%sDeny[%d]", at, way.rules, i), Pods: pods, Deny: true})
		}
	}
}

// ciliumRule adds who a rule names. One that names nobody but ports is for
// everyone, and one that names nothing at all is for nobody.
func (r *reader) ciliumRule(to *Traffic, dir string, rule any, as Rule) {
	content := fields.Map(rule)
	type place struct {
		path string
		peer Peer
	}
	var peers []place
	add := func(path string, some ...Peer) {
		for _, p := range some {
			peers = append(peers, place{as.Path + path, p})
		}
	}
	named := false
	for _, field := range slices.Sorted(maps.Keys(content)) {
		items := fields.List(rule, field)
		item := func(i int) string { return fmt.Sprintf(".%s[%d]", field, i) }
		switch field {
		case "toPorts", "icmps", "authentication":
			continue
		case dir + "Endpoints":
			for i, selector := range items {
				add(item(i), ciliumEndpoints(r.namespace, selector)...)
			}
		case dir + "Entities":
			for i, e := range fields.Texts(rule, field) {
				add(item(i), Peer{Kind: PeerEntity, Text: e})
			}
		case dir + "CIDR":
			for i, c := range fields.Texts(rule, field) {
				add(item(i), networkPeer(c, nil))
			}
		case dir + "CIDRSet":
			for i, set := range items {
				if fields.Text(set, "cidr") == "" {
					add(item(i), opaque(field, set))
					continue
				}
				add(item(i), networkPeer(fields.Text(set, "cidr"), fields.Texts(set, "except")))
			}
		case dir + "FQDNs":
			for i, host := range items {
				for _, key := range []string{"matchName", "matchPattern"} {
					if name := fields.Text(host, key); name != "" {
						add(item(i), Peer{Kind: PeerHost, Text: strings.ToLower(strings.TrimSuffix(name, "."))})
					}
				}
			}
		default:
			add("."+field, opaque(field, content[field]))
		}
		named = true
	}
	toPorts, icmps := fields.List(rule, "toPorts"), fields.List(rule, "icmps")
	if !named {
		if len(toPorts) == 0 && len(icmps) == 0 {
			return
		}
		add("", Peer{Kind: PeerAll})
	}
	demand := authentication(rule)
	limits := ciliumPorts(toPorts, icmps)
	for _, l7 := range slices.Sorted(maps.Keys(limits)) {
		for _, one := range peers {
			as := as
			as.Path, as.Peer, as.Ports = one.path, one.peer, limits[l7]
			as.Peer.L7 = l7 + demand
			r.add(to, as)
		}
	}
}

// ciliumPorts is ports by what limits their connections further.
func ciliumPorts(toPorts, icmps []any) map[string]*Ports {
	out := map[string]*Ports{}
	in := func(l7 string) *Ports {
		if out[l7] == nil {
			out[l7] = &Ports{}
		}
		return out[l7]
	}
	for _, rule := range toPorts {
		on := in(layer7(rule))
		list := fields.List(rule, "ports")
		if len(list) == 0 {
			on.All = true
		}
		for _, one := range list {
			protocol := strings.ToUpper(cmp.Or(fields.Text(one, "protocol"), "ANY"))
			text := fields.Text(one, "port")
			if text == "" {
				text = strconv.Itoa(number(fields.At(one, "port")))
			}
			from, err := ciliumPort(text)
			switch {
			case err != nil:
				on.Name(strings.ToLower(text) + "/" + protocol)
			case from == 0:
				on.Add(protocol, 0, LastPort)
			default:
				on.Add(protocol, from, max(from, number(fields.At(one, "endPort"))))
			}
		}
	}
	for _, icmp := range icmps {
		for _, field := range fields.List(icmp, "fields") {
			in("").Name(icmpName(cmp.Or(fields.Text(field, "family"), "IPv4"), fields.At(field, "type")))
		}
	}
	if len(toPorts) == 0 && len(icmps) == 0 {
		in("").All = true
	}
	for _, on := range out {
		on.Tidy()
	}
	return out
}

// ciliumPort is a port as Cilium reads it: "0x50" is a name, and "010" is 8.
func ciliumPort(text string) (int, error) {
	if iana.IsSvcName(text) {
		return 0, strconv.ErrSyntax
	}
	port, err := strconv.ParseUint(text, 0, 16)
	return int(port), err
}

// layer7 is what a rule says about connections beside their ports: requests, the
// names that TLS asks for, a listener of Envoy's; "" for nothing that limits them.
func layer7(rule any) string {
	limits := map[string]any{}
	for field, v := range fields.Map(rule) {
		if field != "ports" && v != nil {
			limits[field] = v
		}
	}
	rules := fields.Map(rule, "rules")
	if dns := fields.List(rules, "dns"); len(rules) == 0 || len(rules) == 1 && slices.ContainsFunc(dns, everyLookup) {
		delete(limits, "rules")
	}
	if len(limits) == 0 {
		return ""
	}
	return fields.Canonical(limits)
}

func everyLookup(dns any) bool { return fields.Text(dns, "matchPattern") == "*" }

// authentication is what a rule demands of peers; "" for nothing.
func authentication(rule any) string {
	switch mode := fields.Text(rule, "authentication", "mode"); mode {
	case "", string(api.AuthenticationModeDisabled):
		return ""
	default:
		return "authentication " + mode
	}
}

func opaque(field string, v any) Peer {
	return Peer{Kind: PeerOpaque, Text: field + " " + fields.Canonical(v)}
}

func networkPeer(cidr string, except []string) Peer {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		one, err := netip.ParseAddr(cidr)
		if err != nil {
			return Peer{Kind: PeerOpaque, Text: "network " + strconv.Quote(cidr)}
		}
		prefix = netip.PrefixFrom(one, one.BitLen())
	}
	prefix = unmapped(prefix)
	set := Addresses{rangeOf(prefix)}
	var holes Addresses
	for _, e := range except {
		if p, err := netip.ParsePrefix(e); err == nil {
			holes = append(holes, rangeOf(unmapped(p)))
		}
	}
	return Peer{Kind: PeerNetwork, Networks: set.Without(holes.Tidy())}
}

// unmapped writes an IPv4 network in IPv6's clothes as what it is.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return netip.PrefixFrom(p.Addr().WithZone(""), p.Bits())
}

func ciliumEndpoints(namespace string, selector any) []Peer {
	if reserved := reservedPeers(selector); reserved != nil {
		return reserved
	}
	elsewhere := namespace == ""
	alternatives := constraints([][]Constraint{nil}, selector, func(key string) Constraint {
		c := ciliumKey(key)
		elsewhere = elsewhere || c.namespace
		return c
	})
	if !elsewhere {
		for i := range alternatives {
			alternatives[i] = append(alternatives[i], namespaceKey(namespaceName).is(namespace))
		}
	}
	return podPeers(alternatives)
}

// reservedPeers is who a selector with labels of Cilium's own is about, and nil
// for one without: those are of no namespace.
func reservedPeers(selector any) []Peer {
	const own = labels.LabelSourceReserved + ":"
	match, expressions := fields.Labels(selector, "matchLabels"), fields.List(selector, "matchExpressions")
	reserved := slices.ContainsFunc(expressions, func(e any) bool { return strings.HasPrefix(fields.Text(e, "key"), own) })
	for key := range match {
		reserved = reserved || strings.HasPrefix(key, own)
	}
	if !reserved {
		return nil
	}
	for key := range match {
		if name := strings.TrimPrefix(key, own); len(match) == 1 && len(expressions) == 0 && len(api.EntitySelectorMapping[api.Entity(name)]) > 0 {
			return []Peer{{Kind: PeerEntity, Text: name}}
		}
	}
	return []Peer{opaque("endpoints", selector)}
}
