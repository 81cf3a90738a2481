package expr

import (
	"strings"

	"github.com/google/cel-go/cel"
)

// The word namespace is reserved in CEL, and there is none better for what it
// means here: CEL sees it escaped, people never do.
const (
	reserved = "namespace"
	escaped  = "__namespace__"
)

// escape replaces the variable namespace in an expression. Fields of that name
// are no variables; string literals and comments are no code.
func escape(source string) string {
	if !strings.Contains(source, reserved) {
		return source
	}
	var b strings.Builder
	for i := 0; i < len(source); {
		switch c := source[i]; {
		case c == '"' || c == '\'':
			n, err := literal(source[i:], isRaw(source[:i]))
			if err != nil {
				n = len(source) - i
			}
			b.WriteString(source[i : i+n])
			i += n
		case strings.HasPrefix(source[i:], "//"):
			n := strings.IndexByte(source[i:]+"\n", '\n')
			b.WriteString(source[i : i+n])
			i += n
		case isWord(rune(c)):
			n := len(source[i:]) - len(strings.TrimLeftFunc(source[i:], isWord))
			word := source[i : i+n]
			if word == reserved && !strings.HasSuffix(strings.TrimRight(source[:i], " \t\r\n"), ".") {
				word = escaped
			}
			b.WriteString(word)
			i += n
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

func unescape(name string) string {
	if name == escaped {
		return reserved
	}
	return name
}

// escapedValues answers to the escaped name.
type escapedValues struct{ cel.Activation }

func (v escapedValues) ResolveName(name string) (any, bool) {
	return v.Activation.ResolveName(unescape(name))
}
