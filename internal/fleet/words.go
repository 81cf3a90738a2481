package fleet

import (
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/spelling"
)

// nearest is the name that was most likely meant, or "".
func nearest(word string, names []string) string {
	const longest = 64 // what people mistype is shorter
	if len(word) > longest {
		return ""
	}
	best, found := max(2, len(word)/3)+1, ""
	for _, name := range names {
		if strings.EqualFold(word, name) {
			return name
		}
		if len(name) > longest {
			continue
		}
		if d := spelling.Distance(word, name); d < best && d < len(name) {
			best, found = d, name
		}
	}
	return found
}

// sortedKeys are the keys of a map, sorted.
func sortedKeys[K ~string, V any](m map[K]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, string(k))
	}
	slices.Sort(keys)
	return keys
}
