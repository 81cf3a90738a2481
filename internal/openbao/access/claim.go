package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aetherplatform/aether/internal/openbao"
)

// A tenant's path is claimed in the custom metadata of the key named like the path,
// which has no versions and which the tenant's policy does not reach. Each cluster has
// a key of its own there, "aether-<cluster>": "<tenant>/<UID>". On the keys above it
// stands "aether-<cluster>-below", so that nobody claims a path around another's.
// OpenBao takes 64 keys, so a path can be shared by that many clusters.
const (
	claimPrefix = "aether-"
	belowSuffix = "-below"
	// several stands for more than one tenant below.
	several = "*"
)

// TakenError is that a tenant's path belongs to somebody else.
type TakenError struct {
	// Mount and Path that the tenant wants.
	Mount, Path string
	// Tenant and UID that have it, and the cluster that says so.
	Tenant  string
	UID     types.UID
	Cluster string
	// At is the path where it says so: Path, or one above it.
	At string
	// Below is whether what is taken is a path below Path.
	Below bool

	earlier, foreign bool
	// key to remove alone, where a secret is stored at At itself.
	key string
}

// Error implements error.
func (e *TakenError) Error() string {
	path := fmt.Sprintf("path %s/%s in OpenBao", e.Mount, e.Path)
	owner := fmt.Sprintf("tenant %s (UID %s)", e.Tenant, e.UID)
	if e.Tenant == "" {
		owner = "other tenants"
	}
	if e.foreign {
		owner += " of cluster " + e.Cluster
	}
	remove := fmt.Sprintf("bao kv metadata delete -mount=%s %s", e.Mount, e.At)
	if e.key != "" {
		remove = fmt.Sprintf("bao kv metadata patch -mount=%s -remove-custom-metadata=%s %s", e.Mount, e.key, e.At)
	}
	switch {
	case e.earlier && !e.Below && e.At == e.Path:
		return fmt.Sprintf("%s belongs to an earlier tenant %s (UID %s); move its secrets away, or give them to this one: %s", path, e.Tenant, e.UID, remove)
	case e.Below:
		return fmt.Sprintf("%s has paths of %s below it; choose another path, or, if nobody uses them any more: %s", path, owner, remove)
	case e.At != e.Path:
		return fmt.Sprintf("%s is below %s/%s, which belongs to %s; choose another path, or, if it is not used any more: %s", path, e.Mount, e.At, owner, remove)
	}
	return fmt.Sprintf("%s belongs to %s; choose another path, or, if it is not used any more: %s", path, owner, remove)
}

// Is makes errors.Is(err, openbao.Taken) work.
func (e *TakenError) Is(target error) bool {
	kind, ok := target.(openbao.Kind)
	return ok && kind == openbao.Taken
}

// claim makes sure that the path is the tenant's, and claims it where it is
// nobody's. After it has written it looks again: of two that come at once, the later
// one sees the other's claim, and the earlier one at its next confirmation.
func (a *Access) claim(ctx context.Context, srv *server, s Subject) error {
	wrote, err := a.claimOnce(ctx, srv, s)
	if err == nil && wrote {
		_, err = a.claimOnce(ctx, srv, s)
	}
	return err
}

func (a *Access) claimOnce(ctx context.Context, srv *server, s Subject) (wrote bool, err error) {
	own := s.Tenant + "/" + string(s.TenantUID)
	parts := strings.Split(s.Path, "/")
	at := make([]string, 0, len(parts))
	seen := map[string]openbao.Metadata{}
	for i := range parts {
		path := strings.Join(parts[:i+1], "/")
		at = append(at, path)
		if seen[path], err = a.note(ctx, srv, s.Mount, path); err != nil {
			return false, err
		}
		if taken := a.conflict(s, path, seen[path]); taken != nil {
			return false, taken
		}
	}
	// From the top, and nothing before all has been looked at.
	for _, path := range at {
		key, value := claimPrefix+a.opts.ClusterID, own
		if path != s.Path {
			key += belowSuffix
			if there := seen[path].Custom[key]; there == several || there != "" && there != own {
				value = several
			}
		}
		if seen[path].Custom[key] == value {
			continue
		}
		wrote = true
		err := a.operator(ctx, srv, func(token openbao.Token) error {
			return srv.client.SetCustom(ctx, token, s.Mount, path, key, value)
		})
		if err != nil {
			return wrote, err
		}
	}
	return wrote, nil
}

// note is what is noted at a key; nothing where there is no key.
func (a *Access) note(ctx context.Context, srv *server, mount, path string) (m openbao.Metadata, err error) {
	err = a.operator(ctx, srv, func(token openbao.Token) (err error) {
		m, err = srv.client.Metadata(ctx, token, mount, path)
		return err
	})
	if errors.Is(err, openbao.NotFound) {
		return openbao.Metadata{}, nil
	}
	return m, err
}

// conflict is what stands against a tenant at its path, or at one above it.
func (a *Access) conflict(s Subject, at string, there openbao.Metadata) *TakenError {
	for _, key := range slices.Sorted(maps.Keys(there.Custom)) {
		cluster, ok := strings.CutPrefix(key, claimPrefix)
		if !ok {
			continue
		}
		cluster, below := strings.CutSuffix(cluster, belowSuffix)
		if below && at != s.Path {
			continue // beside ours
		}
		tenant, uid, _ := strings.Cut(there.Custom[key], "/")
		ours := cluster == a.opts.ClusterID
		// A tenant of the same name in another cluster is the same one.
		if tenant == s.Tenant && (!ours || uid == string(s.TenantUID)) {
			continue
		}
		e := &TakenError{
			Mount: s.Mount, Path: s.Path, Tenant: tenant, UID: types.UID(uid), Cluster: cluster,
			At: at, Below: below, earlier: ours && tenant == s.Tenant, foreign: !ours,
		}
		if there.Custom[key] == several {
			e.Tenant = ""
		}
		if there.CurrentVersion > 0 {
			e.key = key
		}
		return e
	}
	return nil
}
