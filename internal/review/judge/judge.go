// Package judge makes a whole review report: it compares two revisions, says what
// the differences mean, who has to approve them, and which policies would newly
// refuse them. `aether diff` and `aether review` both ask it, so that they say the
// same.
package judge

import (
	"context"
	"slices"

	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/repository"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/authority"
	"github.com/aetherplatform/aether/internal/review/compare"
	"github.com/aetherplatform/aether/internal/review/meaning"
	"github.com/aetherplatform/aether/internal/review/policy"
)

// Report compares base with head and completes what compare.Run says. rules is
// where CODEOWNERS and policies are taken from; nil stands for base. Without
// kyverno, its policies are listed as not evaluated.
func Report(ctx context.Context, o compare.Options, rules *compare.Source, kyverno policy.Engine) (base, head *review.Side, report *review.Report, err error) {
	base, head, report, err = compare.Run(ctx, o)
	if err != nil {
		return nil, nil, nil, err
	}
	if rules != nil {
		base.Rules = rules.Files
	}
	report.Findings = append(report.Findings, meaning.Find(base, head, report)...)
	if err := authority.Check(base, head, report); err != nil {
		return nil, nil, nil, err
	}
	if err := policy.Evaluate(ctx, base, head, report, kyverno); err != nil {
		return nil, nil, nil, err
	}
	slices.SortStableFunc(report.Findings, func(a, b review.Finding) int { return a.Risk.Weight() - b.Risk.Weight() })
	return base, head, report, nil
}

// Commits is the report on a change from one commit to another of the repository
// at dir, compared from where the two part, as forges do. CODEOWNERS and policies
// are those of base itself: the author of a change chooses where it branches off.
func Commits(ctx context.Context, dir, base, head, path string, store fleet.Store, kyverno policy.Engine) (*review.Report, error) {
	repo, err := repository.Open(dir)
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	source := func(name, revision string) (compare.Source, error) {
		commit, err := repo.Resolve(revision)
		if err != nil {
			return compare.Source{}, err
		}
		files, err := repo.Files(commit)
		return compare.Source{Name: name, Commit: commit, Files: files}, err
	}
	tip, err := source(base, base)
	if err != nil {
		return nil, err
	}
	now, err := source(head, head)
	if err != nil {
		return nil, err
	}
	parted, err := repo.MergeBase(tip.Commit, now.Commit)
	if err != nil {
		return nil, err
	}
	old, err := source(base, parted)
	if err != nil {
		return nil, err
	}
	_, _, report, err := Report(ctx, compare.Options{Base: old, Head: now, Path: path, Store: store}, &tip, kyverno)
	return report, err
}
