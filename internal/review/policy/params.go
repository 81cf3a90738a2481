package policy

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/internal/review"
)

// paramsFor finds the parameters that a binding gives its policy: those beside the
// policies of base, and those that base renders. missing says what is not there;
// a cluster may have it.
func (e *evaluation) paramsFor(p *policy, b *binding, r *request) (params []*unstructured.Unstructured, missing string) {
	gvk := schema.FromAPIVersionAndKind(p.Spec.ParamKind.APIVersion, p.Spec.ParamKind.Kind)
	ref := b.Spec.ParamRef
	namespace := ref.Namespace
	if namespace == "" {
		namespace = r.GetNamespace()
	}
	for _, o := range e.paramsOf(gvk) {
		if o.GetNamespace() != "" && o.GetNamespace() != namespace || o.GetNamespace() == "" && ref.Namespace != "" {
			continue
		}
		switch {
		case b.params != nil && b.params.Matches(labels.Set(o.GetLabels())), b.params == nil && o.GetName() == ref.Name:
			params = append(params, o)
		}
	}
	if len(params) > 0 {
		return params, ""
	}
	if ref.Selector != nil {
		return nil, fmt.Sprintf("its parameters, %s selected by binding %q, are not in the repository", gvk.Kind, b.Name)
	}
	return nil, fmt.Sprintf("its parameters, %s %q of binding %q, are not in the repository", gvk.Kind, ref.Name, b.Name)
}

// paramsOf is every object of a kind that may be a parameter. It is found once.
func (e *evaluation) paramsOf(gvk schema.GroupVersionKind) []*unstructured.Unstructured {
	e.paramsMu.Lock()
	defer e.paramsMu.Unlock()
	if found, known := e.paramsKnown[gvk]; known {
		return found
	}
	var found []*unstructured.Unstructured
	for _, o := range e.params {
		if o.GroupVersionKind() == gvk {
			found = append(found, o)
		}
	}
	each(e.world.base, func(r *review.Rendered) {
		// Those of other clusters are not seen there, and which it is a binding cannot say.
		if r.Cluster == "" && r.Kind == gvk.Kind && r.APIVersion == gvk.GroupVersion().String() {
			found = append(found, &unstructured.Unstructured{Object: r.Content})
		}
	})
	if e.paramsKnown == nil {
		e.paramsKnown = map[schema.GroupVersionKind][]*unstructured.Unstructured{}
	}
	e.paramsKnown[gvk] = found
	return found
}

func isSecret(o *unstructured.Unstructured) bool {
	return o != nil && o.GetKind() == "Secret" && o.GetAPIVersion() == "v1"
}
