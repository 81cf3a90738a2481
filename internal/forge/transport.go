package forge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is asked of a forge and read of its answers.
const (
	// maxTries of one request.
	maxTries = 4
	// maxWait for a forge that asks to be left alone; where it asks for more, the
	// review fails and says until when.
	maxWait = time.Minute
	// maxAnswer in bytes. Gitea answers with all comments of a pull request at once.
	maxAnswer = 64 << 20
	// maxMessage of a refusal that is shown, in bytes.
	maxMessage = 300
	// callTimeout of one request and its answer.
	callTimeout = time.Minute
)

// newClient returns the HTTP client for the libraries: it waits where the forge
// asks for it, bounds answers, turns refusals into *Error, and follows no
// redirect to another host, which would be given the token.
func newClient(o Options, forge *url.URL) *http.Client {
	next := o.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	return &http.Client{
		Transport: &transport{next: next, o: o},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Scheme != via[0].URL.Scheme || r.URL.Host != via[0].URL.Host {
				return fmt.Errorf("the forge redirects from %s to another host: write the forge's own address", forge.Host)
			}
			if len(via) > 3 {
				return fmt.Errorf("the forge %s redirects in circles", forge.Host)
			}
			return nil
		},
	}
}

type transport struct {
	next http.RoundTripper
	o    Options
}

// RoundTrip sends a request, again where the forge was too busy for it.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		again := r.Clone(r.Context())
		if body != nil {
			again.Body = io.NopCloser(bytes.NewReader(body))
			again.ContentLength = int64(len(body))
		}
		response, err := t.once(again)
		if err != nil {
			return nil, err
		}
		if response.StatusCode < http.StatusBadRequest {
			return response, nil
		}
		pause, busy := t.pause(r, response, try)
		if !busy || try == maxTries || pause > maxWait {
			return nil, t.refusal(r, response, pause)
		}
		if err := t.o.Wait(r.Context(), pause); err != nil {
			return nil, err
		}
	}
}

// once sends a request and reads the whole answer.
func (t *transport) once(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel() // the answer is read by then
	response, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("the forge answers %s with more than %d MiB", r.URL.Path, maxAnswer>>20)
	}
	response.Body = io.NopCloser(bytes.NewReader(data))
	return response, nil
}

// pause is how long to wait before the next try, and whether there is to be one.
func (t *transport) pause(r *http.Request, response *http.Response, try int) (time.Duration, bool) {
	h := response.Header
	limited := response.StatusCode == http.StatusTooManyRequests ||
		response.StatusCode == http.StatusForbidden && (h.Get("Retry-After") != "" || h.Get("X-Ratelimit-Remaining") == "0")
	// What was not done for sure may be done twice, except a comment.
	down := response.StatusCode >= http.StatusBadGateway && response.StatusCode <= http.StatusGatewayTimeout && r.Method != http.MethodPost
	if !limited && !down {
		return 0, false
	}
	if after := h.Get("Retry-After"); after != "" {
		if seconds, err := strconv.Atoi(after); err == nil {
			return max(0, time.Duration(min(seconds, 1<<30))*time.Second), true
		}
		if at, err := http.ParseTime(after); err == nil {
			return max(0, at.Sub(t.o.Now())), true
		}
	}
	for _, name := range []string{"X-Ratelimit-Reset", "Ratelimit-Reset"} {
		if at, err := strconv.ParseInt(h.Get(name), 10, 64); err == nil && limited {
			return max(0, time.Unix(at, 0).Sub(t.o.Now())), true
		}
	}
	return time.Second << (try - 1), true
}

// refusal is the forge's answer as an error.
func (t *transport) refusal(r *http.Request, response *http.Response, pause time.Duration) error {
	data, _ := io.ReadAll(response.Body)
	message := t.o.redact(oneLine(string(data), maxMessage))
	return &Error{
		Kind: t.o.Kind, Status: response.StatusCode, Method: r.Method, Path: r.URL.Path,
		Message: message, RetryAfter: pause,
		Limited: response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusForbidden && pause > 0,
	}
}

// redact takes the token out of a text.
func (o *Options) redact(s string) string {
	return strings.ReplaceAll(s, o.Token, "(token)")
}
