package meaning

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fields"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

const (
	enforce        = "pod-security.kubernetes.io/enforce"
	enforceVersion = "pod-security.kubernetes.io/enforce-version"
)

// levels of Pod Security, the laxest first.
var levels = []string{"privileged", "baseline", "restricted"}

// podSecurity finds namespaces in which Pods may do more, or less, than before.
func (w *world) podSecurity(f *facts, s *scope) {
	if s.namespace == "" || s.gone() || s.same(classNamespace) {
		return
	}
	labels := func(objects []*review.Rendered) map[string]string {
		if len(objects) == 0 {
			return nil
		}
		return fields.Labels(objects[0].Content, "metadata", "labels")
	}
	before, after := labels(s.base[classNamespace]), labels(s.head[classNamespace])
	from, to := slices.Index(levels, before[enforce]), slices.Index(levels, after[enforce])
	one := fact{tenant: s.tenant, scope: s.scopeKey, place: s.place(classNamespace)}
	born := before == nil // or base says nothing
	if born {
		from = len(levels) - 1
	}
	switch {
	case to < 0 && (from >= 0 || born):
		one.risk, one.category = review.High, review.IsolationEroded
		one.text = fmt.Sprintf("No Pod Security level is enforced in %s", markWhere)
		f.add(one)
	case to >= 0 && to < from:
		one.risk, one.category = review.Medium, review.PodSecurity
		if to == 0 {
			one.risk = review.High
		}
		one.text = fmt.Sprintf("Pod Security is lowered from %s to %s in %s", levels[from], levels[to], markWhere)
		if born {
			one.text = fmt.Sprintf("Pod Security is %s, not restricted, in %s, which %s new", levels[to], markWhere, markIs)
			one.risk = map[bool]review.Risk{true: review.High, false: review.Low}[to == 0]
		}
		f.add(one)
	case to > from:
		one.risk, one.category = review.Info, review.PodSecurity
		level := "nothing"
		if from >= 0 {
			level = levels[from]
		}
		one.text = fmt.Sprintf("Pod Security is raised from %s to %s in %s", level, levels[to], markWhere)
		one.detail = []string{"Pods that are there already keep running; new ones have to comply"}
		f.add(one)
	}
	if !born && to >= 0 && before[enforceVersion] != after[enforceVersion] {
		version := func(v string) string { return prose.Plain(cmp.Or(v, "latest")) }
		if version(before[enforceVersion]) != version(after[enforceVersion]) {
			one.risk, one.category = review.Medium, review.PodSecurity
			one.text = fmt.Sprintf("Pod Security is enforced as of %s instead of %s in %s", version(after[enforceVersion]), version(before[enforceVersion]), markWhere)
			f.add(one)
		}
	}
	if !born && before[v1alpha1.LabelTenant] != after[v1alpha1.LabelTenant] {
		one.risk, one.category = review.High, review.IsolationEroded
		one.text = fmt.Sprintf("%s carries the label of tenant %q instead of %q", markWhere, prose.Plain(after[v1alpha1.LabelTenant]), prose.Plain(before[v1alpha1.LabelTenant]))
		f.add(one)
	}
}
