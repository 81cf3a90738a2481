package render

import (
	"testing"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// A hundred repositories with a profile each need the base compiled once.
func TestWhatIsCompiledOfABaseIsShared(t *testing.T) {
	first, second := parse[v1alpha1.NamespaceProfile](t, profileYAML), parse[v1alpha1.NamespaceProfile](t, profileYAML)
	second.Name = "second"
	a, err := Compile(first, EmbeddedBase())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Compile(second, EmbeddedBase())
	if err != nil {
		t.Fatal(err)
	}
	if a.compiled != b.compiled {
		t.Error("two profiles of one base have it compiled twice")
	}
	if a.Profile().Name == b.Profile().Name {
		t.Error("they are one profile")
	}
}
