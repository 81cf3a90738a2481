package convert

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
)

// expression is CEL that makes text or bytes.
type expression struct {
	text  string
	bytes bool
	sum   bool // of several
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// words cannot be fields in CEL.
var words = []string{
	"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
	"namespace", "null", "package", "return", "true", "var", "void", "while",
}

// fieldOf is a key in OpenBao.
func fieldOf(key string) expression {
	if identifier.MatchString(key) && !slices.Contains(words, key) {
		return expression{text: "data." + key}
	}
	return expression{text: "data[" + strconv.Quote(key) + "]"}
}

func (e expression) decoded() expression {
	return expression{text: "base64.decode(" + e.asText() + ")", bytes: true}
}

func (e expression) encoded() expression {
	if e.bytes {
		return expression{text: "base64.encode(" + e.text + ")"}
	}
	return expression{text: "base64.encode(bytes(" + e.text + "))"}
}

func (e expression) asText() string {
	if e.bytes {
		return "string(" + e.text + ")"
	}
	return e.text
}

// translate turns a Go template into text with ${…}. lookUp says what a variable is.
func translate(text string, lookUp func(string) (expression, bool)) (string, error) {
	tree := parse.New("template")
	tree.Mode = parse.SkipFuncCheck
	tree, err := tree.Parse(text, "{{", "}}", map[string]*parse.Tree{})
	if err != nil {
		return "", fmt.Errorf("it is no Go template: %s", strings.TrimPrefix(err.Error(), "template: "))
	}
	t := translator{lookUp}
	var out strings.Builder
	if tree.Root == nil {
		return "", nil
	}
	for _, node := range tree.Root.Nodes {
		switch n := node.(type) {
		case *parse.TextNode:
			out.WriteString(strings.ReplaceAll(string(n.Text), "${", "$${"))
		case *parse.ActionNode:
			if len(n.Pipe.Decl) > 0 {
				return "", unknown(n)
			}
			e, err := t.pipe(n.Pipe)
			if err != nil {
				return "", err
			}
			if before := out.String(); strings.HasSuffix(before, "$") { // $${ would be the text ${
				kept := strings.TrimRight(before, "$")
				out.Reset()
				out.WriteString(kept + "${" + strconv.Quote(before[len(kept):]) + "}")
			}
			out.WriteString("${" + e.text + "}")
		default:
			return "", unknown(node)
		}
	}
	return out.String(), nil
}

func unknown(n parse.Node) error {
	text := n.String()
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	return fmt.Errorf("%s cannot be converted; write it in CEL, such as ${data.a == \"\" ? \"none\" : data.a}, or keep what it makes in OpenBao", text)
}

type translator struct {
	lookUp func(string) (expression, bool)
}

// pipe is commands, each of which gets what the one before made.
func (t translator) pipe(p *parse.PipeNode) (expression, error) {
	if len(p.Decl) > 0 {
		return expression{}, unknown(p)
	}
	var made *expression
	for _, command := range p.Cmds {
		e, err := t.command(command, made)
		if err != nil {
			return expression{}, err
		}
		made = &e
	}
	if made == nil {
		return expression{}, unknown(p)
	}
	return *made, nil
}

func (t translator) command(c *parse.CommandNode, piped *expression) (expression, error) {
	function, ok := c.Args[0].(*parse.IdentifierNode)
	if !ok {
		if len(c.Args) > 1 || piped != nil {
			return expression{}, unknown(c)
		}
		return t.argument(c.Args[0])
	}
	if function.Ident == "index" && piped == nil {
		return t.index(c)
	}
	var args []expression
	for _, node := range c.Args[1:] {
		e, err := t.argument(node)
		if err != nil {
			return expression{}, err
		}
		args = append(args, e)
	}
	if piped != nil {
		args = append(args, *piped)
	}
	if function.Ident == "printf" && len(c.Args) > 1 {
		if format, ok := c.Args[1].(*parse.StringNode); ok {
			return t.printf(c, format.Text, args[1:])
		}
	}
	if len(args) != 1 {
		return expression{}, unknown(c)
	}
	switch function.Ident {
	case "toString":
		return args[0], nil
	case "b64enc", "base64encode":
		return args[0].encoded(), nil
	case "b64dec", "base64decode":
		return args[0].decoded(), nil
	case "trim":
		text := args[0].asText()
		if args[0].sum {
			text = "(" + text + ")"
		}
		return expression{text: text + ".trim()"}, nil
	}
	return expression{}, unknown(c)
}

func (t translator) argument(node parse.Node) (expression, error) {
	switch n := node.(type) {
	case *parse.FieldNode:
		return t.variable(n, n.Ident)
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			return t.variable(n, n.Ident[1:])
		}
	case *parse.StringNode:
		if strings.Contains(n.Text, "{{") {
			return expression{}, fmt.Errorf("%s is a template of Helm; convert what `helm template` prints", n)
		}
		return expression{text: strconv.Quote(n.Text)}, nil
	case *parse.PipeNode:
		return t.pipe(n)
	}
	return expression{}, unknown(node)
}

// variable is .key, or .data.key as some write it.
func (t translator) variable(node parse.Node, names []string) (expression, error) {
	if len(names) == 2 && names[0] == "data" {
		names = names[1:]
	}
	if len(names) != 1 {
		return expression{}, unknown(node)
	}
	e, ok := t.lookUp(names[0])
	if !ok {
		return expression{}, fmt.Errorf("%s is no key that data or dataFrom reads; name it there", node)
	}
	return e, nil
}

// index is index . "key", for keys that are no identifiers.
func (t translator) index(c *parse.CommandNode) (expression, error) {
	if len(c.Args) == 3 {
		key, ok := c.Args[2].(*parse.StringNode)
		field, isField := c.Args[1].(*parse.FieldNode)
		if ok && (c.Args[1].Type() == parse.NodeDot || isField && slices.Equal(field.Ident, []string{"data"})) {
			return t.variable(c, []string{key.Text})
		}
	}
	return expression{}, unknown(c)
}

// printf joins what it is given: with %s and %v that is all that it does.
func (t translator) printf(c *parse.CommandNode, format string, args []expression) (expression, error) {
	var parts []string
	rest := strings.ReplaceAll(format, "%%", "\x00")
	literal := func(text string) {
		if text != "" {
			parts = append(parts, strconv.Quote(strings.ReplaceAll(text, "\x00", "%")))
		}
	}
	for _, arg := range args {
		i := strings.IndexByte(rest, '%')
		if i < 0 || i+1 >= len(rest) || rest[i+1] != 's' && rest[i+1] != 'v' {
			return expression{}, unknown(c)
		}
		literal(rest[:i])
		parts = append(parts, arg.asText())
		rest = rest[i+2:]
	}
	if strings.Contains(rest, "%") || len(args) == 0 {
		return expression{}, unknown(c)
	}
	literal(rest)
	return expression{text: strings.Join(parts, " + "), sum: len(parts) > 1}, nil
}
