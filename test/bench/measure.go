package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/test/bench/sample"
)

// firstApply compares Aether with a plain client that applies the same objects:
// the plain client goes before and after it, since a server slows as it fills.
func firstApply(ctx context.Context, s *stage, namespaces int) error {
	if err := errors.Join(s.ready(ctx, sample.NamespacesPerTenant), installPlainKinds(ctx, s)); err != nil {
		return err
	}
	fmt.Printf("first apply of %d namespaces\n", namespaces)
	took := map[what]time.Duration{}
	plainly := func(prefix string, what what) error {
		if err := s.settle(ctx); err != nil {
			return err
		}
		before, err := s.cpu()
		if err != nil {
			return err
		}
		stop := func() error { return nil }
		if len(took) == 0 {
			stop = s.profile(ctx, "plain")
		}
		done, err := plain(ctx, s.Config, sample.Fleet(prefix, namespaces), what)
		if err := errors.Join(err, stop()); err != nil {
			return err
		}
		after, err := s.cpu()
		if err != nil {
			return err
		}
		took[what] += done.took / 2
		fmt.Printf("  plain client: %-36s %6.1f s  %5.0f objects/s, %5.1f namespaces/s; CPU: %s\n", what,
			done.took.Seconds(), float64(done.objects)/done.took.Seconds(), float64(namespaces)/done.took.Seconds(), after.since(before))
		return nil
	}
	if err := errors.Join(plainly("plain", childrenAlone), plainly("whole", rendered)); err != nil {
		return err
	}
	aether, err := s.firstPush(ctx, namespaces)
	if err != nil {
		return err
	}
	if err := errors.Join(plainly("whole2", rendered), plainly("plain2", childrenAlone)); err != nil {
		return err
	}
	for _, what := range []what{rendered, childrenAlone} {
		fmt.Printf("  Aether's rate is %.0f %% of a plain client's that applies %s\n", 100*took[what].Seconds()/aether.Seconds(), what)
	}
	return nil
}

// firstPush is how long a fleet takes from when its push returned until all of it is Ready.
func (s *stage) firstPush(ctx context.Context, namespaces int) (time.Duration, error) {
	if err := s.settle(ctx); err != nil {
		return 0, err
	}
	start, err := s.cpu()
	if err != nil {
		return 0, err
	}
	asked, err := requestsOf(ctx, s.Platform)
	if err != nil {
		return 0, err
	}
	if err := s.write(sample.Fleet("first", namespaces)); err != nil {
		return 0, err
	}
	if _, err := s.commit(ctx); err != nil {
		return 0, err
	}
	if err := s.push(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	profiled := s.profile(ctx, "first")
	if err := s.ready(ctx, namespaces+sample.NamespacesPerTenant); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	end, err := s.cpu()
	if err := errors.Join(err, profiled()); err != nil {
		return 0, err
	}
	askedAfter, err := requestsOf(ctx, s.Platform)
	if err != nil {
		return 0, err
	}
	fmt.Printf("  Aether: push returned → all Ready                  %6.1f s  %5d writes,    %5.1f namespaces/s; CPU: %s\n",
		took.Seconds(), askedAfter.since(asked).writes, float64(namespaces)/took.Seconds(), end.since(start))
	return took, nil
}

// cpuTimes is what each process has used so far, by name.
type cpuTimes map[string]time.Duration

func (s *stage) cpu() (cpuTimes, error) {
	times := cpuTimes{}
	for _, p := range s.Processes {
		u, err := used(s.Platform, p.Name)
		if err != nil {
			return nil, err
		}
		times[p.Name] = u.cpu
	}
	self, err := usedBy(os.Getpid())
	times["bench"] = self.cpu
	return times, err
}

// since lists what was used since earlier, the most first.
func (t cpuTimes) since(earlier cpuTimes) string {
	names := slices.SortedFunc(maps.Keys(t), func(a, b string) int {
		return cmp.Compare(t[b]-earlier[b], t[a]-earlier[a])
	})
	var parts []string
	for _, name := range names {
		if spent := t[name] - earlier[name]; spent >= 100*time.Millisecond {
			parts = append(parts, fmt.Sprintf("%s %.1f s", name, spent.Seconds()))
		}
	}
	return strings.Join(parts, ", ")
}

// settle waits until the cluster's own controllers have done what they do for new
// namespaces. They are slower than any client, and would else be paid for by
// whoever comes next.
func (s *stage) settle(ctx context.Context) error {
	const interval, quiet = 2 * time.Second, 100 * time.Millisecond
	var last time.Duration
	return s.poll(ctx, interval, func() (bool, error) {
		u, err := used(s.Platform, "kube-controller-manager")
		spent := u.cpu - last
		last = u.cpu
		return spent < quiet, err
	})
}

// pushes grows the fleet to a size and then pushes changes of one namespace.
func pushes(ctx context.Context, s *stage, layout layout, size, count int) error {
	begin := time.Now()
	if err := errors.Join(s.grow(ctx, layout, size), s.ready(ctx, size)); err != nil {
		return err
	}
	fmt.Printf("%d namespaces present (grown in %.0f s)\n", size, time.Since(begin).Seconds())

	what := fmt.Sprintf("pushes-%d", size)
	profiled := s.profile(ctx, what)
	const tenant, name = "seed0000", "seed0000-ns3"
	var all []time.Duration
	var cpu, fluxCPU time.Duration
	var asked requests
	for edition := 1; edition <= count; edition++ {
		tree := sample.Fleet("seed", sample.NamespacesPerTenant)
		tree[sample.NamespaceFile(name, tenant)] = fleet.File{Data: sample.Namespace(name, tenant, size+edition)}
		if err := s.write(layout.of(tree)); err != nil {
			return err
		}
		revision, err := s.commit(ctx)
		if err != nil {
			return err
		}
		before, err := s.snapshot(ctx)
		if err != nil {
			return err
		}
		took, err := s.pushToReady(ctx, name, revision)
		if err != nil {
			return err
		}
		if err := s.read(ctx, revision); err != nil {
			return err
		}
		after, err := s.snapshot(ctx)
		if err != nil {
			return err
		}
		all = append(all, took)
		cpu += after.operator.cpu - before.operator.cpu
		fluxCPU += after.sources.cpu - before.sources.cpu
		delta := after.requests.since(before.requests)
		asked.reads, asked.writes = asked.reads+delta.reads, asked.writes+delta.writes
	}
	n := time.Duration(count)
	fmt.Printf("  push returned → Ready    p50 %.2f s, p95 %.2f s, max %.2f s over %d pushes\n",
		percentile(all, 50).Seconds(), percentile(all, 95).Seconds(), percentile(all, 100).Seconds(), count)
	fmt.Printf("  a push costs             %.3f s CPU of the operator, %.3f s of the source controller; %.1f reads, %.1f writes\n",
		(cpu / n).Seconds(), (fluxCPU / n).Seconds(), float64(asked.reads)/float64(count), float64(asked.writes)/float64(count))
	return errors.Join(profiled(), s.heap(ctx, what))
}

// idle watches an operator that has nothing to do.
func idle(ctx context.Context, s *stage, size int, during time.Duration) error {
	before, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
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
	fmt.Printf("  idle for %-15s %d writes, %.3f s CPU; %d MiB resident, %d MiB at the most\n", during,
		after.requests.since(before.requests).writes, (after.operator.cpu - before.operator.cpu).Seconds(),
		after.operator.rss>>20, after.operator.peak>>20)
	return nil
}

// snapshot is what the processes have used so far.
type snapshot struct {
	operator, sources usage
	requests          requests
}

func (s *stage) snapshot(ctx context.Context) (snapshot, error) {
	operator, err := used(s.Platform, "namespace-operator")
	if err != nil {
		return snapshot{}, err
	}
	sources, err := used(s.Platform, "source-controller")
	if err != nil {
		return snapshot{}, err
	}
	asked, err := requestsOf(ctx, s.Platform)
	return snapshot{operator, sources, asked}, err
}

// pushToReady is the time from when git push returns until the namespace is
// Ready with that revision.
func (s *stage) pushToReady(ctx context.Context, name, revision string) (time.Duration, error) {
	w, err := s.Client.Watch(ctx, &v1alpha1.TenantNamespaceList{},
		&client.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name)})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	if err := s.push(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	for event := range w.ResultChan() {
		tn, ok := event.Object.(*v1alpha1.TenantNamespace)
		if event.Type == watch.Error || !ok {
			continue
		}
		ready := meta.FindStatusCondition(tn.Status.Conditions, v1alpha1.ConditionReady)
		if tn.Annotations[v1alpha1.AnnotationRevision] == revision && ready != nil && ready.Status == "True" && ready.ObservedGeneration == tn.Generation {
			return time.Since(begin), nil
		}
	}
	return 0, fmt.Errorf("the watch of %s ended: %w", name, context.Cause(ctx))
}

// fleetKey is the platform's own TenantSource, and its GitRepository.
var fleetKey = client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "fleet"}

// read waits until the TenantSource says that it applied a revision.
func (s *stage) read(ctx context.Context, revision string) error {
	return s.poll(ctx, 20*time.Millisecond, func() (bool, error) {
		source := &v1alpha1.TenantSource{}
		err := s.Client.Get(ctx, fleetKey, source)
		return source.Status.LastAppliedRevision == revision, err
	})
}

// ready waits until so many namespaces are Ready, as their tenants say. It watches:
// to list a thousand tenants again and again would cost the API server a part of
// what is measured.
func (s *stage) ready(ctx context.Context, namespaces int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	w, err := s.Client.Watch(ctx, &v1alpha1.TenantList{})
	if err != nil {
		return err
	}
	defer w.Stop()
	ready, sum := map[string]int{}, 0
	for event := range w.ResultChan() {
		t, ok := event.Object.(*v1alpha1.Tenant)
		if event.Type == watch.Error || !ok {
			continue
		}
		is := int(t.Status.Namespaces.Ready)
		sum += is - ready[t.Name]
		ready[t.Name] = is
		if sum >= namespaces {
			return nil
		}
	}
	return fmt.Errorf("the watch of Tenants ended: %w", context.Cause(ctx))
}

func (s *stage) poll(ctx context.Context, interval time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
