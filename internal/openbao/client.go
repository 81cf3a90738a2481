// Package openbao talks to OpenBao: secrets of KV version 2, ACL policies, and
// Kubernetes authentication with its roles.
//
// It keeps nothing and retries nothing; callers know what can wait. No text of an
// error holds a value, a token, or anything that OpenBao answered.
package openbao

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
	"golang.org/x/time/rate"
)

// DefaultAuthMount is where Kubernetes authentication is mounted unless said
// otherwise, as `bao auth enable kubernetes` does.
const DefaultAuthMount = "kubernetes"

const (
	defaultRate    = 200 // requests a second
	defaultTimeout = 15 * time.Second

	// maxAnswer is the most that is read of a response, in bytes. OpenBao takes
	// requests of 32 MiB, and a Secret can hold 1 MiB.
	maxAnswer = 8 << 20
)

var errTooLarge = errors.New("too large")

// Connection is an OpenBao, as one cluster sees it. It can be a key.
type Connection struct {
	// Address: https://host or https://host:port.
	Address string
	// CA is the certificates, in PEM, that the server's is checked against. Empty:
	// the system's.
	CA string
	// Namespace of OpenBao. Empty: the root.
	Namespace string
	// AuthMount is where Kubernetes authentication is mounted for the cluster. Empty:
	// DefaultAuthMount.
	AuthMount string
}

// Normal is the connection with its defaults, and nothing that makes no difference.
func (c Connection) Normal() Connection {
	c.Address = strings.TrimSuffix(c.Address, "/")
	c.Namespace = strings.Trim(c.Namespace, "/")
	c.AuthMount = strings.Trim(c.AuthMount, "/")
	if c.AuthMount == "" {
		c.AuthMount = DefaultAuthMount
	}
	return c
}

// Options of a Client.
type Options struct {
	// Rate is the most requests a second. Default: 200.
	Rate float64
	// Burst is how many may come at once. Default: those of a second.
	Burst int
	// Timeout of one request, its wait for the rate left out. Default: 15s.
	Timeout time.Duration
}

// Client talks to one OpenBao. It is safe for use by many at once, and has one
// rate for all of them.
type Client struct {
	connection Connection
	api        *api.Client
	limiter    *rate.Limiter
	timeout    time.Duration
}

// New returns a Client. It opens no connection yet.
func New(connection Connection, opts Options) (*Client, error) {
	connection = connection.Normal()
	address, err := url.Parse(connection.Address)
	if err != nil || address.Scheme != "https" || address.Host == "" || address.User != nil || address.Path != "" || address.RawQuery != "" {
		return nil, fmt.Errorf("%q is no address of OpenBao; write https://host or https://host:port", connection.Address)
	}
	if err := CheckPath(connection.AuthMount); err != nil {
		return nil, fmt.Errorf("mount of Kubernetes authentication: %w", err)
	}
	if connection.Namespace != "" {
		if err := CheckPath(connection.Namespace); err != nil {
			return nil, fmt.Errorf("namespace of OpenBao: %w", err)
		}
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if connection.CA != "" {
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM([]byte(connection.CA)) {
			return nil, errors.New("caBundle holds no certificate in PEM")
		}
	}
	if opts.Rate <= 0 {
		opts.Rate = defaultRate
	}
	if opts.Burst <= 0 {
		opts.Burst = max(1, int(opts.Rate))
	}
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}

	config := &api.Config{
		Address: connection.Address,
		HttpClient: &http.Client{
			Transport:     transport(trust, opts.Timeout),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Timeout: opts.Timeout,
		// Variables such as BAO_TOKEN are for people at a shell.
		DisableEnvironment: true,
		// The library follows to any host, and takes the token along.
		DisableRedirects: true,
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for OpenBao at %s", connection.Address)
	}
	client.SetMaxRetries(0)
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	if connection.Namespace != "" {
		client.SetNamespace(connection.Namespace)
	}
	return &Client{
		connection: connection,
		api:        client,
		limiter:    rate.NewLimiter(rate.Limit(opts.Rate), opts.Burst),
		timeout:    opts.Timeout,
	}, nil
}

// Connection is what the client is for, with its defaults.
func (c *Client) Connection() Connection { return c.connection }

// transport reuses connections, and notices those that lead nowhere any more.
func transport(trust *tls.Config, timeout time.Duration) http.RoundTripper {
	return limited{&http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       trust,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: timeout,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
	}}
}

// limited reads no more of an answer than maxAnswer.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = &limitedBody{ReadCloser: response.Body, left: maxAnswer}
	}
	return response, err
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// call makes one request with a token. A 404 is an Error only where the answer has
// no data: KV tells of deleted versions so.
func (c *Client) call(ctx context.Context, op, path string, token Token, send func(context.Context, *api.Logical) (*api.Secret, error)) (*api.Secret, error) {
	if err := c.limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, failure(ctx, op, path, answer{}, err)
		}
		return nil, &Error{Kind: Unavailable, Op: op, Path: path, reason: "more is asked of it than its rate allows", ended: context.DeadlineExceeded}
	}
	var got answer
	client := c.api.
		WithRequestCallbacks(func(r *api.Request) {
			r.ClientToken = ""
			if token.reveal != nil {
				r.ClientToken = token.reveal()
			}
		}).
		WithResponseCallbacks(func(r *api.Response) { got = answer{status: r.StatusCode, header: r.Header} })

	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	secret, err := send(bounded, client.Logical())
	switch {
	case err != nil:
		return nil, failure(ctx, op, path, got, err)
	case got.status == http.StatusNotFound && (secret == nil || len(secret.Data) == 0),
		got.status >= 300 && got.status != http.StatusNotFound:
		return nil, failure(ctx, op, path, got, nil)
	}
	return secret, nil
}

func (c *Client) get(ctx context.Context, path string, token Token, query map[string][]string) (*api.Secret, error) {
	secret, err := c.call(ctx, "read", path, token, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.ReadWithDataWithContext(ctx, path, query)
	})
	if err == nil && secret == nil {
		return nil, unexpected("read", path)
	}
	return secret, err
}

// list returns the keys of a list; of an empty one, none.
func (c *Client) list(ctx context.Context, path string, token Token) ([]string, error) {
	secret, err := c.call(ctx, "list", path, token, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.ListWithContext(ctx, path)
	})
	if errors.Is(err, NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, unexpected("list", path)
	}
	return texts(secret.Data["keys"]), nil
}

func (c *Client) put(ctx context.Context, op, path string, token Token, body map[string]any) (*api.Secret, error) {
	return c.call(ctx, op, path, token, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, path, body)
	})
}

func (c *Client) delete(ctx context.Context, path string, token Token) error {
	_, err := c.call(ctx, "delete", path, token, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.DeleteWithContext(ctx, path)
	})
	if errors.Is(err, NotFound) {
		return nil
	}
	return err
}

// unexpected is for an answer that OpenBao does not give.
func unexpected(op, path string) *Error {
	return &Error{Kind: Invalid, Op: op, Path: path, reason: "the answer is not one of OpenBao's"}
}

var segment = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// CheckPath refuses all but segments of letters, digits, '.', '_' and '-' between
// single '/', none of them "." or "..". What it lets through reads the same in a URL,
// in a policy, and on the command line, so that there is nothing to escape.
func CheckPath(path string) error {
	for s := range strings.SplitSeq(path, "/") {
		if s == "." || s == ".." || !segment.MatchString(s) {
			return fmt.Errorf("%q is no plain path; write letters, digits, '.', '_' and '-' between single '/', such as payments/db", path)
		}
	}
	return nil
}

// texts is a list of strings in an answer.
func texts(v any) []string {
	items, _ := v.([]any)
	var list []string
	for _, item := range items {
		if s, ok := item.(string); ok {
			list = append(list, s)
		}
	}
	return list
}
