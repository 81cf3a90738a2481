// Package canonical encodes JSON trees so that two trees have the same bytes only
// if they are equal. The bytes are for hashing: nothing reads them back.
package canonical

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// The encoding: every value begins with a byte for its type and knows its own
// end, so no two trees have the same.
const (
	tagNull   = 'n'
	tagTrue   = 't'
	tagFalse  = 'f'
	tagInt    = 'i'
	tagFloat  = 'd'
	tagString = 's'
	MapBegin  = '{'
	ListBegin = '['
	End       = '}'
)

// Value appends a JSON tree. Other types of numbers, which clients may have put
// in, count as the JSON that they become.
func Value(buf []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return String(buf, v)
	case map[string]any:
		return Map(buf, v)
	case []any:
		buf = append(buf, ListBegin)
		for _, item := range v {
			buf = Value(buf, item)
		}
		return append(buf, End)
	case bool:
		if v {
			return append(buf, tagTrue)
		}
		return append(buf, tagFalse)
	case int64:
		return binary.BigEndian.AppendUint64(append(buf, tagInt), uint64(v))
	case int:
		return Value(buf, int64(v))
	case int32:
		return Value(buf, int64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(buf, tagFloat), math.Float64bits(v))
	case nil:
		return append(buf, tagNull)
	default:
		panic(fmt.Sprintf("a tree cannot hold a %T", v))
	}
}

// String appends a string.
func String(buf []byte, s string) []byte {
	buf = binary.AppendUvarint(append(buf, tagString), uint64(len(s)))
	return append(buf, s...)
}

// Map appends a map, its keys sorted.
func Map(buf []byte, m map[string]any) []byte {
	keys := make([]string, 0, 16)
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	buf = append(buf, MapBegin)
	for _, k := range keys {
		buf = Value(String(buf, k), m[k])
	}
	return append(buf, End)
}
