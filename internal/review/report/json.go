package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/aetherplatform/aether/internal/review"
)

// JSON writes the report as its types say. Lists are never null, and characters
// that a terminal would obey are escaped as JSON escapes.
func JSON(w io.Writer, r *review.Report) error {
	out := *r
	out.Findings = orEmpty(r.Findings)
	out.Errors = orEmpty(r.Errors)
	out.Approvals = orEmpty(r.Approvals)
	out.Violations = orEmpty(r.Violations)
	out.Changes = orEmpty(r.Changes)
	out.Groups = orEmpty(r.Groups)
	return writeJSON(w, &out)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func writeJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the report as JSON: %w", err)
	}
	if _, err := w.Write(append(ascii(data), '\n')); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

// ascii escapes what cannot be seen; beyond ASCII, JSON has only strings.
func ascii(data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(data))
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == 0x7f || r >= utf8.RuneSelf && !visible(r) && r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r >= utf8.RuneSelf && !visible(r):
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			b.Write(data[:n])
		}
		data = data[n:]
	}
	return b.Bytes()
}
