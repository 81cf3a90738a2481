package forge

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// comment is on a pull request.
type comment struct {
	ID      int64     `json:"id"`
	Pull    int       `json:"pull"`
	Poster  string    `json:"poster"`
	Body    string    `json:"body"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// apiComment is what the API shows of it.
type apiComment struct {
	ID        int64     `json:"id"`
	HTMLURL   string    `json:"html_url"`
	User      apiUser   `json:"user"`
	Body      string    `json:"body"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func (s *Server) apiComment(repository string, c *comment) apiComment {
	return apiComment{
		ID: c.ID, HTMLURL: fmt.Sprintf("%s/%s/pulls/%d#issuecomment-%d", s.opts.URL, repository, c.Pull, c.ID),
		User: s.userOf(c.Poster), Body: c.Body, CreatedAt: c.Created, UpdatedAt: c.Updated,
	}
}

// listComments lists all, as Gitea does for one issue, or a page when asked for one.
func (s *Server) listComments(r *http.Request, _ string, _ bool) (int, any, error) {
	p, err := s.pullOf(r)
	if err != nil {
		return 0, nil, err
	}
	shown := []apiComment{}
	s.store.read(func(st *state) {
		for _, c := range st.Repositories[repositoryName(r)].Comments {
			if c.Pull == p.Number {
				shown = append(shown, s.apiComment(repositoryName(r), c))
			}
		}
	})
	return http.StatusOK, page(r, shown), nil
}

func (s *Server) createComment(r *http.Request, user string, _ bool) (int, any, error) {
	var in struct{ Body string }
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	p, err := s.pullOf(r)
	if err != nil {
		return 0, nil, err
	}
	if in.Body == "" {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "[Body]: Required")
	}
	now := s.now().UTC()
	made := &comment{Pull: p.Number, Poster: user, Body: in.Body, Created: now, Updated: now}
	var shown apiComment
	err = s.store.update(func(st *state) error {
		st.LastComment++
		made.ID = st.LastComment
		repo := st.Repositories[repositoryName(r)]
		repo.Comments = append(repo.Comments, made)
		shown = s.apiComment(repositoryName(r), made)
		return nil
	})
	return http.StatusCreated, shown, err
}

func (s *Server) editComment(r *http.Request, user string, admin bool) (int, any, error) {
	var in struct{ Body string }
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	var shown apiComment
	err := s.store.update(func(st *state) error {
		repo := st.Repositories[repositoryName(r)]
		i, err := repo.comment(r, user, admin)
		if err != nil {
			return err
		}
		repo.Comments[i].Body, repo.Comments[i].Updated = in.Body, s.now().UTC()
		shown = s.apiComment(repositoryName(r), repo.Comments[i])
		return nil
	})
	return http.StatusOK, shown, err
}

func (s *Server) deleteComment(r *http.Request, user string, admin bool) (int, any, error) {
	return http.StatusNoContent, nil, s.store.update(func(st *state) error {
		repo := st.Repositories[repositoryName(r)]
		i, err := repo.comment(r, user, admin)
		if err != nil {
			return err
		}
		repo.Comments = slices.Delete(repo.Comments, i, i+1)
		return nil
	})
}

// comment is the place of the one that a request names and that the user may change.
func (repo *repository) comment(r *http.Request, user string, admin bool) (int, error) {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	i := slices.IndexFunc(repo.Comments, func(c *comment) bool { return c.ID == id })
	if i < 0 {
		return 0, refuse(http.StatusNotFound, "The target couldn't be found.")
	}
	if !admin && repo.Comments[i].Poster != user {
		return 0, refuse(http.StatusForbidden, "the comment is someone else's")
	}
	return i, nil
}
