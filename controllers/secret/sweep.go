package secret

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/access"
)

// settle is how long the sweeper waits for more to go: a namespace takes all of its
// SecretSyncs along.
const settle = 5 * time.Second

// sweeper keeps policies and roles in OpenBao as they should be, whether or not anyone
// logs in meanwhile: it takes out what nobody wants any more, and puts back what
// somebody has changed.
type sweeper struct {
	r        *Reconciler
	interval time.Duration
	wake     chan struct{}
	// swept are the connections that were in use at any time.
	swept map[openbao.Connection]bool
}

// soon has it sweep before long.
func (s *sweeper) soon() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*sweeper) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable.
func (s *sweeper) Start(ctx context.Context) error {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		keep := false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			keep = true
		case <-s.wake:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
		}
		wanted, err := s.r.wanted(ctx)
		if err == nil {
			err = s.sweep(ctx, wanted)
		}
		if err == nil && keep {
			err = s.keep(ctx, wanted)
		}
		if err != nil && ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "cannot bring policies and roles in OpenBao to what is wanted; it is tried again")
		}
	}
}

// keep puts back what somebody has changed. What stands against one tenant, its
// SecretSyncs say.
func (s *sweeper) keep(ctx context.Context, wanted []access.Subject) error {
	for _, subject := range wanted {
		if err := s.r.bao.Keep(ctx, subject); openbao.KindOf(err) == openbao.Unavailable {
			return err
		}
	}
	return nil
}

func (s *sweeper) sweep(ctx context.Context, wanted []access.Subject) error {
	if s.swept == nil {
		s.swept = map[openbao.Connection]bool{}
	}
	for _, subject := range wanted {
		s.swept[subject.Connection] = true
	}
	if own := s.r.settings.Connection; own.Address != "" {
		s.swept[own] = true // what an earlier process made, too
	}
	for connection := range s.swept {
		removed, err := s.r.bao.Sweep(ctx, connection, wanted)
		if len(removed) > 0 {
			ctrl.LoggerFrom(ctx).Info("took out of OpenBao what is not wanted any more", "names", removed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wanted are all namespaces that have something to sync and are still their tenants'. A
// name that somebody else has taken is not wanted, whatever is asked for in it.
func (r *Reconciler) wanted(ctx context.Context) ([]access.Subject, error) {
	var all v1alpha1.SecretSyncList
	if err := r.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list SecretSyncs: %w", err)
	}
	if len(all.Items) == 0 {
		return nil, nil // and ten thousand namespaces are not read to know it
	}
	owned, err := r.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var wanted []access.Subject
	for i := range all.Items {
		name := all.Items[i].Namespace
		if seen[name] {
			continue
		}
		seen[name] = true
		s := &scope{ss: &v1alpha1.SecretSync{}}
		s.ss.Namespace = name
		var c *condition
		switch err := r.identify(ctx, s); {
		case err == nil:
			if ns := owned[name]; ns != nil && isOf(s.subject, ns) && ns.DeletionTimestamp.IsZero() {
				s.subject.NamespaceUID = ns.UID
				wanted = append(wanted, s.subject)
			}
		case !errors.As(err, &c):
			return nil, err // not to be known is not to be unwanted
		}
	}
	return wanted, nil
}

// namespaces are all that are a tenant's, from the API server: watches lag behind.
func (r *Reconciler) namespaces(ctx context.Context) (map[string]*metav1.PartialObjectMetadata, error) {
	all := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}}
	if err := r.live.List(ctx, all, client.HasLabels{v1alpha1.LabelTenant}); err != nil {
		return nil, fmt.Errorf("cannot list Namespaces: %w", err)
	}
	byName := make(map[string]*metav1.PartialObjectMetadata, len(all.Items))
	for i := range all.Items {
		byName[all.Items[i].Name] = &all.Items[i]
	}
	return byName, nil
}
