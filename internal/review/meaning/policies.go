package meaning

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/cilium/pkg/iana"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy/api"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/review"
)

// traffic is one direction of a namespace.
type traffic struct {
	// closed: a policy refuses what no policy allows, for every Pod.
	closed      bool
	allow, deny *openings
}

// policies is what the network policies of a namespace come to.
type policies struct{ ingress, egress *traffic }

func newPolicies() *policies {
	return &policies{&traffic{allow: newOpenings(), deny: newOpenings()}, &traffic{allow: newOpenings(), deny: newOpenings()}}
}

func closedPolicies() *policies {
	p := newPolicies()
	p.ingress.closed, p.egress.closed = true, true
	return p
}

// readPolicies adds up the policies of a namespace.
func readPolicies(namespace string, objects []*review.Rendered) *policies {
	out := newPolicies()
	for _, o := range objects {
		if o.Kind == "NetworkPolicy" {
			out.kubernetes(namespace, at(o.Content, "spec"))
			continue
		}
		if spec := at(o.Content, "spec"); spec != nil {
			out.cilium(namespace, spec)
		}
		for _, spec := range listAt(o.Content, "specs") {
			out.cilium(namespace, spec)
		}
	}
	for _, t := range []*traffic{out.ingress, out.egress} {
		t.allow.tidy()
		t.deny.tidy()
	}
	return out
}

// kubernetes reads a NetworkPolicy.
func (p *policies) kubernetes(namespace string, spec any) {
	pods := selectorText(at(spec, "podSelector"))
	types := textsAt(spec, "policyTypes")
	if len(types) == 0 {
		types = []string{"Ingress"}
		if len(listAt(spec, "egress")) > 0 {
			types = append(types, "Egress")
		}
	}
	for _, way := range []struct {
		t                 *traffic
		kind, rules, from string
	}{{p.ingress, "Ingress", "ingress", "from"}, {p.egress, "Egress", "egress", "to"}} {
		if !slices.Contains(types, way.kind) {
			continue
		}
		way.t.closed = way.t.closed || pods == ""
		for _, rule := range listAt(spec, way.rules) {
			on := kubernetesPorts(listAt(rule, "ports"))
			peers := listAt(rule, way.from)
			if len(peers) == 0 {
				way.t.allow.add(peer{kind: peerAll, pods: pods}, on)
			}
			for _, from := range peers {
				for _, one := range kubernetesPeer(namespace, from) {
					one.pods = pods
					way.t.allow.add(one, on)
				}
			}
		}
	}
}

func kubernetesPeer(namespace string, from any) []peer {
	if block := at(from, "ipBlock"); block != nil {
		return []peer{networkPeer(textAt(block, "cidr"), textsAt(block, "except"))}
	}
	namespaces, pods := at(from, "namespaceSelector"), at(from, "podSelector")
	alternatives := [][]string{nil}
	if namespaces == nil {
		alternatives = [][]string{{"namespace=" + namespace}}
	} else {
		alternatives = constraints(alternatives, namespaces, namespaceConstraint)
	}
	alternatives = constraints(alternatives, pods, podConstraint)
	return podPeers(alternatives)
}

func kubernetesPorts(list []any) *ports {
	if len(list) == 0 {
		return &ports{all: true}
	}
	out := &ports{}
	for _, one := range list {
		protocol := orDefault(textAt(one, "protocol"), "TCP")
		switch port := at(one, "port").(type) {
		case nil:
			out.add(protocol, 0, lastPort)
		case string:
			out.name(port + "/" + protocol)
		default:
			from := number(port)
			out.add(protocol, from, max(from, number(at(one, "endPort"))))
		}
	}
	out.tidy()
	return out
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func number(v any) int {
	switch n := v.(type) {
	case int64:
		return int(min(max(n, 0), lastPort))
	case int:
		return min(max(n, 0), lastPort)
	case float64:
		return int(min(max(n, 0), lastPort))
	case string:
		i, _ := strconv.Atoi(n)
		return min(max(i, 0), lastPort)
	}
	return 0
}

// cilium reads one spec of a CiliumNetworkPolicy.
func (p *policies) cilium(namespace string, spec any) {
	pods := selectorText(at(spec, "endpointSelector"))
	for _, way := range []struct {
		t          *traffic
		rules, dir string
	}{{p.ingress, "ingress", "from"}, {p.egress, "egress", "to"}} {
		allow, deny := listAt(spec, way.rules), listAt(spec, way.rules+"Deny")
		closes := len(allow) > 0 || len(deny) > 0
		if said, ok := at(spec, "enableDefaultDeny", way.rules).(bool); ok {
			closes = said
		}
		way.t.closed = way.t.closed || closes && pods == ""
		for _, rule := range allow {
			ciliumRule(namespace, pods, way.dir, rule, way.t.allow)
		}
		for _, rule := range deny {
			ciliumRule(namespace, pods, way.dir, rule, way.t.deny)
		}
	}
}

// ciliumRule adds who a rule names. One that names nobody but ports is for
// everyone, and one that names nothing at all is for nobody.
func ciliumRule(namespace, pods, dir string, rule any, to *openings) {
	fields := mapAt(rule)
	var peers []peer
	named := false
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		switch items := listAt(rule, field); field {
		case "toPorts", "icmps", "authentication":
			continue
		case dir + "Endpoints":
			for _, item := range items {
				peers = append(peers, ciliumEndpoints(namespace, item)...)
			}
		case dir + "Entities":
			for _, e := range textsAt(rule, field) {
				peers = append(peers, peer{kind: peerEntity, text: e})
			}
		case dir + "CIDR":
			for _, c := range textsAt(rule, field) {
				peers = append(peers, networkPeer(c, nil))
			}
		case dir + "CIDRSet":
			for _, item := range items {
				if textAt(item, "cidr") == "" {
					peers = append(peers, opaque(field, item))
					continue
				}
				peers = append(peers, networkPeer(textAt(item, "cidr"), textsAt(item, "except")))
			}
		case dir + "FQDNs":
			for _, item := range items {
				if name := textAt(item, "matchName"); name != "" {
					peers = append(peers, peer{kind: peerHost, text: strings.ToLower(strings.TrimSuffix(name, "."))})
				}
				if pattern := textAt(item, "matchPattern"); pattern != "" {
					peers = append(peers, peer{kind: peerHost, text: strings.ToLower(strings.TrimSuffix(pattern, "."))})
				}
			}
		default:
			peers = append(peers, opaque(field, fields[field]))
		}
		named = true
	}
	toPorts, icmps := listAt(rule, "toPorts"), listAt(rule, "icmps")
	if !named {
		if len(toPorts) == 0 && len(icmps) == 0 {
			return
		}
		peers = []peer{{kind: peerAll}}
	}
	demand := authentication(rule)
	for l7, on := range ciliumPorts(toPorts, icmps) {
		for _, one := range peers {
			one.pods, one.l7 = pods, l7+demand
			to.add(one, on)
		}
	}
}

// ciliumPorts is ports by what limits their connections further.
func ciliumPorts(toPorts, icmps []any) map[string]*ports {
	out := map[string]*ports{}
	in := func(l7 string) *ports {
		if out[l7] == nil {
			out[l7] = &ports{}
		}
		return out[l7]
	}
	for _, rule := range toPorts {
		on := in(layer7(rule))
		list := listAt(rule, "ports")
		if len(list) == 0 {
			on.all = true
		}
		for _, one := range list {
			protocol := strings.ToUpper(orDefault(textAt(one, "protocol"), "ANY"))
			text := textAt(one, "port")
			if text == "" {
				text = strconv.Itoa(number(at(one, "port")))
			}
			from, err := ciliumPort(text)
			switch {
			case err != nil:
				on.name(strings.ToLower(text) + "/" + protocol)
			case from == 0:
				on.add(protocol, 0, lastPort)
			default:
				on.add(protocol, from, max(from, number(at(one, "endPort"))))
			}
		}
	}
	for _, icmp := range icmps {
		for _, field := range listAt(icmp, "fields") {
			in("").name(fmt.Sprintf("ICMP %s type %v", orDefault(textAt(field, "family"), "IPv4"), at(field, "type")))
		}
	}
	if len(toPorts) == 0 && len(icmps) == 0 {
		in("").all = true
	}
	for _, on := range out {
		on.tidy()
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
	for field, v := range mapAt(rule) {
		if field != "ports" && v != nil {
			limits[field] = v
		}
	}
	rules := mapAt(rule, "rules")
	if dns := listAt(rules, "dns"); len(rules) == 0 || len(rules) == 1 && slices.ContainsFunc(dns, everyLookup) {
		delete(limits, "rules")
	}
	if len(limits) == 0 {
		return ""
	}
	return canonical(limits)
}

func everyLookup(dns any) bool { return textAt(dns, "matchPattern") == "*" }

// authentication is what a rule demands of peers; "" for nothing.
func authentication(rule any) string {
	switch mode := textAt(rule, "authentication", "mode"); mode {
	case "", string(api.AuthenticationModeDisabled):
		return ""
	default:
		return "authentication " + mode
	}
}

func opaque(field string, v any) peer {
	return peer{kind: peerOpaque, text: field + " " + canonical(v)}
}

// canonical is a value as text, its keys sorted.
func canonical(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%v", v)
	}
	return string(data)
}

func networkPeer(cidr string, except []string) peer {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		one, err := netip.ParseAddr(cidr)
		if err != nil {
			return peer{kind: peerOpaque, text: "network " + strconv.Quote(cidr)}
		}
		prefix = netip.PrefixFrom(one, one.BitLen())
	}
	prefix = unmapped(prefix)
	set := addresses{rangeOf(prefix)}
	var holes addresses
	for _, e := range except {
		if p, err := netip.ParsePrefix(e); err == nil {
			holes = append(holes, rangeOf(unmapped(p)))
		}
	}
	return peer{kind: peerNetwork, networks: set.without(holes.tidy())}
}

// unmapped writes an IPv4 network in IPv6's clothes as what it is.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return netip.PrefixFrom(p.Addr().WithZone(""), p.Bits())
}

// Keys of Cilium's for what Kubernetes calls otherwise.
const (
	ciliumNamespace       = "io.kubernetes.pod.namespace"
	ciliumNamespaceLabels = "io.cilium.k8s.namespace.labels."
	namespaceName         = "kubernetes.io/metadata.name"
)

func ciliumEndpoints(namespace string, selector any) []peer {
	if reserved := reservedPeers(selector); reserved != nil {
		return reserved
	}
	elsewhere := false
	alternatives := constraints([][]string{nil}, selector, func(key string) string {
		key = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(key, "k8s:"), "any:"), "k8s.")
		switch {
		case key == ciliumNamespace:
			elsewhere = true
			return namespaceConstraint(namespaceName)
		case strings.HasPrefix(key, ciliumNamespaceLabels):
			elsewhere = true
			return namespaceConstraint(strings.TrimPrefix(key, ciliumNamespaceLabels))
		}
		return podConstraint(key)
	})
	if !elsewhere {
		for i := range alternatives {
			alternatives[i] = append(alternatives[i], "namespace="+namespace)
		}
	}
	return podPeers(alternatives)
}

// reservedPeers is who a selector with labels of Cilium's own is about, and nil
// for one without: those are of no namespace.
func reservedPeers(selector any) []peer {
	const own = labels.LabelSourceReserved + ":"
	match, expressions := labelsAt(selector, "matchLabels"), listAt(selector, "matchExpressions")
	reserved := slices.ContainsFunc(expressions, func(e any) bool { return strings.HasPrefix(textAt(e, "key"), own) })
	for key := range match {
		reserved = reserved || strings.HasPrefix(key, own)
	}
	if !reserved {
		return nil
	}
	for key := range match {
		if name := strings.TrimPrefix(key, own); len(match) == 1 && len(expressions) == 0 && len(api.EntitySelectorMapping[api.Entity(name)]) > 0 {
			return []peer{{kind: peerEntity, text: name}}
		}
	}
	return []peer{opaque("endpoints", selector)}
}

func namespaceConstraint(key string) string {
	switch key {
	case namespaceName:
		return "namespace"
	case v1alpha1.LabelTenant:
		return "tenant"
	}
	return "namespace " + key
}

func podConstraint(key string) string { return "pod " + key }

// maxAlternatives bounds how many selectors one with lists of values stands for.
const maxAlternatives = 64

// constraints adds a selector's demands to each alternative. A list of values is
// that many alternatives.
func constraints(alternatives [][]string, selector any, name func(string) string) [][]string {
	add := func(values ...string) {
		var out [][]string
		for _, a := range alternatives {
			for _, v := range values {
				out = append(out, append(slices.Clone(a), v))
			}
		}
		alternatives = out
	}
	labels := labelsAt(selector, "matchLabels")
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		add(name(key) + "=" + labels[key])
	}
	for _, e := range listAt(selector, "matchExpressions") {
		key, operator, values := name(textAt(e, "key")), textAt(e, "operator"), textsAt(e, "values")
		slices.Sort(values)
		values = slices.Compact(values)
		switch {
		case operator == "In" && len(values) > 0 && len(values)*len(alternatives) <= maxAlternatives:
			var texts []string
			for _, v := range values {
				texts = append(texts, key+"="+v)
			}
			add(texts...)
		case operator == "Exists" && key == "namespace": // every Pod has one
		default:
			if key == "namespace" || key == "tenant" {
				key = "namespace " + key
			}
			add(strings.TrimSpace(key + " " + operator + " " + strings.Join(values, ",")))
		}
	}
	return alternatives
}

func podPeers(alternatives [][]string) []peer {
	var out []peer
	for _, a := range alternatives {
		slices.Sort(a)
		out = append(out, peer{kind: peerPods, constraints: slices.Compact(a)})
	}
	return out
}

// selectorText is "" for a selector of everything.
func selectorText(selector any) string {
	m := mapAt(selector)
	labels, expressions := labelsAt(m, "matchLabels"), listAt(m, "matchExpressions")
	if len(labels) == 0 && len(expressions) == 0 {
		return ""
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	var more []string
	for _, e := range expressions {
		more = append(more, textAt(e, "key")+" "+textAt(e, "operator")+" "+strings.Join(textsAt(e, "values"), ","))
	}
	slices.Sort(more)
	return strings.Join(slices.Concat(parts, more), ", ")
}
