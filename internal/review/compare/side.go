package compare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/artifact"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/tenancy"
)

type baseRef = v1alpha1.BaseSourceRef

const (
	tenantsDir = "tenants"
	baseDir    = "base"
)

// source is a Source while it is rendered.
type source struct {
	Source
	path string

	// contents are files of the other side that was read before, and of this one, by
	// Git's hash: what both have is read once.
	contents map[string][]byte

	read    bool // whether own was tried
	own     render.Base
	ownFail error
}

// render makes a side of a source, without tenants' objects.
func (s *source) render(renderer *render.Renderer, incumbents map[string]tenancy.Holding) (*review.Side, error) {
	tree, err := s.tree(tenantsDir)
	if err != nil {
		return nil, err
	}
	side := &review.Side{
		Revision: review.Revision{Name: s.Name, Commit: s.Commit},
		Path:     s.path,
		Files:    s.Files,
		Tree:     tree,
		Result:   renderer.Render(tree, incumbents),
		Tenants:  map[string]*review.Tenant{},
	}
	if !hasErrors(side.Result) {
		side.Digest = side.Result.Digest
	}
	for i := range side.Result.Platform {
		a := &side.Result.Platform[i]
		side.AddPlatform(rendered(s.path, v1alpha1.PlatformDirectory, render.Placed{Unstructured: a.Object(), At: a.Position}))
	}
	return side, nil
}

// tree reads a folder of the fleet; one that is not there is empty.
func (s *source) tree(folder string) (fleet.Tree, error) {
	folder = path.Join(s.path, folder)
	files, err := fs.Sub(s.Files, folder)
	if err != nil {
		return nil, err
	}
	if info, err := fs.Stat(s.Files, folder); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return fleet.Tree{}, nil
	}
	hashes := map[string]string{} // of files that are read
	tree, err := fleet.ReadFSAfter(files, func(name string, entry fs.DirEntry) ([]byte, bool) {
		hashed, ok := entry.(interface{ Hash() string })
		if !ok || s.contents == nil || hashed.Hash() == "" {
			return nil, false
		}
		data, ok := s.contents[hashed.Hash()]
		if !ok {
			hashes[name] = hashed.Hash()
		}
		return data, ok
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read %s at %s: %w", folder, s.Name, err)
	}
	for name, hash := range hashes {
		if file := tree[name]; file.Data != nil {
			s.contents[hash] = file.Data
		}
	}
	return tree, nil
}

// base is the repository's own, for profiles with a sourceRef: the repository
// that is being changed is the one to judge.
func (s *source) base(ref *baseRef) (render.Base, error) {
	if ref == nil {
		return render.EmbeddedBase(), nil
	}
	if !s.read {
		s.read = true
		s.own, s.ownFail = s.readBase()
	}
	if s.ownFail != nil {
		return render.Base{}, fmt.Errorf("cannot use %s %q: %w", ref.Kind, ref.Name, s.ownFail)
	}
	return s.own, nil
}

func (s *source) readBase() (render.Base, error) {
	folder := path.Join(s.path, baseDir)
	tree, err := s.tree(baseDir)
	if err != nil {
		return render.Base{}, err
	}
	if len(tree) == 0 {
		return render.Base{}, fmt.Errorf("there is no folder %s at %s", folder, s.Name)
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if why := tree[name].Refused; why != "" {
			return render.Base{}, fmt.Errorf("%s %s", path.Join(folder, name), why)
		}
		fmt.Fprintf(h, "%q %q %d\n", name, tree[name].Link, len(tree[name].Data))
		h.Write(tree[name].Data)
	}
	return render.Base{FS: artifact.FS(tree), Revision: "review@" + hex.EncodeToString(h.Sum(nil))}, nil
}

func hasErrors(r *render.Result) bool {
	return len(r.Fleet.PlatformErrors) > 0 || slices.ContainsFunc(r.Tenants, func(t *render.TenantResult) bool { return len(t.Errors) > 0 })
}

// incumbents are what tenants that are applied already have to themselves, as the
// controllers have it from the cluster: of two that collide, the newcomer has the error.
func incumbents(base *review.Side) map[string]tenancy.Holding {
	out := map[string]tenancy.Holding{}
	for _, t := range base.Result.Tenants {
		if t.Object != nil && len(t.Errors) == 0 {
			out[t.Name] = tenancy.HoldingOf(t.Object.Value)
		}
	}
	return out
}

// fill renders the objects of tenants that are not the very same on both sides.
func fill(ctx context.Context, o Options, base, head *review.Side) error {
	same := map[string]bool{}
	for _, t := range head.Result.Tenants {
		same[t.Name] = !t.Changed
	}
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	results := map[string][2]*render.TenantResult{}
	for i, side := range []*review.Side{base, head} {
		for _, t := range side.Result.Tenants {
			if same[t.Name] || o.Tenant != "" && t.Name != o.Tenant {
				continue
			}
			side.Tenants[t.Name] = &review.Tenant{Name: t.Name, Tenant: t.Tenant, Errors: t.Errors}
			both := results[t.Name]
			both[i] = t
			results[t.Name] = both
		}
	}
	for name, both := range results {
		old, now := base.Tenants[name], head.Tenants[name]
		work.Go(func() error {
			if old != nil {
				old.Objects = objectsOf(both[0], base.Path, o.Cluster)
			}
			if now != nil {
				now.Objects = objectsOf(both[1], head.Path, o.Cluster)
			}
			if old != nil && now != nil {
				share(old.Objects, now.Objects)
			}
			return ctx.Err()
		})
	}
	return work.Wait()
}

// objectsOf is all that is rendered of a tenant, on one cluster or on each.
func objectsOf(t *render.TenantResult, folder string, cluster *string) []review.Rendered {
	all := t.All()
	out := make([]review.Rendered, 0, len(all))
	for _, placed := range all {
		if cluster == nil || placed.Cluster == *cluster {
			out = append(out, rendered(folder, t.Name, placed))
		}
	}
	return out
}

// share lets both sides hold one copy of what is the same, down to its place.
func share(base, head []review.Rendered) {
	known := make(map[review.Object]int, len(base))
	for i := range base {
		known[base[i].Object] = i
	}
	for i := range head {
		if j, ok := known[head[i].Object]; ok && base[j].Digest == head[i].Digest && base[j].Place == head[i].Place {
			head[i] = base[j]
		}
	}
}

// rendered is an object of the renderer, named.
func rendered(folder, tenant string, p render.Placed) review.Rendered {
	out := review.Rendered{
		Object: review.Object{
			Tenant:     tenant,
			Cluster:    p.Cluster,
			APIVersion: p.GetAPIVersion(),
			Kind:       p.GetKind(),
			Namespace:  p.GetNamespace(),
			Name:       p.GetName(),
		},
		Content:   p.Object,
		Digest:    annotation(p.Unstructured, v1alpha1.AnnotationDigest),
		Component: annotation(p.Unstructured, v1alpha1.AnnotationComponent),
		Place:     placeOf(folder, p.At),
	}
	if out.Kind == "Namespace" || out.Kind == v1alpha1.KindTenantNamespace {
		out.Namespace = out.Name
	}
	return out
}

// annotation reads one without copying them all.
func annotation(o *unstructured.Unstructured, name string) string {
	metadata, _ := o.Object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	value, _ := annotations[name].(string)
	return value
}

func placeOf(folder string, p fleet.Position) review.Place {
	return review.Place{File: path.Join(folder, tenantsDir, p.File), Line: p.Line}
}

// errorsOf is what is wrong with head. What base has in the same file in the same
// words is old, whatever line it is in now.
func errorsOf(o Options, base, head *review.Side) []review.Error {
	type said struct{ tenant, file, message string }
	old := map[said]int{}
	for _, e := range allErrors(base.Result) {
		old[said{e.Tenant, e.File, e.Message}]++
	}
	out := []review.Error{}
	for _, e := range allErrors(head.Result) {
		key := said{e.Tenant, e.File, e.Message}
		known := old[key] > 0
		old[key]--
		if o.Tenant == "" || e.Tenant == o.Tenant || e.Tenant == v1alpha1.PlatformDirectory {
			out = append(out, review.Error{Place: placeOf(head.Path, e.Position), Tenant: e.Tenant, Message: e.Message, Old: known})
		}
	}
	return out
}

// allErrors are sorted by position.
func allErrors(r *render.Result) []*fleet.Error {
	all := slices.Clone(r.Fleet.PlatformErrors)
	for _, t := range r.Tenants {
		all = append(all, t.Errors...)
	}
	slices.SortStableFunc(all, func(a, b *fleet.Error) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return strings.Compare(a.Message, b.Message)
	})
	return all
}
