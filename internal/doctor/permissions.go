package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/config/rbac"
)

const applyRoles = "kubectl apply --server-side --force-conflicts -f config/rbac/namespace-operator.yaml"

// askReviews is the right that questions about somebody else's rights take.
var askReviews = right{verb: "create", resource: "subjectaccessreviews.authorization.k8s.io"}

// reviewsAtOnce bounds how many questions are under way.
const reviewsAtOnce = 16

// rule is a rule of a role of the operator.
type rule struct {
	role      string // ClusterRole/name, or Role/namespace/name
	namespace string // "" is the whole cluster
	rbacv1.PolicyRule
}

// rules are all rules of the operator's roles, with its namespace in place of the usual.
func (c *cluster) rules() ([]rule, error) {
	data, err := rbac.FS.ReadFile("namespace-operator.yaml")
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var all []rule
	for {
		var role rbacv1.Role // and ClusterRole, which differs in its scope
		err := decoder.Decode(&role)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("config/rbac/namespace-operator.yaml: %w", err)
		}
		namespace := role.Namespace
		if namespace == v1alpha1.SystemNamespace {
			namespace = c.namespace
		}
		name := role.Kind + "/" + role.Name
		if namespace != "" {
			name = role.Kind + "/" + namespace + "/" + role.Name
		}
		for _, r := range role.Rules {
			all = append(all, rule{name, namespace, r})
		}
	}
}

// rights are what a rule gives, one question each.
func (r rule) rights() []authorizationv1.ResourceAttributes {
	names := r.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var all []authorizationv1.ResourceAttributes
	for _, group := range r.APIGroups {
		for _, resource := range r.Resources {
			resource, sub, _ := strings.Cut(resource, "/")
			for _, name := range names {
				for _, verb := range r.Verbs {
					all = append(all, authorizationv1.ResourceAttributes{
						Namespace: r.namespace, Verb: verb, Group: group, Resource: resource, Subresource: sub, Name: name,
					})
				}
			}
		}
	}
	return all
}

// may asks whether the operator has each of these rights. The first is asked alone, since
// who may not ask about it may not ask about the others.
func (c *cluster) may(ctx context.Context, rights []authorizationv1.ResourceAttributes) ([]bool, error) {
	allowed := make([]bool, len(rights))
	var group errgroup.Group
	group.SetLimit(reviewsAtOnce)
	for i := range rights {
		if i == 1 {
			if err := group.Wait(); err != nil {
				return nil, err
			}
		}
		group.Go(func() error {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + c.namespace + ":" + v1alpha1.ManagedBy,
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + c.namespace, "system:authenticated"},
				ResourceAttributes: &rights[i],
			}}
			if err := c.Create(ctx, review); err != nil {
				return err
			}
			allowed[i] = review.Status.Allowed
			return nil
		})
	}
	return allowed, group.Wait()
}

func (c *cluster) checkPermissions(ctx context.Context) []Finding {
	rules, err := c.rules()
	if err != nil {
		return one(failed("", "", "%v", err))
	}
	var rights []authorizationv1.ResourceAttributes
	var of []int // the rule that each right is of
	for i := range rules {
		for _, r := range rules[i].rights() {
			rights, of = append(rights, r), append(of, i)
		}
	}
	allowed, err := c.may(ctx, rights)
	if err != nil {
		return one(c.unread(err, askReviews))
	}
	missing := make([]missing, len(rules))
	none := true
	for i := range rights {
		if allowed[i] {
			none = false
			continue
		}
		missing[of[i]].add(rights[i].Verb, resourceName(&rights[i]))
	}
	if none {
		return one(failed("ServiceAccount/"+c.namespace+"/"+v1alpha1.ManagedBy, applyRoles, "it may do nothing of what it needs: its roles are not bound to it"))
	}
	var found []Finding
	for i := range rules {
		if len(missing[i].resources) == 0 {
			continue
		}
		found = append(found, failed(rules[i].role, applyRoles, "the operator may not %s%s", missing[i].String(), where(rules[i].namespace)))
	}
	if len(found) > 0 {
		return found
	}
	return one(ok("it has all %d rights that it needs, of %s", len(rights), count(len(rules), "rule")))
}

// missing are verbs by resource, in the order of the rule.
type missing struct {
	resources []string
	verbs     map[string][]string
}

func (m *missing) add(verb, resource string) {
	if m.verbs == nil {
		m.verbs = map[string][]string{}
	}
	if m.verbs[resource] == nil {
		m.resources = append(m.resources, resource)
	}
	m.verbs[resource] = append(m.verbs[resource], verb)
}

// String is "create, patch roles.rbac.authorization.k8s.io and get secrets".
func (m *missing) String() string {
	var all []string
	for _, resource := range m.resources {
		all = append(all, strings.Join(m.verbs[resource], ", ")+" "+resource)
	}
	return strings.Join(all, " and ")
}

// resourceName is a resource as kubectl auth can-i takes it, and the one name it is
// bound to.
func resourceName(r *authorizationv1.ResourceAttributes) string {
	name := r.Resource
	if r.Group != "" {
		name += "." + r.Group
	}
	if r.Subresource != "" {
		name += "/" + r.Subresource
	}
	if r.Name != "" {
		name += " " + r.Name
	}
	return name
}

func where(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in namespace " + namespace
}

// excess are rights that would make the operator more than what it is for, and what
// each would let whoever has taken it over do.
var excess = []struct {
	authorizationv1.ResourceAttributes
	means string
}{
	{authorizationv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"}, "it is a cluster administrator"},
	{authorizationv1.ResourceAttributes{Verb: "get", Resource: "secrets"}, "it can read every Secret"},
	{authorizationv1.ResourceAttributes{Verb: "list", Resource: "secrets"}, "it can read every Secret"},
	{authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "users"}, "it can act as anybody"},
	{authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "groups"}, "it can act as anybody"},
	{authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "serviceaccounts"}, "it can act as any service account"},
	{authorizationv1.ResourceAttributes{Verb: "create", Resource: "serviceaccounts", Subresource: "token"}, "it can log in as any service account"},
	{authorizationv1.ResourceAttributes{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}, "it can give itself every right"},
	{authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods"}, "it can run anything as any service account"},
	{authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "exec"}, "it can run commands in every Pod"},
	{authorizationv1.ResourceAttributes{Verb: "patch", Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies"}, "it can switch off the policies that bound it"},
}

func (c *cluster) checkExcess(ctx context.Context) []Finding {
	rights := make([]authorizationv1.ResourceAttributes, len(excess))
	for i := range excess {
		rights[i] = excess[i].ResourceAttributes
	}
	allowed, err := c.may(ctx, rights)
	if err != nil {
		return one(c.unread(err, askReviews))
	}
	const advice = "take the right away: find the binding with `kubectl get clusterrolebindings -o wide | grep namespace-operator`, and apply config/rbac/namespace-operator.yaml"
	var found []Finding
	for i := range excess {
		if !allowed[i] {
			continue
		}
		what := excess[i].Verb + " " + resourceName(&rights[i])
		if excess[i].Verb == "*" {
			return one(failed("ServiceAccount/"+c.namespace+"/"+v1alpha1.ManagedBy, advice, "the operator may do everything: %s", excess[i].means))
		}
		found = append(found, failed("ServiceAccount/"+c.namespace+"/"+v1alpha1.ManagedBy, advice, "the operator may %s in every namespace: %s", what, excess[i].means))
	}
	if len(found) > 0 {
		return found
	}
	return one(ok("it may not read Secrets, act as others, run Pods, or change its bounds"))
}
