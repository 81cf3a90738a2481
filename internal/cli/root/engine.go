package root

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/aetherplatform/aether/internal/cache"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/review"
	"github.com/aetherplatform/aether/internal/fleet"
	reviews "github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/judge"
	"github.com/aetherplatform/aether/internal/review/report"
)

// engine is what makes the reports of `aether review`: the very code of `aether diff`.
func engine(env *cli.Env) review.Engine {
	return review.Engine{
		Produce: func(ctx context.Context, dir, base, head string) (*reviews.Report, error) {
			return judge.Commits(ctx, dir, base, head, ".", store(env))
		},
		Markdown: func(r *reviews.Report, limit int, link string) (string, bool) {
			text, folded := report.Markdown(r, limit, report.Options{Link: link})
			return strings.TrimPrefix(text, report.Marker+"\n"), folded // the run puts it first
		},
		Formats: map[string]func(io.Writer, *reviews.Report) error{
			"json": report.JSON, "html": report.HTML, "sarif": report.SARIF,
			"md": func(w io.Writer, r *reviews.Report) error {
				const whole = 16 << 20 // folds nothing that a person would read
				text, _ := report.Markdown(r, whole, report.Options{})
				_, err := io.WriteString(w, text)
				return err
			},
		},
	}
}

// store is the cache; without one everything is worked out anew.
func store(env *cli.Env) fleet.Store {
	s, err := cache.Open()
	if err != nil {
		fmt.Fprintf(env.Err, "warning: nothing is cached: %v\n", err)
		return nil
	}
	return s
}
