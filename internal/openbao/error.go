package openbao

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// Kind of an Error, for errors.Is(err, openbao.Denied).
type Kind string

// What can be wrong.
const (
	// Unavailable: OpenBao cannot be reached, is sealed, busy or failing. It passes.
	Unavailable Kind = "unavailable"
	// Denied: OpenBao does not let the token, or who wants to log in.
	Denied Kind = "denied"
	// NotFound: there is nothing at the path.
	NotFound Kind = "not found"
	// Gone: the version was there, and is deleted or destroyed.
	Gone Kind = "gone"
	// Taken: the path belongs to another tenant, or an earlier one of the name.
	Taken Kind = "taken"
	// Invalid: the request is wrong, or the answer is not OpenBao's.
	Invalid Kind = "invalid"
)

// Error is the kind itself, so that a Kind is a target of errors.Is.
func (k Kind) Error() string { return string(k) }

// KindOf is the kind of an error of this package, or "".
func KindOf(err error) Kind {
	for _, k := range []Kind{Taken, Gone, Denied, NotFound, Invalid, Unavailable} {
		if errors.Is(err, k) {
			return k
		}
	}
	return ""
}

// RetryAfter is how long OpenBao wants to be left alone, or zero.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// Error is what became of a request. Nothing in it is from the body of a request
// or a response: OpenBao repeats there what it was sent.
type Error struct {
	Kind Kind
	// Op is a verb: "read", "log in with role x at".
	Op string
	// Path in OpenBao's API, without /v1/.
	Path string
	// Status of HTTP, or zero where there was no answer.
	Status int
	// RetryAfter is how long OpenBao wants to be left alone. Zero: it did not say.
	RetryAfter time.Duration

	// reason in this package's words.
	reason string
	// ended is the caller's context's error, where that is the cause.
	ended error
}

// Error implements error: "cannot read secret/data/acme/db in OpenBao: it is sealed
// (503)".
func (e *Error) Error() string {
	return fmt.Sprintf("cannot %s %s in OpenBao: %s", e.Op, e.Path, e.Reason())
}

// Reason is why, without what was asked for: "it is sealed (503)".
func (e *Error) Reason() string {
	if e.Status == 0 {
		return e.reason
	}
	return fmt.Sprintf("%s (%d)", e.reason, e.Status)
}

// Is makes errors.Is(err, openbao.Denied) work.
func (e *Error) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && kind == e.Kind
}

// Unwrap is context.Canceled or context.DeadlineExceeded where the caller's context
// ended, and else nil.
func (e *Error) Unwrap() error { return e.ended }

// answer is what there is of a response beside its body.
type answer struct {
	status int
	header http.Header
}

// failure makes an Error of what the client library says. The library's text is
// looked at and dropped: it repeats the response.
func failure(ctx context.Context, op, path string, got answer, err error) *Error {
	e := &Error{Op: op, Path: path, Status: got.status}
	said := ""
	var response *api.ResponseError
	if errors.As(err, &response) {
		e.Status = response.StatusCode
		said = strings.ToLower(strings.Join(response.Errors, "\n"))
	}
	if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(min(seconds, 3600)) * time.Second
	}

	switch {
	case ctx.Err() != nil:
		e.Kind, e.reason, e.ended = Unavailable, "the time for it is over", ctx.Err()
		if errors.Is(ctx.Err(), context.Canceled) {
			e.reason = "it was called off"
		}
	case errors.Is(err, errTooLarge):
		e.Kind, e.reason = Invalid, fmt.Sprintf("the answer is larger than %d MiB", maxAnswer>>20)
	case e.Status == 0:
		e.Kind, e.reason = Unavailable, connectionFault(err)
	case e.Status >= 300 && e.Status < 400:
		e.Kind, e.reason = Unavailable, "it points to another address, which is not followed; write the address of the active node, or of a load balancer"
	case e.Status == http.StatusForbidden, e.Status == http.StatusUnauthorized:
		e.Kind, e.reason = Denied, "permission denied"
	case e.Status == http.StatusNotFound:
		e.Kind, e.reason = NotFound, "there is nothing"
	case e.Status == http.StatusTooManyRequests:
		e.Kind, e.reason = Unavailable, "it takes no more requests for now"
	case e.Status == http.StatusPreconditionFailed: // not yet what an earlier request wrote
		e.Kind, e.reason = Unavailable, "this node is behind"
	case e.Status == http.StatusNotImplemented:
		e.Kind, e.reason = Invalid, "it cannot do that"
	case e.Status >= 500 && strings.Contains(said, "sealed"):
		e.Kind, e.reason = Unavailable, "it is sealed"
	case e.Status >= 500 && (strings.Contains(said, "standby") || strings.Contains(said, "not active")):
		e.Kind, e.reason = Unavailable, "no node is active"
	case e.Status >= 500:
		e.Kind, e.reason = Unavailable, "it fails"
	case e.Status >= 400:
		e.Kind, e.reason = Invalid, "it does not take the request"
	default:
		e.Kind, e.reason = Invalid, "the answer is not one of OpenBao's"
	}
	return e
}

// connectionFault says why there was no answer.
func connectionFault(err error) string {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		resolve   *net.DNSError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &authority):
		return "its certificate is signed by an authority that is not trusted; see caBundle"
	case errors.As(err, &hostname):
		return "its certificate is for another name"
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "its certificate is not valid"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS"
	case errors.As(err, &resolve):
		return "its name cannot be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer in time"
	}
	return "the connection failed"
}
