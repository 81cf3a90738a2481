package cli

import (
	"cmp"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/spelling"
)

// Nearest returns the names that someone who typed name may have meant, the
// nearest first, at most three.
func Nearest(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	for _, n := range names {
		d := spelling.Distance(name, n)
		if d <= max(2, len(name)/3) || strings.HasSuffix(n, "-"+name) || strings.HasPrefix(n, name) {
			found = append(found, candidate{n, d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var nearest []string
	for _, c := range found[:min(3, len(found))] {
		nearest = append(nearest, c.name)
	}
	return nearest
}
