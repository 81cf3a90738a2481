package network

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// checkFields refuses the first field of a tree that a type does not have. To
// decode strictly would not do: Cilium's selectors decode themselves, and skip
// what they do not know.
func checkFields(t reflect.Type, tree map[string]any) error {
	if known(t, tree) {
		return nil
	}
	return noSuchField(unknownField(t, tree))
}

func noSuchField(field string) error {
	return &fieldError{field, fmt.Errorf("%s %s has no such field", Kind, APIVersion)}
}

// known is true where every field of a tree is one of the type's. What is of
// another type altogether is left to decoding.
func known(t reflect.Type, v any) bool {
	t = pointedTo(t)
	switch v := v.(type) {
	case map[string]any:
		if inner, ok := inPlace(v); ok {
			return known(t, inner)
		}
		for name, inner := range v {
			if field, ok := fieldOf(t, name); !ok || field != nil && !known(field, inner) {
				return false
			}
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return true
		}
		for _, item := range v {
			if !known(t.Elem(), item) {
				return false
			}
		}
	}
	return true
}

// unknownField is the path of the first field, by name, that is not known.
func unknownField(t reflect.Type, v any) string {
	t = pointedTo(t)
	switch v := v.(type) {
	case map[string]any:
		if inner, ok := inPlace(v); ok {
			return unknownField(t, inner)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			field, ok := fieldOf(t, name)
			if !ok {
				return name
			}
			if field != nil && !known(field, v[name]) {
				return join(name, unknownField(field, v[name]))
			}
		}
	case []any:
		for i, item := range v {
			if !known(t.Elem(), item) {
				return join(fmt.Sprintf("[%d]", i), unknownField(t.Elem(), item))
			}
		}
	}
	return ""
}

func join(path, field string) string {
	if strings.HasPrefix(field, "[") {
		return path + field
	}
	return path + "." + field
}

// inPlace is the value that a map of a template stands for.
func inPlace(m map[string]any) (any, bool) {
	v, ok := m["$value"]
	return v, ok && len(m) == 1
}

func pointedTo(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// fieldOf is the type of a field; nil for one of which nothing is known.
func fieldOf(t reflect.Type, name string) (reflect.Type, bool) {
	switch t.Kind() {
	case reflect.Map:
		return t.Elem(), true
	case reflect.Struct:
		field, ok := fieldsOf(t)[name]
		return field, ok
	}
	return nil, true
}

// fieldsOf are the fields of a struct as JSON names them.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if fields, ok := structs.Load(t); ok {
		return fields.(map[string]reflect.Type)
	}
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-", !f.IsExported():
		case f.Anonymous && name == "":
			maps.Copy(fields, fieldsOf(pointedTo(f.Type)))
		default:
			fields[cmp.Or(name, f.Name)] = f.Type
		}
	}
	structs.Store(t, fields)
	return fields
}

var structs sync.Map // reflect.Type to map[string]reflect.Type
