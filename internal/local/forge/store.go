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
}

type repository struct {
	ID            int    `json:"id"`
	DefaultBranch string `json:"defaultBranch"`
	// Collaborators by name: read, write or admin.
	Collaborators map[string]string `json:"collaborators"`
	Hooks         []hook            `json:"hooks"`
}

type hook struct {
	ID     int    `json:"id"`
	URL    string `json:"url"`
	Secret string `json:"secret"`
}

func openStore(path string) (*store, error) {
	s := &store{path: path, data: state{
		Users: map[string]string{}, Orgs: map[string]bool{}, Repositories: map[string]*repository{},
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
	s.read(func(st *state) {
		if r := st.Repositories[repo]; r != nil {
			permission = r.Collaborators[user]
		}
	})
	return permission
}

func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// equal compares secrets in a time that tells nothing about them.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
