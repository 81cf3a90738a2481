package reach

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/prose"
)

// Span is a range of ports, both ends included.
type Span struct{ From, To int }

// Ports is a set of ports by protocol.
type Ports struct {
	// All is every port of every protocol.
	All bool
	// Spans by protocol, sorted and apart from one another.
	Spans map[string][]Span
	// Named are ports whose number only the Pods know, and kinds of ICMP.
	Named map[string]bool
}

// LastPort is the highest there is.
const LastPort = 65535

var protocols = []string{"TCP", "UDP", "SCTP"}

// Add adds a range of ports; "ANY" is every protocol that has ports.
func (p *Ports) Add(protocol string, from, to int) {
	if from > to {
		return
	}
	if p.Spans == nil {
		p.Spans = map[string][]Span{}
	}
	names := []string{protocol}
	if protocol == "ANY" {
		names = protocols
	}
	for _, name := range names {
		p.Spans[name] = append(p.Spans[name], Span{from, to})
	}
}

// Name adds a port that has a name, or a kind of ICMP.
func (p *Ports) Name(name string) {
	if p.Named == nil {
		p.Named = map[string]bool{}
	}
	p.Named[name] = true
}

// Join adds another set.
func (p *Ports) Join(o *Ports) {
	p.All = p.All || o.All
	for protocol, spans := range o.Spans {
		for _, s := range spans {
			p.Add(protocol, s.From, s.To)
		}
	}
	for n := range o.Named {
		p.Name(n)
	}
}

// Tidy sorts and joins the spans.
func (p *Ports) Tidy() {
	for protocol, spans := range p.Spans {
		p.Spans[protocol] = unite(spans)
	}
}

func unite(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	var out []Span
	for _, s := range spans {
		if n := len(out); n > 0 && s.From <= out[n-1].To+1 {
			out[n-1].To = max(out[n-1].To, s.To)
			continue
		}
		out = append(out, s)
	}
	return out
}

// Empty says that there is no port in it.
func (p *Ports) Empty() bool {
	if p.All || len(p.Named) > 0 {
		return false
	}
	for _, spans := range p.Spans {
		if len(spans) > 0 {
			return false
		}
	}
	return true
}

// Without is what is in p and not in o. Both are tidy.
func (p *Ports) Without(o *Ports) *Ports {
	switch {
	case o == nil:
		return p
	case o.All:
		return &Ports{}
	case p.All:
		return p // no list of ports is all of them
	}
	out := &Ports{}
	for protocol, spans := range p.Spans {
		for _, s := range spans {
			from := s.From
			for _, taken := range o.Spans[protocol] {
				if taken.To < from || taken.From > s.To {
					continue
				}
				out.Add(protocol, from, taken.From-1)
				from = taken.To + 1
			}
			out.Add(protocol, from, s.To)
		}
	}
	for n := range p.Named {
		if !o.Named[n] {
			out.Name(n)
		}
	}
	return out
}

// String is "8080/TCP", "80 and 443/TCP", "every port".
func (p *Ports) String() string {
	if p.All {
		return "every port"
	}
	var parts []string
	for _, protocol := range slices.Sorted(maps.Keys(p.Spans)) {
		var texts []string
		for _, s := range p.Spans[protocol] {
			switch {
			case s.From <= 1 && s.To == LastPort:
				texts = append(texts, "every port")
			case s.From == s.To:
				texts = append(texts, fmt.Sprint(s.From))
			default:
				texts = append(texts, fmt.Sprintf("%d-%d", s.From, s.To))
			}
		}
		if len(texts) > 0 {
			parts = append(parts, prose.List(texts)+"/"+prose.Plain(protocol))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(p.Named)) {
		parts = append(parts, prose.Plain(n))
	}
	if len(parts) > prose.MaxListed {
		parts = append(parts[:prose.MaxListed:prose.MaxListed], fmt.Sprintf("%d more", len(parts)-prose.MaxListed))
	}
	return strings.Join(parts, ", ")
}
