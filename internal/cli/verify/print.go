package verify

import (
	"fmt"
	"io"
	"strings"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/isolation"
	"github.com/aetherplatform/aether/internal/prose"
)

// mark is a cell in a character.
func mark(c *isolation.Cell) (string, cli.Style) {
	switch c.State {
	case isolation.Opened:
		return "!", cli.Bad
	case isolation.Closed:
		return "x", cli.Bad
	case isolation.Unproven:
		return "?", cli.Wait
	case isolation.Proven:
		if c.Allows() {
			return "+", cli.Good
		}
		return "-", cli.Plain
	}
	if c.Allows() {
		return "o", cli.Faint
	}
	return ".", cli.Faint
}

const legend = `+ allowed and works   - refused   ! reached, and must not   x must be reached, and is not
? not proven          o allowed   . refused, by the rules: not tried`

const planLegend = `o allowed   . refused   ? it depends on the labels of Pods, or on what is not known here`

// table prints the matrix with numbered columns, what is allowed, and what differs.
func (o *Options) table(w io.Writer, r *isolation.Report) {
	cells := map[[2]string]*isolation.Cell{}
	for i := range r.Cells {
		cells[[2]string{r.Cells[i].From, r.Cells[i].To}] = &r.Cells[i]
	}
	header := []string{"FROM \\ TO"}
	for i := range r.Columns {
		header = append(header, fmt.Sprint(i+1))
	}
	table := cli.NewTable(header...)
	for _, row := range r.Rows {
		line := []cli.Cell{cli.Text(prose.Plain(row.Name))}
		some := false
		for _, column := range r.Columns {
			c := cells[[2]string{row.Name, column.Name}]
			if c == nil {
				line = append(line, cli.Text(""))
				continue
			}
			some = true
			text, style := mark(c)
			if r.Cluster == "" && c.Doubtful() {
				text, style = "?", cli.Wait
			}
			line = append(line, cli.Cell{Text: text, Style: style})
		}
		if some {
			table.Add(line...)
		}
	}
	table.Print(w, o.Color)
	fmt.Fprintln(w)
	for i, column := range r.Columns {
		text := fmt.Sprintf("%3d  %s", i+1, prose.Plain(column.Name))
		if column.Unprobed != "" {
			text += o.Paint(cli.Faint, "  not tried: "+prose.Plain(column.Unprobed))
		}
		fmt.Fprintln(w, text)
	}
	fmt.Fprintln(w)
	if r.Cluster == "" {
		fmt.Fprintln(w, planLegend)
	} else {
		fmt.Fprintln(w, legend)
	}
	o.allowed(w, r)
	o.differences(w, r)
	o.unproven(w, r)
	o.summary(w, r)
}

// allowed lists what is open, beside what every namespace has.
func (o *Options) allowed(w io.Writer, r *isolation.Report) {
	table := cli.NewTable("FROM", "TO", "PORTS")
	paths := r.Paths()
	for _, c := range paths {
		table.Add(cli.Text(prose.Plain(c.From)), cli.Text(prose.Plain(c.To)), cli.Text(c.Open))
	}
	if len(paths) > 0 {
		fmt.Fprintln(w, "\nAllowed, beside a namespace itself and DNS:")
		table.Print(w, o.Color)
	}
}

func (o *Options) differences(w io.Writer, r *isolation.Report) {
	if !r.Failed() {
		return
	}
	fmt.Fprintf(w, "\n%s\n", o.Paint(cli.Bad, strings.ToUpper(cli.Count(len(r.Differences), "difference"))+":"))
	const most = 40
	for i, d := range r.Differences {
		if i == most {
			fmt.Fprintf(w, "  and %d more: --output json lists them all\n", len(r.Differences)-most)
			break
		}
		fmt.Fprintf(w, "  %s\n    %s\n", prose.Plain(d.String()), isolation.Line(d.Why))
	}
}

func (o *Options) unproven(w io.Writer, r *isolation.Report) {
	if reasons := r.Unproven(); len(reasons) > 0 {
		fmt.Fprintln(w, "\nNot proven:")
		for _, why := range reasons {
			fmt.Fprintln(w, "  "+isolation.Line(why))
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\nNote: %s\n", isolation.Line(note))
	}
}

func (o *Options) summary(w io.Writer, r *isolation.Report) {
	s := r.Summary
	if r.Cluster == "" {
		fmt.Fprintf(w, "\n%s, %s to try\n", cli.Count(s.Namespaces, "namespace"), cli.Count(s.Checks, "connection"))
		return
	}
	text := fmt.Sprintf("%s on %s: %d allowed paths work, %d others are refused", cli.Count(s.Namespaces, "namespace"), prose.Plain(r.Cluster), s.Allowed, s.Refused)
	if s.Opened+s.Closed > 0 {
		text += fmt.Sprintf("; %s", o.Paint(cli.Bad, fmt.Sprintf("%d must not work and do, %d must and do not", s.Opened, s.Closed)))
	}
	text += fmt.Sprintf("; %d not proven, %d not tried, in %.1f s", s.Unproven, s.Computed, s.Seconds)
	fmt.Fprintf(w, "\n%s\n", text)
}
