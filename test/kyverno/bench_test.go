package kyverno

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/testenv"
	"github.com/aetherplatform/aether/policies"
)

// What a Pod costs to create in a tenant's Namespace, as its client sees it: without
// our policies, with the ValidatingAdmissionPolicies, and with Kyverno too, one after
// another on the same API server. The Pods are of the kind that everything admits, and
// are created for real, one at a time.
func BenchmarkPodAdmission(b *testing.B) {
	const pods, warm = 1000, 100
	e := testenv.Start(b, testenv.WithFlag("disable-admission-plugins", "ServiceAccount"))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "acme-bench",
		Labels: map[string]string{
			"aetherplatform.cloud/tenant": "acme", "aetherplatform.cloud/sealed": "false", "pod-security.kubernetes.io/enforce": "restricted",
		},
		Annotations: map[string]string{
			"aetherplatform.cloud/registries":    "registry.example.com/acme ghcr.io/acme",
			"aetherplatform.cloud/hostnames":     "*.acme.example.com",
			"aetherplatform.cloud/node-selector": "pool=acme",
			"aetherplatform.cloud/exceptions":    "registries:quay.io/prometheus@2999-01-01T00:00:00Z",
		},
	}}
	if err := e.Client.Create(b.Context(), ns); err != nil {
		b.Fatal(err)
	}
	c := e.ClientAs(b, tenantUser, "system:masters")

	type row struct {
		what     string
		p50, p99 time.Duration
	}
	var table []row
	measure := func(what string) {
		b.Helper()
		took := make([]time.Duration, 0, pods)
		for i := range warm + pods {
			p := benchPod()
			begun := time.Now()
			if err := c.Create(b.Context(), p); err != nil {
				b.Fatalf("%s: %v", what, err)
			}
			if i >= warm {
				took = append(took, time.Since(begun))
			}
		}
		slices.Sort(took)
		table = append(table, row{what, took[pods/2], took[pods*99/100]})
	}

	measure("no policies of ours")
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	if err := policies.Install(ctx, e.Client); err != nil {
		b.Fatal(err)
	}
	foreign := benchPod()
	foreign.Spec.Containers[0].Image = "quay.io/evil/app:1"
	testenv.Eventually(b, func(ctx context.Context) error {
		return refused(c.Create(ctx, foreign.DeepCopy(), client.DryRunAll), "aether-images")
	})
	measure("ValidatingAdmissionPolicies")
	installKyverno(b, e)
	hungry := benchPod()
	hungry.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	testenv.Eventually(b, func(ctx context.Context) error {
		return refused(c.Create(ctx, hungry.DeepCopy(), client.DryRunAll), "aether-required")
	})
	measure("and Kyverno")

	fmt.Fprintf(os.Stdout, "\n%-28s  %8s  %8s  %8s  %8s\n", "a Pod, created", "p50", "p99", "p50 more", "p99 more")
	for _, r := range table {
		fmt.Fprintf(os.Stdout, "%-28s  %5.2f ms  %5.2f ms  %5.2f ms  %5.2f ms\n", r.what, ms(r.p50), ms(r.p99), ms(r.p50-table[0].p50), ms(r.p99-table[0].p99))
	}
	for b.Loop() { // measured above: one at a time says nothing of the slowest
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func refused(err error, policy string) error {
	if !refusedBy(err, policy) {
		return fmt.Errorf("%s does not refuse yet: %v", policy, err)
	}
	return nil
}

// benchPod is one that every policy admits.
func benchPod() *corev1.Pod {
	no, yes := false, true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "app-", Namespace: "acme-bench", Labels: map[string]string{"app": "app"}},
		Spec: corev1.PodSpec{
			NodeSelector:                 map[string]string{"pool": "acme"},
			AutomountServiceAccountToken: &no,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "app", Image: "registry.example.com/acme/app:1",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
				}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}
