package forge

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// comment is one on a pull request.
type comment struct {
	id     int64
	author string
	body   string
	url    string
}

// comments is what each forge has of them.
type comments interface {
	// self is the name of the token's user.
	self(ctx context.Context) (string, error)
	// page returns comments, oldest first, and the next page; 0 after the last.
	page(ctx context.Context, n, page int) (found []comment, next int, err error)
	create(ctx context.Context, n int, body string) (url string, err error)
	edit(ctx context.Context, n int, id int64, body string) (url string, err error)
	remove(ctx context.Context, n int, id int64) error
}

// maxPages ends the search where a forge never says that a page is the last.
const maxPages = 10_000

// upsert keeps the first comment that is ours and removes the others: two runs
// may have made one at the same time.
func upsert(ctx context.Context, c comments, o *Options, n int, marker, body string) (string, error) {
	if marker == "" || !strings.HasPrefix(body, marker) {
		return "", errors.New("a comment must begin with its marker, or it is not found again")
	}
	ours, err := find(ctx, c, o, n, marker)
	if err != nil {
		return "", err
	}
	if len(ours) > 0 {
		first := ours[0]
		for _, extra := range ours[1:] {
			// What stays is old and below; the next run tries again.
			_ = c.remove(ctx, n, extra.id)
		}
		if first.body == body {
			return first.url, nil
		}
		url, err := c.edit(ctx, n, first.id, body)
		if !IsNotFound(err) {
			return url, o.explain(fmt.Sprintf("update the comment on #%d", n), err)
		}
		// Someone removed it meanwhile.
	}
	url, err := c.create(ctx, n, body)
	return url, o.explain(fmt.Sprintf("comment on #%d", n), err)
}

// find goes through all pages. A comment is ours when its author is the token's
// user: anyone can write a marker.
func find(ctx context.Context, c comments, o *Options, n int, marker string) ([]comment, error) {
	self, err := c.self(ctx)
	if err != nil {
		return nil, o.explain("ask whose the token is", err)
	}
	var ours []comment
	seen := map[int64]bool{}
	for page, count := 1, 0; page != 0 && count < maxPages; count++ {
		found, next, err := c.page(ctx, n, page)
		if err != nil {
			return nil, o.explain(fmt.Sprintf("list the comments on #%d", n), err)
		}
		fresh := false
		for _, one := range found {
			if seen[one.id] {
				continue
			}
			seen[one.id], fresh = true, true
			if strings.EqualFold(one.author, self) && strings.HasPrefix(strings.TrimSpace(one.body), marker) {
				ours = append(ours, one)
			}
		}
		if !fresh {
			break // the forge has no pages, and gave the same again
		}
		page = next
	}
	return ours, nil
}
