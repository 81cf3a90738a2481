package meaning

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

// Marks in a fact's text. No text that comes from an object holds them: see plain.
const (
	markWho   = "\x01"
	markWhere = "\x02"
	// Words that agree with how many the fact is about.
	markLeaves = "\x03"
	markIs     = "\x04"
	markIts    = "\x05"
	markS      = "\x06"
)

// Bounds of what one finding says.
const (
	maxDetails = 12
	// maxAlike facts that differ only in who they are about stand alone; more are one.
	maxAlike = 3
)

// fact is one thing that is so in one namespace, or in one tenant.
type fact struct {
	risk     review.Risk
	category review.Category
	// text with marks: "\x01 can now read Secrets in \x02".
	text string
	// who the fact is about; facts that differ only in that are told together when
	// there are many, as "7 <noun>".
	who, noun string
	// tenant and scope are where. A scope without a namespace is the cluster's.
	tenant string
	scope  scopeKey
	detail []string
	place  review.Place
}

// facts become findings.
type facts struct {
	all []fact
}

func (f *facts) add(one fact) { f.all = append(f.all, one) }

type factKey struct {
	risk            review.Risk
	category        review.Category
	text, who, noun string
}

// merged is facts that are alike, wherever they are.
type merged struct {
	fact
	tenants map[string]bool
	scopes  map[scopeKey]bool
	details []string
	seen    map[string]bool
	places  map[review.Place]bool
}

func (m *merged) take(one *fact) {
	if one.tenant != "" {
		m.tenants[one.tenant] = true
	}
	if one.scope != (scopeKey{}) {
		m.scopes[one.scope] = true
	}
	if one.place != (review.Place{}) && len(m.places) < 2 {
		m.places[one.place] = true
	}
	for _, d := range one.detail {
		if !m.seen[d] {
			m.seen[d] = true
			m.details = append(m.details, d)
		}
	}
}

func newMerged(one *fact) *merged {
	return &merged{fact: *one, tenants: map[string]bool{}, scopes: map[scopeKey]bool{}, seen: map[string]bool{}, places: map[review.Place]bool{}}
}

// findings merges facts: the same about the same in many namespaces first, then
// those that differ only in who they are about.
func (f *facts) findings() []review.Finding {
	same := map[factKey]*merged{}
	var keys []factKey
	for i := range f.all {
		one := &f.all[i]
		k := factKey{one.risk, one.category, one.text, one.who, one.noun}
		m := same[k]
		if m == nil {
			m = newMerged(one)
			same[k] = m
			keys = append(keys, k)
		}
		m.take(one)
	}

	alike := map[factKey][]*merged{}
	var order []factKey
	for _, k := range keys {
		m := same[k]
		if k.noun != "" {
			k.who = ""
		}
		if alike[k] == nil {
			order = append(order, k)
		}
		alike[k] = append(alike[k], m)
	}
	out := []review.Finding{}
	for _, k := range order {
		group := alike[k]
		if len(group) <= maxAlike {
			for _, m := range group {
				out = append(out, m.finding(m.who, false))
			}
			continue
		}
		slices.SortFunc(group, func(a, b *merged) int { return strings.Compare(a.who, b.who) })
		all := newMerged(&group[0].fact)
		var lines []string
		for _, m := range group {
			line := m.who
			if where := prose.List(m.where()); where != "" && where != m.who {
				line += ": " + where
			}
			lines = append(lines, line)
			maps.Copy(all.tenants, m.tenants)
			maps.Copy(all.scopes, m.scopes)
			for p := range m.places {
				if len(all.places) < 2 {
					all.places[p] = true
				}
			}
			for _, d := range m.details {
				if !all.seen[d] {
					all.seen[d] = true
					all.details = append(all.details, d)
				}
			}
		}
		all.details = slices.Concat(lines, all.details)
		out = append(out, all.finding(fmt.Sprintf("%d %s", len(group), k.noun), true))
	}
	slices.SortStableFunc(out, byRisk)
	return out
}

// where is the names of the places, sorted.
func (m *merged) where() []string {
	names := make([]string, 0, len(m.scopes))
	for s := range m.scopes {
		names = append(names, s.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (m *merged) finding(who string, several bool) review.Finding {
	where := m.where()
	leaves, is, its, s := "leaves", "is", "its", ""
	if several || len(where) > 1 {
		leaves, is, its, s = "leave", "are", "their", "s"
	}
	out := review.Finding{
		Risk:     m.risk,
		Category: m.category,
		Title:    strings.NewReplacer(markWho, who, markWhere, prose.List(where), markLeaves, leaves, markIs, is, markIts, its, markS, s).Replace(m.text),
		Details:  bounded(m.details),
		Tenants:  slices.Sorted(maps.Keys(m.tenants)),
	}
	names := map[string]bool{}
	for s := range m.scopes {
		if s.namespace != "" {
			names[s.namespace] = true
		}
	}
	if len(names) > 0 {
		out.Namespaces = slices.Sorted(maps.Keys(names))
	}
	if len(m.places) == 1 {
		for p := range m.places {
			out.Place = p
		}
	}
	return out
}

// bounded keeps the first lines, and says how many there are beside.
func bounded(lines []string) []string {
	if len(lines) <= maxDetails {
		return lines
	}
	return append(slices.Clone(lines[:maxDetails]), fmt.Sprintf("and %d more", len(lines)-maxDetails))
}
