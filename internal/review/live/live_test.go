package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/config/rbac"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/compare"
	"github.com/aetherplatform/aether/internal/testenv"
	"github.com/aetherplatform/aether/policies"
)

const source = "aether-system.fleet"

// world is a cluster with Aether's policies and rights, and the example fleet.
type world struct {
	testing.TB
	*testenv.Env
	files fstest.MapFS
	// cluster is the WorkloadCluster that the API server is, or "".
	cluster string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, Env: testenv.Start(t), files: fstest.MapFS{}}
	w.must(w.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}))
	manifest, err := rbac.FS.ReadFile("namespace-operator.yaml")
	w.must(err)
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(manifest)), 4096)
	for {
		o := &unstructured.Unstructured{}
		if decoder.Decode(o) != nil {
			break
		}
		w.must(w.Client.Create(t.Context(), o))
	}
	w.must(policies.Install(t.Context(), w.Client))

	disk := os.DirFS(testenv.Root())
	w.must(fs.WalkDir(disk, "tenants", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(disk, name)
		w.files[name] = &fstest.MapFile{Data: data, Mode: 0o444}
		return err
	}))
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) options() Options {
	return Options{
		Head:   compare.Options{Head: compare.Source{Name: "working tree", Files: w.files}, Path: ".", Cluster: &w.cluster},
		Config: ReadOnly(w.Config, Operator), Name: "cluster test",
	}
}

func (w *world) report(change ...func(*Options)) *review.Report {
	w.Helper()
	o := w.options()
	for _, c := range change {
		c(&o)
	}
	_, _, report, err := Report(w.Context(), o)
	w.must(err)
	return report
}

// says is what a report says, a line an object or a field.
func says(r *review.Report) []string {
	lines := []string{}
	for _, c := range r.Changes {
		name := c.Name
		if c.Namespace != "" && c.Namespace != c.Name {
			name = c.Namespace + "/" + name
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", c.Action, c.Kind, name))
		for _, f := range c.Fields {
			lines = append(lines, fmt.Sprintf("  %s: %v -> %v", f.Path, f.Old, f.New))
		}
	}
	for _, v := range r.Violations {
		lines = append(lines, fmt.Sprintf("refused %s %s: %s: %s", v.Kind, v.Name, v.Policy, v.Message))
	}
	for _, e := range r.Errors {
		lines = append(lines, fmt.Sprintf("error %s: %s", e.Place, e.Message))
	}
	for _, f := range r.Findings {
		lines = append(lines, fmt.Sprintf("%s %s", f.Category, f.Title))
	}
	return lines
}

func (w *world) wantSays(why string, want []string, change ...func(*Options)) {
	w.Helper()
	if diff := cmp.Diff(want, says(w.report(change...))); diff != "" {
		w.Errorf("%s (-want +got):\n%s", why, diff)
	}
}

// operate applies the fleet as the operator does.
func (w *world) operate() {
	w.Helper()
	config := rest.CopyConfig(w.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: Operator}
	o := w.options()
	o.Config = config
	c, err := connect(o)
	w.must(err)
	all := o.Head
	all.Cluster = nil // as in Report
	head, _, err := compare.Render(w.Context(), all, nil)
	w.must(err)
	c.choose(head)
	from, err := apply.New(config, c.mapper, v1alpha1.FieldOwnerSource)
	w.must(err)
	namespace, err := apply.New(config, c.mapper, v1alpha1.FieldOwnerNamespace)
	w.must(err)
	c.source = source
	w.must(c.list(w.Context(), v1alpha1.GroupVersion.WithKind(v1alpha1.KindTenant), "", func(o *unstructured.Unstructured) error {
		c.asked[idOf(o)] = o
		return nil
	}))
	var mu sync.Mutex // of c.asked
	put := func(r *review.Rendered) error {
		o := (&unstructured.Unstructured{Object: r.Content}).DeepCopy()
		mu.Lock()
		c.inscribe(o, nil, r.Tenant)
		mu.Unlock()
		by := namespace
		if isAsked(r) {
			by = from
		}
		answer, err := by.Create(w.Context(), o)
		if err == nil && r.Kind == v1alpha1.KindTenant {
			mu.Lock()
			c.asked[idOf(answer)] = answer
			mu.Unlock()
		}
		return err
	}
	for p := range head.Platform() {
		w.must(put(p))
	}
	for phase := range 3 { // Tenants, then Namespaces, then what is in them
		var work errgroup.Group
		work.SetLimit(mostRequests)
		for _, t := range head.Tenants {
			for i := range t.Objects {
				r := &t.Objects[i]
				when := 2
				switch {
				case r.Kind == v1alpha1.KindTenant:
					when = 0
				case isAsked(r), r.Kind == "Namespace":
					when = 1
				}
				if when == phase {
					work.Go(func() error { return put(r) })
				}
			}
		}
		w.must(work.Wait())
	}
}

// patch is what somebody does to an object, past the policies.
func (w *world) patch(kind, namespace, name, body string) {
	w.Helper()
	w.must(w.operator().Patch(w.Context(), object(kind, namespace, name), client.RawPatch("application/merge-patch+json", []byte(body)), client.FieldOwner("kubectl-edit")))
}

func (w *world) operator() client.Client { return w.ClientAs(w.TB, Operator, "system:masters") }

func object(kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	version, kind, _ := strings.Cut(kind, ":")
	o.SetAPIVersion(version)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

const (
	quotas   = "v1:ResourceQuota"
	networks = "networking.k8s.io/v1:NetworkPolicy"
	bindings = "rbac.authorization.k8s.io/v1:RoleBinding"
	roles    = "rbac.authorization.k8s.io/v1:Role"
	asked    = "aetherplatform.cloud/v1alpha1:TenantNamespace"
)

// TestLive tells one story on a real API server, under Aether's policies and with
// the operator's rights.
func TestLive(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what needs an API server")
	}
	w := newWorld(t)
	w.step("what is not there yet is created, and nothing is written", func() {
		r := w.report()
		for _, c := range r.Changes {
			if c.Action != review.Created {
				w.Errorf("%s %s %s", c.Action, c.Kind, c.Name)
			}
		}
		if r.Summary.Created < 50 || len(r.Errors)+len(r.Violations)+len(r.Findings) > 0 {
			w.Errorf("%+v\n%s", r.Summary, strings.Join(says(&review.Report{Errors: r.Errors, Violations: r.Violations, Findings: r.Findings}), "\n"))
		}
		var all corev1.NamespaceList
		w.must(w.Client.List(w.Context(), &all, client.HasLabels{v1alpha1.LabelTenant}))
		var tenants v1alpha1.TenantList
		w.must(w.Client.List(w.Context(), &tenants))
		if len(all.Items)+len(tenants.Items) > 0 {
			w.Errorf("there are %d Namespaces and %d Tenants", len(all.Items), len(tenants.Items))
		}
	})

	w.operate()
	w.step("what was applied is no difference, defaults and bookkeeping included", func() {
		w.wantSays("the fleet is in place", []string{})
	})
	w.step("drift shows, and so do objects that Git does not have", func() {
		w.patch(quotas, "um-records", "quota", `{"spec":{"hard":{"pods":"999","secrets":"7"}}}`)
		w.patch(networks, "um-records", "default-deny", `{"spec":{"egress":[{}]}}`)
		w.patch("v1:Namespace", "", "um-records", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged","example.com/theirs":"x"}}}`)
		w.patch(asked, "", "um-records", `{"spec":{"size":"small"}}`)
		w.must(w.operator().Delete(w.Context(), object(bindings, "um-records", "viewer")))
		extra := object("v1:LimitRange", "um-records", "extra")
		extra.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelTenant: "umbrella"})
		extra.Object["spec"] = map[string]any{"limits": []any{map[string]any{"type": "Pod", "max": map[string]any{"cpu": "1"}}}}
		w.must(w.operator().Create(w.Context(), extra))
		w.wantSays("the operator would undo it", []string{
			"deleted LimitRange um-records/extra",
			"changed Namespace um-records",
			"  metadata.labels[pod-security.kubernetes.io/enforce]: privileged -> restricted",
			"changed NetworkPolicy um-records/default-deny",
			"  spec.egress: [map[]] -> <nil>",
			"changed ResourceQuota um-records/quota",
			"  spec.hard.pods: 999 -> 40",
			"  spec.hard.secrets: 7 -> <nil>",
			"created RoleBinding um-records/viewer",
			"changed TenantNamespace um-records",
			"  spec.size: small -> medium",
		})
		w.patch(quotas, "um-records", "quota", `{"spec":{"hard":{"pods":"40","secrets":null}}}`)
		w.patch(networks, "um-records", "default-deny", `{"spec":{"egress":null}}`)
		w.patch("v1:Namespace", "", "um-records", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
		w.patch(asked, "", "um-records", `{"spec":{"size":"medium"}}`)
		w.must(w.operator().Delete(w.Context(), extra))
		w.wantSays("only what is gone is left", []string{"created RoleBinding um-records/viewer"}, only("umbrella"))
	})
	w.step("of a large fleet, what is as others are is not asked about, and all else is told as ever", w.alike)
	w.step("what someone else has is not taken", func() {
		w.must(w.Client.Create(w.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "hooli-theirs"}}))
		w.commit("hooli", "theirs.yaml", `{apiVersion: aetherplatform.cloud/v1alpha1, kind: TenantNamespace, metadata: {name: hooli-theirs}, spec: {tenant: hooli, size: small}}`)
		w.wantSays("it has no permit", []string{
			"created TenantNamespace hooli-theirs",
			`error tenants/hooli/theirs.yaml:1: Namespace "hooli-theirs" exists and is not Tenant "hooli"'s; choose another name, or hand it over: kubectl label namespace hooli-theirs aetherplatform.cloud/adoptable-by=hooli`,
		}, only("hooli"))
		w.commit("hooli", "theirs.yaml", "")
	})
	w.step("what the API server refuses is a violation, and keeps what it has", func() {
		w.must(w.Client.Create(w.Context(), refusing()))
		w.must(w.Client.Create(w.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "small"},
			Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "small", ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
		}))
		want := []string{"created RoleBinding um-records/viewer", "refused ResourceQuota quota: small: 40 Pods are too many"}
		testenv.Eventually(w, func(context.Context) error {
			if diff := cmp.Diff(want, says(w.report(only("umbrella")))); diff != "" {
				return errors.New(diff)
			}
			return nil
		})
		w.must(w.Client.Delete(w.Context(), refusing()))
		testenv.Eventually(w, func(context.Context) error {
			if r := w.report(only("umbrella")); len(r.Violations) > 0 {
				return errors.New("it is still refused")
			}
			return nil
		})
	})
	w.step("what leaves Git shows as deleted until it is marked, then as kept", func() {
		// Of another tenant nothing is known to have left while its directory has errors.
		w.commit("hooli", "broken.yaml", "kind: Nonsense\n")
		umbrella := string(w.files["tenants/umbrella/umbrella.yaml"].Data)
		w.commit("umbrella", "umbrella.yaml", strings.Split(umbrella, "---\n")[0]+"---\n"+strings.Split(umbrella, "---\n")[2])
		r := w.report()
		deleted := 0
		for _, c := range r.Changes {
			if c.Tenant == "umbrella" && c.Namespace == "um-records" && c.Action == review.Deleted {
				deleted++
			}
		}
		if len(r.Changes) != deleted || deleted < 10 || len(r.Errors) != 1 {
			w.Errorf("%d of %d changes are deletions of um-records:\n%s", deleted, len(r.Changes), strings.Join(says(r), "\n"))
		}
		if diff := cmp.Diff([]string{"SoftDeleted um-records leaves Git: cordoned, and kept until a person deletes its TenantNamespace"},
			says(&review.Report{Findings: r.Findings})); diff != "" {
			w.Errorf("findings (-want +got):\n%s", diff)
		}
		w.commit("hooli", "broken.yaml", "")

		w.patch(asked, "", "um-records", `{"metadata":{"annotations":{"aetherplatform.cloud/removed-at":"2026-01-02T03:04:05Z"}}}`)
		w.wantSays("it is kept for good", []string{
			"SoftDeleted TenantNamespace um-records left Git at 2026-01-02T03:04:05Z: it will be kept until a person deletes it",
		})
		w.files["tenants/umbrella/umbrella.yaml"].Data = []byte(strings.Replace(string(w.files["tenants/umbrella/umbrella.yaml"].Data),
			"{policy: Retain}", "{policy: Delete, retention: 48h}", 1))
		w.wantSays("it is kept for a time", []string{
			"changed Tenant umbrella", "  spec.deletion.policy: Retain -> Delete", "  spec.deletion.retention: 720h0m0s -> 48h0m0s",
			"SoftDeleted TenantNamespace um-records left Git at 2026-01-02T03:04:05Z: it will be kept until 2026-01-04T03:04:05Z, then deleted with all its data",
		})
		w.files["tenants/umbrella/umbrella.yaml"].Data = []byte(umbrella)
		w.wantSays("it comes back", []string{
			"created RoleBinding um-records/viewer", "changed TenantNamespace um-records",
			"  metadata.annotations: map[aetherplatform.cloud/removed-at:2026-01-02T03:04:05Z] -> <nil>",
		})
	})
	w.step("errors that the TenantSource reports already are old", func() {
		w.commit("hooli", "broken.yaml", "kind: Nonsense\n")
		ts := &v1alpha1.TenantSource{ObjectMeta: metav1.ObjectMeta{Namespace: "aether-system", Name: "fleet"}}
		ts.Spec.SourceRef = v1alpha1.SourceRef{Kind: "GitRepository", Name: "fleet"}
		w.must(w.operator().Create(w.Context(), ts))
		message := strings.TrimPrefix(w.report(only("hooli")).Errors[0].Message, "")
		ts.Status.Digest = "sha256:1"
		ts.Status.Failures = []v1alpha1.TenantFailure{{Tenant: "hooli", Errors: []string{"hooli/broken.yaml:7: " + message}, Total: 1}}
		w.must(w.operator().Status().Update(w.Context(), ts))
		if r := w.report(only("hooli")); r.Failed() || !r.Errors[0].Old || r.Base.Digest != "sha256:1" {
			w.Errorf("%+v, base %+v", r.Errors, r.Base)
		}
		w.commit("hooli", "broken.yaml", "")
	})
	w.step("a fleet of another source is not ours to judge", func() {
		other := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "wayne", Labels: map[string]string{v1alpha1.LabelSource: "aether-system.other"}}}
		w.must(w.operator().Create(w.Context(), other))
		o := w.options()
		if _, _, _, err := Report(w.Context(), o); !errors.Is(err, ErrChoose) || !strings.HasSuffix(err.Error(), "there are aether-system/fleet, aether-system/other") {
			w.Errorf("error is %v", err)
		}
		for _, c := range w.report(func(o *Options) { o.Source = "aether-system/fleet" }).Changes {
			if c.Tenant == "wayne" {
				w.Errorf("%s %s %s", c.Action, c.Kind, c.Name)
			}
		}
		w.must(w.operator().Delete(w.Context(), other))
	})
	w.step("a missing right is told from a refusal", func() {
		o := w.options()
		o.Config = ReadOnly(w.As(w, "mallory"), Operator)
		if _, _, _, err := Report(w.Context(), o); !MayNotImpersonate(err) {
			w.Errorf("error is %v", err)
		}
		o.Config = ReadOnly(w.As(w, "mallory"), "")
		_, _, _, err := Report(w.Context(), o)
		if !MissingRight(err) || !strings.Contains(err.Error(), `User "mallory" cannot list resource `) {
			w.Errorf("error is %v", err)
		}
	})
}

const severalClusters = `
apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes: {small: {quota: {requests.cpu: "1", pods: "20"}}}
`

// TestLiveOnAWorkloadCluster compares a cluster of a tenant's own, which has what is
// placed there and nothing else of the fleet.
func TestLiveOnAWorkloadCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what needs an API server")
	}
	w := newWorld(t)
	w.cluster = "acme-prod"
	w.files = fstest.MapFS{}
	w.commit("_platform", "profiles.yaml", severalClusters)
	const head = "apiVersion: aetherplatform.cloud/v1alpha1\n"
	tenant := func(name, peer string) {
		w.commit(name, "tenant.yaml", fmt.Sprintf(head+"kind: Tenant\nmetadata: {name: %s}\nspec:\n  owners: [{kind: Group, name: %[1]s, role: admin}]\n  network: {peers: %s}\n", name, peer))
	}
	namespace := func(name, clusters string) {
		w.commit("acme", name+".yaml", fmt.Sprintf(head+"kind: TenantNamespace\nmetadata: {name: %s}\nspec: {tenant: acme, size: small, clusters: %s}\n", name, clusters))
	}
	tenant("acme", "[{tenant: globex}]")
	tenant("globex", "[{tenant: acme}]")
	tenant("hooli", "[]")
	w.commit("acme", "prod.yaml", head+"kind: WorkloadCluster\nmetadata: {name: acme-prod}\nspec:\n  tenant: acme\n  region: dk-1\n  version: v1.36.3\n  network: {podCIDR: 10.100.0.0/16, serviceCIDR: 10.101.0.0/16}\n  nodePools: [{name: general, replicas: 1, machine: {type: medium}}]\n")
	namespace("acme-here", "[]")
	namespace("acme-there", "[acme-prod]")

	w.step("what is placed there is created, with its tenant and their peers", func() {
		r := w.report()
		var got []string
		for _, c := range r.Changes {
			if c.Cluster != "acme-prod" || c.Action != review.Created {
				w.Errorf("%s %s %s on %q", c.Action, c.Kind, c.Name, c.Cluster)
			}
			if c.APIVersion == v1alpha1.GroupVersion.String() || c.Kind == "Namespace" {
				got = append(got, c.Kind+" "+c.Name)
			}
		}
		slices.Sort(got)
		want := []string{"Namespace acme-there", "NamespaceProfile default", "Tenant acme", "Tenant globex", "TenantNamespace acme-there"}
		if diff := cmp.Diff(want, got); diff != "" {
			w.Errorf("-want +got:\n%s", diff)
		}
		if len(r.Errors)+len(r.Violations) > 0 {
			w.Errorf("%v", says(&review.Report{Errors: r.Errors, Violations: r.Violations}))
		}
	})
	w.operate()
	w.step("what was applied is no difference", func() { w.wantSays("it is in place", []string{}) })
	w.step("drift there shows", func() {
		w.patch(quotas, "acme-there", "quota", `{"spec":{"hard":{"pods":"999"}}}`)
		want := []string{"changed ResourceQuota acme-there/quota", "  spec.hard.pods: 999 -> 20"}
		w.wantSays("the operator there would undo it", want)
		w.patch(quotas, "acme-there", "quota", `{"spec":{"hard":{"pods":"20"}}}`)
	})
	w.step("what is placed elsewhere leaves, and what comes is created", func() {
		namespace("acme-there", "[]")
		namespace("acme-here", "[acme-prod]")
		r := w.report()
		fate := map[string]review.Action{}
		for _, c := range r.Changes {
			if c.Kind == "Namespace" {
				fate[c.Name] = c.Action
			}
		}
		if diff := cmp.Diff(map[string]review.Action{"acme-here": review.Created, "acme-there": review.Deleted}, fate); diff != "" {
			w.Errorf("-want +got:\n%s\n%s", diff, strings.Join(says(r), "\n"))
		}
	})
}

func TestRequestsThatWouldChangeAClusterNeverLeave(t *testing.T) {
	sent := 0
	config := ReadOnly(&rest.Config{}, "")
	transport := config.WrapTransport(roundTripper(func(*http.Request) (*http.Response, error) { sent++; return nil, errors.New("sent") }))
	for _, test := range []struct {
		method, url string
		leaves      bool
	}{
		{"GET", "/api", true},
		{"PATCH", "/api/v1/namespaces/a?dryRun=All&force=true", true},
		{"POST", "/api/v1/namespaces?dryRun=All", true},
		{"PATCH", "/api/v1/namespaces/a?force=true", false},
		{"POST", "/api/v1/namespaces?dryRun=", false},
		{"DELETE", "/api/v1/namespaces/a", false},
	} {
		sent = 0
		req, err := http.NewRequest(test.method, "http://cluster.example.com"+test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := transport.RoundTrip(req); err == nil || (sent == 1) != test.leaves {
			t.Errorf("%s %s: sent %d times, %v", test.method, test.url, sent, err)
		}
	}
}

func TestValuesOfSecretsAreNotShown(t *testing.T) {
	secret := func(value string) review.Rendered {
		o := object("v1:Secret", "acme-web", "db")
		o.Object["data"] = map[string]any{"password": value}
		now := review.Rendered{Object: review.Object{Tenant: "acme", APIVersion: "v1", Kind: "Secret", Namespace: "acme-web", Name: "db"}}
		return *renderedOf(o, &now)
	}
	side := func(value string) *review.Side {
		return &review.Side{
			Result:  &render.Result{Fleet: &fleet.Fleet{}},
			Tenants: map[string]*review.Tenant{"acme": {Name: "acme", Objects: []review.Rendered{secret(value)}}},
		}
	}
	report := &review.Report{}
	if err := compare.Objects(t.Context(), side("aHVudGVyMQ=="), side("aHVudGVyMg=="), report); err != nil {
		t.Fatal(err)
	}
	o := secret("aHVudGVyMg==")
	report.Violations = append(report.Violations, *violationOf(&o, apierrors.NewBadRequest("aHVudGVyMg== is too weak")))
	if text := fmt.Sprintf("%+v", report); strings.Contains(text, "aHVudGVy") || len(report.Changes) != 1 {
		t.Error(text)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func (w *world) step(name string, do func()) {
	outer := w.TB
	defer func() { w.TB = outer }()
	outer.(*testing.T).Run(name, func(t *testing.T) { w.TB = t; do() })
}

func only(tenant string) func(*Options) { return func(o *Options) { o.Head.Tenant = tenant } }

// commit writes a file of a tenant, or removes it.
func (w *world) commit(tenant, name, content string) {
	name = "tenants/" + tenant + "/" + name
	if content == "" {
		delete(w.files, name)
		return
	}
	w.files[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o444}
}

// alike compares a report on which every object was asked about with one on which
// one of each kind was.
func (w *world) alike() {
	sampled := func(o *Options) { o.every = 1 }
	const taken = " objects are as they should be, as others are that the API server was asked about: whether a policy would refuse them now is not known"
	same := func(why string) {
		w.Helper()
		want, wantSent := w.counted()
		got, sent := w.counted(sampled)
		if n := len(got) - 1; n < 0 || !strings.HasSuffix(got[n], taken) {
			w.Fatalf("%s: it is not said that objects were not asked about: %v", why, got)
		}
		if diff := cmp.Diff(want, got[:len(got)-1]); diff != "" {
			w.Errorf("%s (-want +got):\n%s", why, diff)
		}
		if sent > wantSent*2/3 {
			w.Errorf("%s: %d dry-runs, and %d where every object is asked about", why, sent, wantSent)
		}
	}
	same("one object is gone")
	w.patch(quotas, "um-records", "quota", `{"spec":{"hard":{"pods":"999"}}}`)
	w.patch(networks, "um-records", "default-deny", `{"spec":{"egress":[{}]}}`)
	w.patch("v1:Namespace", "", "um-records", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)
	w.patch(asked, "", "um-records", `{"spec":{"size":"small"}}`)
	same("someone has changed fields, and added to them")
	// Whoever writes as the operator's own field owner is found out as well.
	w.must(w.operator().Patch(w.Context(), object(networks, "um-records", "default-deny"),
		client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"egress":[{}],"ingress":[{}]}}`)), client.FieldOwner(v1alpha1.FieldOwnerNamespace)))
	same("someone pretends to be the operator")
	w.patch(quotas, "um-records", "quota", `{"spec":{"hard":{"pods":"40"}}}`)
	w.patch(networks, "um-records", "default-deny", `{"spec":{"egress":null,"ingress":null}}`)
	w.patch("v1:Namespace", "", "um-records", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
	w.patch(asked, "", "um-records", `{"spec":{"size":"medium"}}`)
}

// counted is what a report says, and how many dry-runs it took.
func (w *world) counted(change ...func(*Options)) ([]string, int64) {
	w.Helper()
	var sent atomic.Int64
	report := w.report(append(change, func(o *Options) { o.Config = counting(o.Config, &sent) })...)
	return says(report), sent.Load()
}

// counting counts dry-runs.
func counting(config *rest.Config, sent *atomic.Int64) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.Method != http.MethodGet {
				sent.Add(1)
			}
			return next.RoundTrip(req)
		})
	})
	return config
}

// refusing is a policy against what the fleet renders.
func refusing() *admissionv1.ValidatingAdmissionPolicy {
	return &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.OperationAll},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"resourcequotas"}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "object.metadata.name != 'quota' || object.metadata.namespace != 'um-records'", Message: "40 Pods are too many"}},
		},
	}
}
