package tenancy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// DefaultMaxNamespaces is how many namespaces a tenant may have that does not
// say; the schema sets the same default.
const DefaultMaxNamespaces = 10

// CheckOverrides says which of a namespace's overrides its profile does not
// permit.
func CheckOverrides(ns *v1alpha1.TenantNamespace, p *v1alpha1.NamespaceProfile) []error {
	o := ns.Spec.Overrides
	if o == nil {
		return nil
	}
	set := map[v1alpha1.Overridable]bool{
		v1alpha1.OverrideQuota:       len(o.Quota) > 0,
		v1alpha1.OverrideLimits:      len(o.Limits) > 0,
		v1alpha1.OverridePodSecurity: o.PodSecurity != "",
	}
	var errs []error
	for _, field := range slices.Sorted(maps.Keys(set)) {
		if set[field] && !slices.Contains(p.Spec.Overridable, field) {
			errs = append(errs, notOverridable(field, p))
		}
	}
	return errs
}

func notOverridable(field v1alpha1.Overridable, p *v1alpha1.NamespaceProfile) error {
	instead := "remove it"
	if o := p.Spec.Overridable; len(o) > 0 {
		instead += ", or override " + join(slices.Sorted(slices.Values(o)))
	}
	return errorf("spec.overrides."+string(field), "profile %q does not let a namespace override it; %s", p.Name, instead)
}

// QuotaOf is the quota of a namespace: its size's, with its overrides.
func QuotaOf(ns *v1alpha1.TenantNamespace, p *v1alpha1.NamespaceProfile) (corev1.ResourceList, error) {
	size, ok := p.Spec.Sizes[ns.Spec.Size]
	if !ok {
		return nil, errorf("spec.size", "%q is not a size of profile %q; use %s",
			ns.Spec.Size, p.Name, join(slices.Sorted(maps.Keys(p.Spec.Sizes))))
	}
	o := ns.Spec.Overrides
	if o == nil || len(o.Quota) == 0 {
		return size.Quota, nil
	}
	if !slices.Contains(p.Spec.Overridable, v1alpha1.OverrideQuota) {
		return nil, notOverridable(v1alpha1.OverrideQuota, p)
	}
	quota := maps.Clone(size.Quota)
	for name, q := range o.Quota {
		quota[name] = q
	}
	return quota, nil
}

// Admit decides which namespaces fit into their tenant's limits: the earliest
// first, by creation and then by name. It returns why each of the others does
// not. A namespace on several clusters has its quota in each of them, and counts
// that often. A namespace whose profile is not there counts as one of max, and
// towards no quota.
func Admit(t *v1alpha1.Tenant, all []*v1alpha1.TenantNamespace, profile func(string) *v1alpha1.NamespaceProfile) map[string]error {
	refused := map[string]error{}
	room := DefaultMaxNamespaces
	if m := t.Spec.Namespaces.Max; m != nil {
		room = int(*m)
	}
	budget := budgetOf(t)

	admitted := 0
	for _, ns := range byAge(all) {
		if admitted >= room {
			refused[ns.Name] = errorf("metadata.name", "%q is one namespace more than the %d that Tenant %q may have; remove one, or raise its spec.namespaces.max",
				ns.Name, room, t.Name)
			continue
		}
		admitted++ // even when its quota does not fit: one fault, one message

		p := profile(ns.Spec.Profile)
		if p == nil {
			continue
		}
		quota, err := QuotaOf(ns, p)
		if err == nil {
			err = budget.take(ns, quota)
		}
		if err != nil {
			refused[ns.Name] = err
		}
	}
	return refused
}

func byAge(all []*v1alpha1.TenantNamespace) []*v1alpha1.TenantNamespace {
	return slices.SortedFunc(slices.Values(all), func(a, b *v1alpha1.TenantNamespace) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// budget is what a tenant's namespaces may use together, and what is taken.
type budget struct {
	tenant string
	names  []corev1.ResourceName // sorted, so that messages are always the same
	hard   corev1.ResourceList
	used   map[corev1.ResourceName]*resource.Quantity
}

func budgetOf(t *v1alpha1.Tenant) *budget {
	b := &budget{tenant: t.Name, used: map[corev1.ResourceName]*resource.Quantity{}}
	if t.Spec.Quota == nil {
		return b
	}
	b.hard = canonical(t.Spec.Quota.Hard)
	b.names = slices.Sorted(maps.Keys(b.hard))
	for _, name := range b.names {
		b.used[name] = &resource.Quantity{}
	}
	return b
}

// take adds a namespace's quota to what is used, unless it does not fit.
func (b *budget) take(ns *v1alpha1.TenantNamespace, quota corev1.ResourceList) error {
	if len(b.names) == 0 {
		return nil
	}
	quota = canonical(quota)
	times := int64(max(1, len(ns.Spec.Clusters)))
	field := "spec.size"
	if ns.Spec.Overrides != nil && len(ns.Spec.Overrides.Quota) > 0 {
		field = "spec.overrides.quota"
	}

	after := make(map[corev1.ResourceName]*resource.Quantity, len(b.names))
	var unbounded, over []string
	for _, name := range b.names {
		q, ok := quota[name]
		if !ok {
			unbounded = append(unbounded, string(name))
			continue
		}
		sum := b.used[name].DeepCopy()
		q = q.DeepCopy()
		if !q.Mul(times) {
			over = append(over, fmt.Sprintf("%s beyond what can be counted", name))
			continue
		}
		sum.Add(q)
		after[name] = &sum
		if hard := b.hard[name]; sum.Cmp(hard) > 0 {
			over = append(over, fmt.Sprintf("%s %s of %s", name, sum.String(), hard.String()))
		}
	}
	switch {
	case len(unbounded) > 0:
		return errorf(field, "%q does not bound %s, which the budget of Tenant %q does; use a size that bounds it, or take it out of spec.quota.hard",
			ns.Spec.Size, strings.Join(unbounded, ", "), b.tenant)
	case len(over) > 0:
		return errorf(field, "%q brings Tenant %q to %s; use a smaller size, or raise its spec.quota.hard",
			ns.Spec.Size, b.tenant, strings.Join(over, ", "))
	}
	maps.Copy(b.used, after)
	return nil
}

// aliases are names that a ResourceQuota takes for another's.
var aliases = map[corev1.ResourceName]corev1.ResourceName{
	corev1.ResourceCPU:              corev1.ResourceRequestsCPU,
	corev1.ResourceMemory:           corev1.ResourceRequestsMemory,
	corev1.ResourceEphemeralStorage: corev1.ResourceRequestsEphemeralStorage,
}

// canonical writes each resource under one name. Where a list has both names,
// the smaller quantity is the one that binds.
func canonical(list corev1.ResourceList) corev1.ResourceList {
	written := false
	for short := range aliases {
		_, ok := list[short]
		written = written || ok
	}
	if !written {
		return list
	}
	out := make(corev1.ResourceList, len(list))
	for name, q := range list {
		if full, ok := aliases[name]; ok {
			name = full
		}
		if other, ok := out[name]; !ok || q.Cmp(other) < 0 {
			out[name] = q
		}
	}
	return out
}

// join lists names: "a, b or c".
func join[T ~string](names []T) string {
	var b strings.Builder
	for i, n := range names {
		switch {
		case i > 0 && i == len(names)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(n))
	}
	return b.String()
}
