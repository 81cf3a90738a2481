//go:build node

package incluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/local/machine"
)

// reviewLabels are what the chart's NetworkPolicy knows the review server's Pods by.
var reviewLabels = map[string]string{"app.kubernetes.io/name": "review", "app.kubernetes.io/instance": local.Release}

// The review server's Pod gets to the forge and the API server, and is got at by
// webhooks. Beside it a Pod that no policy is about shows that what is refused is there.
func onlyWhatItNeedsGetsThrough(t *testing.T, platform *local.Platform) {
	t.Helper()
	kube, err := kubernetes.NewForConfig(platform.Config)
	if err != nil {
		t.Fatal(err)
	}
	servers, err := kube.CoreV1().Pods(v1alpha1.SystemNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: reviewLabels})})
	if err != nil || len(servers.Items) != 1 {
		t.Fatalf("%d Pods of the review server are there: %v", len(servers.Items), err)
	}
	var (
		forge    = "http://" + machine.Gateway + ":" + machine.ForgePort
		api      = "tcp://" + machine.Gateway + ":" + machine.APIPort
		kubelet  = "tcp://" + machine.Address(1).String() + ":10250"
		webhooks = "http://" + servers.Items[0].Status.PodIP + ":8080"
		probes   = "http://" + servers.Items[0].Status.PodIP + ":8081"
	)
	for name, c := range map[string]struct {
		labels  map[string]string
		reaches map[string]bool
	}{
		"like-review": {reviewLabels, map[string]bool{forge: true, api: true, kubelet: false}},
		"a-stranger":  {nil, map[string]bool{forge: true, api: true, kubelet: true, webhooks: true, probes: false}},
	} {
		for target, got := range dials(t, kube, name, c.labels, c.reaches) {
			if want := c.reaches[target]; got != want {
				t.Errorf("%s reaches %s: %v, want %v", name, target, got, want)
			}
		}
	}
}

// dials runs a Pod that opens connections to targets, and returns which it could.
func dials(t *testing.T, kube *kubernetes.Clientset, name string, labels map[string]string, targets map[string]bool) map[string]bool {
	t.Helper()
	pods := kube.CoreV1().Pods(v1alpha1.SystemNamespace)
	args := []string{"dial", "-timeout=2s"}
	for target := range targets {
		args = append(args, target)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: new(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: "probe", Image: "aetherplatform.cloud/probe:local", ImagePullPolicy: corev1.PullNever, Args: args,
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			// Never ready: Services of the review server must not lead to it.
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/none"}}}},
		}},
	}}
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatalf("cannot create Pod %s: %v", name, err)
	}
	defer func() {
		if err := pods.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
			t.Error(err)
		}
	}()
	(&world{T: t}).waits("Pod "+name+" to end", func() (bool, error) {
		got, err := pods.Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && (got.Status.Phase == corev1.PodSucceeded || got.Status.Phase == corev1.PodFailed), err
	})
	log, err := pods.GetLogs(name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reached := map[string]bool{}
	for decoder := json.NewDecoder(strings.NewReader(string(log))); ; {
		var report struct {
			Target        string
			OK, Connected bool
		}
		if err := decoder.Decode(&report); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("Pod %s logs %s: %v", name, log, err)
		}
		reached[report.Target] = report.OK || report.Connected
	}
	if len(reached) != len(targets) {
		t.Fatalf("Pod %s logs %s, not of %d targets", name, log, len(targets))
	}
	return reached
}
