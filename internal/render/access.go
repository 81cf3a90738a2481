package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// access works out who has which role: the tenant's owners and the namespace's
// own subjects, each once. While a namespace is cordoned everyone who had a role
// is a viewer.
func (t *Template) access(in Inputs, cordoned bool) (builtin map[string]any, roles []any, err error) {
	subjects := map[v1alpha1.Role][]v1alpha1.Subject{}
	grant := func(field string, grants []v1alpha1.Access) error {
		for i, g := range grants {
			if err := t.checkRole(g.Role); err != nil {
				return fmt.Errorf("%s[%d].role: %w", field, i, err)
			}
			if err := checkSubject(in.Tenant, g.Subject); err != nil {
				return fmt.Errorf("%s[%d]: %w", field, i, err)
			}
			role := g.Role
			if cordoned {
				role = v1alpha1.RoleViewer
			}
			if !slices.Contains(subjects[role], g.Subject) {
				subjects[role] = append(subjects[role], g.Subject)
			}
		}
		return nil
	}
	if err := grant(fmt.Sprintf("Tenant %q: spec.owners", in.Tenant.Name), in.Tenant.Spec.Owners); err != nil {
		return nil, nil, err
	}
	if err := grant("spec.access", in.Namespace.Spec.Access); err != nil {
		return nil, nil, err
	}

	builtin = map[string]any{
		string(v1alpha1.RoleAdmin):  subjectTrees(subjects[v1alpha1.RoleAdmin]),
		string(v1alpha1.RoleEditor): subjectTrees(subjects[v1alpha1.RoleEditor]),
		string(v1alpha1.RoleViewer): subjectTrees(subjects[v1alpha1.RoleViewer]),
	}
	roles = []any{}
	if len(t.values.roles) == 0 {
		return builtin, roles, nil
	}
	for _, name := range slices.Sorted(maps.Keys(t.values.roles)) {
		if has := subjects[v1alpha1.Role(name)]; len(has) > 0 {
			roles = append(roles, map[string]any{"name": name, "rules": t.values.roles[name], "subjects": subjectTrees(has)})
		}
	}
	return builtin, roles, nil
}

func (t *Template) checkRole(role v1alpha1.Role) error {
	switch role {
	case v1alpha1.RoleAdmin, v1alpha1.RoleEditor, v1alpha1.RoleViewer:
		return nil
	}
	if _, ok := t.values.roles[string(role)]; ok {
		return nil
	}
	known := append([]string{"admin", "editor", "viewer"}, slices.Sorted(maps.Keys(t.values.roles))...)
	return fmt.Errorf("%q is not a role of profile %q; use %s", role, t.profile.Name, oneOf(known))
}

// checkSubject keeps a binding from reaching Kubernetes' own identities and
// other tenants' service accounts, whatever let the spec through before.
func checkSubject(tenant *v1alpha1.Tenant, s v1alpha1.Subject) error {
	switch s.Kind {
	case "User", "Group":
		if strings.HasPrefix(s.Name, "system:") || strings.HasPrefix(s.Name, "oidc:system:") {
			return fmt.Errorf("name: %q: names that begin with 'system:' belong to Kubernetes; name a user or group of your identity provider", s.Name)
		}
	case "ServiceAccount":
		if !strings.HasPrefix(s.Namespace, tenant.Prefix()) {
			return fmt.Errorf("namespace: %q is not one of the tenant's own; name one that begins with %q", s.Namespace, tenant.Prefix())
		}
	default:
		return fmt.Errorf("kind: %q is not a kind of subject; use User, Group or ServiceAccount", s.Kind)
	}
	if s.Name == "" {
		return fmt.Errorf("name: a subject has no name")
	}
	return nil
}

const rbacGroup = "rbac.authorization.k8s.io"

func subjectTrees(subjects []v1alpha1.Subject) []any {
	out := make([]any, len(subjects))
	for i, s := range subjects {
		m := map[string]any{"kind": s.Kind, "name": s.Name}
		if s.Kind == "ServiceAccount" {
			m["namespace"] = s.Namespace
		} else {
			m["apiGroup"] = rbacGroup
		}
		out[i] = m
	}
	return out
}
