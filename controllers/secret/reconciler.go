// Package secret keeps Secrets equal to OpenBao's: each SecretSync says which.
//
// The operator reads OpenBao and writes the Secret as the namespace's own account,
// so that OpenBao's policy and RBAC confine what it does for a namespace, whatever
// this code does. A Secret that was synced keeps what it holds until there is
// something better: OpenBao being away, or a path being empty, takes nothing away.
//
// No value of a secret, and nothing computed from one, is in a status, an event, a
// log, a metric or an error.
package secret

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/access"
	"github.com/aetherplatform/aether/internal/secret"
	"github.com/aetherplatform/aether/internal/status"
)

// Reconciler keeps Secrets equal to OpenBao's.
type Reconciler struct {
	// Client reads Aether's own kinds from informers, and writes what they say.
	client.Client
	// live reads from the API server.
	live client.Reader
	// secrets acts as the account of the namespace that the context names.
	secrets  client.Client
	bao      *access.Access // nil where nothing is configured
	settings Settings
	cluster  string
	recorder events.EventRecorder
	now      func() time.Time
	started  time.Time

	memories memories
	outages  outages
	// sweep is asked to take what is not wanted out of OpenBao.
	sweep func()
}

// lag is how long to wait for a watch that is behind our own writes.
const lag = 50 * time.Millisecond

// scope is one reconcile of one SecretSync.
type scope struct {
	ss *v1alpha1.SecretSync
	// written is the status as it stands in the cluster.
	written v1alpha1.SecretSyncStatus
	memory  *memory

	recipe  *secret.Recipe
	subject access.Subject
	session *access.Session
	// asked is set once a request may have gone to OpenBao.
	asked bool
	// known is the Secret's metadata; nil when there is none.
	known *metav1.PartialObjectMetadata
	// version that the Secret is to hold, and when it was written.
	version int64
	created time.Time
}

// Reconcile brings one Secret to what OpenBao has, when that is due.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ss := &v1alpha1.SecretSync{}
	if err := r.Get(ctx, req.NamespacedName, ss); err != nil {
		if apierrors.IsNotFound(err) {
			r.letGo(r.memories.forget(req.NamespacedName))
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("cannot get SecretSync: %w", err)
	}
	ctx = as(ctx, ss.Namespace)
	if !ss.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.release(ctx, ss)
	}
	s := &scope{ss: ss, written: *ss.Status.DeepCopy(), memory: r.memories.of(ss)}
	if status.IsBehind(ss, s.memory.version) {
		return ctrl.Result{RequeueAfter: lag}, nil // our own write is on its way, and wakes nobody
	}
	if wait := r.due(s); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return r.report(ctx, s, r.sync(ctx, s))
}

// due is how long it is until OpenBao is to be asked; 0 when it is now.
func (r *Reconciler) due(s *scope) time.Duration {
	now := r.now()
	status := &s.ss.Status
	switch {
	case s.memory.hurry, status.ObservedGeneration != s.ss.Generation, status.LastHandledReconcileAt != requestOf(s.ss):
		return 0
	case now.Before(s.memory.retry):
		return s.memory.retry.Sub(now)
	case !isReady(s.ss):
		return 0
	}
	asked := s.memory.asked
	if asked.IsZero() {
		asked = r.started // what was in order when the process began is looked at in its turn
	}
	return max(0, secret.NextRefresh(s.ss.UID, secret.RefreshInterval(&s.ss.Spec.SecretSource), asked).Sub(now))
}

// step is a part of a reconcile. An error ends it.
type step func(context.Context, *scope) error

// sync takes the steps to a Secret that holds what OpenBao has, and learns from them
// whether OpenBao is away.
func (r *Reconciler) sync(ctx context.Context, s *scope) error {
	s.memory.hurry = false
	err := r.run(ctx, s)
	if s.asked {
		r.outages.note(s.subject.Connection, err, r.now())
	}
	return err
}

func (r *Reconciler) run(ctx context.Context, s *scope) error {
	for _, step := range []step{
		r.compile,  // the spec; pure
		r.identify, // whose namespace it is, and what OpenBao is to it
		r.hold,     // so that a Secret to be retained is not lost meanwhile
		r.logIn,    // as the namespace
		r.ask,      // which version is wanted: one cheap call
		r.look,     // what the Secret is
		r.write,    // where it is not that version's
		r.restart,  // what goes with it
	} {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) compile(_ context.Context, s *scope) (err error) {
	s.recipe, err = secret.Compile("spec", &s.ss.Spec.SecretSource)
	return err
}

// ask finds which version the Secret is to hold; 0 where that is the latest, and any
// is new. It makes the first where there is none and the spec says of what.
func (r *Reconciler) ask(ctx context.Context, s *scope) error {
	if s.ss.Spec.Immutable && s.ss.Status.Version > 0 {
		s.version = s.ss.Status.Version // it can hold nothing else
		return nil
	}
	if s.ss.Status.Version == 0 && s.ss.Spec.Version == nil && len(s.ss.Spec.Generate) == 0 {
		return nil // the latest is to be read anyway: write finds which it is
	}
	return r.choose(ctx, s)
}

// choose looks at what versions there are.
func (r *Reconciler) choose(ctx context.Context, s *scope) error {
	found, err := s.session.Metadata(ctx, s.ss.Spec.Path)
	if openbao.KindOf(err) == openbao.NotFound && len(s.ss.Spec.Generate) > 0 {
		if err := r.generate(ctx, s); err != nil {
			return err
		}
		found, err = s.session.Metadata(ctx, s.ss.Spec.Path)
	}
	if err != nil {
		return err
	}
	s.version = found.CurrentVersion
	if v := s.ss.Spec.Version; v != nil {
		s.version = *v
	}
	version, there := found.Versions[s.version]
	switch {
	case found.CurrentVersion == 0 || !there && s.version > found.CurrentVersion:
		return s.notThere()
	case !there || version.Destroyed:
		return failed(v1alpha1.ReasonVersionGone, "version %d of %s is gone for good in OpenBao: %s", s.version, s.place(), s.instead())
	case version.Gone(r.now()):
		return failed(v1alpha1.ReasonVersionGone, "version %d of %s was deleted in OpenBao; bring it back with: bao kv undelete -mount=%s -versions=%d %s: or %s",
			s.version, s.place(), s.subject.Mount, s.version, s.path(), s.instead())
	}
	s.created = version.Created
	return nil
}

// notThere is the outcome where OpenBao has nothing.
func (s *scope) notThere() error {
	if v := s.ss.Spec.Version; v != nil {
		return failed(v1alpha1.ReasonSecretNotFound, "OpenBao has no version %d of %s; %s", *v, s.place(), s.instead())
	}
	return failed(v1alpha1.ReasonSecretNotFound, "OpenBao has nothing at %s; write it with: bao kv put -mount=%s %s KEY=VALUE", s.place(), s.subject.Mount, s.path())
}

// instead of a version that is not there.
func (s *scope) instead() string {
	if s.ss.Spec.Version != nil {
		return "name another in spec.version, or leave it out for the latest"
	}
	return "write a new one with bao kv put, or name an older one in spec.version"
}

// path below the mount.
func (s *scope) path() string { return s.subject.Path + "/" + s.ss.Spec.Path }

// place is the whole path, as people write it.
func (s *scope) place() string { return s.subject.Mount + "/" + s.path() }

// look finds the Secret, and makes sure that it is ours to write.
func (r *Reconciler) look(ctx context.Context, s *scope) error {
	s.known = &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
	err := r.secrets.Get(ctx, client.ObjectKey{Namespace: s.ss.Namespace, Name: s.ss.SecretName()}, s.known)
	if apierrors.IsNotFound(err) {
		s.known = nil
		return nil
	}
	if err != nil {
		return s.refused("read", err, nil)
	}
	return s.ours(s.known)
}

// write makes the Secret hold the version, where it does not as far as is known. It
// reads the values only then.
func (r *Reconciler) write(ctx context.Context, s *scope) error {
	if s.known != nil && s.version > 0 && (s.ss.Spec.Immutable || s.current()) {
		return nil
	}
	if err := r.owned(ctx, s); err != nil {
		return err
	}
	found, err := s.session.Read(ctx, s.ss.Spec.Path, s.version)
	if kind := openbao.KindOf(err); s.version == 0 && (kind == openbao.NotFound || kind == openbao.Gone) {
		return cmp.Or(r.choose(ctx, s), err) // it knows why
	}
	if err != nil {
		return err
	}
	s.version, s.created = found.Version, found.Created
	data, err := s.recipe.Make(found.Data)
	if err != nil {
		return err
	}
	return r.put(ctx, s, data)
}

// current is whether the Secret is as this process wrote or found it, and nothing
// else is wanted since.
func (s *scope) current() bool {
	return s.known.ResourceVersion == s.memory.secretVersion && s.memory.generation == s.ss.Generation &&
		s.known.Annotations[v1alpha1.AnnotationVersion] == strconv.FormatInt(s.version, 10)
}

// observed remembers the Secret as it is now.
func (s *scope) observed(o metav1.Object) {
	s.memory.secretVersion, s.memory.generation = o.GetResourceVersion(), s.ss.Generation
}

// record sets what the status says beside its conditions.
func (s *scope) record(now time.Time) {
	status := &s.ss.Status
	if s.memory.wrote && !s.created.IsZero() && status.Version != s.version && status.Version > 0 {
		changeToSecretSeconds.Observe(now.Sub(s.created).Seconds())
	}
	if status.Version != s.version || status.SyncedTime == nil || s.memory.wrote {
		status.SyncedTime = &metav1.Time{Time: now.Truncate(time.Second)}
	}
	status.Version = s.version
	if !s.created.IsZero() {
		status.VersionTime = &metav1.Time{Time: s.created.Truncate(time.Second)}
	}
	status.SecretName = s.ss.SecretName()
	s.memory.wrote = false
}

// isUnchanged is whether a status is the one that stands in the cluster.
func (s *scope) isUnchanged() bool { return equality.Semantic.DeepEqual(s.written, s.ss.Status) }

// Types of events.
const (
	eventNormal  = corev1.EventTypeNormal
	eventWarning = corev1.EventTypeWarning
)
