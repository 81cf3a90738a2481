package forge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// routeGit serves Git's smart HTTP protocol, under names with and without ".git".
func (s *Server) routeGit() {
	s.mux.HandleFunc("GET /{org}/{repo}/info/refs", func(w http.ResponseWriter, r *http.Request) {
		s.serveGit(w, r, "/info/refs", r.URL.Query().Get("service"))
	})
	for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
		s.mux.HandleFunc("POST /{org}/{repo}/"+service, func(w http.ResponseWriter, r *http.Request) {
			s.serveGit(w, r, "/"+service, service)
		})
	}
}

func (s *Server) serveGit(w http.ResponseWriter, r *http.Request, path, service string) {
	user, admin, ok := s.caller(r)
	if !ok {
		s.challenge(w, r)
		return
	}
	name := r.PathValue("org") + "/" + strings.TrimSuffix(r.PathValue("repo"), ".git")
	permission := s.store.permission(user, name)
	if admin {
		permission = "admin"
	}
	var known bool
	s.store.read(func(st *state) { known = st.Repositories[name] != nil })
	if !known || permission == "" {
		// As a forge does: who may not read a repository is not told that it exists.
		http.NotFound(w, r)
		return
	}
	if service == "git-receive-pack" && permission == "read" {
		http.Error(w, fmt.Sprintf("%s may read %s, not push to it", user, name), http.StatusForbidden)
		return
	}
	if err := withoutChunks(r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer func() { _ = r.Body.Close() }()

	backend := &cgi.Handler{
		Path: s.git,
		Args: []string{"http-backend"},
		Dir:  s.opts.Dir,
		Env: []string{
			"GIT_PROJECT_ROOT=" + s.opts.Dir + "/repositories",
			"GIT_HTTP_EXPORT_ALL=1",
			"GIT_PROTOCOL=" + r.Header.Get("Git-Protocol"),
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
			"REMOTE_USER=" + user,
		},
		Stderr: os.Stderr,
	}
	r.URL.Path = "/" + name + ".git" + path
	if path != "/git-receive-pack" {
		backend.ServeHTTP(w, r)
		return
	}

	unlock := s.lock(name)
	defer unlock()
	before := s.refs(r.Context(), name)
	backend.ServeHTTP(w, r)
	// The push stands even where its client has gone.
	s.announce(name, user, before, s.refs(context.WithoutCancel(r.Context()), name))
}

// lock keeps other pushes away from a repository.
func (s *Server) lock(name string) (unlock func()) {
	lock, _ := s.pushes.LoadOrStore(name, &sync.Mutex{})
	mutex, _ := lock.(*sync.Mutex)
	mutex.Lock()
	return mutex.Unlock
}

// withoutChunks puts a chunked body, which is how Git sends a large push, into a
// file: CGI needs its length. Closing the body removes it.
func withoutChunks(r *http.Request) error {
	if r.ContentLength >= 0 {
		return nil
	}
	file, err := os.CreateTemp("", "aether-push-*")
	if err != nil {
		return err
	}
	// Unlinked at once, so that nothing stays whatever happens.
	if err := os.Remove(file.Name()); err != nil {
		return err
	}
	size, err := io.Copy(file, r.Body)
	if err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_ = r.Body.Close()
	r.Body, r.ContentLength, r.TransferEncoding = file, size, nil
	return nil
}

// refs are the repository's branches and tags and what they point at.
func (s *Server) refs(ctx context.Context, name string) map[string]string {
	out, err := s.run(ctx, name, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags")
	if err != nil {
		s.opts.Log.Error("cannot list refs", "repository", name, "error", err)
		return nil
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		ref, commit, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[ref] = commit
	}
	return refs
}

// run runs git in a repository.
func (s *Server) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.git, append([]string{"-C", s.repositoryPath(name)}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return string(out), err
}
