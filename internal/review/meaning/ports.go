package meaning

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// span is a range of ports, both ends included.
type span struct{ from, to int }

// ports is a set of ports by protocol.
type ports struct {
	// all is every port of every protocol.
	all bool
	// spans by protocol, sorted and apart from one another.
	spans map[string][]span
	// named are ports whose number only the Pods know, and kinds of ICMP.
	named map[string]bool
}

const lastPort = 65535

var protocols = []string{"TCP", "UDP", "SCTP"}

func (p *ports) add(protocol string, from, to int) {
	if from > to {
		return
	}
	if p.spans == nil {
		p.spans = map[string][]span{}
	}
	names := []string{protocol}
	if protocol == "ANY" {
		names = protocols
	}
	for _, name := range names {
		p.spans[name] = append(p.spans[name], span{from, to})
	}
}

func (p *ports) name(name string) {
	if p.named == nil {
		p.named = map[string]bool{}
	}
	p.named[name] = true
}

// join adds another set.
func (p *ports) join(o *ports) {
	p.all = p.all || o.all
	for protocol, spans := range o.spans {
		for _, s := range spans {
			p.add(protocol, s.from, s.to)
		}
	}
	for n := range o.named {
		p.name(n)
	}
}

// tidy sorts and joins the spans.
func (p *ports) tidy() {
	for protocol, spans := range p.spans {
		p.spans[protocol] = unite(spans)
	}
}

func unite(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && s.from <= out[n-1].to+1 {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

func (p *ports) empty() bool {
	if p.all || len(p.named) > 0 {
		return false
	}
	for _, spans := range p.spans {
		if len(spans) > 0 {
			return false
		}
	}
	return true
}

// without is what is in p and not in o. Both are tidy.
func (p *ports) without(o *ports) *ports {
	switch {
	case o == nil:
		return p
	case o.all:
		return &ports{}
	case p.all:
		return p // no list of ports is all of them
	}
	out := &ports{}
	for protocol, spans := range p.spans {
		for _, s := range spans {
			from := s.from
			for _, taken := range o.spans[protocol] {
				if taken.to < from || taken.from > s.to {
					continue
				}
				out.add(protocol, from, taken.from-1)
				from = taken.to + 1
			}
			out.add(protocol, from, s.to)
		}
	}
	for n := range p.named {
		if !o.named[n] {
			out.name(n)
		}
	}
	return out
}

// String is "8080/TCP", "80 and 443/TCP", "every port".
func (p *ports) String() string {
	if p.all {
		return "every port"
	}
	var parts []string
	for _, protocol := range slices.Sorted(maps.Keys(p.spans)) {
		var texts []string
		for _, s := range p.spans[protocol] {
			switch {
			case s.from <= 1 && s.to == lastPort:
				texts = append(texts, "every port")
			case s.from == s.to:
				texts = append(texts, fmt.Sprint(s.from))
			default:
				texts = append(texts, fmt.Sprintf("%d-%d", s.from, s.to))
			}
		}
		if len(texts) > 0 {
			parts = append(parts, list(texts)+"/"+plain(protocol))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(p.named)) {
		parts = append(parts, plain(n))
	}
	if len(parts) > maxListed {
		parts = append(parts[:maxListed:maxListed], fmt.Sprintf("%d more", len(parts)-maxListed))
	}
	return strings.Join(parts, ", ")
}
