// Package report writes what a change does: as text, Markdown, JSON, HTML and SARIF.
//
// Names, values, messages and paths come from a pull request of anyone. Every
// writer shows them as they are and lets none of them become structure: no markup,
// no link, no mention, no control of the terminal. The same report gives the same
// bytes. It decides nothing about the change: package review does.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

// Options of the writers.
type Options struct {
	// Color says that a terminal that shows colours reads the text.
	Color bool
	// Link is where the whole report is, http or https; "" for nowhere. Markdown
	// names it where it folds.
	Link string
}

// view is a report in the order in which it is read.
type view struct {
	*review.Report
	weights  review.Weights
	findings []review.Finding
	errors   []review.Error     // new ones first
	refused  []review.Violation // new ones first
	groups   []group
	tenants  []tenant
}

type tenant struct {
	name     string
	risk     review.Risk
	clusters []cluster
	changes  int
	// grouped changes are shown with their group.
	grouped int
}

type cluster struct {
	name       string
	namespaces []namespace
}

type namespace struct {
	name    string
	risk    review.Risk
	changes []*review.Change
}

type group struct {
	review.Group
	change *review.Change
}

func newView(r *review.Report) *view {
	v := &view{Report: r, weights: r.Weigh()}
	v.findings = slices.Clone(r.Findings)
	slices.SortStableFunc(v.findings, func(a, b review.Finding) int {
		return a.Risk.Weight() - b.Risk.Weight()
	})
	v.errors = slices.Clone(r.Errors)
	slices.SortStableFunc(v.errors, func(a, b review.Error) int { return oldLast(a.Old, b.Old) })
	v.refused = slices.Clone(r.Violations)
	slices.SortStableFunc(v.refused, func(a, b review.Violation) int { return oldLast(a.Old, b.Old) })

	groups := v.addGroups()
	v.addTenants(groups)
	return v
}

func oldLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// addGroups returns the keys of the groups that can be shown; changes of any other
// are shown one by one.
func (v *view) addGroups() map[string]bool {
	keys := map[string]bool{}
	for _, g := range v.Groups {
		if g.Representative < 0 || g.Representative >= len(v.Changes) || keys[g.Key] || g.Key == "" {
			continue
		}
		keys[g.Key] = true
		v.groups = append(v.groups, group{Group: g, change: &v.Changes[g.Representative]})
	}
	slices.SortStableFunc(v.groups, func(a, b group) int { return len(b.Namespaces) - len(a.Namespaces) })
	return keys
}

// addTenants makes the tree, highest risk first.
func (v *view) addTenants(groups map[string]bool) {
	changes := make([]*review.Change, len(v.Changes))
	for i := range v.Changes {
		changes[i] = &v.Changes[i]
	}
	slices.SortStableFunc(changes, func(a, b *review.Change) int {
		return cmp.Or(
			cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Cluster, b.Cluster),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	ofTenant, ofNamespace := v.risks()
	for _, c := range changes {
		if n := len(v.tenants); n == 0 || v.tenants[n-1].name != c.Tenant {
			v.tenants = append(v.tenants, tenant{name: c.Tenant, risk: riskOf(ofTenant, c.Tenant)})
		}
		t := &v.tenants[len(v.tenants)-1]
		t.changes++
		if groups[c.Group] {
			t.grouped++
			continue
		}
		if n := len(t.clusters); n == 0 || t.clusters[n-1].name != c.Cluster {
			t.clusters = append(t.clusters, cluster{name: c.Cluster})
		}
		in := &t.clusters[len(t.clusters)-1]
		if n := len(in.namespaces); n == 0 || in.namespaces[n-1].name != c.Namespace {
			in.namespaces = append(in.namespaces, namespace{name: c.Namespace, risk: riskOf(ofNamespace, c.Namespace)})
		}
		ns := &in.namespaces[len(in.namespaces)-1]
		ns.changes = append(ns.changes, c)
	}
	slices.SortStableFunc(v.tenants, func(a, b tenant) int { return a.risk.Weight() - b.risk.Weight() })
}

// risks are the highest of the findings about each tenant and namespace.
func (v *view) risks() (ofTenant, ofNamespace map[string]review.Risk) {
	ofTenant, ofNamespace = map[string]review.Risk{}, map[string]review.Risk{}
	for _, f := range v.findings { // highest first
		for _, t := range f.Tenants {
			if _, known := ofTenant[t]; !known {
				ofTenant[t] = f.Risk
			}
		}
		for _, n := range f.Namespaces {
			if _, known := ofNamespace[n]; !known {
				ofNamespace[n] = f.Risk
			}
		}
	}
	return ofTenant, ofNamespace
}

func riskOf(risks map[string]review.Risk, name string) review.Risk {
	if r, ok := risks[name]; ok && name != "" {
		return r
	}
	return review.Info
}

// verdict is the report in one sentence.
func (v *view) verdict() string {
	var faults []string
	if v.weights.Errors > 0 {
		faults = append(faults, count(v.weights.Errors, "error"))
	}
	if v.weights.Violations > 0 {
		faults = append(faults, count(v.weights.Violations, "new policy violation"))
	}
	switch {
	case len(faults) > 0:
		return "Must not be merged as it is: " + strings.Join(faults, ", ")
	case v.weights.Platform > 0:
		return "Needs approval by the platform team"
	case v.weights.HighRisks > 0:
		return count(v.weights.HighRisks, "finding") + " of high risk"
	case len(v.Changes) == 0:
		return "No object changes"
	default:
		return count(len(v.Changes), "object") + " " + verb(len(v.Changes), "changes", "change")
	}
}

// counts is the summary as one line of text.
func (v *view) counts() string {
	s := v.Summary
	return fmt.Sprintf("%s created, %s changed, %s deleted, %s moved; %s of %s",
		thousands(s.Created), thousands(s.Changed), thousands(s.Deleted), thousands(s.Moved),
		count(s.Namespaces, "namespace"), count(s.Tenants, "tenant"))
}

func count(n int, noun string) string {
	return thousands(n) + " " + verb(n, noun, noun+"s")
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// thousands writes 65,536 for 65536.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// sign is how a diff marks an action.
func sign(a review.Action) string {
	switch a {
	case review.Created:
		return "+"
	case review.Deleted:
		return "-"
	case review.Moved:
		return ">"
	default:
		return "~"
	}
}

// kind is "CiliumNetworkPolicy.cilium.io"; for the kinds of Kubernetes and our own
// the group is left out.
func kind(o review.Object) string {
	g, _, ok := strings.Cut(o.APIVersion, "/")
	if ok && strings.Contains(g, ".") && !strings.HasSuffix(g, ".k8s.io") && g != "aetherplatform.cloud" {
		return o.Kind + "." + g
	}
	return o.Kind
}

// where names the first namespaces, or tenants, of many.
func where(tenants, namespaces []string, limit int) (names []string, more string) {
	names, noun := namespaces, "namespace"
	if len(names) == 0 {
		names, noun = tenants, "tenant"
	}
	if len(names) <= limit {
		return names, ""
	}
	return names[:limit], "and " + count(len(names)-limit, "more "+noun)
}

// movedFrom says what of a moved object was another.
func movedFrom(c *review.Change) string {
	if c.From == nil {
		return ""
	}
	var was []string
	for _, x := range []struct{ what, before, after string }{
		{"tenant", c.From.Tenant, c.Tenant},
		{"cluster", c.From.Cluster, c.Cluster},
		{"namespace", c.From.Namespace, c.Namespace},
		{"name", c.From.Name, c.Name},
	} {
		if x.before != x.after {
			was = append(was, x.what+" "+cmp.Or(inert(x.before, maxName), `""`))
		}
	}
	if len(was) == 0 {
		return "from another file"
	}
	return "from " + strings.Join(was, ", ")
}
