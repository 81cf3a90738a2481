// Command generate copies into the Helm chart what is written down elsewhere, so that
// each has one source: the CRDs, the roles and the policies. It also writes the
// chart's README out of the comments in values.yaml.
//
//	go run ./charts/generate
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const chart = "charts/aether"

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "charts/generate:", err)
		os.Exit(1)
	}
}

// copies are files, and the folder of the chart that they go to.
var copies = []struct{ from, to string }{
	{"config/crd/*.yaml", "files/crds"},
	{"config/rbac/cluster-controller.yaml", "files/rbac"},
	{"config/rbac/namespace-operator.yaml", "files/rbac"},
	{"config/rbac/people.yaml", "files/rbac"},
	{"policies/admission/*/policy.yaml", "files/policies/admission"},
	{"policies/kyverno/*/policy.yaml", "files/policies/kyverno"},
}

func run(root string) error {
	for _, c := range copies {
		folder := filepath.Join(root, chart, filepath.FromSlash(c.to))
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	for _, c := range copies {
		paths, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(c.from)))
		if err != nil {
			return err
		}
		if len(paths) == 0 {
			return fmt.Errorf("there is no %s: run it in the root of the checkout", c.from)
		}
		for _, path := range paths {
			if err := copyFile(path, filepath.Join(root, chart, filepath.FromSlash(c.to), nameOf(path))); err != nil {
				return err
			}
		}
	}
	return writeReadme(filepath.Join(root, chart))
}

// nameOf is a policy's name, which is its folder's, or a file's own.
func nameOf(path string) string {
	if filepath.Base(path) == "policy.yaml" {
		return filepath.Base(filepath.Dir(path)) + ".yaml"
	}
	return filepath.Base(path)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if strings.Contains(string(data), "\n---\n---\n") {
		return fmt.Errorf("%s holds an empty document", from)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // sources, for everyone to read
		return err
	}
	return os.WriteFile(to, data, 0o644) //nolint:gosec // as above
}
