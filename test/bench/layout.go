package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/test/bench/sample"
)

// layout is how a fleet lies in Git.
type layout struct {
	// packed has a file a tenant, instead of one a namespace.
	packed bool
	// repository is how many namespaces one holds; 0: all.
	repository int
}

func (l layout) of(tree fleet.Tree) fleet.Tree {
	if l.packed {
		return sample.Packed(tree)
	}
	return tree
}

// grow makes a fleet as large as size: it fills the repository that pushes are
// measured in, which has one tenant to begin with, and makes others for the rest.
func (s *stage) grow(ctx context.Context, layout layout, size int) error {
	here := size
	if layout.repository > 0 {
		here = min(size, layout.repository)
	}
	first := sample.Fleet("seed", sample.NamespacesPerTenant)
	maps.Copy(first, sample.Fleet("grown", here-sample.NamespacesPerTenant))
	changed, err := s.replace(ctx, layout.of(first))
	if err != nil {
		return err
	}
	if changed {
		if err := s.push(ctx); err != nil {
			return err
		}
	}
	for at := here; at < size; at += layout.repository {
		name := fmt.Sprintf("part%04d", at/layout.repository)
		tree := sample.FleetOf(name, name, min(layout.repository, size-at))
		if err := s.part(ctx, name, layout.of(tree)); err != nil {
			return err
		}
	}
	return nil
}

// replace commits a tree in place of what there was, and says whether that differs.
func (c *checkout) replace(ctx context.Context, tree fleet.Tree) (changed bool, err error) {
	if _, err := c.git(ctx, "rm", "-r", "--quiet", "--ignore-unmatch", "tenants"); err != nil {
		return false, err
	}
	if err := c.write(tree); err != nil {
		return false, err
	}
	if _, err := c.git(ctx, "add", "--all"); err != nil {
		return false, err
	}
	if status, err := c.git(ctx, "status", "--porcelain"); err != nil || status == "" {
		return false, err
	}
	_, err = c.commit(ctx)
	return true, err
}

// partInterval is how often Flux looks at a part by itself: seldom, as where a
// webhook tells it of each push.
const partInterval = 10 * time.Minute

// part is a repository of its own with its TenantSource, unless it is there.
func (s *stage) part(ctx context.Context, name string, tree fleet.Tree) error {
	if s.parts[name] {
		return nil
	}
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	const org = "parts"
	if err := errors.Join(admin.EnsureOrg(ctx, org), admin.EnsureRepository(ctx, org, name),
		admin.Share(ctx, org, name, "flux", "read")); err != nil {
		return err
	}
	url := fmt.Sprintf("%s/%s/%s.git", admin.URL, org, name)
	c, err := clone(ctx, s.Platform, url, filepath.Join(filepath.Dir(s.dir), name))
	if err != nil {
		return err
	}
	if _, err := c.replace(ctx, tree); err != nil {
		return err
	}
	if err := c.push(ctx); err != nil {
		return err
	}

	// With the credentials of the platform's own.
	repository := &sourcev1.GitRepository{}
	if err := s.Client.Get(ctx, fleetKey, repository); err != nil {
		return err
	}
	repository.ObjectMeta = metav1.ObjectMeta{Namespace: fleetKey.Namespace, Name: name}
	repository.Spec.URL = url
	repository.Spec.Interval = metav1.Duration{Duration: partInterval}
	source := &v1alpha1.TenantSource{
		ObjectMeta: repository.ObjectMeta,
		Spec:       v1alpha1.TenantSourceSpec{SourceRef: v1alpha1.SourceRef{Kind: sourcev1.GitRepositoryKind, Name: name}},
	}
	if err := errors.Join(s.Client.Create(ctx, repository), s.Client.Create(ctx, source)); err != nil {
		return err
	}
	s.parts[name] = true
	return nil
}
