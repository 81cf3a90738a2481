package namespace

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/observe"
)

// inventory is what was made for a namespace: what the status says, and what
// this process has done since.
type inventory struct {
	entries []v1alpha1.InventoryEntry
}

// inventoryOf reads the status; applied goes over it.
func inventoryOf(tn *v1alpha1.TenantNamespace, applied map[string]v1alpha1.InventoryEntry) inventory {
	inv := inventory{entries: slices.Clone(tn.Status.Inventory)}
	for _, id := range slices.Sorted(maps.Keys(applied)) {
		if known := inv.find(id); known != nil {
			*known = applied[id]
		} else {
			inv.entries = append(inv.entries, applied[id])
		}
	}
	return inv
}

func (inv *inventory) find(id string) *v1alpha1.InventoryEntry {
	for i := range inv.entries {
		if inv.entries[i].ID == id {
			return &inv.entries[i]
		}
	}
	return nil
}

// include adds what is not there yet, in the order of the render and before
// what is left over, and says whether there was any.
func (inv *inventory) include(all []*desired) bool {
	grown := false
	entries := make([]v1alpha1.InventoryEntry, 0, max(len(all), len(inv.entries)))
	wanted := make(map[string]bool, len(all))
	for _, d := range all {
		wanted[d.id] = true
		e := inv.find(d.id)
		if e == nil {
			grown = true
			e = &v1alpha1.InventoryEntry{ID: d.id}
		}
		entry := *e
		entry.Version = d.GroupVersionKind().Version
		entries = append(entries, entry)
	}
	for _, e := range inv.entries {
		if !wanted[e.ID] {
			entries = append(entries, e)
		}
	}
	inv.entries = entries
	return grown
}

// adopt adds what was found in the namespace with our labels, and says whether
// there was any that was not known.
func (inv *inventory) adopt(found []observe.Object, namespace string) bool {
	grown := false
	for _, o := range found {
		if id := idOf(o.Kind.GroupKind(), namespace, o.Name); inv.find(id) == nil {
			grown = true
			inv.entries = append(inv.entries, v1alpha1.InventoryEntry{ID: id, Version: o.Kind.Version})
		}
	}
	return grown
}

func (inv *inventory) drop(id string) {
	inv.entries = slices.DeleteFunc(inv.entries, func(e v1alpha1.InventoryEntry) bool { return e.ID == id })
}

// idOf is "<namespace>_<name>_<group>_<kind>".
func idOf(kind schema.GroupKind, namespace, name string) string {
	return namespace + "_" + name + "_" + kind.Group + "_" + kind.Kind
}

// kindsText lists kinds as v1alpha1.AnnotationKinds does, and kindsOf reads it.
func kindsText(all []*desired) string {
	var kinds []string
	for _, d := range all {
		gvk := d.GroupVersionKind()
		kinds = append(kinds, gvk.Kind+"."+gvk.Version+"."+gvk.Group)
	}
	slices.Sort(kinds)
	return strings.Join(slices.Compact(kinds), ",")
}

func kindsOf(text string) []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for arg := range strings.SplitSeq(text, ",") {
		if kind, _ := schema.ParseKindArg(arg); kind != nil {
			kinds = append(kinds, *kind)
		}
	}
	return kinds
}

// kindOf is the kind of an entry, and nameOf its name: a group and a kind hold no
// '_', nor does a namespace.
func kindOf(e v1alpha1.InventoryEntry) schema.GroupVersionKind {
	parts := strings.Split(e.ID, "_")
	if len(parts) < 4 {
		return schema.GroupVersionKind{}
	}
	return schema.GroupVersionKind{Group: parts[len(parts)-2], Version: e.Version, Kind: parts[len(parts)-1]}
}

func nameOf(e v1alpha1.InventoryEntry) string {
	parts := strings.Split(e.ID, "_")
	if len(parts) < 4 {
		return ""
	}
	return strings.Join(parts[1:len(parts)-2], "_")
}

// leftovers are the entries of what is not wanted any more.
func (inv *inventory) leftovers(wanted map[string]bool) []v1alpha1.InventoryEntry {
	var left []v1alpha1.InventoryEntry
	for _, e := range inv.entries {
		if !wanted[e.ID] {
			left = append(left, e)
		}
	}
	return left
}
