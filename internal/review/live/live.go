// Package live compares what a fleet renders to with a cluster, as `kubectl diff
// --server-side` does: the API server says what it would make of each object, by
// dry-run, and nothing is written.
//
// It shows what the operator would change. The operator's own bookkeeping, such as
// the seal of a namespace or the revision that an object comes from, is no
// difference, and neither is what others may rightly put beside what it made. What
// others have put inside it is, since the operator takes that away.
package live

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/compare"
)

// Categories of findings of this package, beside review.SoftDeleted.
const (
	// NotCompared: the cluster does not serve a kind.
	NotCompared review.Category = "NotCompared"
	// Orphaned: objects carry Aether's label, and nothing asks for them.
	Orphaned review.Category = "Orphaned"
)

// Operator is who writes what is rendered. Admission policies let nobody else, so
// that a dry-run as anybody else is refused.
const Operator = "system:serviceaccount:" + v1alpha1.SystemNamespace + ":" + v1alpha1.ManagedBy

// mostRequests are under way at the same time.
const mostRequests = 16

// Options of Report.
type Options struct {
	// Head is what is rendered. Its Cluster is the WorkloadCluster that is compared
	// with; nil and "" are the cluster that the fleet is reconciled in.
	Head compare.Options
	// Config of the cluster. See ReadOnly.
	Config *rest.Config
	// Name of the cluster for people, such as the context of a kubeconfig.
	Name string
	// Source is the TenantSource that applies the fleet, "<namespace>/<name>". It has
	// to be named only where there are several.
	Source string

	// every object is asked about up to so many; 0 stands for everyObject.
	every int
}

// HeadError is why head cannot be rendered, rather than the cluster asked.
type HeadError struct{ Err error }

// Error is the cause.
func (e *HeadError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *HeadError) Unwrap() error { return e.Err }

// Report compares a cluster with what head renders to: base is the cluster.
func Report(ctx context.Context, o Options) (base, head *review.Side, report *review.Report, err error) {
	c, err := connect(o)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := c.readSource(ctx); err != nil {
		return nil, nil, nil, err
	}
	options := o.Head
	options.Cluster = nil // choose knows what of the fleet itself is in which cluster
	head, errs, err := compare.Render(ctx, options, c.incumbents())
	if err != nil {
		return nil, nil, nil, &HeadError{err}
	}
	c.choose(head)
	c.sample(head)
	if err := c.readChildren(ctx, head); err != nil {
		return nil, nil, nil, err
	}

	base = &review.Side{
		Revision: review.Revision{Name: o.Name, Digest: c.digest}, Path: head.Path, Files: head.Files,
		Tenants: map[string]*review.Tenant{}, Profiles: map[string]review.Rendered{},
	}
	report = &review.Report{Base: base.Revision, Head: head.Revision, Errors: c.markKnown(errs)}
	c.refuse(head, report)
	if err := c.rehearse(ctx, base, head, report); err != nil {
		return nil, nil, nil, err
	}
	c.leavers(base, head, report)
	c.unservedKinds(report)
	c.taken(report)
	if err := compare.Objects(ctx, base, head, report); err != nil {
		return nil, nil, nil, err
	}
	slices.SortStableFunc(report.Findings, func(a, b review.Finding) int {
		return cmp.Or(a.Risk.Weight()-b.Risk.Weight(), strings.Compare(a.Title, b.Title))
	})
	return base, head, report, nil
}

// cluster is what there is.
type cluster struct {
	Options
	name   string // of the WorkloadCluster, or ""
	client dynamic.Interface
	mapper meta.RESTMapper
	source string // as v1alpha1.LabelSource has it; "" while nothing was applied
	digest string
	// known are the errors that the TenantSource reports.
	known map[string]bool
	// asked are the objects that come from Git, of whatever source.
	asked map[id]*unstructured.Unstructured
	// namespaces are all that there are, and children what Aether made in them.
	namespaces map[string]*unstructured.Unstructured
	children   map[id]*unstructured.Unstructured
	// owners of the fields of what was listed.
	owners map[id]owners
	// samples: not every object is asked about.
	samples   bool
	classesMu sync.Mutex
	classes   map[class]bool // whether the API server leaves them as they are
	settled   atomic.Int64   // objects that were not asked about
	// appliers of what comes from Git, and of what is made of it.
	appliers map[bool]*apply.Applier
	// unserved counts the objects of kinds that the cluster does not serve.
	unserved map[schema.GroupVersionKind]int
}

// id names an object of a cluster.
type id struct {
	schema.GroupKind
	namespace, name string
}

// keyOf is the id of what is rendered.
func keyOf(o *review.Rendered) id {
	key := id{schema.FromAPIVersionAndKind(o.APIVersion, o.Kind).GroupKind(), o.Namespace, o.Name}
	if isAsked(o) || key.GroupKind == (schema.GroupKind{Kind: "Namespace"}) {
		key.namespace = "" // it is shown as that of which it is the Namespace
	}
	return key
}

func idOf(o *unstructured.Unstructured) id {
	return id{o.GroupVersionKind().GroupKind(), o.GetNamespace(), o.GetName()}
}

func ours(kind string) schema.GroupKind {
	return schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: kind}
}

func connect(o Options) (*cluster, error) {
	client, err := dynamic.NewForConfig(o.Config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	transport, err := rest.HTTPClientFor(o.Config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(o.Config, transport)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	c := &cluster{
		Options: o, client: client, mapper: mapper,
		known:      map[string]bool{},
		asked:      map[id]*unstructured.Unstructured{},
		namespaces: map[string]*unstructured.Unstructured{},
		children:   map[id]*unstructured.Unstructured{},
		unserved:   map[schema.GroupVersionKind]int{},
		owners:     map[id]owners{},
		classes:    map[class]bool{},
		appliers:   map[bool]*apply.Applier{},
	}
	for asked, owner := range map[bool]string{true: v1alpha1.FieldOwnerSource, false: v1alpha1.FieldOwnerNamespace} {
		if c.appliers[asked], err = apply.New(o.Config, mapper, owner); err != nil {
			return nil, err
		}
	}
	if o.Head.Cluster != nil {
		c.name = *o.Head.Cluster
	}
	return c, nil
}

// choose keeps of head what is for this cluster, as the operator there does: in a
// workload cluster the tenants with namespaces there, and their peers.
func (c *cluster) choose(head *review.Side) {
	here := map[string]bool{}
	for name, t := range head.Tenants {
		if c.name == "" || slices.ContainsFunc(t.Objects, func(o review.Rendered) bool { return o.Cluster == c.name }) {
			here[name] = true
			for _, peer := range t.Peers {
				here[peer] = true
			}
		}
	}
	for name, t := range head.Tenants {
		if !here[name] && len(t.Errors) == 0 {
			delete(head.Tenants, name)
			continue
		}
		t.Objects = slices.DeleteFunc(t.Objects, func(o review.Rendered) bool {
			switch {
			case !isAsked(&o):
				return o.Cluster != c.name
			case o.Kind == v1alpha1.KindTenantNamespace:
				clusters, _, _ := unstructured.NestedStringSlice(o.Content, "spec", "clusters")
				return len(clusters) == 0 && c.name != "" || len(clusters) > 0 && !slices.Contains(clusters, c.name)
			default:
				return o.Kind == v1alpha1.KindWorkloadCluster && c.name != ""
			}
		})
		for i := range t.Objects {
			t.Objects[i].Cluster = c.name
		}
	}
	for p := range head.Platform() {
		p.Cluster = c.name
		head.AddPlatform(*p)
	}
}

// sample decides whether every object is asked about.
func (c *cluster) sample(head *review.Side) {
	objects := 0
	for _, t := range head.Tenants {
		objects += len(t.Objects)
	}
	c.samples = objects > cmp.Or(c.every, everyObject)
}

// isAsked is whether an object is of the kinds that come from Git.
func isAsked(o *review.Rendered) bool {
	return comesFromGit(schema.FromAPIVersionAndKind(o.APIVersion, o.Kind).GroupKind())
}

// comesFromGit is whether objects of a kind are read from Git. The one kind of
// Aether's that is not is made in namespaces, as the rest of what is there.
func comesFromGit(kind schema.GroupKind) bool {
	return kind.Group == v1alpha1.GroupVersion.Group && kind.Kind != v1alpha1.KindSecretSync
}

// refuse leaves out what the operator would leave alone: a tenant with objects of
// another TenantSource, what is in Namespaces that are not the tenant's, and kinds
// that are not served.
func (c *cluster) refuse(head *review.Side, report *review.Report) {
	for _, name := range slices.Sorted(maps.Keys(head.Tenants)) {
		t := head.Tenants[name]
		foreign := map[string]bool{}
		refuse := func(o *review.Rendered, format string, args ...any) {
			report.Errors = append(report.Errors, review.Error{Place: o.Place, Tenant: name, Message: fmt.Sprintf(format, args...)})
		}
		for i := range t.Objects {
			switch o := &t.Objects[i]; {
			case isAsked(o):
				if holder := sourceOf(c.asked[id{ours(o.Kind), "", o.Name}]); holder != "" && holder != c.source {
					refuse(o, "%s %q is already claimed by TenantSource %s: remove it from one of the two", o.Kind, o.Name, strings.Replace(holder, ".", "/", 1))
					t.Errors = append(t.Errors, &fleet.Error{Tenant: name})
				}
			case o.Kind == "Namespace":
				if live := c.namespaces[o.Name]; live != nil && !c.mayTake(live, name) {
					foreign[o.Name] = true
					refuse(o, "Namespace %q exists and is not Tenant %q's; choose another name, or hand it over: kubectl label namespace %s %s=%s",
						o.Name, name, o.Name, v1alpha1.LabelAdoptableBy, name)
				}
			}
		}
		t.Objects = slices.DeleteFunc(t.Objects, func(o review.Rendered) bool {
			if len(t.Errors) > 0 || !isAsked(&o) && foreign[o.Namespace] {
				return true
			}
			kind := schema.FromAPIVersionAndKind(o.APIVersion, o.Kind)
			_, unserved := c.unserved[kind]
			if unserved {
				c.unserved[kind]++
			}
			return unserved
		})
	}
}

// mayTake is whether a Namespace is the tenant's, or permits it to take it over.
func (c *cluster) mayTake(live *unstructured.Unstructured, tenant string) bool {
	holder, adopter := live.GetLabels()[v1alpha1.LabelTenant], live.GetLabels()[v1alpha1.LabelAdoptableBy]
	if adopter == tenant && (holder == "" || holder == tenant) {
		return true
	}
	owner := c.asked[id{ours(v1alpha1.KindTenant), "", tenant}]
	return holder == tenant && owner != nil && live.GetAnnotations()[v1alpha1.AnnotationTenantUID] == string(owner.GetUID())
}

func sourceOf(o *unstructured.Unstructured) string {
	if o == nil {
		return ""
	}
	return o.GetLabels()[v1alpha1.LabelSource]
}

// add puts an object of the cluster into base.
func add(base, head *review.Side, o review.Rendered) {
	t := base.Tenants[o.Tenant]
	if t == nil {
		t = &review.Tenant{Name: o.Tenant}
		if now := head.Tenants[o.Tenant]; now != nil {
			t.Tenant = now.Tenant
		}
		base.Tenants[o.Tenant] = t
	}
	t.Objects = append(t.Objects, o)
}

// rehearse has the API server say what it would make of each object of head, and
// puts what there is into base.
func (c *cluster) rehearse(ctx context.Context, base, head *review.Side, report *review.Report) error {
	var mu sync.Mutex // of base and report
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(mostRequests)
	one := func(o *review.Rendered, keep func(was *review.Rendered)) {
		work.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			was, violation, err := c.rehearseOne(ctx, o)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			keep(was)
			if violation != nil {
				report.Violations = append(report.Violations, *violation)
			}
			return nil
		})
	}
	for _, p := range slices.Collect(head.Platform()) {
		one(p, func(was *review.Rendered) {
			head.AddPlatform(*p)
			if was != nil {
				base.AddPlatform(*was)
			}
		})
	}
	for name, t := range head.Tenants {
		for i := range t.Objects {
			if t.Objects[i].Digest == asItIs {
				mu.Lock()
				add(base, head, t.Objects[i])
				mu.Unlock()
				continue
			}
			one(&t.Objects[i], func(was *review.Rendered) {
				if was == nil {
					return
				}
				// An object that another tenant had is that tenant's at base.
				if was.Digest != asItIs {
					was.Tenant = tenantOf(was, name)
				}
				add(base, head, *was)
			})
		}
	}
	if err := work.Wait(); err != nil {
		return err
	}
	slices.SortFunc(report.Violations, func(a, b review.Violation) int {
		return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Namespace, b.Namespace),
			strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return nil
}
