package applied

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/run"
)

var (
	merged   = strings.Repeat("a", 40)
	head     = strings.Repeat("b", 40)
	revision = "main@sha1:" + merged
	digest   = "sha256:" + strings.Repeat("c1", 32)
	another  = "sha256:" + strings.Repeat("d2", 32)
)

// history is what a forge knows of the commit merged.
type history struct {
	pull   *forge.PullRequest
	status *forge.Status
	same   bool
	err    error
}

func (h history) MergedAs(_ context.Context, sha string) (*forge.PullRequest, error) {
	if sha != merged {
		return nil, errors.New("asked of " + sha)
	}
	return h.pull, h.err
}

func (h history) StatusOf(_ context.Context, sha string) (*forge.Status, error) {
	if sha != head {
		return nil, errors.New("asked of " + sha)
	}
	return h.status, nil
}

func (h history) SameFiles(context.Context, string, string) (bool, error) { return h.same, nil }

// said is the status of a review, as run sets it.
func said(state forge.StatusState, digest string) *forge.Status {
	report := &review.Report{Summary: review.Summary{Changed: 2}}
	report.Head.Digest = digest
	return &forge.Status{State: state, Description: run.Summary(report)}
}

func TestWhatRunsIsComparedWithWhatWasReviewed(t *testing.T) {
	pull := &forge.PullRequest{Number: 12, URL: "https://forge/12", HeadSHA: head}
	of12 := func(v Verdict) Verdict {
		v.PullRequest, v.URL, v.Commit = 12, "https://forge/12", head
		return v
	}
	for name, test := range map[string]struct {
		why              string
		forge            history
		revision, digest string
		want             Verdict
	}{
		"as reviewed": {"the digest is the one that the status tells", history{pull: pull, status: said(forge.Success, digest)}, revision, digest,
			of12(Verdict{Status: "True", Reason: AsReviewed, Digest: "c1c1c1c1c1c1", Message: "as it was reviewed in #12"})},
		"a direct push": {"nobody was asked", history{}, revision, digest,
			Verdict{Status: "False", Reason: NotReviewed, Message: "commit aaaaaaa came by no pull request: it was pushed to main"}},
		"no review": {"a merge is none", history{pull: pull}, revision, digest,
			of12(Verdict{Status: "False", Reason: NotReviewed, Message: "#12 was merged at bbbbbbb without a review"})},
		"a review that did not end": {"it said nothing of the change", history{pull: pull, status: &forge.Status{State: forge.Pending}}, revision, digest,
			of12(Verdict{Status: "False", Reason: NotReviewed, Message: "#12 was merged at bbbbbbb without a review"})},
		"a refusal": {"equal or not, it should not be there", history{pull: pull, status: said(forge.Failure, digest)}, revision, digest,
			of12(Verdict{Status: "False", Reason: ReviewFailed, Digest: "c1c1c1c1c1c1", Message: "#12 was merged although its review says that it must not be"})},
		"another render of the same files": {"a difference of versions, or of bases", history{pull: pull, status: said(forge.Success, another), same: true}, revision, digest,
			of12(Verdict{Status: "False", Reason: DigestDiffers, Digest: "d2d2d2d2d2d2",
				Message: "#12 was reviewed as digest d2d2d2d2d2d2, and its very files are applied as another: do the review and the operator have the same version and base?"})},
		"a base that moved": {"nobody reviewed both together", history{pull: pull, status: said(forge.Success, another)}, revision, digest,
			of12(Verdict{Status: "False", Reason: MergeDiffers, Digest: "d2d2d2d2d2d2",
				Message: "#12 was reviewed as digest d2d2d2d2d2d2; its merge holds other files: main had moved on, or the merge was edited"})},
		"a review without a digest": {"nothing is claimed", history{pull: pull, status: said(forge.Success, "")}, revision, digest,
			of12(Verdict{Status: "Unknown", Reason: NotComparable, Message: "the review of #12 tells no digest: it could not render every tenant"})},
		"nothing applied": {"there is nothing to compare", history{err: errors.New("asked")}, "", "",
			Verdict{Status: "Unknown", Reason: NotComparable, Message: "nothing has been applied in full yet"}},
		"an OCI artifact": {"it has no commits", history{err: errors.New("asked")}, "latest@" + digest, digest,
			Verdict{Status: "Unknown", Reason: NotComparable, Message: "latest@" + digest + " is no commit, and only commits come by pull requests"}},
		"a forge that is down": {"nothing is claimed", history{err: errors.New("connection\nrefused")}, revision, digest,
			Verdict{Status: "Unknown", Reason: ForgeUnavailable, Message: "connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Compare(t.Context(), test.forge, test.revision, test.digest)); diff != "" {
				t.Errorf("%s (-want +got)\n%s", test.why, diff)
			}
		})
	}
}

func TestADigestThatWasCutTellsNothing(t *testing.T) {
	status := said(forge.Success, digest)
	status.Description = status.Description[:len(status.Description)-3] + "…"
	got := Compare(t.Context(), history{pull: &forge.PullRequest{Number: 12, HeadSHA: head}, status: status}, revision, digest)
	if got.Status != metav1.ConditionUnknown {
		t.Errorf("of a digest that is cut is claimed: %+v", got)
	}
}
