// Package policy evaluates the ValidatingAdmissionPolicies of a repository on what
// a change renders to, as the API server will when it is applied, and has an
// Engine evaluate Kyverno's.
//
// Policies, bindings and their parameters are those of base. A change of them is
// shown as a change, and has no effect before it is merged. Expressions are
// compiled and run by the API server's own packages with its budgets; what is
// around them, matching and failure policies, follows its code step by step,
// because the package that holds it needs a client of a cluster and a tracing
// exporter to be linked.
//
// What cannot be known without a cluster is said to be so, and never passed in
// silence: what an authorizer answers, parameters that are not in the repository,
// policies of an engine that is not there. Objects are judged as they are rendered, without the
// defaults that the API server adds to them.
package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/aetherplatform/aether/internal/review"
)

// Findings of this package, beside review.PolicyChanged.
const (
	// NotEvaluated: whether a policy holds is not known.
	NotEvaluated review.Category = "PolicyNotEvaluated"
	// Warned: objects break a policy that does not refuse them.
	Warned review.Category = "PolicyWarning"
)

// maxCost bounds all expressions of one review together, in the API server's unit
// of cost. Each policy has the API server's own bound for each object; this one is
// for objects without number that come close to it.
const maxCost = 20_000_000_000

// batch is how many objects a worker takes at a time.
const batch = 64

// ErrTooExpensive is what objects give that would take policies forever.
var ErrTooExpensive = errors.New("the policies take too long on the objects of this change; make the change smaller, or their expressions simpler")

// Evaluate fills report.Violations, and adds findings on policies to
// report.Findings. Without kyverno, its policies are listed as not evaluated.
func Evaluate(ctx context.Context, base, head *review.Side, report *review.Report, kyverno Engine) error {
	inForce, err := fs.Sub(base.RuleFiles(), base.Folder(""))
	if err != nil {
		return err
	}
	rules, err := load(inForce, kyverno)
	if err != nil {
		return err
	}
	old, err := fs.Sub(base.Files, base.Folder(""))
	if err != nil {
		return err
	}
	now, err := fs.Sub(head.Files, head.Folder(""))
	if err != nil {
		return err
	}
	changed, err := changes(old, now, rules)
	if err != nil {
		return err
	}
	e := &evaluation{set: rules}
	if rules.inForce() {
		if err := e.run(ctx, base, head); err != nil {
			return err
		}
	}
	for _, f := range slices.Concat(changed, rules.notes, e.outcome.findings()) {
		if f.Place.File != "" {
			f.Place.File = base.Folder(f.Place.File)
		}
		report.Findings = append(report.Findings, f)
	}
	report.Violations = append(report.Violations, e.outcome.denied()...)
	return nil
}

// evaluation is one run of the policies on the objects of a change.
type evaluation struct {
	*set
	world   *world
	spent   atomic.Int64
	outcome outcome

	paramsMu    sync.Mutex
	paramsKnown map[schema.GroupVersionKind][]*unstructured.Unstructured
}

func (e *evaluation) run(ctx context.Context, base, head *review.Side) error {
	e.world = newWorld(base, head)
	todo := e.world.steps()
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for len(todo) > 0 {
		some := todo[:min(batch, len(todo))]
		todo = todo[len(some):]
		work.Go(func() error { return e.all(ctx, some) })
	}
	return work.Wait()
}

func (e *evaluation) all(ctx context.Context, steps []step) error {
	var found outcome
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.spent.Load() > maxCost {
			return ErrTooExpensive
		}
		e.one(ctx, s, &found)
	}
	if err := ctx.Err(); err != nil {
		return err // an interrupted expression is no violation
	}
	e.outcome.merge(&found)
	return nil
}

// one judges one object by every policy that matches it.
func (e *evaluation) one(ctx context.Context, s step, found *outcome) {
	now := sync.OnceValue(func() *request { return e.world.request(s) }) // made when a policy can see what changes
	for _, p := range e.policies {
		if e.blind(p, s) || !p.mayMatch(now()) {
			continue
		}
		if verdicts := e.judge(ctx, p, now()); len(verdicts) > 0 {
			e.weigh(about{p.Name, p.place}, s, verdicts, found, func(then *request) []Verdict {
				if !p.mayMatch(then) {
					return nil
				}
				return e.judge(ctx, p, then)
			})
		}
	}
	for _, p := range e.foreign {
		if verdicts := p.Judge(ctx, now().foreign()); len(verdicts) > 0 {
			e.weigh(about{p.Name(), p.Place()}, s, verdicts, found, func(then *request) []Verdict {
				return p.Judge(ctx, then.foreign())
			})
		}
	}
}

// weigh tells what is new from what the policy has against base, left as it is.
func (e *evaluation) weigh(p about, s step, verdicts []Verdict, found *outcome, judge func(*request) []Verdict) {
	var before map[string]bool // what base is refused for; made when it is asked for
	for _, v := range verdicts {
		if v.Kind == Denies && s.operation == admission.Update && before == nil {
			before = map[string]bool{}
			for _, then := range judge(e.world.request(s.before())) {
				if then.Kind == Denies {
					before[then.same()] = true
				}
			}
		}
		found.add(p, s.written(), v, before[v.same()])
	}
}

// judge is what a policy, with each of its bindings, says of a request.
func (e *evaluation) judge(ctx context.Context, p *policy, r *request) []Verdict {
	matches, err := p.constraints.matches(r)
	if err != nil {
		return p.misconfigured(err)
	}
	if !matches {
		return nil
	}
	if err := p.compile(); err != nil {
		return []Verdict{{Kind: Unknown, Message: "it does not compile, so that no API server takes it: " + err.Error()}}
	}
	var verdicts []Verdict
	var shared []decision // of bindings without parameters, which all say the same
	for _, b := range p.bindings {
		matches, err := b.matches(r)
		if err != nil {
			verdicts = append(verdicts, p.misconfigured(err)...)
			continue
		}
		if !matches {
			continue
		}
		if p.Spec.ParamKind == nil || b.Spec.ParamRef == nil {
			if shared == nil {
				shared = e.decide(ctx, p, r, nil)
			}
			verdicts = append(verdicts, b.act(shared)...)
			continue
		}
		params, missing := e.paramsFor(p, b, r)
		if missing != "" {
			verdicts = append(verdicts, Verdict{Kind: Unknown, Message: missing})
			continue
		}
		for _, param := range params {
			verdicts = append(verdicts, b.act(e.decide(ctx, p, r, param))...)
		}
	}
	return verdicts
}

// misconfigured is what the API server does with a policy that it cannot use.
func (p *policy) misconfigured(err error) []Verdict {
	if p.ignoresErrors() {
		return nil
	}
	return []Verdict{{Kind: Denies, Message: fmt.Sprintf("failed to configure policy: %v", err)}}
}
