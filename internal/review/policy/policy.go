// Package policy evaluates the ValidatingAdmissionPolicies of a repository on what
// a change renders to, as the API server will when it is applied.
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
// policies of other engines. Objects are judged as they are rendered, without the
// defaults that the API server adds to them.
package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
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
// report.Findings.
func Evaluate(ctx context.Context, base, head *review.Side, report *review.Report) error {
	inForce, err := fs.Sub(base.RuleFiles(), base.Folder(""))
	if err != nil {
		return err
	}
	rules, err := load(inForce)
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
	for _, findings := range [][]review.Finding{changed, rules.notes} {
		for i := range findings {
			findings[i].Place.File = base.Folder(findings[i].Place.File)
		}
	}
	e := &evaluation{set: rules}
	if rules.inForce() {
		if err := e.run(ctx, base, head); err != nil {
			return err
		}
	}
	report.Findings = append(report.Findings, changed...)
	report.Findings = append(report.Findings, rules.notes...)
	report.Findings = append(report.Findings, e.outcome.findings()...)
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
	var now *request // made when a policy can see what changes
	for _, p := range e.policies {
		if e.blind(p, s) {
			continue
		}
		if now == nil {
			now = e.world.request(s)
		}
		if !p.mayMatch(now) {
			continue
		}
		verdicts := e.judge(ctx, p, now)
		if len(verdicts) == 0 {
			continue
		}
		var before map[string]bool // messages of base; made when it is asked for
		for _, v := range verdicts {
			if v.kind == denies && s.operation == admission.Update && before == nil {
				before = e.refusals(ctx, p, s)
			}
			found.add(p, s.object(), v, before[v.message])
		}
	}
}

// refusals is why a policy refuses what base has, left as it is.
func (e *evaluation) refusals(ctx context.Context, p *policy, s step) map[string]bool {
	messages := map[string]bool{}
	then := e.world.request(step{operation: admission.Update, base: s.base, head: s.base, then: true})
	if !p.mayMatch(then) {
		return messages
	}
	for _, v := range e.judge(ctx, p, then) {
		if v.kind == denies {
			messages[v.message] = true
		}
	}
	return messages
}

// judge is what a policy, with each of its bindings, says of a request.
func (e *evaluation) judge(ctx context.Context, p *policy, r *request) []verdict {
	matches, err := p.constraints.matches(r)
	if err != nil {
		return p.misconfigured(err)
	}
	if !matches {
		return nil
	}
	if err := p.compile(); err != nil {
		return []verdict{{kind: unknown, message: "it does not compile, so that no API server takes it: " + err.Error()}}
	}
	var verdicts []verdict
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
			verdicts = append(verdicts, verdict{kind: unknown, message: missing})
			continue
		}
		for _, param := range params {
			verdicts = append(verdicts, b.act(e.decide(ctx, p, r, param))...)
		}
	}
	return verdicts
}

// misconfigured is what the API server does with a policy that it cannot use.
func (p *policy) misconfigured(err error) []verdict {
	if p.ignoresErrors() {
		return nil
	}
	return []verdict{{kind: denies, message: fmt.Sprintf("failed to configure policy: %v", err)}}
}
