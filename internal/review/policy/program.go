package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// program is the expressions of a policy, compiled when it first matches.
type program struct {
	once        sync.Once
	err         error
	conditions  plugin.ConditionEvaluator // nil when there are none
	validations plugin.ConditionEvaluator
	messages    plugin.ConditionEvaluator
	annotations plugin.ConditionEvaluator
	// authorizer is whether an expression may ask what a user is allowed.
	authorizer bool
}

// expression is one of CEL, and what it may result in.
type expression struct {
	name  string
	text  string
	types []*cel.Type
}

func (e *expression) GetName() string          { return e.name }
func (e *expression) GetExpression() string    { return e.text }
func (e *expression) ReturnTypes() []*cel.Type { return e.types }

var (
	boolean      = []*cel.Type{cel.BoolType}
	text         = []*cel.Type{cel.StringType}
	textOrNull   = []*cel.Type{cel.StringType, cel.NullType}
	anything     = []*cel.Type{cel.AnyType, cel.DynType}
	compiling    sync.Mutex // an environment of CEL compiles one expression at a time
	environments = sync.OnceValue(func() *environment.EnvSet {
		return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	})
)

// compile is the API server's compilePolicy.
func (p *policy) compile() error {
	p.once.Do(func() {
		compiling.Lock()
		defer compiling.Unlock()
		p.err = p.compileAll()
	})
	return p.err
}

func (p *policy) compileAll() error {
	compiler, err := plugin.NewCompositedCompiler(environments())
	if err != nil {
		return err
	}
	var all strings.Builder
	make1 := func(name, of string, types []*cel.Type) *expression {
		all.WriteString(of)
		all.WriteByte('\n')
		return &expression{name, of, types}
	}
	full := plugin.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	forMessages := plugin.OptionalVariableDeclarations{HasParams: full.HasParams}

	for _, v := range p.Spec.Variables {
		compiled := compiler.CompileAndStoreVariable(make1(v.Name, v.Expression, anything), full, environment.StoredExpressions)
		if compiled.Error != nil {
			return fmt.Errorf("variable %q: %s", v.Name, oneLine(compiled.Error.Detail))
		}
	}
	var conditions, validations, messages, annotations []plugin.ExpressionAccessor
	for _, c := range p.Spec.MatchConditions {
		conditions = append(conditions, make1(c.Name, c.Expression, boolean))
	}
	for _, v := range p.Spec.Validations {
		validations = append(validations, make1("", v.Expression, boolean))
		var message plugin.ExpressionAccessor
		if v.MessageExpression != "" {
			message = make1("", v.MessageExpression, text)
		}
		messages = append(messages, message)
	}
	for _, a := range p.Spec.AuditAnnotations {
		annotations = append(annotations, make1(a.Key, a.ValueExpression, textOrNull))
	}
	p.validations = compiler.CompileCondition(validations, full, environment.StoredExpressions)
	p.messages = compiler.CompileCondition(messages, forMessages, environment.StoredExpressions)
	faults := append(p.validations.CompilationErrors(), p.messages.CompilationErrors()...)
	if len(conditions) > 0 {
		p.conditions = compiler.CompileCondition(conditions, full, environment.StoredExpressions)
		faults = append(faults, p.conditions.CompilationErrors()...)
	}
	if len(annotations) > 0 {
		p.annotations = compiler.CompileCondition(annotations, full, environment.StoredExpressions)
		faults = append(faults, p.annotations.CompilationErrors()...)
	}
	p.authorizer = strings.Contains(all.String(), "authorizer")
	if len(faults) > 0 {
		return errors.New(oneLine(faults[0].Error()))
	}
	return nil
}

// decision is why a policy does not admit a request, or what cannot be known.
type decision struct {
	message string
	// always: it is refused whatever the binding's actions are.
	always bool
	// unknown: it depends on what only a cluster knows.
	unknown bool
}

// hidden stands for what an expression makes of a Secret.
const hidden = "(the message is not shown, since it may hold what is secret)"

// decide is the API server's validator.Validate: match conditions, validations
// with their messages, audit annotations, each within its budget.
func (e *evaluation) decide(ctx context.Context, p *policy, r *request, param *unstructured.Unstructured) []decision {
	bindings := plugin.OptionalVariableBindings{}
	if param != nil {
		bindings.VersionedParams = param
	}
	forMessages := bindings
	var asked *unknownRights
	if p.authorizer {
		asked = &unknownRights{}
		bindings.Authorizer = asked
	}
	run := &run{evaluation: e, policy: p, request: r, secret: r.isSecret || isSecret(param)}
	decisions := run.decide(ctx, bindings, forMessages)
	if asked != nil && asked.asked {
		return []decision{{unknown: true, message: "it asks what the user is allowed, which only a cluster knows"}}
	}
	return decisions
}

// run is one policy on one request.
type run struct {
	*evaluation
	*policy
	*request
	secret bool
}

func (r *run) decide(ctx context.Context, bindings, forMessages plugin.OptionalVariableBindings) []decision {
	if r.conditions != nil {
		matches, err := r.meetsConditions(ctx, bindings)
		if err != nil {
			return r.failed(err)
		}
		if !matches {
			return nil
		}
	}
	results, left, err := r.eval(ctx, r.validations, bindings, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return r.failed(err)
	}
	texts, _, messageErr := r.eval(ctx, r.messages, forMessages, left)
	outOfBudget := errors.Is(messageErr, apiservercel.ErrInternal) || errors.Is(messageErr, apiservercel.ErrOutOfBudget)

	var decisions []decision
	for i, result := range results {
		switch {
		case result.Error != nil:
			decisions = append(decisions, r.failed(result.Error)...)
		case outOfBudget:
			decisions = append(decisions, r.failed(fmt.Errorf("failed messageExpression: %w", messageErr))...)
		case result.EvalResult != celtypes.True:
			var said plugin.EvaluationResult
			if len(texts) > i {
				said = texts[i]
			}
			decisions = append(decisions, decision{message: r.messageOf(r.Spec.Validations[i], said)})
		}
	}
	if r.annotations == nil {
		return decisions
	}
	return append(decisions, r.annotate(ctx, forMessages)...)
}

// meetsConditions is the API server's matchconditions.Matcher.Match: one condition
// that is false outweighs errors of others.
func (r *run) meetsConditions(ctx context.Context, bindings plugin.OptionalVariableBindings) (bool, error) {
	inside := r.request.namespace
	r.request.namespace = nil // conditions are not told the Namespace
	results, _, err := r.eval(ctx, r.conditions, bindings, celconfig.RuntimeCELCostBudgetMatchConditions)
	r.request.namespace = inside
	if err != nil {
		return false, err
	}
	for _, result := range results {
		if result.EvalResult == celtypes.False {
			return false, nil
		}
	}
	var errs []error
	for _, result := range results {
		if result.Error != nil {
			errs = append(errs, result.Error)
		}
	}
	return true, errors.Join(errs...)
}

// annotate finds audit annotations that fail, which refuses a request as well.
func (r *run) annotate(ctx context.Context, bindings plugin.OptionalVariableBindings) []decision {
	results, _, err := r.eval(ctx, r.annotations, bindings, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return r.failed(err)
	}
	var decisions []decision
	for _, result := range results {
		if result.Error == nil {
			continue
		}
		for _, d := range r.failed(result.Error) {
			d.always = true
			decisions = append(decisions, d)
		}
	}
	return decisions
}

// eval evaluates expressions, and counts what they cost.
func (r *run) eval(ctx context.Context, what plugin.ConditionEvaluator, bindings plugin.OptionalVariableBindings, budget int64) ([]plugin.EvaluationResult, int64, error) {
	results, left, err := what.ForInput(ctx, r.versioned(), r.admissionRequest(), bindings, r.namespaceObject(), budget)
	if err != nil {
		r.spent.Add(budget)
		return nil, 0, err
	}
	r.spent.Add(budget - left)
	return results, left, nil
}

// failed is what becomes of an expression that cannot be evaluated.
func (r *run) failed(err error) []decision {
	if r.ignoresErrors() {
		return nil
	}
	if r.secret {
		return []decision{{message: "an expression cannot be evaluated " + hidden}}
	}
	return []decision{{message: shorten(oneLine(err.Error()))}}
}

// messageOf is the message of a validation that is not met. What an expression
// says of a Secret is not shown.
func (r *run) messageOf(v admissionv1.Validation, said plugin.EvaluationResult) string {
	if said.Error == nil && said.EvalResult != nil {
		message, _ := said.EvalResult.Value().(string)
		message = strings.TrimSpace(message)
		if message != "" && len(message) <= celconfig.MaxEvaluatedMessageExpressionSizeBytes && !strings.Contains(message, "\n") {
			if !r.secret {
				return shorten(message)
			}
			if v.Message == "" {
				return hidden
			}
		}
	}
	if v.Message != "" {
		return oneLine(v.Message)
	}
	return "failed expression: " + shorten(oneLine(v.Expression))
}

// shorten keeps what an object can put into a message of a size.
func shorten(message string) string {
	const most = 1 << 10
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most], "") + "…"
}

// unknownRights answers for the authorizer of a cluster, and remembers that it was
// asked: what comes out is then not known.
type unknownRights struct{ asked bool }

func (u *unknownRights) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	u.asked = true
	return authorizer.DecisionNoOpinion, "", nil
}

// verdict is what comes of a decision by the actions of a binding.
type verdict struct {
	kind    verdictKind
	message string
}

type verdictKind int

const (
	denies verdictKind = iota
	warns
	unknown
)

// act applies a binding's actions.
func (b *binding) act(decisions []decision) []verdict {
	var verdicts []verdict
	for _, d := range decisions {
		kind := warns
		for _, action := range b.Spec.ValidationActions {
			if action == admissionv1.Deny {
				kind = denies
			}
		}
		switch {
		case d.unknown:
			kind = unknown
		case d.always:
			kind = denies
		}
		verdicts = append(verdicts, verdict{kind, d.message})
	}
	return verdicts
}
