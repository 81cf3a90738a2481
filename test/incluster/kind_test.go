//go:build kind

package incluster

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/local/gitea"
	"github.com/aetherplatform/aether/internal/testenv"
)

// clusterName is kind's.
const clusterName = "aether-e2e"

// others are what Aether stands on, from their official charts, in this order.
var others = []struct{ release, namespace, repository, chart, version string }{
	{"cilium", "kube-system", "https://helm.cilium.io", "cilium", "1.19.3"},
	{"kyverno", "kyverno", "https://kyverno.github.io/kyverno", "kyverno", ""},
	{"openbao", "openbao", "https://openbao.github.io/openbao-helm", "openbao", ""},
	{"gitea", "gitea", "https://dl.gitea.com/charts", "gitea", ""},
}

// flux is what `flux install` applies.
const flux = "https://github.com/fluxcd/flux2/releases/download/v2.9.5/install.yaml"

// onKind is a cluster of kind.
type onKind struct {
	*testing.T
	dir      string
	password string
	forge    string
	client   client.WithWatch
	rest     *rest.Config
}

// On kind everything is a Pod, the forge and the review server too. This test needs
// Docker and the internet; what it proves is what the test on a node proves.
func TestTheChartOnKind(t *testing.T) {
	k := &onKind{T: t, dir: t.TempDir(), password: rand.Text()}
	k.run("bin/kind", "create", "cluster", "--name", clusterName, "--config", k.config("cluster.yaml"), "--kubeconfig", k.kubeconfig())
	t.Cleanup(func() {
		_, _ = k.try(context.Background(), "bin/kind", "delete", "cluster", "--name", clusterName)
	})
	k.connects()
	for _, o := range others {
		args := []string{"upgrade", o.release, o.chart, "--install", "--repo", o.repository, "--namespace", o.namespace,
			"--create-namespace", "--wait", "--timeout", "10m", "--values", k.config(o.release + ".yaml")}
		switch o.release {
		case "cilium":
			args = append(args, "--set", "k8sServiceHost="+clusterName+"-control-plane")
		case "gitea":
			args = append(args, "--set", "gitea.admin.password="+k.password)
		}
		if o.version != "" {
			args = append(args, "--version", o.version)
		}
		if _, err := k.Helm(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	k.run("kubectl", "apply", "--server-side", "-f", flux)
	k.run("kubectl", "--namespace", "flux-system", "wait", "--for=condition=Available", "--timeout=5m", "deployment", "--all")
	for _, image := range []string{"namespace-operator", "aether"} {
		k.run("bin/kind", "load", "image-archive", "--name", clusterName, filepath.Join("bin", "images", image+".tar"))
	}
	k.run("docker", "exec", clusterName+"-control-plane", "ctr", "--namespace=k8s.io", "images", "tag",
		"aetherplatform.cloud/namespace-operator:local", "aetherplatform.cloud/namespace-operator:"+previously)

	k.opensForge()
	k.connectsFleet()
	packages := t.TempDir()
	if _, err := k.Helm(t.Context(), "package", k.ChartDir(), "--version=0.0.1", "--app-version="+previously, "--destination="+packages); err != nil {
		t.Fatal(err)
	}
	// The review server is of one version: there is one image of it.
	if err := k.InstallChart(t.Context(), filepath.Join(packages, "aether-0.0.1.tgz"), "image.tag="+previously, "review.enabled=false"); err != nil {
		t.Fatal(err)
	}
	k.pointsAtFleet()
	prove(t, k, k.client, k.rest)
}

func (k *onKind) kubeconfig() string { return filepath.Join(k.dir, "kubeconfig") }

func (k *onKind) config(file string) string {
	return filepath.Join(testenv.Root(), "test", "incluster", "kind", file)
}

// connects makes the client.
func (k *onKind) connects() {
	config, err := clientcmd.BuildConfigFromFlags("", k.kubeconfig())
	if err != nil {
		k.Fatal(err)
	}
	k.rest = config
	s, err := testenv.Scheme()
	if err != nil {
		k.Fatal(err)
	}
	if err := errors.Join(scheme.AddToScheme(s), sourcev1.AddToScheme(s)); err != nil {
		k.Fatal(err)
	}
	if k.client, err = client.NewWithWatch(config, client.Options{Scheme: s}); err != nil {
		k.Fatal(err)
	}
}

var forwarding = regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+)`)

// opensForge makes the forge reachable from here, while the test runs.
func (k *onKind) opensForge() {
	cmd := exec.CommandContext(k.Context(), "kubectl", "--namespace", "gitea", "port-forward", "service/gitea-http", ":3000")
	cmd.Env = k.env()
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() { _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := forwarding.FindStringSubmatch(lines.Text()); m != nil {
			k.forge = "http://" + m[1]
			return
		}
	}
	k.Fatalf("kubectl port-forward ended: %v", lines.Err())
}

// connectsFleet makes the fleet's repository with its users and its webhook, and
// pushes the example fleet.
func (k *onKind) connectsFleet() {
	k.Helper()
	ctx := k.Context()
	admin, err := k.Admin()
	if err != nil {
		k.Fatal(err)
	}
	reviewer := &gitea.Client{URL: k.forge, Name: "aether-review", Password: rand.Text()}
	hook := rand.Text()
	if err := errors.Join(admin.EnsureOrg(ctx, owner), admin.EnsureRepository(ctx, owner, repository),
		admin.EnsureUser(ctx, reviewer.Name, reviewer.Password), admin.Share(ctx, owner, repository, reviewer.Name, "write")); err != nil {
		k.Fatal(err)
	}
	token, err := reviewer.Token(ctx, "e2e", "write:repository", "write:issue")
	if err != nil {
		k.Fatal(err)
	}
	w := &world{T: k.T, cluster: k, forge: admin, checkout: k.TempDir()}
	w.git("init", "--quiet", "--initial-branch=main")
	if err := os.CopyFS(filepath.Join(w.checkout, "tenants"), os.DirFS(filepath.Join(testenv.Root(), "tenants"))); err != nil {
		k.Fatal(err)
	}
	w.git("add", "--all")
	w.git("-c", "user.name=proof", "-c", "user.email=proof@example.com", "commit", "--quiet", "--message", "Begin with the example fleet")
	w.git("push", "--quiet", w.remote(), "HEAD:main")
	if err := admin.AddHook(ctx, owner, repository, "http://review.aether-system.svc.cluster.local", hook, "push", "pull_request"); err != nil {
		k.Fatal(err)
	}
	system := metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: system},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system.Name, Name: "review"},
			StringData: map[string]string{"forge-token": token, "webhook-secret": hook}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system.Name, Name: "fleet"},
			StringData: map[string]string{"username": reviewer.Name, "password": token}},
	} {
		if err := k.client.Create(ctx, o); err != nil {
			k.Fatal(err)
		}
	}
}

// pointsAtFleet makes what an administrator makes once Aether is installed.
func (k *onKind) pointsAtFleet() {
	k.Helper()
	named := metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "fleet"}
	for _, o := range []client.Object{
		&sourcev1.GitRepository{ObjectMeta: named, Spec: sourcev1.GitRepositorySpec{
			URL: inside + "/" + owner + "/" + repository + ".git", Interval: metav1.Duration{Duration: settleLimit / 6},
			Reference: &sourcev1.GitRepositoryRef{Branch: "main"}, SecretRef: &meta.LocalObjectReference{Name: "fleet"},
		}},
		&v1alpha1.TenantSource{ObjectMeta: named, Spec: v1alpha1.TenantSourceSpec{
			SourceRef: v1alpha1.SourceRef{Kind: sourcev1.GitRepositoryKind, Name: "fleet"},
		}},
	} {
		if err := k.client.Create(k.Context(), o); err != nil {
			k.Fatal(err)
		}
	}
}

// inside is the forge's address in the cluster.
const inside = "http://gitea-http.gitea.svc.cluster.local:3000"

// Admin implements cluster.
func (k *onKind) Admin() (*gitea.Client, error) {
	return &gitea.Client{URL: k.forge, Name: "platform-admin", Password: k.password}, nil
}

// ChartDir implements cluster.
func (k *onKind) ChartDir() string { return filepath.Join(testenv.Root(), "charts", "aether") }

// InstallChart implements cluster.
func (k *onKind) InstallChart(ctx context.Context, chart string, values ...string) error {
	args := []string{"upgrade", local.Release, chart, "--install", "--namespace", v1alpha1.SystemNamespace, "--wait", "--timeout", "5m"}
	for _, set := range append([]string{
		"image.registry=aetherplatform.cloud", "image.tag=local", "image.pullPolicy=Never",
		"policies.kyverno=true",
		"review.enabled=true", "review.secretName=review",
		"review.config.forge.type=gitea", "review.config.forge.url=" + inside, "review.config.forge.user=aether-review",
		"review.config.repositories={" + owner + "/" + repository + "}",
		"review.config.reconcile={" + v1alpha1.SystemNamespace + "/fleet}",
		"networkPolicy.forgePorts={3000}",
	}, values...) {
		args = append(args, "--set", set)
	}
	_, err := k.Helm(ctx, args...)
	return err
}

// Helm implements cluster.
func (k *onKind) Helm(ctx context.Context, args ...string) (string, error) {
	return k.try(ctx, "bin/helm", args...)
}

func (k *onKind) run(program string, args ...string) {
	k.Helper()
	if _, err := k.try(k.Context(), program, args...); err != nil {
		k.Fatal(err)
	}
}

func (k *onKind) try(ctx context.Context, program string, args ...string) (string, error) {
	if strings.HasPrefix(program, "bin/") {
		program = filepath.Join(testenv.Root(), program)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = testenv.Root()
	cmd.Env = k.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), args[0], err, out)
	}
	return string(out), nil
}

func (k *onKind) env() []string {
	return append(os.Environ(), "KUBECONFIG="+k.kubeconfig(), "HELM_CACHE_HOME="+k.dir, "HELM_CONFIG_HOME="+k.dir, "HELM_DATA_HOME="+k.dir)
}
