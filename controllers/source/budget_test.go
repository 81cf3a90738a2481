package source

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

func TestBudgetIsACountOrAShareOfWhatIsApplied(t *testing.T) {
	of := func(v intstr.IntOrString) *intstr.IntOrString { return &v }
	for name, tc := range map[string]struct {
		why     string
		max     *intstr.IntOrString
		applied int
		want    int
	}{
		"left out":           {"the schema's default is 10%", nil, 200, 20},
		"a count":            {"taken as it is", of(intstr.FromInt32(5)), 200, 5},
		"zero":               {"nothing is removed without a trailer", of(intstr.FromInt32(0)), 200, 0},
		"a percentage":       {"of what is applied", of(intstr.FromString("25%")), 200, 50},
		"a fraction":         {"rounded up, or a small fleet could remove nothing", of(intstr.FromString("10%")), 3, 1},
		"nothing is applied": {"there is nothing to remove", of(intstr.FromString("10%")), 0, 0},
		"all":                {"allowed to who writes it down", of(intstr.FromString("100%")), 7, 7},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := budget(v1alpha1.Prune{Max: tc.max}, tc.applied)
			if err != nil || got != tc.want {
				t.Errorf("%s: got %d, %v, want %d", tc.why, got, err, tc.want)
			}
		})
	}
}

func TestOnlyATrailerApprovesRemovals(t *testing.T) {
	for name, tc := range map[string]struct {
		why     string
		message string
		want    int
	}{
		"a trailer":             {"the last paragraph", "Retire acme\n\nThey have left.\n\nAether-Prune: 12\n", 12},
		"among others":          {"trailers come in groups", "Retire acme\n\nReviewed-by: A <a@example.com>\nAether-Prune: 12\nSigned-off-by: B <b@example.com>\n", 12},
		"another case":          {"Git does not tell cases apart either", "Retire acme\n\naether-prune: 3\n", 3},
		"with a continuation":   {"a trailer may be folded", "Retire acme\n\nNote: long\n  and longer\nAether-Prune: 3\n", 3},
		"Windows line ends":     {"editors add them", "Retire acme\r\n\r\nAether-Prune: 12\r\n", 12},
		"in a sentence":         {"talking about it approves nothing", "Explain Aether-Prune: 12\n\nWrite Aether-Prune: 12 to approve.\n", 0},
		"in the subject":        {"the subject is no trailer", "Aether-Prune: 12\n", 0},
		"before another part":   {"only the last paragraph counts", "Retire acme\n\nAether-Prune: 12\n\nThat was the trailer.\n", 0},
		"not a number":          {"all is not a number", "Retire acme\n\nAether-Prune: all\n", 0},
		"negative":              {"approves nothing", "Retire acme\n\nAether-Prune: -1\n", 0},
		"none":                  {"the usual commit", "Add acme\n", 0},
		"an empty message":      {"must not panic", "", 0},
		"a quoted trailer line": {"a paragraph with prose is not trailers", "Retire acme\n\nThe bot says\nAether-Prune: 12\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := approval(tc.message); got != tc.want {
				t.Errorf("%s: got %d, want %d", tc.why, got, tc.want)
			}
		})
	}
}

func TestRevisionNamesItsCommit(t *testing.T) {
	const hex = "6dcd4ce23d88e2ee9568ba546c007c63d9131c1b"
	for revision, branch := range map[string]string{
		"main@sha1:" + hex:             "refs/heads/main",
		"feature/x@sha1:" + hex:        "refs/heads/feature/x",
		"refs/pull/1/head@sha1:" + hex: "refs/pull/1/head",
		"sha1:" + hex:                  "",
	} {
		hash, err := hashOf(revision)
		if err != nil || hash.String() != hex {
			t.Errorf("%s: got %s, %v", revision, hash, err)
		}
		var got string
		if b := branchOf(revision); len(b) > 0 {
			got = b[0]
		}
		if got != branch {
			t.Errorf("%s: got branch %q, want %q", revision, got, branch)
		}
	}
	if _, err := hashOf("latest@sha256:00"); err == nil {
		t.Error("an image's digest was taken for a commit")
	}
}
