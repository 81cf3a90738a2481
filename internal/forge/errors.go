package forge

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Error is a forge's refusal.
type Error struct {
	Kind   Kind
	Status int
	// Method and Path of what was asked.
	Method, Path string
	// Message is the forge's own, cut, in one line.
	Message string
	// Limited says that the forge was asked too often, and RetryAfter for how long it
	// wants to be left alone.
	Limited    bool
	RetryAfter time.Duration
}

// Error says what the forge refused and what to do about it.
func (e *Error) Error() string {
	return fmt.Sprintf("%s answers %d to %s %s (%s): %s", e.Kind, e.Status, e.Method, e.Path, e.Message, e.Try())
}

// Try is what to do about it.
func (e *Error) Try() string {
	switch {
	case e.Limited:
		return fmt.Sprintf("the token's rate limit is used up: try again in %s", e.RetryAfter.Round(time.Second))
	case e.Status == http.StatusUnauthorized:
		return "the token is wrong or has expired: set AETHER_FORGE_TOKEN to a new one"
	case e.Status == http.StatusForbidden:
		return "the token may not do this: give it " + scopes[e.Kind]
	case e.Status == http.StatusNotFound:
		return "there is no such pull request or repository, or the token may not see it: check --repo and --pr, and give the token " + scopes[e.Kind]
	case e.Status >= http.StatusInternalServerError:
		return "the forge is not well: try again later"
	default:
		return "see the forge's message"
	}
}

// scopes that a token needs, as each forge calls them.
var scopes = map[Kind]string{
	Gitea:  "the scopes read:user, write:repository and write:issue, and its user the permission to write to the repository",
	GitHub: "the permissions contents: read, pull-requests: write and statuses: write",
	GitLab: "the scope api and the role Developer",
}

// IsNotFound is whether the forge knows no such thing, or does not show it.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// explain says what could not be done. What a library adds to a refusal, such as
// whole addresses, is left out.
func (o *Options) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	var refused *Error
	if errors.As(err, &refused) {
		return fmt.Errorf("cannot %s: %w", doing, refused)
	}
	if text := err.Error(); strings.Contains(text, o.Token) {
		return fmt.Errorf("cannot %s: %s", doing, o.redact(text))
	}
	return fmt.Errorf("cannot %s: %w", doing, err)
}

// oneLine makes a text one line of at most limit bytes.
func oneLine(s string, limit int) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)), " ")
	if len(s) <= limit {
		return s
	}
	const ellipsis = "…"
	cut := limit - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.TrimRight(s[:cut], " ") + ellipsis
}
