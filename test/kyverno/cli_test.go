package kyverno

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aetherplatform/aether/internal/testenv"
)

// Kyverno's own command agrees with what is expected of every case, with no cluster.
//
// It takes the plural of Gateway to be "gatewaies" and so asks no policy about one:
// those are tried against the API server alone. What it has not tried it reports as
// passed, so a row counts only where it says that a policy was asked.
func TestKyvernosCommandAgrees(t *testing.T) {
	for _, f := range folders(t) {
		t.Run(f.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), filepath.Join(testenv.Root(), "bin", "kubectl-kyverno"),
				"test", filepath.Join(testenv.Root(), "policies", "kyverno", f.name), "--require-tests", "--detailed-results", "-o", "json", "--remove-color")
			var out, problems bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &problems
			ran := cmd.Run()
			begin := bytes.IndexByte(out.Bytes(), '[')
			var rows []struct{ Policy, Resource, Result, Reason, Message string }
			if begin < 0 || json.NewDecoder(bytes.NewReader(out.Bytes()[begin:])).Decode(&rows) != nil {
				t.Fatalf("%v\n%s%s", ran, out.Bytes(), problems.Bytes())
			}
			asked := map[string]bool{}
			for _, row := range rows {
				switch {
				case row.Reason == "Excluded" && strings.Contains(row.Resource, "/Gateway/"):
				case row.Result != "Pass" || row.Reason != "Ok":
					t.Errorf("%s: %s: %s, %s: %s", row.Policy, row.Resource, row.Result, row.Reason, row.Message)
				case strings.Contains(row.Message, "failed to evaluate"):
					t.Errorf("%s: %s: %s", row.Policy, row.Resource, row.Message)
				default:
					asked[row.Policy+" "+row.Resource] = true
				}
			}
			if ran != nil {
				t.Errorf("%v\n%s", ran, problems.Bytes())
			}
			for _, c := range f.cases {
				name := c.policy + " " + c.object.GetAPIVersion() + "/" + c.object.GetKind() + "/" + c.object.GetNamespace() + "/" + c.object.GetName()
				if !asked[name] && c.object.GetKind() != "Gateway" {
					t.Errorf("nothing was asked about %s", name)
				}
			}
		})
	}
}
