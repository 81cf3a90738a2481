package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/duration"
)

// Table is rows under a header, aligned in columns.
type Table struct {
	header []string
	rows   [][]Cell
}

// Cell is a text and how it looks on a terminal.
type Cell struct {
	Text  string
	Style Style
}

// Style is a colour.
type Style string

// Styles, as SGR codes.
const (
	Plain Style = ""
	Good  Style = "32"
	Bad   Style = "31"
	Wait  Style = "33"
	Faint Style = "2"
)

// NewTable returns a table without rows.
func NewTable(header ...string) *Table { return &Table{header: header} }

// Text is a cell without a style.
func Text(s string) Cell { return Cell{Text: s} }

// Add adds a row.
func (t *Table) Add(cells ...Cell) { t.rows = append(t.rows, cells) }

// Print writes the table, with three spaces between columns and none at the end
// of a line.
func (t *Table) Print(w io.Writer, color bool) {
	rows := t.rows
	if len(t.header) > 0 {
		header := make([]Cell, len(t.header))
		for i, h := range t.header {
			header[i] = Text(h)
		}
		rows = append([][]Cell{header}, rows...)
	}
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.Text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		pad := 0
		for i, c := range row {
			if c.Text != "" {
				line.WriteString(strings.Repeat(" ", pad))
				line.WriteString(c.render(color))
				pad = 0
			}
			pad += widths[i] - utf8.RuneCountInString(c.Text) + 3
		}
		fmt.Fprintln(w, line.String())
	}
}

func (c Cell) render(color bool) string {
	if !color || c.Style == Plain {
		return c.Text
	}
	return "\x1b[" + string(c.Style) + "m" + c.Text + "\x1b[0m"
}

// Paint is a text in a style.
func (e *Env) Paint(style Style, text string) string {
	return Cell{Text: text, Style: style}.render(e.Color)
}

// Age is how long ago t was, as kubectl writes it.
func (e *Env) Age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return duration.HumanDuration(e.Now().Sub(t))
}

// Count is a number and what it counts: "1 tenant", "12 namespaces".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if strings.HasSuffix(thing, "y") {
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(thing, "y"))
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
