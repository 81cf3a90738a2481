package policy

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	celtypes "github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// activation is the variables of an expression. It is the API server's own, but
// that each is made when an expression asks for it: most ask for few.
type activation struct {
	*run
	ctx       plugin.CompositionContext
	namespace any
	variables any
}

// ResolveName implements interpreter.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case plugin.ObjectVarName:
		return a.object, true
	case plugin.OldObjectVarName:
		return a.oldObject, true
	case plugin.ParamsVarName:
		return a.params, true
	case plugin.RequestVarName:
		return a.variable(), true
	case plugin.NamespaceVarName:
		return a.namespace, true
	case plugin.AuthorizerVarName:
		return a.run.authorizer, a.run.authorizer != nil
	case plugin.RequestResourceAuthorizerVarName:
		return a.requestResource, a.requestResource != nil
	case plugin.VariableVarName:
		if a.variables == nil {
			a.variables = a.ctx.Variables(a)
		}
		return a.variables, true
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (a *activation) Parent() interpreter.Activation { return nil }

// eval evaluates expressions within one budget, as the API server's ForInput does.
// Variables are evaluated when they are asked for, at most once, and are paid for.
func (r *run) eval(ctx context.Context, what []plugin.CompilationResult, namespace any, budget int64) ([]plugin.EvaluationResult, int64, error) {
	if len(what) == 0 {
		return nil, budget, nil
	}
	results := make([]plugin.EvaluationResult, len(what))
	a := &activation{run: r, ctx: r.compiler.CreateContext(ctx), namespace: namespace}
	left := budget
	for i, compiled := range what {
		if compiled.Program == nil {
			continue // no message
		}
		value, details, err := compiled.Program.ContextEval(a.ctx, a)
		cost := a.ctx.GetAndResetCost()
		var own *uint64
		if details != nil {
			own = details.ActualCost()
		}
		if own == nil || *own > math.MaxInt64 || cost > left || int64(*own) > left-cost {
			r.spent.Add(budget)
			return nil, 0, errBudget
		}
		left -= cost + int64(*own)
		if err != nil {
			results[i].Error = fmt.Errorf("expression '%s' resulted in error: %w", compiled.ExpressionAccessor.GetExpression(), err)
			continue
		}
		results[i].EvalResult = value
	}
	r.spent.Add(budget - left)
	return results, left, nil
}

// errBudget is said as the API server says it.
var errBudget = fmt.Errorf("%w: validation failed due to running out of cost budget, no further validation rules will be run", apiservercel.ErrOutOfBudget)

// variable is "request". It has the fields that expressions may name.
func (r *request) variable() map[string]any {
	if r.asked != nil {
		return r.asked
	}
	gvk, gvr := r.GetKind(), r.GetResource()
	kind := map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
	resource := map[string]any{"group": gvr.Group, "version": gvr.Version, "resource": gvr.Resource}
	r.asked = map[string]any{
		"kind": kind, "requestKind": kind, "resource": resource, "requestResource": resource,
		"name": r.GetName(), "operation": string(r.GetOperation()), "userInfo": writerInfo, "dryRun": false, "options": r.options,
	}
	if namespace := r.GetNamespace(); namespace != "" {
		r.asked["namespace"] = namespace
	}
	return r.asked
}

var writerInfo = func() map[string]any {
	groups := make([]any, len(writer.Groups))
	for i, g := range writer.Groups {
		groups[i] = g
	}
	return map[string]any{"username": writer.Name, "groups": groups}
}()

// known is a Namespace, and what expressions see of it, made once.
type known struct {
	*corev1.Namespace
	once sync.Once
	tree any
}

func (k *known) object() any {
	k.once.Do(func() {
		tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(plugin.CreateNamespaceObject(k.Namespace))
		if err == nil { // a typed Namespace always converts
			k.tree = tree
		}
	})
	return k.tree
}

// namespaceObject is nil for a Namespace itself, as in the API server.
func (r *request) namespaceObject() any {
	if r.isNamespace || r.namespace == nil {
		return nil
	}
	return r.namespace.object()
}

// neverTheWriter is whether a condition that asks for nothing but the user is false
// for the operator. It is so for every object, and is asked once.
func (p *policy) neverTheWriter() bool {
	env, err := p.compiler.Env(environment.StoredExpressions)
	if err != nil {
		return false
	}
	for _, c := range p.conditions {
		parsed, issues := env.Parse(c.ExpressionAccessor.GetExpression())
		if issues.Err() != nil || !asksForUserOnly(parsed) {
			continue
		}
		user := map[string]any{plugin.RequestVarName: map[string]any{"userInfo": writerInfo}}
		value, details, err := c.Program.Eval(user)
		if err == nil && value == celtypes.False && details.ActualCost() != nil && *details.ActualCost() < celconfig.RuntimeCELCostBudgetMatchConditions {
			return true
		}
	}
	return false
}

// asksForUserOnly is whether every name in an expression is request.userInfo.
func asksForUserOnly(parsed *cel.Ast) bool {
	users, names := 0, 0
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			names++
		case ast.ComprehensionKind:
			names++ // a name of its own; not worth telling apart
		case ast.SelectKind:
			s := e.AsSelect()
			if s.FieldName() == "userInfo" && !s.IsTestOnly() && s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == plugin.RequestVarName {
				users++
			}
		}
	}))
	return users > 0 && users == names
}
