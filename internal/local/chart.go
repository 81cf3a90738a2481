package local

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local/machine"
)

// chartImages are imported into every node where Aether is installed by its chart.
func (p *Platform) chartImages() []string {
	images := []string{"aether", "namespace-operator", "source-controller", "kustomize-controller"}
	if p.Clusters {
		images = append(images, "cluster-controller")
	}
	return images
}

// Release is the name of the Helm release.
const Release = "aether"

// reviewNodePort is the port of nodes that leads to the review server's Pod, as
// nodes/review.yaml has it.
const reviewNodePort = "30080"

// forgeForPods is the forge's address for Pods, which reach it through the switch.
const forgeForPods = "http://" + machine.Gateway + ":" + machine.ForgePort

// fetchURL is where Flux fetches the fleet from.
func (p *Platform) fetchURL() string {
	if !p.Chart {
		return p.PushURL()
	}
	return strings.Replace(p.PushURL(), p.forgeURL(), forgeForPods, 1)
}

// pods installs as Pods what runs in a cluster: Flux, and Aether by its chart, with its
// review server. Then it opens the sample pull request, which that reviews.
func (p *Platform) pods(ctx context.Context) error {
	err := p.step("images of Flux and of Aether", func() error {
		return p.eachNode(func(_ int, node string) error {
			for _, image := range p.chartImages() {
				if err := p.Import(ctx, node, image); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	err = p.step("flux, as Pods", func() error {
		if err := p.applyNodeFile(ctx, "flux.yaml"); err != nil {
			return err
		}
		return p.awaitDeployments(ctx, fluxNamespace, "source-controller", "kustomize-controller")
	})
	if err != nil {
		return err
	}
	err = p.step("helm install "+Release, func() error {
		if err := p.reviewSecret(ctx); err != nil {
			return err
		}
		if err := p.applyNodeFile(ctx, "review.yaml"); err != nil {
			return err
		}
		return p.InstallChart(ctx, p.ChartDir())
	})
	if err != nil {
		return err
	}
	return p.openSample(ctx)
}

// reviewSecret makes the Secret that the review server's Pod finds its secrets in.
func (p *Platform) reviewSecret(ctx context.Context) error {
	token, err := p.readSecret(reviewToken)
	if err != nil {
		return err
	}
	hook, err := p.readSecret(hookSecret)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "review"},
		StringData: map[string]string{"forge-token": token, "webhook-secret": hook},
	}
	if err := p.Client.Create(ctx, secret); err != nil {
		return fmt.Errorf("cannot create Secret %s: %w", secret.Name, err)
	}
	return nil
}

// chartValues are what the release is installed with: images that are on the nodes
// already, and a review server for the local forge.
func (p *Platform) chartValues() []string {
	values := []string{
		"image.registry=" + localRegistry, "image.tag=local", "image.pullPolicy=Never",
		"review.enabled=true", "review.secretName=review",
		"review.config.forge.type=gitea", "review.config.forge.url=" + forgeForPods, "review.config.forge.user=" + reviewUser,
		"review.config.repositories={" + forgeOrg + "/" + fleetName + "}",
		"review.config.reconcile={" + v1alpha1.SystemNamespace + "/" + fleetName + "}",
		"review.config.reports.url=" + p.receiverURL(),
		"networkPolicy.forgePorts={" + machine.ForgePort + "}",
	}
	if p.Clusters {
		values = append(values, "clusterController.enabled=true", "clusterController.replicas=1",
			"clusterController.config.images.repository="+localRegistry, "clusterController.config.images.etcd="+localRegistry+"/etcd:local")
	}
	return values
}

// ChartDir is the chart of the checkout.
func (p *Platform) ChartDir() string { return filepath.Join(p.Root, "charts", "aether") }

// InstallChart installs or upgrades the release from a chart's folder or package, and
// returns once its Pods are ready, and the forge reaches the review server's. Values are
// as `helm --set` takes them.
func (p *Platform) InstallChart(ctx context.Context, chart string, values ...string) error {
	args := []string{"upgrade", Release, chart, "--install", "--namespace", v1alpha1.SystemNamespace, "--create-namespace",
		"--wait", "--timeout", startTimeout.String()}
	for _, set := range append(p.chartValues(), values...) {
		args = append(args, "--set", set)
	}
	if _, err := p.Helm(ctx, args...); err != nil {
		return err
	}
	return p.awaitReceiver(ctx)
}

// awaitReceiver returns once webhooks get to the review server: a Pod that is ready is
// known to the node's network a moment later.
func (p *Platform) awaitReceiver(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("the review server cannot be reached at %s after %s", p.receiverURL(), startTimeout))
	defer cancel()
	return poll(ctx, func() (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.receiverURL(), nil)
		if err != nil {
			return false, err
		}
		response, err := (&http.Client{Timeout: time.Second}).Do(request)
		if err == nil { // whatever it answers: this is no delivery
			return true, response.Body.Close()
		}
		return false, nil // not yet
	})
}

// Helm runs it on the cluster and returns what it prints.
func (p *Platform) Helm(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.bin("helm"), args...)
	home := p.file(homeDir)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.Kubeconfig(), "HOME="+home,
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("helm %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// awaitDeployments returns once each has a Pod that is ready.
func (p *Platform) awaitDeployments(ctx context.Context, namespace string, names ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("%s are not ready after %s", strings.Join(names, ", "), startTimeout))
	defer cancel()
	return poll(ctx, func() (bool, error) {
		for _, name := range names {
			var d appsv1.Deployment
			if err := p.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &d); err != nil {
				return false, err
			}
			if d.Status.AvailableReplicas == 0 {
				return false, nil
			}
		}
		return true, nil
	})
}
