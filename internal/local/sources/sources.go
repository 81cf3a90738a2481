// Package sources serves Flux GitRepositories for the local platform and the
// tests, where source-controller is not at hand: it fetches, packs an artifact as
// Flux does, serves it over HTTP and reports in the GitRepository's status, so
// that what reads artifacts cannot tell the difference.
//
// It knows GitRepository only, by branch, tag or ref name, over HTTP(S) with
// basic authentication: anything else stalls with a message that says so. It
// verifies no signatures and is not for clusters.
package sources

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/predicates"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Reconciler makes artifacts of GitRepositories.
type Reconciler struct {
	client.Client
	// Dir holds a mirror of each repository and the artifacts.
	Dir string
	// URL that the artifacts are served under.
	URL string
	// Now is the clock.
	Now func() time.Time

	mu    sync.Mutex
	lasts map[mirror]*last
}

// Retries begin soon, since a forge that restarts is back soon.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
)

// SetupWithManager watches GitRepositories: their spec and the annotation that
// asks for a fetch at once.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&sourcev1.GitRepository{}, builder.WithPredicates(
			predicate.Or(predicate.GenerationChangedPredicate{}, predicates.ReconcileRequestedPredicate{}))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 4,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// Reconcile brings one artifact to what its repository holds now.
func (r *Reconciler) Reconcile(ctx context.Context, repo *sourcev1.GitRepository) (ctrl.Result, error) {
	if !repo.DeletionTimestamp.IsZero() || repo.Spec.Suspend {
		return ctrl.Result{}, nil
	}
	before := repo.DeepCopy()

	artifact, outcome := r.artifact(ctx, repo)
	report(repo, artifact, outcome)
	if !equality.Semantic.DeepEqual(before.Status, repo.Status) {
		if err := r.Status().Patch(ctx, repo, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	if stalled := (*stalledError)(nil); errors.As(outcome, &stalled) {
		return ctrl.Result{}, reconcile.TerminalError(outcome)
	}
	if outcome != nil {
		return ctrl.Result{}, outcome
	}
	r.keep(repo.Status.Artifact, before.Status.Artifact)
	return ctrl.Result{RequeueAfter: repo.Spec.Interval.Duration}, nil
}

// artifact fetches, and packs where what it fetched is new.
func (r *Reconciler) artifact(ctx context.Context, repo *sourcev1.GitRepository) (*meta.Artifact, error) {
	ref, name, err := reference(repo.Spec)
	if err != nil {
		return nil, err
	}
	login, err := r.login(ctx, repo)
	if err != nil {
		return nil, err
	}
	m, err := openMirror(ctx, filepath.Join(r.Dir, "mirrors", string(repo.UID)+".git"))
	if err != nil {
		return nil, err
	}
	timeout := time.Minute
	if repo.Spec.Timeout != nil {
		timeout = repo.Spec.Timeout.Duration
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	commit, err := m.fetch(ctx, repo.Spec.URL, login, ref)
	if err != nil {
		return nil, err
	}

	revision := name + "@sha1:" + commit
	path := filepath.Join("gitrepository", repo.Namespace, repo.Name, commit+".tar.gz")
	if r.holds(repo, revision) {
		return repo.Status.Artifact, nil
	}
	size, digest, err := r.pack(ctx, m, commit, repo.Spec.Ignore, filepath.Join(r.artifacts(), path))
	if err != nil {
		return nil, fmt.Errorf("cannot pack %s: %w", revision, err)
	}
	return &meta.Artifact{
		Path: path, URL: r.URL + "/" + filepath.ToSlash(path), Revision: revision,
		Digest: "sha256:" + digest, Size: &size, LastUpdateTime: metav1.NewTime(r.Now()),
	}, nil
}

// holds is whether the artifact that the status speaks of is what would be packed.
func (r *Reconciler) holds(repo *sourcev1.GitRepository, revision string) bool {
	a := repo.Status.Artifact
	if !a.HasRevision(revision) || !equality.Semantic.DeepEqual(repo.Spec.Ignore, repo.Status.ObservedIgnore) {
		return false
	}
	info, err := os.Stat(filepath.Join(r.artifacts(), a.Path))
	return err == nil && a.Size != nil && info.Size() == *a.Size && a.URL == r.URL+"/"+filepath.ToSlash(a.Path)
}

// reference is the ref to fetch and the name that the revision carries for it.
func reference(spec sourcev1.GitRepositorySpec) (ref, name string, err error) {
	unsupported := map[string]bool{
		"spec.verify":            spec.Verification != nil,
		"spec.include":           len(spec.Include) > 0,
		"spec.recurseSubmodules": spec.RecurseSubmodules,
		"spec.sparseCheckout":    len(spec.SparseCheckout) > 0,
		"spec.proxySecretRef":    spec.ProxySecretRef != nil,
		"spec.provider":          spec.Provider != "" && spec.Provider != sourcev1.GitProviderGeneric,
	}
	if spec.Reference != nil {
		unsupported["spec.ref.semver"] = spec.Reference.SemVer != ""
		unsupported["spec.ref.commit"] = spec.Reference.Commit != ""
	}
	for _, field := range []string{
		"spec.verify", "spec.include", "spec.recurseSubmodules", "spec.sparseCheckout", "spec.proxySecretRef",
		"spec.provider", "spec.ref.semver", "spec.ref.commit",
	} {
		if unsupported[field] {
			return "", "", &stalledError{fmt.Sprintf("%s is not served by the stand-in for source-controller: leave it out, or run Flux's own", field)}
		}
	}
	switch r := spec.Reference; {
	case r == nil || *r == (sourcev1.GitRepositoryRef{}):
		return "refs/heads/master", "master", nil // Flux's default
	case r.Name != "":
		return r.Name, r.Name, nil
	case r.Tag != "":
		return "refs/tags/" + r.Tag, r.Tag, nil
	default:
		return "refs/heads/" + r.Branch, r.Branch, nil
	}
}

// login reads the credentials that the repository names.
func (r *Reconciler) login(ctx context.Context, repo *sourcev1.GitRepository) (login, error) {
	if repo.Spec.SecretRef == nil {
		return login{}, nil
	}
	var secret corev1.Secret
	key := client.ObjectKey{Namespace: repo.Namespace, Name: repo.Spec.SecretRef.Name}
	err := r.Get(ctx, key, &secret)
	if apierrors.IsNotFound(err) {
		return login{}, &fetchError{sourcev1.AuthenticationFailedReason, fmt.Sprintf("failed to get secret '%s': not found", key)}
	}
	if err != nil {
		return login{}, fmt.Errorf("cannot get Secret %s: %w", key, err)
	}
	return login{string(secret.Data["username"]), string(secret.Data["password"])}, nil
}
