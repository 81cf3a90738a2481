package rbac_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/aetherplatform/aether/config/rbac"
)

// election is what controller-runtime needs beside what the controllers ask for.
func election(program string) []string {
	return []string{
		"create .events in aether-system",
		"create coordination.k8s.io.leases in aether-system",
		"get coordination.k8s.io.leases aether-" + program + " in aether-system",
		"patch .events in aether-system",
		"update coordination.k8s.io.leases aether-" + program + " in aether-system",
	}
}

// Controllers say what they need in markers beside their code; the manifest of the
// program that runs them gives exactly that.
func TestRolesAreWhatTheControllersAskFor(t *testing.T) {
	for program, c := range map[string]struct {
		controllers []string
		// perNamespace are roles that the program binds in some Namespaces.
		perNamespace map[string][]string
	}{
		"namespace-operator": {controllers: []string{"namespace", "secret", "source"}},
		"cluster-controller": {
			controllers:  []string{"cluster"},
			perNamespace: map[string][]string{"aether-cluster-controller-secrets": {"create .secrets", "delete .secrets", "get .secrets", "list .secrets", "patch .secrets"}},
		},
	} {
		t.Run(program, func(t *testing.T) {
			asked := map[string]bool{}
			for _, right := range election(program) {
				asked[right] = true
			}
			for _, controller := range c.controllers {
				source, err := os.ReadFile(filepath.Join("../../controllers", controller, "rbac.go"))
				if err != nil {
					t.Fatal(err)
				}
				for _, marker := range regexp.MustCompile(`\+kubebuilder:rbac:(.*)`).FindAllSubmatch(source, -1) {
					rule, namespace := parse(string(marker[1]))
					add(asked, rule, namespace)
				}
			}

			given := map[string]bool{}
			for _, role := range roles(t, program+".yaml") {
				into := given
				if want, is := c.perNamespace[role.Name]; is {
					into = map[string]bool{}
					defer func() {
						if diff := cmp.Diff(want, slices.Sorted(maps.Keys(into))); diff != "" {
							t.Errorf("rights of %s (-want +got):\n%s", role.Name, diff)
						}
					}()
				}
				for _, rule := range role.Rules {
					add(into, rule, role.Namespace)
				}
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(asked)), slices.Sorted(maps.Keys(given))); diff != "" {
				t.Errorf("rights (-asked for in controllers/*/rbac.go +given in %s.yaml):\n%s", program, diff)
			}
		})
	}
}

// roles of a manifest, and ClusterRoles, which differ in their scope.
func roles(t *testing.T, name string) []rbacv1.Role {
	t.Helper()
	data, err := rbac.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var all []rbacv1.Role
	for {
		var role rbacv1.Role
		err := decoder.Decode(&role)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, role)
	}
}

// parse reads `groups=a;b,resources=c,verbs=get;list,namespace=n`.
func parse(marker string) (rule rbacv1.PolicyRule, namespace string) {
	for _, field := range strings.Split(marker, ",") {
		key, value, _ := strings.Cut(field, "=")
		values := strings.Split(strings.Trim(value, `"`), ";")
		switch key {
		case "groups":
			rule.APIGroups = values
		case "resources":
			rule.Resources = values
		case "resourceNames":
			rule.ResourceNames = values
		case "verbs":
			rule.Verbs = values
		case "namespace":
			namespace = value
		}
	}
	return rule, namespace
}

// add spells a rule out, one right at a time.
func add(rights map[string]bool, rule rbacv1.PolicyRule, namespace string) {
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				right := fmt.Sprintf("%s %s.%s", verb, group, resource)
				for _, name := range rule.ResourceNames {
					right += " " + name
				}
				if namespace != "" {
					right += " in " + namespace
				}
				rights[right] = true
			}
		}
	}
}
