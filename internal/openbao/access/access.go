// Package access gives namespaces their way into OpenBao: it keeps there, for each
// tenant, a policy confined to the tenant's path and, for each namespace, a role
// bound to that namespace's service account, and logs in as that account.
//
// The operator's own login writes policies and roles and reads no secret. What it
// grants is read back before it is relied on, and again every CheckInterval. A path
// belongs to one life of a tenant: it is claimed in OpenBao, so that a tenant made
// anew, here or in another cluster, does not inherit.
package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
)

const (
	// DefaultCheckInterval is for how long what was seen in OpenBao is relied on.
	DefaultCheckInterval = 5 * time.Minute

	// accountTTL is the least that the API server gives a service account's token;
	// it is used once, at once.
	accountTTL = 10 * time.Minute
)

// TokenRequest asks Kubernetes for a token of a service account, for an audience.
type TokenRequest func(ctx context.Context, namespace, account, audience string, ttl time.Duration) (jwt string, err error)

// Options of an Access.
type Options struct {
	// ClusterID is the UID of the Namespace kube-system. It must be set.
	ClusterID string
	// Audience of the service accounts' tokens. Default: openbao.
	Audience string
	// CheckInterval is for how long what was seen in OpenBao is relied on. Default: 5m.
	CheckInterval time.Duration
	// TokenRequest must be set.
	TokenRequest TokenRequest
	// Operator is how the operator itself logs in. Default: Kubernetes{}.
	Operator Login
	// Now is the clock. It must be set.
	Now func() time.Time
	// Client is how requests to each OpenBao are made: rate, burst, timeout.
	Client openbao.Options
}

// Subject is a namespace as OpenBao is to know it.
type Subject struct {
	Connection   openbao.Connection
	Tenant       string
	TenantUID    types.UID
	Namespace    string
	NamespaceUID types.UID
	// Mount of a KV engine of version 2, and the tenant's path below it.
	Mount, Path string
	// Generate lets the namespace create secrets.
	Generate bool
}

func (s Subject) normal() Subject {
	s.Connection = s.Connection.Normal()
	return s
}

func (s Subject) policies() []string {
	names := []string{openbao.PolicyName(s.Tenant, s.TenantUID)}
	if s.Generate {
		names = append(names, openbao.GeneratePolicyName(s.Tenant, s.TenantUID))
	}
	return names
}

// Access is the way into every OpenBao that is used. It is safe for use by many at
// once.
type Access struct {
	opts Options

	mu         sync.Mutex
	servers    map[openbao.Connection]*server
	tenants    map[tenantKey]*tenant
	namespaces map[namespaceKey]*namespace
	foreign    map[foreignPolicy]bool
}

// server is an OpenBao and the operator's login there.
type server struct {
	client *openbao.Client

	gate gate
	// guarded by the gate
	login *login
	stamp string // what the login was made with
}

type tenantKey struct {
	connection openbao.Connection
	policy     string
}

// tenant is what is known to be in order in OpenBao for a tenant.
type tenant struct {
	gate gate
	// guarded by the gate
	claimed, granted, generates confirmation
}

type namespaceKey struct {
	connection openbao.Connection
	name       string
}

// namespace is what is known of a namespace name. One subject has it at a time.
type namespace struct {
	gate gate
	// guarded by the gate
	subject Subject
	bound   confirmation
	login   *login

	// guarded by Access.mu: who came last, and when; nobody where it is forgotten
	owner     Subject
	used      time.Time
	forgotten bool // since the gate was open last
}

// login is a token that somebody got.
type login struct {
	token   openbao.Token
	renewAt time.Time // zero: never
	endsAt  time.Time // zero: never
}

// confirmation is that something was seen in order, for one place.
type confirmation struct {
	place string
	until time.Time
}

func (c confirmation) holds(place string, now time.Time) bool {
	return c.place == place && now.Before(c.until)
}

// New returns an Access.
func New(opts Options) (*Access, error) {
	if opts.Audience == "" {
		opts.Audience = openbao.DefaultAudience
	}
	if opts.CheckInterval <= 0 {
		opts.CheckInterval = DefaultCheckInterval
	}
	if opts.TokenRequest == nil || opts.Now == nil {
		return nil, errors.New("access to OpenBao needs a way to request tokens, and a clock")
	}
	if err := openbao.CheckPath(opts.ClusterID); err != nil {
		return nil, fmt.Errorf("id of the cluster: %w", err)
	}
	if opts.Operator == nil {
		opts.Operator = Kubernetes{Audience: opts.Audience, TokenRequest: opts.TokenRequest}
	}
	return &Access{
		opts:       opts,
		servers:    map[openbao.Connection]*server{},
		tenants:    map[tenantKey]*tenant{},
		namespaces: map[namespaceKey]*namespace{},
		foreign:    map[foreignPolicy]bool{},
	}, nil
}

// Session is a namespace's login. Each of its requests goes below the tenant's path,
// with the namespace's own token. It is safe for use by many at once.
type Session struct {
	access    *Access
	client    *openbao.Client
	namespace *namespace
	subject   Subject
	login     atomic.Pointer[login]
}

// Session logs a namespace in, with grants that were seen in OpenBao not longer ago
// than CheckInterval. A name that another subject had is taken from it: its role is
// bound anew before anyone logs in.
//
// Errors are openbao.Error, TakenError, or what TokenRequest says.
func (a *Access) Session(ctx context.Context, subject Subject) (*Session, error) {
	subject = subject.normal()
	srv, err := a.server(subject.Connection)
	if err != nil {
		return nil, err
	}
	ns := a.namespace(subject)
	var got *login
	err = ns.gate.do(ctx, subject, func() error {
		if !a.takes(ns, subject) { // it would bind the name back
			return fmt.Errorf("namespace %s is not tenant %s's any more", subject.Namespace, subject.Tenant)
		}
		if err := a.enter(ctx, srv, ns); err != nil {
			return err
		}
		got = ns.login
		return nil
	})
	if err != nil {
		return nil, err
	}
	session := &Session{access: a, client: srv.client, namespace: ns, subject: subject}
	session.login.Store(got)
	return session, nil
}

// Keep puts back what somebody has changed in OpenBao of a subject's grants, where they
// were not seen for CheckInterval. It takes no name from another subject, and logs
// nobody in.
//
// Errors are as of Session.
func (a *Access) Keep(ctx context.Context, subject Subject) error {
	subject = subject.normal()
	srv, err := a.server(subject.Connection)
	if err != nil {
		return err
	}
	ns := a.unlessTaken(subject)
	if ns == nil {
		return nil
	}
	return ns.gate.do(ctx, subject, func() error {
		if !a.takes(ns, subject) {
			return nil
		}
		_, err := a.confirm(ctx, srv, ns)
		return err
	})
}

// Metadata is what KV knows of the secret at a path below the tenant's.
func (s *Session) Metadata(ctx context.Context, path string) (openbao.Metadata, error) {
	var m openbao.Metadata
	err := s.try(ctx, func(token openbao.Token) (err error) {
		m, err = s.client.Metadata(ctx, token, s.subject.Mount, s.below(path))
		return err
	})
	return m, err
}

// Read reads the secret at a path below the tenant's; version zero is the latest.
func (s *Session) Read(ctx context.Context, path string, version int64) (openbao.Secret, error) {
	var secret openbao.Secret
	err := s.try(ctx, func(token openbao.Token) (err error) {
		secret, err = s.client.Read(ctx, token, s.subject.Mount, s.below(path), version)
		return err
	})
	return secret, err
}

// Create makes the secret at a path below the tenant's where there is none, and
// says whether it did.
func (s *Session) Create(ctx context.Context, path string, data map[string]any) (bool, error) {
	var created bool
	err := s.try(ctx, func(token openbao.Token) (err error) {
		created, err = s.client.Create(ctx, token, s.subject.Mount, s.below(path), data)
		return err
	})
	return created, err
}

func (s *Session) below(path string) string { return s.subject.Path + "/" + path }

// try makes a request, and makes it once more where it was denied: the token may
// have been revoked, or the grants changed.
func (s *Session) try(ctx context.Context, request func(openbao.Token) error) error {
	used := s.login.Load()
	err := request(used.token)
	if !errors.Is(err, openbao.Denied) {
		return err
	}
	renewed, renewErr := s.renew(ctx, used)
	if renewErr != nil {
		return renewErr
	}
	if renewed == nil {
		return err
	}
	return request(renewed.token)
}

// renew logs in anew, its grants confirmed anew, unless someone did since. It
// returns nothing where the name of the namespace is another subject's by now.
func (s *Session) renew(ctx context.Context, refused *login) (*login, error) {
	a, ns := s.access, s.namespace
	srv, err := a.server(s.subject.Connection)
	if err != nil {
		return nil, err
	}
	var renewed *login
	err = ns.gate.do(ctx, s.subject, func() error {
		if _, ok := a.owns(ns, s.subject); !ok || ns.subject != s.subject {
			return nil
		}
		if ns.login == refused {
			ns.login, ns.bound = nil, confirmation{}
			a.doubt(s.subject)
		}
		if err := a.enter(ctx, srv, ns); err != nil {
			return err
		}
		renewed = ns.login
		s.login.Store(renewed)
		return nil
	})
	return renewed, err
}

// Forget drops a subject's token, and what is confirmed of it and its tenant.
func (a *Access) Forget(subject Subject) {
	subject = subject.normal()
	a.mu.Lock()
	defer a.mu.Unlock()
	// The entry stays until Sweep, and its gate with it: what is under way for the
	// name ends before the next one binds it.
	if ns := a.namespaces[namespaceKey{subject.Connection, subject.Namespace}]; ns != nil && ns.owner == subject {
		ns.owner, ns.forgotten = Subject{}, true
		ns.gate.try(func() { ns.subject, ns.bound, ns.login = Subject{}, confirmation{}, nil })
	}
	delete(a.tenants, tenantKey{subject.Connection, openbao.PolicyName(subject.Tenant, subject.TenantUID)})
}

// enter confirms the grants and logs in, as far as that is due. The caller has the
// namespace's gate.
func (a *Access) enter(ctx context.Context, srv *server, ns *namespace) error {
	fresh, err := a.confirm(ctx, srv, ns)
	if err != nil {
		return err
	}
	now := a.opts.Now()
	if ns.login != nil && (ns.login.renewAt.IsZero() || now.Before(ns.login.renewAt)) {
		return nil
	}
	got, err := a.logIn(ctx, srv, ns.subject)
	if !fresh && (errors.Is(err, openbao.Denied) || errors.Is(err, openbao.Invalid)) {
		// The role may have been changed since it was seen last, or be gone.
		ns.bound = confirmation{}
		if _, err := a.confirm(ctx, srv, ns); err != nil {
			return err
		}
		got, err = a.logIn(ctx, srv, ns.subject)
	}
	if err != nil {
		if ns.login != nil && !errors.Is(err, openbao.Denied) && now.Before(ns.login.endsAt) {
			return nil // there is a third of its life to try again
		}
		ns.login = nil
		return err
	}
	ns.login = got
	return nil
}

// logIn logs in as the namespace's own service account.
func (a *Access) logIn(ctx context.Context, srv *server, s Subject) (*login, error) {
	jwt, err := a.opts.TokenRequest(ctx, s.Namespace, v1alpha1.SecretSyncAccount, a.opts.Audience, accountTTL)
	if err != nil {
		return nil, fmt.Errorf("cannot request a token of ServiceAccount %s/%s: %w", s.Namespace, v1alpha1.SecretSyncAccount, err)
	}
	asked := a.opts.Now()
	lease, err := srv.client.Login(ctx, openbao.RoleName(s.Namespace), jwt)
	if err != nil {
		return nil, err
	}
	return newLogin(lease, asked), nil
}

// newLogin is renewed when two thirds of its life are over, or up to a tenth before,
// so that what began together does not go on together.
func newLogin(lease openbao.Lease, asked time.Time) *login {
	l := &login{token: lease.Token}
	if lease.TTL > 0 {
		l.endsAt = asked.Add(lease.TTL)
		l.renewAt = asked.Add(early(lease.TTL * 2 / 3))
	}
	return l
}

// early is a duration or up to a tenth less.
func early(d time.Duration) time.Duration { return wait.Jitter(d*9/10, 1.0/9) }

func (a *Access) server(connection openbao.Connection) (*server, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if srv := a.servers[connection]; srv != nil {
		return srv, nil
	}
	client, err := openbao.New(connection, a.opts.Client)
	if err != nil {
		return nil, err
	}
	a.servers[connection] = &server{client: client}
	return a.servers[connection], nil
}

// namespace is the subject's from now on.
func (a *Access) namespace(s Subject) *namespace {
	a.mu.Lock()
	defer a.mu.Unlock()
	ns := a.entry(s)
	ns.owner, ns.used = s, a.opts.Now()
	return ns
}

// unlessTaken is the namespace of a subject; nil where another subject has the name, or
// has had it and nobody has come since.
func (a *Access) unlessTaken(s Subject) *namespace {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ns := a.entry(s); ns.owner == s {
		return ns
	}
	return nil
}

// entry is of the name of a subject's namespace: the subject's where nobody has had it.
// The caller has mu.
func (a *Access) entry(s Subject) *namespace {
	key := namespaceKey{s.Connection, s.Namespace}
	ns := a.namespaces[key]
	if ns == nil {
		ns = &namespace{owner: s, used: a.opts.Now()}
		a.namespaces[key] = ns
	}
	return ns
}

// takes makes what is known of a namespace the subject's, unless the name is another
// subject's by now. The caller has the namespace's gate.
func (a *Access) takes(ns *namespace, s Subject) bool {
	forgotten, ok := a.owns(ns, s)
	if ok && (forgotten || ns.subject != s) {
		ns.subject, ns.bound, ns.login = s, confirmation{}, nil
	}
	return ok
}

// owns is whether a namespace name is the subject's still, and whether it was
// forgotten in between. The caller has the namespace's gate.
func (a *Access) owns(ns *namespace, s Subject) (forgotten, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ns.owner != s || a.namespaces[namespaceKey{s.Connection, s.Namespace}] != ns {
		return false, false
	}
	forgotten, ns.forgotten = ns.forgotten, false
	return forgotten, true
}

func (a *Access) tenant(s Subject) *tenant {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := tenantKey{s.Connection, openbao.PolicyName(s.Tenant, s.TenantUID)}
	t := a.tenants[key]
	if t == nil {
		t = &tenant{}
		a.tenants[key] = t
	}
	return t
}
