package render

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The example of the design, as it is applied. A change of these files is a
// change of what every tenant gets.
func TestTheExampleOfTheDesignRendersAsReviewed(t *testing.T) {
	tests := map[string]func(*Inputs){
		"payments":          func(*Inputs) {},
		"payments-cordoned": func(in *Inputs) { in.Cordoned = true },
	}
	for _, profile := range []string{"default", "restricted"} {
		template := mustCompile(t, "profiles/"+profile)
		for name, change := range tests {
			t.Run(profile+"/"+name, func(t *testing.T) {
				in := example(t)
				change(&in)
				golden(t, profile+"-"+name+".yaml", asYAML(t, mustRender(t, template, in)))
			})
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; if it is meant, run with -update):\n%s", file, diff)
	}
}
