// Package compare renders two revisions of a fleet and tells which objects
// differ, field by field.
//
// It compares what the renderer makes, never lines of YAML: what is reordered,
// commented, or written where it was the default is no change. It says what
// differs, not what that means or whether it may be.
package compare

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// Options of Run.
type Options struct {
	Base, Head Source
	// Path of the folder that holds tenants/, base/ and policies/; "" is the root of
	// the repository.
	Path string
	// Tenant and Cluster, where they are set, are all that is compared. The whole
	// fleet is checked anyway, since names and quotas depend on one another.
	Tenant  string
	Cluster *string
	// Store remembers across processes; it may be nil.
	Store fleet.Store
	// Now, for Render, leaves out exceptions that had ended by then, as a cluster does.
	// Zero: none are left out.
	Now time.Time
}

// Source is the files of one side.
type Source struct {
	// Name as the user wrote it, and Commit in full; no commit for a working tree.
	Name, Commit string
	// Files of the whole repository, read-only.
	Files fs.FS
}

// Run renders base and head and compares them. The report lacks what others say
// of the sides: findings, approvals and violations.
//
// A tenant that has errors at head keeps what it has: nothing of it is compared.
// One that had errors at base is compared with nothing, since what was applied
// before is in neither revision.
func Run(ctx context.Context, o Options) (base, head *review.Side, report *review.Report, err error) {
	o.Path = path.Clean(o.Path)
	if !fs.ValidPath(o.Path) {
		return nil, nil, nil, fmt.Errorf("%q is no folder inside the repository; write it relative to its root", o.Path)
	}
	var current *source
	contents := map[string][]byte{}
	renderer := render.New(render.Options{
		Store: o.Store,
		Bases: func(ref *baseRef) (render.Base, error) { return current.base(ref) },
	})
	side := func(s Source, incumbents map[string]tenancy.Holding) (*review.Side, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		current = &source{Source: s, path: o.Path, contents: contents}
		return current.render(renderer, incumbents)
	}
	if base, err = side(o.Base, nil); err != nil {
		return nil, nil, nil, err
	}
	if head, err = side(o.Head, incumbents(base)); err != nil {
		return nil, nil, nil, err
	}
	if len(base.Tree) == 0 && len(head.Tree) == 0 {
		return nil, nil, nil, fmt.Errorf("there is no fleet in %s of either revision; say with --path which folder holds tenants/", path.Join(o.Path, tenantsDir))
	}

	if err := fill(ctx, o, base, head); err != nil {
		return nil, nil, nil, err
	}
	report = &review.Report{Base: base.Revision, Head: head.Revision, Errors: errorsOf(o, base, head)}
	if err := Objects(ctx, base, head, report); err != nil {
		return nil, nil, nil, err
	}
	return base, head, report, nil
}

// Objects fills the changes of a report, their groups and their summary: how the
// objects of the sides differ, wherever they come from.
func Objects(ctx context.Context, base, head *review.Side, report *review.Report) (err error) {
	if report.Changes, err = changes(ctx, base, head); err != nil {
		return err
	}
	report.Groups = group(report.Changes, base, head)
	report.Summary = summarise(report.Changes)
	return nil
}

// Render renders o.Head alone, with the objects of all its tenants, and says what
// is wrong with it. incumbents are what the
// tenants that are applied already have to themselves.
func Render(ctx context.Context, o Options, incumbents map[string]tenancy.Holding) (*review.Side, []review.Error, error) {
	o.Path = path.Clean(o.Path)
	if !fs.ValidPath(o.Path) {
		return nil, nil, fmt.Errorf("%q is no folder inside the repository; write it relative to its root", o.Path)
	}
	source := &source{Source: o.Head, path: o.Path}
	side, err := source.render(render.New(render.Options{Store: o.Store, Bases: source.base, Now: o.Now}), incumbents)
	if err != nil {
		return nil, nil, err
	}
	if len(side.Tree) == 0 {
		return nil, nil, fmt.Errorf("there is no fleet in %s; say with --path which folder holds tenants/", path.Join(o.Path, tenantsDir))
	}
	nothing := &review.Side{Result: &render.Result{Fleet: &fleet.Fleet{}}, Tenants: map[string]*review.Tenant{}}
	if err := fill(ctx, o, nothing, side); err != nil {
		return nil, nil, err
	}
	return side, errorsOf(o, nothing, side), nil
}
