package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

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
