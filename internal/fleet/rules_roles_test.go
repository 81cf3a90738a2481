package fleet

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

func TestRoleOfAProfileStaysBounded(t *testing.T) {
	rule := func(group string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{"", group}, Resources: []string{"*"}, Verbs: verbs}
	}
	for name, c := range map[string]struct {
		rule rbacv1.PolicyRule
		want string
	}{
		"what is named one by one": {rule("apps", "get", "create"), ""},
		"every verb":               {rule("apps", "get", "*"), `.verbs[1]: "*" is not for a tenant's role; list verbs such as get, list and watch`},
		"escalation":               {rule("rbac.authorization.k8s.io", "escalate"), `.verbs[0]: "escalate" is not for a tenant's role; list verbs such as get, list and watch`},
		"binding":                  {rule("rbac.authorization.k8s.io", "bind"), `.verbs[0]: "bind" is not for a tenant's role; list verbs such as get, list and watch`},
		"impersonation":            {rule("", "impersonate"), `.verbs[0]: "impersonate" is not for a tenant's role; list verbs such as get, list and watch`},
		"every API group":          {rule("*", "get"), `.apiGroups[1]: "*" is not for a tenant's role; list API groups such as apps`},
	} {
		t.Run(name, func(t *testing.T) {
			field, message := unbounded(c.rule)
			if got := field + ": " + message; got != c.want && (c.want != "" || field != "") {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
