//go:build node

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/local/machine"
	"github.com/aetherplatform/aether/internal/portforward"
)

// A hosted control plane comes up as Pods that the Pod Security Standard restricted
// admits, behind policies that Cilium enforces. Who holds its kubeconfig uses it, nobody
// else reaches its store, and what was written is there after its Pods were killed and
// deleted.
func TestAHostedControlPlaneIsUsableClosedOffAndKeepsWhatItHolds(t *testing.T) {
	w := newWorld(t)
	h := w.asks("acme-hosted", 1, 1)
	h.becomesReady("it was asked for")

	inside := h.connects()
	h.writes(inside)
	h.holds(inside)
	h.controls(inside)
	h.isClosedOff()

	for _, component := range []string{controlplane.Etcd, controlplane.APIServer} {
		h.kills(component)
		h.holds(inside)
		h.becomesReady(component + " was killed")
		h.deletes(component)
		h.holds(inside)
		h.becomesReady(component + " was deleted")
	}
}

// Three members of etcd find each other, and while nodes are drained of one Pod after
// another, whoever uses the cluster notices nothing.
func TestAHostedControlPlaneOfSeveralIsUsableWhileItsPodsAreReplaced(t *testing.T) {
	w := newWorld(t)
	h := w.asks("acme-large", 3, 2)
	h.becomesReady("it was asked for")
	inside := h.connects()
	h.writes(inside)

	ended := h.uses(inside)
	for _, component := range []string{controlplane.Etcd, controlplane.APIServer} {
		pods, err := h.pods(component)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods {
			h.evicts(p)
			h.becomesReady(p.Name + " was evicted")
		}
	}
	ended()
}

// hosted is a control plane that runs on the nodes.
type hosted struct {
	*world
	name string
	// in is its namespace, where that is not one of its own.
	in string
}

// dial opens a connection to a Service of the cluster, or to a Pod, from outside of it.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	forward, err := portforward.New(w.Config)
	if err != nil {
		return nil, err
	}
	return forward.Dial(ctx, network, address)
}

// asks for a control plane in a namespace of its own, with volumes for its store.
func (w *world) asks(name string, members, replicas int32, change ...func(*cpv1.AetherControlPlaneSpec)) *hosted {
	w.Helper()
	h := &hosted{world: w, name: name}
	h.hasVolumes(name, int(members))
	h.makes(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: h.namespace(), Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}})
	h.Cleanup(h.ends)
	h.begins(members, replicas, change...)
	return h
}

// begins makes the control plane.
func (h *hosted) begins(members, replicas int32, change ...func(*cpv1.AetherControlPlaneSpec)) {
	h.Helper()
	version, err := h.KubernetesVersion(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	cp := &cpv1.AetherControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace(), Name: h.name}, Spec: cpv1.AetherControlPlaneSpec{
		Version: version, Replicas: &replicas, Etcd: cpv1.EtcdSpec{Replicas: members, Storage: &volumeSize, StorageClassName: &h.name},
	}}
	for _, do := range change {
		do(&cp.Spec)
	}
	h.makes(cp)
}

var volumeSize = resource.MustParse("1Gi")

// hasVolumes makes volumes of a class, one node after another, beginning with the first.
func (h *hosted) hasVolumes(name string, count int) {
	h.Helper()
	w, size := h.world, volumeSize
	h.makes(&storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	})
	for i := range count {
		volume := fmt.Sprintf("%s-%d", name, i)
		node, folder := local.NodeName(1+i%w.Nodes), "/var/lib/stores/"+volume
		if _, err := w.On(w.Context(), node, "/bin/mkdir", "-p", folder); err != nil {
			w.Fatal(err)
		}
		h.makes(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: volume}, Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: size}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: name, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: folder}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		}})
	}
}

func (h *hosted) namespace() string {
	if h.in != "" {
		return h.in
	}
	return "aether-cluster-" + h.name
}

// ends removes the namespace, and waits until nothing of it is left on the nodes: the next
// test may count what is there. API servers, whose store ends as well, are not waited for.
func (h *hosted) ends() {
	ctx := context.Background()
	var last error
	if !within(settleLimit, func() bool {
		last = h.Client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: h.namespace()}})
		if apierrors.IsNotFound(last) {
			return true
		}
		last = errors.Join(last, h.Client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(h.namespace()), client.GracePeriodSeconds(1)))
		return false
	}) {
		h.Errorf("Namespace %s is still there after %s: %v", h.namespace(), settleLimit, last)
	}
}

// makes creates an object that goes with the test: others share the platform.
func (h *hosted) makes(o client.Object) {
	h.Helper()
	if err := h.Client.Create(h.Context(), o); err != nil {
		h.Fatalf("cannot create %T %s: %v", o, o.GetName(), err)
	}
	h.Cleanup(func() {
		if err := h.Client.Delete(context.Background(), o); client.IgnoreNotFound(err) != nil {
			h.Errorf("cannot delete %T %s: %v", o, o.GetName(), err)
		}
	})
}

// becomesReady waits until the control plane is as it is asked for, and tells how long
// that took.
func (h *hosted) becomesReady(since string) {
	h.Helper()
	begun := time.Now()
	h.await("the control plane to be ready after "+since, func() (bool, error) {
		cp := &cpv1.AetherControlPlane{}
		if err := h.Client.Get(h.Context(), client.ObjectKey{Namespace: h.namespace(), Name: h.name}, cp); err != nil {
			return false, err
		}
		ready := meta.FindStatusCondition(cp.Status.Conditions, "Ready")
		if ready == nil || ready.Status != metav1.ConditionTrue {
			return false, fmt.Errorf("%+v", ready)
		}
		return true, nil
	})
	h.Logf("ready %.1f s after %s", time.Since(begun).Seconds(), since)
}

// pods of a component that are not to end.
func (h *hosted) pods(component string) ([]corev1.Pod, error) {
	var all corev1.PodList
	err := h.Client.List(h.Context(), &all, client.InNamespace(h.namespace()), client.MatchingLabels{controlplane.LabelComponent: component})
	return slices.DeleteFunc(all.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || !strings.HasPrefix(p.Name, h.name)
	}), err
}

// pod is the only one of a component.
func (h *hosted) pod(component string) corev1.Pod {
	h.Helper()
	pods, err := h.pods(component)
	if err != nil || len(pods) != 1 {
		h.Fatalf("%d Pods of %s are there: %v", len(pods), component, err)
	}
	return pods[0]
}

func containerOf(p corev1.Pod) string {
	return strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "containerd://")
}

// connects as who holds the kubeconfig.
func (h *hosted) connects() client.Client {
	h.Helper()
	secret := &corev1.Secret{}
	if err := h.Client.Get(h.Context(), client.ObjectKey{Namespace: h.namespace(), Name: h.name + "-kubeconfig"}, secret); err != nil {
		h.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["value"])
	if err != nil {
		h.Fatal(err)
	}
	config.Dial, config.Timeout = h.dial, 5*time.Second
	inside, err := client.New(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		h.Fatalf("the API servers do not answer who holds the kubeconfig: %v", err)
	}
	return inside
}

// remembered is what is written into the cluster.
var remembered = types.NamespacedName{Namespace: "keeps", Name: "remembered"}

func (h *hosted) writes(inside client.Client) {
	h.Helper()
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: remembered.Namespace}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: remembered.Namespace, Name: remembered.Name}, Data: map[string]string{"what": "this"}},
	} {
		if err := inside.Create(h.Context(), o); err != nil {
			h.Fatalf("cannot write %T into the cluster: %v", o, err)
		}
	}
}

// holds reads what was written, once the API servers answer.
func (h *hosted) holds(inside client.Client) {
	h.Helper()
	begun := time.Now()
	h.await("the API servers to answer", func() (bool, error) {
		cm := &corev1.ConfigMap{}
		if err := inside.Get(h.Context(), remembered, cm); err != nil {
			if apierrors.IsNotFound(err) {
				h.Fatalf("what was written is gone: %v", err)
			}
			return false, err
		}
		if cm.Data["what"] != "this" {
			h.Fatalf("what was written is now %v", cm.Data)
		}
		return true, nil
	})
	h.Logf("read what was written after %.1f s", time.Since(begun).Seconds())
}

// controls sees the controller manager and the scheduler do what they are for: a node gets
// addresses for its Pods, and a Pod gets a node. Nothing runs it.
func (h *hosted) controls(inside client.Client) {
	h.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "nowhere"}, Status: corev1.NodeStatus{
		Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")},
		Capacity:    corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")},
	}}
	if err := inside.Create(h.Context(), node); err != nil {
		h.Fatal(err)
	}
	p := pod(remembered.Namespace, "waits", "", "serve")
	p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	h.await("a ServiceAccount in the new namespace", func() (bool, error) {
		err := inside.Create(h.Context(), p)
		return err == nil, err
	})
	h.await("the Pod to be scheduled", func() (bool, error) {
		err := inside.Get(h.Context(), client.ObjectKeyFromObject(p), p)
		return p.Spec.NodeName == node.Name, err
	})
	h.await("the node to have addresses", func() (bool, error) {
		err := inside.Get(h.Context(), client.ObjectKeyFromObject(node), node)
		return node.Spec.PodCIDR == "10.100.0.0/24", err
	})
}

// isClosedOff tries every door of the control plane from whoever could stand before it,
// and the doors of others from where its API servers are.
func (h *hosted) isClosedOff() {
	h.Helper()
	labels := func(p *corev1.Pod, component string) *corev1.Pod {
		p.Labels = map[string]string{
			controlplane.LabelCluster: h.name, controlplane.LabelComponent: component, "app.kubernetes.io/name": "aether-control-plane",
		}
		// Never ready: Services of the control plane must not lead to it.
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/none"}}}}
		return p
	}
	const (
		stranger, controller, neighbour  = "a stranger", "the cluster controller", "a neighbour of no component"
		likeAPIServer, likeManager, near = "an API server", "a controller manager", "a stranger on the node of etcd"
	)
	from := map[string]*corev1.Pod{
		stranger:      pod("default", "stranger", local.NodeName(2), "serve", "tcp:1"),
		near:          pod("default", "near", local.NodeName(1), "serve", "tcp:1"),
		controller:    pod(controlplane.SystemNamespace, "controller", local.NodeName(2), "serve", "tcp:1"),
		neighbour:     pod(h.namespace(), "neighbour", local.NodeName(1), "serve", "tcp:1"),
		likeAPIServer: labels(pod(h.namespace(), "like-apiserver", local.NodeName(2), "serve", "tcp:1"), controlplane.APIServer),
		likeManager:   labels(pod(h.namespace(), "like-manager", local.NodeName(1), "serve", "tcp:1"), controlplane.ControllerManager),
	}
	var all []*corev1.Pod
	for _, p := range from {
		all = append(all, p)
	}
	h.runs(all...)

	service := func(component string) string {
		s := &corev1.Service{}
		if err := h.Client.Get(h.Context(), client.ObjectKey{Namespace: h.namespace(), Name: h.name + "-" + component}, s); err != nil {
			h.Fatal(err)
		}
		return s.Spec.ClusterIP
	}
	etcd, api := h.pod(controlplane.Etcd).Status.PodIP, h.pod(controlplane.APIServer).Status.PodIP
	doors := map[string][]string{ // and who gets through
		etcd + ":2379":                            {likeAPIServer},
		service(controlplane.Etcd) + ":2379":      {likeAPIServer},
		etcd + ":2380":                            {},
		etcd + ":2381":                            {},
		api + ":6443":                             {controller, likeManager},
		service(controlplane.APIServer) + ":6443": {controller, likeManager},
		h.pod(controlplane.ControllerManager).Status.PodIP + ":10257": {},
		h.pod(controlplane.Scheduler).Status.PodIP + ":10259":         {},
	}
	var running sync.WaitGroup
	for door, open := range doors {
		if err := h.listens("tcp://" + door); err != nil && strings.HasPrefix(door, "10.244.") {
			h.Errorf("nothing listens at %s, so that it was refused says nothing: %v", door, err)
		}
		for who, p := range from {
			running.Go(func() {
				if r := h.dials(p, "dial", "tcp://"+door); r.Connected != slices.Contains(open, who) {
					h.Errorf("%s → %s: got %+v, want open: %t", who, door, r, slices.Contains(open, who))
				}
			})
		}
	}
	// A control plane that was broken into is no way into the cluster that it runs in.
	for _, door := range []string{
		"10.96.0.1:443", net.JoinHostPort(machine.Gateway, machine.APIPort), net.JoinHostPort(machine.Address(1).String(), "10250"),
		outside["elsewhere.example"], outside["metadata.example"],
	} {
		for _, who := range []string{likeAPIServer, likeManager} {
			running.Go(func() {
				if r := h.dials(from[who], "dial", "tcp://"+door); r.Connected {
					h.Errorf("%s → %s: got %+v, want it refused", who, door, r)
				}
			})
		}
	}
	running.Wait()
}

// kills the program of a component as running out of memory would, and waits until the
// kubelet has started it again.
func (h *hosted) kills(component string) {
	h.Helper()
	before := h.pod(component)
	if _, err := h.On(h.Context(), before.Spec.NodeName, machine.Bin+"/ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", containerOf(before)); err != nil {
		h.Fatal(err)
	}
	h.comesBack(component, func(now corev1.Pod) bool {
		return now.UID == before.UID && now.Status.ContainerStatuses[0].RestartCount > before.Status.ContainerStatuses[0].RestartCount
	})
}

// deletes the Pod of a component, and waits for the next.
func (h *hosted) deletes(component string) {
	h.Helper()
	before := h.pod(component)
	if err := h.Client.Delete(h.Context(), &before); err != nil {
		h.Fatal(err)
	}
	h.comesBack(component, func(now corev1.Pod) bool { return now.UID != before.UID })
}

// uses the cluster all the time, until it is told to end.
func (h *hosted) uses(inside client.Client) (end func()) {
	ctx, cancel := context.WithCancel(h.Context())
	h.Cleanup(cancel)
	ended := make(chan struct{})
	count, longest := 0, time.Duration(0)
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ; ctx.Err() == nil; <-tick.C {
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: remembered.Namespace, Name: remembered.Name}}
			begun := time.Now()
			err := inside.Patch(ctx, cm, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"data":{"count":"%d"}}`, count)))
			longest = max(longest, time.Since(begun))
			if err != nil && ctx.Err() == nil {
				h.Errorf("request %d of who uses the cluster failed after %s: %v", count, time.Since(begun), err)
			}
			count++
		}
	}()
	return func() {
		cancel()
		<-ended
		h.Logf("%d writes, the longest took %s", count, longest)
	}
}

// evicts a Pod as a drain of its node would, and waits until it is gone.
func (h *hosted) evicts(p corev1.Pod) {
	h.Helper()
	h.await("the eviction of "+p.Name, func() (bool, error) {
		err := h.kube.PolicyV1().Evictions(p.Namespace).Evict(h.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}})
		return err == nil, err
	})
	h.await(p.Name+" to be gone", func() (bool, error) {
		now := &corev1.Pod{}
		err := h.Client.Get(h.Context(), client.ObjectKeyFromObject(&p), now)
		return apierrors.IsNotFound(err) || now.UID != p.UID, err
	})
}

func (h *hosted) comesBack(component string, anew func(corev1.Pod) bool) {
	h.Helper()
	begun := time.Now()
	h.await(component+" to come back", func() (bool, error) {
		pods, err := h.pods(component)
		if err != nil || len(pods) != 1 {
			return false, errors.Join(err, fmt.Errorf("%d Pods are there", len(pods)))
		}
		ready := slices.ContainsFunc(pods[0].Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		return ready && anew(pods[0]), fmt.Errorf("it is %s: %+v", pods[0].Status.Phase, pods[0].Status.ContainerStatuses)
	})
	h.Logf("%s came back after %.1f s", component, time.Since(begun).Seconds())
}
