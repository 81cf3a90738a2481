package render

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render/canonical"
)

// DigestOf is the digest of an object's content, "sha256:<hex>". The annotations
// that say where the content came from, and the digest itself, are left out.
//
// It is a hash over a canonical encoding of the tree rather than over JSON: a
// template writes most of that encoding once, when it is compiled, so that
// rendering does not have to sort keys.
func DigestOf(o *unstructured.Unstructured) string {
	return digest(encodeObject(make([]byte, 0, 2048), o.Object))
}

// provenance is the annotations that are no content.
var provenance = setOf(v1alpha1.AnnotationDigest, v1alpha1.AnnotationRevision, v1alpha1.AnnotationPath)

func digest(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	const prefix = "sha256:"
	var out [len(prefix) + 2*sha256.Size]byte
	copy(out[:], prefix)
	hex.Encode(out[len(prefix):], sum[:])
	return string(out[:])
}

// encodeObject encodes a whole object without its provenance.
func encodeObject(buf []byte, object map[string]any) []byte {
	metadata, ok := object["metadata"].(map[string]any)
	annotations, hasAny := metadata["annotations"].(map[string]any)
	if !ok || !hasAny {
		return canonical.Value(buf, object)
	}
	content := maps.Clone(annotations)
	maps.DeleteFunc(content, func(k string, _ any) bool { return provenance[k] })
	object, metadata = maps.Clone(object), maps.Clone(metadata)
	object["metadata"] = metadata
	metadata["annotations"] = content
	if len(content) == 0 {
		delete(metadata, "annotations")
	}
	return canonical.Value(buf, object)
}
