package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pull is a pull request, as it is stored.
type pull struct {
	Number int    `json:"number"`
	Title  string `json:"title"`
	Body   string `json:"body"`
	Poster string `json:"poster"`
	// Base is the branch to merge into.
	Base string `json:"base"`
	// HeadRepository is where Head is a branch: a fork, or the repository itself.
	HeadRepository string `json:"headRepository"`
	Head           string `json:"head"`
	// HeadCommit stays when the branch is deleted.
	HeadCommit string `json:"headCommit"`
	Closed     bool   `json:"closed"`
	// MergeCommit says that it is merged; BaseCommit is what was merged into.
	MergeCommit string    `json:"mergeCommit,omitempty"`
	BaseCommit  string    `json:"baseCommit,omitempty"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

func (p *pull) ref() string { return fmt.Sprintf("refs/pull/%d/head", p.Number) }

// What the API shows of users, branches and pull requests: the fields that
// clients read, under Gitea's names.
type (
	apiUser struct {
		ID       int64  `json:"id"`
		Login    string `json:"login"`
		UserName string `json:"username"`
	}
	apiBranch struct {
		Label      string    `json:"label"`
		Ref        string    `json:"ref"`
		SHA        string    `json:"sha"`
		RepoID     int       `json:"repo_id"`
		Repository *pushedTo `json:"repo"`
	}
	apiPull struct {
		ID             int       `json:"id"`
		Number         int       `json:"number"`
		User           apiUser   `json:"user"`
		Title          string    `json:"title"`
		Body           string    `json:"body"`
		State          string    `json:"state"`
		Mergeable      bool      `json:"mergeable"`
		Merged         bool      `json:"merged"`
		MergeCommitSHA *string   `json:"merge_commit_sha"`
		MergeBase      string    `json:"merge_base"`
		HTMLURL        string    `json:"html_url"`
		Base           apiBranch `json:"base"`
		Head           apiBranch `json:"head"`
		CreatedAt      time.Time `json:"created_at"`
		UpdatedAt      time.Time `json:"updated_at"`
	}
)

// routePulls serves pull requests, their comments and the statuses of commits.
func (s *Server) routePulls() {
	const repo = "/api/v1/repos/{org}/{repo}"
	for pattern, handler := range map[string]call{
		"POST " + repo + "/forks":                   s.may("read", s.fork),
		"GET " + repo + "/pulls":                    s.may("read", s.listPulls),
		"POST " + repo + "/pulls":                   s.may("read", s.openPull),
		"GET " + repo + "/pulls/{index}":            s.may("read", s.getPull),
		"PATCH " + repo + "/pulls/{index}":          s.may("write", s.editPull),
		"POST " + repo + "/pulls/{index}/merge":     s.may("write", s.mergePull),
		"GET " + repo + "/issues/{index}/comments":  s.may("read", s.listComments),
		"POST " + repo + "/issues/{index}/comments": s.may("read", s.createComment),
		"PATCH " + repo + "/issues/comments/{id}":   s.may("read", s.editComment),
		"DELETE " + repo + "/issues/comments/{id}":  s.may("read", s.deleteComment),
		"POST " + repo + "/statuses/{sha}":          s.may("write", s.createStatus),
		"GET " + repo + "/statuses/{sha}":           s.may("read", s.listStatuses),
		"GET " + repo + "/commits/{sha}/statuses":   s.may("read", s.listStatuses),
		"GET " + repo + "/commits/{sha}/status":     s.may("read", s.combinedStatus),
	} {
		s.mux.HandleFunc(pattern, s.user(handler))
	}
}

// may runs a call for those with at least a permission on the repository. To
// others it does not exist, as in a forge.
func (s *Server) may(least string, next call) call {
	ranks := []string{"", "read", "write", "admin"}
	return func(r *http.Request, user string, admin bool) (int, any, error) {
		var known bool
		var has string
		s.store.read(func(st *state) {
			_, err := st.repository(r)
			known = err == nil
			has = st.permission(user, repositoryName(r))
		})
		if admin {
			has = "admin"
		}
		if !known || has == "" {
			return 0, nil, refuse(http.StatusNotFound, "The target couldn't be found.")
		}
		if slices.Index(ranks, has) < slices.Index(ranks, least) {
			return 0, nil, refuse(http.StatusForbidden, "user should have a permission to "+least)
		}
		return next(r, user, has == "admin")
	}
}

func repositoryName(r *http.Request) string { return r.PathValue("org") + "/" + r.PathValue("repo") }

func (s *Server) userOf(name string) apiUser {
	return apiUser{ID: int64(crc32.ChecksumIEEE([]byte(name))), Login: name, UserName: name}
}

// fork makes a copy of a repository that is the caller's own.
func (s *Server) fork(r *http.Request, user string, _ bool) (int, any, error) {
	var in struct{ Name string }
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if in.Name == "" {
		in.Name = r.PathValue("repo")
	}
	if !validName(in.Name) {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "name: letters, digits, '-', '_' and '.'")
	}
	parent, name := repositoryName(r), user+"/"+in.Name
	var made repository
	err := s.store.update(func(st *state) error {
		if st.Repositories[name] != nil {
			return refuse(http.StatusConflict, "the repository already exists")
		}
		branch := st.Repositories[parent].DefaultBranch
		if err := s.initRepository(r.Context(), name, branch); err != nil {
			return err
		}
		if _, err := s.run(r.Context(), name, "fetch", "--quiet", s.repositoryPath(parent), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"); err != nil {
			return err
		}
		made = repository{ID: len(st.Repositories) + 1, DefaultBranch: branch, Collaborators: map[string]string{}, Parent: parent}
		st.Repositories[name] = &made
		return nil
	})
	return http.StatusAccepted, s.pushedTo(name, made), err
}

func (s *Server) openPull(r *http.Request, user string, _ bool) (int, any, error) {
	var in struct{ Head, Base, Title, Body string }
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	name := repositoryName(r)
	if in.Title == "" || in.Base == "" || in.Head == "" {
		return 0, nil, refuse(http.StatusUnprocessableEntity, "title, base and head are required")
	}
	// "<owner>:<branch>" is a branch of the owner's fork.
	headName, head := name, in.Head
	if owner, branch, forked := strings.Cut(in.Head, ":"); forked {
		headName, head = s.forkOf(name, owner), branch
	}
	_, errBase := s.branch(r.Context(), name, in.Base)
	commit, errHead := s.branch(r.Context(), headName, head)
	if errBase != nil || errHead != nil {
		return 0, nil, refuse(http.StatusNotFound, "no such branch: base "+in.Base+", head "+in.Head)
	}
	now := s.now().UTC()
	opened := &pull{
		Title: in.Title, Body: in.Body, Poster: user, Base: in.Base,
		HeadRepository: headName, Head: head, HeadCommit: commit, Created: now, Updated: now,
	}
	err := s.store.update(func(st *state) error {
		repo := st.Repositories[name]
		for _, p := range repo.Pulls {
			if !p.Closed && p.Base == opened.Base && p.Head == head && p.HeadRepository == headName {
				return refuse(http.StatusConflict, "pull request already exists for these targets")
			}
		}
		opened.Number = len(repo.Pulls) + 1
		repo.Pulls = append(repo.Pulls, opened)
		return s.fetchHead(r.Context(), name, opened)
	})
	if err != nil {
		return 0, nil, err
	}
	s.announcePull(name, user, "opened", opened.Number)
	return http.StatusCreated, s.apiPull(r.Context(), name, opened.Number), nil
}

// forkOf is the owner's fork of a repository: itself where the owner has both.
func (s *Server) forkOf(parent, owner string) (name string) {
	s.store.read(func(st *state) {
		for candidate, repo := range st.Repositories {
			org, _, _ := strings.Cut(candidate, "/")
			if org == owner && (candidate == parent || repo.Parent == parent) {
				name = candidate
			}
		}
	})
	return name
}

// branch is the commit of a branch.
func (s *Server) branch(ctx context.Context, name, branch string) (string, error) {
	if name == "" || branch == "" || strings.HasPrefix(branch, "-") {
		return "", errors.New("no such branch")
	}
	out, err := s.run(ctx, name, "rev-parse", "--verify", "--quiet", "refs/heads/"+branch+"^{commit}")
	return strings.TrimSpace(out), err
}

// fetchHead brings a pull request's commits into its repository, below refs/pull.
func (s *Server) fetchHead(ctx context.Context, name string, p *pull) error {
	if p.HeadRepository != name {
		if _, err := s.run(ctx, name, "fetch", "--quiet", "--no-tags", s.repositoryPath(p.HeadRepository), "+refs/heads/"+p.Head+":"+p.ref()); err != nil {
			return err
		}
	}
	_, err := s.run(ctx, name, "update-ref", p.ref(), p.HeadCommit)
	return err
}

// followPush moves the open pull requests whose branch was pushed.
func (s *Server) followPush(pushed, user string, after map[string]string) {
	type moved struct {
		name   string
		number int
	}
	var all []moved
	err := s.store.update(func(st *state) error {
		for name, repo := range st.Repositories {
			for _, p := range repo.Pulls {
				commit := after["refs/heads/"+p.Head]
				if p.Closed || p.HeadRepository != pushed || commit == "" || commit == p.HeadCommit {
					continue
				}
				p.HeadCommit, p.Updated = commit, s.now().UTC()
				if err := s.fetchHead(s.ctx, name, p); err != nil {
					return err
				}
				all = append(all, moved{name, p.Number})
			}
		}
		return nil
	})
	if err != nil {
		s.opts.Log.Error("cannot move a pull request", "repository", pushed, "error", err)
	}
	for _, m := range all {
		s.announcePull(m.name, user, "synchronized", m.number)
	}
}

// announcePull delivers a pull_request event, as Gitea does.
func (s *Server) announcePull(name, user, action string, number int) {
	var repo repository
	s.store.read(func(st *state) {
		repo = *st.Repositories[name]
		repo.Hooks = slices.Clone(repo.Hooks)
	})
	shown := s.apiPull(s.ctx, name, number)
	payload, err := json.MarshalIndent(map[string]any{
		"action": action, "number": number, "pull_request": shown,
		"repository": s.pushedTo(name, repo), "sender": s.userOf(user), "commit_id": shown.Head.SHA, "review": nil,
	}, "", "  ")
	if err != nil {
		panic(err) // strings, numbers and times only
	}
	eventType := "pull_request"
	if action == "synchronized" {
		eventType = "pull_request_sync"
	}
	s.notify(repo.Hooks, "pull_request", eventType, payload)
}

// pullOf is the pull request that a request names, copied.
func (s *Server) pullOf(r *http.Request) (pull, error) {
	index, err := strconv.Atoi(r.PathValue("index"))
	if err != nil {
		return pull{}, refuse(http.StatusNotFound, "The target couldn't be found.")
	}
	var found *pull
	s.store.read(func(st *state) {
		if pulls := st.Repositories[repositoryName(r)].Pulls; index >= 1 && index <= len(pulls) {
			copied := *pulls[index-1]
			found = &copied
		}
	})
	if found == nil {
		return pull{}, refuse(http.StatusNotFound, "The target couldn't be found.")
	}
	return *found, nil
}

// apiPull shows a pull request. Its base is the branch as it is now until it is merged.
func (s *Server) apiPull(ctx context.Context, name string, number int) apiPull {
	var p pull
	var repo, head repository
	s.store.read(func(st *state) {
		repo = *st.Repositories[name]
		p = *repo.Pulls[number-1]
		head = *st.Repositories[p.HeadRepository]
	})
	base := p.BaseCommit
	if base == "" {
		base, _ = s.branch(ctx, name, p.Base)
	}
	mergeBase, _ := s.run(ctx, name, "merge-base", base, p.HeadCommit)
	here, there := s.pushedTo(name, repo), s.pushedTo(p.HeadRepository, head)
	shown := apiPull{
		ID: number, Number: number, User: s.userOf(p.Poster), Title: p.Title, Body: p.Body, State: "open",
		Mergeable: !p.Closed, Merged: p.MergeCommit != "", MergeBase: strings.TrimSpace(mergeBase),
		HTMLURL:   fmt.Sprintf("%s/%s/pulls/%d", s.opts.URL, name, number),
		Base:      apiBranch{Label: p.Base, Ref: p.Base, SHA: base, RepoID: repo.ID, Repository: &here},
		Head:      apiBranch{Label: p.Head, Ref: p.Head, SHA: p.HeadCommit, RepoID: head.ID, Repository: &there},
		CreatedAt: p.Created, UpdatedAt: p.Updated,
	}
	if p.Closed {
		shown.State = "closed"
	}
	if shown.Merged {
		shown.MergeCommitSHA = &p.MergeCommit
	}
	return shown
}

func (s *Server) getPull(r *http.Request, _ string, _ bool) (int, any, error) {
	p, err := s.pullOf(r)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.apiPull(r.Context(), repositoryName(r), p.Number), nil
}

func (s *Server) listPulls(r *http.Request, _ string, _ bool) (int, any, error) {
	want := r.URL.Query().Get("state")
	if want == "" {
		want = "open"
	}
	var numbers []int
	s.store.read(func(st *state) {
		for _, p := range slices.Backward(st.Repositories[repositoryName(r)].Pulls) {
			if want == "all" || p.Closed == (want == "closed") {
				numbers = append(numbers, p.Number)
			}
		}
	})
	shown := []apiPull{}
	for _, n := range page(r, numbers) {
		shown = append(shown, s.apiPull(r.Context(), repositoryName(r), n))
	}
	return http.StatusOK, shown, nil
}

// editPull changes title, body and state.
func (s *Server) editPull(r *http.Request, user string, _ bool) (int, any, error) {
	var in struct{ Title, Body, State *string }
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	p, err := s.pullOf(r)
	if err != nil {
		return 0, nil, err
	}
	name, action := repositoryName(r), "edited"
	err = s.store.update(func(st *state) error {
		stored := st.Repositories[name].Pulls[p.Number-1]
		if in.Title != nil {
			stored.Title = *in.Title
		}
		if in.Body != nil {
			stored.Body = *in.Body
		}
		if in.State != nil {
			if stored.MergeCommit != "" {
				return refuse(http.StatusPreconditionFailed, "cannot change state of this pull request, it was already merged")
			}
			stored.Closed = *in.State == "closed"
			action = map[bool]string{true: "closed", false: "reopened"}[stored.Closed]
		}
		stored.Updated = s.now().UTC()
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	s.announcePull(name, user, action, p.Number)
	return http.StatusCreated, s.apiPull(r.Context(), name, p.Number), nil
}

// mergePull merges with a merge commit, once the statuses that the branch
// requires are there.
func (s *Server) mergePull(r *http.Request, user string, _ bool) (int, any, error) {
	var in struct {
		Do           string
		HeadCommitID string `json:"head_commit_id"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	p, err := s.pullOf(r)
	if err != nil {
		return 0, nil, err
	}
	name := repositoryName(r)
	// A push to the branch meanwhile would be lost.
	unlock := s.lock(name)
	defer unlock()

	var missing []string
	s.store.read(func(st *state) {
		repo := st.Repositories[name]
		for _, context := range repo.Required[p.Base] {
			if repo.stateOf(p.HeadCommit, context) != "success" {
				missing = append(missing, context)
			}
		}
	})
	switch {
	case in.Do != "merge":
		return 0, nil, refuse(http.StatusUnprocessableEntity, "Do: only merge is there")
	case p.Closed:
		return 0, nil, refuse(http.StatusMethodNotAllowed, "the pull request is closed")
	case in.HeadCommitID != "" && in.HeadCommitID != p.HeadCommit:
		return 0, nil, refuse(http.StatusConflict, "head out of date")
	case len(missing) > 0:
		return 0, nil, refuse(http.StatusMethodNotAllowed, "Not all required status checks successful: "+strings.Join(missing, ", "))
	}

	before := s.refs(r.Context(), name)
	base, err := s.branch(r.Context(), name, p.Base)
	if err != nil {
		return 0, nil, err
	}
	tree, err := s.run(r.Context(), name, "merge-tree", "--write-tree", base, p.HeadCommit)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return 0, nil, refuse(http.StatusConflict, "merge conflict")
	}
	if err != nil {
		return 0, nil, err
	}
	message := fmt.Sprintf("Merge pull request '%s' (#%d) from %s into %s", p.Title, p.Number, p.Head, p.Base)
	identity := []string{"-c", "user.name=" + user, "-c", "user.email=" + user + "@localhost.localdomain"}
	commit, err := s.run(r.Context(), name, append(identity, "commit-tree", strings.TrimSpace(tree), "-p", base, "-p", p.HeadCommit, "-m", message)...)
	if err != nil {
		return 0, nil, err
	}
	commit = strings.TrimSpace(commit)
	if _, err := s.run(r.Context(), name, "update-ref", "refs/heads/"+p.Base, commit, base); err != nil {
		return 0, nil, err
	}
	err = s.store.update(func(st *state) error {
		stored := st.Repositories[name].Pulls[p.Number-1]
		stored.Closed, stored.MergeCommit, stored.BaseCommit, stored.Updated = true, commit, base, s.now().UTC()
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	s.announcePull(name, user, "closed", p.Number)
	s.announce(name, user, before, s.refs(context.WithoutCancel(r.Context()), name))
	return http.StatusOK, nil, nil
}

// protectBranch names the statuses that a merge into a branch waits for.
func (s *Server) protectBranch(r *http.Request) (int, any, error) {
	var in struct {
		RuleName            string   `json:"rule_name"`
		BranchName          string   `json:"branch_name"`
		EnableStatusCheck   bool     `json:"enable_status_check"`
		StatusCheckContexts []string `json:"status_check_contexts"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if in.RuleName == "" {
		in.RuleName = in.BranchName
	}
	if !in.EnableStatusCheck {
		in.StatusCheckContexts = nil
	}
	return http.StatusCreated, in, s.store.update(func(st *state) error {
		repo, err := st.repository(r)
		if err != nil {
			return err
		}
		if repo.Required == nil {
			repo.Required = map[string][]string{}
		}
		repo.Required[in.RuleName] = in.StatusCheckContexts
		return nil
	})
}

// page cuts a list as Gitea does: by page and limit, where the caller gives them.
func page[T any](r *http.Request, all []T) []T {
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	if limit <= 0 && number <= 0 {
		return all
	}
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	from := min((max(number, 1)-1)*limit, len(all))
	return all[from:min(from+limit, len(all))]
}

// maxPage is Gitea's MAX_RESPONSE_ITEMS.
const maxPage = 50
