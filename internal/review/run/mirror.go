package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/aetherplatform/aether/internal/forge"
)

// Mirror is a bare repository on disk with what reviews have fetched. It is only
// a cache: it may be removed while nothing runs.
//
// It is filled over HTTP by this program itself. No git runs, so there are no
// hooks, filters or configuration for a repository to bring along, and nothing is
// ever checked out.
type Mirror struct {
	// Dir is where it is; it is made where it is missing.
	Dir string
	// Limits of what is fetched.
	Limits Limits

	mu sync.Mutex
	// users of the mirror's content now.
	users int
}

// Limits of a fetch. Zero is the default.
type Limits struct {
	// Transfer in bytes of one fetch.
	Transfer int64
	// Object is the size of the largest object, unpacked, in bytes.
	Object int64
	// Objects of one fetch.
	Objects uint32
	// Disk in bytes: a mirror that is larger is begun anew.
	Disk int64
	// Time of one fetch.
	Time time.Duration
}

func (l Limits) orDefaults() Limits {
	if l.Transfer == 0 {
		l.Transfer = 512 << 20
	}
	if l.Object == 0 {
		l.Object = 32 << 20
	}
	if l.Objects == 0 {
		l.Objects = 5_000_000
	}
	if l.Disk == 0 {
		l.Disk = 4 << 30
	}
	if l.Time == 0 {
		l.Time = 5 * time.Minute
	}
	return l
}

// errMoved says that a pull request's head is another commit than the pinned one.
var errMoved = errors.New("the pull request has a newer head")

// fetch brings the tip of a pull request's base and its pinned head into the
// mirror. Until release is called the mirror keeps them.
func (m *Mirror) fetch(ctx context.Context, remote forge.Remote, pr *forge.PullRequest) (base string, release func(), err error) {
	limits := m.Limits.orDefaults()
	ctx, cancel := context.WithTimeout(ctx, limits.Time)
	defer cancel()

	// One fetch at a time: the next has most of what it needs already.
	m.mu.Lock()
	defer m.mu.Unlock()
	repo, err := m.open(limits)
	if err != nil {
		return "", nil, fmt.Errorf("cannot open the mirror: %w", err)
	}
	base, err = m.fetchInto(ctx, repo, remote, pr, limits)
	if err != nil {
		text := err.Error()
		if errors.Is(err, errMoved) || !strings.Contains(text, remote.Token) {
			return "", nil, fmt.Errorf("cannot fetch #%d: %w", pr.Number, err)
		}
		return "", nil, fmt.Errorf("cannot fetch #%d: %s", pr.Number, strings.ReplaceAll(text, remote.Token, "(token)"))
	}
	m.users++
	return base, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.users--
	}, nil
}

// open opens the mirror, anew where it has become too large or is broken.
func (m *Mirror) open(limits Limits) (*gogit.Repository, error) {
	if m.users == 0 && size(m.Dir) > limits.Disk {
		if err := os.RemoveAll(m.Dir); err != nil {
			return nil, err
		}
	}
	repo, err := gogit.PlainOpen(m.Dir)
	if errors.Is(err, gogit.ErrRepositoryNotExists) {
		if err := os.MkdirAll(m.Dir, 0o700); err != nil {
			return nil, err
		}
		return gogit.PlainInit(m.Dir, true)
	}
	return repo, err
}

func size(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // what cannot be read counts nothing
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}

func (m *Mirror) fetchInto(ctx context.Context, repo *gogit.Repository, remote forge.Remote, pr *forge.PullRequest, limits Limits) (base string, err error) {
	session, err := dial(remote, limits)
	if err != nil {
		return "", err
	}
	defer func() { _ = session.Close() }()
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return "", whatOf(err)
	}
	headRef := fmt.Sprintf(remote.PullRef, pr.Number)
	tip, ok := advertised.References["refs/heads/"+pr.BaseBranch]
	if !ok {
		return "", fmt.Errorf("the repository has no branch %q, which the pull request merges into", pr.BaseBranch)
	}
	head, ok := advertised.References[headRef]
	if !ok {
		return "", fmt.Errorf("the repository has no %s: is the pull request's head still there?", headRef)
	}
	if head.String() != pr.HeadSHA {
		return "", errMoved
	}

	request := packp.NewUploadPackRequestFromCapabilities(advertised.Capabilities)
	for _, want := range []plumbing.Hash{tip, head} {
		if _, err := repo.CommitObject(want); err != nil {
			request.Wants = append(request.Wants, want)
		}
	}
	if len(request.Wants) > 0 {
		if advertised.Capabilities.Supports(capability.NoProgress) {
			_ = request.Capabilities.Set(capability.NoProgress)
		}
		request.Haves = haves(repo)
		if err := m.receive(ctx, repo, session, request, limits); err != nil {
			return "", err
		}
	}
	for name, hash := range map[string]plumbing.Hash{
		"refs/aether/base/" + pr.BaseBranch:           tip,
		fmt.Sprintf("refs/aether/pull/%d", pr.Number): head,
	} {
		if _, err := repo.CommitObject(hash); err != nil {
			return "", fmt.Errorf("the forge did not send commit %s: %w", hash, err)
		}
		if err := repo.Storer.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(name), hash)); err != nil {
			return "", err
		}
	}
	return tip.String(), nil
}

// dial opens a session with the repository, and with no other host.
func dial(remote forge.Remote, limits Limits) (transport.UploadPackSession, error) {
	u, err := url.Parse(remote.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%q is not an address to fetch from", remote.URL)
	}
	endpoint, err := transport.NewEndpoint(remote.URL)
	if err != nil {
		return nil, err
	}
	client := githttp.NewClient(&http.Client{
		Transport: &bounded{host: u.Host, left: limits.Transfer},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the forge redirects: write the repository's own address")
		},
	})
	return client.NewUploadPackSession(endpoint, &githttp.BasicAuth{Username: remote.User, Password: remote.Token})
}

// bounded is a transport to one host that ends when it has read enough.
type bounded struct {
	host string
	left int64
}

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != b.host {
		return nil, fmt.Errorf("refused to ask %s: only %s is asked", r.URL.Host, b.host)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{ReadCloser: response.Body, of: b}
	return response, nil
}

type boundedBody struct {
	io.ReadCloser
	of *bounded
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.of.left -= int64(n); b.of.left < 0 {
		return 0, errors.New("it is larger than a review may fetch")
	}
	return n, err
}

// whatOf says what to do about an error of Git's protocol.
func whatOf(err error) error {
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return errors.New("the forge refuses the token: give it the permission to read the repository")
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return errors.New("there is no such repository, or the token may not see it: check --repo, and the token's permission to read")
	}
	return err
}

// maxHaves are named to the forge, so that it sends only what is new.
const maxHaves = 256

// haves are the tips that were fetched before.
func haves(repo *gogit.Repository) []plumbing.Hash {
	refs, err := repo.References()
	if err != nil {
		return nil
	}
	seen := map[plumbing.Hash]bool{}
	var found []plumbing.Hash
	_ = refs.ForEach(func(ref *plumbing.Reference) error {
		if len(found) < maxHaves && ref.Type() == plumbing.HashReference && !seen[ref.Hash()] {
			seen[ref.Hash()] = true
			found = append(found, ref.Hash())
		}
		return nil
	})
	return found
}

// receive takes a pack: into a file first, which is measured before anything is
// made of it, since a small pack can hold objects of any size.
func (m *Mirror) receive(ctx context.Context, repo *gogit.Repository, session transport.UploadPackSession, request *packp.UploadPackRequest, limits Limits) error {
	answer, err := session.UploadPack(ctx, request)
	if err != nil {
		return whatOf(err)
	}
	defer func() { _ = answer.Close() }()
	file, err := os.CreateTemp(m.Dir, "incoming-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}()
	if _, err := io.Copy(file, demux(request.Capabilities, answer)); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := measure(file, limits); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return packfile.UpdateObjectStorage(repo.Storer, file)
}

func demux(with *capability.List, r io.Reader) io.Reader {
	switch {
	case with.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, r)
	case with.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, r)
	}
	return r
}

// measure refuses a pack with too many or too large objects.
func measure(pack io.Reader, limits Limits) error {
	scanner := packfile.NewScanner(pack)
	_, count, err := scanner.Header()
	if err != nil {
		return fmt.Errorf("cannot read the pack: %w", err)
	}
	if count > limits.Objects {
		return fmt.Errorf("it has %d objects; at most %d are reviewed", count, limits.Objects)
	}
	for range count {
		header, err := scanner.NextObjectHeader()
		if err != nil {
			return fmt.Errorf("cannot read the pack: %w", err)
		}
		start := &prefix{}
		if header.Length <= limits.Object {
			if _, _, err := scanner.NextObject(start); err != nil {
				return fmt.Errorf("cannot read the pack: %w", err)
			}
		}
		length := header.Length
		if header.Type.IsDelta() {
			length = max(length, target(start.bytes))
		}
		if length > limits.Object {
			return fmt.Errorf("it has an object of %d bytes; at most %d are reviewed", length, limits.Object)
		}
	}
	return nil
}

// prefix keeps the first bytes of what is written to it.
type prefix struct{ bytes []byte }

// maxPrefix holds two sizes as a delta encodes them.
const maxPrefix = 20

func (p *prefix) Write(b []byte) (int, error) {
	if room := maxPrefix - len(p.bytes); room > 0 {
		p.bytes = append(p.bytes, b[:min(room, len(b))]...)
	}
	return len(b), nil
}

// target is the size of what a delta makes: the second number it begins with.
func target(delta []byte) int64 {
	var number int64
	for range 2 {
		number = 0
		for shift := 0; len(delta) > 0; shift += 7 {
			b := delta[0]
			delta = delta[1:]
			if shift > 55 {
				return 1 << 62
			}
			number |= int64(b&0x7f) << shift
			if b&0x80 == 0 {
				break
			}
		}
	}
	return number
}
