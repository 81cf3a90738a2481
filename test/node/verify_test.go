//go:build node

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/root"
	"github.com/aetherplatform/aether/internal/isolation"
	"github.com/aetherplatform/aether/internal/testenv"
)

// verifies runs `aether verify isolation` on the example fleet.
func (w *world) verifies(args ...string) (int, *isolation.Report) {
	w.Helper()
	var out, progress bytes.Buffer
	env := &cli.Env{Out: &out, Err: &progress, Now: time.Now}
	code := root.Execute(w.Context(), env, append([]string{
		"verify", "isolation", filepath.Join(testenv.Root(), "tenants"), "--kubeconfig", w.Kubeconfig(), "--output", "json",
	}, args...))
	report := &isolation.Report{}
	if err := json.Unmarshal(out.Bytes(), report); err != nil {
		w.Fatalf("exit code %d, %v\n%s\n%s", code, err, out.String(), progress.String())
	}
	w.Logf("exit code %d: %+v\n%s", code, report.Summary, progress.String())
	var left corev1.PodList
	if err := w.Client.List(w.Context(), &left, client.MatchingLabels{"app.kubernetes.io/name": "aether-verify"}); err != nil || len(left.Items) > 0 {
		w.Errorf("%d Pods are left (%v)", len(left.Items), err)
	}
	return code, report
}

// create creates an object for as long as the test runs.
func (w *world) creates(text string) {
	w.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		w.Fatal(err)
	}
	if err := w.Client.Create(w.Context(), u); err != nil {
		w.Fatalf("cannot create %s %s: %v", u.GetKind(), u.GetName(), err)
	}
	w.Cleanup(func() { _ = w.Client.Delete(context.Background(), u) }) // at the latest it ends with the platform
}

// Every path that the example fleet opens works, and every other is refused: the
// ingress controller's included, within a node and between nodes.
func TestTheExampleFleetIsProvenPathByPath(t *testing.T) {
	w := newWorld(t)
	w.creates("{apiVersion: v1, kind: Namespace, metadata: {name: ingress-nginx}}")
	code, r := w.verifies("--all", "--also", "elsewhere.example:443", "--also", "other.example:443", "--also", "smtp.mail.example.com:587", "--also", "203.0.113.20:443")
	for _, d := range r.Differences {
		t.Errorf("%s: %s", d.String(), d.Why)
	}
	if code != cli.ExitOK || r.Summary.Namespaces != 12 {
		t.Errorf("exit code %d, %+v", code, r.Summary)
	}
	for _, c := range r.Cells {
		switch {
		case c.From == "the internet", strings.Contains(c.To, "*"): // computed
		case c.State != isolation.Proven:
			t.Errorf("%s to %s is %s: %+v", c.From, c.To, c.State, c.Checks)
		}
	}
	for _, path := range [][2]string{
		{"acme-web", "acme-payments"}, {"globex-billing", "acme-payments"}, {"um-portal", "um-records"}, {"acme-payments", "api.stripe.com"},
		{"acme-payments", "203.0.113.20"}, {"um-portal", "smtp.mail.example.com"}, {"ingress controller in ingress-nginx", "acme-web"},
		{"acme-web", "DNS"}, {"acme-web", "acme-web"},
	} {
		if c := cellOf(r, path[0], path[1]); c == nil || !c.Allows() {
			t.Errorf("%s to %s is not among what is allowed: %+v", path[0], path[1], c)
		}
	}
}

func cellOf(r *isolation.Report, from, to string) *isolation.Cell {
	i := slices.IndexFunc(r.Cells, func(c isolation.Cell) bool { return c.From == from && c.To == to })
	if i < 0 {
		return nil
	}
	return &r.Cells[i]
}

// A cluster administrator who takes an admission policy out of force can open a
// namespace, or close a path. Either is found, with the policy that does it.
func TestAPolicyThatNobodyAskedForIsNamed(t *testing.T) {
	w := newWorld(t)
	w.withoutBinding("aether-network-closed")
	w.creates(`{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: for-a-test, namespace: acme-web},
		spec: {endpointSelector: {}, ingress: [{fromEntities: [cluster]}]}}`)
	w.creates(`{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: freeze, namespace: acme-payments},
		spec: {endpointSelector: {}, ingressDeny: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": globex-billing}}]}]}}`)
	code, r := w.verifies("--tenant", "acme")
	if code != cli.ExitFindings {
		t.Errorf("exit code %d, want %d", code, cli.ExitFindings)
	}
	blamed := map[string]string{}
	for _, d := range r.Differences {
		if d.Policy == nil {
			t.Errorf("%s: no policy is named: %s", d.String(), d.Why)
			continue
		}
		blamed[d.From+" "+d.To+" "+string(d.State)] = d.Policy.String()
	}
	for path, policy := range map[string]string{
		"default acme-web opened":             "CiliumNetworkPolicy acme-web/for-a-test",
		"globex-billing acme-payments closed": "CiliumNetworkPolicy acme-payments/freeze",
	} {
		if blamed[path] != policy {
			t.Errorf("%s: got %q to blame, want %q of %v", path, blamed[path], policy, blamed)
		}
	}
}

// withoutBinding takes a policy out of force for as long as the test runs.
func (w *world) withoutBinding(name string) {
	w.Helper()
	var b admissionregistrationv1.ValidatingAdmissionPolicyBinding
	if err := w.Client.Get(w.Context(), client.ObjectKey{Name: name}, &b); err != nil {
		w.Fatal(err)
	}
	if err := w.Client.Delete(w.Context(), &b); err != nil {
		w.Fatal(err)
	}
	again := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: b.ObjectMeta, Spec: b.Spec}
	again.ResourceVersion, again.UID = "", ""
	w.Cleanup(func() {
		if err := w.Client.Create(context.Background(), again); err != nil {
			w.Errorf("cannot put %s back: %v", name, err)
		}
	})
	// The API server takes a moment to hear of it.
	w.await("the policy "+name+" to be out of force", func() (bool, error) {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": map[string]any{"name": "tried", "namespace": "acme-web"},
			"spec": map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Ingress"}},
		}}
		err := w.Client.Create(w.Context(), u, client.DryRunAll)
		return err == nil, err
	})
}

// What a run that was killed has left is gone after the next.
func TestPodsOfAKilledRunAreRemovedByTheNext(t *testing.T) {
	w := newWorld(t)
	left := pod("um-records", "aether-verify-1", "", "serve", "tcp:1")
	left.Labels = map[string]string{"app.kubernetes.io/name": "aether-verify", "app.kubernetes.io/component": "isolation"}
	w.runs(left)
	if code, _ := w.verifies("--namespace", "um-portal"); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
}
