// Package kyverno evaluates Kyverno's policies with Kyverno's own engine, for
// package policy. Only the program itself imports it: Kyverno's packages weigh more
// than all others of Aether, and no controller has a use for them.
//
// ValidatingPolicies and the validate rules of ClusterPolicies and Policies are
// asked about the requests of the operator, as Kyverno's webhook would be; of what
// it is configured with, its defaults are assumed. Exceptions beside them hold.
//
// It has no client of a cluster, no registry and no HTTP, and asks none: a policy
// that would is told apart before it runs, and reported as not evaluated, as is all
// that changes objects, makes, deletes or verifies them. An engine that panics, or
// does not come to an end, costs its policy and not the review.
package kyverno

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	policiesv1beta1 "github.com/kyverno/api/api/policies.kyverno.io/v1beta1"
	kyvernov1 "github.com/kyverno/kyverno/api/kyverno/v1"
	kyvernov2 "github.com/kyverno/kyverno/api/kyverno/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/policy"
)

// Engine is Kyverno's.
type Engine struct{}

var _ policy.Engine = Engine{}

// Groups of Kyverno's kinds.
const (
	celGroup     = "policies.kyverno.io"
	classicGroup = "kyverno.io"
)

// Load implements policy.Engine.
func (Engine) Load(declared []policy.Declared, beside []*unstructured.Unstructured) ([]policy.Foreign, []review.Finding) {
	quiet()
	l := &loader{unevaluated: map[string][]string{}}
	for _, d := range declared {
		l.declare(d)
	}
	return l.policies(beside), l.findings()
}

// quiet has Kyverno's engine, which logs what it finds, keep it to itself.
var quiet = sync.OnceFunc(func() { log.SetLogger(logr.Discard()) })

type loader struct {
	cel         []celSource
	celExcept   []*policiesv1beta1.PolicyException
	classic     []classicSource
	except      []exceptSource
	unevaluated map[string][]string // what, and where, by the reason
	notes       []review.Finding
}

type celSource struct {
	policiesv1beta1.ValidatingPolicyLike
	place review.Place
}

type exceptSource struct {
	*kyvernov2.PolicyException
	place review.Place
}

type classicSource struct {
	kyvernov1.PolicyInterface
	place review.Place
}

// Why a kind is not evaluated.
const (
	changes  = "what changes objects before others judge them is not seen here"
	makes    = "what makes objects out of others refuses none"
	deletes  = "what deletes objects by the clock refuses none"
	verifies = "images are verified at their registry"
	caches   = "what a cluster or a server says is not known here"
	newer    = "this build of aether does not know the kind"
)

var whyNot = map[string]string{
	celGroup + "/MutatingPolicy":                  changes,
	celGroup + "/NamespacedMutatingPolicy":        changes,
	celGroup + "/GeneratingPolicy":                makes,
	celGroup + "/NamespacedGeneratingPolicy":      makes,
	celGroup + "/DeletingPolicy":                  deletes,
	celGroup + "/NamespacedDeletingPolicy":        deletes,
	celGroup + "/ImageValidatingPolicy":           verifies,
	celGroup + "/NamespacedImageValidatingPolicy": verifies,
	classicGroup + "/ClusterCleanupPolicy":        deletes,
	classicGroup + "/CleanupPolicy":               deletes,
	classicGroup + "/GlobalContextEntry":          caches,
}

// declare files one object where it belongs.
func (l *loader) declare(d policy.Declared) {
	gvk := d.GroupVersionKind()
	switch name := gvk.Group + "/" + gvk.Kind; name {
	case celGroup + "/ValidatingPolicy":
		if p := decoded(l, d, &policiesv1beta1.ValidatingPolicy{}); p != nil {
			l.cel = append(l.cel, celSource{p, d.Place})
		}
	case celGroup + "/NamespacedValidatingPolicy":
		if p := decoded(l, d, &policiesv1beta1.NamespacedValidatingPolicy{}); p != nil {
			p.Namespace = cmp.Or(p.Namespace, "default")
			l.cel = append(l.cel, celSource{p, d.Place})
		}
	case celGroup + "/PolicyException":
		if e := decoded(l, d, &policiesv1beta1.PolicyException{}); e != nil {
			l.celExcept = append(l.celExcept, e)
		}
	case classicGroup + "/ClusterPolicy":
		if p := decoded(l, d, &kyvernov1.ClusterPolicy{}); p != nil {
			l.classic = append(l.classic, classicSource{p, d.Place})
		}
	case classicGroup + "/Policy":
		if p := decoded(l, d, &kyvernov1.Policy{}); p != nil {
			p.Namespace = cmp.Or(p.Namespace, "default")
			l.classic = append(l.classic, classicSource{p, d.Place})
		}
	case classicGroup + "/PolicyException":
		if e := decoded(l, d, &kyvernov2.PolicyException{}); e != nil {
			l.except = append(l.except, exceptSource{e, d.Place})
		}
	default:
		l.leave(cmp.Or(whyNot[name], newer), fmt.Sprintf("%s %s", gvk.Kind, d.GetName()), d.Place)
	}
}

// decoded is an object in its Go type; nil is one that cannot be read, which is
// noted. As in the API server, fields that the type has not are left out.
func decoded[T any](l *loader, d policy.Declared, into *T) *T {
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object, into)
	if err == nil && d.GetName() == "" {
		err = fmt.Errorf("%s has no metadata.name", d.GetKind())
	}
	if err != nil {
		l.notes = append(l.notes, review.Finding{
			Risk: review.Medium, Category: policy.NotEvaluated, Place: d.Place,
			Title: fmt.Sprintf("Policies of %s are not evaluated: %s", d.Place, policy.OneLine(err.Error())),
		})
		return nil
	}
	return into
}

// leave notes what is not evaluated whatever is asked.
func (l *loader) leave(why, what string, at review.Place) {
	l.unevaluated[why] = append(l.unevaluated[why], fmt.Sprintf("%s (%s)", what, at))
}

// policies are those that can be asked.
func (l *loader) policies(beside []*unstructured.Unstructured) []policy.Foreign {
	var all []policy.Foreign
	for _, s := range l.cel {
		all = append(all, newCEL(s, l.celExcept))
	}
	world := &surroundings{configMaps: configMapsOf(beside)}
	for _, e := range l.except {
		if why := unknowableException(e.PolicyException); why != "" {
			l.leave(why, "PolicyException "+e.Name, e.place)
			continue
		}
		world.exceptions = append(world.exceptions, e.PolicyException)
	}
	for _, s := range l.classic {
		if p := l.newClassic(s, world); p != nil {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b policy.Foreign) int { return strings.Compare(a.Name(), b.Name()) })
	return all
}

// mostListed bounds the details of a finding.
const mostListed = 20

func (l *loader) findings() []review.Finding {
	for why, what := range l.unevaluated {
		slices.Sort(what)
		title := fmt.Sprintf("%d policies and rules of Kyverno are not evaluated: %s", len(what), why)
		if len(what) == 1 {
			title = "1 policy or rule of Kyverno is not evaluated: " + why
		}
		if more := len(what) - mostListed; more > 0 {
			what = append(what[:mostListed], fmt.Sprintf("and %d more", more))
		}
		l.notes = append(l.notes, review.Finding{
			Risk: review.Info, Category: policy.NotEvaluated, Title: title, Details: what,
		})
	}
	slices.SortFunc(l.notes, func(a, b review.Finding) int { return strings.Compare(a.Title, b.Title) })
	return l.notes
}
