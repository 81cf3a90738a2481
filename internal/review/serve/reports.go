package serve

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review"
)

// ReportsPath is below which reports are served.
const ReportsPath = "/reports/"

// Endings of a report's file, and of one that is being written.
const (
	reportEnding = ".html"
	partEnding   = ".part"
)

// Reports keeps the whole report of each review, for the comment to link to: a
// comment has a limit. Its address cannot be guessed and is told in the comment only,
// so that whoever may read the pull request may read it.
type Reports struct {
	dir   string
	url   string
	most  int
	key   []byte
	write func(io.Writer, *review.Report) error
}

// NewReports keeps at most so many reports in a folder, and links to them at the
// address by which people reach the server.
func NewReports(dir, url string, most int, write func(io.Writer, *review.Report) error) (*Reports, error) {
	if most <= 0 {
		return nil, fmt.Errorf("at least one report is to be kept, not %d", most)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), partEnding) { // left by a server that was killed
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	key := make([]byte, sha256.Size)
	_, err = rand.Read(key)
	return &Reports{dir: dir, url: strings.TrimSuffix(url, "/"), most: most, key: key, write: write}, err
}

// Keep writes a report of a pull request of a repository, and returns its address:
// the same for the same commits, so that a review made again says nothing new.
func (r *Reports) Keep(repository string, pr *forge.PullRequest, report *review.Report) (string, error) {
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "%q %d %q %q", repository, pr.Number, report.Base.Commit, report.Head.Commit)
	name := hex.EncodeToString(mac.Sum(nil)[:16]) + reportEnding
	// Who has the address of an unfinished one sees none.
	f, err := os.CreateTemp(r.dir, "*"+partEnding)
	if err != nil {
		return "", err
	}
	err = errors.Join(r.write(f, report), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(r.dir, name))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return r.url + ReportsPath + name, r.forget()
}

// forget removes the oldest reports where there are too many.
func (r *Reports) forget() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	var kept []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), reportEnding) {
			kept = append(kept, info)
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, old := range kept[:max(0, len(kept)-r.most)] {
		if err := os.Remove(filepath.Join(r.dir, old.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ServeHTTP shows a report. The page has a policy of its own against whatever is not
// its own; here it is also kept from being framed, indexed, kept by others and told on.
func (r *Reports) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	name := strings.TrimPrefix(request.URL.Path, ReportsPath)
	digits, isReport := strings.CutSuffix(name, reportEnding)
	if _, err := hex.DecodeString(digits); err != nil || !isReport || len(digits) != 32 {
		http.NotFound(w, request)
		return
	}
	f, err := os.OpenInRoot(r.dir, name)
	if err != nil {
		http.Error(w, "this report is not kept any more: the newest review of the pull request links to its own, and `aether diff` makes any anew", http.StatusNotFound)
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, "cannot read the report", http.StatusInternalServerError)
		return
	}
	for name, value := range map[string]string{
		"Content-Type":            "text/html; charset=utf-8",
		"Content-Security-Policy": "sandbox allow-scripts; frame-ancestors 'none'",
		"X-Content-Type-Options":  "nosniff",
		"X-Robots-Tag":            "noindex",
		"Referrer-Policy":         "no-referrer",
		"Cache-Control":           "private",
	} {
		w.Header().Set(name, value)
	}
	http.ServeContent(w, request, "", info.ModTime(), f)
}
