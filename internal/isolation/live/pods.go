package live

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/isolation"
)

// What a Pod of ours asks for, and how many there are in a namespace: two, so that
// connections inside it are made as well, and between nodes where there are several.
const (
	podsEach      = 2
	requestCPU    = "5m"
	requestMemory = "16Mi"
	limitCPU      = "200m"
	limitMemory   = "64Mi"
)

// The labels of our Pods: the same in every run, since each set of labels is an
// identity to Cilium, and none of Aether's own, which admission keeps to the operator.
const (
	labelName = "app.kubernetes.io/name"
	podName   = "aether-verify"
)

func labels() map[string]string {
	return map[string]string{labelName: podName, "app.kubernetes.io/component": "isolation"}
}

// pod is the n-th Pod of a row.
func pod(row *isolation.End, n int, image string, ports []string) *corev1.Pod {
	no, yes := false, true
	var grace int64
	p := &corev1.Pod{}
	p.Namespace, p.Name = row.Endpoint.Namespace, fmt.Sprintf("%s-%d", podName, n)
	p.Labels = row.Endpoint.Labels
	p.Spec = corev1.PodSpec{
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		TerminationGracePeriodSeconds: &grace,
		RestartPolicy:                 corev1.RestartPolicyAlways,
		Hostname:                      p.Namespace, // what it answers with
		// Never ready, so that no Service sends a request to it, whatever it selects.
		ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "aetherplatform.cloud/never"}},
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			Sysctls: []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}},
		},
		Containers: []corev1.Container{{
			Name: "probe", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: append([]string{"serve"}, ports...),
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(requestCPU), corev1.ResourceMemory: resource.MustParse(requestMemory)},
				Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(limitCPU), corev1.ResourceMemory: resource.MustParse(limitMemory)},
			},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
		Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
				Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{
					TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: labels()},
				},
			}},
		}},
	}
	return p
}

// own gives a Pod an owner, so that no DaemonSet takes it for its own by its labels.
func own(p *corev1.Pod, namespace types.UID) {
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: p.Namespace, UID: namespace, Controller: &yes}}
}

// sweep removes what a run that was killed has left.
func (r *run) sweep(ctx context.Context) error {
	n, err := r.clear(ctx)
	if n > 0 {
		r.say("%d Pods removed that an earlier run had left", n)
	}
	if err != nil {
		return fmt.Errorf("cannot remove Pods of an earlier run: %w", err)
	}
	return nil
}

// removeLimit is how long removing the Pods may take.
const removeLimit = time.Minute

// remove removes the Pods of this run and waits until they are gone.
func (r *run) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	if _, err := r.clear(ctx); err != nil {
		return fmt.Errorf("cannot remove all Pods with the label %s=%s; the next run tries again: %w", labelName, podName, err)
	}
	return nil
}

// clear deletes every Pod of ours and waits until there is none.
func (r *run) clear(ctx context.Context) (deleted int, err error) {
	seen := map[types.UID]bool{}
	for {
		var list corev1.PodList
		if err := r.Client.List(ctx, &list, client.MatchingLabels(labels())); err != nil {
			return len(seen), err
		}
		if len(list.Items) == 0 {
			return len(seen), nil
		}
		for i := range list.Items {
			p := &list.Items[i]
			if seen[p.UID] {
				continue
			}
			if err := r.Client.Delete(ctx, p, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
				return len(seen), err
			}
			seen[p.UID] = true
		}
		if err := pause(ctx, pace); err != nil {
			return len(seen), err
		}
	}
}

// pace is how often the API server is asked while something is waited for.
const pace = 250 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// await waits until the Pods run, and says of those that do not what they wait for.
func (r *run) await(ctx context.Context, pods []*corev1.Pod) (map[client.ObjectKey]string, error) {
	late, cancel := context.WithTimeout(ctx, r.Ready)
	defer cancel()
	for {
		var list corev1.PodList
		if err := r.Client.List(ctx, &list, client.MatchingLabels(labels())); err != nil {
			return nil, err
		}
		now := map[client.ObjectKey]*corev1.Pod{}
		for i := range list.Items {
			now[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
		}
		waiting := map[client.ObjectKey]string{}
		for _, p := range pods {
			key := client.ObjectKeyFromObject(p)
			found := now[key]
			switch {
			case found == nil:
				waiting[key] = "someone deleted it"
			case found.Status.Phase != corev1.PodRunning || found.Status.PodIP == "" || !running(found):
				waiting[key] = reason(found)
			default:
				*p = *found
			}
		}
		if len(waiting) == 0 {
			return nil, nil
		}
		if err := pause(late, pace); err != nil {
			return waiting, ctx.Err()
		}
	}
}

func running(p *corev1.Pod) bool {
	return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil
}

// reason is why a Pod does not run.
func reason(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil {
			return strings.TrimSpace(w.Reason + " " + w.Message)
		}
		if t := s.State.Terminated; t != nil {
			return strings.TrimSpace(t.Reason + " " + t.Message)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
			return cmp.Or(c.Message, c.Reason, "it is not scheduled")
		}
	}
	return "it is " + cmp.Or(string(p.Status.Phase), "new")
}

// answer is a line of the probe's; see test/probe.
type answer struct {
	Target        string
	OK, Connected bool
	Answer        string
	Result        string
	Error         string
}

// passed says that a packet came back: an answer, an open connection, or a refusal
// by whoever has the address. What a policy refuses is not answered at all.
func (a *answer) passed() bool { return a.OK || a.Connected || a.Result == "refused" }

// Bounds of what one Pod does at once, and in one request.
const (
	dialsAtOnce  = 64
	dialsRequest = 250
)

// ask has the probe in a Pod dial, or resolve, and returns an answer for each target.
func (r *run) ask(ctx context.Context, p *corev1.Pod, verb string, targets []string) ([]answer, error) {
	var all []answer
	for len(targets) > 0 {
		some := targets[:min(dialsRequest, len(targets))]
		targets = targets[len(some):]
		command := append([]string{"/probe", verb, "-timeout=" + r.Timeout.String(), fmt.Sprintf("-parallel=%d", dialsAtOnce)}, some...)
		out, err := r.exec(ctx, p, command)
		answers, unread := read(out)
		if unread != nil || len(answers) != len(some) {
			return nil, fmt.Errorf("cannot run the probe in Pod %s/%s: %w", p.Namespace, p.Name,
				errors.Join(err, unread, fmt.Errorf("it gave %d answers of %d", len(answers), len(some))))
		}
		all = append(all, answers...)
	}
	return all, nil
}

func read(out []byte) ([]answer, error) {
	var all []answer
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var a answer
		err := decoder.Decode(&a)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, a)
	}
}

// exec runs a program in a Pod, as `kubectl exec` does.
func (r *run) exec(ctx context.Context, p *corev1.Pod, command []string) ([]byte, error) {
	kube, err := kubernetes.NewForConfig(r.Config)
	if err != nil {
		return nil, err
	}
	url := kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(p.Namespace).Name(p.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "probe", Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	sockets, err := remotecommand.NewWebSocketExecutor(r.Config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(r.Config, "POST", url)
	if err != nil {
		return nil, err
	}
	executor, err := remotecommand.NewFallbackExecutor(sockets, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	var out, problems bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &problems})
	switch {
	case apierrors.IsForbidden(err):
		err = fmt.Errorf("%w: running the probe takes the right to create pods/exec", err)
	case err != nil && problems.Len() > 0:
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(problems.String()))
	}
	return out.Bytes(), err
}
