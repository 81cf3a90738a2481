package kyverno

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/testenv"
)

// `make up KYVERNO=1` has Kyverno hold every policy before there is a tenant, with the
// roles of its own alone, and takes it away again.
func TestPlatformRunsKyverno(t *testing.T) {
	ports, err := local.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "platform")
	p, err := local.Start(t.Context(), local.Options{
		Root: testenv.Root(), Dir: dir, Ports: ports, Kyverno: true, Attached: true, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	opened, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !opened.Kyverno || !slices.ContainsFunc(opened.Running(), func(p *local.Process) bool { return p.Name == "kyverno" }) {
		t.Error("what is written down of the platform has no kyverno that runs")
	}
	var list unstructured.UnstructuredList
	list.SetAPIVersion("policies.kyverno.io/v1")
	list.SetKind("ValidatingPolicyList")
	if err := p.Client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	held := map[string]bool{}
	for _, o := range list.Items {
		held[o.GetName()], _, _ = unstructured.NestedBool(o.Object, "status", "conditionStatus", "ready")
	}
	for _, f := range folders(t) {
		for _, policy := range f.policies {
			if !held[policy.GetName()] {
				t.Errorf("Kyverno does not hold %s", policy.GetName())
			}
		}
	}
}
