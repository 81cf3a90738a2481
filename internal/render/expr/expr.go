// Package expr compiles the ${…} of templates: CEL over declared variables,
// type-checked before any value is known.
//
// Values are plain JSON trees (map[string]any, []any, string, int64, float64,
// bool, nil) on both sides. The same values always give the same result: there
// is no clock, no randomness, and maps are walked in the order of their keys.
package expr

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
)

// costLimit bounds one evaluation, in CEL's units: about one a step. The most
// that Contain Base needs is below a hundred.
const costLimit = 100_000

// Values gives the variables of an evaluation.
type Values = cel.Activation

// Env is what expressions may name.
type Env struct {
	cel   *cel.Env
	types *provider
	// most is how long what a call makes can get, in bytes; 0 where nobody cares.
	most int
}

// NewEnv declares variables, and the object types that they are made of.
func NewEnv(objects []Object, variables []Field) (*Env, error) {
	return newEnv(0, objects, variables, []cel.EnvOption{ext.Strings(), ext.Lists(), ext.Sets(), ext.Encoders()})
}

func newEnv(most int, objects []Object, variables []Field, libraries []cel.EnvOption) (*Env, error) {
	p := &provider{Provider: types.NewEmptyRegistry(), objects: map[string]Object{}}
	for _, o := range objects {
		p.objects[o.Name] = o
	}
	options := append([]cel.EnvOption{
		cel.CustomTypeProvider(p),
		cel.CustomTypeAdapter(adapter{}),
		cel.DefaultUTCTimeZone(true),
	}, libraries...)
	for _, v := range variables {
		options = append(options, cel.Variable(escape(v.Name), v.Type))
		p.variables = append(p.variables, v.Name)
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("cannot set up CEL: %w", err)
	}
	return &Env{cel: env, types: p, most: most}, nil
}

// With is the environment and one variable more.
func (e *Env) With(name string, t *cel.Type) (*Env, error) {
	p := *e.types
	p.variables = append(slices.Clone(p.variables), name)
	env, err := e.cel.Extend(cel.Variable(name, t), cel.CustomTypeProvider(&p))
	if err != nil {
		return nil, fmt.Errorf("cannot declare %s: %w", name, err)
	}
	return &Env{cel: env, types: &p, most: e.most}, nil
}

// Expression is compiled, and safe for concurrent use.
type Expression struct {
	// Source as it was written, without the braces.
	Source string
	// Type of its result.
	Type *cel.Type

	program cel.Program
	// path is set where the whole expression is a variable and fields of it: such
	// are looked up without CEL, which is ten times as fast.
	path []string
	// reads are all variables and fields that the expression names, as "namespace.secrets".
	reads []string
}

// Compile checks an expression against what the environment declares. An Env
// compiles one expression at a time.
func (e *Env) Compile(source string) (*Expression, error) {
	e.types.missed = nil
	checked, issues := e.cel.Compile(escape(source))
	if issues.Err() != nil {
		return nil, errors.New(e.explain(issues))
	}
	program, err := e.program(checked)
	if err != nil {
		return nil, err
	}
	root := checked.NativeRep().Expr()
	return &Expression{
		Source:  source,
		Type:    checked.OutputType(),
		program: program,
		path:    pathOf(root),
		reads:   readsOf(root),
	}, nil
}

// program counts the cost of an evaluation only where it is not bounded by what
// the expression says: counting takes longer than most evaluations.
func (e *Env) program(checked *cel.Ast) (cel.Program, error) {
	options := []cel.ProgramOption{cel.CustomDecoratorV2(orderly), cel.EvalOptions(cel.OptOptimize)}
	if e.most > 0 {
		options = append(options, cel.CustomDecoratorV2(bounded(e.most)))
	}
	cost, err := e.cel.EstimateCost(checked, unknownSizes{})
	if err != nil {
		return nil, err
	}
	if cost.Max > costLimit {
		options = append(options, cel.CostLimit(costLimit))
	}
	return e.cel.Program(checked, options...)
}

// unknownSizes is all that is known of values before there are any.
type unknownSizes struct{}

func (unknownSizes) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

func (unknownSizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// explain is the first thing that is wrong, with what could have been written.
func (e *Env) explain(issues *cel.Issues) string {
	message := issues.Errors()[0].Message
	message, _, _ = strings.Cut(message, " (in container")
	message = strings.ReplaceAll(message, escaped, reserved)
	switch {
	case strings.HasPrefix(message, "undefined field") && e.types.missed != nil:
		message += "; " + e.types.missed.Name + " has " + strings.Join(e.types.missed.names(), ", ")
	case strings.HasPrefix(message, "undeclared reference"):
		message += "; there are " + strings.Join(e.types.variables, ", ")
	}
	return message
}

// Reads reports whether the expression names a field: Reads("namespace.secrets").
func (x *Expression) Reads(field string) bool { return slices.Contains(x.reads, field) }

// Fields are those of a variable that the expression names: Fields("data") are its keys.
func (x *Expression) Fields(variable string) []string {
	var fields []string
	for _, read := range x.reads {
		if field, ok := strings.CutPrefix(read, variable+"."); ok && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	return fields
}

// Eval evaluates the expression. The result shares what it can with the values:
// it must not be changed. It is nil where the expression is null.
func (x *Expression) Eval(values Values) (any, error) {
	if x.path != nil {
		return x.lookUp(values)
	}
	out, _, err := x.program.Eval(escapedValues{values})
	if err != nil {
		return nil, err
	}
	return tree(out)
}

// EvalText evaluates an expression of a type that IsText, as bytes.
func (x *Expression) EvalText(values Values) ([]byte, error) {
	if x.path == nil {
		out, _, err := x.program.Eval(escapedValues{values})
		if err != nil {
			return nil, err
		}
		if b, ok := out.(types.Bytes); ok {
			return []byte(b), nil
		}
		v, err := tree(out)
		if err != nil {
			return nil, err
		}
		s, err := Text(v)
		return []byte(s), err
	}
	v, err := x.lookUp(values)
	if err != nil {
		return nil, err
	}
	s, err := Text(v)
	return []byte(s), err
}

func (x *Expression) lookUp(values Values) (any, error) {
	v, _ := values.ResolveName(x.path[0])
	for i, field := range x.path[1:] {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is not set; test it first: has(%[1]s)", strings.Join(x.path[:i+1], "."))
		}
		if v, ok = object[field]; !ok {
			return nil, fmt.Errorf("no such key: %s", field)
		}
	}
	return v, nil
}

// pathOf is tenant.secrets.path as its words, and nil for anything that is not
// such a path.
func pathOf(e ast.Expr) []string {
	switch e.Kind() {
	case ast.IdentKind:
		return []string{unescape(e.AsIdent())}
	case ast.SelectKind:
		if s := e.AsSelect(); !s.IsTestOnly() {
			if path := pathOf(s.Operand()); path != nil {
				return append(path, s.FieldName())
			}
		}
	}
	return nil
}

func readsOf(root ast.Expr) []string {
	var reads []string
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.SelectKind {
			if path := pathOf(e.AsSelect().Operand()); path != nil {
				reads = append(reads, strings.Join(append(path, e.AsSelect().FieldName()), "."))
			}
		} else if e.Kind() == ast.IdentKind {
			reads = append(reads, unescape(e.AsIdent()))
		}
	}))
	return reads
}

// tree turns a result of CEL into a JSON tree.
func tree(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		if uint64(v) > math.MaxInt64 {
			return nil, fmt.Errorf("%d does not fit a JSON integer", uint64(v))
		}
		return int64(v), nil
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("%v cannot be written as JSON", float64(v))
		}
		return float64(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Null:
		return nil, nil
	case traits.Mapper:
		return mapTree(v)
	case traits.Lister:
		return listTree(v)
	default:
		return nil, fmt.Errorf("a %s cannot be written as JSON; turn it into a string", v.Type().TypeName())
	}
}

func mapTree(v traits.Mapper) (any, error) {
	if native, ok := v.Value().(map[string]any); ok {
		return native, nil
	}
	out := map[string]any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("the key %v of a map is not a string", key.Value())
		}
		value, err := tree(v.Get(key))
		if err != nil {
			return nil, err
		}
		out[string(name)] = value
	}
	return out, nil
}

func listTree(v traits.Lister) (any, error) {
	if native, ok := v.Value().([]any); ok {
		return native, nil
	}
	out := []any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		item, err := tree(it.Next())
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, nil
}

// IsScalar reports whether values of a type can be part of a longer string.
func IsScalar(t *cel.Type) bool {
	switch t.Kind() {
	case types.StringKind, types.IntKind, types.UintKind, types.DoubleKind, types.BoolKind:
		return true
	}
	return false
}

// IsText reports whether values of a type can be bytes: scalars, and bytes themselves.
func IsText(t *cel.Type) bool { return IsScalar(t) || t.Kind() == types.BytesKind }

// Text is a scalar as part of a longer string.
func Text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", fmt.Errorf("%T cannot be part of a longer string", v)
}
