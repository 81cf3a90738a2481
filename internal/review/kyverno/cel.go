package kyverno

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	policieskyvernoio "github.com/kyverno/api/api/policies.kyverno.io"
	policiesv1beta1 "github.com/kyverno/api/api/policies.kyverno.io/v1beta1"
	celengine "github.com/kyverno/kyverno/pkg/cel/engine"
	"github.com/kyverno/kyverno/pkg/cel/matching"
	"github.com/kyverno/kyverno/pkg/cel/policies/vpol/autogen"
	vpolcompiler "github.com/kyverno/kyverno/pkg/cel/policies/vpol/compiler"
	vpolengine "github.com/kyverno/kyverno/pkg/cel/policies/vpol/engine"
	engineapi "github.com/kyverno/kyverno/pkg/engine/api"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/policy"
)

// celPolicy is a ValidatingPolicy or NamespacedValidatingPolicy.
type celPolicy struct {
	celSource
	exceptions []*policiesv1beta1.PolicyException
	// constraints of the policy, and of what Kyverno makes of it for controllers of Pods.
	constraints []*admissionregistrationv1.MatchResources
	// unknowable is why the policy cannot be evaluated.
	unknowable string
	bounds     *bounded
	about      sync.Map // whether any rule is about a kind and operation

	once     sync.Once
	compiled []vpolengine.Policy
	err      error
}

func newCEL(s celSource, exceptions []*policiesv1beta1.PolicyException) *celPolicy {
	p := &celPolicy{celSource: s, bounds: newBounded()}
	for _, e := range exceptions {
		if e.IsExpired() {
			continue
		}
		for _, ref := range e.Spec.PolicyRefs {
			if ref.Name == p.GetName() && ref.Kind == p.GetKind() {
				p.exceptions = append(p.exceptions, e)
				break
			}
		}
	}
	spec := p.GetValidatingPolicySpec()
	p.constraints = []*admissionregistrationv1.MatchResources{spec.MatchConstraints}
	if generated, err := autogen.Autogen(p.ValidatingPolicyLike); err == nil { // or it does not compile
		for _, g := range generated {
			p.constraints = append(p.constraints, g.Spec.MatchConstraints)
		}
	}
	if mode := spec.EvaluationMode(); mode != policieskyvernoio.EvaluationModeKubernetes {
		p.unknowable = fmt.Sprintf("it is for %s payloads and not for objects of Kubernetes", mode)
		return p
	}
	env, err := parser()
	if err != nil {
		p.unknowable = notParsed
		return p
	}
	p.unknowable = leaves(env, expressionsOf(spec, p.exceptions))
	return p
}

// Name implements policy.Foreign.
func (p *celPolicy) Name() string { return fullName(p.GetNamespace(), p.GetName()) }

// Place implements policy.Foreign.
func (p *celPolicy) Place() review.Place { return p.place }

func fullName(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// Judge implements policy.Foreign.
func (p *celPolicy) Judge(ctx context.Context, r *policy.Request) []policy.Verdict {
	if namespace := p.GetNamespace(); namespace != "" && namespace != r.Namespace || !p.isAbout(r) {
		return nil
	}
	return p.bounds.run(ctx, func(ctx context.Context) []policy.Verdict { return p.judge(ctx, r) })
}

// isAbout is whether any rule is about the kind of a request, which costs least to
// know. Kyverno asks the rest.
func (p *celPolicy) isAbout(r *policy.Request) bool {
	type key struct {
		schema.GroupVersionResource
		admission.Operation
		namespaced bool
	}
	k := key{r.Resource, r.Operation, r.Namespace != ""}
	if known, there := p.about.Load(k); there {
		return known.(bool)
	}
	matches := false
	attributes := attributesOf(r)
	for _, c := range p.constraints {
		if c == nil {
			continue
		}
		matches = matches || len(c.ResourceRules) == 0
		for i := range c.ResourceRules {
			m := rules.Matcher{Rule: c.ResourceRules[i].RuleWithOperations, Attr: attributes}
			matches = matches || m.Matches()
		}
	}
	p.about.Store(k, matches)
	return matches
}

// attributesOf is a request as Kyverno's engine makes it.
func attributesOf(r *policy.Request) admission.Attributes {
	object, old := &unstructured.Unstructured{}, &unstructured.Unstructured{}
	if r.Object != nil {
		object = r.Object
	}
	if r.OldObject != nil {
		old = r.OldObject
	}
	return admission.NewAttributesRecord(object, old, r.Kind, r.Namespace, r.Name, r.Resource, "", r.Operation, nil, false, r.User)
}

func (p *celPolicy) judge(ctx context.Context, r *policy.Request) []policy.Verdict {
	namespace := namespaceOf(r)
	resolve := func(string) *corev1.Namespace { return namespace }
	if p.unknowable != "" {
		return p.matches(r, namespace, p.unknowable)
	}
	if err := p.compile(); err != nil {
		return p.matches(r, namespace, "it does not compile, so that Kyverno does not take it: "+policy.OneLine(err.Error()))
	}
	provider := vpolengine.ProviderFunc(func(context.Context) ([]vpolengine.Policy, error) { return p.compiled, nil })
	response, err := vpolengine.NewEngine(provider, resolve, matching.NewMatcher()).Handle(ctx, p.request(r), nil)
	if err != nil {
		return unknown("Kyverno's engine cannot read an object")
	}
	var verdicts []policy.Verdict
	for _, of := range response.Policies {
		kind := policy.Warns
		if of.Actions.Has(admissionregistrationv1.Deny) && p.GetValidatingPolicySpec().AdmissionEnabled() {
			kind = policy.Denies
		}
		for i := range of.Rules {
			rule := &of.Rules[i]
			if !rule.HasStatus(engineapi.RuleStatusFail, engineapi.RuleStatusError) {
				continue
			}
			message := rule.Message()
			if r.Secret {
				message = p.withoutSecrets(rule)
			}
			verdicts = append(verdicts, policy.Verdict{Kind: kind, Message: policy.OneLine(message)})
		}
	}
	return verdicts
}

// matches is that the policy is not evaluated, if it is about the request at all.
func (p *celPolicy) matches(r *policy.Request, namespace *corev1.Namespace, why string) []policy.Verdict {
	var in runtime.Object
	if namespace != nil {
		in = namespace
	}
	for _, c := range p.constraints {
		if c == nil {
			continue
		}
		matches, err := matching.NewMatcher().Match(&matching.MatchCriteria{Constraints: c}, attributesOf(r), in)
		if matches || err != nil {
			return unknown(why)
		}
	}
	return nil
}

// compile is Kyverno's, which compiles for controllers of Pods too.
func (p *celPolicy) compile() error {
	p.once.Do(func() {
		provider, err := vpolengine.NewProvider(vpolcompiler.NewCompiler(),
			[]policiesv1beta1.ValidatingPolicyLike{p.ValidatingPolicyLike}, p.exceptions)
		if err != nil {
			p.err = err
			return
		}
		p.compiled, p.err = provider.Fetch(context.Background())
	})
	return p.err
}

// namespaceOf is the Namespace as Kyverno finds it when the request comes: of a
// Namespace itself it is what was there.
func namespaceOf(r *policy.Request) *corev1.Namespace {
	if r.Kind.Group != "" || r.Kind.Kind != "Namespace" {
		return r.In
	}
	if r.OldObject == nil {
		return nil
	}
	namespace := &corev1.Namespace{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(r.OldObject.Object, namespace); err != nil {
		return nil
	}
	return namespace
}

func (p *celPolicy) request(r *policy.Request) celengine.EngineRequest {
	var object, old, options runtime.Object // nil interfaces where there is none
	if r.Object != nil {
		object = r.Object
	}
	if r.OldObject != nil {
		old = r.OldObject
	}
	if r.Options != nil {
		options = &unstructured.Unstructured{Object: r.Options}
	}
	return celengine.Request(nil, r.Kind, r.Resource, "", r.Name, r.Namespace, admissionv1.Operation(r.Operation),
		userOf(r.User), object, old, false, options)
}

func userOf(u user.Info) authenticationv1.UserInfo {
	return authenticationv1.UserInfo{Username: u.GetName(), Groups: u.GetGroups()}
}

// withoutSecrets is a message as far as the policy itself wrote it.
func (p *celPolicy) withoutSecrets(rule *engineapi.RuleResponse) string {
	all := p.GetValidatingPolicySpec().Validations
	i, err := strconv.Atoi(rule.Properties()["cel.validationIndex"])
	if err == nil && i >= 0 && i < len(all) && rule.HasStatus(engineapi.RuleStatusFail) &&
		all[i].Message != "" && all[i].MessageExpression == "" {
		return all[i].Message
	}
	return policy.Hidden
}
