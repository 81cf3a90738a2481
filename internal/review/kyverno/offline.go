package kyverno

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	policiesv1beta1 "github.com/kyverno/api/api/policies.kyverno.io/v1beta1"
	celcompiler "github.com/kyverno/kyverno/pkg/cel/compiler"
	engineapi "github.com/kyverno/kyverno/pkg/engine/api"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// Why expressions are not evaluated.
const (
	readsCluster  = "it reads objects of the cluster"
	readsContext  = "it reads a global context, which only a cluster keeps"
	callsHTTP     = "it calls a server"
	readsRegistry = "it asks an image's registry"
	notParsed     = "an expression of it cannot be read"
)

// reaching are the names in Kyverno's CEL libraries by which an expression leaves
// the process: variables, and functions that are called on them. A policy with one
// is never run, even where the name is its own: what would be lost is a result, what
// could be lost otherwise is that nothing leaves.
var reaching = map[string]string{
	"http":          callsHTTP,
	"resource":      readsCluster,
	"globalContext": readsContext,
	"generator":     readsCluster,
}

var reachingCalls = map[string]string{
	"Get": readsCluster, "get": readsCluster, "List": readsCluster, "list": readsCluster,
	"Post": callsHTTP, "post": callsHTTP, "Client": callsHTTP, "client": callsHTTP,
	"ToGVR": readsCluster, "toGVR": readsCluster, "Apply": readsCluster, "apply": readsCluster,
	"GetMetadata": readsRegistry, "getMetadata": readsRegistry,
}

// leaves is why a policy with these expressions cannot be evaluated here; "" is
// none.
func leaves(env *cel.Env, expressions []string) string {
	for _, text := range expressions {
		if text == "" {
			continue
		}
		parsed, issues := env.Parse(text)
		if issues.Err() != nil {
			return notParsed
		}
		if why := leavesIn(parsed); why != "" {
			return why
		}
	}
	return ""
}

func leavesIn(parsed *cel.Ast) string {
	if all := reasonsIn(parsed); len(all) > 0 {
		return all[0]
	}
	return ""
}

// reasonsIn are all reasons why an expression leaves.
func reasonsIn(parsed *cel.Ast) (all []string) {
	add := func(why string) {
		if why != "" {
			all = append(all, why)
		}
	}
	celast.PreOrderVisit(parsed.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.IdentKind:
			add(reaching[e.AsIdent()])
		case celast.CallKind:
			if c := e.AsCall(); c.IsMemberFunction() {
				if t := c.Target(); t.Kind() == celast.IdentKind && reaching[t.AsIdent()] != "" {
					add(reaching[t.AsIdent()])
					return
				}
				add(reachingCalls[c.FunctionName()])
			}
		}
	}))
	return all
}

// AsksServer is whether a text is an expression that calls a server.
func AsksServer(text string) bool { return asks(text, "http", callsHTTP) }

// AsksRegistry is whether a text is an expression that asks an image's registry.
func AsksRegistry(text string) bool { return asks(text, "etMetadata", readsRegistry) }

// asks saves parsing texts that do not hold the word.
func asks(text, word, why string) bool {
	if !strings.Contains(text, word) {
		return false
	}
	env, err := parser()
	if err != nil {
		return true
	}
	parsed, issues := env.Parse(text)
	return issues.Err() == nil && slices.Contains(reasonsIn(parsed), why)
}

// parser reads all that Kyverno's compiler reads.
func parser() (*cel.Env, error) { return celcompiler.NewBaseEnv() }

// expressionsOf are all of a policy and its exceptions.
func expressionsOf(spec *policiesv1beta1.ValidatingPolicySpec, exceptions []*policiesv1beta1.PolicyException) []string {
	var all []string
	conditions := func(conditions []admissionregistrationv1.MatchCondition) {
		for _, c := range conditions {
			all = append(all, c.Expression)
		}
	}
	conditions(spec.MatchConditions)
	for _, v := range spec.Variables {
		all = append(all, v.Expression)
	}
	for _, v := range spec.Validations {
		all = append(all, v.Expression, v.MessageExpression)
	}
	for _, a := range spec.AuditAnnotations {
		all = append(all, a.ValueExpression)
	}
	for _, e := range exceptions {
		conditions(e.Spec.MatchConditions)
	}
	return all
}

// errOffline is what Kyverno's engine is told, should it ask after all.
var errOffline = errors.New("there is no cluster here")

// client stands in for a cluster's: it knows the Namespace of one request.
type client struct{ namespace *corev1.Namespace }

var _ engineapi.Client = (*client)(nil)

func (c *client) GetNamespace(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	if c.namespace == nil || c.namespace.Name != name {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
	}
	return c.namespace, nil
}

func (*client) RawAbsPath(context.Context, string, string, io.Reader) ([]byte, error) {
	return nil, errOffline
}

func (*client) CanI(context.Context, string, string, string, string, string) (bool, string, error) {
	return false, "", errOffline
}

func (*client) GetResource(context.Context, string, string, string, string, ...string) (*unstructured.Unstructured, error) {
	return nil, errOffline
}

func (*client) ListResource(context.Context, string, string, string, *metav1.LabelSelector) (*unstructured.UnstructuredList, error) {
	return nil, errOffline
}

func (*client) GetResources(context.Context, string, string, string, string, string, string, *metav1.LabelSelector) ([]engineapi.Resource, error) {
	return nil, errOffline
}

func (*client) IsNamespaced(string, string, string) (bool, error) { return false, errOffline }

// configMaps are those beside the policies, by namespace and name.
type configMaps map[[2]string]*corev1.ConfigMap

// Get implements engineapi.ConfigmapResolver.
func (c configMaps) Get(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	if found := c[[2]string{namespace, name}]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("ConfigMap %s/%s is not in the repository", namespace, name)
}
