package cli

import (
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ready is the state of an object as its conditions tell it.
type Ready struct {
	// Status is True, False or Unknown.
	Status metav1.ConditionStatus
	Reason string
	// Message is one line.
	Message string
	// Stalled says that only a person can help.
	Stalled bool
}

// ReadyOf reads conditions as kstatus does.
func ReadyOf(conditions []metav1.Condition) Ready {
	ready := Ready{Status: metav1.ConditionUnknown, Message: "not looked at yet"}
	if c := meta.FindStatusCondition(conditions, "Ready"); c != nil {
		ready = Ready{Status: c.Status, Reason: c.Reason, Message: oneLine(c.Message)}
	}
	ready.Stalled = meta.IsStatusConditionTrue(conditions, "Stalled")
	return ready
}

// True says whether all is well.
func (r Ready) True() bool { return r.Status == metav1.ConditionTrue }

// Cell is the status for a table.
func (r Ready) Cell() Cell { return StatusCell(r.Status) }

// StatusCell is the status of a condition for a table.
func StatusCell(status metav1.ConditionStatus) Cell {
	style := Wait
	switch status {
	case metav1.ConditionTrue:
		style = Good
	case metav1.ConditionFalse:
		style = Bad
	}
	return Cell{Text: string(status), Style: style}
}

// ShortRevision is a Flux revision for reading: "main@sha1:<40 digits>" becomes
// "main@<7 digits>".
func ShortRevision(revision string) string {
	name, digest, found := strings.Cut(revision, "@")
	if !found {
		name, digest = "", revision
	}
	if _, sum, ok := strings.Cut(digest, ":"); ok {
		digest = sum
	}
	if len(digest) > 7 && isHex(digest) {
		digest = digest[:7]
	}
	if name == "" {
		return digest
	}
	return name + "@" + digest
}

// longRevision is a commit within a text.
var longRevision = regexp.MustCompile(`sha1:([0-9a-f]{7})[0-9a-f]{33}\b`)

// ShortenRevisions shortens every commit that a text names.
func ShortenRevisions(text string) string { return longRevision.ReplaceAllString(text, "$1") }

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
