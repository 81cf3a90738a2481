package sources

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
)

func (r *Reconciler) artifacts() string { return filepath.Join(r.Dir, "artifacts") }

// ServeHTTP serves the artifacts, as files of their own only: no folder is listed.
func (r *Reconciler) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if !strings.HasSuffix(request.URL.Path, ".tar.gz") {
		http.NotFound(w, request)
		return
	}
	http.FileServer(http.Dir(r.artifacts())).ServeHTTP(w, request)
}

// keep removes a repository's artifacts but the one that is told of now and the
// one before, which someone may be fetching.
func (r *Reconciler) keep(artifacts ...*meta.Artifact) {
	var names []string
	var folder string
	for _, a := range artifacts {
		if a != nil {
			folder = filepath.Join(r.artifacts(), filepath.Dir(a.Path))
			names = append(names, filepath.Base(a.Path))
		}
	}
	if len(names) < 2 || names[0] == names[1] {
		return // nothing new
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return // the next artifact tries again
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			_ = os.Remove(filepath.Join(folder, e.Name()))
		}
	}
}
