// Package config reads the configuration file of a program: one YAML document, strictly,
// over the program's defaults. All that is wrong is told, each at its line and with what
// to write instead.
//
// It knows no program's fields: those are types of their own, such as package operator's.
package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/spelling"
)

// APIVersion of the files that this release reads.
const APIVersion = "config.aetherplatform.cloud/v1alpha1"

// Read puts what a file says in the place of defaults. into points to a struct that holds
// them, APIVersion and Kind among them; its fields are structs, texts, lists of texts,
// booleans, numbers, and what reads itself from text. A field that is null keeps its
// default, and a list that is written takes the default's place.
func Read(data []byte, file string, into any) (Places, error) {
	r := &reader{file: file, places: Places{file: file, lines: map[string]int{}}}
	value := reflect.ValueOf(into).Elem()
	if root := r.document(data); root != nil && r.header(root, value) {
		r.structure(root, value, "")
	}
	return r.places, errors.Join(r.errs...)
}

// Write is a configuration as a file that Read takes, every field in it.
func Write(c any) ([]byte, error) {
	return yaml.Dump(c, yaml.WithIndent(2), yaml.WithLineWidth(-1), yaml.WithQuotePreference(yaml.QuoteDouble))
}

type reader struct {
	file   string
	places Places
	errs   []error
}

func (r *reader) fail(line int, field, format string, args ...any) {
	where := fmt.Sprintf("%s:%d: ", r.file, line)
	if field != "" {
		where += field + ": "
	}
	r.errs = append(r.errs, errors.New(where+fmt.Sprintf(format, args...)))
}

// document is the only one of a file; nil where that was reported as wrong.
func (r *reader) document(data []byte) *yaml.Node {
	var first, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&first)
	if err == nil {
		err = decoder.Decode(&second)
	}
	syntax := (*yaml.LoadError)(nil)
	switch {
	case err == nil:
		r.fail(second.Line, "", "a second document begins here; write one")
	case errors.As(err, &syntax):
		r.fail(max(1, syntax.Mark.Line), "", "is not YAML: %s", prose.Plain(syntax.Message))
	case !errors.Is(err, io.EOF):
		r.fail(1, "", "is not YAML: %s", prose.Plain(err.Error()))
	case len(first.Content) == 0 || isNull(first.Content[0]):
		r.fail(1, "", "is empty; write apiVersion and kind at least")
	default:
		return first.Content[0]
	}
	return nil
}

// header says whether a file is of the version and the kind that the defaults are of. Of
// another's fields nothing could be said.
func (r *reader) header(root *yaml.Node, defaults reflect.Value) bool {
	if root.Kind != yaml.MappingNode {
		r.fail(root.Line, "", "is %s; write fields, such as apiVersion and kind", describe(root))
		return false
	}
	before := len(r.errs)
	for _, field := range []string{"APIVersion", "Kind"} {
		of, _ := defaults.Type().FieldByName(field)
		name, want := nameOf(of), defaults.FieldByName(field).String()
		switch key, value := find(root, name); {
		case key == nil:
			r.fail(root.Line, name, "is missing; write %s", want)
		case value.Kind != yaml.ScalarNode || value.Value != want:
			r.fail(key.Line, name, "is %s, which this program does not read; write %s", describe(value), want)
		}
	}
	return len(r.errs) == before
}

// structure fills a struct's fields from a mapping.
func (r *reader) structure(n *yaml.Node, into reflect.Value, at string) {
	known := map[string]reflect.Value{}
	var names []string
	for i := range into.NumField() {
		name := nameOf(into.Type().Field(i))
		known[name], names = into.Field(i), append(names, name)
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n.Line, at, "is %s; write %s below it", describe(n), prose.Either(names))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.fail(key.Line, at, "has a key that is not text; write one of %s", prose.Either(names))
			continue
		}
		field := join(at, prose.Plain(key.Value))
		first, twice := seen[key.Value]
		target, is := known[key.Value]
		switch {
		case twice:
			r.fail(key.Line, field, "is written twice, first in line %d; keep one", first)
		case !is:
			r.fail(key.Line, field, "there is no such field; %s", meant(key.Value, names))
		default:
			r.places.lines[field] = key.Line
			r.value(value, target, field)
		}
		if !twice {
			seen[key.Value] = key.Line
		}
	}
}

// value fills one field.
func (r *reader) value(n *yaml.Node, into reflect.Value, at string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	text, readsText := into.Addr().Interface().(encoding.TextUnmarshaler)
	tag := n.ShortTag()
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		r.fail(n.Line, at, "has the tag %q; write the value without a tag", prose.Plain(n.Tag))
	case isNull(n):
		// as if it were not there
	case readsText:
		if n.Kind != yaml.ScalarNode {
			r.fail(n.Line, at, "is %s; write text", describe(n))
		} else if err := text.UnmarshalText([]byte(n.Value)); err != nil {
			r.fail(n.Line, at, "%v", err)
		}
	case into.Kind() == reflect.Struct:
		r.structure(n, into, at)
	case into.Kind() == reflect.String:
		r.text(n, into, at)
	case into.Kind() == reflect.Slice:
		r.list(n, into, at)
	case into.Kind() == reflect.Bool && tag != "!!bool":
		r.fail(n.Line, at, "is %s; write true or false", describe(n))
	case into.Kind() == reflect.Int && tag != "!!int":
		r.fail(n.Line, at, "is %s; write a whole number%s", describe(n), unquoted(n))
	case into.Kind() == reflect.Float64 && tag != "!!int" && tag != "!!float":
		r.fail(n.Line, at, "is %s; write a number%s", describe(n), unquoted(n))
	default:
		// Into a copy, so that what does not fit changes nothing.
		read := reflect.New(into.Type())
		if err := n.Decode(read.Interface()); err != nil || into.Kind() == reflect.Float64 && !finite(read.Elem().Float()) {
			r.fail(n.Line, at, "%s is not a number that fits; write a smaller one, in decimal", prose.Plain(n.Value))
			return
		}
		into.Set(read.Elem())
	}
}

// list fills a list of texts. An empty one is nil, as defaults have it.
func (r *reader) list(n *yaml.Node, into reflect.Value, at string) {
	if n.Kind != yaml.SequenceNode {
		r.fail(n.Line, at, "is %s; write a list, such as [%s]", describe(n), exampleOf(n))
		return
	}
	all := reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		field := fmt.Sprintf("%s[%d]", at, i)
		r.places.lines[field] = item.Line
		if isNull(item) {
			r.fail(item.Line, field, "is empty; write text, or leave it out")
			continue
		}
		r.value(item, all.Index(i), field)
	}
	if len(n.Content) == 0 {
		all = reflect.Zero(into.Type())
	}
	into.Set(all)
}

// exampleOf is what a list would hold that was written as one text.
func exampleOf(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		return prose.Plain(n.Value)
	}
	return "a, b"
}

func (r *reader) text(n *yaml.Node, into reflect.Value, at string) {
	switch {
	case n.Kind != yaml.ScalarNode:
		r.fail(n.Line, at, "is %s; write text", describe(n))
	case n.ShortTag() != "!!str":
		r.fail(n.Line, at, "%s is not text; write it in quotes: %q", prose.Plain(n.Value), prose.Plain(n.Value))
	case strings.ContainsFunc(n.Value, func(c rune) bool { return !unicode.IsPrint(c) }):
		r.fail(n.Line, at, "%q has characters that cannot be seen; write it without them", prose.Plain(n.Value))
	default:
		into.SetString(n.Value)
	}
}

// find is a field at the top of a file: the first of its name.
func find(n *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

func nameOf(f reflect.StructField) string { return f.Tag.Get("yaml") }

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func finite(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	return strconv.Quote(prose.Plain(n.Value))
}

func unquoted(n *yaml.Node) string {
	if _, err := strconv.ParseFloat(n.Value, 64); err == nil && n.ShortTag() == "!!str" {
		return " without quotes: " + n.Value
	}
	return ""
}

func meant(name string, known []string) string {
	if found := spelling.Nearest(name, known); found != "" {
		return "did you mean " + found + "?"
	}
	return "write " + prose.Either(known)
}
