package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/render/canonical"
	"github.com/aetherplatform/aether/internal/render/expr"
)

// node is a compiled piece of a template. write returns the value and appends
// its encoding to the writer in one walk; a nil value is left out by whoever
// holds the node, its encoding with it.
//
// Values are shared wherever they are constant.
type node interface {
	write(w *writer) (any, error)
}

// writer is the state of one render of one object.
type writer struct {
	*scope
	encoded []byte
}

// constant is a subtree without expressions, encoded when it was compiled.
type constant struct {
	value   any
	encoded []byte
}

func constantOf(v any) constant { return constant{value: v, encoded: canonical.Value(nil, v)} }

func (c constant) write(w *writer) (any, error) {
	w.encoded = append(w.encoded, c.encoded...)
	return c.value, nil
}

// value is a string that is one expression; it keeps the expression's type.
type value struct {
	*expression
}

func (v value) write(w *writer) (any, error) {
	result, err := w.eval(v.expression)
	if err != nil {
		return nil, err
	}
	w.encoded = canonical.Value(w.encoded, result)
	return result, nil
}

// text is a string with expressions in it.
type text struct {
	parts []textPart
}

// textPart is an expression, or literal text where that is nil.
type textPart struct {
	literal string
	*expression
}

func (t text) write(w *writer) (any, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expression == nil {
			b.WriteString(p.literal)
			continue
		}
		result, err := w.eval(p.expression)
		if err != nil {
			return nil, err
		}
		s, err := expr.Text(result)
		if err != nil {
			return nil, fmt.Errorf("${%s}: %w", p.Source, err)
		}
		b.WriteString(s)
	}
	s := b.String()
	w.encoded = canonical.String(w.encoded, s)
	return s, nil
}

// object is a map that holds expressions, its keys sorted.
type object struct {
	entries []entry
}

type entry struct {
	key     string
	encoded []byte
	node
}

func (o object) write(w *writer) (any, error) {
	m := make(map[string]any, len(o.entries)+1)
	w.encoded = append(w.encoded, canonical.MapBegin)
	for i := range o.entries {
		e := &o.entries[i]
		before := len(w.encoded)
		w.encoded = append(w.encoded, e.encoded...)
		v, err := e.write(w)
		if err != nil {
			return nil, under(e.key, err)
		}
		if v == nil {
			w.encoded = w.encoded[:before]
			continue
		}
		m[e.key] = v
	}
	w.encoded = append(w.encoded, canonical.End)
	return m, nil
}

// list is a list that holds expressions.
type list struct {
	items []node
}

func (l list) write(w *writer) (any, error) {
	items := make([]any, 0, len(l.items))
	w.encoded = append(w.encoded, canonical.ListBegin)
	for i, item := range l.items {
		before := len(w.encoded)
		v, err := item.write(w)
		if err != nil {
			return nil, under(fmt.Sprintf("[%d]", i), err)
		}
		if v == nil {
			w.encoded = w.encoded[:before]
			continue
		}
		items = append(items, v)
	}
	w.encoded = append(w.encoded, canonical.End)
	return items, nil
}

// merged is a map of a component over a map of the tenant's: the component wins.
type merged struct {
	below *expression
	over  object
}

func (n merged) write(w *writer) (any, error) {
	below, err := w.eval(n.below)
	if err != nil {
		return nil, err
	}
	before := len(w.encoded)
	over, err := n.over.write(w)
	if err != nil {
		return nil, err
	}
	m := over.(map[string]any)
	for k, v := range below.(map[string]any) {
		if _, taken := m[k]; !taken {
			m[k] = v
		}
	}
	w.encoded = canonical.Map(w.encoded[:before], m)
	return m, nil
}

// fieldError is an error at a field of an object.
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.field + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// under puts a field in front of an error's path.
func under(field string, err error) error {
	inner, ok := err.(*fieldError) //nolint:errorlint // only what is outermost is a path to go on with
	switch {
	case !ok:
		return &fieldError{field, err}
	case strings.HasPrefix(inner.field, "["):
		return &fieldError{field + inner.field, inner.err}
	default:
		return &fieldError{field + "." + inner.field, inner.err}
	}
}

// expression is an expression of a template. Its value is worked out once a
// namespace, however many fields it is in, unless it depends on each.
type expression struct {
	*expr.Expression
	slot int
	each bool
}

// scope is the variables of one namespace.
type scope struct {
	tenant, namespace, profile, size, cluster map[string]any
	each                                      any

	// values by slot.
	values []slot
}

type slot struct {
	value any
	done  bool
}

func (s *scope) eval(x *expression) (any, error) {
	if !x.each && s.values[x.slot].done {
		return s.values[x.slot].value, nil
	}
	v, err := x.Eval(s)
	if err != nil {
		return nil, fmt.Errorf("${%s}: %w", x.Source, err)
	}
	if !x.each {
		s.values[x.slot] = slot{v, true}
	}
	return v, nil
}

// ResolveName implements expr.Values.
func (s *scope) ResolveName(name string) (any, bool) {
	switch name {
	case "tenant":
		return s.tenant, true
	case "namespace":
		return s.namespace, true
	case "profile":
		return s.profile, true
	case "size":
		return s.size, true
	case "cluster":
		return s.cluster, true
	case "each":
		return s.each, true
	}
	return nil, false
}

// Parent implements expr.Values.
func (s *scope) Parent() expr.Values { return nil }

// compiler turns the trees of one template into nodes.
type compiler struct {
	env         *expr.Env
	expressions map[string]*expression
}

// compile turns a tree into a node. each is set where the object is repeated.
func (c *compiler) compile(v any, each *expr.Env) (node, error) {
	switch v := v.(type) {
	case string:
		return c.text(v, each)
	case map[string]any:
		return c.object(v, each)
	case []any:
		return c.list(v, each)
	default:
		return constantOf(v), nil
	}
}

func (c *compiler) text(s string, each *expr.Env) (node, error) {
	if !strings.Contains(s, "${") {
		return constantOf(s), nil
	}
	parts, err := expr.Split(s)
	if err != nil {
		return nil, err
	}
	var t text
	for _, p := range parts {
		if !p.IsExpression {
			t.parts = append(t.parts, textPart{literal: p.Text})
			continue
		}
		x, err := c.expression(p.Text, each)
		if err != nil {
			return nil, err
		}
		if len(parts) == 1 {
			return value{x}, nil
		}
		if !expr.IsScalar(x.Type) {
			return nil, fmt.Errorf("${%s}: a %s cannot be part of a longer string; make it the whole value, or turn it into a string", x.Source, x.Type)
		}
		t.parts = append(t.parts, textPart{expression: x})
	}
	if len(t.parts) == 1 { // only an escaped $${
		return constantOf(t.parts[0].literal), nil
	}
	return t, nil
}

// inPlace is the key of a map that stands for its one value. Kustomize looks
// into some fields itself, a Role's rules for one, and takes no string there.
const inPlace = "$value"

func (c *compiler) object(m map[string]any, each *expr.Env) (node, error) {
	if v, ok := m[inPlace]; ok && len(m) == 1 {
		return c.compile(v, each)
	}
	o, err := c.entries(m, each)
	if err != nil {
		return nil, err
	}
	constants := make(map[string]any, len(o.entries))
	for _, e := range o.entries {
		c, ok := e.node.(constant)
		if !ok {
			return o, nil
		}
		constants[e.key] = c.value
	}
	return constantOf(constants), nil
}

func (c *compiler) entries(m map[string]any, each *expr.Env) (object, error) {
	var o object
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if strings.Contains(key, "${") {
			return object{}, fmt.Errorf("the key %q holds an expression; only values may", key)
		}
		v := m[key]
		if v == nil {
			continue
		}
		n, err := c.compile(v, each)
		if err != nil {
			return object{}, under(key, err)
		}
		o.entries = append(o.entries, entry{key, canonical.String(nil, key), n})
	}
	return o, nil
}

func (c *compiler) list(items []any, each *expr.Env) (node, error) {
	l := list{items: make([]node, len(items))}
	constants := make([]any, 0, len(items))
	for i, item := range items {
		n, err := c.compile(item, each)
		if err != nil {
			return nil, under(fmt.Sprintf("[%d]", i), err)
		}
		if c, ok := n.(constant); ok {
			constants = append(constants, c.value)
		}
		l.items[i] = n
	}
	if len(constants) == len(items) {
		return constantOf(constants), nil
	}
	return l, nil
}

// expression compiles an expression once, however often it is written.
func (c *compiler) expression(source string, each *expr.Env) (*expression, error) {
	if x, ok := c.expressions[source]; ok {
		return x, nil
	}
	env := c.env
	if each != nil {
		env = each
	}
	compiled, err := env.Compile(source)
	if err != nil {
		return nil, fmt.Errorf("${%s}: %w", source, err)
	}
	x := &expression{Expression: compiled, slot: len(c.expressions)}
	if compiled.Reads("each") {
		x.each = true // its type may differ from one object to the next: not shared
		return x, nil
	}
	c.expressions[source] = x
	return x, nil
}
