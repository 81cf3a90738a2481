package diff

import (
	"io"
	"maps"
	"slices"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/report"
)

// outputs by name.
var outputs = map[string]func(io.Writer, *cli.Env, *review.Report) error{
	"text": func(w io.Writer, env *cli.Env, r *review.Report) error {
		return report.Text(w, r, report.Options{Color: env.Color})
	},
	"markdown": func(w io.Writer, _ *cli.Env, r *review.Report) error {
		text, _ := report.Markdown(r, 0, report.Options{})
		_, err := io.WriteString(w, text)
		return err
	},
	"json":  plainly(report.JSON),
	"html":  plainly(report.HTML),
	"sarif": plainly(report.SARIF),
}

func plainly(write func(io.Writer, *review.Report) error) func(io.Writer, *cli.Env, *review.Report) error {
	return func(w io.Writer, _ *cli.Env, r *review.Report) error { return write(w, r) }
}

func outputNames() []string { return slices.Sorted(maps.Keys(outputs)) }
