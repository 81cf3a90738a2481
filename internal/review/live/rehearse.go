package live

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/review"
)

// unborn stands for the UID of a Tenant that does not exist yet.
const unborn = "00000000-0000-4000-8000-000000000000"

// rehearseOne makes of an object of head what the API server would, and returns
// what there is of it now, or nil. A refusal by the API server is a violation, and
// then nothing becomes of the object.
func (c *cluster) rehearseOne(ctx context.Context, o *review.Rendered) (*review.Rendered, *review.Violation, error) {
	asked := (&unstructured.Unstructured{Object: o.Content}).DeepCopy()
	key := idOf(asked)
	live, err := c.liveOf(ctx, asked, key)
	if err != nil {
		return nil, nil, err
	}
	was := renderedOf(live, o)
	if ns := asked.GetNamespace(); ns != "" && !c.takes(ns) {
		c.become(o, asked) // where the namespace is not there yet, the API server cannot say
		return was, nil, nil
	}
	c.inscribe(asked, live, o.Tenant)
	var of class
	fits := false
	if c.samples && live != nil {
		if of, fits = c.classOf(asked, live); fits {
			if stays, _ := c.stays(of); stays {
				c.settled.Add(1)
				c.settle(o)
				same := *o
				return &same, nil, nil
			}
		}
	}
	answer, err := c.appliers[isAsked(o)].DryRun(ctx, asked)
	switch {
	case err == nil:
		if fits {
			c.learn(of, digestOf(content(answer)) == was.Digest)
		}
		c.become(o, answer)
		return was, nil, nil
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, "NamespaceTerminating"):
		c.become(o, asked)
		return was, nil, nil
	case !refused(err):
		return nil, nil, fmt.Errorf("cannot dry-run %s: %w", apply.Ref(asked), err)
	}
	if was != nil {
		o.Content, o.Digest = was.Content, was.Digest
	} else {
		c.become(o, asked)
	}
	return was, violationOf(o, err), nil
}

// takes is whether objects can be made in a namespace.
func (c *cluster) takes(name string) bool {
	ns := c.namespaces[name]
	return ns != nil && ns.GetDeletionTimestamp() == nil
}

// liveOf is what there is of an object. What was not listed, since it is not
// Aether's or has lost its label, is asked for.
func (c *cluster) liveOf(ctx context.Context, o *unstructured.Unstructured, key id) (*unstructured.Unstructured, error) {
	switch {
	case comesFromGit(key.GroupKind):
		return c.asked[key], nil
	case key.GroupKind == schema.GroupKind{Kind: "Namespace"}:
		return c.namespaces[key.name], nil
	case c.children[key] != nil:
		return c.children[key], nil
	case key.namespace == "" || c.namespaces[key.namespace] == nil:
		return nil, nil
	}
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	live, err := c.client.Resource(mapping.Resource).Namespace(key.namespace).Get(ctx, key.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get %s: %w", apply.Ref(o), err)
	}
	return live, nil
}

// inscribe adds what the operator does before it sends an object.
func (c *cluster) inscribe(o, live *unstructured.Unstructured, tenant string) {
	unstructured.RemoveNestedField(o.Object, "status")
	unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	was := map[string]string{}
	if live != nil {
		was = live.GetLabels()
	}
	switch kind := o.GroupVersionKind(); {
	case comesFromGit(kind.GroupKind()):
		if c.source != "" {
			labels[v1alpha1.LabelSource] = c.source
		}
		if kind.Kind == v1alpha1.KindTenantNamespace {
			o.SetFinalizers([]string{v1alpha1.FinalizerNamespace})
		}
	case kind.GroupKind() == schema.GroupKind{Kind: "Namespace"}:
		labels[v1alpha1.LabelSealed] = "true"
		if sealed := was[v1alpha1.LabelSealed]; sealed != "" {
			labels[v1alpha1.LabelSealed] = sealed
		}
		annotations[v1alpha1.AnnotationTenantUID] = unborn
		if owner := c.asked[id{ours(v1alpha1.KindTenant), "", tenant}]; owner != nil {
			annotations[v1alpha1.AnnotationTenantUID] = string(owner.GetUID())
		}
	}
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
}

// become makes an object of head what it would be in the cluster.
func (c *cluster) become(o *review.Rendered, answer *unstructured.Unstructured) {
	o.Content = content(answer)
	o.Digest = digestOf(o.Content)
}

// renderedOf is an object of the cluster as one of base, or nil. It has the place
// of the object that is rendered now: where it came from is no difference.
func renderedOf(live *unstructured.Unstructured, now *review.Rendered) *review.Rendered {
	if live == nil {
		return nil
	}
	was := *now
	was.Content = content(live)
	was.Digest = digestOf(was.Content)
	return &was
}

// tenantOf is the tenant that an object of the cluster belongs to.
func tenantOf(o *review.Rendered, otherwise string) string {
	if tenant, _, _ := unstructured.NestedString(o.Content, "metadata", "labels", v1alpha1.LabelTenant); tenant != "" {
		return tenant
	}
	return otherwise
}

// bookkeeping is what the operator notes on objects for itself.
var bookkeeping = map[string]bool{
	v1alpha1.LabelSource: true, v1alpha1.LabelSealed: true, "kubernetes.io/metadata.name": true,
	v1alpha1.AnnotationTenantUID: true, v1alpha1.AnnotationKinds: true,
	v1alpha1.AnnotationDigest: true, v1alpha1.AnnotationRevision: true, v1alpha1.AnnotationPath: true,
	"kubectl.kubernetes.io/last-applied-configuration": true,
}

// content is what of an object is compared.
func content(o *unstructured.Unstructured) map[string]any {
	kept := map[string]any{"name": o.GetName()}
	if ns := o.GetNamespace(); ns != "" {
		kept["namespace"] = ns
	}
	metadata, _ := o.Object["metadata"].(map[string]any)
	for _, field := range []string{"labels", "annotations"} {
		values, _ := metadata[field].(map[string]any)
		values = maps.Clone(values)
		maps.DeleteFunc(values, func(key string, _ any) bool { return bookkeeping[key] })
		if len(values) > 0 {
			kept[field] = values
		}
	}
	if refs, ok := metadata["ownerReferences"]; ok {
		kept["ownerReferences"] = refs
	}
	out := maps.Clone(o.Object)
	delete(out, "status")
	if o.GroupVersionKind().GroupKind() == (schema.GroupKind{Kind: "Namespace"}) {
		delete(out, "spec") // Kubernetes' own
	}
	out["metadata"] = kept
	return out
}

func digestOf(content map[string]any) string {
	data, err := json.Marshal(content)
	if err != nil {
		return "" // like nothing else
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// rightMissing is how the API server says that a user may not do something at all,
// rather than that it does not want the object.
var rightMissing = regexp.MustCompile(`User "[^"]*" cannot [a-z:-]+ resource `)

// MissingRight is whether an error is for want of a right.
func MissingRight(err error) bool {
	return apierrors.IsForbidden(err) && rightMissing.MatchString(err.Error())
}

// MayNotImpersonate is whether an error is for want of the right to act as another.
func MayNotImpersonate(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot impersonate")
}

// refused is whether an error is the API server's verdict on an object.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		apierrors.IsForbidden(err) && !MissingRight(err)
}

var byPolicy = regexp.MustCompile(`(?s)^.*ValidatingAdmissionPolicy '([^']+)' with binding '[^']*' denied request: (.*)$`)

// violationOf is a refusal. What is said of a Secret is not repeated.
func violationOf(o *review.Rendered, err error) *review.Violation {
	v := &review.Violation{Object: o.Object, Policy: "of the API server", Message: strings.Join(strings.Fields(err.Error()), " ")}
	if parts := byPolicy.FindStringSubmatch(v.Message); parts != nil {
		v.Policy, v.Message = parts[1], parts[2]
	}
	if o.Kind == "Secret" {
		v.Message = "it is refused (the message is not shown, since it may hold what is secret)"
	}
	return v
}

// placeOf is where an object that is no longer rendered was written.
func (c *cluster) placeOf(o *unstructured.Unstructured, folder string) review.Place {
	at := o.GetAnnotations()[v1alpha1.AnnotationPath]
	if at == "" {
		return review.Place{}
	}
	file, number, _ := strings.Cut(at, ":")
	line, _ := strconv.Atoi(number)
	return review.Place{File: path.Join(folder, "tenants", file), Line: line}
}

// typed reads an object of Aether's own kinds.
func typed[T any](o *unstructured.Unstructured) *T {
	if o == nil {
		return nil
	}
	var value T
	if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &value) != nil {
		return nil
	}
	return &value
}
