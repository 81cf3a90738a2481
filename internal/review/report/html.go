package report

import (
	"bufio"
	"cmp"
	_ "embed" // the assets of the page
	"fmt"
	"html/template"
	"io"
	"strings"

	pages "github.com/aetherplatform/aether/internal/page"
	"github.com/aetherplatform/aether/internal/review"
)

//go:embed assets/page.html
var pageSource string

//go:embed assets/page.css
var pageStyle string

//go:embed assets/page.js
var pageScript string

// style is what all our pages have in common, and then this one's.
var style = pages.Style + pageStyle

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"name":   func(s string) string { return inert(s, maxName) },
	"names":  func(list []string) string { return strings.Join(inertAll(list), ", ") },
	"text":   func(s string) string { return inert(s, maxMessage) },
	"place":  func(p review.Place) string { return inert(p.String(), maxMessage) },
	"kind":   func(o review.Object) string { return inert(kind(o), maxName) },
	"full":   full,
	"owners": owners,
	"count":  count,
	"number": thousands,
	"sign":   sign,
	"from":   movedFrom,
}).Parse(pageSource))

const (
	maxHTMLFields = 500
	maxHTMLLines  = 400
	// maxDetails is how many bytes of fields and contents a page holds. Beyond it,
	// objects are named only: a browser has to stay quick.
	maxDetails = 12 << 20
)

// HTML writes the report as one page that needs nothing else: no request leaves it,
// which its own policy enforces, and it is whole without its script, which filters.
func HTML(w io.Writer, r *review.Report) error {
	v := newView(r)
	b := bufio.NewWriter(w)
	err := page.Execute(b, htmlPage{
		Policy:  pages.Policy(style, pageScript),
		Style:   template.CSS(style),     //nolint:gosec // files of ours, not of the report
		Script:  template.JS(pageScript), //nolint:gosec // a file of this package, not of the report
		Report:  r,
		Verdict: v.verdict(),
		Failed:  r.Failed(),
		View:    htmlView(v),
	})
	if err != nil {
		return fmt.Errorf("cannot write the report as HTML: %w", err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

type htmlPage struct {
	Policy  string
	Style   template.CSS
	Script  template.JS
	Report  *review.Report
	Verdict string
	Failed  bool
	View    htmlTree
}

type htmlTree struct {
	Findings   []htmlFinding
	Errors     []review.Error
	Violations []review.Violation
	Groups     []htmlGroup
	Tenants    []htmlTenant
	Cut        bool
}

type htmlFinding struct {
	review.Finding
	Where, More string
}

type htmlGroup struct {
	Size                 string
	Cause                string
	Otherwise, Unchanged []string
	Namespaces           []string
	Object               *htmlObject
}

type htmlTenant struct {
	Name     string
	Risk     review.Risk
	Changes  int
	Grouped  int
	Open     bool
	Clusters []htmlCluster
}

type htmlCluster struct {
	Name       string
	Namespaces []htmlNamespace
}

type htmlNamespace struct {
	Name    string
	Risk    review.Risk
	Open    bool
	Objects []*htmlObject
}

type htmlObject struct {
	*review.Change
	Risk    review.Risk
	Fields  []htmlField
	More    int
	Content string
	// Label of the content: what of the object it is.
	Label string
	Cut   bool
}

type htmlField struct {
	Path          string
	Added, Hidden bool
	Removed       bool
	Old, New      span
}

// htmlView turns the report into what the page shows, within maxDetails.
func htmlView(v *view) htmlTree {
	room := maxDetails
	tree := htmlTree{Errors: v.errors, Violations: v.refused}
	for _, f := range v.findings {
		names, more := where(f.Tenants, f.Namespaces, 12)
		tree.Findings = append(tree.Findings, htmlFinding{f, strings.Join(inertAll(names), ", "), more})
	}
	for _, g := range v.groups {
		tree.Groups = append(tree.Groups, htmlGroup{
			Size: groupSize(g), Cause: g.Cause, Otherwise: g.Otherwise, Unchanged: g.Unchanged, Namespaces: g.Namespaces,
			Object: newHTMLObject(g.change, review.Info, &room),
		})
	}
	// What opens by itself: few objects are all read, of many one chooses.
	few := len(v.Changes) <= 40
	for _, t := range v.tenants {
		out := htmlTenant{Name: t.name, Risk: t.risk, Changes: t.changes, Grouped: t.grouped, Open: few || len(v.tenants) == 1}
		for _, c := range t.clusters {
			cl := htmlCluster{Name: c.name}
			for _, n := range c.namespaces {
				ns := htmlNamespace{Name: n.name, Risk: n.risk, Open: few}
				for _, change := range n.changes {
					ns.Objects = append(ns.Objects, newHTMLObject(change, n.risk, &room))
				}
				cl.Namespaces = append(cl.Namespaces, ns)
			}
			out.Clusters = append(out.Clusters, cl)
		}
		tree.Tenants = append(tree.Tenants, out)
	}
	tree.Cut = room <= 0
	return tree
}

func newHTMLObject(c *review.Change, risk review.Risk, room *int) *htmlObject {
	o := &htmlObject{Change: c, Risk: cmp.Or(risk, review.Info)}
	if *room <= 0 {
		o.Cut = len(c.Fields) > 0 || len(c.Content) > 0
		return o
	}
	for _, f := range c.Fields[:min(len(c.Fields), maxHTMLFields)] {
		field := newHTMLField(f)
		*room -= len(field.Path) + len(field.Old.String()) + len(field.New.String()) + 200 // its markup
		o.Fields = append(o.Fields, field)
	}
	o.More = len(c.Fields) - len(o.Fields)
	shown := c.Unchanged
	o.Label = "Unchanged fields"
	if len(c.Content) > 0 {
		shown, o.Label = c.Content, "Whole object"
	}
	o.Content = strings.Join(content(shown, maxHTMLLines), "\n")
	*room -= len(o.Content) + 100
	return o
}

func newHTMLField(f review.Field) htmlField {
	out := htmlField{Path: inert(f.Path, maxMessage), Added: f.Added, Removed: f.Removed}
	switch {
	case f.Added:
		out.New.Differs = inert(value(f.New), 4*maxValue)
	case f.Removed:
		out.Old.Differs = inert(value(f.Old), 4*maxValue)
	case f.Old == review.Redacted || f.New == review.Redacted:
		out.Hidden = true
	default:
		out.Old, out.New = spans(f.Old, f.New)
	}
	return out
}
