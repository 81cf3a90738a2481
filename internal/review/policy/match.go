package policy

import (
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/object"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
)

// criteria is matchConstraints or matchResources, its selectors parsed once.
type criteria struct {
	admissionv1.MatchResources
	namespaces labels.Selector
	objects    labels.Selector
}

func newCriteria(m *admissionv1.MatchResources) (*criteria, error) {
	c := &criteria{MatchResources: *m, namespaces: labels.Everything(), objects: labels.Everything()}
	var err error
	if m.NamespaceSelector != nil {
		if c.namespaces, err = metav1.LabelSelectorAsSelector(m.NamespaceSelector); err != nil {
			return nil, fmt.Errorf("namespaceSelector: %w", err)
		}
	}
	if m.ObjectSelector != nil {
		if c.objects, err = metav1.LabelSelectorAsSelector(m.ObjectSelector); err != nil {
			return nil, fmt.Errorf("objectSelector: %w", err)
		}
	}
	return c, nil
}

// GetParsedObjectSelector implements object.ObjectSelectorProvider.
func (c *criteria) GetParsedObjectSelector() (labels.Selector, error) { return c.objects, nil }

// matches is k8s.io/apiserver's matching.Matcher.Matches, with Namespaces from the
// render. What costs least is asked first.
func (c *criteria) matches(r *request) (bool, error) {
	if c.anyRule(c.ExcludeResourceRules, r) {
		return false, nil
	}
	if len(c.ResourceRules) > 0 && !c.anyRule(c.ResourceRules, r) {
		return false, nil
	}
	if !c.namespaces.Empty() && r.inNamespace() && !c.namespaces.Matches(labels.Set(r.namespaceLabels())) {
		return false, nil
	}
	matches, err := (&object.Matcher{}).MatchObjectSelector(c, r)
	if err != nil {
		return false, err
	}
	return matches, nil
}

// anyRule is whether one of the rules is about the request. With matchPolicy
// Equivalent, the default, a rule for another version of a kind is too; the object
// is judged in the version that it is rendered in, since converting it would need
// the kind's own code.
func (c *criteria) anyRule(all []admissionv1.NamedRuleWithOperations, r *request) bool {
	exact := c.MatchPolicy != nil && *c.MatchPolicy == admissionv1.Exact
	for i := range all {
		rule := &all[i]
		m := rules.Matcher{Rule: rule.RuleWithOperations, Attr: r}
		if !exact {
			m.Rule.APIVersions = anyVersion
		}
		if m.Matches() && named(rule.ResourceNames, r.GetName()) {
			return true
		}
	}
	return false
}

var anyVersion = []string{"*"}

func named(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return len(names) == 0
}

func (b *binding) matches(r *request) (bool, error) {
	if b.where == nil {
		return true, nil
	}
	return b.where.matches(r)
}

// mayMatch tells what a policy has nothing to do with before more is asked.
func (p *policy) mayMatch(r *request) bool {
	if p.Spec.MatchConstraints.ResourceRules == nil {
		return true
	}
	return p.constraints.anyRule(p.constraints.ResourceRules, r)
}

// inNamespace is whether a selector of Namespaces can exempt the request; what is
// cluster-scoped never is, but for a Namespace itself.
func (r *request) inNamespace() bool { return r.GetNamespace() != "" }

// namespaceLabels are those of the Namespace: for one that is written, the new ones.
func (r *request) namespaceLabels() map[string]string {
	if r.isNamespace && r.GetOperation() != admission.Delete {
		return r.written.GetLabels()
	}
	return r.namespace.Labels
}
