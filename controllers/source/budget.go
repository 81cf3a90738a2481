package source

import (
	"bufio"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// defaultBudget is what the schema sets where spec.prune.max is left out.
var defaultBudget = intstr.FromString("10%")

// budget is how many of the applied objects one revision may remove.
func budget(prune v1alpha1.Prune, applied int) (int, error) {
	limit := prune.Max
	if limit == nil {
		limit = &defaultBudget
	}
	return intstr.GetScaledValueFromIntOrPercent(limit, applied, true)
}

// approval is the number of removals that a commit message approves in its
// trailers, which are the "Key: value" lines of its last paragraph; 0 without.
func approval(message string) int {
	approved := 0
	for _, line := range lastParagraph(message) {
		name, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(strings.TrimSpace(name), v1alpha1.TrailerPrune) {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && n > approved {
			approved = n
		}
	}
	return approved
}

var trailer = regexp.MustCompile(`^[A-Za-z0-9-]+:\s`)

// lastParagraph is nil unless every line of it is a trailer or the continuation
// of one: a sentence that mentions the trailer approves nothing. The subject is
// never a trailer.
func lastParagraph(message string) []string {
	var lines []string
	paragraphs := 0
	scanner := bufio.NewScanner(strings.NewReader(strings.TrimSpace(message)))
	for blank := true; scanner.Scan(); {
		line := strings.TrimRight(scanner.Text(), " \t\r")
		switch {
		case line == "":
			blank = true
			continue
		case blank:
			lines, blank = nil, false
			paragraphs++
		}
		lines = append(lines, line)
	}
	if paragraphs < 2 {
		return nil
	}
	for i, line := range lines {
		continued := i > 0 && (line[0] == ' ' || line[0] == '\t')
		if !trailer.MatchString(line+" ") && !continued {
			return nil
		}
	}
	return lines
}
