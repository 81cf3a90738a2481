package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/forge"
	api "github.com/aetherplatform/aether/internal/local/gitea"
)

// interval at which Flux looks at the repository by itself. The webhook makes it
// look at once; this is what a lost one costs.
const interval = 30 * time.Second

// repository makes the users of the fleet's repository, pushes the fleet to it, and
// has its events sent.
func (p *Platform) repository(ctx context.Context) error {
	admin, err := p.Admin()
	if err != nil {
		return err
	}
	secret := newSecret()
	for _, call := range []func() error{
		func() error { return admin.EnsureOrg(ctx, forgeOrg) },
		func() error { return admin.EnsureRepository(ctx, forgeOrg, fleetName) },
		func() error { return p.giveAccess(ctx, admin, fluxUser, "read", fluxToken, "read:repository") },
		func() error {
			return p.giveAccess(ctx, admin, reviewUser, "write", reviewToken, "write:repository", "write:issue")
		},
		func() error { return p.writeSecret(hookSecret, []byte(secret)) },
		func() error { return admin.Require(ctx, forgeOrg, fleetName, "main", forge.Context) },
		func() error {
			if p.Fleet == "" {
				return nil
			}
			_, err := p.Push(ctx, p.Fleet, "Begin with the example fleet")
			return err
		},
		// Of the first push nobody needs to be told: Flux, which is not up yet, begins with it.
		func() error {
			return admin.AddHook(ctx, forgeOrg, fleetName, p.receiverURL(), secret, "push", "pull_request")
		},
	} {
		if err := call(); err != nil {
			return p.Blame("gitea", fmt.Errorf("cannot set up the fleet's repository: %w", err))
		}
	}
	return nil
}

// giveAccess makes a user who has one permission on the fleet's repository, and a
// token of theirs. The password is nobody's afterwards.
func (p *Platform) giveAccess(ctx context.Context, admin *api.Client, name, permission, file string, scopes ...string) error {
	user := &api.Client{URL: admin.URL, Name: name, Password: newSecret()}
	if err := admin.EnsureUser(ctx, user.Name, user.Password); err != nil {
		return err
	}
	if err := admin.Share(ctx, forgeOrg, fleetName, name, permission); err != nil {
		return err
	}
	token, err := user.Token(ctx, "local platform", scopes...)
	if err != nil {
		return err
	}
	return p.writeSecret(file, []byte(token))
}

// source makes the objects that an administrator makes to connect a cluster to
// its fleet.
func (p *Platform) source(ctx context.Context) error {
	token, err := p.readSecret(fluxToken)
	if err != nil {
		return err
	}
	named := metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: fleetName}
	for _, object := range []client.Object{
		&corev1.Secret{ObjectMeta: named, StringData: map[string]string{"username": fluxUser, "password": token}},
		&sourcev1.GitRepository{ObjectMeta: named, Spec: sourcev1.GitRepositorySpec{
			URL: p.fetchURL(), Interval: metav1.Duration{Duration: interval},
			Reference: &sourcev1.GitRepositoryRef{Branch: "main"}, SecretRef: &meta.LocalObjectReference{Name: fleetName},
		}},
		&v1alpha1.TenantSource{ObjectMeta: named, Spec: v1alpha1.TenantSourceSpec{
			SourceRef: v1alpha1.SourceRef{Kind: sourcev1.GitRepositoryKind, Name: fleetName},
		}},
	} {
		if err := p.Client.Create(ctx, object); err != nil {
			return fmt.Errorf("cannot create %T %s: %w", object, fleetName, err)
		}
	}
	return nil
}

// Pushed is what a push brought.
type Pushed struct {
	// Commit on the branch main; the one before where nothing has changed.
	Commit string
	// Changed are the folders of tenants, and of the platform, that it changed.
	Changed []string
}

// Revision is the commit as Flux names it.
func (p Pushed) Revision() string { return "main@sha1:" + p.Commit }

// ErrNothingToPush says that the forge has the fleet as it is.
var ErrNothingToPush = errors.New("the repository holds the fleet as it is")

// Push makes the content of a folder the repository's tenants/, in a new commit
// on top of what is there, and pushes it. Everything else in the repository stays.
func (p *Platform) Push(ctx context.Context, fleet, message string) (Pushed, error) {
	repo, err := p.openRepo(ctx, fleet)
	if err != nil {
		return Pushed{}, err
	}
	parent, err := repo.fetch(ctx)
	if err != nil {
		return Pushed{}, err
	}
	tree, err := repo.writeTree(ctx, parent)
	if err != nil {
		return Pushed{}, err
	}
	var args []string
	before := emptyTree
	if parent != "" {
		args, before = []string{"-p", parent}, parent+"^{tree}"
	}
	paths, err := repo.git(ctx, "", "diff-tree", "-r", "-z", "--name-only", before, tree)
	if err != nil {
		return Pushed{}, err
	}
	if paths == "" {
		return Pushed{Commit: parent}, ErrNothingToPush
	}
	commit, err := repo.git(ctx, message+"\n", append([]string{"commit-tree", tree, "-F", "-"}, args...)...)
	if err != nil {
		return Pushed{}, err
	}
	if _, err := repo.git(ctx, "", "push", "--quiet", p.PushURL(), commit+":refs/heads/main"); err != nil {
		return Pushed{}, err
	}
	return Pushed{Commit: commit, Changed: changed(paths)}, nil
}

// Head is what the branch main holds now.
func (p *Platform) Head(ctx context.Context) (Pushed, error) {
	repo, err := p.openRepo(ctx, p.Dir)
	if err != nil {
		return Pushed{}, err
	}
	commit, err := repo.fetch(ctx)
	return Pushed{Commit: commit}, err
}

// changed are the folders below tenants/ that paths, ended by NULs, are in.
func changed(paths string) []string {
	var folders []string
	for path := range strings.SplitSeq(paths, "\x00") {
		if parts := strings.SplitN(path, "/", 3); len(parts) == 3 && parts[0] == tenantsDir {
			folders = append(folders, parts[1])
		}
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}
