// Package forge is a small Git forge for the local platform and the tests, where
// Gitea is not at hand: Git's own http-backend over HTTP with basic
// authentication, webhooks, and as much of Gitea's API as the platform calls: of
// pull requests what a review of them needs. What talks to it cannot tell it from
// Gitea, and the platform runs Gitea instead when it is given one.
//
// It is not a forge for people: there are no pages and no SSH.
package forge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options of a Server.
type Options struct {
	// Dir holds the repositories and what is known of them.
	Dir string
	// URL that clients reach the server by, such as http://127.0.0.1:17444
	URL string
	// Admin may do everything.
	Admin Login
	// Log of pushes, deliveries and refusals.
	Log *slog.Logger
}

// Login is the name and the password of a user.
type Login struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// Server serves Git repositories over HTTP.
type Server struct {
	opts  Options
	git   string
	store *store
	mux   *http.ServeMux

	// pushes holds a lock a repository, so that what a push changed can be told
	// by its refs before and after.
	pushes sync.Map
	// deliveries are the webhooks under way.
	deliveries sync.WaitGroup
	hooks      *http.Client
	now        func() time.Time
	ctx        context.Context
	stop       context.CancelFunc
}

// deliveryTimeout is Gitea's default, DELIVER_TIMEOUT.
const deliveryTimeout = 5 * time.Second

// New opens the forge in a directory, which is made where it is missing.
func New(opts Options) (*Server, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("cannot serve Git: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(opts.Dir, "repositories"), 0o700); err != nil {
		return nil, err
	}
	st, err := openStore(filepath.Join(opts.Dir, "forge.json"))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		opts: opts, git: git, store: st, mux: http.NewServeMux(),
		hooks: &http.Client{Timeout: deliveryTimeout}, now: time.Now, ctx: ctx, stop: stop,
	}
	s.routeAPI()
	s.routeGit()
	return s, nil
}

// ServeHTTP answers Git's smart HTTP protocol and the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close waits for the webhooks under way, each of which ends in deliveryTimeout.
func (s *Server) Close() {
	s.deliveries.Wait()
	s.stop()
}

// caller is who makes a request: by basic authentication, with a password or an
// API token in its place, or by the token alone.
func (s *Server) caller(r *http.Request) (name string, admin, ok bool) {
	name, password, given := r.BasicAuth()
	if !given {
		kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if kind != "token" && kind != "Bearer" {
			return "", false, false
		}
		name, ok = s.store.owner(token)
		return name, ok && name == s.opts.Admin.Name, ok
	}
	if owner, known := s.store.owner(password); known {
		return owner, owner == s.opts.Admin.Name, true
	}
	if name == s.opts.Admin.Name {
		return name, true, equal(password, s.opts.Admin.Password)
	}
	return name, false, s.store.authenticates(name, password)
}

// challenge asks for a name and a password.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request) {
	if _, _, given := r.BasicAuth(); given {
		s.opts.Log.Info("refused a wrong name or password", "path", r.URL.Path)
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="Gitea"`)
	http.Error(w, "give the name and password that the credentials file holds", http.StatusUnauthorized)
}
