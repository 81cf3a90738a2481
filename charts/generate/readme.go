package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"
)

// begin is what a comment begins with that describes a value.
const begin = "# -- "

// writeReadme puts the table of values below what README.md.in says.
func writeReadme(chart string) error {
	head, err := os.ReadFile(filepath.Join(chart, "README.md.in"))
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	rows, err := table(data)
	if err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	return os.WriteFile(filepath.Join(chart, "README.md"), append(head, rows...), 0o644) //nolint:gosec // for everyone to read
}

// table is one of values.yaml: name, default, description.
func table(values []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("| value | default | what it is |\n| --- | --- | --- |\n")
	if err := rows(&out, "", document.Content[0]); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// rows writes one for each value below a mapping. A value that is a mapping with
// descriptions of its own has none.
func rows(out *bytes.Buffer, prefix string, mapping *yaml.Node) error {
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		name := prefix + key.Value
		_, description, described := strings.Cut(key.HeadComment, begin)
		if !described {
			if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
				return fmt.Errorf("line %d: %s has no description: write %q above it", key.Line, name, begin+"…")
			}
			if err := rows(out, name+".", value); err != nil {
				return err
			}
			continue
		}
		var plain any
		if err := value.Decode(&plain); err != nil {
			return err
		}
		text, err := json.Marshal(plain)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| `%s` | `%s` | %s |\n", name, text, strings.ReplaceAll(description, "\n# ", " "))
	}
	return nil
}
