package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The table of attacks names tests that are there, and every test of test/attacks.
func TestTheTableOfAttacksIsOfTestsThatAreThere(t *testing.T) {
	page, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(string(page), -1) {
		named[m[1]] = true
	}
	if len(named) < 100 {
		t.Errorf("the table names %d tests", len(named))
	}
	there := testsBelow(t, "..")
	for name := range named {
		if there[name] == "" {
			t.Errorf("security.md names %s, which is no test", name)
		}
	}
	for name, file := range there {
		if strings.HasPrefix(file, filepath.Join("..", "test", "attacks")) && !named[name] && !controls[name] {
			t.Errorf("security.md does not name %s of %s", name, file)
		}
	}
}

// controls are tests of test/attacks that try no attack.
var controls = map[string]bool{
	"TestMain": true, "TestPoliciesTypeCheck": true, "TestOperatorOpensAndTightensItsNamespaceByEveryWayItUses": true,
	"TestOthersMayUseWhatAetherMadeWithoutChangingIt": true, "TestWorkloadOfASealedNamespaceWaits": true,
}

// testsBelow are the tests and fuzz targets below a directory, with their files.
func testsBelow(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				found[f.Name.Name] = path
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
