package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aetherplatform/aether/internal/review"
)

// outcome collects what policies say.
type outcome struct {
	mu         sync.Mutex
	violations map[violation]bool // old
	remarks    map[remark]*remarks
}

type violation struct {
	object          review.Object
	place           review.Place
	policy, message string
}

// about is a policy, as the report names it.
type about struct {
	name  string
	place review.Place
}

// remark is a finding in the making: the same of many objects is one.
type remark struct {
	policy about
	kind   VerdictKind
	why    string // of what is unknown
}

type remarks struct {
	count   int
	details []string
}

func (o *outcome) add(p about, on *review.Rendered, v Verdict, old bool) {
	if v.Kind == Denies {
		if o.violations == nil {
			o.violations = map[violation]bool{}
		}
		o.violations[violation{on.Object, on.Place, p.name, v.Message}] = old
		return
	}
	key, detail := remark{policy: p, kind: v.Kind}, nameOf(on.Object)
	if v.Kind == Unknown {
		key.why = v.Message
	} else {
		detail += ": " + v.Message
	}
	o.remark(key, 1, detail)
}

func (o *outcome) remark(key remark, count int, details ...string) {
	if o.remarks == nil {
		o.remarks = map[remark]*remarks{}
	}
	a := o.remarks[key]
	if a == nil {
		a = &remarks{}
		o.remarks[key] = a
	}
	a.count += count
	a.details = append(a.details, details...)
	if len(a.details) > 2*mostListed { // keep the first by name, whoever came first
		slices.Sort(a.details)
		a.details = a.details[:mostListed]
	}
}

// merge takes what a worker found.
func (o *outcome) merge(more *outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for v, old := range more.violations {
		if o.violations == nil {
			o.violations = map[violation]bool{}
		}
		o.violations[v] = old
	}
	for key, a := range more.remarks {
		o.remark(key, a.count, a.details...)
	}
}

// denied is the violations: new ones first, then by object.
func (o *outcome) denied() []review.Violation {
	all := make([]review.Violation, 0, len(o.violations))
	for v, old := range o.violations {
		all = append(all, review.Violation{Object: v.object, Place: v.place, Policy: v.policy, Message: v.message, Old: old})
	}
	slices.SortFunc(all, func(a, b review.Violation) int {
		if a.Old != b.Old {
			if b.Old {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.APIVersion, b.APIVersion),
			cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Message, b.Message))
	})
	return all
}

// findings is what policies warn of, and what of them is not known.
func (o *outcome) findings() []review.Finding {
	var all []review.Finding
	for key, a := range o.remarks {
		slices.Sort(a.details)
		if a.count > mostListed {
			a.details = append(a.details[:min(mostListed, len(a.details))], fmt.Sprintf("and %d more", a.count-mostListed))
		}
		f := review.Finding{Risk: review.Info, Category: Warned, Place: key.policy.place, Details: a.details}
		f.Title = fmt.Sprintf("Policy %q warns of %s and refuses none", key.policy.name, objects(a.count))
		if key.kind == Unknown {
			f.Category = NotEvaluated
			f.Title = fmt.Sprintf("Policy %q is not evaluated on %s: %s", key.policy.name, objects(a.count), key.why)
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b review.Finding) int { return strings.Compare(a.Title, b.Title) })
	return all
}

func objects(n int) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}

// nameOf is "NetworkPolicy acme-web/open", with the cluster where there is one.
func nameOf(o review.Object) string {
	name := o.Name
	if o.Namespace != "" && o.Namespace != o.Name {
		name = o.Namespace + "/" + name
	}
	if o.Cluster != "" {
		name += " on " + o.Cluster
	}
	return o.Kind + " " + name
}
