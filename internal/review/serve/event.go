package serve

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/aetherplatform/aether/internal/forge"
)

// event is what a delivery says, in one shape for all forges.
type event struct {
	what       what
	repository string
	// number and head of a pull request.
	number int
	head   string
	// ref that was pushed.
	ref string
}

type what int

const (
	// nothing that concerns us.
	nothing what = iota
	// changed: a pull request was opened, or has a new head or base.
	changed
	// closed: a pull request is closed or merged.
	closed
	// pushed: a branch has a new commit.
	pushed
)

// genuine is whether a delivery comes from the forge. Each kind of forge proves it
// in its own way, and only that way counts.
func genuine(kind forge.Kind, header http.Header, body, secret []byte) bool {
	if len(secret) == 0 {
		return false
	}
	if kind == forge.GitLab {
		// GitLab sends the secret itself; of hashes, not even the length is told.
		given, want := sha256.Sum256([]byte(header.Get("X-Gitlab-Token"))), sha256.Sum256(secret)
		return subtle.ConstantTimeCompare(given[:], want[:]) == 1
	}
	return signed(header, body, secret)
}

// signed is whether the body carries a signature made with the secret, as Gitea
// and GitHub sign it.
func signed(header http.Header, body, secret []byte) bool {
	given := strings.TrimPrefix(header.Get("X-Hub-Signature-256"), "sha256=")
	if own := header.Get("X-Gitea-Signature"); own != "" {
		given = own
	}
	got, err := hex.DecodeString(given)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}

// deliveryOf is the name that the forge gave to a delivery.
func deliveryOf(kind forge.Kind, header http.Header) string {
	switch kind {
	case forge.GitLab:
		return header.Get("X-Gitlab-Event-Uuid")
	case forge.GitHub:
		return header.Get("X-Github-Delivery")
	default:
		return header.Get("X-Gitea-Delivery")
	}
}

// parse reads a delivery. Only numbers, hashes and names that are compared with
// configured ones are taken from it.
func parse(kind forge.Kind, header http.Header, body []byte) (event, error) {
	switch kind {
	case forge.GitLab:
		return parseGitLab(body)
	case forge.GitHub:
		return parseGitea(header.Get("X-Github-Event"), body)
	default:
		return parseGitea(header.Get("X-Gitea-Event"), body)
	}
}

// parseGitea reads Gitea's events, and GitHub's, which Gitea's are made after.
func parseGitea(name string, body []byte) (event, error) {
	if name != "push" && name != "pull_request" && name != "pull_request_sync" {
		return event{}, nil
	}
	var in struct {
		Action     string
		Number     int
		Ref        string
		Repository struct {
			FullName string `json:"full_name"`
		}
		PullRequest struct{ Head struct{ SHA string } } `json:"pull_request"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return event{}, fmt.Errorf("cannot read the %s event: %w", name, err)
	}
	e := event{repository: in.Repository.FullName, number: in.Number, head: in.PullRequest.Head.SHA, ref: in.Ref}
	if name == "push" {
		e.what = pushed
		return e, nil
	}
	switch in.Action {
	case "opened", "reopened", "synchronize", "synchronized", "edited":
		e.what = changed
	case "closed":
		e.what = closed
	}
	return e, nil
}

func parseGitLab(body []byte) (event, error) {
	var in struct {
		Kind    string `json:"object_kind"`
		Ref     string
		Project struct {
			Path string `json:"path_with_namespace"`
		}
		Attributes struct {
			IID        int
			Action     string
			LastCommit struct{ ID string } `json:"last_commit"`
		} `json:"object_attributes"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return event{}, fmt.Errorf("cannot read the event: %w", err)
	}
	e := event{repository: in.Project.Path, number: in.Attributes.IID, head: in.Attributes.LastCommit.ID, ref: in.Ref}
	switch {
	case in.Kind == "push":
		e.what = pushed
	case in.Kind != "merge_request":
	case in.Attributes.Action == "open" || in.Attributes.Action == "reopen" || in.Attributes.Action == "update":
		e.what = changed
	case in.Attributes.Action == "close" || in.Attributes.Action == "merge":
		e.what = closed
	}
	return e, nil
}
