package diff

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

// completion says of two sides what their comparison does not.
type completion func(base, head *review.Side, report *review.Report) error

// completions run in this order: what the change means, who has to approve it,
// what would refuse it.
var completions = []completion{}

func complete(base, head *review.Side, report *review.Report) error {
	for _, c := range completions {
		if err := c(base, head, report); err != nil {
			return err
		}
	}
	return nil
}

// outputs by name.
var outputs = map[string]func(io.Writer, *review.Report) error{
	"json": writeJSON,
	"text": writeText,
}

func outputNames() []string { return slices.Sorted(maps.Keys(outputs)) }

func writeJSON(w io.Writer, report *review.Report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(report)
}

// writeText prints each change on a line, fields below it, and a group once.
func writeText(w io.Writer, report *review.Report) error {
	shown := map[string]int{}
	for _, g := range report.Groups {
		shown[g.Key] = len(g.Namespaces)
	}
	printed := map[string]bool{}
	for i := range report.Changes {
		c := &report.Changes[i]
		if c.Group != "" && printed[c.Group] {
			continue
		}
		printed[c.Group] = true
		more := ""
		if n := shown[c.Group]; n > 0 {
			more = fmt.Sprintf(" (the same in %d namespaces)", n)
		}
		fmt.Fprintf(w, "%s %s/%s %s%s\n", c.Action, c.Kind, strings.TrimPrefix(c.Namespace+"/", "/")+c.Name, c.Place, more)
		for _, f := range c.Fields {
			fmt.Fprintf(w, "    %s: %s -> %s\n", f.Path, asJSON(f.Old), asJSON(f.New))
		}
	}
	s := report.Summary
	_, err := fmt.Fprintf(w, "%d created, %d changed, %d deleted, %d moved in %d namespaces of %d tenants\n",
		s.Created, s.Changed, s.Deleted, s.Moved, s.Namespaces, s.Tenants)
	return err
}

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(data)
}
