// Package spelling tells how far apart two words are, so that an error can name
// what was meant.
package spelling

// Distance is Levenshtein's: how many bytes to insert, delete or replace to make
// one word the other.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, above, row[j])
			}
			diagonal, row[j+1] = above, cost
		}
	}
	return row[len(b)]
}

// Nearest is the known word that was most likely meant; "" where none is near.
func Nearest(word string, known []string) string {
	best, found := max(2, len(word)/3)+1, ""
	for _, k := range known {
		if d := Distance(word, k); d < best {
			best, found = d, k
		}
	}
	return found
}
