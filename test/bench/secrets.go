package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/test/bench/sample"
)

// Numbers of what is measured of secrets.
const (
	secretsPerNamespace = 10
	// changes in OpenBao are timed in the namespaces of one tenant, whose secrets are
	// looked at every quick.
	changes = 100
	quick   = "10s"
)

// secrets measures how so many Secrets come to be, what keeping them costs, and how
// soon they follow a change in OpenBao.
func secrets(ctx context.Context, s *stage, count int, idle time.Duration) error {
	namespaces := count / secretsPerNamespace
	if err := s.fill(ctx, namespaces); err != nil {
		return err
	}
	tree := sample.Fleet("kept", namespaces)
	if err := s.pushed(ctx, tree); err != nil {
		return err
	}
	if err := errors.Join(s.ready(ctx, namespaces+sample.NamespacesPerTenant), s.settle(ctx)); err != nil {
		return err
	}
	fmt.Printf("%d secrets in %d namespaces\n", count, namespaces)

	before, err := s.cpu()
	if err != nil {
		return err
	}
	served := s.served()
	for i := range namespaces {
		name, tenant := keeper(i)
		every := "5m"
		if i < sample.NamespacesPerTenant {
			every = quick
		}
		tree[sample.NamespaceFile(name, tenant)] = fleet.File{Data: withSecrets(name, tenant, every)}
	}
	if err := s.pushed(ctx, tree); err != nil {
		return err
	}
	begin := time.Now()
	profiled := s.profile(ctx, "secrets")
	if err := errors.Join(s.synced(ctx, count), profiled()); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := s.cpu()
	if err != nil {
		return err
	}
	fmt.Printf("  push returned → all synced   %.1f s, %d requests to OpenBao; CPU: %s\n", took.Seconds(), s.served()-served, after.since(before))

	if err := errors.Join(s.settle(ctx), s.caughtUp(ctx)); err != nil {
		return err
	}
	return errors.Join(s.keeping(ctx, idle), s.changing(ctx))
}

// caughtUp waits until the looks that fell due while secrets were new are made.
func (s *stage) caughtUp(ctx context.Context) error {
	return s.poll(ctx, time.Second, func() (bool, error) {
		n, err := waiting(ctx, s.Platform, "secretsync")
		return n == 0, err
	})
}

// keeper is the i-th namespace, and its tenant.
func keeper(i int) (name, tenant string) {
	tenant = sample.Tenant("kept", i/sample.NamespacesPerTenant)
	return fmt.Sprintf("%s-ns%d", tenant, i%sample.NamespacesPerTenant), tenant
}

func withSecrets(name, tenant, every string) []byte {
	data := append(sample.Namespace(name, tenant, 0), "  secrets:\n"...)
	for k := range secretsPerNamespace {
		data = fmt.Appendf(data, "  - {name: s%d, path: %s/s%d, refreshInterval: %s}\n", k, name, k, every)
	}
	return data
}

// fill puts the secrets into OpenBao.
func (s *stage) fill(ctx context.Context, namespaces int) error {
	c, err := s.OpenBaoClient()
	if err != nil {
		return err
	}
	kv := c.KVv2("secret")
	var next atomic.Int64
	var workers sync.WaitGroup
	failed := make(chan error, 16)
	for range cap(failed) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < namespaces*secretsPerNamespace; i = int(next.Add(1)) - 1 {
				name, tenant := keeper(i / secretsPerNamespace)
				path := fmt.Sprintf("%s/%s/s%d", tenant, name, i%secretsPerNamespace)
				if _, err := kv.Put(ctx, path, map[string]any{"username": name, "password": "first"}); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	workers.Wait()
	close(failed)
	return <-failed
}

func (s *stage) pushed(ctx context.Context, tree fleet.Tree) error {
	if err := s.write(tree); err != nil {
		return err
	}
	if _, err := s.commit(ctx); err != nil {
		return err
	}
	return s.push(ctx)
}

// synced waits until so many SecretSyncs are Ready.
func (s *stage) synced(ctx context.Context, count int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	ready := map[client.ObjectKey]bool{}
	for ctx.Err() == nil { // an API server under load ends watches that lag behind
		w, err := s.Client.Watch(ctx, &v1alpha1.SecretSyncList{})
		if err != nil {
			return err
		}
		for event := range w.ResultChan() {
			ss, ok := event.Object.(*v1alpha1.SecretSync)
			if event.Type == watch.Error || !ok {
				continue
			}
			if meta.IsStatusConditionTrue(ss.Status.Conditions, v1alpha1.ConditionReady) {
				ready[client.ObjectKeyFromObject(ss)] = true
			}
			if len(ready) >= count {
				w.Stop()
				return nil
			}
		}
	}
	return fmt.Errorf("%d of %d SecretSyncs are synced: %w", len(ready), count, context.Cause(ctx))
}

// served is how many requests OpenBao has answered, by its audit log.
func (s *stage) served() int {
	data, err := os.ReadFile(filepath.Join(s.Logs(), "openbao-audit.log"))
	if err != nil {
		return 0
	}
	return bytes.Count(data, []byte(`"type":"response"`))
}

// keeping watches secrets that do not change.
func (s *stage) keeping(ctx context.Context, during time.Duration) error {
	before, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	bao, err := used(s.Platform, "openbao")
	if err != nil {
		return err
	}
	served, begin := s.served(), time.Now()
	timer := time.NewTimer(during)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	after, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	baoAfter, err := used(s.Platform, "openbao")
	if err != nil {
		return err
	}
	seconds := time.Since(begin).Seconds()
	delta := after.requests.since(before.requests)
	fmt.Printf("  kept for %-19s %.0f requests/s to OpenBao, %.0f reads/s and %.1f writes/s to the API server (logins are writes)\n", during,
		float64(s.served()-served)/seconds, float64(delta.reads)/seconds, float64(delta.writes)/seconds)
	fmt.Printf("  %28s operator %.1f %% of a core, %d MiB resident, %d MiB at the most; OpenBao %.1f %%\n", "",
		100*(after.operator.cpu-before.operator.cpu).Seconds()/seconds, after.operator.rss>>20, after.operator.peak>>20,
		100*(baoAfter.cpu-bao.cpu).Seconds()/seconds)
	return nil
}

// changing times how soon a Secret follows OpenBao, one change after another.
func (s *stage) changing(ctx context.Context) error {
	c, err := s.OpenBaoClient()
	if err != nil {
		return err
	}
	kv := c.KVv2("secret")
	w, err := s.Client.Watch(ctx, &corev1.SecretList{}, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBySecretSync})
	if err != nil {
		return err
	}
	defer w.Stop()
	begun := map[client.ObjectKey]time.Time{}
	for i := range changes {
		name, tenant := keeper(i / secretsPerNamespace)
		secret := fmt.Sprintf("s%d", i%secretsPerNamespace)
		if _, err := kv.Put(ctx, tenant+"/"+name+"/"+secret, map[string]any{"username": name, "password": "second"}); err != nil {
			return err
		}
		begun[client.ObjectKey{Namespace: name, Name: secret}] = time.Now()
	}
	var all []time.Duration
	for event := range w.ResultChan() {
		o, ok := event.Object.(*corev1.Secret)
		if event.Type == watch.Error || !ok || string(o.Data["password"]) != "second" {
			continue
		}
		key := client.ObjectKeyFromObject(o)
		if at, ok := begun[key]; ok {
			all = append(all, time.Since(at))
			delete(begun, key)
		}
		if len(begun) == 0 {
			break
		}
	}
	if len(all) < changes {
		return fmt.Errorf("the watch of Secrets ended: %w", context.Cause(ctx))
	}
	fmt.Printf("  changed → in the Secret      p50 %.1f s, p95 %.1f s, max %.1f s of %d, looked at every %s\n",
		percentile(all, 50).Seconds(), percentile(all, 95).Seconds(), percentile(all, 100).Seconds(), len(all), quick)
	return nil
}
