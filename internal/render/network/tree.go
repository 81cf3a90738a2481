package network

// IngressTree is the rules as they are written under spec.ingress.
func (r Rules) IngressTree() []any {
	return list(r.Ingress, func(rule IngressRule) any {
		m := map[string]any{}
		set(m, "fromEndpoints", rule.FromEndpoints, Selector.tree)
		set(m, "fromCIDRSet", rule.FromCIDRSet, CIDRRule.tree)
		set(m, "fromEntities", rule.FromEntities, text)
		set(m, "toPorts", rule.ToPorts, PortRule.tree)
		return m
	})
}

// EgressTree is the rules as they are written under spec.egress.
func (r Rules) EgressTree() []any {
	return list(r.Egress, func(rule EgressRule) any {
		m := map[string]any{}
		set(m, "toEndpoints", rule.ToEndpoints, Selector.tree)
		set(m, "toCIDRSet", rule.ToCIDRSet, CIDRRule.tree)
		set(m, "toFQDNs", rule.ToFQDNs, HostSelector.tree)
		set(m, "toPorts", rule.ToPorts, PortRule.tree)
		return m
	})
}

func (s Selector) tree() any {
	labels := make(map[string]any, len(s))
	for k, v := range s {
		labels[k] = v
	}
	return map[string]any{"matchLabels": labels}
}

func (c CIDRRule) tree() any {
	m := map[string]any{"cidr": c.CIDR}
	set(m, "except", c.Except, text)
	return m
}

func (h HostSelector) tree() any {
	if h.MatchPattern != "" {
		return map[string]any{"matchPattern": h.MatchPattern}
	}
	return map[string]any{"matchName": h.MatchName}
}

func (p PortRule) tree() any {
	m := map[string]any{"ports": list(p.Ports, Port.tree)}
	if len(p.DNS) > 0 {
		m["rules"] = map[string]any{"dns": list(p.DNS, HostSelector.tree)}
	}
	return m
}

func (p Port) tree() any {
	m := map[string]any{"port": p.Port, "protocol": p.Protocol}
	if p.EndPort != 0 {
		m["endPort"] = int64(p.EndPort)
	}
	return m
}

func text(s string) any { return s }

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
