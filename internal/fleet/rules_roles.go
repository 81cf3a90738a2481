package fleet

import (
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// unboundedVerbs are the verbs that would let a tenant's role grow by itself.
// The admission policy operator-confined refuses them too; here the pull request
// says so.
var unboundedVerbs = []string{rbacv1.VerbAll, "bind", "escalate", "impersonate"}

// unbounded says what in a rule no tenant's role may hold; empty when nothing is.
func unbounded(rule rbacv1.PolicyRule) (field, message string) {
	for i, verb := range rule.Verbs {
		if slices.Contains(unboundedVerbs, verb) {
			return fmt.Sprintf(".verbs[%d]", i), fmt.Sprintf("%q is not for a tenant's role; list verbs such as get, list and watch", verb)
		}
	}
	if i := slices.Index(rule.APIGroups, rbacv1.APIGroupAll); i >= 0 {
		return fmt.Sprintf(".apiGroups[%d]", i), `"*" is not for a tenant's role; list API groups such as apps`
	}
	return "", ""
}
