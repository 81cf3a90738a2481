package forge

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// noCommit stands for a ref that is not there.
var noCommit = strings.Repeat("0", 40)

// push is the payload of Gitea's push event: the fields that receivers read.
type push struct {
	Ref          string      `json:"ref"`
	Before       string      `json:"before"`
	After        string      `json:"after"`
	CompareURL   string      `json:"compare_url"`
	Commits      []commit    `json:"commits"`
	TotalCommits int         `json:"total_commits"`
	HeadCommit   *commit     `json:"head_commit"`
	Repository   pushedTo    `json:"repository"`
	Pusher       pushingUser `json:"pusher"`
	Sender       pushingUser `json:"sender"`
}

type commit struct {
	ID        string    `json:"id"`
	Message   string    `json:"message"`
	URL       string    `json:"url"`
	Author    signature `json:"author"`
	Committer signature `json:"committer"`
	Timestamp string    `json:"timestamp"`
}

type signature struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

type pushedTo struct {
	ID            int         `json:"id"`
	Owner         pushingUser `json:"owner"`
	Name          string      `json:"name"`
	FullName      string      `json:"full_name"`
	Private       bool        `json:"private"`
	HTMLURL       string      `json:"html_url"`
	CloneURL      string      `json:"clone_url"`
	DefaultBranch string      `json:"default_branch"`
	UpdatedAt     time.Time   `json:"updated_at"`
}

type pushingUser struct {
	Login    string `json:"login"`
	UserName string `json:"username"`
}

// announce delivers a webhook for each ref that a push changed.
func (s *Server) announce(name, user string, before, after map[string]string) {
	var repo repository
	s.store.read(func(st *state) {
		repo = *st.Repositories[name]
		repo.Hooks = slices.Clone(repo.Hooks)
	})
	refs := maps.Clone(before)
	maps.Copy(refs, after)
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if before[ref] == after[ref] {
			continue
		}
		s.opts.Log.Info("received a push", "repository", name, "ref", ref, "user", user, "before", before[ref], "after", after[ref])
		payload := s.payload(name, user, repo, ref, orNone(before[ref]), orNone(after[ref]))
		s.notify(repo.Hooks, "push", "push", payload)
	}
	s.followPush(name, user, after)
}

// notify delivers an event to the hooks that want it. The type says more than the
// event: pull_request_sync is a pull_request.
func (s *Server) notify(hooks []hook, event, eventType string, payload []byte) {
	for _, h := range hooks {
		if h.wants(event) {
			s.deliveries.Go(func() { s.deliver(h, event, eventType, payload) })
		}
	}
}

func orNone(commit string) string {
	if commit == "" {
		return noCommit
	}
	return commit
}

func (s *Server) payload(name, user string, repo repository, ref, before, after string) []byte {
	page := s.opts.URL + "/" + name
	commits := s.commits(name, page, before, after)
	event := push{
		Ref: ref, Before: before, After: after, CompareURL: page + "/compare/" + before + "..." + after,
		Commits: commits, TotalCommits: len(commits),
		Repository: s.pushedTo(name, repo),
		Pusher:     pushingUser{user, user},
		Sender:     pushingUser{user, user},
	}
	if len(commits) > 0 {
		event.HeadCommit = &commits[0]
	}
	data, err := json.MarshalIndent(event, "", "  ")
	if err != nil {
		panic(err) // strings and numbers only
	}
	return data
}

func (s *Server) pushedTo(name string, repo repository) pushedTo {
	org, short, _ := strings.Cut(name, "/")
	return pushedTo{
		ID: repo.ID, Owner: pushingUser{org, org}, Name: short, FullName: name, Private: true,
		HTMLURL: s.opts.URL + "/" + name, CloneURL: s.cloneURL(name), DefaultBranch: repo.DefaultBranch,
		UpdatedAt: s.now().UTC(),
	}
}

// maxCommits in a payload, as Gitea has it by default.
const maxCommits = 15

// commits are the newest that a push brought, newest first.
func (s *Server) commits(name, page, before, after string) []commit {
	commits := []commit{}
	if after == noCommit {
		return commits
	}
	args := []string{"log", fmt.Sprintf("--max-count=%d", maxCommits), "-z", "--format=%H%x1f%an%x1f%ae%x1f%cn%x1f%ce%x1f%cI%x1f%B", after}
	if before != noCommit {
		args = append(args, "^"+before)
	}
	out, err := s.run(s.ctx, name, args...)
	if err != nil {
		s.opts.Log.Error("cannot list the pushed commits", "repository", name, "error", err)
		return commits
	}
	for record := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		f := strings.SplitN(record, "\x1f", 7)
		if len(f) != 7 {
			continue
		}
		commits = append(commits, commit{
			ID: f[0], URL: page + "/commit/" + f[0], Timestamp: f[5], Message: f[6],
			Author: signature{f[1], f[2]}, Committer: signature{f[3], f[4]},
		})
	}
	return commits
}

// deliver sends an event once, as Gitea does: what is lost is made good by the
// interval of whoever listens.
func (s *Server) deliver(h hook, event, eventType string, payload []byte) {
	ctx, cancel := context.WithTimeout(s.ctx, deliveryTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(payload))
	if err != nil {
		s.opts.Log.Error("cannot deliver a webhook", "url", h.URL, "error", err)
		return
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	mac := hmac.New(sha256.New, []byte(h.Secret))
	mac.Write(payload)
	digest := hex.EncodeToString(mac.Sum(nil))
	mac1 := hmac.New(sha1.New, []byte(h.Secret))
	mac1.Write(payload)
	for name, value := range map[string]string{
		"Content-Type":        "application/json",
		"X-Gitea-Delivery":    hex.EncodeToString(id),
		"X-Gitea-Event":       event,
		"X-Gitea-Event-Type":  eventType,
		"X-Gitea-Signature":   digest,
		"X-GitHub-Delivery":   hex.EncodeToString(id),
		"X-GitHub-Event":      event,
		"X-GitHub-Event-Type": eventType,
		"X-Hub-Signature":     "sha1=" + hex.EncodeToString(mac1.Sum(nil)),
		"X-Hub-Signature-256": "sha256=" + digest,
	} {
		request.Header.Set(name, value)
	}
	response, err := s.hooks.Do(request)
	if err != nil {
		s.opts.Log.Error("cannot deliver a webhook", "url", h.URL, "error", err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	s.opts.Log.Info("delivered a webhook", "url", h.URL, "status", response.StatusCode)
}
