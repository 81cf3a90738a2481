// Package artifact brings what Flux's source-controller has stored into memory:
// it finds a source's artifact, fetches it over HTTP, verifies its digest, and
// hands out the files below one path.
//
// Nothing of an artifact is used before its whole body has been verified, nothing
// is written to disk, and no redirect is followed.
package artifact

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/aetherplatform/aether/internal/fleet"
)

// What may be wrong with an artifact, for errors.Is.
var (
	// ErrNotFound: the server has it no longer. A newer artifact has replaced it,
	// and the source's status will name that one.
	ErrNotFound = errors.New("the artifact is not there (any more)")
	// ErrDigest: the body is not the one that the source announced.
	ErrDigest = errors.New("the digest does not match")
	// ErrTooLarge: the body is larger than a fleet may be.
	ErrTooLarge = errors.New("the artifact is too large")
)

// Bounds of one fetch, where a Fetcher names none.
const (
	// DefaultMaxBytes of the compressed body.
	DefaultMaxBytes = 64 << 20
	// DefaultTimeout of the whole fetch.
	DefaultTimeout = time.Minute
)

// Fetcher fetches artifacts. It remembers the tree that it handed out last, with
// which the next one shares what is equal, and callers that ask for the same one
// at once share a fetch. The zero value is ready to use.
type Fetcher struct {
	// MaxBytes of the compressed body; 0 stands for DefaultMaxBytes.
	MaxBytes int64
	// Timeout of the whole fetch; 0 stands for DefaultTimeout.
	Timeout time.Duration

	flights singleflight.Group
	mu      sync.Mutex
	last    string
	tree    fleet.Tree
}

// Fetch returns the files below path ("./tenants") of the artifact at url, whose
// body must have the digest "<algorithm>:<hex>". The tree is shared: it must not
// be changed.
func (f *Fetcher) Fetch(ctx context.Context, url, digest, path string) (fleet.Tree, error) {
	key := digest + " " + path
	if tree, ok := f.remembered(key); ok {
		return tree, nil
	}

	// The fetch outlives a caller that gives up, since others may wait for it too;
	// its own deadline ends it.
	result := f.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDefault(f.Timeout, DefaultTimeout))
		defer cancel()
		tree, err := f.fetch(ctx, url, digest, path)
		if err != nil {
			return nil, fmt.Errorf("cannot fetch %s: %w", url, err)
		}
		f.remember(key, tree)
		return tree, nil
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot fetch %s: %w", url, ctx.Err())
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(fleet.Tree), nil
	}
}

// fetch reads the body once: through the hash, into the tree.
func (f *Fetcher) fetch(ctx context.Context, url, digest, path string) (fleet.Tree, error) {
	want, sum, err := parseDigest(digest)
	if err != nil {
		return nil, err
	}
	resp, err := get(ctx, url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()

	body := io.TeeReader(&bounded{r: resp.Body, left: orDefault(f.MaxBytes, DefaultMaxBytes)}, sum)
	tree, treeErr := fleet.ReadTarGz(body, path, f.latest())

	// An archive may end before its file does, and one that cannot be read is
	// judged by its digest first: a damaged transfer is not the repository's fault.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return nil, fmt.Errorf("%w: announced %s, received %s", ErrDigest, want, got)
	}
	if treeErr != nil {
		return nil, treeErr
	}
	return tree, nil
}

// web follows no redirect, since an artifact's address is given whole, and
// asks for no compression of what is compressed already.
var web = &http.Client{
	Transport:     transport(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func transport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	return t
}

func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp, nil
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		err = ErrNotFound
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		err = fmt.Errorf("the server redirects to %q; redirects are not followed", resp.Header.Get("Location"))
	default:
		err = fmt.Errorf("the server answers %s", resp.Status)
	}
	_ = resp.Body.Close()
	return nil, err
}

// parseDigest splits "<algorithm>:<hex>", as Flux writes it.
func parseDigest(digest string) (string, hash.Hash, error) {
	algorithm, sum, _ := strings.Cut(digest, ":")
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha384":
		h = sha512.New384()
	case "sha512":
		h = sha512.New()
	default:
		return "", nil, fmt.Errorf("digest %q: write sha256, sha384 or sha512 to source-controller's --artifact-digest-algo", digest)
	}
	if len(sum) != 2*h.Size() {
		return "", nil, fmt.Errorf("digest %q: %s has %d hexadecimal digits", digest, algorithm, 2*h.Size())
	}
	return sum, h, nil
}

// bounded fails, rather than ends, once more has been read than may be.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 { // one more tells a full body from a larger one
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}

func (f *Fetcher) remembered(key string) (fleet.Tree, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tree, f.last == key
}

// latest is the tree that was handed out last, of whatever artifact and path.
func (f *Fetcher) latest() fleet.Tree {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tree
}

func (f *Fetcher) remember(key string, tree fleet.Tree) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.tree = key, tree
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
