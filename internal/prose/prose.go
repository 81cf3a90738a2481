// Package prose puts text that others wrote into sentences for people: on one line,
// of bounded length, and without anything that could be taken for something else.
package prose

import (
	"fmt"
	"strings"
	"unicode"
)

// Bounds of what is shown of one text, and of one list.
const (
	MaxText   = 200
	MaxListed = 5
)

// List is "a, b and c", or "a, b, c, d, e and 395 more".
func List(names []string) string {
	switch n := len(names); {
	case n == 0:
		return ""
	case n == 1:
		return names[0]
	case n <= MaxListed:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	default:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:MaxListed], ", "), n-MaxListed)
	}
}

// Either lists what may be written: "a, b or c". Long lists are cut.
func Either(names []string) string {
	const most = 16
	switch last := len(names) - 1; {
	case len(names) > most:
		return strings.Join(names[:most], ", ") + ", …"
	case last < 1:
		return strings.Join(names, "")
	default:
		return strings.Join(names[:last], ", ") + " or " + names[last]
	}
}

// Plain is text of an object on one line of bounded length, without controls and
// directions of writing.
func Plain(s string) string {
	clean := true
	for _, r := range s {
		if !unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r) {
			clean = false
			break
		}
	}
	if !clean {
		s = strings.Map(func(r rune) rune {
			if !unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r) {
				return '\uFFFD'
			}
			return r
		}, s)
	}
	if len(s) > MaxText {
		s = strings.ToValidUTF8(s[:MaxText], "") + "…"
	}
	return s
}
