package kyverno

import (
	"context"
	"sync"

	"github.com/kyverno/kyverno/api/kyverno"
	kyvernov1 "github.com/kyverno/kyverno/api/kyverno/v1"
	kyvernov2 "github.com/kyverno/kyverno/api/kyverno/v2"
	"github.com/kyverno/kyverno/pkg/autogen"
	"github.com/kyverno/kyverno/pkg/config"
	"github.com/kyverno/kyverno/pkg/engine"
	engineapi "github.com/kyverno/kyverno/pkg/engine/api"
	enginecontext "github.com/kyverno/kyverno/pkg/engine/context"
	"github.com/kyverno/kyverno/pkg/engine/factories"
	"github.com/kyverno/kyverno/pkg/engine/jmespath"
	"github.com/kyverno/kyverno/pkg/engine/policycontext"
	engineutils "github.com/kyverno/kyverno/pkg/engine/utils"
	"github.com/kyverno/kyverno/pkg/exceptions"
	matchutils "github.com/kyverno/kyverno/pkg/utils/match"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/policy"
)

// surroundings are what the rules of all classic policies may read.
type surroundings struct {
	configMaps configMaps
	exceptions []*kyvernov2.PolicyException
}

// List implements exceptions.Lister.
func (s *surroundings) List(labels.Selector) ([]*kyvernov2.PolicyException, error) {
	return s.exceptions, nil
}

// defaults is what Kyverno does without a ConfigMap of its own.
var defaults = sync.OnceValue(func() config.Configuration {
	c := config.NewDefaultConfiguration(false)
	c.Load(&corev1.ConfigMap{})
	return c
})

var expressions = sync.OnceValue(func() jmespath.Interface { return jmespath.New(defaults()) })

// classicPolicy is a ClusterPolicy or Policy, with its validate rules.
type classicPolicy struct {
	classicSource
	*surroundings
	bounds *bounded
	// onOne: Kyverno stops at the first rule that applies.
	onOne bool
	kinds sync.Map // *rulesOf by GroupVersionKind; nil where no rule is about it
}

// rulesOf is what there is to ask about a kind.
type rulesOf struct {
	// policy has the rules that can be evaluated, those for controllers of Pods among
	// them; nil is none.
	policy kyvernov1.PolicyInterface
	// screen is of rules of CEL, and rest the policy without them, for requests that
	// pass it; nil is none.
	screen screen
	rest   kyvernov1.PolicyInterface
	rules  map[string]*kyvernov1.Rule // as they are written, by name
	// byRole are rules of which only a cluster knows whether they are about the user.
	byRole map[string]bool
	// left are the others.
	left []leftRule
}

type leftRule struct {
	kyvernov1.Rule
	why string
}

// newClassic is nil if there is nothing to evaluate.
func (l *loader) newClassic(s classicSource, world *surroundings) policy.Foreign {
	p := &classicPolicy{classicSource: s, surroundings: world, bounds: newBounded()}
	spec := s.GetSpec()
	p.onOne = spec.GetApplyRules() == kyvernov1.ApplyOne
	validates := false
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		what := s.GetKind() + " " + p.Name() + ": rule " + rule.Name
		switch {
		case rule.HasValidate():
			validates = true
		case rule.HasMutate():
			l.leave(changes, what, s.place)
		case rule.HasGenerate():
			l.leave(makes, what, s.place)
		default:
			l.leave(verifies, what, s.place)
		}
	}
	if !validates {
		return nil
	}
	return p
}

// Name implements policy.Foreign.
func (p *classicPolicy) Name() string { return fullName(p.GetNamespace(), p.GetName()) }

// Place implements policy.Foreign.
func (p *classicPolicy) Place() review.Place { return p.place }

// Judge implements policy.Foreign.
func (p *classicPolicy) Judge(ctx context.Context, r *policy.Request) []policy.Verdict {
	if namespace := p.GetNamespace(); namespace != "" && namespace != r.Subject().GetNamespace() {
		return nil
	}
	known, there := p.kinds.Load(r.Kind)
	if !there {
		known, _ = p.kinds.LoadOrStore(r.Kind, p.about(r.Kind))
	}
	about := known.(*rulesOf)
	if about == nil {
		return nil
	}
	return p.bounds.run(ctx, func(ctx context.Context) []policy.Verdict { return p.judge(ctx, about, r) })
}

// about is the rules for a kind, or nil. Kyverno works out those for controllers of
// Pods at each request; it is done once here, and the policy says so.
func (p *classicPolicy) about(kind schema.GroupVersionKind) *rulesOf {
	out := &rulesOf{rules: map[string]*kyvernov1.Rule{}, byRole: map[string]bool{}}
	var asked []kyvernov1.Rule
	all := autogen.Default.ComputeRules(p.PolicyInterface, kind.Kind)
	for i := range all {
		if !all[i].HasValidate() || !mayMatch(&all[i].MatchResources, kind) {
			continue
		}
		out.rules[all[i].Name] = &all[i]
		rule := *all[i].DeepCopy()
		why := p.unknowable(&rule)
		if stripRoles(&rule) {
			out.byRole[rule.Name] = true
		}
		if why != "" {
			out.left = append(out.left, leftRule{rule, why})
			continue
		}
		// Whether base breaks the rule too is asked for all rules alike, and by us.
		no := false
		rule.Validation.AllowExistingViolations = &no
		asked = append(asked, rule)
	}
	if p.onOne && len(out.left) > 0 {
		for _, rule := range asked {
			out.left = append(out.left, leftRule{rule, "it applies one rule alone, and one of them cannot be evaluated: " + out.left[0].why})
		}
		asked = nil
	}
	if len(asked) == 0 && len(out.left) == 0 {
		return nil
	}
	out.policy = p.with(asked)
	// Where the first rule that applies ends it, one that is left out would be missed.
	if screen, others := screened(asked, p.GetKind(), p.GetName()); len(others) == 0 || !p.onOne {
		out.screen, out.rest = screen, p.with(others)
	}
	return out
}

// with is the policy with some of its rules, those for controllers of Pods among
// them, or nil for none.
func (p *classicPolicy) with(rules []kyvernov1.Rule) kyvernov1.PolicyInterface {
	if len(rules) == 0 {
		return nil
	}
	out := p.CreateDeepCopy()
	out.GetSpec().SetRules(rules)
	annotations := map[string]string{kyverno.AnnotationAutogenControllers: "none"}
	for k, v := range p.GetAnnotations() {
		if k != kyverno.AnnotationAutogenControllers {
			annotations[k] = v
		}
	}
	out.SetAnnotations(annotations)
	return out
}

// mayMatch is whether the kinds of any filter are the object's.
func mayMatch(m *kyvernov1.MatchResources, kind schema.GroupVersionKind) bool {
	is := func(kinds []string) bool { return len(kinds) == 0 || matchutils.CheckKind(kinds, kind, "", true) }
	if len(m.Any) == 0 && len(m.All) == 0 {
		return is(m.Kinds)
	}
	for _, f := range m.Any {
		if is(f.Kinds) {
			return true
		}
	}
	for _, f := range m.All {
		if is(f.Kinds) {
			return true
		}
	}
	return false
}

func (p *classicPolicy) judge(ctx context.Context, about *rulesOf, r *policy.Request) []policy.Verdict {
	info := kyvernov2.RequestInfo{AdmissionUserInfo: userOf(r.User)}
	var in map[string]string // as Kyverno has it, a Namespace has no labels of a Namespace
	if r.In != nil && r.Kind.Kind != "Namespace" {
		in = r.In.Labels
	}
	var verdicts []policy.Verdict
	asked := about.policy
	if len(about.screen) > 0 && about.screen.passes(ctx, r) {
		asked = about.rest
	}
	if asked != nil {
		verdicts = p.ask(ctx, asked, about, r, info, in)
	}
	for i := range about.left {
		rule := &about.left[i]
		err := engineutils.MatchesResourceDescription(*r.Subject(), rule.Rule, info, in, p.GetNamespace(), r.Kind, "",
			kyvernov1.AdmissionOperation(r.Operation))
		if err == nil {
			verdicts = append(verdicts, policy.Verdict{Kind: policy.Unknown, Message: "rule " + rule.Name + ": " + rule.why})
		}
	}
	return verdicts
}

// ask has Kyverno's engine evaluate the rules.
func (p *classicPolicy) ask(ctx context.Context, asked kyvernov1.PolicyInterface, about *rulesOf, r *policy.Request, info kyvernov2.RequestInfo, in map[string]string) []policy.Verdict {
	request, err := policycontext.NewPolicyContextFromAdmissionRequest(expressions(), admissionOf(r), info, r.Kind, defaults())
	if err != nil {
		return unknown("Kyverno's engine cannot read an object")
	}
	inCluster := true // it asks for the Namespace, which is known here
	eng := engine.NewEngine(defaults(), expressions(), &client{namespaceOf(r)}, nil, nil,
		ending(factories.DefaultContextLoaderFactory(p.configMaps)), exceptions.New(p.surroundings), &inCluster)
	response := eng.Validate(ctx, request.WithPolicy(asked).WithNamespaceLabels(in))

	var verdicts []policy.Verdict
	for i := range response.PolicyResponse.Rules {
		result := &response.PolicyResponse.Rules[i]
		if !result.HasStatus(engineapi.RuleStatusFail, engineapi.RuleStatusError) {
			continue
		}
		if about.byRole[result.Name()] {
			verdicts = append(verdicts, policy.Verdict{Kind: policy.Unknown, Message: "rule " + result.Name() + ": " + byRoles})
			continue
		}
		verdicts = append(verdicts, p.verdict(ctx, about, r, response, result))
	}
	return verdicts
}

// ending makes loops end with their time: Kyverno loads the context of each element
// anew, and stops where that fails.
func ending(load engineapi.ContextLoaderFactory) engineapi.ContextLoaderFactory {
	return func(of kyvernov1.PolicyInterface, rule kyvernov1.Rule) engineapi.ContextLoader {
		return endingLoader{load(of, rule)}
	}
}

type endingLoader struct{ engineapi.ContextLoader }

func (l endingLoader) Load(ctx context.Context, jp jmespath.Interface, client engineapi.RawClient, registries engineapi.RegistryClientFactory,
	entries []kyvernov1.ContextEntry, into enginecontext.Interface,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.ContextLoader.Load(ctx, jp, client, registries, entries, into)
}

func admissionOf(r *policy.Request) admissionv1.AdmissionRequest {
	kind, resource := metav1.GroupVersionKind(r.Kind), metav1.GroupVersionResource(r.Resource)
	no := false
	out := admissionv1.AdmissionRequest{
		Kind: kind, RequestKind: &kind, Resource: resource, RequestResource: &resource,
		Name: r.Name, Namespace: r.Namespace, Operation: admissionv1.Operation(r.Operation), UserInfo: userOf(r.User), DryRun: &no,
	}
	if r.Object != nil {
		out.Object.Object = r.Object
	}
	if r.OldObject != nil {
		out.OldObject.Object = r.OldObject
	}
	if r.Options != nil {
		out.Options.Object = &unstructured.Unstructured{Object: r.Options}
	}
	return out
}

// verdict is what comes of a rule that is not met.
func (p *classicPolicy) verdict(ctx context.Context, about *rulesOf, r *policy.Request, response engineapi.EngineResponse, result *engineapi.RuleResponse) policy.Verdict {
	written := about.rules[result.Name()]
	out := policy.Verdict{Kind: policy.Warns}
	message := result.Message()
	if r.Secret {
		message = policy.Hidden
		if written != nil && written.Validation.Message != "" && !variable.MatchString(written.Validation.Message) {
			message = written.Validation.Message
		}
	}
	out.Message = policy.OneLine(result.Name() + ": " + message)

	spec := p.GetSpec()
	enforced := enforces(response, result.Name())
	switch {
	case !spec.AdmissionProcessingEnabled():
	case result.HasStatus(engineapi.RuleStatusFail) && enforced:
		out.Kind = policy.Denies
	case result.HasStatus(engineapi.RuleStatusError) && spec.GetFailurePolicy(ctx) == kyvernov1.Fail && p.enforcesAny(about, response):
		out.Kind = policy.Denies
	}
	if written != nil && written.HasValidateAllowExistingViolations() && !written.HasValidateCEL() {
		out.Same = result.Name() // Kyverno lets what breaks a rule go on breaking it
	}
	return out
}

// enforces is whether Kyverno refuses a request for a rule: it is by rule, by
// Namespace and by policy that an action is given.
func enforces(response engineapi.EngineResponse, rule string) bool {
	return response.WithPolicyResponse(engineapi.PolicyResponse{
		Rules: []engineapi.RuleResponse{*engineapi.RuleFail(rule, engineapi.Validation, "", nil)},
	}).HasEnforcedFailure()
}

// enforcesAny is whether Kyverno refuses a request for any rule; errors of all
// rules are then refused.
func (p *classicPolicy) enforcesAny(about *rulesOf, response engineapi.EngineResponse) bool {
	for name := range about.rules {
		if enforces(response, name) {
			return true
		}
	}
	return false
}
