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
var election = []string{
	"create .events in aether-system",
	"create coordination.k8s.io.leases in aether-system",
	"get coordination.k8s.io.leases aether-namespace-operator in aether-system",
	"patch .events in aether-system",
	"update coordination.k8s.io.leases aether-namespace-operator in aether-system",
}

// Controllers say what they need in markers beside their code; the manifest gives
// exactly that.
func TestOperatorsRolesAreWhatItsControllersAskFor(t *testing.T) {
	asked := map[string]bool{}
	for _, right := range election {
		asked[right] = true
	}
	files, err := filepath.Glob("../../controllers/*/rbac.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("cannot find the controllers' markers: %v", err)
	}
	for _, path := range files {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, marker := range regexp.MustCompile(`\+kubebuilder:rbac:(.*)`).FindAllSubmatch(source, -1) {
			rule, namespace := parse(string(marker[1]))
			add(asked, rule, namespace)
		}
	}

	given := map[string]bool{}
	data, err := rbac.FS.ReadFile("namespace-operator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var role rbacv1.Role // and ClusterRole, which differs in its scope
		err := decoder.Decode(&role)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			add(given, rule, role.Namespace)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(asked)), slices.Sorted(maps.Keys(given))); diff != "" {
		t.Errorf("rights (-asked for in controllers/*/rbac.go +given in namespace-operator.yaml):\n%s", diff)
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
