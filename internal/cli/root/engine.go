package root

import (
	"context"
	"io"
	"strings"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/review"
	reviews "github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/judge"
	"github.com/aetherplatform/aether/internal/review/report"
)

// engine is what makes the reports of `aether review`: the very code of `aether diff`.
func engine(env *cli.Env) review.Engine {
	return review.Engine{
		Produce: func(ctx context.Context, dir, base, head string) (*reviews.Report, error) {
			return judge.Commits(ctx, dir, base, head, ".", env.Store(), env.Kyverno)
		},
		Markdown: func(r *reviews.Report, limit int, link string) (string, bool) {
			text, folded := report.Markdown(r, limit, report.Options{Link: link})
			return strings.TrimPrefix(text, report.Marker+"\n"), folded // the run puts it first
		},
		Formats: map[string]func(io.Writer, *reviews.Report) error{
			"json": report.JSON, "html": report.HTML, "sarif": report.SARIF,
			"md": func(w io.Writer, r *reviews.Report) error {
				text, _ := report.Markdown(r, 0, report.Options{})
				_, err := io.WriteString(w, text)
				return err
			},
		},
	}
}
