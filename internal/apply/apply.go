// Package apply writes objects so that they end up as Aether made them, with as
// few requests as that takes: one for a new object, one for a changed one, and
// more only where someone else has been.
//
// It decides nothing about when to write. It deletes an object to make it anew
// only where nobody's data is in it, and only after the API server has said that
// it would take the new one.
package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/aetherplatform/aether/internal/observe"
)

// remakable are the kinds that hold nothing but what Aether wrote, so that
// deleting one and making it anew loses nothing.
var remakable = sets.New(
	schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "Role"},
	schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"},
	schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"},
	schema.GroupKind{Group: "cilium.io", Kind: "CiliumNetworkPolicy"},
	schema.GroupKind{Kind: "LimitRange"},
)

// Remakes says whether objects of a kind are deleted and made anew where a field
// of theirs cannot be changed.
func Remakes(kind schema.GroupKind) bool { return remakable.Has(kind) }

// kustomization is Flux's: deleting it deletes what it applied, unless told not to.
var kustomization = schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}

// Applier writes objects for one field owner.
type Applier struct {
	client dynamic.Interface
	mapper meta.RESTMapper
	owner  string
}

// New returns an Applier that writes for a field owner.
func New(config *rest.Config, mapper meta.RESTMapper, owner string) (*Applier, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	return &Applier{client: client, mapper: mapper, owner: owner}, nil
}

// Create makes an object that is believed not to exist, and returns the API
// server's answer. It is a POST, for which an API server takes about three
// quarters of the time of a server-side apply. When the object exists after all,
// it is repaired.
func (a *Applier) Create(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	answer, err := a.post(ctx, o, metav1.CreateOptions{FieldManager: a.owner})
	if apierrors.IsAlreadyExists(err) {
		return a.Repair(ctx, o, observe.Hash{})
	}
	if err != nil {
		return nil, cannot("create", o, err)
	}
	return answer, nil
}

// CreateOnly is Create without the repair: what exists is left alone, and the
// error is AlreadyExists.
func (a *Applier) CreateOnly(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	answer, err := a.post(ctx, o, metav1.CreateOptions{FieldManager: a.owner})
	if err != nil {
		return nil, cannot("create", o, err)
	}
	return answer, nil
}

// Apply changes an object of ours into o, and returns the API server's answer.
// Fields that are not in o go, whoever owns them.
func (a *Applier) Apply(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	answer, err := a.apply(ctx, o)
	if apierrors.IsInvalid(err) && remakable.Has(o.GroupVersionKind().GroupKind()) {
		return a.remake(ctx, o, err)
	}
	if err != nil {
		return nil, cannot("apply", o, err)
	}
	claim, err := claimOf(answer, a.owner)
	if err != nil {
		return nil, cannot("read the owners of", o, err)
	}
	if claim != nil {
		if _, err := a.jsonPatch(ctx, o, claim); err != nil {
			return nil, cannot("take over the fields of", o, err)
		}
		if answer, err = a.apply(ctx, o); err != nil {
			return nil, cannot("apply", o, err)
		}
	}
	if o.GroupVersionKind().GroupKind() == observe.NamespaceKind {
		return a.strip(ctx, o, answer)
	}
	return answer, nil
}

// Repair makes an object that someone else wrote to as o wants it, whatever it
// is now. The hash is what the object had when it was in order, if that is known.
func (a *Applier) Repair(ctx context.Context, o *unstructured.Unstructured, want observe.Hash) (*unstructured.Unstructured, error) {
	answer, err := a.Apply(ctx, o)
	if err != nil || observe.HashOf(answer) == want || o.GroupVersionKind().GroupKind() == observe.NamespaceKind {
		return answer, err
	}

	// Something that nobody owns is in it, or the API server has other defaults
	// than it had. What it makes of a new object tells which.
	rehearsed, err := a.rehearse(ctx, o)
	if err != nil {
		return nil, cannot("rehearse", o, err)
	}
	if observe.HashOf(answer) == observe.HashOf(rehearsed) {
		return answer, nil
	}
	if answer, err = a.replace(ctx, o, answer); err != nil {
		return nil, cannot("replace", o, err)
	}
	if observe.HashOf(answer) != observe.HashOf(rehearsed) {
		return nil, fmt.Errorf("cannot repair %s: the API server keeps content that Aether did not write; delete it, and it is made anew", Ref(o))
	}
	return answer, nil
}

// Label sets labels of an object of ours that still has a resource version, at
// the price of a small patch. The fields stay the owner's.
func (a *Applier) Label(ctx context.Context, o *unstructured.Unstructured, version string, labels map[string]string) (*unstructured.Unstructured, error) {
	client, err := a.resource(o)
	if err != nil {
		return nil, cannot("label", o, err)
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": version, "labels": labels}})
	if err != nil {
		return nil, err
	}
	answer, err := client.Patch(ctx, o.GetName(), types.MergePatchType, body, metav1.PatchOptions{FieldManager: a.owner})
	if err != nil {
		return nil, cannot("label", o, err)
	}
	return answer, nil
}

// Delete removes the object of that very UID, if it is still there. A Flux
// Kustomization is first told to leave what it applied: a hand-over that ends is
// no order to delete a team's workloads.
func (a *Applier) Delete(ctx context.Context, kind schema.GroupVersionKind, namespace, name string, uid types.UID) error {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	client, err := a.resource(o)
	if err != nil {
		return cannot("delete", o, err)
	}
	if kind.GroupKind() == kustomization {
		body := []byte(`{"spec":{"suspend":true,"prune":false,"deletionPolicy":"Orphan"}}`)
		_, err := client.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: a.owner})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return cannot("suspend", o, err)
		}
	}
	background := metav1.DeletePropagationBackground
	err = client.Delete(ctx, name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background,
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, or another one already
		return nil
	}
	if err != nil {
		return cannot("delete", o, err)
	}
	return nil
}

// strip removes labels and annotations of a Namespace that are Aether's or Pod
// Security's and not in o, though nobody owns them.
func (a *Applier) strip(ctx context.Context, o, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	body := patch{{Op: "replace", Path: "/metadata/resourceVersion", Value: live.GetResourceVersion()}}
	for _, key := range surplus(observe.NamespaceKind, "labels", live.GetLabels(), o.GetLabels()) {
		body = append(body, operation{Op: "remove", Path: "/metadata/labels/" + escape(key)})
	}
	for _, key := range surplus(observe.NamespaceKind, "annotations", live.GetAnnotations(), o.GetAnnotations()) {
		body = append(body, operation{Op: "remove", Path: "/metadata/annotations/" + escape(key)})
	}
	if len(body) == 1 {
		return live, nil
	}
	answer, err := a.jsonPatch(ctx, o, body)
	if err != nil {
		return nil, cannot("restore the labels of", o, err)
	}
	return answer, nil
}

// remake deletes an object and makes it anew, because a field of it cannot be
// changed. refusal is the API server's word on that.
func (a *Applier) remake(ctx context.Context, o *unstructured.Unstructured, refusal error) (*unstructured.Unstructured, error) {
	client, err := a.resource(o)
	if err != nil {
		return nil, err
	}
	live, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, cannot("apply", o, refusal)
	}
	if _, err := a.rehearse(ctx, o); err != nil {
		return nil, cannot("apply", o, refusal) // it is o that is wrong
	}
	if err := a.Delete(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName(), live.GetUID()); err != nil {
		return nil, err
	}
	answer, err := a.post(ctx, o, metav1.CreateOptions{FieldManager: a.owner})
	if err != nil {
		return nil, cannot("make anew", o, err)
	}
	return answer, nil
}

// rehearse asks what the API server would make of o, were it new.
func (a *Applier) rehearse(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	other := o.DeepCopy()
	other.SetName("")
	other.SetGenerateName("rehearsal-")
	return a.post(ctx, other, metav1.CreateOptions{FieldManager: a.owner, DryRun: []string{metav1.DryRunAll}})
}

// replace sets every field of the content to what o has, and removes the others,
// owned or not.
func (a *Applier) replace(ctx context.Context, o, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	kind := o.GroupVersionKind().GroupKind()
	body := patch{{Op: "replace", Path: "/metadata/resourceVersion", Value: live.GetResourceVersion()}}
	for _, field := range slices.Sorted(maps.Keys(live.Object)) {
		if _, wanted := o.Object[field]; !wanted && field != "metadata" && observe.IsContent(kind, field) {
			body = append(body, operation{Op: "remove", Path: "/" + escape(field)})
		}
	}
	for _, field := range slices.Sorted(maps.Keys(o.Object)) {
		if field != "metadata" && observe.IsContent(kind, field) {
			body = append(body, operation{Op: "add", Path: "/" + escape(field), Value: o.Object[field]})
		}
	}
	for field, keys := range map[string][2]map[string]string{
		"labels":      {live.GetLabels(), o.GetLabels()},
		"annotations": {live.GetAnnotations(), o.GetAnnotations()},
	} {
		for _, key := range surplus(kind, field, keys[0], keys[1]) {
			body = append(body, operation{Op: "remove", Path: "/metadata/" + field + "/" + escape(key)})
		}
	}
	if len(live.GetOwnerReferences()) > 0 {
		body = append(body, operation{Op: "remove", Path: "/metadata/ownerReferences"})
	}
	return a.jsonPatch(ctx, o, body)
}

// surplus is the labels or annotations that only Aether may set, and did not.
func surplus(kind schema.GroupKind, field string, live, want map[string]string) []string {
	var keys []string
	for key := range live {
		if _, wanted := want[key]; !wanted && observe.IsContent(kind, "metadata", field, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// patch is a JSON patch.
type patch []operation

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// escape writes a name as JSON pointers do.
func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

func (a *Applier) post(ctx context.Context, o *unstructured.Unstructured, opts metav1.CreateOptions) (*unstructured.Unstructured, error) {
	client, err := a.resource(o)
	if err != nil {
		return nil, err
	}
	return client.Create(ctx, o, opts)
}

func (a *Applier) apply(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	client, err := a.resource(o)
	if err != nil {
		return nil, err
	}
	return client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: a.owner, Force: true})
}

func (a *Applier) jsonPatch(ctx context.Context, o *unstructured.Unstructured, body patch) (*unstructured.Unstructured, error) {
	client, err := a.resource(o)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return client.Patch(ctx, o.GetName(), types.JSONPatchType, data, metav1.PatchOptions{FieldManager: a.owner})
}

func (a *Applier) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("cannot find the resource of %s: %w", gvk.Kind, err)
	}
	client := a.client.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return client, nil
	}
	if o.GetNamespace() == "" {
		return nil, errors.New("it has no namespace")
	}
	return client.Namespace(o.GetNamespace()), nil
}

// Ref names an object for people: "NetworkPolicy acme-web/default-deny".
func Ref(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

func cannot(verb string, o *unstructured.Unstructured, err error) error {
	return fmt.Errorf("cannot %s %s: %w", verb, Ref(o), err)
}
