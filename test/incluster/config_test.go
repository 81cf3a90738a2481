package incluster

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// Without Docker nobody notices a file for kind that is none.
func TestConfigurationForKindCanBeRead(t *testing.T) {
	files, err := filepath.Glob("kind/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no files: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var values map[string]any
		if err := yaml.UnmarshalStrict(data, &values); err != nil || len(values) == 0 {
			t.Errorf("%s: %v, with %d fields", file, err, len(values))
		}
	}
}
