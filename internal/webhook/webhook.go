// Package webhook receives a forge's push events and makes Flux fetch at once.
//
// It does what a Receiver of Flux's notification-controller does, for places
// without one, such as the local platform: it verifies the event's signature and
// annotates the GitRepositories it was told of. It believes nothing else that an
// event says: what is fetched, and from where, is the GitRepository's to decide.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Receiver is an http.Handler for push events of Gitea, Forgejo and GitHub.
type Receiver struct {
	// Secret that the forge signs its events with.
	Secret []byte
	// Sources to fetch when an event arrives.
	Sources []client.ObjectKey
	// Client annotates them; it needs the verb patch on gitrepositories.
	Client client.Writer
	// Now is the clock; a source is fetched once for each time it tells.
	Now func() time.Time
	Log *slog.Logger
}

// maxEvent bounds an event, in bytes. A push of thousands of commits stays below.
const maxEvent = 10 << 20

// ServeHTTP answers 200 once every source is asked to fetch, 401 where the
// signature is wrong.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST push events here", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(w, fmt.Sprintf("the event is larger than %d bytes", tooLarge.Limit), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "cannot read the event", http.StatusBadRequest)
		return
	}
	if !Signed(r.Header, body, rc.Secret) {
		rc.Log.Info("refused an event whose signature is wrong or missing", "from", r.RemoteAddr)
		http.Error(w, "the signature is wrong or missing: set the webhook's secret", http.StatusUnauthorized)
		return
	}
	switch event := eventOf(r.Header); event {
	case "push":
	case "ping":
		return
	default:
		http.Error(w, fmt.Sprintf("%q events are of no interest here: send push events only", event), http.StatusBadRequest)
		return
	}
	if err := rc.Fetch(r.Context()); err != nil {
		rc.Log.Error("cannot pass an event on", "error", err)
		http.Error(w, "cannot pass the event on; the sources' own interval makes it good", http.StatusInternalServerError)
	}
}

// Fetch asks Flux to reconcile every source now.
func (rc *Receiver) Fetch(ctx context.Context) error {
	now := rc.Now().UTC().Format(time.RFC3339Nano)
	patch := client.RawPatch("application/merge-patch+json",
		fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, now))
	var failed error
	for _, key := range rc.Sources {
		source := &sourcev1.GitRepository{}
		source.Name, source.Namespace = key.Name, key.Namespace
		err := rc.Client.Patch(ctx, source, patch)
		if apierrors.IsNotFound(err) {
			rc.Log.Info("no source to fetch yet", "source", key)
			continue
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("cannot annotate GitRepository %s: %w", key, err))
		}
	}
	return failed
}

// Signed is whether the body carries a signature made with the secret, as Gitea
// and GitHub sign it. Without a secret nothing is.
func Signed(header http.Header, body, secret []byte) bool {
	given := strings.TrimPrefix(header.Get("X-Hub-Signature-256"), "sha256=")
	if own := header.Get("X-Gitea-Signature"); own != "" {
		given = own
	}
	got, err := hex.DecodeString(given)
	if err != nil || len(secret) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}

func eventOf(header http.Header) string {
	if event := header.Get("X-Gitea-Event"); event != "" {
		return event
	}
	return header.Get("X-GitHub-Event")
}
