// Package fields reads fields of objects whose content may be anything at all:
// what is not there, or of another type, is empty.
package fields

import "encoding/json"

// At is the value at a path, or nil.
func At(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// Map is the map at a path.
func Map(v any, path ...string) map[string]any {
	m, _ := At(v, path...).(map[string]any)
	return m
}

// List is the list at a path.
func List(v any, path ...string) []any {
	l, _ := At(v, path...).([]any)
	return l
}

// Text is the string at a path.
func Text(v any, path ...string) string {
	s, _ := At(v, path...).(string)
	return s
}

// Texts are the strings of a list; what else it holds is left out.
func Texts(v any, path ...string) []string {
	var out []string
	for _, item := range List(v, path...) {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Labels are the strings of a map.
func Labels(v any, path ...string) map[string]string {
	out := map[string]string{}
	for k, value := range Map(v, path...) {
		if s, ok := value.(string); ok {
			out[k] = s
		}
	}
	return out
}

// Canonical is a value as text, its keys sorted.
func Canonical(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(data)
}
