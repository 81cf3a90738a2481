package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

const (
	maxTextLines  = 200
	maxTextFields = 200
)

// Colours, as SGR codes.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

// Text writes the report for a terminal.
func Text(w io.Writer, r *review.Report, o Options) error {
	t := &terminal{Writer: bufio.NewWriter(w), color: o.Color}
	v := newView(r)
	t.findings(v)
	t.errors(v)
	t.approvals(v)
	t.violations(v)
	t.groups(v)
	for _, x := range v.tenants {
		t.tenant(x)
	}
	fmt.Fprintf(t, "%s; digest %s\n", v.counts(), inert(cmp.Or(r.Head.Digest, "none"), maxName))
	return t.Flush() // holds the first error of any write
}

type terminal struct {
	*bufio.Writer
	color bool
}

func (t *terminal) paint(code, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *terminal) heading(s string) { fmt.Fprintln(t, t.paint(bold, s)) }

func (t *terminal) findings(v *view) {
	if len(v.findings) == 0 {
		return
	}
	t.heading("Findings")
	for _, f := range v.findings {
		fmt.Fprintf(t, "  %s  %s\n", t.paint(riskColor(f.Risk), fmt.Sprintf("%-6s", f.Risk)), inert(f.Title, maxMessage))
		names, more := where(f.Tenants, f.Namespaces, 5)
		at := join(strings.Join(inertAll(names), ", "), more)
		if p := f.Place.String(); p != "" {
			at = strings.TrimPrefix(at+"; "+inert(p, maxMessage), "; ")
		}
		if at != "" {
			fmt.Fprintf(t, "          %s\n", t.paint(faint, at))
		}
		for _, d := range f.Details {
			fmt.Fprintf(t, "          %s\n", inert(d, maxMessage))
		}
	}
	fmt.Fprintln(t)
}

func riskColor(r review.Risk) string {
	switch r {
	case review.High:
		return red
	case review.Medium:
		return yellow
	default:
		return faint
	}
}

func (t *terminal) errors(v *view) {
	if len(v.errors) == 0 {
		return
	}
	t.heading("Errors")
	for _, e := range v.errors {
		fmt.Fprintf(t, "  %s  %s: %s\n", t.age(e.Old), inert(e.Place.String(), maxMessage), inert(e.Message, maxMessage))
	}
	fmt.Fprintln(t)
}

func (t *terminal) age(old bool) string {
	if old {
		return t.paint(faint, "old")
	}
	return t.paint(red, "new")
}

func (t *terminal) approvals(v *view) {
	if len(v.Approvals) == 0 {
		return
	}
	t.heading("Approvals needed")
	for _, a := range v.Approvals {
		fmt.Fprintf(t, "  %s: %s: %s\n", inert(a.Path, maxMessage), owners(a), inert(a.Reason, maxMessage))
	}
	fmt.Fprintln(t)
}

// owners says who approves.
func owners(a review.Approval) string {
	who := strings.Join(inertAll(a.Owners), " ")
	if a.Platform {
		who = join("platform team", who)
	}
	return cmp.Or(who, "nobody is named")
}

func (t *terminal) violations(v *view) {
	if len(v.refused) == 0 {
		return
	}
	t.heading("Policy violations")
	for _, x := range v.refused {
		fmt.Fprintf(t, "  %s  %s: policy %s: %s\n", t.age(x.Old), full(x.Object), inert(x.Policy, maxName), inert(x.Message, maxMessage))
		if p := x.Place.String(); p != "" {
			fmt.Fprintf(t, "       %s\n", t.paint(faint, inert(p, maxMessage)))
		}
	}
	fmt.Fprintln(t)
}

// full names an object wherever it is.
func full(o review.Object) string {
	name := o.Name
	if o.Namespace != "" && o.Namespace != o.Name {
		name = o.Namespace + "/" + o.Name
	}
	if o.Cluster != "" {
		name += " on " + o.Cluster
	}
	return inert(kind(o), maxName) + " " + inert(name, 3*maxName)
}

func (t *terminal) groups(v *view) {
	if len(v.groups) == 0 {
		return
	}
	t.heading("The same in many namespaces")
	for _, g := range v.groups {
		note := groupSize(g)
		if g.Cause != "" {
			note += ", by " + inert(g.Cause, maxMessage)
		}
		t.object("  ", g.change, note)
		for _, except := range []struct {
			how   string
			names []string
		}{{"otherwise in", g.Otherwise}, {"unchanged in", g.Unchanged}} {
			if len(except.names) > 0 {
				names, more := where(nil, except.names, 10)
				fmt.Fprintf(t, "      %s %s\n", except.how, join(strings.Join(inertAll(names), ", "), more))
			}
		}
	}
	fmt.Fprintln(t)
}

func groupSize(g group) string {
	return fmt.Sprintf("in %s of %s", count(len(g.Namespaces), "namespace"), count(len(g.Tenants), "tenant"))
}

func (t *terminal) tenant(x tenant) {
	t.heading("Tenant " + inert(x.name, maxName))
	for _, c := range x.clusters {
		indent := "  "
		if c.name != "" {
			fmt.Fprintf(t, "  %s\n", t.paint(bold, "Cluster "+inert(c.name, maxName)))
			indent = "    "
		}
		for _, n := range c.namespaces {
			inner := indent
			if n.name != "" {
				fmt.Fprintf(t, "%sNamespace %s\n", indent, inert(n.name, maxName))
				inner += "  "
			}
			for _, change := range n.changes {
				t.object(inner, change, inert(change.Place.String(), maxMessage))
			}
		}
	}
	if x.grouped > 0 {
		fmt.Fprintf(t, "  %s\n", t.paint(faint, count(x.grouped, "change")+" as in many namespaces"))
	}
	fmt.Fprintln(t)
}

func (t *terminal) object(indent string, c *review.Change, note string) {
	color := actionColor(c.Action)
	fmt.Fprintf(t, "%s%s %s %s  %s\n", indent, t.paint(color, sign(c.Action)),
		inert(kind(c.Object), maxName), t.paint(bold, inert(c.Name, maxName)), t.paint(faint, join(movedFrom(c), note)))
	indent += "    "
	if c.Action == review.Created {
		for _, l := range content(c.Content, maxTextLines) {
			fmt.Fprintf(t, "%s%s\n", indent, t.paint(green, "+ "+l))
		}
	}
	for _, f := range c.Fields[:min(len(c.Fields), maxTextFields)] {
		mark, path, what := line(f)
		fmt.Fprintf(t, "%s%s %s: %s\n", indent, t.paint(markColor(mark), mark), path, what)
	}
	if n := len(c.Fields) - maxTextFields; n > 0 {
		fmt.Fprintf(t, "%s… %s\n", indent, count(n, "more field"))
	}
}

func actionColor(a review.Action) string { return markColor(sign(a)) }

func markColor(mark string) string {
	switch mark {
	case "+":
		return green
	case "-":
		return red
	default:
		return yellow
	}
}

// join puts a comma between what is not empty.
func join(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ", ")
}
