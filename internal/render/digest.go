package render

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
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

// The encoding: every value begins with a byte for its type and knows its own
// end, so no two trees have the same.
const (
	tagNull   = 'n'
	tagTrue   = 't'
	tagFalse  = 'f'
	tagInt    = 'i'
	tagFloat  = 'd'
	tagString = 's'
	tagMap    = '{'
	tagList   = '['
	tagEnd    = '}'
)

// encode appends a JSON tree. Other types of numbers, which clients may have put
// in, count as the JSON that they become.
func encode(buf []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return encodeString(buf, v)
	case map[string]any:
		return encodeMap(buf, v)
	case []any:
		buf = append(buf, tagList)
		for _, item := range v {
			buf = encode(buf, item)
		}
		return append(buf, tagEnd)
	case bool:
		if v {
			return append(buf, tagTrue)
		}
		return append(buf, tagFalse)
	case int64:
		return binary.BigEndian.AppendUint64(append(buf, tagInt), uint64(v))
	case int:
		return encode(buf, int64(v))
	case int32:
		return encode(buf, int64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(buf, tagFloat), math.Float64bits(v))
	case nil:
		return append(buf, tagNull)
	default:
		panic(fmt.Sprintf("a tree cannot hold a %T", v))
	}
}

func encodeString(buf []byte, s string) []byte {
	buf = binary.AppendUvarint(append(buf, tagString), uint64(len(s)))
	return append(buf, s...)
}

func encodeMap(buf []byte, m map[string]any) []byte {
	keys := make([]string, 0, 16)
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	buf = append(buf, tagMap)
	for _, k := range keys {
		buf = encode(encodeString(buf, k), m[k])
	}
	return append(buf, tagEnd)
}

// encodeObject encodes a whole object without its provenance.
func encodeObject(buf []byte, object map[string]any) []byte {
	metadata, ok := object["metadata"].(map[string]any)
	annotations, hasAny := metadata["annotations"].(map[string]any)
	if !ok || !hasAny {
		return encode(buf, object)
	}
	content := maps.Clone(annotations)
	maps.DeleteFunc(content, func(k string, _ any) bool { return provenance[k] })
	object, metadata = maps.Clone(object), maps.Clone(metadata)
	object["metadata"] = metadata
	metadata["annotations"] = content
	if len(content) == 0 {
		delete(metadata, "annotations")
	}
	return encode(buf, object)
}
