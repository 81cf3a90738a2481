package meaning

import (
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

// versions says which clusters cannot have the version that is asked for: the API refuses
// it, by the same rule, once the change is merged.
func (w *world) versions(f *facts, t *tenantPair) {
	if w.unreadable[t.name] {
		return
	}
	head := clustersOf(t.head)
	for name, base := range clustersOf(t.base) {
		c := head[name]
		if c == nil || c.Value.Spec.Version == base.Value.Spec.Version {
			continue
		}
		from, to := base.Value.Spec.Version, c.Value.Spec.Version
		was, err := version.ParseSemantic(from)
		is, other := version.ParseSemantic(to)
		if err != nil || other != nil {
			continue // an error of the file, which is said as one
		}
		one := fact{
			risk: review.High, category: review.Immutable, tenant: t.name, place: placeOf(c.Position),
			who: prose.Plain(name), noun: "clusters",
		}
		switch {
		case is.LessThan(was):
			one.risk = review.Medium
			one.text = "WorkloadCluster " + markWho + " goes back from " + prose.Plain(from) + " to " + prose.Plain(to)
			one.detail = []string{"Refused, unless its API servers still run that version, as after an upgrade that failed"}
		case is.Major() != was.Major() || is.Minor() > was.Minor()+1:
			one.text = "WorkloadCluster " + markWho + " cannot go from " + prose.Plain(from) + " to " + prose.Plain(to)
			one.detail = []string{"Refused: a cluster goes up by one minor version at a time"}
		default:
			continue
		}
		f.add(one)
	}
}
