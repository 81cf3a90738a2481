package meaning

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/aetherplatform/aether/internal/fields"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

// hard is what quotas allow, each resource under one name.
type hard map[string]resource.Quantity

// aliases are names that a ResourceQuota takes for another's; package tenancy
// reads a tenant's budget the same way.
var aliases = map[string]string{"cpu": "requests.cpu", "memory": "requests.memory", "ephemeral-storage": "requests.ephemeral-storage"}

func (h hard) limit(name string, q resource.Quantity) {
	if full, ok := aliases[name]; ok {
		name = full
	}
	if have, ok := h[name]; !ok || q.Cmp(have) < 0 {
		h[name] = q
	}
}

// quotaOf is the least of a namespace's quotas.
func quotaOf(objects []*review.Rendered) hard {
	out := hard{}
	for _, o := range objects {
		if o.Kind != "ResourceQuota" {
			continue
		}
		for name, v := range fields.Map(o.Content, "spec", "hard") {
			if q, ok := quantity(v); ok {
				out.limit(name, q)
			}
		}
	}
	return out
}

func quantity(v any) (resource.Quantity, bool) {
	s, ok := v.(string)
	if !ok {
		s = fields.Canonical(v)
	}
	if len(s) > 64 {
		return resource.Quantity{}, false
	}
	q, err := resource.ParseQuantity(s)
	return q, err == nil
}

// quota finds namespaces whose quota or limits move.
func (w *world) quota(f *facts, s *scope) {
	if s.namespace == "" || s.new || s.gone() || s.same(classQuota) || w.unreadable[s.tenant] {
		return
	}
	before, after := quotaOf(s.base[classQuota]), quotaOf(s.head[classQuota])
	one := fact{risk: review.Low, category: review.QuotaMoved, tenant: s.tenant, scope: s.scopeKey, place: s.place(classQuota)}
	if moves, unbound := moved(before, after); len(moves) > 0 {
		quota := one
		if unbound {
			quota.risk = review.Medium
		}
		quota.text = "Quota of " + markWhere + ": " + strings.Join(moves, ", ")
		f.add(quota)
	}
	for _, p := range s.pairs(classQuota) {
		if o := p.any(); o.Kind == "LimitRange" {
			limits := one
			if p.head == nil {
				limits.risk = review.Medium
			}
			limits.text = "Limits of containers (LimitRange " + prose.Plain(o.Name) + ") " + map[bool]string{true: "go from ", false: "change in "}[p.head == nil] + markWhere
			f.add(limits)
		}
	}
}

// moved lists what differs, by name, and whether something is bounded no longer.
func moved(before, after hard) (moves []string, unbound bool) {
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		from, had := before[name]
		to, has := after[name]
		if had && has && from.Cmp(to) == 0 {
			continue
		}
		unbound = unbound || !has
		moves = append(moves, prose.Plain(name)+" "+text(from, had)+" → "+text(to, has))
	}
	if len(moves) > prose.MaxListed*2 {
		moves = append(moves[:prose.MaxListed*2], "and more")
	}
	return moves, unbound
}

func text(q resource.Quantity, there bool) string {
	if !there {
		return "unbounded"
	}
	return q.String()
}

// budget says what is taken of a tenant's quota, and what remains.
func (w *world) budget(f *facts, t *tenantPair) {
	if t.head == nil || w.unreadable[t.name] {
		return
	}
	before, after := budgetOf(t.base), budgetOf(t.head)
	if len(after) == 0 {
		return
	}
	usedBefore, usedAfter := w.used(t.base), w.used(t.head)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		of, was := after[name], before[name]
		from, to := usedBefore[name], usedAfter[name]
		if from.Cmp(to) == 0 && (t.base == nil || was.Cmp(of) == 0) {
			continue
		}
		left := of.DeepCopy()
		left.Sub(to)
		lines = append(lines, prose.Plain(name)+" "+from.String()+" → "+to.String()+" of "+of.String()+", "+left.String()+" remain")
	}
	if len(lines) == 0 {
		return
	}
	f.add(fact{
		risk: review.Info, category: review.QuotaMoved,
		text: markWho, who: prose.Plain(t.name) + ": " + strings.Join(lines, "; "), noun: "tenants' budgets are taken up differently",
		tenant: t.name, place: t.place(),
	})
}

func budgetOf(t *review.Tenant) hard {
	out := hard{}
	if spec := specOf(t); spec != nil && spec.Quota != nil {
		for name, q := range spec.Quota.Hard {
			out.limit(string(name), q)
		}
	}
	return out
}

// used is the sum of the quotas of a tenant's namespaces, on every cluster.
func (w *world) used(t *review.Tenant) hard {
	sum := hard{}
	if t == nil {
		return sum
	}
	quotas := map[scopeKey][]*review.Rendered{}
	for i := range t.Objects {
		if o := &t.Objects[i]; o.Kind == "ResourceQuota" {
			k := scopeKey{o.Cluster, o.Namespace}
			quotas[k] = append(quotas[k], o)
		}
	}
	for _, objects := range quotas {
		for name, q := range quotaOf(objects) {
			total := sum[name]
			total.Add(q)
			sum[name] = total
		}
	}
	return sum
}
