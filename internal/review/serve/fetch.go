package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Sources are GitRepositories that Flux is to fetch when the tracked branch was
// pushed to: what a Receiver of Flux's notification-controller does. What is
// fetched, and from where, is the GitRepository's to decide.
type Sources struct {
	Keys []client.ObjectKey
	// Client annotates them; it needs the verb patch on gitrepositories.
	Client client.Writer
	// Now is the clock; a source is fetched once for each time it tells.
	Now func() time.Time
	Log *slog.Logger
}

// Fetch asks Flux to reconcile every source now.
func (s *Sources) Fetch(ctx context.Context) error {
	now := s.Now().UTC().Format(time.RFC3339Nano)
	patch := client.RawPatch("application/merge-patch+json",
		fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, now))
	var failed error
	for _, key := range s.Keys {
		source := &sourcev1.GitRepository{}
		source.Name, source.Namespace = key.Name, key.Namespace
		err := s.Client.Patch(ctx, source, patch)
		if apierrors.IsNotFound(err) {
			s.Log.Info("no source to fetch yet", "source", key)
			continue
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("cannot annotate GitRepository %s: %w", key, err))
		}
	}
	return failed
}
