package artifact

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Source is a Flux source: GitRepository, OCIRepository or Bucket.
type Source interface {
	client.Object
	GetArtifact() *meta.Artifact
}

// Kinds that a Source may have.
var Kinds = []string{sourcev1.GitRepositoryKind, sourcev1.OCIRepositoryKind, sourcev1.BucketKind}

// NewSource returns an empty source of a kind.
func NewSource(kind string) (Source, error) {
	switch kind {
	case sourcev1.GitRepositoryKind:
		return &sourcev1.GitRepository{}, nil
	case sourcev1.OCIRepositoryKind:
		return &sourcev1.OCIRepository{}, nil
	case sourcev1.BucketKind:
		return &sourcev1.Bucket{}, nil
	}
	return nil, fmt.Errorf("sourceRef.kind: %q is not a source; use GitRepository, OCIRepository or Bucket", kind)
}

// GetSource reads a source.
func GetSource(ctx context.Context, from client.Reader, kind string, key client.ObjectKey) (Source, error) {
	s, err := NewSource(kind)
	if err != nil {
		return nil, err
	}
	if err := from.Get(ctx, key, s); err != nil {
		return nil, fmt.Errorf("cannot get %s %s: %w", kind, key, err)
	}
	return s, nil
}
