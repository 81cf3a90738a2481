package fleet

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/aetherplatform/aether/internal/prose"
)

// walker turns a YAML document into what encoding/json would hold, following a
// schema strictly: it reports duplicate and unknown fields and values of another
// type, each at its line, and goes on.
type walker struct {
	doc    *document
	report func(field string, line int, message string)
	// unknown says what to write instead of a field that the schema lacks.
	unknown func(path, field string, known []string) string

	inAlias  int             // how many aliases the value is in
	aliased  int             // values that aliases stood for so far
	broken   bool            // something else than an unknown field was reported
	unknowns int             // how many unknown fields were
	spared   map[string]bool // what a mistyped field is in, and was likely meant for
	meant    mistyped        // the latter alone
}

// mistyped are fields that others were likely meant for: of what is in them
// nothing is known.
type mistyped []string

// covers says whether a field is one of them, or in one.
func (m mistyped) covers(field string) bool {
	return slices.ContainsFunc(m, func(meant string) bool {
		rest, ok := strings.CutPrefix(field, meant)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// step is a path to a value, kept as it is walked, and written only for an error.
type step struct {
	parent *step
	name   string // "" for an item of a list
	index  int
	depth  int
}

func (s *step) String() string {
	if s == nil {
		return ""
	}
	parent := s.parent.String()
	switch {
	case s.name == "":
		return fmt.Sprintf("%s[%d]", parent, s.index)
	case strings.ContainsAny(s.name, "./[]"):
		return fmt.Sprintf("%s[%s]", parent, s.name)
	case parent == "":
		return s.name
	}
	return parent + "." + s.name
}

func (s *step) field(name string) *step { return &step{parent: s, name: name, depth: s.level() + 1} }
func (s *step) item(i int) *step        { return &step{parent: s, index: i, depth: s.level() + 1} }

func (s *step) level() int {
	if s == nil {
		return 0
	}
	return s.depth
}

// errorf reports a value that cannot be used.
func (w *walker) errorf(at *step, n *yaml.Node, format string, args ...any) {
	w.broken = true
	w.say(at, n, fmt.Sprintf(format, args...))
}

func (w *walker) say(at *step, n *yaml.Node, message string) {
	path := at.String()
	line := n.Line
	if w.doc.origin != nil {
		line = w.doc.lineOf(path)
	}
	w.report(path, line, message)
}

// walk converts one value; s is nil where anything may be written. It returns nil
// for a value that was reported.
func (w *walker) walk(n *yaml.Node, s *schema.Structural, at *step) any {
	if at.level() > MaxDepth {
		w.errorf(at, n, "is nested deeper than %d levels; write it flatter", MaxDepth)
		return nil
	}
	if n.Kind == yaml.AliasNode {
		w.inAlias++
		defer func() { w.inAlias-- }()
		n = n.Alias
	}
	if w.inAlias > 0 {
		if w.aliased++; w.aliased == MaxAliasNodes {
			w.errorf(at, n, "YAML aliases stand for more than %d values; write the values out", MaxAliasNodes)
		}
		if w.aliased >= MaxAliasNodes {
			return nil
		}
	}
	if n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != "!!str" {
		w.errorf(at, n, "has the tag %q; write the value without a tag", n.Tag)
		return nil
	}
	if isNull(n) {
		return nil
	}
	if s != nil && !w.fits(n, s, at) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return w.mapping(n, s, at)
	case yaml.SequenceNode:
		var items *schema.Structural
		if s != nil {
			items = s.Items
		}
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = w.walk(item, items, at.item(i))
		}
		return list
	default:
		return w.scalar(n, s, at)
	}
}

func (w *walker) mapping(n *yaml.Node, s *schema.Structural, at *step) any {
	out := make(map[string]any, len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			w.errorf(at, key, "has a key that is not text; write plain field names")
			continue
		}
		here := at.field(key.Value)
		if key.ShortTag() == "!!merge" {
			w.errorf(at, key, "merges with <<; write the fields out")
			continue
		}
		if first, twice := lines[key.Value]; twice {
			w.errorf(here, key, "is written twice, first in line %d; keep one", first)
			continue
		}
		lines[key.Value] = key.Line

		of, known := fieldSchema(s, key.Value)
		if !known {
			names := sortedKeys(s.Properties)
			w.say(here, key, w.unknown(at.String(), key.Value, names))
			w.unknowns++
			w.spare(at.String())
			if meant := nearest(key.Value, names); meant != "" {
				w.spare(at.field(meant).String())
				w.meant = append(w.meant, at.field(meant).String())
			}
			continue
		}
		out[key.Value] = w.walk(value, of, here)
	}
	return out
}

func (w *walker) spare(field string) {
	if w.spared == nil {
		w.spared = map[string]bool{}
	}
	w.spared[field] = true
}

// fieldSchema is the schema of a field; nil where anything may be written.
func fieldSchema(s *schema.Structural, name string) (of *schema.Structural, known bool) {
	if s == nil {
		return nil, true
	}
	if p, ok := s.Properties[name]; ok {
		return &p, true
	}
	if a := s.AdditionalProperties; a != nil && (a.Structural != nil || a.Bool) {
		return a.Structural, true
	}
	return nil, s.XPreserveUnknownFields
}

// fits says whether a value has the type that the schema wants.
func (w *walker) fits(n *yaml.Node, s *schema.Structural, at *step) bool {
	tag := n.ShortTag()
	switch {
	case s.XIntOrString && n.Kind == yaml.ScalarNode && (tag == "!!int" || tag == "!!str"):
		return true
	case s.XIntOrString && tag == "!!float":
		w.errorf(at, n, "%s is neither a whole number nor text; write it in quotes: %q", n.Value, n.Value)
	case s.XIntOrString:
		w.errorf(at, n, "is not a number or text; write a number such as 4, or a quantity such as 500m or 8Gi")
	case s.Type == "object" && n.Kind != yaml.MappingNode:
		w.errorf(at, n, "is %s; write %s below it", describe(n), fieldsOf(s))
	case s.Type == "array" && n.Kind != yaml.SequenceNode:
		w.errorf(at, n, "is %s; write a list, each item after a '-'", describe(n))
	case s.Type == "string" && n.Kind != yaml.ScalarNode:
		w.errorf(at, n, "is %s; write text", describe(n))
	case s.Type == "string" && (tag == "!!int" || tag == "!!float" || tag == "!!bool"):
		w.errorf(at, n, "%s is not text; write it in quotes: %q", n.Value, n.Value)
	case s.Type == "integer" && tag != "!!int":
		w.errorf(at, n, "is %s; write a whole number%s", describe(n), unquoted(n))
	case s.Type == "number" && tag != "!!int" && tag != "!!float":
		w.errorf(at, n, "is %s; write a number", describe(n))
	case s.Type == "boolean" && tag != "!!bool":
		w.errorf(at, n, "is %s; write true or false", describe(n))
	default:
		return true
	}
	return false
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", shorten(n.Value))
}

func unquoted(n *yaml.Node) string {
	if _, err := strconv.ParseInt(n.Value, 10, 64); err == nil && n.Kind == yaml.ScalarNode {
		return " without quotes: " + n.Value
	}
	return ""
}

func fieldsOf(s *schema.Structural) string {
	if names := sortedKeys(s.Properties); len(names) > 0 {
		return prose.Either(names)
	}
	return "names and their values"
}

// shorten keeps a value in a message short.
func shorten(text string) string {
	const limit = 100
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

func (w *walker) scalar(n *yaml.Node, s *schema.Structural, at *step) any {
	switch n.ShortTag() {
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		i, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
		if err != nil {
			w.errorf(at, n, "%s is not a number that fits; write a smaller one, in decimal", shorten(n.Value))
			return nil
		}
		return i
	case "!!float":
		f, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			w.errorf(at, n, "%s is not a number that fits; write a finite one", shorten(n.Value))
			return nil
		}
		return f
	}
	if isQuantity(s) {
		if _, err := resource.ParseQuantity(n.Value); err != nil {
			w.errorf(at, n, "%q is not a quantity; write a number such as 4, 500m or 8Gi", shorten(n.Value))
			return nil
		}
	}
	return n.Value
}

// isQuantity says whether a schema is that of a resource.Quantity, as
// controller-gen writes it.
func isQuantity(s *schema.Structural) bool {
	return s != nil && s.XIntOrString && s.ValueValidation != nil && s.ValueValidation.Pattern != ""
}
