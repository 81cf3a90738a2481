package run

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/report"
)

// Marker begins the comment; with the author it is how the comment is found again.
const Marker = report.Marker

// body is the whole comment. Nothing of it that a pull request's author wrote
// comes from here: title and branch names are on the page already.
func (r *Runner) body(report *review.Report, link string) string {
	head := Marker + "\n"
	limit := r.Forge.CommentLimit() - len(head)
	text, _ := r.Markdown(report, limit, link)
	if len(text) > limit {
		// Cutting Markdown could wake what was rendered inert.
		r.Log.Warn("the report is larger than a comment may be", "bytes", len(text), "limit", limit)
		text = "This change is too large for a comment. " + Summary(report) + "."
	}
	return head + text
}

var digestRule = regexp.MustCompile(`^[A-Za-z0-9:+/=_-]{1,128}$`)

// digestOf is the digest of head where it is one.
func digestOf(report *review.Report) string {
	if !digestRule.MatchString(report.Head.Digest) {
		return ""
	}
	return report.Head.Digest
}

// shortHash is long enough to be one commit's, in digits.
const shortHash = 12

func short(hash string) string { return hash[:min(len(hash), shortHash)] }

// Summary is a report in one line, the most important first, for a commit status.
func Summary(report *review.Report) string {
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	w := report.Weigh()
	add(w.Errors, "error", "errors")
	add(w.Violations, "policy violation", "policy violations")
	add(w.HighRisks, "high risk", "high risks")
	if w.Platform > 0 {
		parts = append(parts, "needs the platform team")
	}
	s := report.Summary
	add(s.Created, "created", "created")
	add(s.Changed, "changed", "changed")
	add(s.Deleted, "deleted", "deleted")
	add(s.Moved, "moved", "moved")
	if len(parts) == 0 {
		parts = append(parts, "nothing that is rendered changes")
	}
	text := strings.Join(parts, ", ")
	if digest := digestOf(report); digest != "" {
		text += digestMark + short(sum(digest))
	}
	return text
}

// digestMark is before the digest in a summary.
const digestMark = "; digest "

// sum is a digest without the name of its algorithm.
func sum(digest string) string {
	if _, value, found := strings.Cut(digest, ":"); found {
		return value
	}
	return digest
}

// DigestIn is what Summary told of the digest of head: its first digits, or "" where
// it told none, or the forge had no room for it.
func DigestIn(summary string) string {
	_, digits, _ := strings.Cut(summary, digestMark)
	if len(digits) != shortHash || !digestRule.MatchString(digits) {
		return ""
	}
	return digits
}

// Tells is whether the first digits are those of a digest.
func Tells(digits, digest string) bool { return digits != "" && short(sum(digest)) == digits }

// maxCause of a review that could not be made, in a comment, in bytes.
const maxCause = 2000

// apology is the comment where there is no report.
func apology(pr *forge.PullRequest, cause error) string {
	return fmt.Sprintf("%s\n**Aether could not review <code>%s</code>:**\n\n<pre><code>%s</code></pre>\n",
		Marker, short(pr.HeadSHA), inert(cause.Error()))
}

// inert makes a text show as it is wherever Markdown or HTML is read: what is
// neither letter, digit nor space is written as a character reference, in one line.
func inert(s string) string {
	var b strings.Builder
	for _, c := range strings.Join(strings.Fields(s), " ") {
		switch {
		case b.Len() > maxCause:
			return b.String() + "…"
		case c == ' ', c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)):
			b.WriteRune(c)
		case unicode.IsPrint(c):
			fmt.Fprintf(&b, "&#%d;", c)
		}
	}
	return b.String()
}
