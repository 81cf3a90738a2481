// Package run makes one review of one pull request: it pins the head, fetches
// base and head, has them compared, and says the outcome on the pull request.
//
// Whatever the pull request holds is read as data. Nothing of it is executed or
// checked out, a fork is never asked for anything, and a review whose head is no
// longer the newest says nothing at all.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review"
)

// Runner reviews the pull requests of one repository.
type Runner struct {
	Forge  forge.Forge
	Mirror *Mirror
	// Produce compares two commits of a bare repository. The base is the tip of the
	// branch that the pull request merges into.
	Produce func(ctx context.Context, repoDir, baseRev, headRev string) (*review.Report, error)
	// Markdown writes a report within a limit in bytes, with a link to the whole of it
	// where there is one, and says whether anything was left out.
	Markdown func(r *review.Report, limit int, link string) (string, bool)
	// Keep is told of each report before it is posted, and returns a link to the whole
	// of it, or "". It may be nil.
	Keep func(pr *forge.PullRequest, r *review.Report) (link string, err error)
	Log  *slog.Logger
}

// Ending is how a review ended.
type Ending string

// Endings.
const (
	// Posted: the report is on the pull request.
	Posted Ending = "posted"
	// Superseded: there is a newer head; nothing was posted.
	Superseded Ending = "superseded"
	// NotOpen: the pull request is closed or merged; nothing was posted.
	NotOpen Ending = "not-open"
)

// Outcome of a review.
type Outcome struct {
	Ending Ending
	// PullRequest as it was pinned.
	PullRequest *forge.PullRequest
	// Report is nil unless the ending is Posted.
	Report *review.Report
	// Comment is its address.
	Comment string
}

// ErrSuperseded is the cause to cancel a review with when a newer head is there.
var ErrSuperseded = errors.New("a newer head is there")

// tellTimeout bounds the last words of a review that was interrupted.
const tellTimeout = 10 * time.Second

// Run reviews a pull request as it is now.
func (r *Runner) Run(ctx context.Context, n int) (*Outcome, error) {
	pr, err := r.Forge.PullRequest(ctx, n)
	if err != nil {
		return superseded(ctx, nil, err)
	}
	if pr.State != forge.Open {
		return &Outcome{Ending: NotOpen, PullRequest: pr}, nil
	}
	if err := r.Forge.SetStatus(ctx, pr.HeadSHA, forge.Status{State: forge.Pending, Description: "Aether is looking at what this changes"}); err != nil {
		return superseded(ctx, pr, err)
	}
	outcome, err := r.review(ctx, pr)
	if err == nil {
		return outcome, nil
	}
	if outcome, err := superseded(ctx, pr, err); err == nil {
		r.Log.Info("gave way to a newer head", "pull request", n, "head", pr.HeadSHA)
		return outcome, nil
	}
	return nil, errors.Join(err, r.giveUp(ctx, pr, err))
}

// superseded is the outcome of a run that failed since there is a newer head.
func superseded(ctx context.Context, pr *forge.PullRequest, err error) (*Outcome, error) {
	if errors.Is(err, errMoved) || errors.Is(context.Cause(ctx), ErrSuperseded) {
		return &Outcome{Ending: Superseded, PullRequest: pr}, nil
	}
	return nil, err
}

// review does the work. Its error is said on the pull request by the caller.
func (r *Runner) review(ctx context.Context, pr *forge.PullRequest) (*Outcome, error) {
	base, release, err := r.Mirror.fetch(ctx, r.Forge.Remote(), pr)
	if err != nil {
		return nil, err
	}
	defer release()
	report, err := r.produce(ctx, base, pr.HeadSHA)
	if err != nil {
		return nil, err
	}
	report.Base.Commit, report.Head.Commit = base, pr.HeadSHA
	report.Head.Name = fmt.Sprintf("#%d", pr.Number)
	if report.Base.Name == "" || report.Base.Name == base {
		report.Base.Name = pr.BaseBranch
	}
	link := ""
	if r.Keep != nil {
		if link, err = r.Keep(pr, report); err != nil {
			return nil, fmt.Errorf("cannot keep the report: %w", err)
		}
	}
	body := r.body(report, link)

	current, err := r.Forge.PullRequest(ctx, pr.Number)
	if err != nil {
		return nil, err
	}
	switch {
	case current.State != forge.Open:
		return &Outcome{Ending: NotOpen, PullRequest: pr}, nil
	case current.HeadSHA != pr.HeadSHA:
		return nil, errMoved
	}
	comment, err := r.Forge.UpsertComment(ctx, pr.Number, Marker, body)
	if err != nil {
		return nil, err
	}
	status := forge.Status{State: forge.Success, Description: Summary(report), Link: link}
	if report.Failed() {
		status.State = forge.Failure
	}
	if status.Link == "" {
		status.Link = comment
	}
	if err := r.Forge.SetStatus(ctx, pr.HeadSHA, status); err != nil {
		return nil, err
	}
	return &Outcome{Ending: Posted, PullRequest: pr, Report: report, Comment: comment}, nil
}

// produce compares, and survives what a hostile head does to the comparison: one
// that does not end in time is left behind, and what it finds is dropped. It has
// bounds of its own, so it ends.
func (r *Runner) produce(ctx context.Context, base, head string) (*review.Report, error) {
	type outcome struct {
		report *review.Report
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		var out outcome
		defer func() {
			if p := recover(); p != nil {
				r.Log.Error("the comparison panicked", "head", head, "panic", p)
				out = outcome{err: errors.New("the comparison broke off: this is a fault of Aether; please report it")}
			}
			done <- out
		}()
		out.report, out.err = r.Produce(ctx, r.Mirror.Dir, base, head)
		if out.err == nil && out.report == nil {
			out.err = errors.New("the comparison returned no report")
		}
	}()
	select {
	case out := <-done:
		return out.report, out.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the comparison did not end in time: %w", context.Cause(ctx))
	}
}

// giveUp says on the pull request that there is no review of its head. A run that
// was interrupted still says so: a status that is pending for ever blocks a merge.
func (r *Runner) giveUp(ctx context.Context, pr *forge.PullRequest, cause error) error {
	interrupted, why := ctx.Err() != nil, context.Cause(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTimeout)
	defer cancel()
	if current, err := r.Forge.PullRequest(ctx, pr.Number); err == nil && current.HeadSHA != pr.HeadSHA {
		return nil // whoever reviews the newer head says it
	}
	status := forge.Status{State: forge.Broken, Description: "The review could not be made; see the comment"}
	if interrupted {
		status.Description = "The review was interrupted; start it again"
		if errors.Is(why, context.DeadlineExceeded) {
			status.Description = "The review did not end in time; make the change smaller, or start it again"
		}
		return r.Forge.SetStatus(ctx, pr.HeadSHA, status)
	}
	comment, err := r.Forge.UpsertComment(ctx, pr.Number, Marker, apology(pr, cause))
	if err != nil {
		status.Description = "The review could not be made, nor a comment written; see the log"
	}
	status.Link = comment
	return errors.Join(err, r.Forge.SetStatus(ctx, pr.HeadSHA, status))
}
