package doctor

import (
	"context"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/policies"
)

// Advice to apply forces: whoever changed what is applied is in the way otherwise.
const applyPolicies = "kubectl apply --server-side --force-conflicts -k policies/admission"

// policyDefaults are what the API server writes into policies that leave it out.
var policyDefaults = map[string]any{
	"failurePolicy":     "Fail",
	"matchPolicy":       "Equivalent",
	"scope":             "*",
	"namespaceSelector": map[string]any{},
	"objectSelector":    map[string]any{},
}

// folds are line breaks in an expression: kubectl apply -k writes others. None is within
// a string of CEL, where there can be none.
var folds = regexp.MustCompile(`\s*\n\s*`)

// comparePolicies compares specs, but for what means the same.
func comparePolicies(want, have *unstructured.Unstructured) []difference {
	differences := compare(unfolded(want.Object["spec"]), unfolded(have.Object["spec"]), policyDefaults)
	return slices.DeleteFunc(differences, func(d difference) bool {
		return d.path == "validationActions" && d.kind == beyond && denies(have) // it warns or audits too
	})
}

func denies(binding *unstructured.Unstructured) bool {
	actions, _, _ := unstructured.NestedStringSlice(binding.Object, "spec", "validationActions")
	return slices.Contains(actions, "Deny")
}

func unfolded(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = unfolded(v[k])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = unfolded(v[i])
		}
		return out
	case string:
		return folds.ReplaceAllString(strings.TrimSpace(v), " ")
	default:
		return value
	}
}

// resources of the kinds that policies come in.
var resources = map[string]string{
	"ValidatingAdmissionPolicy":        "validatingadmissionpolicies",
	"ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}

// eachPolicy gets each of Aether's policies and bindings. Where one cannot be read, the
// finding says why.
func (c *cluster) eachPolicy(ctx context.Context, see func(want, have *unstructured.Unstructured)) *Finding {
	wanted, err := policies.Admission()
	if err != nil {
		f := failed("", "", "%v", err)
		return &f
	}
	for _, want := range wanted {
		have := &unstructured.Unstructured{}
		have.SetGroupVersionKind(want.GroupVersionKind())
		err := c.Get(ctx, client.ObjectKeyFromObject(want), have)
		switch {
		case apierrors.IsNotFound(err):
			have = nil
		case err != nil:
			f := c.unread(err, right{verb: "get", resource: resources[want.GetKind()] + ".admissionregistration.k8s.io"})
			return &f
		}
		see(want, have)
	}
	return nil
}

func (c *cluster) checkPolicies(ctx context.Context) []Finding {
	var found []Finding
	n := 0
	unread := c.eachPolicy(ctx, func(want, have *unstructured.Unstructured) {
		n++
		object := want.GetKind() + "/" + want.GetName()
		if have == nil {
			found = append(found, failed(object, applyPolicies, "is missing: what it refuses is let through"))
			return
		}
		if d := comparePolicies(want, have); len(d) > 0 {
			found = append(found, failed(object, applyPolicies, "is not the one of this program: it differs at spec.%s", d[0].path))
		}
	})
	switch {
	case unread != nil:
		return one(*unread)
	case len(found) == n:
		return one(failed("", applyPolicies, "none of the %d is there as it has to be: the API server refuses nothing for Aether", n))
	case len(found) > 0:
		return found
	}
	return one(ok("%d policies and bindings are those of this program", n))
}

func (c *cluster) checkTypes(ctx context.Context) []Finding {
	var found []Finding
	n := 0
	unread := c.eachPolicy(ctx, func(_, have *unstructured.Unstructured) {
		if have == nil {
			return // told by "policies"
		}
		n++
		warnings, _, _ := unstructured.NestedSlice(have.Object, "status", "typeChecking", "expressionWarnings")
		if len(warnings) == 0 {
			return
		}
		field, text := "", ""
		if first, isMap := warnings[0].(map[string]any); isMap {
			field, _ = first["fieldRef"].(string)
			text, _ = first["warning"].(string)
		}
		found = append(found, warning(have.GetKind()+"/"+have.GetName(), "compare the cluster's version with the supported ones; kubectl describe shows all of it",
			"%s: %s: %s", count(len(warnings), "expression warning"), field, oneLine(text)))
	})
	switch {
	case unread != nil:
		return one(*unread)
	case len(found) > 0:
		return found
	case n == 0:
		return one(unchecked("there is none"))
	}
	return one(ok("it has no warning"))
}

func (c *cluster) checkEnforced(ctx context.Context) []Finding {
	holds, err := policies.Enforced(ctx, c)
	switch {
	case holds:
		return one(ok("the API server refuses what only they forbid"))
	case err == nil:
		return one(failed("", applyPolicies+"; policies hold a moment after they are stored",
			"the API server does not refuse what they forbid: a system namespace that a tenant may adopt"))
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource"):
		return one(unchecked("you may not create namespaces, not even as a dry run"))
	case apierrors.IsBadRequest(err):
		return one(unchecked("a webhook of the cluster knows no dry run: %s", oneLine(err.Error())))
	case apierrors.IsForbidden(err):
		return one(unchecked("something else refuses the dry run: %s", oneLine(err.Error())))
	default:
		return one(c.unread(err, right{verb: "create", resource: "namespaces as a dry run"}))
	}
}
