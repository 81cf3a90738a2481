package attacks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	baoconfig "github.com/aetherplatform/aether/config/openbao"
	"github.com/aetherplatform/aether/controllers/namespace"
	"github.com/aetherplatform/aether/controllers/secret"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
	"github.com/aetherplatform/aether/internal/openbao/server"
	"github.com/aetherplatform/aether/internal/testenv"
)

// canary is in every value that tests write into OpenBao.
const canary = "c4n4ry"

// vault is the world with an OpenBao, and with the operator's controllers while a test
// lets them run: attacks on secrets are on what is in the middle, too.
//
// Each test has one of its own, and tenants of its own. When it ends, OpenBao's audit
// log must show that no namespace was served anything but what its tenant has.
type vault struct {
	*world
	bao *openbaotest.Server
	// paths that namespaces may be served, and log of the operator.
	paths map[string]string
	log   *testenv.Log
}

const vaultProfiles = `
{metadata: {name: secrets}, spec: {base: {path: profiles/default}, sizes: {small: {quota: {pods: "20"}}}, openBao: {}}}
---
{metadata: {name: secrets-made}, spec: {base: {path: profiles/default}, sizes: {small: {quota: {pods: "20"}}}, openBao: {generate: true}}}
---
{metadata: {name: secrets-mounts}, spec: {base: {path: profiles/default}, sizes: {small: {quota: {pods: "20"}}}, openBao: {mounts: [secret, team]}}}
`

// openNamespaces is what the tenants of vaults may make.
var openNamespaces = v1alpha1.TenantNamespaces{Max: new(int32(100)), Profiles: []string{"default", "secrets", "secrets-made", "secrets-mounts", "other-ca"}}

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{world: newWorld(t), bao: openbaotest.Start(t), paths: map[string]string{}, log: &testenv.Log{}}
	v.bao.TrustCluster(t, v.Env)
	v.bao.Write(t, "sys/mounts/team", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	v.bao.AdmitOperator(t)
	policy, err := baoconfig.FS.ReadFile("namespace-operator.hcl")
	v.must(t, err)
	// As its first lines say: a rule for each mount.
	_, rule, _ := strings.Cut(string(policy), `path "secret/metadata/*"`)
	v.bao.Write(t, "sys/policies/acl/"+server.Operator, map[string]any{"policy": string(policy) + "\npath \"team/metadata/*\"" + rule})
	for _, text := range strings.Split(vaultProfiles, "---") {
		p := &v1alpha1.NamespaceProfile{}
		v.must(t, yaml.UnmarshalStrict([]byte(text), p))
		v.must(t, client.IgnoreAlreadyExists(v.Client.Create(t.Context(), p)))
	}
	for _, name := range []string{"acme", "globex"} {
		v.must(t, v.Client.Patch(t.Context(), &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}},
			client.RawPatch(types.MergePatchType, encode(map[string]any{"spec": map[string]any{"namespaces": openNamespaces}}))))
	}
	t.Cleanup(func() {
		v.explain(t)
		v.servedNothingForeign(t)
		v.toldNothing(t)
		v.leave(t)
	})
	return v
}

// operate runs the operator's controllers, with its identity and rights, until stopped.
func (v *vault) operate(t *testing.T) (stop func()) {
	t.Helper()
	skip := true
	mgr, err := ctrl.NewManager(v.As(t, operatorUser, "system:serviceaccounts", "system:serviceaccounts:"+v1alpha1.SystemNamespace, "system:authenticated"), ctrl.Options{
		Scheme: v.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
		Logger: logr.FromSlogHandler(slog.NewJSONHandler(v.log, &slog.HandlerOptions{Level: slog.LevelDebug - 4})),
	})
	v.must(t, err)
	v.must(t, errors.Join(namespace.Setup(mgr, namespace.Options{}), secret.Setup(t.Context(), mgr, secret.Options{
		Connection: openbao.Connection{Address: v.bao.Address, CA: string(v.bao.CA), AuthMount: server.Auth},
	})))
	return testenv.Run(t, mgr)
}

// tenant makes a Tenant; its spec is YAML.
func (v *vault) tenant(t *testing.T, name, spec string) {
	t.Helper()
	o := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}}
	v.must(t, yaml.UnmarshalStrict([]byte(spec), &o.Spec))
	o.Spec.Namespaces.Max, o.Spec.Namespaces.Profiles = openNamespaces.Max, openNamespaces.Profiles
	v.must(t, v.Client.Create(t.Context(), o))
	v.uids[name] = string(o.UID)
}

// place makes a TenantNamespace of a tenant, with secrets in YAML, and returns its name. What it may be served is below path.
func (v *vault) place(t *testing.T, tenant, profile, path, secrets string) string {
	t.Helper()
	of := &v1alpha1.Tenant{}
	v.must(t, v.Client.Get(t.Context(), client.ObjectKey{Name: tenant}, of))
	tn := &v1alpha1.TenantNamespace{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("%ss%d", cmp.Or(of.Spec.Namespaces.Prefix, tenant+"-"), count.Add(1)), Finalizers: []string{"aetherplatform.cloud/namespace"},
	}}
	v.must(t, yaml.UnmarshalStrict([]byte(fmt.Sprintf(`{tenant: %s, profile: %s, size: small, secrets: [%s], access: [
		{kind: User, name: %s, role: admin}, {kind: User, name: %s, role: editor}, {kind: User, name: %s, role: viewer}]}`,
		tenant, profile, secrets, tenantAdmin, tenantEditor, tenantViewer)), &tn.Spec))
	v.must(t, v.Client.Create(t.Context(), tn))
	v.paths[tn.Name] = path
	return tn.Name
}

// opened waits until a namespace is open, has the account that fetches its secrets, and
// lets its people do what is theirs.
func (v *vault) opened(t *testing.T, namespace string) {
	t.Helper()
	testenv.Eventually(t, func(ctx context.Context) error {
		binding := object(roleBindingKind, namespace, v1alpha1.SecretSyncAccount, nil)
		if err := v.Client.Get(ctx, client.ObjectKeyFromObject(binding), binding); err != nil {
			return err
		}
		ns := &corev1.Namespace{}
		if err := v.Client.Get(ctx, client.ObjectKey{Name: namespace}, ns); err != nil || ns.Labels[v1alpha1.LabelSealed] != "false" {
			return fmt.Errorf("Namespace %s is sealed (%v)", namespace, err)
		}
		return v.as(t, namespace+":deploy").Create(ctx, ownSync(namespace, "probe", "x"), client.DryRunAll)
	})
}

// ownSync is a SecretSync as a team writes it.
func ownSync(namespace, name, path string) *v1alpha1.SecretSync {
	ss := &v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	ss.Spec.Path = path
	return ss
}

// says waits for what a SecretSync says, which starts with message and holds no value.
func (v *vault) says(t *testing.T, namespace, name, reason, message string) *v1alpha1.SecretSync {
	t.Helper()
	ss := &v1alpha1.SecretSync{}
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := v.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, ss); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(ss.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Reason != reason || !strings.Contains(c.Message, message) || ss.Status.ObservedGeneration != ss.Generation {
			return fmt.Errorf("SecretSync %s/%s says %+v, want %s: %s", namespace, name, c, reason, message)
		}
		return nil
	})
	return ss
}

// holds waits for a Secret that holds a value at a key.
func (v *vault) holds(t *testing.T, namespace, name, key, value string) *corev1.Secret {
	t.Helper()
	o := &corev1.Secret{}
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := v.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
			return err
		}
		if string(o.Data[key]) != value {
			return fmt.Errorf("Secret %s/%s has another %s", namespace, name, key)
		}
		return nil
	})
	return o
}

// holdsNone fails if there is a Secret.
func (v *vault) holdsNone(t *testing.T, namespace, name string) {
	t.Helper()
	if err := v.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &corev1.Secret{}); testenv.Gone(err) != nil {
		t.Errorf("Secret %s/%s: %v; want none", namespace, name, err)
	}
}

// leave takes out what the next vault's operator would serve.
func (v *vault) leave(t *testing.T) {
	t.Helper()
	for name := range v.paths {
		tn := &v1alpha1.TenantNamespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		released := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		v.must(t, client.IgnoreNotFound(v.Client.Patch(context.Background(), tn, released)))
		v.must(t, client.IgnoreNotFound(v.Client.Delete(context.Background(), tn)))
	}
}

// explain tells what a failed test would like to know.
func (v *vault) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	var namespaces v1alpha1.TenantNamespaceList
	var syncs v1alpha1.SecretSyncList
	v.must(t, errors.Join(v.Client.List(context.Background(), &namespaces), v.Client.List(context.Background(), &syncs)))
	for _, tn := range namespaces.Items {
		t.Logf("TenantNamespace %s: %+v", tn.Name, tn.Status.Conditions)
	}
	for _, ss := range syncs.Items {
		t.Logf("SecretSync %s/%s: %+v", ss.Namespace, ss.Name, ss.Status)
	}
}

// servedNothingForeign reads OpenBao's own word for who was served what.
func (v *vault) servedNothingForeign(t *testing.T) {
	t.Helper()
	const login = "auth/" + server.Auth + "/login"
	for _, e := range openbaotest.Served(v.bao.AuditLog(t)) {
		of := e.Metadata["service_account_namespace"]
		path, known := v.paths[of]
		mount, rest, _ := strings.Cut(e.Path, "/")
		area, below, _ := strings.Cut(rest, "/")
		switch {
		case of == "": // the test itself, as root
		case of == v1alpha1.SystemNamespace:
			if area == "data" && (mount == "secret" || mount == "team") {
				t.Errorf("OpenBao served the operator itself %s %s", e.Operation, e.Path)
			}
		case !known:
			t.Errorf("OpenBao served %s, which is no tenant's namespace: %s %s", of, e.Operation, e.Path)
		case e.Path == login:
		case !strings.HasPrefix(mount+"/"+below, path+"/") || area != "data" && area != "metadata":
			t.Errorf("OpenBao served %s, which has %s: %s %s", of, path, e.Operation, e.Path)
		}
	}
}

// toldNothing looks for values and credentials in what the operator has said and in
// what is in the cluster for all to read.
func (v *vault) toldNothing(t *testing.T) {
	t.Helper()
	told := map[string]string{"the log": v.log.String()}
	for what, list := range map[string]client.ObjectList{
		"a SecretSync": &v1alpha1.SecretSyncList{}, "a TenantNamespace": &v1alpha1.TenantNamespaceList{}, "an event": &eventsv1.EventList{},
	} {
		v.must(t, v.Client.List(context.Background(), list))
		told[what] = fmt.Sprintf("%+v", list)
	}
	for what, text := range told {
		if found := v.bao.Credential(text, canary); found != "" {
			t.Errorf("%s holds %s", what, found)
		}
	}
}

// within polls until check is nil, for at most so long.
func within(t *testing.T, limit time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still not so after %s: %v", limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
