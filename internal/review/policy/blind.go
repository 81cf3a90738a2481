package policy

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// blind is whether a policy cannot see what a step changes: the object is the same,
// in a Namespace with other labels or annotations, of which the policy reads none,
// and which it selects as before. A change of a profile's labels touches all objects
// of ten thousand namespaces in this way.
func (e *evaluation) blind(p *policy, s step) bool {
	if s.operation != admission.Update || s.base.Digest == "" || s.base.Digest != s.head.Digest || isNamespace(s.head) {
		return false
	}
	if p.compile() != nil || p.readsNamespace {
		return false
	}
	at := place{s.head.Cluster, s.head.Namespace}
	before, after := e.world.namespace(at, true), e.world.namespace(at, false)
	selects := func(c *criteria) bool {
		return c.namespaces.Matches(labels.Set(before.Labels)) == c.namespaces.Matches(labels.Set(after.Labels))
	}
	if !selects(p.constraints) {
		return false
	}
	for _, b := range p.bindings {
		if b.where != nil && !selects(b.where) {
			return false
		}
	}
	return true
}

// asksForNamespace is whether any expression of a policy may read the labels or the
// annotations of the Namespace that an object is in.
func (p *policy) asksForNamespace() bool {
	env, err := p.compiler.Env(environment.StoredExpressions)
	if err != nil {
		return true
	}
	var texts []string
	for _, v := range p.Spec.Variables {
		texts = append(texts, v.Expression)
	}
	for _, c := range p.Spec.MatchConditions {
		texts = append(texts, c.Expression)
	}
	for _, v := range p.Spec.Validations {
		texts = append(texts, v.Expression, v.MessageExpression)
	}
	for _, a := range p.Spec.AuditAnnotations {
		texts = append(texts, a.ValueExpression)
	}
	for _, text := range texts {
		if text == "" {
			continue
		}
		parsed, issues := env.Parse(text)
		if issues.Err() != nil || readsLabels(parsed) {
			return true
		}
	}
	return false
}

// readsLabels is whether an expression does anything with a Namespace but to ask for
// one field of its metadata, other than labels and annotations, or whether there is one.
func readsLabels(parsed *cel.Ast) bool {
	named, harmless := 0, 0
	isNamespaceObject := func(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == plugin.NamespaceVarName }
	isNull := func(e ast.Expr) bool { return e.Kind() == ast.LiteralKind && e.AsLiteral().Type() == cel.NullType }
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			if isNamespaceObject(e) {
				named++
			}
		case ast.SelectKind:
			field := e.AsSelect()
			metadata := field.Operand()
			if metadata.Kind() != ast.SelectKind || metadata.AsSelect().FieldName() != "metadata" || !isNamespaceObject(metadata.AsSelect().Operand()) {
				return
			}
			if name := field.FieldName(); name != "labels" && name != "annotations" {
				harmless++
			}
		case ast.CallKind:
			call := e.AsCall()
			args := call.Args()
			if (call.FunctionName() == "_==_" || call.FunctionName() == "_!=_") && len(args) == 2 &&
				(isNamespaceObject(args[0]) && isNull(args[1]) || isNamespaceObject(args[1]) && isNull(args[0])) {
				harmless++
			}
		}
	}))
	return named != harmless
}
