package apply

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// InPlace is whether an object is as o has it, as far as o says, and nobody else owns a
// part of its content. It tells from the object alone, managed fields among it, so that
// a process knows right after its start that there is nothing to write. What o said
// earlier and says no more it does not see: that is for the caller to remember, such as
// in an annotation with a digest.
func (a *Applier) InPlace(o, live *unstructured.Unstructured) bool {
	if !Includes(live, o) {
		return false
	}
	claim, err := claimOf(live, a.owner) // an error: it was never applied
	return err == nil && claim == nil
}

// Includes is whether an object has all that o says, whoever wrote it.
func Includes(live, o *unstructured.Unstructured) bool { return includes(live.Object, o.Object) }

// includes is whether a value has all that another has. Lists have the same length: an
// element more is content that somebody added.
func includes(live, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		live, ok := live.(map[string]any)
		if !ok && len(want) > 0 {
			return false
		}
		for key, value := range want {
			if !includes(live[key], value) {
				return false
			}
		}
		return true
	case []any:
		live, _ := live.([]any)
		if len(live) != len(want) {
			return false
		}
		for i := range want {
			if !includes(live[i], want[i]) {
				return false
			}
		}
		return true
	case nil:
		return true // such as creationTimestamp: null
	default:
		return reflect.DeepEqual(live, want) || fmt.Sprint(live) == fmt.Sprint(want) // 1 and 1.0
	}
}
