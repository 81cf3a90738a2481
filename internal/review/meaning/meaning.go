// Package meaning says what a change of a fleet means: who can now do what, who
// can now reach whom, what is deleted, and how much of the fleet is touched.
//
// It reads what the rendered objects do, never how they are written: objects in
// another order, a narrower network inside an open one, or a verb that a wildcard
// had already given are no findings. It decides nothing about what may be merged,
// and it never repeats the value of a secret.
package meaning

import (
	"cmp"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

// DeploySource is the category of a namespace that is deployed from somewhere else.
const DeploySource review.Category = "DeploySourceChanged"

// Find returns what the difference of two sides means, highest risk first. It
// reads the changes and groups of the report, and changes nothing of it. Findings
// that are alike in many namespaces are one.
//
// A tenant with errors at head is left out: nothing of it would be applied. Of one
// with errors at base nothing is known, so all that it has at head counts as gained.
func Find(base, head *review.Side, report *review.Report) []review.Finding {
	w := newWorld(base, head)
	f := &facts{}
	for _, s := range w.scopes {
		w.rights(f, s)
		w.network(f, s)
		w.podSecurity(f, s)
		w.quota(f, s)
		w.immutable(f, s)
		w.secretObjects(f, s)
		w.policies(f, s)
		w.storage(f, s)
	}
	for _, t := range w.tenants {
		w.unknown(f, t)
		w.budget(f, t)
		w.names(f, t)
		w.removals(f, t)
		w.versions(f, t)
		w.secrets(f, t)
		w.sources(f, t)
		w.limits(f, t)
	}
	w.profiles(f)
	w.openBao(f)
	w.exceptions(f)
	blastRadius(f, report)
	return f.findings()
}

// byRisk is the order in which findings are read.
func byRisk(a, b review.Finding) int {
	return cmp.Or(
		cmp.Compare(a.Risk.Weight(), b.Risk.Weight()),
		cmp.Compare(order(a.Category), order(b.Category)),
		strings.Compare(a.Title, b.Title),
		slices.Compare(a.Details, b.Details),
	)
}

// order of categories within a risk: what cannot be taken back first.
func order(c review.Category) int {
	i := slices.Index([]review.Category{
		review.IsolationEroded, review.DataDeleted, review.NetworkOpened, review.RightsGained, review.PodSecurity,
		review.SoftDeleted, review.SecretSource, DeploySource, review.PolicyChanged, review.Exception, review.TenantLimits,
		review.NameClaimed, review.Immutable, review.QuotaMoved, review.BlastRadius, review.NameReleased,
		review.RightsLost, review.NetworkClosed,
	}, c)
	if i < 0 {
		return 99 // one that is added later comes last
	}
	return i
}
