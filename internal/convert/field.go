package convert

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// field is a value in a manifest. It remembers which of its fields were asked for, so
// that the others can be told: see rest.
type field struct {
	file string
	path string
	line int
	node *yaml.Node // nil where it is not written
	sink *[]Problem

	known map[string]*field
}

// resolve follows aliases to the value.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func (f *field) there() bool { return f.node != nil && f.node.ShortTag() != "!!null" }

// at is a field of a mapping.
func (f *field) at(name string) *field {
	if child := f.known[name]; child != nil {
		return child
	}
	path := name
	if f.path != "" {
		path = f.path + "." + name
	}
	return f.keep(name, path)
}

// in is an entry of a map with keys of people's own, whose path is written in brackets.
func (f *field) in(key string) *field {
	if child := f.known[key]; child != nil {
		return child
	}
	return f.keep(key, f.path+"["+key+"]")
}

func (f *field) keep(name, path string) *field {
	child := &field{file: f.file, path: path, line: f.line, sink: f.sink}
	if f.node != nil && f.node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(f.node.Content); i += 2 {
			if f.node.Content[i].Value == name {
				child.line, child.node = f.node.Content[i].Line, resolve(f.node.Content[i+1])
			}
		}
	}
	if f.known == nil {
		f.known = map[string]*field{}
	}
	f.known[name] = child
	return child
}

// ignore marks fields that nothing has to be done about.
func (f *field) ignore(names ...string) {
	for _, name := range names {
		f.at(name)
	}
}

// items of a list.
func (f *field) items() []*field {
	if f.node == nil || f.node.Kind != yaml.SequenceNode {
		if f.there() {
			f.problem("it is no list")
		}
		return nil
	}
	if f.known == nil {
		f.known = map[string]*field{}
	}
	all := make([]*field, len(f.node.Content))
	for i, item := range f.node.Content {
		name := fmt.Sprintf("[%d]", i)
		if f.known[name] == nil {
			f.known[name] = &field{file: f.file, path: f.path + name, line: item.Line, node: resolve(item), sink: f.sink}
		}
		all[i] = f.known[name]
	}
	return all
}

// keys of a mapping, as they are written.
func (f *field) keys() []string {
	if f.node == nil || f.node.Kind != yaml.MappingNode {
		return nil
	}
	var all []string
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		all = append(all, f.node.Content[i].Value)
	}
	return all
}

// text of a scalar; "" where there is none.
func (f *field) text() string {
	switch {
	case !f.there():
		return ""
	case f.node.Kind != yaml.ScalarNode:
		f.problem("it is no text")
		return ""
	}
	return f.node.Value
}

func (f *field) problem(format string, args ...any) {
	message := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	if f.path != "" {
		message = f.path + ": " + message
	}
	p := Problem{f.file, f.line, message}
	if !slices.Contains(*f.sink, p) {
		*f.sink = append(*f.sink, p)
	}
}

// into sends the problems of a field, and of all below it, elsewhere.
func (f *field) into(sink *[]Problem) {
	f.sink = sink
	for _, child := range f.known {
		child.into(sink)
	}
}

// rest reports every field that nobody has asked for.
func (f *field) rest() {
	for _, name := range f.keys() {
		if child := f.known[name]; child != nil {
			if child.known != nil {
				child.rest()
			}
			continue
		}
		f.at(name).problem("it has no counterpart, and is not carried over; see to it by hand, or do without")
	}
	if f.node != nil && f.node.Kind == yaml.SequenceNode {
		for i := range f.node.Content {
			if child := f.known[fmt.Sprintf("[%d]", i)]; child != nil && child.known != nil {
				child.rest()
			}
		}
	}
}
