// Package charts holds the Helm chart to the code: what it installs is what a real API
// server takes, and what it is said to hold it holds.
package charts

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/config/clustercontroller"
	"github.com/aetherplatform/aether/internal/config/operator"
	"github.com/aetherplatform/aether/internal/config/reviewserver"
	"github.com/aetherplatform/aether/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files anew")

// kubernetes is the version that `helm template` is told; offline it assumes an old one.
const kubernetes = "1.36.3"

// everything switches on all that the chart can install.
var everything = []string{
	"--set", "policies.kyverno=true",
	"--set", "review.enabled=true,review.config.forge.type=gitea,review.config.forge.url=https://git.example.com,review.secretName=review",
	"--set", "review.config.repositories={platform/fleet},review.config.reconcile={aether-system/fleet}",
	"--set", "review.ingress.enabled=true,review.ingress.host=review.example.com,review.ingress.tlsSecretName=review-tls",
	"--set", "monitoring.serviceMonitor=true,monitoring.prometheusRule=true,monitoring.dashboard=true",
	"--set", "namespaceOperator.config.concurrency=64",
	"--set", "clusterController.enabled=true,clusterController.config.images.repository=registry.example.com/kubernetes",
}

func TestTheChartPassesHelmsLint(t *testing.T) {
	for name, args := range map[string][]string{"defaults": nil, "everything": everything} {
		t.Run(name, func(t *testing.T) {
			out, err := helm(t, append([]string{"lint", "aether", "--strict", "--namespace", "aether-system", "--kube-version", kubernetes}, args...)...)
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// What is copied from elsewhere is left out of the golden files: it is golden there.
func TestWhatTheChartMakes(t *testing.T) {
	for name, args := range map[string][]string{"defaults": nil, "everything": everything} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			for _, o := range template(t, args...) {
				if slices.Contains(copied, o.GetKind()) {
					continue
				}
				data, err := yaml.Marshal(o.Object)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(data)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s is not current; write it with `go test ./charts -update` (-want +got):\n%s", file, diff)
			}
		})
	}
}

// copied are the kinds of what `make generate` copies into the chart.
var copied = []string{"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingPolicy"}

// The API server looks at every field, as `kubectl apply --validate=strict` has it do.
func TestAnAPIServerTakesAllThatTheChartMakes(t *testing.T) {
	c := testenv.Start(t).Client
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "aether-system"}}
	if err := client.IgnoreAlreadyExists(c.Create(t.Context(), system)); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, o := range template(t, everything...) {
		switch o.GroupVersionKind().Group {
		case "monitoring.coreos.com", "policies.kyverno.io":
			continue // of CRDs that are not here; policies/kyverno has tests of its own
		}
		tried++
		if err := client.WithFieldValidation(c, metav1.FieldValidationStrict).Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o),
			client.FieldOwner("chart"), client.ForceOwnership, client.DryRunAll); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	if tried < 40 {
		t.Errorf("only %d objects were tried", tried)
	}
}

// With the CRDs would go every tenant, and with the policies what isolates them.
func TestWhatMustOutliveTheReleaseIsKept(t *testing.T) {
	kept := 0
	for _, o := range template(t, everything...) {
		is := o.GetAnnotations()["helm.sh/resource-policy"] == "keep"
		if want := slices.Contains(copied, o.GetKind()); is != want {
			t.Errorf("%s %s stays when the release goes: %v, want %v", o.GetKind(), o.GetName(), is, want)
		}
		if is {
			kept++
		}
	}
	if kept == 0 {
		t.Error("nothing is kept")
	}
}

func TestPodsPassTheProfileRestricted(t *testing.T) {
	env := testenv.Start(t)
	strict := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "aether-system"}}
	if err := client.IgnoreAlreadyExists(env.Client.Create(t.Context(), strict)); err != nil {
		t.Fatal(err)
	}
	label := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))
	if err := env.Client.Patch(t.Context(), strict, label); err != nil {
		t.Fatal(err)
	}
	pods := 0
	for _, o := range template(t, everything...) {
		if o.GetKind() != "Deployment" {
			continue
		}
		pods++
		spec, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
		delete(spec, "serviceAccountName") // no controller makes its token here
		delete(spec, "priorityClassName")
		spec["automountServiceAccountToken"] = false
		pod := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Pod",
			"metadata": map[string]any{"name": o.GetName(), "namespace": "aether-system"},
			"spec":     spec,
		}}
		if err := env.Client.Create(t.Context(), pod, client.DryRunAll); err != nil && !strings.Contains(err.Error(), "serviceaccount") {
			t.Errorf("Pods of Deployment %s: %v", o.GetName(), err)
		}
	}
	if pods != 3 {
		t.Errorf("%d Deployments were tried, want 3", pods)
	}
}

func TestWrongValuesAreRefusedWithWhatToWrite(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"an unknown value":                {[]string{"--set", "namespaceOperator.replica=3"}, "replica"},
		"no replica":                      {[]string{"--set", "namespaceOperator.replicas=0"}, "replicas"},
		"a port that is none":             {[]string{"--set", "networkPolicy.apiServerPorts={70000}"}, "apiServerPorts"},
		"another namespace":               {[]string{"--namespace", "tools"}, "--namespace aether-system --create-namespace"},
		"Kyverno's policies alone":        {[]string{"--set", "policies.kyverno=true,policies.admission=false"}, "set policies.admission to true"},
		"a review server without secrets": {[]string{"--set", "review.enabled=true,review.config.forge.type=github,review.config.repositories={a/b}"}, "name a Secret with the keys forge-token and webhook-secret"},
		"a review server without work":    {[]string{"--set", "review.enabled=true,review.secretName=x,review.config.forge.type=github"}, "say which repositories are to be reviewed"},
		"a review server without a forge": {[]string{"--set", "review.enabled=true,review.secretName=x,review.config.repositories={a/b}"}, "say what the forge is"},
		"a forge that is nowhere":         {[]string{"--set", "review.enabled=true,review.secretName=x,review.config.forge.type=gitea"}, "say where the forge is"},
		"a forge that is none":            {[]string{"--set", "review.config.forge.type=svn"}, "forge"},
		"another address of the server's": {[]string{"--set", "review.config.webhooks.bindAddress=:1"}, "webhooks"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := helm(t, append([]string{"template", "aether", "aether", "--namespace", "aether-system", "--kube-version", kubernetes}, c.args...)...)
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("it says %q (%v), want %q", out, err, c.want)
			}
		})
	}
}

func TestEveryMetricOfTheDashboardAndTheAlertsExists(t *testing.T) {
	defined := map[string]bool{}
	sources, err := filepath.Glob("../controllers/*/metrics.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("cannot find where metrics are defined: %v", err)
	}
	metric := regexp.MustCompile(`\baether_[a-z_]+`)
	for _, source := range sources {
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metric.FindAllString(string(data), -1) {
			defined[name] = true
		}
	}
	for _, file := range []string{"dashboard.json", "alerts.yaml"} {
		data, err := os.ReadFile(filepath.Join("aether", "files", file))
		if err != nil {
			t.Fatal(err)
		}
		used := metric.FindAllString(string(data), -1)
		if len(used) == 0 {
			t.Errorf("%s uses no metric", file)
		}
		for _, name := range used {
			if !defined[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// The dashboard is one that Grafana can read, whose panels ask something.
func TestTheDashboardIsWhole(t *testing.T) {
	data, err := os.ReadFile("aether/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
	}
	if dashboard.Title != "Aether" || len(ids) < 10 {
		t.Errorf("dashboard %q has %d panels", dashboard.Title, len(ids))
	}
}

// template is what the chart makes.
func template(t *testing.T, args ...string) []*unstructured.Unstructured {
	t.Helper()
	out, err := helm(t, append([]string{"template", "aether", "aether", "--namespace", "aether-system", "--kube-version", kubernetes}, args...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(out), 4096)
	var objects []*unstructured.Unstructured
	for {
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

func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(testenv.Root(), "bin", "helm"), args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// valuesBlock is a fenced block of values in a page.
var valuesBlock = regexp.MustCompile("(?ms)^```yaml values\n(.*?)^```$")

func TestValuesInTheDocumentationAreTaken(t *testing.T) {
	pages, err := filepath.Glob("../docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range valuesBlock.FindAllStringSubmatch(string(data), -1) {
			tried++
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			if len(template(t, "--values", file)) == 0 {
				t.Errorf("%s: nothing is made of\n%s", page, block[1])
			}
		}
	}
	if tried == 0 {
		t.Error("found no values")
	}
}

// Each program reads its configuration as the chart writes it, or refuses to start.
func TestTheOperatorTakesTheConfigurationOfTheChart(t *testing.T) {
	for name, args := range map[string][]string{"defaults": nil, "everything": everything} {
		t.Run(name, func(t *testing.T) {
			c, places, err := operator.Load(configuration(t, "namespace-operator", args...), "config.yaml")
			if err := errors.Join(err, places.Explain(c.Validate())); err != nil {
				t.Fatal(err)
			}
			if !c.LeaderElection.Enabled || c.Namespace != "aether-system" {
				t.Errorf("the configuration is %+v", c)
			}
		})
	}
}

func TestTheClusterControllerTakesTheConfigurationOfTheChart(t *testing.T) {
	got, places, err := clustercontroller.Load(configuration(t, "cluster-controller", everything...), "config.yaml")
	if err := errors.Join(err, places.Explain(got.Validate())); err != nil {
		t.Fatal(err)
	}
	want := clustercontroller.Default()
	want.LeaderElection.Enabled, want.Images.Repository = true, "registry.example.com/kubernetes"
	want.Images.Snapshot = got.Images.Snapshot // with the version: see testdata
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the configuration (-want +got):\n%s", diff)
	}
}

func TestTheReviewServerTakesTheConfigurationOfTheChart(t *testing.T) {
	got, places, err := reviewserver.Load(configuration(t, "review", append(everything, "--set", "review.config.workers=4")...), "config.yaml")
	if err := errors.Join(err, places.Explain(got.Validate())); err != nil {
		t.Fatal(err)
	}
	want := reviewserver.Default()
	want.Forge.Type, want.Forge.URL = "gitea", "https://git.example.com"
	want.Repositories, want.Reconcile = []string{"platform/fleet"}, []string{"aether-system/fleet"}
	want.Workers, want.Cache = 4, "/cache"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the configuration (-want +got):\n%s", diff)
	}
}

// configuration is a program's configuration file as the chart writes it.
func configuration(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	for _, o := range template(t, args...) {
		if o.GetKind() == "ConfigMap" && o.GetName() == program {
			text, _, _ := unstructured.NestedString(o.Object, "data", "config.yaml")
			return []byte(text)
		}
	}
	t.Fatalf("there is no configuration of %s", program)
	return nil
}
