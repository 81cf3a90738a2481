package forge

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
)

// store is what the forge knows beside the repositories, kept in one file.
type store struct {
	mu   sync.Mutex
	path string
	data state
}

type state struct {
	// Users by name. Passwords are random and long, so that a plain hash keeps them.
	Users map[string]string `json:"users"`
	// Orgs by name.
	Orgs map[string]bool `json:"orgs"`
	// Repositories by "<org>/<repository>".
	Repositories map[string]*repository `json:"repositories"`
	// LastHook numbers the hooks.
	LastHook int `json:"lastHook"`
	// Tokens are the users that API tokens are of, by the token's hash.
	Tokens map[string]string `json:"tokens,omitempty"`
	// LastComment numbers the comments of all repositories, as Gitea does.
	LastComment int64 `json:"lastComment,omitempty"`
	// LastStatus numbers the commit statuses.
	LastStatus int64 `json:"lastStatus,omitempty"`
}

type repository struct {
	ID            int    `json:"id"`
	DefaultBranch string `json:"defaultBranch"`
	// Collaborators by name: read, write or admin.
	Collaborators map[string]string `json:"collaborators"`
	Hooks         []hook            `json:"hooks"`
	// Parent is the repository that this one was forked from.
	Parent string `json:"parent,omitempty"`
	// Pulls by their place: pull request n is Pulls[n-1].
	Pulls    []*pull    `json:"pulls,omitempty"`
	Comments []*comment `json:"comments,omitempty"`
	// Statuses by commit, oldest first.
	Statuses map[string][]status `json:"statuses,omitempty"`
	// Required are the contexts of the statuses that a merge waits for, by branch.
	Required map[string][]string `json:"required,omitempty"`
}

type hook struct {
	ID     int    `json:"id"`
	URL    string `json:"url"`
	Secret string `json:"secret"`
	// Events as Gitea names them: push, pull_request. None is push.
	Events []string `json:"events,omitempty"`
}

// wants is whether the hook is to be told of an event.
func (h hook) wants(event string) bool {
	return slices.Contains(h.Events, event) || len(h.Events) == 0 && event == "push"
}

func openStore(path string) (*store, error) {
	s := &store{path: path, data: state{
		Users: map[string]string{}, Orgs: map[string]bool{}, Repositories: map[string]*repository{},
		Tokens: map[string]string{},
	}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &s.data); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if s.data.Tokens == nil { // written by an older version
		s.data.Tokens = map[string]string{}
	}
	return s, nil
}

// read looks at the state.
func (s *store) read(look func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	look(&s.data)
}

// update changes the state and writes it, whole or not at all.
func (s *store) update(change func(*state) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := change(&s.data); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s.data, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path+".next", data, 0o600); err != nil {
		return err
	}
	return os.Rename(s.path+".next", s.path)
}

func (s *store) authenticates(name, password string) (ok bool) {
	s.read(func(st *state) {
		want, known := st.Users[name]
		ok = known && equal(hash(password), want)
	})
	return ok
}

// permission is what a user may do with a repository: "", read, write or admin.
func (s *store) permission(user, repo string) (permission string) {
	s.read(func(st *state) { permission = st.permission(user, repo) })
	return permission
}

func (st *state) permission(user, repo string) string {
	r := st.Repositories[repo]
	switch owner, _, _ := strings.Cut(repo, "/"); {
	case r == nil:
		return ""
	case owner == user:
		return "admin" // of one's own fork
	default:
		return r.Collaborators[user]
	}
}

// owner is whose an API token is.
func (s *store) owner(token string) (user string, ok bool) {
	s.read(func(st *state) { user, ok = st.Tokens[hash(token)] })
	return user, ok
}

func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// equal compares secrets in a time that tells nothing about them.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
