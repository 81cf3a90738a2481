package compare

import (
	"maps"
	"reflect"
	"regexp"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/review"
)

// content is an object without provenance. What is below metadata is shared.
func content(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if annotations == nil {
		return object
	}
	annotations = maps.Clone(annotations)
	for _, name := range []string{v1alpha1.AnnotationDigest, v1alpha1.AnnotationRevision, v1alpha1.AnnotationPath} {
		delete(annotations, name)
	}
	object, metadata = maps.Clone(object), maps.Clone(metadata)
	object["metadata"] = metadata
	metadata["annotations"] = annotations
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return object
}

// shown is the content of an object as it may be shown.
func shown(o *review.Rendered) map[string]any {
	return redaction(o.Object)("", content(o.Content)).(map[string]any)
}

// lastApplied is where kubectl keeps a copy of a whole object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// redaction returns what makes a value of an object fit to be shown: the data of
// a Secret is left out, and passwords in URLs are.
func redaction(o review.Object) func(pattern string, v any) any {
	secret := o.Kind == "Secret" && groupOf(o.APIVersion) == ""
	var redact func(pattern string, v any) any
	redact = func(pattern string, v any) any {
		switch v := v.(type) {
		case map[string]any:
			return redactMap(redact, pattern, v)
		case []any:
			return redactList(redact, pattern, v)
		case string:
			if secret && isSecret(pattern) {
				return review.Redacted
			}
			return credentials.ReplaceAllString(v, "${1}"+review.Redacted+"@")
		default:
			if secret && isSecret(pattern) && v != nil {
				return review.Redacted
			}
			return v
		}
	}
	return redact
}

// isSecret says whether a field of a Secret holds what nobody may see.
func isSecret(pattern string) bool {
	top, _, _ := strings.Cut(pattern, ".")
	return top == "data" || top == "stringData" || pattern == "metadata.annotations."+lastApplied
}

// credentials are what a URL holds before the host.
var credentials = regexp.MustCompile(`(://[^/@:\s"]*:)[^/@\s"]+@`)

// redactMap copies only where something is left out.
func redactMap(redact func(string, any) any, pattern string, m map[string]any) any {
	var copied map[string]any
	for k, v := range m {
		below := k
		if pattern != "" {
			below = pattern + "." + k
		}
		if w := redact(below, v); changed(v, w) {
			if copied == nil {
				copied = maps.Clone(m)
			}
			copied[k] = w
		}
	}
	if copied == nil {
		return m
	}
	return copied
}

func redactList(redact func(string, any) any, pattern string, items []any) any {
	var copied []any
	for i, v := range items {
		if w := redact(pattern, v); changed(v, w) {
			if copied == nil {
				copied = append([]any(nil), items...)
			}
			copied[i] = w
		}
	}
	if copied == nil {
		return items
	}
	return copied
}

// changed says whether redacting made another value: of maps and lists, a copy.
func changed(before, after any) bool {
	switch before := before.(type) {
	case map[string]any:
		after, ok := after.(map[string]any)
		return !ok || !sameMap(before, after)
	case []any:
		after, ok := after.([]any)
		return !ok || len(before) > 0 && &before[0] != &after[0]
	default:
		return before != after
	}
}

// sameMap says whether two maps are one and the same.
func sameMap(a, b map[string]any) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
