//go:build node

// Package node proves by packets, on real nodes with containerd and Cilium, what
// the rendered objects promise: who may reach whom, that no Pod ever ran without
// isolation, and that the machine is afterwards as it was before.
//
// It needs root on Linux, and what `make node` builds. Two nodes are started once
// for all tests; pods of the example fleet talk within a node and between them.
package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/testenv"
)

// TestMain builds what is tested, as it is now, and ends the platform that the
// tests share.
func TestMain(m *testing.M) {
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if shared.platform != nil {
		if err := errors.Join(shared.platform.Stop(), os.RemoveAll(shared.dir)); err != nil {
			fmt.Fprintln(os.Stderr, "cannot end the platform:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func build() error {
	for _, args := range [][]string{
		{"build", "-o", "bin/", "./cmd/...", "./test/machine"},
		{"run", "./test/images", "pause", "probe", "coredns", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "aether-etcd"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = testenv.Root()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// world is a platform with nodes.
type world struct {
	testing.TB
	*local.Platform
	kube *kubernetes.Clientset
}

// outside is what stands for the rest of the world.
var outside = local.Outside

var shared struct {
	sync.Mutex
	platform *local.Platform
	dir      string
}

// newWorld is the platform with two nodes and the example fleet, its cluster among it,
// which all tests share. It is started by the first that asks.
func newWorld(t testing.TB) *world {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.platform == nil {
		dir, err := os.MkdirTemp("", "aether-node-")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir = dir
		shared.platform = start(t, filepath.Join(dir, "platform"), 2, filepath.Join(testenv.Root(), "tenants"))
		w := &world{TB: t, Platform: shared.platform}
		pushed, err := w.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.becomesReady(pushed)
	}
	clients, err := kubernetes.NewForConfig(shared.platform.Config)
	if err != nil {
		t.Fatal(err)
	}
	return &world{TB: t, Platform: shared.platform, kube: clients}
}

func start(t testing.TB, dir string, nodes int, fleet string) *local.Platform {
	t.Helper()
	ports, err := local.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	platform, err := local.Start(context.Background(), local.Options{
		Root: testenv.Root(), Dir: dir, Ports: ports, Fleet: fleet, Nodes: nodes, Clusters: fleet != "", World: outside,
		Attached: true, Now: time.Now, Progress: os.Stderr, // for whoever waits
	})
	if err != nil {
		var process *local.ProcessError
		if errors.As(err, &process) {
			t.Logf("the end of its log:\n%s", process.End)
		}
		t.Fatalf("cannot start the platform: %v", err)
	}
	return platform
}

// settleLimit is how long a push, or a Pod, may take on a machine that is busy.
const settleLimit = 3 * time.Minute

func (w *world) becomesReady(pushed local.Pushed) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), settleLimit)
	defer cancel()
	outcome, err := w.Await(ctx, pushed.Revision())
	if err != nil || !outcome.Ready() {
		w.Fatalf("%s is not ready: %v\n%+v", pushed.Revision(), err, outcome)
	}
}

// await asks until the answer is yes.
func (w *world) await(what string, ask func() (bool, error)) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), settleLimit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := ask()
		if yes {
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("waited %s for %s: %v", settleLimit, what, err)
		case <-tick.C:
		}
	}
}

// probeImage is a name of the probe's image that the tenant's registries have.
const probeImage = "registry.example.com/acme/probe:local"

// pod is a Pod that the strictest profile admits and that runs the probe.
func pod(namespace, name, node string, args ...string) *corev1.Pod {
	p := &corev1.Pod{Spec: podSpec(args...)}
	p.Namespace, p.Name = namespace, name
	p.Labels = map[string]string{"app": name}
	if node != "" {
		p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	}
	return p
}

func podSpec(args ...string) corev1.PodSpec {
	no, yes := false, true
	var grace int64
	return corev1.PodSpec{
		AutomountServiceAccountToken:  &no,
		TerminationGracePeriodSeconds: &grace,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: "probe", Image: probeImage, ImagePullPolicy: corev1.PullNever, Args: args,
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
}

// runs creates Pods and returns them once they run.
func (w *world) runs(pods ...*corev1.Pod) []*corev1.Pod {
	w.Helper()
	w.tagProbe()
	for _, p := range pods {
		if err := w.Client.Create(w.Context(), p); err != nil {
			w.Fatalf("cannot create Pod %s/%s: %v", p.Namespace, p.Name, err)
		}
		w.Cleanup(func() {
			_ = w.Client.Delete(context.Background(), p) // at the latest it ends with the platform
		})
	}
	for _, p := range pods {
		w.await("Pod "+p.Namespace+"/"+p.Name+" to run", func() (bool, error) {
			err := w.Client.Get(w.Context(), client.ObjectKeyFromObject(p), p)
			if err == nil {
				err = fmt.Errorf("it is %s: %+v", p.Status.Phase, p.Status.ContainerStatuses)
			}
			return p.Status.Phase == corev1.PodRunning, err
		})
	}
	return pods
}

// tagProbe gives the probe's image the name that Pods of the tests use.
func (w *world) tagProbe() {
	w.Helper()
	for n := range w.Nodes {
		_, err := w.On(w.Context(), local.NodeName(n+1), "/run/node/bin/ctr", "--namespace=k8s.io", "images", "tag", "--force",
			"aetherplatform.cloud/probe:local", probeImage)
		if err != nil {
			w.Fatal(err)
		}
	}
}

// report is a line of the probe's; see test/probe.
type report struct {
	Target        string
	OK, Connected bool
	Answer        string
	Result        string
	Error         string
}

func reports(out string) ([]report, error) {
	var all []report
	decoder := json.NewDecoder(strings.NewReader(out))
	for {
		var r report
		err := decoder.Decode(&r)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
}

// exec runs a program in a Pod, as `kubectl exec` does.
func (w *world) exec(p *corev1.Pod, command ...string) (string, error) {
	request := w.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(p.Namespace).Name(p.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: p.Spec.Containers[0].Name, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(w.Config, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var out, problems bytes.Buffer
	err = executor.StreamWithContext(w.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &problems})
	if err != nil && problems.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, problems.String())
	}
	return out.String(), err
}

// dials asks the probe in a Pod to reach a target, and returns what came of it.
func (w *world) dials(p *corev1.Pod, verb, target string) report {
	w.Helper()
	out, err := w.exec(p, "/probe", verb, "-timeout=2s", target)
	all, unread := reports(out)
	if unread != nil || len(all) != 1 {
		w.Fatalf("the probe in %s/%s said %q: %v", p.Namespace, p.Name, out, errors.Join(err, unread))
	}
	return all[0]
}
