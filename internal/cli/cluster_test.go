package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/root"
	"github.com/aetherplatform/aether/internal/observe"
	"github.com/aetherplatform/aether/internal/repository/gittest"
	"github.com/aetherplatform/aether/internal/testenv"
)

const (
	revision = "main@sha1:3b1f0c8a7d2e4f5a6b7c8d9e0f1a2b3c4d5e6f70"
	digest   = "sha256:6d5c4b3a291807f6e5d4c3b2a1908f7e6d5c4b3a291807f6e5d4c3b2a1908f7e"
)

// TestClusterCommands tells one story on a real API server; each step's output
// is compared whole with testdata/cluster.
func TestClusterCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what needs an API server")
	}
	w := &world{T: t, env: testenv.Start(t)}
	w.kubeconfig = w.env.Kubeconfig(t, "admin")
	w.populate()

	for _, step := range []struct {
		name string
		code int
		args []string
	}{
		{"get", 0, []string{"get"}},
		{"get-namespaces", 0, []string{"get", "namespaces"}},
		{"get-namespaces-wide", 0, []string{"get", "ns", "--tenant", "acme", "-o", "wide"}},
		{"get-sources", 0, []string{"get", "sources", "-o", "wide"}},
		{"get-sources-no-forge", 2, []string{"get", "sources", "--url", "https://git.example.com"}},
		{"get-not-found", 4, []string{"get", "namespaces", "acme-wbe"}},
		{"get-none", 0, []string{"get", "namespaces", "--tenant", "hooli"}},
		{"get-secrets-none", 0, []string{"get", "secrets", "acme-web"}},
		{"get-secrets-not-found", 4, []string{"get", "secrets", "acme-apj"}},
		{"explain", 1, []string{"explain", "namespace", "acme-web"}},
		{"explain-removed", 1, []string{"explain", "namespace", "acme-old"}},
		{"explain-not-found", 4, []string{"explain", "namespace", "web"}},
		{"doctor", 1, []string{"doctor"}}, // by a clock that is hours ahead
	} {
		t.Run(step.name, func(t *testing.T) { w.golden(t, step.name, step.code, step.args...) })
	}

	t.Run("a user without rights is told what to ask for", func(t *testing.T) {
		config := w.env.Kubeconfig(t, "mallory", "nobody")
		code, out := w.run(t, config, "get")
		if code != cli.ExitCluster || !bytes.Contains(out, []byte(`User "mallory" cannot list resource "tenants"`)) ||
			!bytes.Contains(out, []byte("ask the platform team for the right to read")) {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	t.Run("a comparison is made as the operator, which takes a right", func(t *testing.T) {
		config := w.env.Kubeconfig(t, "mallory", "nobody")
		code, out := w.run(t, config, "diff", "--live", "--repo", fleetRepository(t))
		if code != cli.ExitCluster || !bytes.Contains(out, []byte("ask the platform team for the verb impersonate on system:serviceaccount:aether-system:namespace-operator")) {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	t.Run("a fleet is compared with the cluster by dry-run", func(t *testing.T) {
		code, out := w.run(t, w.kubeconfig, "diff", "--live", "--as", "", "--repo", fleetRepository(t), "--tenant", "new", "--no-cache")
		for _, want := range []string{"+ Tenant new", "+ TenantNamespace new-web", "+ Namespace new-web", "+ NetworkPolicy default-deny"} {
			if !bytes.Contains(out, []byte(want)) {
				t.Errorf("it does not say %q", want)
			}
		}
		if code != cli.ExitFindings {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		w.golden(t, "diff-live-base", cli.ExitUsage, "diff", "--live", "--base", "main")
	})
	t.Run("a script finds each check by its name", func(t *testing.T) {
		for _, format := range []string{"json", "yaml"} {
			code, out := w.run(t, w.kubeconfig, "doctor", "-o", format)
			var report struct {
				Summary  map[string]int
				Findings []struct{ Subject, Check, LookedAt, Outcome, Message, Advice string }
			}
			if err := yaml.Unmarshal(out, &report); err != nil || code != 1 {
				t.Fatalf("exit code %d, %v:\n%s", code, err, out)
			}
			found := 0
			for _, f := range report.Findings {
				if f.Check == "permissions" && f.Outcome == "failed" && f.Advice != "" {
					found++
				}
			}
			if found != 1 || report.Summary["failed"] == 0 {
				t.Errorf("%d findings of permissions:\n%s", found, out)
			}
		}
	})
	t.Run("names are completed from the cluster", func(t *testing.T) {
		for line, want := range map[string]string{
			"explain namespace acme-w": "acme-web\n:4\n",
			"get tenants ":             "acme\nglobex\n:4\n",
			"get secrets acme-api ":    "db\n:4\n",
			"get sources ":             "fleet\n:4\n",
			"reconcile source ":        "fleet\n:4\n",
			"get --tenant gl":          "globex\n:4\n",
		} {
			words := strings.Split(line, " ")
			args := append([]string{"__complete", words[0], "--kubeconfig", w.kubeconfig}, words[1:]...)
			code, out := w.run(t, "", args...)
			if code != 0 || !bytes.HasPrefix(out, []byte(want)) {
				t.Errorf("%s: exit code %d, %q, want %q", line, code, out, want)
			}
		}
	})
	t.Run("json is a list that kubectl would print too", func(t *testing.T) {
		code, out := w.run(t, w.kubeconfig, "get", "tenants", "acme", "-o", "json")
		var list unstructured.UnstructuredList
		if err := list.UnmarshalJSON(out); err != nil || code != 0 || len(list.Items) != 1 || list.Items[0].GetKind() != "Tenant" {
			t.Errorf("exit code %d, %v:\n%s", code, err, out)
		}
	})
	t.Run("a secret that OpenBao is away for is listed with what is kept", func(t *testing.T) {
		for _, args := range [][]string{{"acme-api", "db"}, {"-n", "acme-api"}, {"--tenant", "acme"}} {
			code, out := w.run(t, w.kubeconfig, append([]string{"get", "secrets"}, args...)...)
			if code != 0 || !bytes.Contains(out, []byte("acme-api    db     db       secret/acme/api/db   3         10h   10h      soon   False")) {
				t.Errorf("%v: exit code %d:\n%s", args, code, out)
			}
		}
		code, out := w.run(t, w.kubeconfig, "get", "ssync", "-o", "json", "--tenant", "acme")
		var list unstructured.UnstructuredList
		if err := list.UnmarshalJSON(out); err != nil || code != 0 || len(list.Items) != 1 || list.Items[0].GetKind() != "SecretSync" || list.Items[0].Object["nextRefresh"] != nil {
			t.Errorf("exit code %d, %v:\n%s", code, err, out)
		}
		code, out = w.run(t, w.kubeconfig, "explain", "namespace", "acme-api")
		if code != 0 || !bytes.Contains(out, []byte("Secrets      not synced: 1 of 1 secrets: db (OpenBaoUnavailable)")) || !bytes.Contains(out, []byte("db       secret/acme/api/db   3")) {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	t.Run("a forge tells whether what is applied was reviewed", func(t *testing.T) {
		t.Setenv("AETHER_FORGE_TOKEN", "reader")
		for name, described := range map[string]string{
			"get-sources-reviewed": "2 changed; digest 6d5c4b3a2918",
			"get-sources-differs":  "2 changed; digest 0123456789ab",
		} {
			w.golden(t, name, 0, "get", "sources", "--forge", "gitea", "--url", forgeWith(t, described), "--repo", "platform/fleet")
		}
		code, out := w.run(t, w.kubeconfig, "get", "sources", "-o", "json", "--forge", "gitea", "--url", forgeWith(t, ""), "--repo", "platform/fleet")
		var list unstructured.UnstructuredList
		if err := list.UnmarshalJSON(out); err != nil || code != 0 || len(list.Items) != 1 {
			t.Fatalf("exit code %d, %v:\n%s", code, err, out)
		}
		if got, _, _ := unstructured.NestedString(list.Items[0].Object, "review", "reason"); got != "NotComparable" {
			t.Errorf("the reason is %q, want NotComparable:\n%s", got, out)
		}
	})
	t.Run("a forge that cannot be asked makes it unknown", func(t *testing.T) {
		t.Setenv("AETHER_FORGE_TOKEN", "wrong")
		at := forgeWith(t, "")
		for why, flags := range map[string][]string{
			"the token is wrong or has expired":        {"--url", at, "--repo", "platform/fleet"},
			"connection refused":                       {"--url", "http://127.0.0.1:1", "--repo", "platform/fleet"},
			"fleet is not on " + at + "; name the rep": {"--url", at}, // its address is the cluster's, and gets no token
		} {
			code, out := w.run(t, w.kubeconfig, append([]string{"get", "sources", "--forge", "gitea"}, flags...)...)
			if code != 0 || !bytes.Contains(out, []byte("   Unknown   ")) || !bytes.Contains(out, []byte(why)) || bytes.Contains(out, []byte("wrong\n")) {
				t.Errorf("exit code %d, and it does not say that %s:\n%s", code, why, out)
			}
		}
	})
	t.Run("reconcile", func(t *testing.T) {
		w.answer(t)
		w.golden(t, "reconcile", 1, "reconcile", "source", "fleet")
	})
	t.Run("reconcile, for machines", func(t *testing.T) {
		w.answer(t)
		w.golden(t, "reconcile-json", 1, "reconcile", "-o", "json")
		w.answer(t)
		w.golden(t, "reconcile-yaml", 1, "reconcile", "-o", "yaml")
	})
	t.Run("reconcile in a format that is none asks nobody", func(t *testing.T) {
		w.golden(t, "reconcile-format", 2, "reconcile", "-o", "xml")
	})
	t.Run("reconcile gives up when nobody answers", func(t *testing.T) {
		w.golden(t, "reconcile-timeout", 1, "reconcile", "--timeout", "200ms")
	})
}

// forgeWith is a Gitea on which the revision came by #12, with a review's status.
func forgeWith(t *testing.T, described string) (url string) {
	t.Helper()
	_, commit, _ := strings.Cut(revision, ":")
	head := strings.Repeat("b", 40)
	const repo = "/api/v1/repos/platform/fleet"
	answers := map[string]string{
		repo + "/commits/" + commit + "/pull":   `{"number": 12, "state": "closed", "merged": true, "merge_commit_sha": "` + commit + `", "base": {"ref": "main"}, "head": {"ref": "topic", "sha": "` + head + `"}}`,
		repo + "/git/refs/pull/12/head":         `[{"ref": "refs/pull/12/head", "object": {"sha": "` + head + `"}}]`,
		repo + "/commits/" + head + "/statuses": `[{"id": 1, "context": "aether/review", "status": "success", "description": "` + described + `"}]`,
		repo + "/git/commits/" + commit:         `{"commit": {"tree": {"sha": "one"}}}`,
		repo + "/git/commits/" + head:           `{"commit": {"tree": {"sha": "another"}}}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer, known := answers[r.URL.Path]
		switch {
		case r.Header.Get("Authorization") != "token reader":
			http.Error(rw, `{"message": "no"}`, http.StatusUnauthorized)
		case !known:
			http.NotFound(rw, r)
		case r.URL.Query().Get("page") > "1":
			fmt.Fprint(rw, "[]")
		default:
			fmt.Fprint(rw, answer)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// A cluster that has never heard of Aether is told from one that is down.
func TestClustersThatCannotAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what needs an API server")
	}
	env := testenv.Start(t, testenv.WithoutCRDs("aetherplatform.cloud_tenants.yaml"))
	w := &world{T: t, env: env}
	w.golden(t, "not-installed", cli.ExitCluster, "get", "--kubeconfig", env.Kubeconfig(t, "admin"))

	closed := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: "http://127.0.0.1:1"}}],
contexts: [{name: x, context: {cluster: x, user: x}}], users: [{name: x, user: {}}]}`
	if err := os.WriteFile(closed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.golden(t, "unreachable", cli.ExitCluster, "get", "--kubeconfig", closed)
}

// fleetRepository is a repository with a tenant that no cluster has.
func fleetRepository(t *testing.T) string {
	t.Helper()
	g := gittest.New(t)
	files := gittest.Files{
		"tenants/new/tenant.yaml": "{apiVersion: aetherplatform.cloud/v1alpha1, kind: Tenant, metadata: {name: new}, spec: {namespaces: {max: 1}}}\n",
		"tenants/new/web.yaml":    "{apiVersion: aetherplatform.cloud/v1alpha1, kind: TenantNamespace, metadata: {name: new-web}, spec: {tenant: new, size: small}}\n",
		"tenants/_platform/profiles.yaml": `{apiVersion: aetherplatform.cloud/v1alpha1, kind: NamespaceProfile, metadata: {name: default},
  spec: {base: {path: profiles/default}, sizes: {small: {quota: {pods: "10"}}}}}` + "\n",
	}
	g.Commit("main", files)
	for name, content := range files {
		name = filepath.Join(g.Dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return g.Dir
}

// world is a cluster with a fleet in it.
type world struct {
	*testing.T
	env        *testenv.Env
	kubeconfig string
}

// run runs aether and returns what it prints, errors after results.
func (w *world) run(t *testing.T, kubeconfig string, args ...string) (int, []byte) {
	t.Helper()
	var out, errs bytes.Buffer
	// Late enough that every age rounds to the same hours.
	env := &cli.Env{Out: &out, Err: &errs, Now: func() time.Time { return time.Now().Add(10*time.Hour + 30*time.Minute) }}
	if kubeconfig != "" {
		args = append(args, "--kubeconfig", kubeconfig)
	}
	code := root.Execute(t.Context(), env, args)
	out.Write(errs.Bytes())
	return code, out.Bytes()
}

// golden runs aether and compares what it prints with a file.
func (w *world) golden(t *testing.T, name string, wantCode int, args ...string) {
	t.Helper()
	code, got := w.run(t, w.kubeconfig, args...)
	if code != wantCode {
		t.Errorf("aether %v: exit code %d, want %d", args, code, wantCode)
	}
	file := filepath.Join("testdata", "cluster", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("aether %v (-want +got):\n%s", args, diff)
	}
}

// populate makes what the controllers would: tenants acme and globex, a namespace
// that is fine, one with drift and a missing object, and one that left Git.
func (w *world) populate() {
	ready := condition("Ready", metav1.ConditionTrue, v1alpha1.ReasonReconciled, "13 objects in place")
	waiting := condition("Ready", metav1.ConditionUnknown, v1alpha1.ReasonWaitingForObjects, "Waiting for 1 of 3 objects: ResourceQuota/quota")
	isolated := condition("Isolated", metav1.ConditionTrue, v1alpha1.ReasonReconciled, "Pods are admitted: all isolation is in place")

	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}})
	profile := &v1alpha1.NamespaceProfile{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.NamespaceProfileSpec{
		Base:  v1alpha1.Base{Path: "profiles/default"},
		Sizes: map[string]v1alpha1.Size{"small": {Quota: corev1.ResourceList{"requests.cpu": resource.MustParse("2"), "pods": resource.MustParse("20")}}},
	}}
	w.create(profile)
	profile.Status.Conditions = []metav1.Condition{ready}
	w.status(profile)

	acme := &v1alpha1.Tenant{ObjectMeta: at("acme", "acme/tenant.yaml:1"), Spec: v1alpha1.TenantSpec{
		DisplayName: "Acme Corp",
		Owners:      []v1alpha1.Access{{Subject: v1alpha1.Subject{Kind: "Group", Name: "acme-admins"}, Role: v1alpha1.RoleAdmin}},
		Quota:       &v1alpha1.TenantQuota{Hard: corev1.ResourceList{"requests.cpu": resource.MustParse("8")}},
		Network: v1alpha1.TenantNetwork{
			Egress: []v1alpha1.EgressRule{{To: []v1alpha1.EgressDestination{{FQDN: "registry.example.com"}}, Ports: []v1alpha1.Port{{Port: 443}}}},
			Peers:  []v1alpha1.Peer{{Tenant: "globex"}},
		},
		Deletion: v1alpha1.Deletion{Policy: v1alpha1.DeletionDelete, Retention: &metav1.Duration{Duration: 48 * time.Hour}},
	}}
	w.create(acme)
	acme.Status = v1alpha1.TenantStatus{
		Conditions: []metav1.Condition{condition("Ready", metav1.ConditionUnknown, v1alpha1.ReasonNamespacesNotReady, "1 of 3 namespaces ready: acme-web is not")},
		Summary:    "1/3", Used: corev1.ResourceList{"requests.cpu": resource.MustParse("6")},
	}
	w.status(acme)
	globex := &v1alpha1.Tenant{ObjectMeta: at("globex", "globex/globex.yaml:2")}
	w.create(globex)
	globex.Status = v1alpha1.TenantStatus{Conditions: []metav1.Condition{ready}, Summary: "0/0"}
	w.status(globex)

	w.exception("acme-quay", "2099-03-31T00:00:00Z", v1alpha1.Allowance{
		Registries: []string{"quay.io/acme"}, Exposure: []v1alpha1.Exposure{v1alpha1.ExposeLoadBalancer},
	}, "acme-web")
	w.exception("acme-moved", "2020-01-01T00:00:00Z", v1alpha1.Allowance{Hostnames: []string{"old.example.org"}})

	w.namespaceWithDrift(waiting, isolated)
	api := w.namespace("acme-api", v1alpha1.TenantNamespaceSpec{Tenant: "acme", Size: "small"}, nil)
	api.Status = v1alpha1.TenantNamespaceStatus{ObservedGeneration: api.Generation, Conditions: []metav1.Condition{
		ready, isolated, condition(v1alpha1.ConditionSecretsSynced, metav1.ConditionFalse, v1alpha1.ReasonSecretsNotSynced, "1 of 1 secrets: db (OpenBaoUnavailable)"),
	}}
	w.status(api)
	w.secret()
	old := w.namespace("acme-old", v1alpha1.TenantNamespaceSpec{Tenant: "acme", Size: "small"}, map[string]string{
		v1alpha1.AnnotationRemovedAt: "2026-03-01T09:30:00Z", v1alpha1.AnnotationRemovedIn: revision,
	})
	old.Status = v1alpha1.TenantNamespaceStatus{ObservedGeneration: old.Generation, Conditions: []metav1.Condition{
		condition("Ready", metav1.ConditionFalse, v1alpha1.ReasonRemovedFromGit, "left Git; kept until 2026-03-03T09:30:00Z"),
	}}
	w.status(old)

	source := &v1alpha1.TenantSource{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "fleet"}, Spec: v1alpha1.TenantSourceSpec{
		SourceRef: v1alpha1.SourceRef{Kind: "GitRepository", Name: "fleet"},
	}}
	w.create(source)
	source.Status = v1alpha1.TenantSourceStatus{Conditions: []metav1.Condition{ready}, Summary: "2/2", Digest: digest, LastAppliedRevision: revision}
	w.status(source)
	w.create(&sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "fleet"}, Spec: sourcev1.GitRepositorySpec{
		URL: "https://git.example.com/fleet.git", Interval: metav1.Duration{Duration: time.Hour},
	}})
}

// secret is one that was synced, before OpenBao went away.
func (w *world) secret() {
	w.create(&corev1.Namespace{ObjectMeta: made("", "acme-api", "namespace/namespace")})
	db := &v1alpha1.SecretSync{ObjectMeta: made("acme-api", "db", "namespace/openbao-sync"), Spec: v1alpha1.SecretSyncSpec{SecretSource: v1alpha1.SecretSource{Path: "api/db"}}}
	w.create(db)
	now := metav1.Now()
	db.Status = v1alpha1.SecretSyncStatus{Source: "secret/acme/api/db", SecretName: "db", Version: 3, VersionTime: &now, SyncedTime: &now, Conditions: []metav1.Condition{
		condition("Ready", metav1.ConditionFalse, v1alpha1.ReasonOpenBaoUnavailable, `OpenBao is away: it is sealed (503); Secret "db" keeps version 3`),
	}}
	w.status(db)
}

func (w *world) exception(name, expires string, allow v1alpha1.Allowance, namespaces ...string) {
	ends, err := time.Parse(time.RFC3339, expires)
	if err != nil {
		w.Fatal(err)
	}
	w.create(&v1alpha1.TenantException{ObjectMeta: at(name, "_platform/exceptions.yaml:1"), Spec: v1alpha1.ExceptionSpec{
		Tenant: "acme", Namespaces: namespaces, Allow: allow, Owner: "platform@example.com", Reason: "until it is mirrored", Expires: metav1.NewTime(ends),
	}})
}

func (w *world) namespaceWithDrift(conditions ...metav1.Condition) {
	web := w.namespace("acme-web", v1alpha1.TenantNamespaceSpec{
		Tenant: "acme", Size: "small",
		Access: []v1alpha1.Access{{Subject: v1alpha1.Subject{Kind: "User", Name: "dev@example.com"}, Role: v1alpha1.RoleEditor}},
		Network: v1alpha1.NamespaceNetwork{
			Ingress: []v1alpha1.IngressRule{{From: []v1alpha1.IngressSource{{IngressController: true}, {Tenant: "globex", Namespace: "globex-web"}}, Ports: []v1alpha1.Port{{Port: 8080}}}},
			Egress: []v1alpha1.EgressRule{
				{To: []v1alpha1.EgressDestination{{Namespace: "acme-api"}}, Ports: []v1alpha1.Port{{Port: 8443}, {Port: 9000, EndPort: 9010}}},
				{To: []v1alpha1.EgressDestination{{CIDR: "203.0.113.0/24"}}},
			},
		},
		GitOps: &v1alpha1.GitOps{URL: "https://git.example.com/acme/web.git"},
	}, nil)

	space := &corev1.Namespace{ObjectMeta: made("", "acme-web", "namespace/namespace")}
	w.create(space)
	deny := &networkingv1.NetworkPolicy{ObjectMeta: made("acme-web", "default-deny", "namespace/default-deny")}
	w.create(deny)
	web.Status = v1alpha1.TenantNamespaceStatus{ObservedGeneration: web.Generation, Conditions: conditions, Digest: digest, Inventory: []v1alpha1.InventoryEntry{
		{ID: "_acme-web__Namespace", Version: "v1", Observed: w.observed(space)},
		{ID: "acme-web_default-deny_networking.k8s.io_NetworkPolicy", Version: "v1", Observed: w.observed(deny)},
		{ID: "acme-web_quota__ResourceQuota", Version: "v1"},
	}}
	w.status(web)

	deny.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
	if err := w.env.Client.Update(w.Context(), deny); err != nil {
		w.Fatal(err)
	}
}

func (w *world) namespace(name string, spec v1alpha1.TenantNamespaceSpec, annotations map[string]string) *v1alpha1.TenantNamespace {
	n := &v1alpha1.TenantNamespace{ObjectMeta: at(name, "acme/namespaces.yaml:3"), Spec: spec}
	n.Labels = map[string]string{v1alpha1.LabelSource: "aether-system.fleet"}
	for key, value := range annotations {
		n.Annotations[key] = value
	}
	w.create(n)
	return n
}

// answer does, once, what Flux and the namespace operator do when they are asked.
func (w *world) answer(t *testing.T) {
	asked := func(list client.ObjectList, found func(client.Object, string)) {
		watcher, err := w.env.Client.Watch(t.Context(), list, client.InNamespace(v1alpha1.SystemNamespace))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(watcher.Stop)
		go func() {
			for event := range watcher.ResultChan() {
				obj, ok := event.Object.(client.Object)
				if event.Type != watch.Modified || !ok {
					continue
				}
				if token := obj.GetAnnotations()[fluxmeta.ReconcileRequestAnnotation]; token != "" {
					found(obj, token)
					return
				}
			}
		}()
	}
	update := func(obj client.Object) {
		if err := w.env.Client.Status().Update(context.WithoutCancel(t.Context()), obj); err != nil {
			t.Error(err)
		}
	}
	asked(&sourcev1.GitRepositoryList{}, func(obj client.Object, token string) {
		g, ok := obj.(*sourcev1.GitRepository)
		if !ok {
			return
		}
		g.Status.LastHandledReconcileAt = token
		g.Status.Artifact = &fluxmeta.Artifact{Revision: revision, Path: "x", URL: "http://x", Digest: digest, LastUpdateTime: metav1.Now()}
		update(g)
	})
	asked(&v1alpha1.TenantSourceList{}, func(obj client.Object, token string) {
		s, ok := obj.(*v1alpha1.TenantSource)
		if !ok {
			return
		}
		s.Status.LastHandledReconcileAt, s.Status.LastAttemptedRevision = token, revision
		s.Status.Tenants = v1alpha1.TenantCounts{Total: 3, Failed: 1}
		s.Status.Conditions = []metav1.Condition{condition("Ready", metav1.ConditionFalse, v1alpha1.ReasonTenantsFailing, "1 of 3 tenants has errors: initech")}
		s.Status.Failures = []v1alpha1.TenantFailure{{Tenant: "initech", Total: 2, Errors: []string{`initech/tenant.yaml:6: spec.sze: unknown field`}}}
		update(s)
		// The namespace that was waiting settles too.
		var web v1alpha1.TenantNamespace
		if err := w.env.Client.Get(context.WithoutCancel(t.Context()), client.ObjectKey{Name: "acme-web"}, &web); err != nil {
			t.Error(err)
			return
		}
		web.Status.Conditions = []metav1.Condition{condition("Ready", metav1.ConditionTrue, v1alpha1.ReasonReconciled, "3 objects in place")}
		update(&web)
	})
}

func (w *world) create(obj client.Object) {
	w.Helper()
	if err := w.env.Client.Create(w.Context(), obj); err != nil {
		w.Fatal(err)
	}
}

func (w *world) status(obj client.Object) {
	w.Helper()
	if err := w.env.Client.Status().Update(w.Context(), obj); err != nil {
		w.Fatal(err)
	}
}

// observed is the hash of an object as the API server answers it.
func (w *world) observed(obj client.Object) string {
	w.Helper()
	gvk, err := apiutil.GVKForObject(obj, w.env.Scheme)
	if err != nil {
		w.Fatal(err)
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(gvk)
	if err := w.env.Client.Get(w.Context(), client.ObjectKeyFromObject(obj), live); err != nil {
		w.Fatal(err)
	}
	return observe.HashOf(live).String()
}

func at(name, path string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{v1alpha1.AnnotationPath: path, v1alpha1.AnnotationRevision: revision}}
}

func made(namespace, name, component string) metav1.ObjectMeta {
	meta := at(name, "acme/namespaces.yaml:3")
	meta.Namespace = namespace
	meta.Annotations[v1alpha1.AnnotationComponent] = component
	meta.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
	return meta
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}
}
