package forge

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"time"
)

// status is what someone says of a commit.
type status struct {
	ID          int64     `json:"id"`
	State       string    `json:"state"`
	TargetURL   string    `json:"targetURL"`
	Description string    `json:"description"`
	Context     string    `json:"context"`
	Creator     string    `json:"creator"`
	Created     time.Time `json:"created"`
}

// apiStatus is what the API shows of it; Gitea calls the state "status".
type apiStatus struct {
	ID          int64     `json:"id"`
	Status      string    `json:"status"`
	TargetURL   string    `json:"target_url"`
	Description string    `json:"description"`
	Context     string    `json:"context"`
	Creator     apiUser   `json:"creator"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

func (s *Server) apiStatus(st status) apiStatus {
	return apiStatus{
		ID: st.ID, Status: st.State, TargetURL: st.TargetURL, Description: st.Description, Context: st.Context,
		Creator: s.userOf(st.Creator), CreatedAt: st.Created, UpdatedAt: st.Created,
	}
}

// states, worst first: the combined state of a commit is its worst.
var states = []string{"error", "failure", "warning", "pending", "success"}

var commitRule = regexp.MustCompile(`^[0-9a-f]{40}$`)

func (s *Server) createStatus(r *http.Request, user string, _ bool) (int, any, error) {
	var in struct {
		State, Description, Context string
		TargetURL                   string `json:"target_url"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	sha := r.PathValue("sha")
	if !slices.Contains(states, in.State) {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "state: pending, success, error, failure or warning")
	}
	if !commitRule.MatchString(sha) {
		return 0, nil, refuse(http.StatusBadRequest, "sha: a full commit hash")
	}
	if _, err := s.run(r.Context(), repositoryName(r), "cat-file", "-e", sha+"^{commit}"); err != nil {
		return 0, nil, refuse(http.StatusNotFound, "no such commit")
	}
	made := status{
		State: in.State, TargetURL: in.TargetURL, Description: in.Description,
		Context: cmp.Or(in.Context, "default"), Creator: user, Created: s.now().UTC(),
	}
	err := s.store.update(func(st *state) error {
		st.LastStatus++
		made.ID = st.LastStatus
		repo := st.Repositories[repositoryName(r)]
		if repo.Statuses == nil {
			repo.Statuses = map[string][]status{}
		}
		repo.Statuses[sha] = append(repo.Statuses[sha], made)
		return nil
	})
	return http.StatusCreated, s.apiStatus(made), err
}

// listStatuses lists all that were ever set, newest first.
func (s *Server) listStatuses(r *http.Request, _ string, _ bool) (int, any, error) {
	shown := []apiStatus{}
	s.store.read(func(st *state) {
		for _, one := range slices.Backward(st.Repositories[repositoryName(r)].Statuses[r.PathValue("sha")]) {
			shown = append(shown, s.apiStatus(one))
		}
	})
	return http.StatusOK, page(r, shown), nil
}

// combinedStatus is the newest of each context, and the worst of them.
func (s *Server) combinedStatus(r *http.Request, _ string, _ bool) (int, any, error) {
	sha := r.PathValue("sha")
	newest := []apiStatus{}
	worst := len(states)
	s.store.read(func(st *state) {
		for _, one := range slices.Backward(st.Repositories[repositoryName(r)].Statuses[sha]) {
			if slices.ContainsFunc(newest, func(have apiStatus) bool { return have.Context == one.Context }) {
				continue
			}
			newest = append(newest, s.apiStatus(one))
			worst = min(worst, slices.Index(states, one.State))
		}
	})
	combined := ""
	if worst < len(states) {
		combined = states[worst]
	}
	return http.StatusOK, map[string]any{"state": combined, "sha": sha, "total_count": len(newest), "statuses": newest}, nil
}

// stateOf is the newest state of a context, "" for none.
func (repo *repository) stateOf(sha, context string) string {
	for _, one := range slices.Backward(repo.Statuses[sha]) {
		if one.Context == context {
			return one.State
		}
	}
	return ""
}
