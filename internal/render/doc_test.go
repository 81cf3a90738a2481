package render

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// variablesTable is the part of base/README.md that is generated.
func variablesTable() string {
	var b strings.Builder
	for _, o := range objectTypes {
		fmt.Fprintf(&b, "**%s**\n\n| field | type | |\n| --- | --- | --- |\n", o.Name)
		for _, f := range o.Fields {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, f.Type, f.Doc)
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func TestReadmeOfTheBaseListsEveryVariable(t *testing.T) {
	const file, heading = "../../base/README.md", "## What expressions may name\n\n"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(data), heading)
	if !ok {
		t.Fatalf("%s has no heading %q", file, strings.TrimSpace(heading))
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+heading+variablesTable()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if after != variablesTable() {
		t.Errorf("%s does not list the variables as they are; run go test ./internal/render -run Readme -update", file)
	}
}
