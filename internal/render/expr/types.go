package expr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// Object is a type with named fields; its values are maps that hold every field,
// those that are not set as nil.
type Object struct {
	Name   string
	Fields []Field
}

// Type of the object, for variables and fields.
func (o Object) Type() *cel.Type { return cel.ObjectType(o.Name) }

func (o Object) names() []string {
	names := make([]string, len(o.Fields))
	for i, f := range o.Fields {
		names[i] = f.Name
	}
	slices.Sort(names)
	return names
}

// Field is a field of an object, or a variable.
type Field struct {
	Name string
	Type *cel.Type
	// Doc is what the field is, for people who write components.
	Doc string
}

// provider tells CEL about objects, and remembers what it was asked for in vain.
type provider struct {
	types.Provider
	objects   map[string]Object
	variables []string
	missed    *Object
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if o, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(o.Type()), true
	}
	return p.Provider.FindStructType(name)
}

func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if o, ok := p.objects[name]; ok {
		return o.names(), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	o, ok := p.objects[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	for _, f := range o.Fields {
		if f.Name == field {
			return &types.FieldType{
				Type:    f.Type,
				IsSet:   func(object any) bool { return fieldOf(object, field) != nil },
				GetFrom: func(object any) (any, error) { return fieldOf(object, field), nil },
			}, true
		}
	}
	p.missed = &o
	return nil, false
}

func fieldOf(object any, field string) any {
	m, _ := object.(map[string]any)
	return m[field]
}

// adapter gives CEL our trees. Its maps are walked in the order of their keys,
// where Go's would come in any order and so make a render differ from the next.
type adapter struct{}

func (a adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case map[string]any:
		return sortedMap{types.NewStringInterfaceMap(a, v)}
	case map[ref.Val]ref.Val:
		return sortedMap{types.NewRefValMap(a, v)}
	case []any:
		return types.NewDynamicList(a, v)
	default:
		return types.DefaultTypeAdapter.NativeToValue(v)
	}
}

// orderly has maps that an expression writes out, {'b': 1, 'a': 2}, walked in order
// too: the interpreter makes them without asking the adapter.
func orderly(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if made, ok := i.(interpreter.InterpretableConstructor); ok && made.Type() == types.MapType {
		return orderlyMap{made}, nil
	}
	return i, nil
}

type orderlyMap struct {
	interpreter.InterpretableConstructor
}

func (m orderlyMap) Eval(vars interpreter.Activation) ref.Val {
	return m.Exec(interpreter.AsFrame(vars))
}

func (m orderlyMap) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	value := m.InterpretableConstructor.Exec(frame)
	if made, ok := value.(traits.Mapper); ok {
		return sortedMap{made}
	}
	return value
}

type sortedMap struct{ traits.Mapper }

func (m sortedMap) Iterator() traits.Iterator {
	var keys []ref.Val
	for it := m.Mapper.Iterator(); it.HasNext() == types.True; {
		keys = append(keys, it.Next())
	}
	slices.SortFunc(keys, func(a, b ref.Val) int {
		return strings.Compare(fmt.Sprint(a.Value()), fmt.Sprint(b.Value()))
	})
	return types.NewRefValList(adapter{}, keys).Iterator()
}
