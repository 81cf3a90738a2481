package policy

import (
	"strings"
	"testing"
	"time"
)

// Head is untrusted, and its policies are parsed to be named.
func TestHostilePoliciesOfTheHeadAreNamedInBoundedTime(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 9; i++ {
		prev, now := string(rune('0'+i-1)), string(rune('0'+i))
		bomb += "a" + now + ": &a" + now + " [" + strings.Repeat("*a"+prev+",", 9) + "]\n"
	}
	for name, text := range map[string]string{
		"nested":    strings.Repeat("[", 1<<20-1),
		"maps":      strings.Repeat("{a: ", 200_000),
		"indented":  strings.Repeat("- ", 500_000),
		"aliases":   bomb,
		"documents": strings.Repeat("---\na\n", 150_000),
		"keys":      strings.Repeat("? ", 400_000),
		"long name": "{apiVersion: kyverno.io/v1, kind: ClusterPolicy, metadata: {name: " + strings.Repeat("x", 900_000) + "}}",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			report := evaluate(t, side(policies()), side(policies("p.yaml", text)))
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if len(report.Findings) != 1 || len(report.Findings[0].Title) > 1000 {
				t.Errorf("findings %.300q, want one of a readable size", titles(report))
			}
			t.Log(time.Since(start))
		})
	}
}
