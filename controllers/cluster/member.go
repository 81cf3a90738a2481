package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// member is a cluster, by its API servers.
type member interface {
	// prepare asks whether the API server is ready, and gives the cluster what every
	// cluster has.
	prepare(ctx context.Context) error
	// version that the API server says it has.
	version(ctx context.Context) (string, error)
	// nodes of the cluster.
	nodes(ctx context.Context) ([]node, error)
	// serves asks the API server for what only somebody may see whom it takes for who he
	// is, and for whether it has its etcd.
	serves(ctx context.Context) error
}

// node is what a change of authorities asks of a node.
type node struct {
	name  string
	ready bool
	// trusts are the authorities that it says it trusts, and from is that which it says
	// its kubelet's certificate is from. NodeRestriction lets a node speak for itself alone.
	trusts []string
	from   string
}

// patience with an API server that does not answer: others wait for their turn.
const patience = 5 * time.Second

// hosted is a member over the network.
type hosted struct{ kubernetes.Interface }

// Dial opens a connection to an address such as acme-prod-apiserver.acme.svc:6443.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

func (d Dial) reach(c credential) (member, error) {
	config := c.config()
	config.Dial = d
	config.Timeout = patience
	config.UserAgent = fieldOwner
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	return hosted{client}, nil
}

func (h hosted) prepare(ctx context.Context) error {
	if err := h.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return fmt.Errorf("it is not ready: %w", err)
	}
	bindings := h.RbacV1().ClusterRoleBindings()
	for _, want := range controlplane.Inside() {
		is, err := bindings.Get(ctx, want.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, err = bindings.Create(ctx, want, metav1.CreateOptions{FieldManager: fieldOwner})
		case err == nil && is.Annotations[rbacv1.AutoUpdateAnnotationKey] == "false":
			// As Kubernetes does with roles of its own: a right that was taken away stays away.
		case err == nil && !equality.Semantic.DeepEqual(is.Subjects, want.Subjects):
			is.Subjects = want.Subjects
			_, err = bindings.Update(ctx, is, metav1.UpdateOptions{FieldManager: fieldOwner})
		}
		if err != nil {
			return fmt.Errorf("cannot give the cluster ClusterRoleBinding %s: %w", want.Name, err)
		}
	}
	return nil
}

func (h hosted) version(ctx context.Context) (string, error) {
	var info version.Info
	raw, err := h.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return "", fmt.Errorf("it does not tell its version: %w", err)
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return "", fmt.Errorf("it does not tell its version: %w", err)
	}
	return info.GitVersion, nil
}

func (h hosted) nodes(ctx context.Context) ([]node, error) {
	var all []node
	for opts := (metav1.ListOptions{Limit: 500}); ; {
		list, err := h.CoreV1().Nodes().List(ctx, opts)
		if err != nil {
			return nil, fmt.Errorf("cannot list nodes: %w", err)
		}
		for _, n := range list.Items {
			seen := node{name: n.Name, from: n.Annotations[cpv1.AnnotationCredentialFrom]}
			for _, hash := range strings.Split(n.Annotations[cpv1.AnnotationTrusts], ",") {
				seen.trusts = append(seen.trusts, strings.TrimSpace(hash))
			}
			for _, c := range n.Status.Conditions {
				seen.ready = seen.ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			}
			all = append(all, seen)
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return all, nil
		}
	}
}

func (h hosted) serves(ctx context.Context) error {
	if err := h.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return fmt.Errorf("it is not ready: %w", err)
	}
	if _, err := h.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
		return fmt.Errorf("cannot list nodes: %w", err)
	}
	return nil
}

// acquaintances are the control planes whose API server has answered this process.
type acquaintances struct {
	mu sync.Mutex
	of map[types.NamespacedName]acquaintance
}

// acquaintance is with API servers of a version.
type acquaintance struct {
	uid     types.UID
	version string
}

func (a *acquaintances) knows(cp *cpv1.AetherControlPlane, version string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of[client.ObjectKeyFromObject(cp)] == acquaintance{cp.UID, version}
}

func (a *acquaintances) meet(cp *cpv1.AetherControlPlane, version string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[types.NamespacedName]acquaintance{}
	}
	a.of[client.ObjectKeyFromObject(cp)] = acquaintance{cp.UID, version}
}

func (a *acquaintances) forget(name types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, name)
}
