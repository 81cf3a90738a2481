package meaning

import (
	"fmt"
	"maps"
	"slices"

	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

// maxGroups bounds how many findings tell of changes in many namespaces.
const maxGroups = 20

// blastRadius tells of changes that one file makes in many namespaces.
func blastRadius(f *facts, report *review.Report) {
	if report == nil {
		return
	}
	others := exceptions(report)
	groups := slices.Clone(report.Groups)
	slices.SortStableFunc(groups, func(a, b review.Group) int { return len(b.Namespaces) - len(a.Namespaces) })
	for i, g := range groups {
		if len(g.Namespaces) < 2 {
			continue
		}
		if i >= maxGroups {
			f.add(fact{risk: review.Info, category: review.BlastRadius, text: fmt.Sprintf("%d more changes are the same in many namespaces", len(groups)-maxGroups)})
			return
		}
		what := "The same changes"
		// Groups that count the same are not the same: who keeps them apart.
		one := fact{risk: radius(len(g.Namespaces), len(g.Tenants)), category: review.BlastRadius, who: prose.Plain(g.Key)}
		if g.Representative >= 0 && g.Representative < len(report.Changes) {
			c := &report.Changes[g.Representative]
			what = prose.Plain(c.Kind)
			if c.Name != c.Namespace { // or it has another name in each of them
				what += " " + prose.Plain(c.Name)
			}
			what += " is " + prose.Plain(string(c.Action))
			one.place = c.Place
			one.detail = append(one.detail, "For example in "+prose.Plain(c.Namespace)+fieldsOf(c))
			one.detail = append(one.detail, others[g.Key]...)
		}
		if len(g.Unchanged) > 0 {
			one.detail = append(one.detail, "Not in "+prose.List(plainAll(g.Unchanged))+": nothing changes there")
		}
		if g.Cause != "" {
			what = prose.Plain(g.Cause) + " changes: " + what
		}
		one.text = fmt.Sprintf("%s in %s of %s", what, count(len(g.Namespaces), "namespace"), count(len(g.Tenants), "tenant"))
		for _, name := range g.Namespaces {
			same := one
			same.scope = scopeKey{"", name}
			f.add(same)
		}
		for _, name := range g.Tenants {
			same := one
			same.tenant = name
			f.add(same)
		}
	}
}

// maxExceptions bounds the exceptions to a group that are told one by one.
const maxExceptions = 3

// exceptions are what becomes, in a line each, of the object of a group where it
// changes in another way.
func exceptions(report *review.Report) map[string][]string {
	type at struct{ apiVersion, kind, namespace string }
	wanted := map[at]bool{}
	for _, g := range report.Groups {
		if g.Representative < 0 || g.Representative >= len(report.Changes) {
			continue
		}
		c := &report.Changes[g.Representative]
		for _, name := range g.Otherwise[:min(maxExceptions, len(g.Otherwise))] {
			wanted[at{c.APIVersion, c.Kind, name}] = true
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	changes := map[at][]*review.Change{}
	for i := range report.Changes {
		c := &report.Changes[i]
		key := at{c.APIVersion, c.Kind, c.Namespace}
		if wanted[key] {
			changes[key] = append(changes[key], c)
		}
	}
	out := map[string][]string{}
	for _, g := range report.Groups {
		if len(g.Otherwise) == 0 || g.Representative < 0 || g.Representative >= len(report.Changes) {
			continue
		}
		shown := &report.Changes[g.Representative]
		for _, name := range g.Otherwise[:min(maxExceptions, len(g.Otherwise))] {
			for _, c := range changes[at{shown.APIVersion, shown.Kind, name}] {
				if c.Group != g.Key && (c.Name == shown.Name || c.Name == name) {
					out[g.Key] = append(out[g.Key], fmt.Sprintf("Otherwise in %s, where it is %s%s", prose.Plain(name), prose.Plain(string(c.Action)), fieldsOf(c)))
					break
				}
			}
		}
		if more := len(g.Otherwise) - maxExceptions; more > 0 {
			out[g.Key] = append(out[g.Key], fmt.Sprintf("Otherwise in %s", prose.List(plainAll(g.Otherwise[maxExceptions:]))))
		}
	}
	return out
}

func plainAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prose.Plain(n)
	}
	return out
}

func radius(namespaces, tenants int) review.Risk {
	if namespaces >= 100 || tenants >= 10 {
		return review.Medium
	}
	return review.Low
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// fieldsOf names what differs, without values: those are in the diff.
func fieldsOf(c *review.Change) string {
	var paths []string
	for i := range c.Fields {
		paths = append(paths, prose.Plain(c.Fields[i].Path))
	}
	if len(paths) == 0 {
		return ""
	}
	return ": " + prose.List(paths)
}

// profiles tells how many namespaces a changed profile is used by.
func (w *world) profiles(f *facts) {
	names := maps.Clone(w.before.Profiles)
	if names == nil {
		names = map[string]review.Rendered{}
	}
	maps.Copy(names, w.after.Profiles)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, had := w.before.Profiles[name]
		after, has := w.after.Profiles[name]
		if had && has && before.Digest != "" && before.Digest == after.Digest {
			continue
		}
		one := fact{category: review.BlastRadius, place: after.Place}
		users, tenants := 0, map[string]bool{}
		side := w.after
		if !has {
			side, one.place = w.before, before.Place
		}
		var add []fact
		for tenant, t := range side.Tenants {
			for namespace, n := range namespacesOf(t) {
				if n.Value.Spec.Profile == name {
					users++
					tenants[tenant] = true
					add = append(add, fact{tenant: tenant, scope: scopeKey{"", namespace}})
				}
			}
		}
		verb := "changes"
		switch {
		case !had:
			verb = "is new"
		case !has:
			verb = "is removed"
		}
		one.risk = review.Info
		one.text = "Profile " + prose.Plain(name) + " " + verb + ", and no namespace that is touched uses it"
		if users > 0 {
			one.risk = radius(users, len(tenants))
			one.text = fmt.Sprintf("Profile %s %s: %s of %s use it", prose.Plain(name), verb, count(users, "namespace"), count(len(tenants), "tenant"))
		}
		if len(add) == 0 {
			f.add(one)
		}
		for _, a := range add {
			a.risk, a.category, a.text, a.place = one.risk, one.category, one.text, one.place
			f.add(a)
		}
	}
}
