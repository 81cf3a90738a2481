// Package applied says whether what runs is what was reviewed. It follows the commit
// that was applied to the pull request that brought it, and compares what the review
// of its head said with what was applied.
//
// It believes what the forge says of commits and of the status of a review, as the
// forge's own protection of a branch does. It asks, and changes nothing.
package applied

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review/run"
)

// Verdict is whether what runs was reviewed, in the words of a condition.
type Verdict struct {
	// Status is True, False, or Unknown where it cannot be told.
	Status metav1.ConditionStatus `json:"status"`
	Reason Reason                 `json:"reason"`
	// Message is one line for a person.
	Message string `json:"message"`
	// PullRequest that brought what was applied, where one did, and its page.
	PullRequest int    `json:"pullRequest,omitempty"`
	URL         string `json:"url,omitempty"`
	// Commit that was reviewed.
	Commit string `json:"commit,omitempty"`
	// Digest that the review told: the first digits of it.
	Digest string `json:"digest,omitempty"`
}

// Reason of a verdict; one can search for it.
type Reason string

// Reasons.
const (
	// AsReviewed: what is applied has the digest that was reviewed.
	AsReviewed Reason = "AsReviewed"
	// NotReviewed: it came by no pull request, or by one without a review.
	NotReviewed Reason = "NotReviewed"
	// ReviewFailed: it was merged although the review refused it.
	ReviewFailed Reason = "ReviewFailed"
	// DigestDiffers: the files that were reviewed render to something else.
	DigestDiffers Reason = "DigestDiffers"
	// MergeDiffers: the merge holds other files than the head that was reviewed.
	MergeDiffers Reason = "MergeDiffers"
	// NotComparable: nothing is applied, it has no commit, or no digest was told.
	NotComparable Reason = "NotComparable"
	// ForgeUnavailable: the forge could not be asked.
	ForgeUnavailable Reason = "ForgeUnavailable"
)

// Flux writes a revision of Git as main@sha1:<commit>; sha256 is what an OCI artifact has.
var gitRevision = regexp.MustCompile(`^(?:(.+)@)?sha1:([0-9a-f]{40})$`)

// Compare compares what a TenantSource reports as applied with what was reviewed.
func Compare(ctx context.Context, h forge.History, revision, digest string) Verdict {
	match := gitRevision.FindStringSubmatch(revision)
	switch {
	case revision == "" || digest == "":
		return Unknown("nothing has been applied in full yet")
	case match == nil:
		return Unknown(fmt.Sprintf("%s is no commit, and only commits come by pull requests", revision))
	}
	branch, commit := match[1], match[2]
	if branch == "" {
		branch = "the branch"
	}
	pr, err := h.MergedAs(ctx, commit)
	if err != nil {
		return unavailable(err)
	}
	if pr == nil {
		return Verdict{Status: metav1.ConditionFalse, Reason: NotReviewed,
			Message: fmt.Sprintf("commit %s came by no pull request: it was pushed to %s", short(commit), branch)}
	}
	v := Verdict{PullRequest: pr.Number, URL: pr.URL, Commit: pr.HeadSHA}
	status, err := h.StatusOf(ctx, pr.HeadSHA)
	if err != nil {
		return unavailable(err)
	}
	if status == nil || status.State == forge.Pending || status.State == forge.Broken {
		return v.is(metav1.ConditionFalse, NotReviewed, "#%d was merged at %s without a review", pr.Number, short(pr.HeadSHA))
	}
	v.Digest = run.DigestIn(status.Description)
	switch {
	case status.State != forge.Success:
		return v.is(metav1.ConditionFalse, ReviewFailed, "#%d was merged although its review says that it must not be", pr.Number)
	case v.Digest == "":
		return v.is(metav1.ConditionUnknown, NotComparable, "the review of #%d tells no digest: it could not render every tenant", pr.Number)
	case run.Tells(v.Digest, digest):
		return v.is(metav1.ConditionTrue, AsReviewed, "as it was reviewed in #%d", pr.Number)
	}
	same, err := h.SameFiles(ctx, pr.HeadSHA, commit)
	switch {
	case err != nil:
		return unavailable(err)
	case same:
		return v.is(metav1.ConditionFalse, DigestDiffers,
			"#%d was reviewed as digest %s, and its very files are applied as another: do the review and the operator have the same version and base?", pr.Number, v.Digest)
	default:
		return v.is(metav1.ConditionFalse, MergeDiffers,
			"#%d was reviewed as digest %s; its merge holds other files: %s had moved on, or the merge was edited", pr.Number, v.Digest, branch)
	}
}

func (v Verdict) is(status metav1.ConditionStatus, reason Reason, format string, args ...any) Verdict {
	v.Status, v.Reason, v.Message = status, reason, fmt.Sprintf(format, args...)
	return v
}

// Unknown is the verdict on what cannot be compared, with the reason.
func Unknown(message string) Verdict {
	return Verdict{Status: metav1.ConditionUnknown, Reason: NotComparable, Message: message}
}

func unavailable(err error) Verdict {
	return Verdict{Status: metav1.ConditionUnknown, Reason: ForgeUnavailable, Message: strings.Join(strings.Fields(err.Error()), " ")}
}

// short is a commit as people write it.
func short(commit string) string { return commit[:min(len(commit), 7)] }
