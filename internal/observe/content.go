package observe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// NamespaceKind is the one kind of which others own a part.
var NamespaceKind = schema.GroupKind{Kind: "Namespace"}

// podSecurityPrefix begins the labels that Pod Security reads from a Namespace.
const podSecurityPrefix = "pod-security.kubernetes.io/"

// Hash stands for the content of an object.
type Hash [16]byte

// String is the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash is the hash that String wrote, or the zero Hash, which no object has.
func ParseHash(s string) Hash {
	var h Hash
	if b, err := hex.DecodeString(s); err == nil && len(b) == len(h) {
		copy(h[:], b)
	}
	return h
}

// HashOf is the hash of an object's content.
func HashOf(o *unstructured.Unstructured) Hash {
	// A map of decoded JSON always encodes, and with its keys sorted.
	data, err := json.Marshal(Content(o))
	if err != nil {
		return Hash{}
	}
	sum := sha256.Sum256(data)
	return Hash(sum[:16])
}

// Content is the part of an object that must be as Aether made it: all but its
// identity, its status, and what others may rightly write. The result shares
// its values with the object.
func Content(o *unstructured.Unstructured) map[string]any {
	kind := o.GroupVersionKind().GroupKind()
	meta, _ := o.Object["metadata"].(map[string]any)
	owned := func(string, string) bool { return false }
	if kind == NamespaceKind {
		owned = ownedKeys(o)
	}

	kept := map[string]any{}
	for _, field := range []string{"labels", "annotations"} {
		values, _ := meta[field].(map[string]any)
		for key, value := range values {
			if IsContent(kind, "metadata", field, key) || owned(field, key) {
				kept[field+"/"+key] = value
			}
		}
	}
	if refs, ok := meta["ownerReferences"]; ok {
		kept["ownerReferences"] = refs
	}

	content := map[string]any{"metadata": kept}
	for field, value := range o.Object {
		if field != "metadata" && IsContent(kind, field) {
			content[field] = value
		}
	}
	return content
}

// IsContent says whether a field, by its path, is part of an object's content:
//
//   - what Aether rendered, and with it all that others could put beside it;
//   - Aether's own labels and annotations, and owner references, which could
//     have the object deleted. Finalizers and other metadata belong to whoever
//     set them;
//   - of a Namespace, only labels and annotations, those of Pod Security among them;
//   - not the lists of a ServiceAccount that token and registry controllers fill.
func IsContent(kind schema.GroupKind, path ...string) bool {
	switch path[0] {
	case "apiVersion", "kind", "status":
		return false
	case "metadata":
		if len(path) > 1 && path[1] == "ownerReferences" {
			return true
		}
		if len(path) < 3 || path[1] != "labels" && path[1] != "annotations" {
			return false
		}
		return strings.HasPrefix(path[2], v1alpha1.LabelPrefix) ||
			kind == NamespaceKind && strings.HasPrefix(path[2], podSecurityPrefix)
	case "secrets", "imagePullSecrets":
		return kind != schema.GroupKind{Group: corev1.GroupName, Kind: "ServiceAccount"}
	default:
		return kind != NamespaceKind
	}
}

// ownedKeys tells the labels and annotations of a Namespace that Aether set from
// those that others did. Whoever changes one takes the field from Aether, so it
// leaves the set, and the hash changes either way.
func ownedKeys(o *unstructured.Unstructured) func(field, key string) bool {
	owned := map[string]bool{}
	for _, entry := range o.GetManagedFields() {
		if entry.Manager != v1alpha1.FieldOwnerNamespace || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata map[string]map[string]json.RawMessage `json:"f:metadata"`
		}
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for field, keys := range fields.Metadata {
			for key := range keys {
				owned[strings.TrimPrefix(field, "f:")+"/"+strings.TrimPrefix(key, "f:")] = true
			}
		}
	}
	return func(field, key string) bool { return owned[field+"/"+key] }
}
