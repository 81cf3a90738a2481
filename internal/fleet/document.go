package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// document is one YAML document, and the file that a person would mend.
type document struct {
	file  string
	index int // in its file
	root  *yaml.Node

	// What a kustomization built keeps the document that it was made from: root
	// then holds lines that nobody wrote.
	origin  *document
	builtBy string
}

// line is where the document begins.
func (d *document) line() int {
	if d.origin != nil {
		return d.origin.line()
	}
	return d.root.Line
}

// lineOf is the line of a field, or of what is nearest to it: "spec.access[0].role".
func (d *document) lineOf(field string) int {
	if d.origin != nil {
		return d.origin.lineOf(field)
	}
	return locate(d.root, field)
}

// fault reports what is wrong with a line of a file; line 0 is the whole file.
type fault func(line int, message string)

// readDocuments splits a file into its documents. Those before a syntax error
// are returned too.
func readDocuments(file string, data []byte, report fault) []*document {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if line, message := checkText(data); message != "" {
		report(line, message)
		return nil
	}
	var docs []*document
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for index := 0; ; index++ {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			report(syntaxError(err, data))
			return docs
		}
		if index >= MaxDocuments {
			report(node.Line, fmt.Sprintf("more than %d documents in one file; split it", MaxDocuments))
			return docs
		}
		root := node.Content[0]
		if isNull(root) {
			continue // nothing but comments
		}
		docs = append(docs, &document{file: file, index: index, root: root})
	}
}

// checkText refuses what a reviewer could not see, or YAML could not hold.
func checkText(data []byte) (line int, message string) {
	ascii := true
	for _, b := range data {
		if b >= utf8.RuneSelf || b < ' ' && b != '\n' && b != '\r' && b != '\t' || b == 0x7f {
			ascii = false
			break
		}
	}
	if ascii {
		return 0, ""
	}
	line = 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && size == 1:
			return line, "is not UTF-8 text; save the file as UTF-8"
		case r == '\r' || r == '\t':
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == '\ufeff':
			return line, fmt.Sprintf("has the invisible character %U; remove it", r)
		}
		i += size
	}
	return 0, ""
}

// syntaxError is the line and the message of what package yaml says.
func syntaxError(err error, data []byte) (line int, message string) {
	var at *yaml.LoadError
	if !errors.As(err, &at) {
		return 0, "is not YAML: " + err.Error()
	}
	line, message = at.Mark.Line, "is not YAML: "+at.Message
	if lines := bytes.Split(data, []byte("\n")); line > 0 && line <= len(lines) {
		text := lines[line-1]
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		if bytes.ContainsRune(indent, '\t') {
			message += "; indent with spaces, not tabs"
		}
	}
	return line, message
}

// isNull says whether a value is null, written or left out.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// resolve follows aliases to the value.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// locate finds the line of a field in a document: of its key in a mapping, of
// the item in a list. Keys may hold dots, and may be written in brackets. What is
// not there is looked for as far as it goes.
func locate(root *yaml.Node, field string) int {
	line, node := root.Line, root
	for depth := 0; field != "" && depth < MaxDepth; depth++ {
		node = resolve(node)
		var next *yaml.Node
		switch node.Kind {
		case yaml.MappingNode:
			key, value, rest := longestKey(node, field)
			if key == nil {
				return line
			}
			line, next, field = key.Line, value, rest
		case yaml.SequenceNode:
			end := strings.IndexByte(field, ']')
			if field[0] != '[' || end < 0 {
				return line
			}
			i, err := strconv.Atoi(field[1:end])
			if err != nil || i < 0 || i >= len(node.Content) {
				return line
			}
			next, field = node.Content[i], field[end+1:]
			line = next.Line
		default:
			return line
		}
		node = next
	}
	return line
}

// longestKey finds the key of a mapping that a path begins with, and what of the
// path is left.
func longestKey(node *yaml.Node, field string) (key, value *yaml.Node, rest string) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		k := node.Content[i]
		left, ok := cutKey(field, k.Value)
		if ok && (key == nil || len(k.Value) > len(key.Value)) {
			key, value, rest = k, node.Content[i+1], left
		}
	}
	return key, value, rest
}

func cutKey(field, key string) (rest string, ok bool) {
	if bracketed, found := strings.CutPrefix(field, "["+key+"]"); found {
		return bracketed, true
	}
	rest, ok = strings.CutPrefix(strings.TrimPrefix(field, "."), key)
	return rest, ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// oneLine makes text of others fit a message: one line, and not endless.
func oneLine(text string) string {
	const limit = 600
	text = strings.Join(strings.Fields(text), " ")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
