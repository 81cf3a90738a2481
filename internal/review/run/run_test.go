package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review"
)

// paper is a forge that remembers what was said.
type paper struct {
	remote   forge.Remote
	pull     forge.PullRequest
	limit    int
	statuses []string
	comment  string
	refuse   error
}

func (p *paper) PullRequest(ctx context.Context, _ int) (*forge.PullRequest, error) {
	copied := p.pull
	return &copied, ctx.Err()
}

func (p *paper) UpsertComment(ctx context.Context, _ int, marker, body string) (string, error) {
	if !strings.HasPrefix(body, marker) {
		return "", errors.New("no marker")
	}
	if p.refuse != nil {
		return "", p.refuse
	}
	p.comment = body
	return "https://forge/c1", ctx.Err()
}

func (p *paper) SetStatus(ctx context.Context, sha string, s forge.Status) error {
	p.statuses = append(p.statuses, fmt.Sprintf("%s %s: %s <%s>", short(sha)[:1], s.State, s.Description, s.Link))
	return ctx.Err()
}

func (p *paper) Remote() forge.Remote { return p.remote }

func (p *paper) CommentLimit() int { return p.limit }

func newRunner(t *testing.T) (*Runner, *paper) {
	t.Helper()
	r := newRemote(t, "head")
	p := &paper{remote: r.at("t0ken"), pull: *r.pull(), limit: 1000}
	p.pull.State = forge.Open
	return &Runner{
		Forge: p, Mirror: &Mirror{Dir: filepath.Join(t.TempDir(), "mirror")}, Log: slog.New(slog.DiscardHandler),
		Produce: func(context.Context, string, string, string) (*review.Report, error) { return &review.Report{}, nil },
		Markdown: func(_ *review.Report, limit int, link string) (string, bool) {
			return fmt.Sprintf("within %d, whole at %q", limit, link), false
		},
	}, p
}

func TestHowAReviewEnds(t *testing.T) {
	boom := errors.New("boom")
	tests := map[string]struct {
		why    string
		change func(*Runner, *paper, context.CancelCauseFunc)
		ending Ending
		err    string
		last   string
		says   string
	}{
		"well": {"nothing is wrong", func(*Runner, *paper, context.CancelCauseFunc) {}, Posted, "",
			"success: nothing that is rendered changes <https://forge/c1>", "within "},
		"a closed pull request": {"there is nobody to tell", func(_ *Runner, p *paper, _ context.CancelCauseFunc) { p.pull.State = forge.Merged }, NotOpen, "", "", ""},
		"closed meanwhile": {"there is nobody to tell", func(r *Runner, p *paper, _ context.CancelCauseFunc) {
			r.Produce = func(context.Context, string, string, string) (*review.Report, error) {
				p.pull.State = forge.Closed
				return &review.Report{}, nil
			}
		}, NotOpen, "", "pending: Aether is looking at what this changes <>", ""},
		"a link": {"the status leads to the whole report", func(r *Runner, _ *paper, _ context.CancelCauseFunc) {
			r.Keep = func(*forge.PullRequest, *review.Report) (string, error) { return "https://report", nil }
		}, Posted, "", "success: nothing that is rendered changes <https://report>", `whole at "https://report"`},
		"an error in the fleet": {"it must not be merged", func(r *Runner, _ *paper, _ context.CancelCauseFunc) {
			r.Produce = func(context.Context, string, string, string) (*review.Report, error) {
				return &review.Report{Errors: []review.Error{{Message: "bad"}, {Message: "bad before", Old: true}}}, nil
			}
		}, Posted, "", "failure: 1 error <https://forge/c1>", "within "},
		"more than a comment holds": {"what was made inert is not cut", func(r *Runner, _ *paper, _ context.CancelCauseFunc) {
			r.Markdown = func(*review.Report, int, string) (string, bool) { return strings.Repeat("<b>", 1000), true }
		}, Posted, "", "success: nothing that is rendered changes <https://forge/c1>", "too large for a comment. nothing that is rendered changes."},
		"no comparison": {"the author is told why", func(r *Runner, _ *paper, _ context.CancelCauseFunc) {
			r.Produce = func(context.Context, string, string, string) (*review.Report, error) { return nil, boom }
		}, "", "boom", "error: The review could not be made; see the comment <https://forge/c1>", "boom"},
		"a panic": {"a hostile head must not end the server", func(r *Runner, _ *paper, _ context.CancelCauseFunc) {
			r.Produce = func(context.Context, string, string, string) (*review.Report, error) { panic("index out of range") }
		}, "", "the comparison broke off", "error: The review could not be made; see the comment <https://forge/c1>", "the comparison broke off"},
		"a comparison without end": {"a hostile head must not keep a worker", func(r *Runner, _ *paper, cancel context.CancelCauseFunc) {
			r.Produce = func(context.Context, string, string, string) (*review.Report, error) {
				cancel(context.DeadlineExceeded)
				select {}
			}
		}, "", "the comparison did not end in time", "error: The review did not end in time; make the change smaller, or start it again <>", ""},
		"no right to comment": {"the status still says it", func(_ *Runner, p *paper, _ context.CancelCauseFunc) { p.refuse = boom },
			"", "boom", "error: The review could not be made, nor a comment written; see the log <>", ""},
		"a newer head": {"its own review says it", func(r *Runner, _ *paper, cancel context.CancelCauseFunc) {
			r.Produce = func(ctx context.Context, _, _, _ string) (*review.Report, error) {
				cancel(ErrSuperseded)
				return nil, ctx.Err()
			}
		}, Superseded, "", "pending: Aether is looking at what this changes <>", ""},
		"an interruption": {"pending for ever would block the merge", func(r *Runner, _ *paper, cancel context.CancelCauseFunc) {
			r.Produce = func(ctx context.Context, _, _, _ string) (*review.Report, error) {
				cancel(nil)
				return nil, ctx.Err()
			}
		}, "", "context canceled", "error: The review was interrupted; start it again <>", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, p := newRunner(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			test.change(r, p, cancel)
			outcome, err := r.Run(ctx, 1)
			switch {
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("%s: got the error %v, want %q", test.why, err, test.err)
			case test.err == "" && (err != nil || outcome.Ending != test.ending):
				t.Errorf("%s: got %+v, %v, want the ending %s", test.why, outcome, err, test.ending)
			}
			last := ""
			if len(p.statuses) > 0 {
				last = p.statuses[len(p.statuses)-1][2:]
			}
			if last != test.last {
				t.Errorf("%s: the last status is %q, want %q", test.why, last, test.last)
			}
			if !strings.Contains(p.comment, test.says) || test.says == "" && p.comment != "" {
				t.Errorf("%s: the comment is %q, want %q", test.why, p.comment, test.says)
			}
			if len(p.comment) > p.limit {
				t.Errorf("%s: the comment has %d bytes", test.why, len(p.comment))
			}
		})
	}
}

func TestASummaryBeginsWithWhatMattersMost(t *testing.T) {
	r := &review.Report{
		Errors: []review.Error{{}, {}}, Violations: []review.Violation{{}, {Old: true}},
		Findings: []review.Finding{{Risk: review.High}, {Risk: review.Low}}, Approvals: []review.Approval{{Platform: true}},
		Summary: review.Summary{Created: 1, Changed: 2, Deleted: 3, Moved: 4},
		Head:    review.Revision{Digest: "sha256:0123456789abcdef"},
	}
	const want = "2 errors, 1 policy violation, 1 high risk, needs the platform team, 1 created, 2 changed, 3 deleted, 4 moved; digest 0123456789ab"
	if got := Summary(r); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(want) > 140 {
		t.Errorf("GitHub would cut the digest: %d bytes", len(want))
	}
}

func FuzzInert(f *testing.F) {
	f.Add("</code> @admin [x](y) `` \n\n# x &lt; &#60;")
	f.Fuzz(func(t *testing.T, s string) {
		got := inert(s)
		// What is left are letters, digits, spaces and references to characters.
		if strings.ContainsAny(got, "<>@`[]()*_\n!|~:/\\\"'-=") || strings.Contains(got, "&l") {
			t.Errorf("%q is written as %q", s, got)
		}
	})
}
