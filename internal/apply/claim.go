package apply

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/aetherplatform/aether/internal/observe"
)

// claimOf is the JSON patch that gives our Apply every field of an object's
// content that only others own, so that the next apply removes it; nil when
// there is no such field. Server-side apply alone would leave them: it removes
// what its owner dropped, never what another added.
//
// Where our own name created the object with a POST, it owns the fields so too:
// these are claimed whatever they are.
//
// Package csaupgrade of client-go does the like for whole managers; here others
// keep what is rightly theirs.
func claimOf(o *unstructured.Unstructured, owner string) (patch, error) {
	entries := o.GetManagedFields()
	ours := -1
	for i, e := range entries {
		if e.Manager == owner && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			ours = i
		}
	}
	if ours < 0 {
		return nil, fmt.Errorf("%q is not among its owners", owner)
	}
	applied, err := decode(entries[ours])
	if err != nil {
		return nil, err
	}

	kind := o.GroupVersionKind().GroupKind()
	claimed := fieldpath.NewSet()
	kept := entries[:0:0]
	for i, e := range entries {
		if i == ours || e.Subresource != "" {
			kept = append(kept, e)
			continue
		}
		theirs, err := decode(e)
		if err != nil {
			return nil, err
		}
		foreign := theirs.Difference(applied)
		foreign = only(foreign, func(path fieldpath.Path) bool {
			return !within(applied, path) && (e.Manager == owner || isContent(kind, path))
		})
		if foreign.Empty() {
			kept = append(kept, e)
			continue
		}
		claimed = claimed.Union(foreign)
		if rest := theirs.Difference(foreign); !rest.Empty() {
			kept = append(kept, encode(e, rest))
		}
	}
	if claimed.Empty() {
		return nil, nil
	}
	for i, e := range kept {
		if e.Manager == owner && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			kept[i] = encode(e, applied.Union(claimed))
		}
	}
	return patch{
		{Op: "replace", Path: "/metadata/managedFields", Value: kept},
		{Op: "replace", Path: "/metadata/resourceVersion", Value: o.GetResourceVersion()},
	}, nil
}

func only(set *fieldpath.Set, keep func(fieldpath.Path) bool) *fieldpath.Set {
	kept := fieldpath.NewSet()
	for path := range set.All() {
		if keep(path) {
			kept.Insert(path)
		}
	}
	return kept
}

// isContent asks package observe, which knows fields by name.
func isContent(kind schema.GroupKind, path fieldpath.Path) bool {
	var names []string
	for _, element := range path {
		if element.FieldName == nil {
			break
		}
		names = append(names, *element.FieldName)
	}
	return len(names) > 0 && observe.IsContent(kind, names...)
}

// within says whether we apply something inside the field at a path: then the
// field is there because of us.
func within(applied *fieldpath.Set, path fieldpath.Path) bool {
	for _, element := range path {
		applied = applied.WithPrefix(element)
	}
	return !applied.Empty()
}

func decode(e metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if e.FieldsV1 == nil {
		return set, nil
	}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return nil, fmt.Errorf("cannot read the fields of %q: %w", e.Manager, err)
	}
	return set, nil
}

func encode(e metav1.ManagedFieldsEntry, set *fieldpath.Set) metav1.ManagedFieldsEntry {
	data, err := set.ToJSON()
	if err != nil {
		return e // a set that was decoded encodes
	}
	e.FieldsV1 = &metav1.FieldsV1{}
	e.FieldsV1.SetRawBytes(data)
	return e
}
