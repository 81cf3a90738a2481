package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/review"
)

// Bounds in bytes of what is shown of one thing. What is longer is cut, and says so.
const (
	maxName    = 253
	maxMessage = 1000
	maxValue   = 400
	// maxMarks that combine with one letter: more of them draw over other lines.
	maxMarks = 3
)

// inert is s on one line, with whatever a reader could not see, or a terminal would
// obey, written as an escape.
func inert(s string, limit int) string {
	var b strings.Builder
	marks := 0
	for i, r := range s {
		if b.Len() >= limit {
			fmt.Fprintf(&b, "… (%s bytes in all)", thousands(len(s)))
			break
		}
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case marks > maxMarks || !visible(r):
			escape(&b, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func escape(b *strings.Builder, r rune) {
	if r > 0xFFFF {
		fmt.Fprintf(b, `\U%08x`, r)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}

// visible is whether one sees r where it is: no control character, no bidirectional
// override, nothing of no width, no blank but the space.
func visible(r rune) bool {
	return unicode.IsPrint(r) && r != '\u2800' && // a blank of Braille
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// value is v as JSON on one line, in full.
func value(v any) string {
	if v == review.Redacted {
		return review.Redacted
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprintf("(no JSON: %T)", v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// span is a text with what differs in the middle.
type span struct{ Before, Differs, After string }

func (s span) String() string { return s.Before + s.Differs + s.After }

// spans are two values, and where they differ. Of long ones the part is shown in
// which they differ, so that a long beginning does not hide a changed end.
func spans(oldValue, newValue any) (was, is span) {
	a, b := value(oldValue), value(newValue)
	head, tail := 0, 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	for head > 0 && (!startsRune(a, head) || !startsRune(b, head)) {
		head--
	}
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	for tail > 0 && !startsRune(a, len(a)-tail) {
		tail--
	}
	return cut(a, head, tail), cut(b, head, tail)
}

func startsRune(s string, i int) bool { return i == len(s) || utf8.RuneStart(s[i]) }

func cut(s string, head, tail int) span {
	const around = 80
	before, after := s[:head], s[len(s)-tail:]
	left, right := "", ""
	if len(s) > maxValue && len(before) > around {
		i := len(before) - around
		for !startsRune(before, i) {
			i++
		}
		before, left = before[i:], "…"
	}
	if len(s) > maxValue && len(after) > around {
		i := around
		for !startsRune(after, i) {
			i--
		}
		after, right = after[:i], "…"
	}
	// Escapes are longer than what they stand for.
	return span{left + inert(before, 16*maxValue), inert(s[head:len(s)-tail], maxValue), inert(after, 16*maxValue) + right}
}

// line is what a field says, for text.
func line(f review.Field) (mark, path, text string) {
	path = inert(f.Path, maxMessage)
	switch {
	case f.Added:
		return "+", path, inert(value(f.New), maxValue)
	case f.Removed:
		return "-", path, inert(value(f.Old), maxValue)
	case f.Old == review.Redacted || f.New == review.Redacted:
		return "~", path, "changed, value not shown"
	default:
		was, is := spans(f.Old, f.New)
		return "~", path, was.String() + " → " + is.String()
	}
}

// content is an object as lines of YAML, at most limit of them.
func content(m map[string]any, limit int) []string {
	if len(m) == 0 {
		return nil
	}
	room := limit * maxValue
	data, err := yaml.Marshal(within(m, &room))
	if err != nil {
		return []string{"(no YAML: " + inert(err.Error(), maxMessage) + ")"}
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	all := len(lines)
	lines = slices.Clone(lines[:min(all, limit)])
	for i, l := range lines {
		lines[i] = inert(l, maxValue)
	}
	if all > limit {
		lines = append(lines, "… "+count(all-limit, "more line"))
	}
	return lines
}

// within is a copy of v that is no larger than room: an object may be as large as
// a file of the repository, and only its first lines are shown.
func within(v any, room *int) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if *room <= 0 {
				out["…"] = count(len(v)-len(out), "more field")
				break
			}
			*room -= len(k) + 1
			out[k] = within(v[k], room)
		}
		return out
	case []any:
		out := []any{}
		for i, x := range v {
			if *room <= 0 {
				out = append(out, "… "+count(len(v)-i, "more"))
				break
			}
			out = append(out, within(x, room))
		}
		return out
	case string:
		all := len(v)
		if all > max(*room, maxValue) {
			end := max(*room, maxValue)
			for !utf8.RuneStart(v[end]) && end > 0 {
				end--
			}
			v = fmt.Sprintf("%s… (%s bytes in all)", v[:end], thousands(all))
		}
		*room -= len(v)
		return v
	default:
		*room -= 8
		return v
	}
}

// inertAll is inert for each of names.
func inertAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = inert(n, maxName)
	}
	return out
}
