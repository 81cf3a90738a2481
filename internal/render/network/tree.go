package network

import (
	"cmp"

	"github.com/cilium/cilium/pkg/policy/api"
)

// Trees are rules as they are written in a CiliumNetworkPolicy. Cilium's own
// encoding would write the same, at ten times the cost: tests hold one against
// the other.
type Trees struct {
	Ingress, Egress []any
	// namesHosts is set when a rule needs Cilium to see DNS answers.
	namesHosts bool
}

// ingress checks rules and adds them.
func (t *Trees) ingress(rules ...api.IngressRule) error {
	for _, rule := range rules {
		tree := ingressTree(rule)
		if err := cmp.Or(narrowIngress(rule), checkRule("ingress", tree)); err != nil {
			return err
		}
		t.Ingress = append(t.Ingress, tree)
	}
	return nil
}

// egress checks rules and adds them.
func (t *Trees) egress(rules ...api.EgressRule) error {
	for _, rule := range rules {
		tree := egressTree(rule)
		if err := cmp.Or(narrowEgress(rule), checkRule("egress", tree)); err != nil {
			return err
		}
		t.Egress = append(t.Egress, tree)
		t.namesHosts = t.namesHosts || len(rule.ToFQDNs) > 0
	}
	return nil
}

func ingressTree(rule api.IngressRule) map[string]any {
	m := make(map[string]any, 2)
	set(m, "fromEndpoints", rule.FromEndpoints, selectorTree)
	set(m, "fromCIDRSet", rule.FromCIDRSet, cidrTree)
	set(m, "fromEntities", rule.FromEntities, text)
	set(m, "toPorts", rule.ToPorts, portRuleTree)
	return m
}

func egressTree(rule api.EgressRule) map[string]any {
	m := make(map[string]any, 2)
	set(m, "toEndpoints", rule.ToEndpoints, selectorTree)
	set(m, "toCIDRSet", rule.ToCIDRSet, cidrTree)
	set(m, "toFQDNs", rule.ToFQDNs, hostTree)
	set(m, "toPorts", rule.ToPorts, portRuleTree)
	return m
}

func selectorTree(s api.EndpointSelector) any {
	labels := make(map[string]any, len(s.MatchLabels))
	for k, v := range s.MatchLabels {
		labels[k] = v
	}
	return map[string]any{"matchLabels": labels}
}

func cidrTree(c api.CIDRRule) any {
	m := map[string]any{"cidr": string(c.Cidr)}
	set(m, "except", c.ExceptCIDRs, text)
	return m
}

func hostTree(h api.FQDNSelector) any {
	if h.MatchPattern != "" {
		return map[string]any{"matchPattern": h.MatchPattern}
	}
	return map[string]any{"matchName": h.MatchName}
}

func portRuleTree(p api.PortRule) any {
	m := map[string]any{"ports": list(p.Ports, portTree)}
	if p.Rules != nil {
		m["rules"] = map[string]any{"dns": list(p.Rules.DNS, func(r api.PortRuleDNS) any { return hostTree(api.FQDNSelector(r)) })}
	}
	return m
}

func portTree(p api.PortProtocol) any {
	m := map[string]any{"port": p.Port, "protocol": string(p.Protocol)}
	if p.EndPort != 0 {
		m["endPort"] = int64(p.EndPort)
	}
	return m
}

func text[T ~string](s T) any { return string(s) }

// set writes a list that is not empty.
func set[T any](m map[string]any, field string, items []T, tree func(T) any) {
	if len(items) > 0 {
		m[field] = list(items, tree)
	}
}

func list[T any](items []T, tree func(T) any) []any {
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = tree(item)
	}
	return out
}
