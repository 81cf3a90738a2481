package namespace

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/status"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// TenantReconciler sums up a tenant's namespaces. It changes none of them.
type TenantReconciler struct {
	client.Client
	now func() time.Time

	mu sync.Mutex
	// paces are those of tenants whose namespaces are on their way to Ready.
	paces map[string]*pace
}

// pace is when a tenant's status may be written next while its namespaces are on
// their way to Ready: ten of them are no reason for ten writes, and the longer it
// takes, the less often it has to be said.
type pace struct {
	from time.Time
	wait time.Duration
}

// Bounds of a pace: what a status says is never older than the longest.
const (
	shortestPace = 10 * time.Second
	longestPace  = 40 * time.Second
)

// Reconcile sums up one tenant.
func (r *TenantReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	t := &v1alpha1.Tenant{}
	if err := r.Get(ctx, req.NamespacedName, t); err != nil {
		if apierrors.IsNotFound(err) {
			r.hurry(req.Name, false)
			forgetTenant(req.Name)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("cannot get Tenant: %w", err)
	}
	all, err := namespacesOf(ctx, r, t.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	holder, err := prefixHolder(ctx, r, t)
	if err != nil {
		return ctrl.Result{}, err
	}

	before := t.DeepCopy()
	counts, late := count(all)
	t.Status.ObservedGeneration = t.Generation
	t.Status.Namespaces = counts
	t.Status.Summary = fmt.Sprintf("%d/%d", counts.Ready, counts.Total)
	t.Status.Used = used(all, func(name string) *v1alpha1.NamespaceProfile {
		p := &v1alpha1.NamespaceProfile{}
		if found, _ := get(ctx, r, name, p); !found {
			return nil
		}
		return p
	})
	ready, working, stuck := verdict(t, counts, late, holder)
	status.SetConditions(&t.Status.Conditions, t.Generation, metav1.NewTime(r.now()), ready, working, stuck)
	measureTenant(t.Name, counts)

	if equality.Semantic.DeepEqual(before.Status, t.Status) {
		return ctrl.Result{}, nil
	}
	if left := r.hurry(t.Name, working); left > 0 {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	_, err = status.Write(ctx, r.Client, t, &t.Status, v1alpha1.FieldOwnerNamespace)
	return ctrl.Result{}, err
}

// hurry is how long a write of the status has to wait: not at all once the tenant
// is at rest, unless another soon follows while it is not.
func (r *TenantReconciler) hurry(tenant string, working bool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !working {
		delete(r.paces, tenant)
		return 0
	}
	if r.paces == nil {
		r.paces = map[string]*pace{}
	}
	now, p := r.now(), r.paces[tenant]
	if p == nil {
		p = &pace{now, shortestPace}
		r.paces[tenant] = p
	}
	if left := p.wait - now.Sub(p.from); left > 0 {
		return left
	}
	p.from, p.wait = now, min(2*p.wait, longestPace)
	return 0
}

// count sums up namespaces, and names those that are neither ready nor removed.
func count(all []*v1alpha1.TenantNamespace) (v1alpha1.NamespaceCounts, []string) {
	var c v1alpha1.NamespaceCounts
	var late []string
	for _, tn := range all {
		c.Total++
		_, removed := tn.Annotations[v1alpha1.AnnotationRemovedAt]
		switch {
		case removed:
			c.Removed++
		case isReady(tn):
			c.Ready++
		default:
			late = append(late, tn.Name)
		}
	}
	slices.Sort(late)
	return c, late
}

// isReady is whether a namespace is Ready as of its newest spec.
func isReady(tn *v1alpha1.TenantNamespace) bool {
	return tn.Status.ObservedGeneration == tn.Generation && meta.IsStatusConditionTrue(tn.Status.Conditions, v1alpha1.ConditionReady)
}

// used is the sum of the quotas that namespaces have.
func used(all []*v1alpha1.TenantNamespace, profile func(string) *v1alpha1.NamespaceProfile) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for _, tn := range all {
		p := profile(tn.Spec.Profile)
		if p == nil {
			continue
		}
		quota, err := tenancy.QuotaOf(tn, p)
		if err != nil {
			continue
		}
		for name, q := range quota {
			total := sum[name]
			for range max(1, len(tn.Spec.Clusters)) {
				total.Add(q)
			}
			sum[name] = total
		}
	}
	if len(sum) == 0 {
		return nil
	}
	return sum
}

func verdict(t *v1alpha1.Tenant, c v1alpha1.NamespaceCounts, late []string, holder *v1alpha1.Tenant) (ready metav1.Condition, working, stuck bool) {
	ready = metav1.Condition{Type: v1alpha1.ConditionReady}
	switch {
	case holder != nil:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonPrefixTaken, prefixTaken(t, holder)
		return ready, false, true
	case len(late) > 0:
		ready.Status, ready.Reason = metav1.ConditionUnknown, v1alpha1.ReasonNamespacesNotReady
		ready.Message = fmt.Sprintf("Waiting for %d of %d namespaces: %s", len(late), c.Total-c.Removed, listed(late))
		return ready, true, false
	case t.Spec.Cordoned:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionTrue, v1alpha1.ReasonCordoned, "Cordoned; "+namespacesText(c)
	default:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionTrue, v1alpha1.ReasonReconciled, namespacesText(c)
	}
	return ready, false, false
}

func namespacesText(c v1alpha1.NamespaceCounts) string {
	text := fmt.Sprintf("%d namespaces ready", c.Ready)
	if c.Ready == 1 {
		text = "1 namespace ready"
	}
	if c.Removed > 0 {
		text += fmt.Sprintf(", %d removed and kept", c.Removed)
	}
	return text
}
