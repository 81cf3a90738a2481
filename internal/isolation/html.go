package isolation

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"strings"

	pages "github.com/aetherplatform/aether/internal/page"
	"github.com/aetherplatform/aether/internal/prose"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

var style = pages.Style + pageStyle

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"plain": prose.Plain,
	"long":  Line,
}).Parse(pageSource))

// Line is text on one line, however long: each word of it is plain.
func Line(text string) string {
	var words []string
	for word := range strings.FieldsSeq(text) {
		words = append(words, prose.Plain(word))
	}
	return strings.Join(words, " ")
}

type htmlPage struct {
	Policy            string
	Style             template.CSS
	Report            *Report
	Verdict           string
	Rows              []htmlRow
	Paths             []htmlPath
	Unproven, Untried []string
}

type htmlRow struct {
	*End
	Cells []*htmlCell
}

type htmlCell struct{ Class, Mark, Title string }

type htmlPath struct {
	From, To, Open string
	By             []string
}

// HTML writes the report as one page that needs nothing else: no request leaves it,
// and it has no script.
func HTML(w io.Writer, r *Report) error {
	v := htmlPage{
		Policy: pages.Policy(style, ""),
		Style:  template.CSS(style), //nolint:gosec // files of ours, not of the report
		Report: r, Verdict: r.Verdict(), Unproven: r.Unproven(),
	}
	cells := map[[2]string]*Cell{}
	for i := range r.Cells {
		cells[[2]string{r.Cells[i].From, r.Cells[i].To}] = &r.Cells[i]
	}
	for _, row := range r.Rows {
		line := htmlRow{End: row}
		some := false
		for _, column := range r.Columns {
			c := cells[[2]string{row.Name, column.Name}]
			if c == nil {
				line.Cells = append(line.Cells, nil)
				continue
			}
			some = true
			line.Cells = append(line.Cells, r.cell(c))
		}
		if some {
			v.Rows = append(v.Rows, line)
		}
	}
	for _, c := range r.Paths() {
		p := htmlPath{From: c.From, To: c.To, Open: c.Open}
		seen := map[string]bool{}
		for _, check := range c.Checks {
			for _, by := range []string{check.Egress, check.Ingress} {
				if check.Allowed && by != Told(nothing) && !seen[by] {
					seen[by] = true
					p.By = append(p.By, by)
				}
			}
		}
		v.Paths = append(v.Paths, p)
	}
	named := map[string]bool{}
	for _, ends := range [][]*End{r.Rows, r.Columns} {
		for _, e := range ends {
			if e.Unprobed != "" && !named[e.Name] {
				named[e.Name] = true
				v.Untried = append(v.Untried, e.Name+": "+e.Unprobed)
			}
		}
	}
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("cannot write the matrix as HTML: %w", err)
	}
	return nil
}

func (r *Report) cell(c *Cell) *htmlCell {
	out := &htmlCell{Class: "refused", Mark: "−", Title: c.From + " to " + c.To + ": refused"}
	switch {
	case c.Allows():
		out = &htmlCell{Class: "allowed", Mark: "+", Title: c.From + " to " + c.To + ": allowed on " + c.Open}
	case c.Open != "":
		out.Title += " where it was tried; allowed on " + c.Open
	}
	switch {
	case c.State == Opened:
		out.Class, out.Mark, out.Title = "opened", "!", out.Title+"; something else was reached"
	case c.State == Closed:
		out.Class, out.Mark, out.Title = "closed", "×", out.Title+"; something of it was not reached"
	case c.State == Unproven, c.Doubtful():
		out.Class, out.Mark, out.Title = "unproven", "?", out.Title+"; not proven"
	case c.State == Computed && r.Cluster != "":
		out.Class, out.Title = out.Class+" faint", out.Title+"; not tried"
	}
	return out
}
