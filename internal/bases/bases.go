// Package bases finds the Contain Base that a profile names: the one embedded in
// the binary, or the directory base/ of a Flux source.
package bases

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/artifact"
	"github.com/aetherplatform/aether/internal/render"
)

// ErrNotThere is what a source that does not exist, or has no artifact yet, gives. Whoever watches
// the Flux sources is woken when it has.
var ErrNotThere = errors.New("the base is not there yet")

// directory of a source that holds its base.
const directory = "./base"

// Resolver finds bases, and fetches each revision once.
type Resolver struct {
	sources client.Reader

	mu    sync.Mutex
	known map[v1alpha1.BaseSourceRef]*known
}

// known is what was read of one source.
type known struct {
	fetcher artifact.Fetcher

	mu     sync.Mutex
	digest string
	base   render.Base
}

// New returns a Resolver that reads Flux sources from a cache.
func New(sources client.Reader) *Resolver {
	return &Resolver{sources: sources, known: map[v1alpha1.BaseSourceRef]*known{}}
}

// Get returns the base of a source in aether-system; nil stands for the embedded one.
func (r *Resolver) Get(ctx context.Context, ref *v1alpha1.BaseSourceRef) (render.Base, error) {
	if ref == nil {
		return render.EmbeddedBase(), nil
	}
	key := client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: ref.Name}
	source, err := artifact.GetSource(ctx, r.sources, ref.Kind, key)
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return render.Base{}, fmt.Errorf("%w: %w", ErrNotThere, err)
	}
	if err != nil {
		return render.Base{}, err
	}
	a := source.GetArtifact()
	if a == nil {
		return render.Base{}, fmt.Errorf("%w: %s %s has no artifact", ErrNotThere, ref.Kind, key)
	}
	k := r.of(*ref)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.digest == a.Digest {
		return k.base, nil
	}
	tree, err := k.fetcher.Fetch(ctx, a.URL, a.Digest, directory)
	if err != nil {
		return render.Base{}, err
	}
	if len(tree) == 0 {
		return render.Base{}, fmt.Errorf("%s %s holds no directory base/ at %s", ref.Kind, key, a.Revision)
	}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if why := tree[name].Refused; why != "" {
			return render.Base{}, fmt.Errorf("%s %s at %s: base/%s %s", ref.Kind, key, a.Revision, name, why)
		}
	}
	// The digest belongs to it: another spec.ignore is another content of the same
	// revision.
	k.digest, k.base = a.Digest, render.Base{FS: artifact.FS(tree), Revision: a.Revision + " " + a.Digest}
	return k.base, nil
}

func (r *Resolver) of(ref v1alpha1.BaseSourceRef) *known {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[ref] == nil {
		r.known[ref] = &known{}
	}
	return r.known[ref]
}
