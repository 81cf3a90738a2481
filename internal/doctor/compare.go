package doctor

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// difference is one place where an object in the cluster is not the one wanted.
type difference struct {
	path string
	kind differenceKind
}

type differenceKind int

const (
	changed differenceKind = iota
	lacking                // the cluster does not have it
	beyond                 // only the cluster has it
)

// compare returns where two JSON values differ. What only the cluster has is no
// difference where it is a default.
func compare(want, have any, defaults map[string]any) []difference {
	var found []difference
	var walk func(path string, want, have any)
	add := func(path string, kind differenceKind) { found = append(found, difference{path, kind}) }
	walk = func(path string, want, have any) {
		switch w := want.(type) {
		case map[string]any:
			h, ok := have.(map[string]any)
			if !ok {
				add(path, changed)
				return
			}
			keys := map[string]bool{}
			for k := range w {
				keys[k] = true
			}
			for k := range h {
				keys[k] = true
			}
			for _, k := range slices.Sorted(maps.Keys(keys)) {
				below := strings.TrimPrefix(path+"."+k, ".")
				wanted, inWant := w[k]
				is, inHave := h[k]
				switch {
				case inWant && inHave:
					walk(below, wanted, is)
				case inWant:
					add(below, lacking)
				case !isDefault(defaults, k, is):
					add(below, beyond)
				}
			}
		case []any:
			h, ok := have.([]any)
			if !ok || len(h) != len(w) {
				add(path, lengths(len(w), have))
				return
			}
			for i := range w {
				walk(fmt.Sprintf("%s[%s]", path, nameOf(w[i], i)), w[i], h[i])
			}
		default:
			if !reflect.DeepEqual(want, have) {
				add(path, changed)
			}
		}
	}
	walk("", want, have)
	return found
}

// lengths tells a list that lost something from one that won something.
func lengths(want int, have any) differenceKind {
	h, ok := have.([]any)
	switch {
	case ok && len(h) < want:
		return lacking
	case ok && len(h) > want:
		return beyond
	default:
		return changed
	}
}

func isDefault(defaults map[string]any, key string, value any) bool {
	d, known := defaults[key]
	return known && reflect.DeepEqual(d, value)
}

// nameOf is what an item of a list is called in a path.
func nameOf(item any, index int) string {
	if m, ok := item.(map[string]any); ok {
		if name, ok := m["name"].(string); ok {
			return name
		}
	}
	return strconv.Itoa(index)
}

// withoutDescriptions is a schema without what changes nothing that the API server does.
func withoutDescriptions(schema any) any {
	switch s := schema.(type) {
	case map[string]any:
		out := make(map[string]any, len(s))
		for k, v := range s {
			if _, isText := v.(string); k == "description" && isText {
				continue
			}
			out[k] = withoutDescriptions(v)
		}
		return out
	case []any:
		out := make([]any, len(s))
		for i := range s {
			out[i] = withoutDescriptions(s[i])
		}
		return out
	default:
		return schema
	}
}
