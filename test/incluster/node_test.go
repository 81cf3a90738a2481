//go:build node

package incluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/local/machine"
	"github.com/aetherplatform/aether/internal/testenv"
)

// On the local platform's node, Flux and Aether are Pods there. No release came before
// this one, so the chart that is upgraded from is this one under an earlier version,
// with its image under another tag.
func TestTheChartOnANode(t *testing.T) {
	ports, err := local.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	platform, err := local.Start(context.Background(), local.Options{
		Root: testenv.Root(), Dir: filepath.Join(t.TempDir(), "platform"), Ports: ports, Fleet: filepath.Join(testenv.Root(), "tenants"), Nodes: 1, Chart: true,
		Attached: true, Now: time.Now, Progress: os.Stderr,
	})
	if err != nil {
		var process *local.ProcessError
		if errors.As(err, &process) {
			t.Logf("the end of its log:\n%s", process.End)
		}
		t.Fatalf("cannot start the platform: %v", err)
	}
	t.Cleanup(func() {
		if err := platform.Stop(); err != nil {
			t.Errorf("cannot end the platform: %v", err)
		}
	})

	for _, p := range platform.Processes {
		if slices.Contains(p.Args, "review") || p.Name == "namespace-operator" {
			t.Errorf("the process %s does what a Pod is to do", p.Name)
		}
	}
	onlyWhatItNeedsGetsThrough(t, platform)
	for _, program := range []string{"namespace-operator", "aether"} {
		image := "aetherplatform.cloud/" + program + ":"
		if _, err := platform.On(t.Context(), local.NodeName(1), machine.Bin+"/ctr", "--namespace=k8s.io", "images", "tag", image+"local", image+previously); err != nil {
			t.Fatal(err)
		}
	}
	packages := t.TempDir()
	if _, err := platform.Helm(t.Context(), "package", platform.ChartDir(), "--version=0.0.1", "--app-version="+previously, "--destination="+packages); err != nil {
		t.Fatal(err)
	}
	if err := platform.InstallChart(t.Context(), filepath.Join(packages, "aether-0.0.1.tgz"), "image.tag="+previously); err != nil {
		t.Fatal(err)
	}
	prove(t, platform, platform.Client, platform.Config)
}
