package forge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
)

// Version is what the API reports; the platform prints it.
const Version = "stand-in"

// routeAPI serves what the platform calls of Gitea's API, /api/v1, with Gitea's
// status codes.
func (s *Server) routeAPI() {
	s.mux.HandleFunc("GET /api/healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]string{"status": "pass"})
	})
	s.mux.HandleFunc("GET /api/v1/version", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]string{"version": Version})
	})
	s.mux.HandleFunc("POST /api/v1/admin/users", s.admin(s.createUser))
	s.mux.HandleFunc("POST /api/v1/orgs", s.admin(s.createOrg))
	s.mux.HandleFunc("POST /api/v1/orgs/{org}/repos", s.admin(s.createRepository))
	s.mux.HandleFunc("PUT /api/v1/repos/{org}/{repo}/collaborators/{user}", s.admin(s.addCollaborator))
	s.mux.HandleFunc("POST /api/v1/repos/{org}/{repo}/hooks", s.admin(s.createHook))
	s.mux.HandleFunc("POST /api/v1/repos/{org}/{repo}/branch_protections", s.admin(s.protectBranch))

	s.mux.HandleFunc("GET /api/v1/user", s.user(s.getUser))
	s.mux.HandleFunc("POST /api/v1/users/{user}/tokens", s.user(s.createToken))
	s.routePulls()
}

// A refusal is an error that the API answers with its own status.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

func refuse(status int, message string) error { return &refusal{status, message} }

// A call answers one request of the API.
type call func(r *http.Request, user string, admin bool) (status int, body any, err error)

// admin runs a call for the administrator and answers with what it returns.
func (s *Server) admin(call func(*http.Request) (status int, body any, err error)) http.HandlerFunc {
	return s.user(func(r *http.Request, _ string, admin bool) (int, any, error) {
		if !admin {
			return 0, nil, refuse(http.StatusForbidden, "only the administrator may do this")
		}
		return call(r)
	})
}

// user runs a call for whoever has signed in.
func (s *Server) user(call call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, admin, ok := s.caller(r)
		if !ok {
			s.challenge(w, r)
			return
		}
		status, body, err := call(r, user, admin)
		if refused := (*refusal)(nil); errors.As(err, &refused) {
			reply(w, refused.status, map[string]string{"message": refused.message})
			return
		}
		if err != nil {
			s.opts.Log.Error("cannot answer", "path", r.URL.Path, "error", err)
			reply(w, http.StatusInternalServerError, map[string]string{"message": err.Error()})
			return
		}
		reply(w, status, body)
	}
}

func (s *Server) getUser(_ *http.Request, user string, _ bool) (int, any, error) {
	return http.StatusOK, s.userOf(user), nil
}

// createToken makes an API token for the one who asks.
func (s *Server) createToken(r *http.Request, user string, _ bool) (int, any, error) {
	var in struct{ Name string }
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if r.PathValue("user") != user {
		return 0, nil, refuse(http.StatusForbidden, "a token is made by its own user")
	}
	secret := make([]byte, 20)
	_, _ = rand.Read(secret) // never fails
	token := hex.EncodeToString(secret)
	return http.StatusCreated, map[string]any{"id": 1, "name": in.Name, "sha1": token, "token_last_eight": token[32:]},
		s.store.update(func(st *state) error {
			st.Tokens[hash(token)] = user
			return nil
		})
}

func (s *Server) createUser(r *http.Request) (int, any, error) {
	var in struct{ Username, Email, Password string }
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if !validName(in.Username) || in.Password == "" {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "username: letters, digits, '-', '_' and '.'; password: not empty")
	}
	return http.StatusCreated, map[string]string{"login": in.Username}, s.store.update(func(st *state) error {
		if _, there := st.Users[in.Username]; there || in.Username == s.opts.Admin.Name {
			return refuse(http.StatusUnprocessableEntity, "user already exists")
		}
		st.Users[in.Username] = hash(in.Password)
		return nil
	})
}

func (s *Server) createOrg(r *http.Request) (int, any, error) {
	var in struct{ Username string }
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if !validName(in.Username) {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "username: letters, digits, '-', '_' and '.'")
	}
	return http.StatusCreated, map[string]string{"username": in.Username}, s.store.update(func(st *state) error {
		if st.Orgs[in.Username] {
			return refuse(http.StatusUnprocessableEntity, "user already exists")
		}
		st.Orgs[in.Username] = true
		return nil
	})
}

func (s *Server) createRepository(r *http.Request) (int, any, error) {
	in := struct {
		Name          string
		DefaultBranch string `json:"default_branch"`
	}{DefaultBranch: "main"}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	org := r.PathValue("org")
	if !validName(in.Name) || !validName(in.DefaultBranch) {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "name and default_branch: letters, digits, '-', '_' and '.'")
	}
	name := org + "/" + in.Name
	return http.StatusCreated, map[string]string{"full_name": name, "clone_url": s.cloneURL(name)}, s.store.update(func(st *state) error {
		if !st.Orgs[org] {
			return refuse(http.StatusNotFound, "no such organisation: "+org)
		}
		if st.Repositories[name] != nil {
			return refuse(http.StatusConflict, "the repository already exists")
		}
		if err := s.initRepository(r.Context(), name, in.DefaultBranch); err != nil {
			return err
		}
		st.Repositories[name] = &repository{
			ID: len(st.Repositories) + 1, DefaultBranch: in.DefaultBranch, Collaborators: map[string]string{},
		}
		return nil
	})
}

// initRepository makes an empty repository on disk.
func (s *Server) initRepository(ctx context.Context, name, branch string) error {
	path := s.repositoryPath(name)
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=" + branch, path},
		// A push must not wait for housekeeping, and these repositories stay small.
		{"-C", path, "config", "receive.autogc", "false"},
		// The forge alone writes the heads of pull requests.
		{"-C", path, "config", "receive.hideRefs", "refs/pull"},
		// A CI job asks for the very commit of an event, which may be no ref's any more.
		{"-C", path, "config", "uploadpack.allowReachableSHA1InWant", "true"},
	} {
		if out, err := exec.CommandContext(ctx, s.git, args...).CombinedOutput(); err != nil {
			return errors.Join(err, errors.New(string(out)))
		}
	}
	return nil
}

func (s *Server) addCollaborator(r *http.Request) (int, any, error) {
	in := struct{ Permission string }{"write"}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if in.Permission != "read" && in.Permission != "write" && in.Permission != "admin" {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "permission: read, write or admin")
	}
	return http.StatusNoContent, nil, s.store.update(func(st *state) error {
		repo, err := st.repository(r)
		if err != nil {
			return err
		}
		user := r.PathValue("user")
		if _, there := st.Users[user]; !there {
			return refuse(http.StatusUnprocessableEntity, "no such user: "+user)
		}
		repo.Collaborators[user] = in.Permission
		return nil
	})
}

func (s *Server) createHook(r *http.Request) (int, any, error) {
	var in struct {
		Config struct{ URL, Secret string }
		Events []string
	}
	in.Events = []string{"push"}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if in.Config.URL == "" {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "config.url is missing")
	}
	created := hook{URL: in.Config.URL, Secret: in.Config.Secret, Events: in.Events}
	err := s.store.update(func(st *state) error {
		repo, err := st.repository(r)
		if err != nil {
			return err
		}
		st.LastHook++
		created.ID = st.LastHook
		repo.Hooks = append(repo.Hooks, created)
		return nil
	})
	return http.StatusCreated, map[string]any{"id": created.ID, "type": "gitea", "events": in.Events, "active": true}, err
}

// repository is the one that a request's path names.
func (st *state) repository(r *http.Request) (*repository, error) {
	repo := st.Repositories[r.PathValue("org")+"/"+r.PathValue("repo")]
	if repo == nil {
		return nil, refuse(http.StatusNotFound, "no such repository")
	}
	return repo, nil
}

func (s *Server) repositoryPath(name string) string {
	return filepath.Join(s.opts.Dir, "repositories", filepath.FromSlash(name)+".git")
}

func (s *Server) cloneURL(name string) string { return s.opts.URL + "/" + name + ".git" }

var nameRule = regexp.MustCompile(`^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$`)

// validName keeps a name from leaving its folder.
func validName(name string) bool { return len(name) <= 100 && nameRule.MatchString(name) }

// maxRequest bounds the body of an API call, in bytes.
const maxRequest = 1 << 20

func read(r *http.Request, into any) error {
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRequest)).Decode(into); err != nil {
		return refuse(http.StatusBadRequest, "cannot read the body: "+err.Error())
	}
	return nil
}

func reply(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone when this fails
}
