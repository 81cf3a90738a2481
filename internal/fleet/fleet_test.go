package fleet

import "testing"

// The example of the design is what users see first.
func TestNormativeExampleHasNoErrors(t *testing.T) {
	tree, err := ReadDir("testdata/normative")
	if err != nil {
		t.Fatal(err)
	}
	f := NewParser().Parse(tree, nil)
	for _, err := range f.Errors() {
		t.Error(err)
	}
	for _, w := range f.Warnings() {
		t.Log(w)
	}
	if len(f.Tenants) != 1 || len(f.Profiles) != 1 || len(f.Tenants[0].Namespaces) != 1 || len(f.Tenants[0].Clusters) != 1 {
		t.Errorf("read %d tenants and %d profiles", len(f.Tenants), len(f.Profiles))
	}
}
