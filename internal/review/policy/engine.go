package policy

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/aetherplatform/aether/internal/review"
)

// Engine evaluates policies of Kyverno. It is given by whoever links it, since its
// packages weigh more than all others of this program.
type Engine interface {
	// Load makes policies of what is declared below policies/. beside is whatever
	// else is there, such as ConfigMaps that policies read. Notes are on what will not
	// be evaluated.
	Load(declared []Declared, beside []*unstructured.Unstructured) (policies []Foreign, notes []review.Finding)
}

// Declared is an object of an engine's kinds, and where it is.
type Declared struct {
	*unstructured.Unstructured
	Place review.Place
}

// Foreign is a policy of an engine. It is asked by several goroutines at once.
type Foreign interface {
	// Name is what people call it.
	Name() string
	Place() review.Place
	// Judge is what it has against a request; nothing if it does not match.
	Judge(ctx context.Context, r *Request) []Verdict
}

// Request is a step of the operator as the API server sends it to a webhook.
// Nothing of it may be changed.
type Request struct {
	Kind      schema.GroupVersionKind
	Resource  schema.GroupVersionResource
	Namespace string
	Name      string
	Operation admission.Operation
	// Object that is written, and what it was; nil where there is none.
	Object, OldObject *unstructured.Unstructured
	// In is the Namespace that the object is in, or is; nil for what is cluster-scoped.
	In   *corev1.Namespace
	User user.Info
	// Options that the request is sent with.
	Options map[string]any
	// Secret: what is said of the object may hold what is secret, and is not shown.
	Secret bool
}

// Subject is the object that a policy judges: what is written or, where it is
// deleted, what was.
func (r *Request) Subject() *unstructured.Unstructured {
	if r.Object != nil {
		return r.Object
	}
	return r.OldObject
}

// Verdict is what a policy says of a request.
type Verdict struct {
	Kind    VerdictKind
	Message string
	// Same is what base has to be refused for, too, for this to be old. Left out: the
	// message.
	Same string
}

func (v Verdict) same() string {
	if v.Same != "" {
		return v.Same
	}
	return v.Message
}

// VerdictKind is what comes of a verdict.
type VerdictKind int

// Verdicts.
const (
	Denies VerdictKind = iota
	Warns
	// Unknown: only a cluster knows.
	Unknown
)

// Hidden stands for what a policy makes of a Secret.
const Hidden = "(the message is not shown, since it may hold what is secret)"

// OneLine keeps what a policy says on one line and of a size.
func OneLine(message string) string { return shorten(oneLine(message)) }

// foreign is the request as an engine sees it.
func (r *request) foreign() *Request {
	if r.asForeign != nil {
		return r.asForeign
	}
	out := &Request{
		Kind: r.GetKind(), Resource: r.GetResource(), Namespace: r.GetNamespace(), Name: r.GetName(),
		Operation: r.GetOperation(), User: writer, Secret: r.isSecret,
	}
	out.Options, _ = r.options.(map[string]any)
	if o, ok := r.GetObject().(*unstructured.Unstructured); ok {
		out.Object = o
	}
	if o, ok := r.GetOldObject().(*unstructured.Unstructured); ok {
		out.OldObject = o
	}
	if r.namespace != nil {
		out.In = r.namespace.Namespace
	}
	r.asForeign = out
	return out
}
