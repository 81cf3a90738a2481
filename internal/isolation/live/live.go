// Package live proves on a cluster who reaches whom: it runs small Pods in the
// namespaces of a plan, has them connect to one another and to the outside, and
// removes them.
//
// The Pods ask for nothing that a tenant's own may not have, so admission and
// quotas decide about them as about any other. What refuses a connection counts only
// where something answers. Nothing is changed but by making and deleting those Pods.
package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/isolation"
	"github.com/aetherplatform/aether/internal/reach"
)

// Options is what a run needs.
type Options struct {
	Client client.Client
	Config *rest.Config
	// Image of the probe, by tenant; "" is for who has none of its own.
	Image map[string]string
	// NodeSelector that Pods of a tenant must have.
	NodeSelector map[string]map[string]string
	// Timeout of one connection.
	Timeout time.Duration
	// Ready is how long the Pods may take to run.
	Ready    time.Duration
	Progress io.Writer
	// Now is the clock.
	Now func() time.Time
}

// Proof is what came of it.
type Proof struct {
	Plan *isolation.Plan
	Seen map[*isolation.Check]isolation.Seen
	// Live is what the cluster's own policies say; nil when they could not be read.
	Live *reach.Model
	// Missing are namespaces in which nothing could be proven, and why.
	Missing map[string]error
	Notes   []string
}

// Prove runs Pods for a plan and says what they saw. It removes them in the end,
// also when the context is cancelled.
func Prove(ctx context.Context, in isolation.Input, o Options) (proof *Proof, err error) {
	r := &run{Options: o, pods: map[string][]*corev1.Pod{}, missing: map[string]error{}}
	defer func() {
		if gone := r.remove(context.WithoutCancel(ctx)); gone != nil {
			err = errors.Join(err, gone)
		}
	}()
	in.Labels = labels()
	for i := range in.Ingress {
		in.Ingress[i].Labels = maps.Clone(in.Ingress[i].Labels)
		if in.Ingress[i].Labels == nil {
			in.Ingress[i].Labels = map[string]string{}
		}
		maps.Copy(in.Ingress[i].Labels, labels())
	}
	first := isolation.New(in)
	if err := r.sweep(ctx); err != nil {
		return nil, err
	}
	facts, err := r.discover(ctx)
	if err != nil {
		return nil, err
	}
	// What is known of namespaces that are nobody's, so that rules about their labels
	// are judged by them.
	for i := range in.Ingress {
		in.Ingress[i].NamespaceLabels = facts.labels[in.Ingress[i].Namespace]
	}
	if err := r.start(ctx, first, facts); err != nil {
		return nil, err
	}
	if err := r.resolve(ctx, first, facts, in.Other); err != nil {
		return nil, err
	}
	in.Cluster = &facts.Cluster
	plan := isolation.New(in)
	for _, e := range slices.Concat(plan.Rows, plan.Columns) {
		if e.Pods() && e.Unprobed == "" && len(r.pods[e.Name]) == 0 {
			e.Unprobed = "no Pod of ours runs there"
			if why := r.missing[e.Name]; why != nil {
				e.Unprobed = why.Error()
			}
		}
	}
	proof = &Proof{Plan: plan, Live: facts.live, Missing: r.missing, Notes: facts.notes}
	proof.Seen, err = r.probe(ctx, plan, facts)
	return proof, err
}

// run is one Prove.
type run struct {
	Options
	// pods that run, by the name of the row.
	pods    map[string][]*corev1.Pod
	missing map[string]error
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.Progress, format+"\n", args...) }

// serves is the ports at which the Pods of a column answer.
func serves(plan *isolation.Plan, column string) []string {
	ports := map[string]bool{}
	for _, c := range plan.Checks {
		if c.To.Name == column && c.To.Pods() && speaks(c.Port) {
			ports[strings.ToLower(c.Port.Protocol)+":"+fmt.Sprint(c.Port.Number)] = true
		}
	}
	return slices.Sorted(maps.Keys(ports))
}

// speaks says whether the probe knows a protocol.
func speaks(p reach.Port) bool { return p.Protocol == "TCP" || p.Protocol == "UDP" }

// start makes Pods in the namespaces and waits until they run.
func (r *run) start(ctx context.Context, plan *isolation.Plan, facts *facts) error {
	var mu sync.Mutex
	var made []*corev1.Pod
	of := map[*corev1.Pod]string{}
	fail := func(row string, err error) {
		mu.Lock()
		defer mu.Unlock()
		r.missing[row] = err
	}
	err := each(ctx, plan.Rows, func(row *isolation.End) error {
		if !row.Pods() {
			return nil
		}
		if why := facts.absent(row); why != nil {
			fail(row.Name, why)
			return nil
		}
		for n := range podsEach {
			image := r.Image[row.Tenant]
			if image == "" {
				image = r.Image[""]
			}
			p := pod(row, n+1, image, serves(plan, row.Name))
			p.Spec.NodeSelector = r.NodeSelector[row.Tenant]
			if row.Kind == isolation.Ingress {
				own(p, facts.uids[p.Namespace])
			}
			if err := r.Client.Create(ctx, p); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				fail(row.Name, refusal(row.Endpoint.Namespace, err))
				return nil
			}
			mu.Lock()
			made, of[p] = append(made, p), row.Name
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.say("%d Pods made in %d namespaces; waiting for them to run", len(made), len(made)/podsEach)
	waiting, err := r.await(ctx, made)
	if err != nil {
		return err
	}
	for _, p := range made {
		if why := waiting[client.ObjectKeyFromObject(p)]; why != "" {
			r.missing[of[p]] = fmt.Errorf("the Pod %s/%s does not run after %s: %s", p.Namespace, p.Name, r.Ready, why)
			continue
		}
		r.pods[of[p]] = append(r.pods[of[p]], p)
	}
	for row := range r.pods {
		slices.SortFunc(r.pods[row], func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	}
	for _, row := range slices.Sorted(maps.Keys(r.missing)) {
		r.say("%s: %v", row, r.missing[row])
	}
	return nil
}

// refusal says why a Pod could not be made, and what to do about it.
func refusal(namespace string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "exceeded quota"), strings.Contains(text, "failed quota"):
		return fmt.Errorf("the quota of %s has no room for %d Pods of %s CPU and %s memory: %w", namespace, podsEach, requestCPU, requestMemory, err)
	case strings.Contains(text, "'aether-images'"), strings.Contains(text, "Policy aether-images"):
		return fmt.Errorf("the probe's image is of no registry of the tenant's: name one that is with --image tenant=image, or grant a TenantException: %w", err)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return fmt.Errorf("no Pod may be made in %s: %w", namespace, err)
	}
	return fmt.Errorf("cannot make a Pod in %s: %w", namespace, err)
}

// each does something for all at once, within bounds.
func each[T any](ctx context.Context, items []T, do func(T) error) error {
	const atOnce = 8
	slots := make(chan struct{}, atOnce)
	errs := make([]error, len(items))
	var all sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = do(item)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
