package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-containerregistry/pkg/name"
	containerregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/testenv"
)

// Flux's own controllers install the manifests as the page says, and take away what
// may go when their Kustomization goes.
func TestFluxInstallsTheManifestsAsThePageSays(t *testing.T) {
	c := newCluster(t)
	text, err := plain(t.Context(), "charts/aether")
	if err != nil {
		t.Fatal(err)
	}
	c.pushes("manifests/aether:0.1.0", "aether.yaml", text)
	for _, o := range c.onThePage("Kustomization") {
		if err := c.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	c.runsDeployments("namespace-operator")
	kustomization := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "aether"}}
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := c.Client.Get(ctx, kube.ObjectKeyFromObject(kustomization), kustomization); err != nil {
			return err
		}
		if !apimeta.IsStatusConditionTrue(kustomization.Status.Conditions, meta.ReadyCondition) {
			return fmt.Errorf("the Kustomization is not ready: %+v", kustomization.Status.Conditions)
		}
		return nil
	})

	made := decode(t, text)
	for _, o := range made {
		if err := c.Client.Get(t.Context(), kube.ObjectKeyFromObject(o), o); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	if err := c.Client.Create(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}

	if err := c.Client.Delete(t.Context(), kustomization); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func(ctx context.Context) error {
		return testenv.Gone(c.Client.Get(ctx, kube.ObjectKeyFromObject(kustomization), kustomization))
	})
	outlive := []string{"Namespace", "CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
	for _, o := range append(made, asUnstructured(tenant)) {
		err := c.Client.Get(t.Context(), kube.ObjectKeyFromObject(o), o)
		stays := err == nil && o.GetDeletionTimestamp() == nil
		if want := o.GetKind() == v1alpha1.KindTenant || slices.Contains(outlive, o.GetKind()); stays != want {
			t.Errorf("%s %s stays when the Kustomization goes: %v (%v), want %v", o.GetKind(), o.GetName(), stays, err, want)
		}
	}
}

// Flux's source-controller fetches the chart as the page says. Its helm-controller is
// not among the programs that can be built here; Helm itself stands in for it, and is
// told what the HelmRelease says, which has no field that helm-controller lacks.
func TestFluxInstallsTheChartAsThePageSays(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	for _, args := range [][]string{
		{"package", "charts/aether", "--destination", dir},
		{"push", filepath.Join(dir, "aether-0.1.0.tgz"), "oci://" + c.registry + "/charts", "--plain-http"},
	} {
		if _, err := runHelm(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	source := &sourcev1.OCIRepository{}
	release := &helmv2.HelmRelease{}
	for _, o := range c.onThePage("HelmRelease") {
		if o.GetKind() == "HelmRelease" {
			text, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict(text, release); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := c.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		source.Namespace, source.Name = o.GetNamespace(), o.GetName()
	}
	if got := release.GroupVersionKind(); got != helmv2.GroupVersion.WithKind(helmv2.HelmReleaseKind) {
		t.Errorf("the release is a %s", got)
	}
	if ref := release.Spec.ChartRef; ref == nil || ref.Kind != sourcev1.OCIRepositoryKind || ref.Name != source.Name || release.Namespace != source.Namespace {
		t.Fatalf("the release is of the chart %+v, want that of OCIRepository %s/%s", ref, source.Namespace, source.Name)
	}
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := c.Client.Get(ctx, kube.ObjectKeyFromObject(source), source); err != nil {
			return err
		}
		if source.Status.Artifact == nil {
			return fmt.Errorf("the chart was not fetched: %+v", source.Status.Conditions)
		}
		return nil
	})

	if release.Spec.StorageNamespace != release.Spec.TargetNamespace {
		t.Errorf("what is installed in %s is remembered in %s, where helm uninstall does not look", release.Spec.TargetNamespace, release.Spec.StorageNamespace)
	}
	args := []string{"install", release.Spec.ReleaseName, c.download(source.Status.Artifact.URL), "--namespace", release.Spec.TargetNamespace, "--kubeconfig", c.kubeconfig}
	if release.Spec.Install != nil && release.Spec.Install.CreateNamespace {
		args = append(args, "--create-namespace")
	}
	if _, err := runHelm(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	text, err := runHelm(t.Context(), "get", "manifest", release.Spec.ReleaseName, "--namespace", release.Spec.StorageNamespace, "--kubeconfig", c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	made := decode(t, text)
	for _, o := range made {
		if err := c.Client.Get(t.Context(), kube.ObjectKeyFromObject(o), o); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	if len(made) < 40 {
		t.Errorf("only %d objects were made", len(made))
	}
}

// cluster is an API server without Aether, a registry, and Flux, with the rights that
// its own installation gives it. There is no node.
type cluster struct {
	*testing.T
	*testenv.Env
	// registry is host and port.
	registry, kubeconfig string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	files, err := filepath.Glob("config/crd/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("cannot find Aether's CRDs: %v", err)
	}
	var crds []string
	for _, file := range files {
		crds = append(crds, filepath.Base(file))
	}
	server := httptest.NewServer(containerregistry.New(containerregistry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	c := &cluster{T: t, Env: testenv.Start(t, testenv.WithoutCRDs(crds...)), registry: strings.TrimPrefix(server.URL, "http://")}

	const account = "system:serviceaccount:flux-system:flux"
	for _, o := range []kube.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "flux-system"}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "cluster-reconciler"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: account}},
		},
	} {
		if err := c.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	c.kubeconfig = c.Kubeconfig(t, account, "system:serviceaccounts", "system:serviceaccounts:flux-system")
	ports, err := local.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	on := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	environment := []string{"KUBECONFIG=" + c.kubeconfig, "RUNTIME_NAMESPACE=flux-system", "TMPDIR=" + t.TempDir()}
	c.Env.Run(t, "source-controller", environment, "--storage-path="+t.TempDir(), "--storage-addr="+on(ports.Artifacts), "--storage-adv-addr="+on(ports.Artifacts),
		"--health-addr="+on(ports.SourceHealth), "--metrics-addr=0", "--events-addr=")
	c.Env.Run(t, "kustomize-controller", environment, "--health-addr="+on(ports.KustomizeHealth), "--metrics-addr=0", "--events-addr=")
	return c
}

// pushes makes an artifact of one file, as `flux push artifact` does.
func (c *cluster) pushes(to, file string, text []byte) {
	c.Helper()
	var archive bytes.Buffer
	if err := pack(&archive, time.Unix(0, 0), nil, []entry{{name: file, mode: 0o644, data: text}}); err != nil {
		c.Fatal(err)
	}
	image, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.flux.config.v1+json"),
		mutate.Addendum{Layer: static.NewLayer(archive.Bytes(), "application/vnd.cncf.flux.content.v1.tar+gzip")})
	if err != nil {
		c.Fatal(err)
	}
	tag, err := name.NewTag(c.registry + "/" + to)
	if err != nil {
		c.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithContext(c.Context())); err != nil {
		c.Fatal(err)
	}
}

// fluxBlock is a fenced block of what Flux is to be given.
var fluxBlock = regexp.MustCompile("(?ms)^```yaml flux\n(.*?)^```$")

// onThePage are the objects that the page shows together with one of a kind. They fetch
// from the test's registry, which has no certificate.
func (c *cluster) onThePage(kind string) []*unstructured.Unstructured {
	c.Helper()
	const page, public = "docs/how-to/install.md", "oci://" + registry + "/"
	text, err := os.ReadFile(page)
	if err != nil {
		c.Fatal(err)
	}
	for _, block := range fluxBlock.FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(block[1], "\nkind: "+kind+"\n") {
			continue
		}
		objects := decode(c.T, []byte(block[1]))
		for _, o := range objects {
			url, _, _ := unstructured.NestedString(o.Object, "spec", "url")
			rest, fetches := strings.CutPrefix(url, public)
			if !fetches {
				continue
			}
			spec := o.Object["spec"].(map[string]any)
			spec["url"], spec["insecure"] = "oci://"+c.registry+"/"+rest, true
		}
		return objects
	}
	c.Fatalf("%s shows no %s", page, kind)
	return nil
}

// runsDeployments says of a Deployment that its Pods run, as a cluster with nodes would.
func (c *cluster) runsDeployments(name string) {
	c.Helper()
	d := &appsv1.Deployment{}
	testenv.Eventually(c, func(ctx context.Context) error {
		if err := c.Client.Get(ctx, kube.ObjectKey{Namespace: system, Name: name}, d); err != nil {
			return err
		}
		replicas := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{
			ObservedGeneration: d.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas,
			Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue},
				{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
			},
		}
		return c.Client.Status().Update(ctx, d)
	})
}

// download fetches an artifact and returns its path.
func (c *cluster) download(url string) string {
	c.Helper()
	request, err := http.NewRequestWithContext(c.Context(), http.MethodGet, url, nil)
	if err != nil {
		c.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		c.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	file := filepath.Join(c.TempDir(), "chart.tgz")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		c.Fatal(err)
	}
	return file
}

func decode(t *testing.T, text []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

func asUnstructured(tenant *v1alpha1.Tenant) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.KindTenant))
	o.SetName(tenant.Name)
	return o
}
