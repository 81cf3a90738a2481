package expr

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/go-cmp/cmp"
)

var box = Object{Name: "box", Fields: []Field{
	{Name: "name", Type: cel.StringType},
	{Name: "namespace", Type: cel.StringType},
	{Name: "labels", Type: cel.MapType(cel.StringType, cel.StringType)},
	{Name: "items", Type: cel.ListType(cel.DynType)},
	{Name: "lid", Type: cel.MapType(cel.StringType, cel.StringType)},
}}

type values map[string]any

func (v values) ResolveName(name string) (any, bool) { x, ok := v[name]; return x, ok }
func (v values) Parent() cel.Activation              { return nil }

var boxes = values{
	"namespace": map[string]any{
		"name":      "acme-web",
		"namespace": "inner",
		"labels":    map[string]any{"b": "2", "a": "1", "c": "3"},
		"items":     []any{map[string]any{"x": int64(1)}, "two"},
		"lid":       nil,
	},
	"cordoned": false,
}

func newTestEnv(t testing.TB) *Env {
	t.Helper()
	env, err := NewEnv([]Object{box}, []Field{{Name: "namespace", Type: box.Type()}, {Name: "cordoned", Type: cel.BoolType}})
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func TestAStringIsTakenApartAtItsExpressions(t *testing.T) {
	text := func(s string) Part { return Part{Text: s} }
	code := func(s string) Part { return Part{Text: s, IsExpression: true} }
	tests := map[string]struct {
		in   string
		want []Part
	}{
		"no expression":             {"plain $ {text}", []Part{text("plain $ {text}")}},
		"one expression":            {"${a}", []Part{code("a")}},
		"text around":               {"x-${a}-y${b}", []Part{text("x-"), code("a"), text("-y"), code("b")}},
		"escaped":                   {"$${a}", []Part{text("${a}")}},
		"escaped beside an other":   {"$${a}${b}", []Part{text("${a}"), code("b")}},
		"braces of a map":           {`${{"a": {"b": 1}}}`, []Part{code(`{"a": {"b": 1}}`)}},
		"a brace in a string":       {`${"}" + '{'}`, []Part{code(`"}" + '{'`)}},
		"a quote in a string":       {`${"\"}"}`, []Part{code(`"\"}"`)}},
		"a raw string":              {`${r"\"}`, []Part{code(`r"\"`)}},
		"a variable that ends in r": {`${var["a\"}"]}`, []Part{code(`var["a\"}"]`)}},
		"a string of three quotes":  {`${"""}"" """}`, []Part{code(`"""}"" """`)}},
		"a comment":                 {"${a // }\n}", []Part{code("a // }")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Split(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Split(%q) (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

func TestAStringThatIsNotClosedIsAnError(t *testing.T) {
	tests := map[string]string{
		"x${a":     `"${a": the expression is not closed; end it with }`,
		`${"a}`:    `"${\"a}": a string in the expression is not closed; end it with "`,
		"${ }":     `"${ }": there is no expression between the braces; write $${ for the text ${`,
		"${a // }": `"${a // }": the expression is not closed; end it with }`,
	}
	for in, want := range tests {
		if _, err := Split(in); err == nil || err.Error() != want {
			t.Errorf("Split(%q)\ngot  %v\nwant %s", in, err, want)
		}
	}
}

func TestExpressionsKeepTheirType(t *testing.T) {
	tests := map[string]struct {
		source string
		want   any
	}{
		"a path":                    {"namespace.name", "acme-web"},
		"a whole map":               {"namespace.labels", map[string]any{"a": "1", "b": "2", "c": "3"}},
		"a field called namespace":  {"namespace.namespace + namespace.name", "inneracme-web"},
		"the word in a string":      {"'namespace' + namespace.name", "namespaceacme-web"},
		"what is not set":           {"namespace.lid", nil},
		"whether it is set":         {"has(namespace.lid)", false},
		"a number":                  {"size(namespace.items) + 1", int64(3)},
		"a map that is made":        {"{'k': [1, 2.5, true, namespace.name]}", map[string]any{"k": []any{int64(1), 2.5, true, "acme-web"}}},
		"items of a list":           {"namespace.items[0]", map[string]any{"x": int64(1)}},
		"maps are walked in order":  {"namespace.labels.map(k, k + namespace.labels[k]).join(',')", "a1,b2,c3"},
		"maps that were made, also": {"{'z': 1, 'y': 2, 'x': 3}.map(k, k).join('')", "xyz"},
		"maps of a choice, also":    {"(namespace.name == '' ? {} : {'z': 1, 'y': 2, 'x': 3, namespace.name: 4}).map(k, k).join(' ')", "acme-web x y z"},
	}
	env := newTestEnv(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x, err := env.Compile(tt.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := x.Eval(boxes)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.source, diff)
			}
		})
	}
}

func TestAWrongExpressionSaysWhatThereIs(t *testing.T) {
	tests := map[string]string{
		"namespace.nam":          "undefined field 'nam'; box has items, labels, lid, name, namespace",
		"tenant.name":            "undeclared reference to 'tenant'; there are namespace, cordoned",
		"namespace.name + 1":     "found no matching overload for '_+_' applied to '(string, int)'",
		"now()":                  "undeclared reference to 'now'; there are namespace, cordoned",
		"namespace.lid == other": "undeclared reference to 'other'; there are namespace, cordoned",
	}
	env := newTestEnv(t)
	for source, want := range tests {
		if _, err := env.Compile(source); err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", source, err, want)
		}
	}
}

func TestAnExpressionThatTakesTooLongIsStopped(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 60), ",") + "]"
	source := list + ".map(a, " + list + ".map(b, " + list + ".map(c, a + b + c + size(namespace.items))))"
	x, err := newTestEnv(t).Compile(source)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Eval(boxes); err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("got %v, want the cost limit", err)
	}
}

func TestWhatIsNotJSONIsAnError(t *testing.T) {
	for _, source := range []string{"b'bytes'", "{1: 'a'}", "1.0 / 0.0", "duration('1s')", "type(1)"} {
		x, err := newTestEnv(t).Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if v, err := x.Eval(boxes); err == nil {
			t.Errorf("%s gave %v", source, v)
		}
	}
}

// Whatever a string holds, taking it apart ends, loses nothing, and is undone by
// writing it again.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{
		"", "${", "}", "$${", "${a}", "x${a}y", `${"}"}`, `${r"\"}`, "${{'a': {}}}", "$$${a}", "${a // }\n}", `${'''}'''}`,
		"${namespace.name}", "${namespace.labels['a']}", "${1/0}", "${[1,2].map(x, x)}", "$${${a}", "${\x00}", "${é}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := Split(s)
		if err != nil {
			return
		}
		if !strings.Contains(s, "${") && strings.Join(texts(parts), "") != s {
			t.Fatalf("Split(%q) changed plain text: %v", s, parts)
		}
		var again strings.Builder
		for _, p := range parts {
			if p.IsExpression {
				again.WriteString("${" + p.Text + "\n}") // a comment may end the expression
				continue
			}
			again.WriteString(strings.ReplaceAll(p.Text, "${", "$${"))
		}
		// A '$' at the end of text would escape the expression after it.
		if strings.Contains(again.String(), "$$${") || slices.ContainsFunc(parts, func(p Part) bool { return !p.IsExpression && strings.HasSuffix(p.Text, "$") }) {
			return
		}
		back, err := Split(again.String())
		if err != nil {
			t.Fatalf("Split(%q) = %v, and cannot be written again: %v", s, parts, err)
		}
		if diff := cmp.Diff(parts, back); diff != "" {
			t.Fatalf("Split(%q) is not what it was (-first +second):\n%s", s, diff)
		}
		env := newTestEnv(t)
		for _, p := range parts {
			if !p.IsExpression || len(p.Text) > 200 {
				continue
			}
			if x, err := env.Compile(p.Text); err == nil {
				_, _ = x.Eval(boxes)
			}
		}
	})
}

func texts(parts []Part) []string {
	var out []string
	for _, p := range parts {
		out = append(out, p.Text)
	}
	return out
}
