package forge

import "context"

// History tells of commits how they came to be where they are. It takes a token
// that only reads.
type History interface {
	// MergedAs returns the pull request whose merge ended in a commit, with the head
	// that was merged, or nil where there is none.
	MergedAs(ctx context.Context, sha string) (*PullRequest, error)
	// StatusOf returns the newest status of a review on a commit, or nil where there is
	// none.
	StatusOf(ctx context.Context, sha string) (*Status, error)
	// SameFiles is whether two commits hold the same files.
	SameFiles(ctx context.Context, one, other string) (bool, error)
}

// Repository is all that can be asked of a repository.
type Repository interface {
	Forge
	History
}
