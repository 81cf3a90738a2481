package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Cluster is which cluster to ask, and as whom.
type Cluster struct {
	kubeconfig string
	context    string
}

// AddFlags adds the flags that choose a cluster, named as kubectl's.
func (c *Cluster) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig `file` (default: $KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(&c.context, "context", "", "context of the kubeconfig (default: its current one)")
}

// Config is how to reach the cluster, and the name of its context.
func (c *Cluster) Config() (config *rest.Config, name string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	loading := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: c.context})
	if config, err = loading.ClientConfig(); err != nil {
		if clientcmd.IsEmptyConfig(err) {
			err = errors.New("no cluster is configured")
		}
		return nil, "", &Error{Code: ExitCluster, Err: fmt.Errorf("cannot choose a cluster: %w", err),
			Try: "export KUBECONFIG=<file>, or `make up` for a platform on this machine"}
	}
	config.QPS = -1 // the server's own fairness is enough for one person
	// The client's own handler logs warnings, and without a logger prints a stack instead.
	config.WarningHandler = rest.NoWarnings{}
	name = c.context
	if raw, err := loading.RawConfig(); err == nil && name == "" {
		name = raw.CurrentContext
	}
	return config, name, nil
}

// Connect returns a client of the cluster. It asks the cluster nothing yet.
func (c *Cluster) Connect() (client.WithWatch, error) {
	config, _, err := c.Config()
	if err != nil {
		return nil, err
	}
	return connect(config)
}

func connect(config *rest.Config) (client.WithWatch, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, v1alpha1.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme, cpv1.AddToScheme, certmanager.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	cl, err := client.NewWithWatch(config, client.Options{Scheme: s})
	if err != nil {
		return nil, ClusterError(err, "connect to the cluster")
	}
	return cl, nil
}

// ClusterError says why the cluster could not be asked to do something, and what
// to try. Doing completes "cannot …".
func ClusterError(err error, doing string) error {
	if err == nil {
		return nil
	}
	e := &Error{Code: ExitCluster, Err: fmt.Errorf("cannot %s: %w", doing, err)}
	var network net.Error
	var discovery *apierrors.StatusError
	switch {
	case meta.IsNoMatchError(err):
		e.Err = fmt.Errorf("cannot %s: Aether is not installed in this cluster: %w", doing, err)
		e.Try = "choose another cluster with --context, or install the CRDs: kubectl apply --server-side -f config/crd"
	case apierrors.IsUnauthorized(err):
		e.Try = "log in again: the cluster does not accept the credentials of the kubeconfig"
	case apierrors.IsForbidden(err):
		e.Try = "`kubectl auth whoami` says who you are to the cluster; ask the platform team for the right to read aetherplatform.cloud"
	case apierrors.IsNotFound(err):
		e.Code = ExitNotFound
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && !errors.As(err, &discovery):
		e.Try = "is the cluster up, and is it the right one? `kubectl cluster-info`; the local platform: `aether local status`"
	}
	return e
}

// NotFound says that there is no such object, and which names are near.
func NotFound(kind, name string, names []string) error {
	e := &Error{Code: ExitNotFound, Err: fmt.Errorf("there is no %s %q", kind, name)}
	switch near := Nearest(name, names); {
	case len(near) > 0:
		e.Try = "did you mean " + strings.Join(near, " or ") + "?"
	case len(names) == 0:
		e.Try = "there is none at all yet; `aether get sources` says whether the fleet has been read"
	default:
		e.Try = "`aether get " + strings.ToLower(kind) + "s` lists them"
	}
	return e
}

// Use takes another kubeconfig than the flags say.
func (c *Cluster) Use(kubeconfig string) { c.kubeconfig, c.context = kubeconfig, "" }
