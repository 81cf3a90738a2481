//go:build node

package node

import (
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/aetherplatform/aether/internal/local"
)

// A tenant's Pod runs, with the security context that its profile asks for, on
// each node, and says what a Pod says.
func TestAPodOfATenantRunsAndCanBeLookedInto(t *testing.T) {
	w := newWorld(t)
	for n := range w.Nodes {
		node := local.NodeName(n + 1)
		p := w.runs(pod("acme-web", "looked-into-"+node, node, "knock", "tcp://127.0.0.1:1"))[0]
		if p.Spec.NodeName != node || p.Status.PodIP == "" {
			t.Errorf("the Pod is on %q with address %q, want %s", p.Spec.NodeName, p.Status.PodIP, node)
		}
		stream, err := w.kube.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{TailLines: new(int64(1))}).Stream(t.Context())
		if err != nil {
			t.Fatalf("kubectl logs: %v", err)
		}
		log, err := io.ReadAll(stream)
		if err != nil || !strings.Contains(string(log), `"target":"tcp://127.0.0.1:1"`) {
			t.Errorf("kubectl logs of %s: got %q (%v), want a line of the probe's", p.Name, log, err)
		}
		out, err := w.exec(p, "/probe", "resolve", "localhost")
		if err != nil {
			t.Errorf("kubectl exec in %s: %v: %s", p.Name, err, out)
		}
	}
}
