package expr

import (
	"fmt"
	"strings"
)

// Part is a piece of a template's string: literal text, or an expression.
type Part struct {
	Text string
	// IsExpression tells ${…} from the text around it; Text is what is between the braces.
	IsExpression bool
}

// Split takes a string apart into text and ${…}. "$${" stands for the text "${".
func Split(s string) ([]Part, error) {
	var (
		parts []Part
		text  strings.Builder
	)
	flush := func() {
		if text.Len() > 0 {
			parts = append(parts, Part{Text: text.String()})
			text.Reset()
		}
	}

	for s != "" {
		i := strings.Index(s, "${")
		if i < 0 {
			text.WriteString(s)
			break
		}
		if i > 0 && s[i-1] == '$' {
			text.WriteString(s[:i-1])
			text.WriteString("${")
			s = s[i+2:]
			continue
		}

		text.WriteString(s[:i])
		end, err := closing(s[i+2:])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s[i:], err)
		}
		source := strings.TrimSpace(s[i+2 : i+2+end])
		if source == "" {
			return nil, fmt.Errorf("%q: there is no expression between the braces; write $${ for the text ${", s[i:i+2+end+1])
		}
		flush()
		parts = append(parts, Part{Text: source, IsExpression: true})
		s = s[i+2+end+1:]
	}
	flush()
	return parts, nil
}

// closing is the index of the brace that ends an expression which begins at s[0].
// Braces in CEL's string literals and comments do not count.
func closing(s string) (int, error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i, nil
			}
			depth--
		case '"', '\'':
			n, err := literal(s[i:], isRaw(s[:i]))
			if err != nil {
				return 0, err
			}
			i += n - 1
		case '/':
			if strings.HasPrefix(s[i:], "//") {
				n := strings.IndexByte(s[i:], '\n')
				if n < 0 {
					return 0, errUnclosed
				}
				i += n
			}
		}
	}
	return 0, errUnclosed
}

var errUnclosed = fmt.Errorf("the expression is not closed; end it with }")

// literal is the length of the string literal that s begins with.
func literal(s string, raw bool) (int, error) {
	quote := s[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s, triple) {
		quote = triple
	}
	for i := len(quote); i < len(s); i++ {
		switch {
		case s[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(s[i:], quote):
			return i + len(quote), nil
		}
	}
	return 0, fmt.Errorf("a string in the expression is not closed; end it with %s", quote)
}

// isRaw reports whether the quote after s opens a raw literal: r"…" or br"…".
func isRaw(s string) bool {
	word := s[len(strings.TrimRightFunc(s, isWord)):]
	switch strings.ToLower(word) {
	case "r", "br", "rb":
		return true
	}
	return false
}

func isWord(r rune) bool {
	return r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}
