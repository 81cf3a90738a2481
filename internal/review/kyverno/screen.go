package kyverno

import (
	"context"
	"encoding/json"
	"slices"

	kyvernov1 "github.com/kyverno/kyverno/api/kyverno/v1"
	"github.com/kyverno/kyverno/pkg/admissionpolicy"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/aetherplatform/aether/internal/review/policy"
)

// screen tells which requests no rule of plain CEL refuses, whether it is about them
// or not. Kyverno compiles the expressions of such a rule at each request, which takes
// milliseconds; here Kyverno's compiler is asked once. What does not pass goes to
// Kyverno's engine, which knows whether the rule is about it and what to say.
type screen []validating.Validator

// screened are the rules that can be screened, and the others. A rule that reads
// anything but the request is one of the others: it may fail without being evaluated.
func screened(rules []kyvernov1.Rule, kind, name string) (screen, []kyvernov1.Rule) {
	var s screen
	var others []kyvernov1.Rule
	for i := range rules {
		v := screenOf(&rules[i], kind, name)
		if v == nil {
			others = append(others, rules[i])
			continue
		}
		s = append(s, v)
	}
	return s, others
}

// screenOf is what Kyverno's handler of such rules makes at each request; nil if the
// rule cannot be screened.
func screenOf(rule *kyvernov1.Rule, kind, name string) validating.Validator {
	if !rule.HasValidateCEL() || rule.Validation.CEL.HasParam() || len(rule.Context) > 0 || rule.RawAnyAllConditions != nil {
		return nil
	}
	if text, err := json.Marshal(rule); err != nil || variable.Match(text) {
		return nil
	}
	compiler, err := admissionpolicy.NewCompiler(rule.CELPreconditions, rule.Validation.CEL.Variables)
	if err != nil {
		return nil
	}
	validations := slices.Clone(rule.Validation.CEL.Expressions)
	for i := range validations {
		if validations[i].Message == "" {
			validations[i].Message = rule.Validation.Message
		}
	}
	compiler.WithValidations(validations)
	compiler.WithAuditAnnotations(rule.Validation.CEL.AuditAnnotations)
	all := cel.OptionalVariableDeclarations{HasAuthorizer: true} // a rule that asks it is not evaluated at all
	compiler.CompileVariables(all)
	return validating.NewValidator(
		compiler.CompileValidations(all),
		matchconditions.NewMatcher(compiler.CompileMatchConditions(all), nil, kind, "", name),
		compiler.CompileAuditAnnotationsExpressions(all),
		compiler.CompileMessageExpressions(cel.OptionalVariableDeclarations{}),
		nil, nil)
}

// passes is whether no rule refuses a request, or fails on it.
func (s screen) passes(ctx context.Context, r *policy.Request) bool {
	var object, old runtime.Object // nil interfaces where there is none
	if r.OldObject != nil {
		old = r.OldObject
	}
	if r.Object != nil {
		object = r.Object
	}
	subject := r.Subject()
	if subject.GroupVersionKind() != r.Kind {
		return false
	}
	namespace, in := namespaceOf(r), subject.GetNamespace()
	if r.Kind.Group == "" && r.Kind.Kind == "Namespace" {
		namespace, in = nil, ""
	}
	if in == "" {
		namespace = nil
	} else if namespace == nil || namespace.Name != in {
		return false // Kyverno's engine says what becomes of it
	}
	user := admissionpolicy.NewUser(userOf(r.User))
	attributes, err := admission.NewVersionedAttributes(
		admission.NewAttributesRecord(object, old, r.Kind, in, subject.GetName(), r.Resource, "", r.Operation, nil, false, &user),
		r.Kind, admission.NewObjectInterfacesFromScheme(runtime.NewScheme()))
	if err != nil {
		return false
	}
	for _, v := range s {
		result := v.Validate(ctx, r.Resource, attributes, nil, namespace, celconfig.RuntimeCELCostBudget, nil)
		for _, d := range result.Decisions {
			if d.Action != validating.ActionAdmit || d.Evaluation == validating.EvalError {
				return false
			}
		}
	}
	return true
}
