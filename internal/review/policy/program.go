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
	"k8s.io/apiserver/pkg/cel/library"
)

// program is the expressions of a policy, compiled when it first matches.
type program struct {
	once        sync.Once
	err         error
	compiler    *plugin.CompositedCompiler
	conditions  []plugin.CompilationResult
	validations []plugin.CompilationResult
	messages    []plugin.CompilationResult // the zero value where a validation has none
	annotations []plugin.CompilationResult
	// authorizer is whether an expression may ask what a user is allowed.
	authorizer bool
	// never: a condition on the user alone leaves out the operator.
	never bool
	// readsNamespace: an expression may ask for labels or annotations of Namespaces.
	readsNamespace bool
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
	var err error
	if p.compiler, err = plugin.NewCompositedCompiler(environments()); err != nil {
		return err
	}
	full := plugin.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	forMessages := plugin.OptionalVariableDeclarations{HasParams: full.HasParams}

	var faults []error
	compile := func(e *expression, declared plugin.OptionalVariableDeclarations) plugin.CompilationResult {
		p.authorizer = p.authorizer || strings.Contains(e.text, "authorizer")
		result := p.compiler.CompileCELExpression(e, declared, environment.StoredExpressions)
		if result.Error != nil {
			faults = append(faults, result.Error)
		}
		return result
	}
	for _, v := range p.Spec.Variables {
		p.authorizer = p.authorizer || strings.Contains(v.Expression, "authorizer")
		result := p.compiler.CompileAndStoreVariable(&expression{v.Name, v.Expression, anything}, full, environment.StoredExpressions)
		if result.Error != nil {
			faults = append(faults, result.Error)
		}
	}
	for _, c := range p.Spec.MatchConditions {
		p.conditions = append(p.conditions, compile(&expression{c.Name, c.Expression, boolean}, full))
	}
	for _, v := range p.Spec.Validations {
		p.validations = append(p.validations, compile(&expression{"", v.Expression, boolean}, full))
		var message plugin.CompilationResult
		if v.MessageExpression != "" {
			message = compile(&expression{"", v.MessageExpression, text}, forMessages)
		}
		p.messages = append(p.messages, message)
	}
	for _, a := range p.Spec.AuditAnnotations {
		p.annotations = append(p.annotations, compile(&expression{a.Key, a.ValueExpression, textOrNull}, full))
	}
	if len(faults) > 0 {
		return errors.New(oneLine(faults[0].Error()))
	}
	p.never = p.neverTheWriter()
	p.readsNamespace = p.asksForNamespace()
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

// decide is the API server's validator.Validate: match conditions, validations
// with their messages, audit annotations, each within its budget.
func (e *evaluation) decide(ctx context.Context, p *policy, r *request, param *unstructured.Unstructured) []decision {
	if p.never {
		return nil
	}
	run := &run{evaluation: e, policy: p, request: r, secret: r.isSecret || isSecret(param)}
	if param != nil {
		run.params = param.Object
	}
	var asked unknownRights
	if p.authorizer {
		run.authorizer = library.NewAuthorizerVal(writer, &asked)
		run.requestResource = library.NewResourceAuthorizerVal(writer, &asked, r)
	}
	decisions := run.decide(ctx)
	if asked.asked {
		return []decision{{unknown: true, message: "it asks what the user is allowed, which only a cluster knows"}}
	}
	return decisions
}

// run is one policy on one request.
type run struct {
	*evaluation
	*policy
	*request
	params                      any
	authorizer, requestResource any
	secret                      bool
}

func (r *run) decide(ctx context.Context) []decision {
	if len(r.conditions) > 0 {
		matches, err := r.meetsConditions(ctx)
		if err != nil {
			return r.failed(err)
		}
		if !matches {
			return nil
		}
	}
	results, left, err := r.eval(ctx, r.validations, r.namespaceObject(), celconfig.RuntimeCELCostBudget)
	if err != nil {
		return r.failed(err)
	}
	if allTrue(results) && left >= r.mostForMessages() {
		return r.annotate(ctx)
	}
	texts, _, messageErr := r.eval(ctx, r.messages, r.namespaceObject(), left)
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
	return append(decisions, r.annotate(ctx)...)
}

func allTrue(results []plugin.EvaluationResult) bool {
	for _, result := range results {
		if result.Error != nil || result.EvalResult != celtypes.True {
			return false
		}
	}
	return true
}

// mostForMessages is what all messages can cost at most. The API server evaluates
// messages that nobody needs too, and refuses a request when the budget does not
// suffice for them. Where it suffices whatever they cost, they are left out.
func (p *policy) mostForMessages() int64 {
	return int64(len(p.messages)+len(p.Spec.Variables)) * celconfig.PerCallLimit
}

// meetsConditions is the API server's matchconditions.Matcher.Match: one condition
// that is false outweighs errors of others.
func (r *run) meetsConditions(ctx context.Context) (bool, error) {
	// Conditions are not told the Namespace.
	results, _, err := r.eval(ctx, r.conditions, nil, celconfig.RuntimeCELCostBudgetMatchConditions)
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
func (r *run) annotate(ctx context.Context) []decision {
	results, _, err := r.eval(ctx, r.annotations, r.namespaceObject(), celconfig.RuntimeCELCostBudget)
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

// failed is what becomes of an expression that cannot be evaluated.
func (r *run) failed(err error) []decision {
	if r.ignoresErrors() {
		return nil
	}
	if r.secret {
		return []decision{{message: "an expression cannot be evaluated " + Hidden}}
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
				return Hidden
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

// act applies a binding's actions.
func (b *binding) act(decisions []decision) []Verdict {
	var verdicts []Verdict
	for _, d := range decisions {
		kind := Warns
		for _, action := range b.Spec.ValidationActions {
			if action == admissionv1.Deny {
				kind = Denies
			}
		}
		switch {
		case d.unknown:
			kind = Unknown
		case d.always:
			kind = Denies
		}
		verdicts = append(verdicts, Verdict{Kind: kind, Message: d.message})
	}
	return verdicts
}
