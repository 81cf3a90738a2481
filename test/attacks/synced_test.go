package attacks

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
	"github.com/aetherplatform/aether/internal/openbao/server"
	"github.com/aetherplatform/aether/internal/testenv"
)

// A synced Secret holds what OpenBao has; nothing of ours need run for it to stay so.
func TestTenantChangesASyncedSecretByEveryWay(t *testing.T) {
	v := newVault(t)
	v.bao.Put(t, "acme/db", map[string]any{"password": canary})
	ns := v.place(t, "acme", "secrets", "secret/acme", `{name: db, path: db}`)
	stop := v.operate(t)
	o := v.holds(t, ns, "db", "password", canary)
	v.opened(t, ns)
	stop()
	mallory := v.intrude(t, ns)
	changes := maps.Clone(marks)
	delete(changes, "changes the component") // of Aether's own objects
	changes["hangs it on an owner"] = func(u *unstructured.Unstructured) {
		u.SetOwnerReferences(append(u.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "1"}))
	}
	changes["changes a value"] = set("bWluZQ==", "data", "password")
	changes["adds a key"] = set("bWluZQ==", "data", "mine")
	changes["makes it another's"] = set("other", "metadata", "labels", v1alpha1.LabelSecretSync)
	changes["says another version"] = set("9", "metadata", "annotations", v1alpha1.AnnotationVersion)
	changes["lets go of its owner"] = func(u *unstructured.Unstructured) { u.SetOwnerReferences(nil) }
	changes["makes it the operator's"] = set(v1alpha1.ManagedBy, "metadata", "labels", v1alpha1.LabelManagedBy)
	changes["holds it"] = func(u *unstructured.Unstructured) { u.SetFinalizers([]string{"example.com/hold"}) }
	changes["makes it immutable"] = set(true, "immutable")
	for what, change := range changes {
		for how, write := range objectWays {
			t.Run(what+" by "+how, func(t *testing.T) {
				from := v.live(t, o)
				to := from.DeepCopy()
				change(to)
				if how == "server-side apply" && (what == "lets go of its owner" || strings.HasPrefix(what, "takes")) {
					v.changesNothing(t, from, func(ctx context.Context) error { return write(ctx, mallory, from, to) })
					return
				}
				v.refuses(t, from, "holds what OpenBao has: change it there", func(ctx context.Context) error { return write(ctx, mallory, from, to) })
			})
		}
	}
	for who, c := range map[string]client.Client{"admin": v.as(t, tenantAdmin), "editor": v.as(t, tenantEditor), "deploy account": v.as(t, ns+":deploy"), "who has every right": mallory} {
		t.Run("deletes it as the "+who, func(t *testing.T) {
			v.refuses(t, o, "holds what OpenBao has", func(ctx context.Context) error { return c.Delete(ctx, o.DeepCopy()) })
		})
	}
	t.Run("deletes all Secrets", func(t *testing.T) {
		v.refuses(t, o, "holds what OpenBao has", func(ctx context.Context) error {
			return mallory.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(ns))
		})
	})
	t.Run("deletes or changes the SecretSync that Git asks for", func(t *testing.T) {
		ss := &v1alpha1.SecretSync{}
		v.must(t, v.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "db"}, ss))
		for _, c := range []client.Client{v.as(t, tenantAdmin), v.as(t, ns+":deploy"), mallory} {
			v.refuses(t, ss, "is made by Aether from Git", func(ctx context.Context) error { return c.Delete(ctx, ss.DeepCopy()) })
			v.refuses(t, ss, "is made by Aether from Git", func(ctx context.Context) error {
				return c.Patch(ctx, ss.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"path":"other"}}`)))
			})
			v.refuses(t, ss, "only Aether sets|is made by Aether from Git|cannot", func(ctx context.Context) error {
				return c.Patch(ctx, ss.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"aetherplatform.cloud/managed-by":null}}}`)))
			})
		}
	})
	t.Run("while its own Secret is its own", func(t *testing.T) {
		mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"}, StringData: map[string]string{"a": "b"}}
		v.allows(t, v.as(t, tenantEditor).Create(t.Context(), mine))
		v.allows(t, v.as(t, tenantEditor).Delete(t.Context(), mine))
	})
}

func TestTenantForgesTheMarkOfASyncedSecret(t *testing.T) {
	v := newVault(t)
	ns := v.place(t, "acme", "secrets", "secret/acme", "")
	stop := v.operate(t)
	v.opened(t, ns)
	stop()
	mallory := v.intrude(t, ns)
	marked := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBySecretSync, v1alpha1.LabelTenant: "acme", v1alpha1.LabelSecretSync: "db"}
	for who, c := range map[string]client.Client{"admin": v.as(t, tenantAdmin), "editor": v.as(t, tenantEditor), "deploy account": v.as(t, ns+":deploy"), "who has every right": mallory} {
		t.Run(who, func(t *testing.T) {
			for kind, o := range map[string]client.Object{
				"a Secret":    &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "forged", Labels: marked}},
				"a ConfigMap": &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "forged", Labels: marked}},
			} {
				t.Run("makes "+kind, func(t *testing.T) {
					v.refuses(t, o, "leave it out", func(ctx context.Context) error { return c.Create(ctx, o.DeepCopyObject().(client.Object)) })
				})
			}
			mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "mine-"}}
			v.allows(t, c.Create(t.Context(), mine))
			t.Run("marks its own", func(t *testing.T) {
				v.refuses(t, mine, "leave it out", func(ctx context.Context) error {
					return c.Patch(ctx, mine.DeepCopy(), client.RawPatch(types.MergePatchType, encode(map[string]any{"metadata": map[string]any{"labels": marked}})))
				})
			})
			t.Run("makes a SecretSync that looks like Git's", func(t *testing.T) {
				ss := ownSync(ns, "forged", "db")
				ss.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
				v.refuses(t, ss, "only Aether sets|leave it out", func(ctx context.Context) error { return c.Create(ctx, ss.DeepCopy()) })
			})
		})
	}
	// The account that writes synced Secrets, in other hands, writes nothing else.
	t.Run("the account itself", func(t *testing.T) {
		c := v.as(t, ns+":"+v1alpha1.SecretSyncAccount)
		own := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "own"}, StringData: map[string]string{"a": "b"}}
		v.must(t, v.Client.Create(t.Context(), own))
		bare := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bare"}}
		v.refuses(t, bare, "writes only Secrets that a SecretSync made", func(ctx context.Context) error { return c.Create(ctx, bare.DeepCopy()) })
		taken := own.DeepCopy()
		taken.Labels = marked
		v.refuses(t, own, "writes only Secrets that a SecretSync made", func(ctx context.Context) error { return c.Update(ctx, taken) })
		v.refuses(t, own, "cannot delete", func(ctx context.Context) error { return c.Delete(ctx, own.DeepCopy()) })
		v.refuses(t, own, "cannot list", func(ctx context.Context) error { return c.List(ctx, &corev1.SecretList{}, client.InNamespace(ns)) })
		v.refuses(t, own, "cannot create", func(ctx context.Context) error {
			return c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "x"}})
		})
		other := v.namespace(t, "globex")
		theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: other.Name, Name: "x", Labels: marked}}
		v.refuses(t, theirs, "cannot create", func(ctx context.Context) error { return c.Create(ctx, theirs.DeepCopy()) })
		made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "made", Labels: marked}}
		v.allows(t, c.Create(t.Context(), made))
	})
}

// A SecretSync writes what it made, and nothing that was there.
func TestSecretSyncTakesASecretThatIsNotItsOwn(t *testing.T) {
	v := newVault(t)
	v.bao.Put(t, "acme/a", map[string]any{"a": canary + "-a"})
	v.bao.Put(t, "acme/b", map[string]any{"a": canary + "-b"})
	ns := v.place(t, "acme", "secrets", "secret/acme", `{name: db, path: a}`)
	v.operate(t)
	v.holds(t, ns, "db", "a", canary+"-a")
	v.opened(t, ns)
	team := v.as(t, ns+":deploy")
	into := func(name, secret string) *v1alpha1.SecretSync {
		ss := ownSync(ns, name, "b")
		ss.Spec.SecretName = secret
		v.must(t, team.Create(t.Context(), ss))
		return ss
	}
	t.Run("the team's", func(t *testing.T) {
		v.must(t, team.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "teams"}, StringData: map[string]string{"a": "mine"}}))
		into("taker", "teams")
		v.says(t, ns, "taker", v1alpha1.ReasonSecretTaken, `Secret "teams" is there and was not made by a SecretSync`)
		v.holds(t, ns, "teams", "a", "mine")
	})
	t.Run("another SecretSync's", func(t *testing.T) {
		into("other", "db")
		v.says(t, ns, "other", v1alpha1.ReasonSecretTaken, `Secret "db" is made by SecretSync "db"`)
		v.holds(t, ns, "db", "a", canary+"-a")
	})
	// A long name does not fit a label, in which the UID stands for it.
	t.Run("one whose maker's name is long, by its UID", func(t *testing.T) {
		long := into(strings.Repeat("long", 20), "longs")
		v.holds(t, ns, "longs", "a", canary+"-b")
		thief := ownSync(ns, string(long.UID), "a")
		thief.Spec.SecretName = "longs"
		v.must(t, team.Create(t.Context(), thief))
		v.says(t, ns, thief.Name, v1alpha1.ReasonSecretTaken, `Secret "longs" is made by SecretSync`)
		v.holds(t, ns, "longs", "a", canary+"-b")
	})
	t.Run("a token of an account", func(t *testing.T) {
		ss := ownSync(ns, "token", "a")
		ss.Spec.Type = string(corev1.SecretTypeServiceAccountToken)
		v.refuses(t, ss, "the cluster itself writes tokens of service accounts and nodes", func(ctx context.Context) error { return team.Create(ctx, ss.DeepCopy()) })
	})
	t.Run("with labels that the platform reads", func(t *testing.T) {
		for _, label := range []string{v1alpha1.LabelManagedBy, "AetherPlatform.cloud/tenant", "x.kubernetes.io/y", "toolkit.fluxcd.io/x", "io.cilium.k8s.io/x"} {
			ss := ownSync(ns, "labels", "a")
			ss.Spec.Labels = map[string]string{label: "x"}
			v.refuses(t, ss, "are set by the platform", func(ctx context.Context) error { return team.Create(ctx, ss.DeepCopy()) })
		}
	})
}

// Whose a namespace is, its Namespace says, and not who has its name.
func TestNameOfANamespaceIsStolenForItsSecrets(t *testing.T) {
	v := newVault(t)
	v.bao.Put(t, "acme/db", map[string]any{"password": canary})
	const db = `{name: db, path: db, refreshInterval: 10s}`
	ns := v.place(t, "acme", "secrets", "secret/acme", db)
	kept := v.place(t, "acme", "secrets", "secret/acme", db)
	stop := v.operate(t)
	v.holds(t, ns, "db", "password", canary)
	v.holds(t, kept, "db", "password", canary)

	t.Run("a SecretSync in a namespace that is no tenant's", func(t *testing.T) {
		v.must(t, v.Client.Create(t.Context(), ownSync("plain", "db", "db")))
		v.says(t, "plain", "db", v1alpha1.ReasonNoTenant, `Namespace "plain" is no tenant's`)
		v.holdsNone(t, "plain", "db")
	})
	// steals makes a Namespace of a name that was a tenant's, as somebody could who may
	// make Namespaces and is no tenant, with all that a SecretSync needs.
	steals := func(t *testing.T, name string) (login func(context.Context) error) {
		thief := v.as(t, clusterAdmin)
		testenv.Eventually(t, func(ctx context.Context) error {
			return thief.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		})
		for _, o := range []client.Object{
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: v1alpha1.SecretSyncAccount}},
			object(roleBindingKind, name, "all", map[string]any{
				"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
				"subjects": []any{map[string]any{"kind": "ServiceAccount", "namespace": name, "name": v1alpha1.SecretSyncAccount}},
			}),
			ownSync(name, "db", "db"),
		} {
			v.must(t, thief.Create(t.Context(), o))
		}
		token := openbaotest.Token(t, v.Env, name, v1alpha1.SecretSyncAccount, server.Audience)
		return func(context.Context) error {
			if _, err := v.bao.Login(t, openbao.RoleName(name), token); err == nil {
				return errors.New("who has the name logs in")
			}
			return nil
		}
	}
	gone := func(t *testing.T, name string) {
		testenv.Eventually(t, func(ctx context.Context) error {
			return testenv.Gone(v.Client.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{}))
		})
	}
	t.Run("after the tenant has let it go", func(t *testing.T) {
		removed := &v1alpha1.TenantNamespace{}
		v.must(t, v.Client.Get(t.Context(), client.ObjectKey{Name: ns}, removed))
		spec := removed.Spec
		again := &v1alpha1.TenantNamespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Annotations: map[string]string{
			v1alpha1.AnnotationRemovedAt: "2026-01-01T00:00:00Z", v1alpha1.AnnotationRemovedIn: "main@sha1:0",
		}}, Spec: spec}
		v.must(t, apply(t.Context(), v.operator(t), again))
		v.must(t, v.as(t, platformUser).Delete(t.Context(), removed))
		gone(t, ns)
		login := steals(t, ns)
		v.says(t, ns, "db", v1alpha1.ReasonNoTenant, fmt.Sprintf("Namespace %q is no tenant's", ns))
		within(t, 20*time.Second, login)
		v.holdsNone(t, ns, "db")
	})
	t.Run("while the operator was down", func(t *testing.T) {
		stop()
		v.must(t, v.operator(t).Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: kept}}))
		gone(t, kept)
		login := steals(t, kept)
		v.operate(t)
		v.says(t, kept, "db", v1alpha1.ReasonNoTenant, fmt.Sprintf("Namespace %q is not tenant \"acme\"'s", kept))
		within(t, 20*time.Second, login)
		v.holdsNone(t, kept, "db")
	})
}

// A path belongs to one life of a tenant.
func TestTenantMadeAnewInheritsSecrets(t *testing.T) {
	v := newVault(t)
	v.bao.Put(t, "s-again/db", map[string]any{"password": canary})
	v.tenant(t, "s-again", `{}`)
	const db = `{name: db, path: db, refreshInterval: 10s}`
	first := v.place(t, "s-again", "secrets", "secret/s-again", db)
	v.operate(t)
	v.holds(t, first, "db", "password", canary)

	tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "s-again"}}
	v.must(t, v.Client.Get(t.Context(), client.ObjectKeyFromObject(tenant), tenant))
	earlier := tenant.UID
	tenant.Finalizers = nil
	v.must(t, v.Client.Update(t.Context(), tenant))
	v.must(t, client.IgnoreNotFound(v.Client.Delete(t.Context(), tenant)))
	testenv.Eventually(t, func(ctx context.Context) error {
		return testenv.Gone(v.Client.Get(ctx, client.ObjectKeyFromObject(tenant), &v1alpha1.Tenant{}))
	})
	v.tenant(t, "s-again", `{}`)
	t.Run("in the namespace of the earlier one", func(t *testing.T) {
		v.must(t, v.Client.Create(t.Context(), ownSync(first, "again", "db")))
		v.says(t, first, "again", v1alpha1.ReasonNoTenant, fmt.Sprintf("Namespace %q is not tenant \"s-again\"'s", first))
		v.holdsNone(t, first, "again")
	})
	t.Run("in a namespace of its own", func(t *testing.T) {
		ns := v.place(t, "s-again", "secrets", "nothing", db)
		v.says(t, ns, "db", v1alpha1.ReasonPathTaken, fmt.Sprintf("path secret/s-again in OpenBao belongs to an earlier tenant s-again (UID %s)", earlier))
		v.holdsNone(t, ns, "db")
	})
}

// What is in OpenBao is a tenant's own to write, and so are templates: they can be
// anything, and what is wrong with them is told without a value.
func TestTenantKeepsInOpenBaoWhatNoSecretCanHold(t *testing.T) {
	v := newVault(t)
	ns := v.place(t, "acme", "secrets", "secret/acme", "")
	v.operate(t)
	v.opened(t, ns)
	v.quotes(t, ns)
	team := v.as(t, ns+":deploy")
	template := func(text string) func(*v1alpha1.SecretSyncSpec) {
		return func(s *v1alpha1.SecretSyncSpec) {
			s.Template = map[string]v1alpha1.SecretTemplate{"K": v1alpha1.SecretTemplate(text)}
		}
	}
	mebibyte := strings.Repeat(canary+" ", 1<<20/(len(canary)+1))
	for name, c := range map[string]struct {
		data         map[string]any
		change       func(*v1alpha1.SecretSyncSpec)
		reason, want string
	}{
		"more than one can": {map[string]any{"a": mebibyte + mebibyte}, nil, v1alpha1.ReasonInvalidSecret, "a Secret holds at most 1048576"},
		"a gigabyte by a template": {
			map[string]any{"a": mebibyte}, template(strings.Repeat("${data.a}", 900)), v1alpha1.ReasonInvalidSecret, "the Secret would hold more than the 1048576 bytes that one can",
		},
		"a terabyte by a function": {
			map[string]any{"a": mebibyte}, template(`${data.a.replace("", data.a)}`), v1alpha1.ReasonInvalidSecret, "fails on what OpenBao has; what CEL says of it is not shown",
		},
		"a loop":            {map[string]any{"a": canary}, template(`${[1].map(i, data.a).join("")}`), v1alpha1.ReasonInvalidSpec, "undeclared reference to 'map'"},
		"another secret":    {map[string]any{"a": canary}, template("${secrets.other.a}"), v1alpha1.ReasonInvalidSpec, "undeclared reference to 'secrets'; there are data"},
		"the environment":   {map[string]any{"a": canary}, template("${env.HOME}"), v1alpha1.ReasonInvalidSpec, "undeclared reference to 'env'; there are data"},
		"a file":            {map[string]any{"a": canary}, template(`${readFile("/var/run/secrets/kubernetes.io/serviceaccount/token")}`), v1alpha1.ReasonInvalidSpec, "undeclared reference to 'readFile'"},
		"a path as a key":   {map[string]any{"../../etc/passwd": canary}, nil, v1alpha1.ReasonInvalidSecret, "has a key that no Secret can have"},
		"a value as a key":  {map[string]any{canary + "/" + canary: "x"}, nil, v1alpha1.ReasonInvalidSecret, "has a key that no Secret can have"},
		"what is no number": {map[string]any{"a": canary}, template("${string(int(data.a))}"), v1alpha1.ReasonInvalidSecret, "fails on what OpenBao has; what CEL says of it is not shown"},
		"a value as an index": {
			map[string]any{"a": canary}, template("${data[data.a]}"), v1alpha1.ReasonInvalidSecret, "fails on what OpenBao has; what CEL says of it is not shown",
		},
		"what is not there": {
			map[string]any{"a": canary}, func(s *v1alpha1.SecretSyncSpec) { s.Keys = map[string]string{"K": "b"} }, v1alpha1.ReasonKeyNotFound, `the secret in OpenBao has no key "b"`,
		},
		"a registry's login that is none": {
			map[string]any{".dockerconfigjson": canary}, func(s *v1alpha1.SecretSyncSpec) { s.Type = "kubernetes.io/dockerconfigjson" }, v1alpha1.ReasonInvalidSecret, "and this is none",
		},
		// A policy of the platform team's own, or a webhook, may say of what it refuses more
		// than all may read.
		"what a policy refuses and quotes": {
			map[string]any{"quoted": canary + "-quoted\n" + canary}, nil, v1alpha1.ReasonApplyFailed, "what it says is not shown, since it quotes a value",
		},
	} {
		t.Run(name, func(t *testing.T) {
			called := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", "")
			v.bao.Put(t, "acme/"+called, c.data)
			ss := ownSync(ns, called, called)
			if c.change != nil {
				c.change(&ss.Spec)
			}
			v.must(t, team.Create(t.Context(), ss))
			v.says(t, ns, called, c.reason, c.want)
			v.holdsNone(t, ns, called)
		})
	}
	t.Run("while bytes are handled", func(t *testing.T) {
		v.bao.Put(t, "acme/bytes", map[string]any{"a": base64.StdEncoding.EncodeToString([]byte{0, 1, 254, 255})})
		ss := ownSync(ns, "bytes", "bytes")
		template("${base64.decode(data.a)}")(&ss.Spec)
		v.must(t, team.Create(t.Context(), ss))
		v.holds(t, ns, "bytes", "K", "\x00\x01\xfe\xff")
	})
}

// quotes installs a policy that refuses Secrets with a key "quoted", and says a part of
// what they hold.
func (v *vault) quotes(t *testing.T, ns string) {
	t.Helper()
	name := "quotes-" + ns
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}},
			ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
			}}},
		},
		Validations: []admissionv1.Validation{{
			Expression:        "!has(object.data) || !('quoted' in object.data)",
			MessageExpression: "'it begins with ' + string(object.data.quoted).substring(0, 12)",
			Reason:            new(metav1.StatusReasonForbidden),
		}},
	}}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
	}}
	for _, o := range []client.Object{policy, binding} {
		v.must(t, v.Client.Create(t.Context(), o))
		t.Cleanup(func() { _ = v.Client.Delete(context.Background(), o) })
	}
	testenv.Eventually(t, func(ctx context.Context) error {
		o := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "probe"}, StringData: map[string]string{"quoted": canary + "-quoted"}}
		if err := v.Client.Create(ctx, o, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "it begins with") {
			return fmt.Errorf("the policy does not hold yet: %w", err)
		}
		return nil
	})
}

// What is generated is made where there is nothing, by who may.
func TestTenantGeneratesOverWhatIsThere(t *testing.T) {
	v := newVault(t)
	v.bao.Put(t, "acme/there", map[string]any{"password": canary})
	v.bao.Put(t, "acme/deleted", map[string]any{"password": canary})
	v.bao.Put(t, "globex/db", map[string]any{"password": canary})
	v.must(t, v.bao.Root.KVv2(server.Secrets).Delete(t.Context(), "acme/deleted"))
	ns := v.place(t, "acme", "secrets", "secret/acme", "")
	may := v.place(t, "acme", "secrets-made", "secret/acme", "")
	v.operate(t)
	v.opened(t, ns)
	v.opened(t, may)
	made := func(ns, path string) *v1alpha1.SecretSync {
		ss := ownSync(ns, path, path)
		ss.Spec.Generate = map[string]v1alpha1.Generator{"password": {Password: &v1alpha1.PasswordGenerator{}}}
		v.must(t, v.as(t, ns+":deploy").Create(t.Context(), ss))
		return ss
	}
	versions := func(path string) int {
		m, err := v.bao.Root.KVv2(server.Secrets).GetMetadata(t.Context(), path)
		if err != nil {
			return 0
		}
		return len(m.Versions)
	}
	t.Run("where the profile does not permit it", func(t *testing.T) {
		made(ns, "unpermitted")
		v.says(t, ns, "unpermitted", v1alpha1.ReasonGenerateNotAllowed, `profile "secrets" does not permit it`)
		if n := versions("acme/unpermitted"); n != 0 {
			t.Errorf("OpenBao has %d versions", n)
		}
	})
	t.Run("a secret that is there", func(t *testing.T) {
		made(may, "there")
		v.holds(t, may, "there", "password", canary)
		if n := versions("acme/there"); n != 1 {
			t.Errorf("OpenBao has %d versions", n)
		}
	})
	t.Run("one that was deleted", func(t *testing.T) {
		made(may, "deleted")
		v.says(t, may, "deleted", v1alpha1.ReasonVersionGone, "was deleted in OpenBao")
		if n := versions("acme/deleted"); n != 1 {
			t.Errorf("OpenBao has %d versions", n)
		}
	})
	t.Run("with the token of a namespace that may", func(t *testing.T) {
		stolen, err := v.bao.Login(t, openbao.RoleName(may), openbaotest.Token(t, v.Env, may, v1alpha1.SecretSyncAccount, server.Audience))
		v.must(t, err)
		for _, path := range []string{"secret/data/acme/there", "secret/data/acme/deleted", "secret/data/globex/db", "secret/data/globex/new", "secret/metadata/acme/there", "secret/data/acme"} {
			if _, err := stolen.Logical().WriteWithContext(t.Context(), path, map[string]any{"data": map[string]any{"password": "mine"}}); err == nil {
				t.Errorf("it writes %s", path)
			}
		}
	})
	t.Run("and where there is nothing it is made", func(t *testing.T) {
		made(may, "new")
		v.says(t, may, "new", v1alpha1.ReasonSynced, "Version 1 of secret/acme/new")
	})
}

// What a SecretSync says is the operator's to write, and nothing of it is believed.
func TestTenantWritesWhatASecretSyncSays(t *testing.T) {
	v := newVault(t)
	v.bao.Put(t, "acme/db", map[string]any{"password": canary})
	ns := v.place(t, "acme", "secrets", "secret/acme", "{name: db, path: db}, {name: fixed, path: db, immutable: true}")
	v.operate(t)
	v.holds(t, ns, "fixed", "password", canary)
	ss := v.says(t, ns, "db", v1alpha1.ReasonSynced, "Version 1")
	v.opened(t, ns)
	const forged = `{"status":{"version":99,"source":"secret/globex/db","secretName":"other","observedGeneration":9,"conditions":[
		{"type":"Ready","status":"True","reason":"Synced","message":"forged","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	for who, c := range map[string]client.Client{"admin": v.as(t, tenantAdmin), "editor": v.as(t, tenantEditor), "viewer": v.as(t, tenantViewer), "deploy account": v.as(t, ns+":deploy")} {
		t.Run(who, func(t *testing.T) {
			v.refuses(t, ss, "cannot patch resource", func(ctx context.Context) error { return patches(ss, forged, "status")(ctx, c) })
		})
	}
	mallory := v.intrude(t, ns)
	for _, name := range []string{"db", "fixed"} {
		t.Run("who has every right, of "+name, func(t *testing.T) {
			of := &v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
			v.must(t, patches(of, forged, "status")(t.Context(), mallory))
			v.must(t, patches(of, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`, "")(t.Context(), mallory))
			testenv.Eventually(t, func(ctx context.Context) error {
				if err := v.Client.Get(ctx, client.ObjectKeyFromObject(of), of); err != nil {
					return err
				}
				if s := of.Status; s.LastHandledReconcileAt != "now" || s.Source != "secret/acme/db" || s.SecretName != name {
					return fmt.Errorf("the status is %+v", s)
				}
				return nil
			})
			v.holds(t, ns, name, "password", canary)
		})
	}
}

// Values travel only where the platform team's certificate says that they may.
func TestProfileNamesAnOpenBaoThatOthersCanHear(t *testing.T) {
	v := newVault(t)
	profile := func(name, address, ca string) *v1alpha1.NamespaceProfile {
		p := &v1alpha1.NamespaceProfile{ObjectMeta: metav1.ObjectMeta{Name: name}}
		p.Spec.Base.Path = "profiles/default"
		p.Spec.Sizes = map[string]v1alpha1.Size{"small": {Quota: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("20")}}}
		p.Spec.OpenBao = &v1alpha1.ProfileOpenBao{Address: address, CABundle: ca}
		return p
	}
	for _, address := range []string{
		"http://openbao.example.com:8200", "HTTPS://openbao.example.com", "openbao.example.com", "https://user:password@openbao.example.com", "https://openbao.example.com/v1",
		"https://openbao.example.com?x", "https://", "file:///etc/passwd", "unix:///run/openbao.sock", "https://a b", "https://openbao.example.com#x",
	} {
		p := profile("clear", address, "")
		v.refuses(t, p, "write https://host or https://host:port; secrets do not travel in the clear", func(ctx context.Context) error { return v.as(t, platformUser).Create(ctx, p.DeepCopy()) })
	}
	t.Run("one that somebody else answers for", func(t *testing.T) {
		other, _, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
		v.must(t, err)
		v.bao.Put(t, "acme/db", map[string]any{"password": canary})
		p := profile("other-ca", v.bao.Address, string(other))
		v.must(t, v.Client.Create(t.Context(), p))
		ns := v.place(t, "acme", p.Name, "nothing", "{name: db, path: db}")
		v.operate(t)
		v.says(t, ns, "db", v1alpha1.ReasonOpenBaoUnavailable, "its certificate is signed by an authority that is not trusted")
		v.holdsNone(t, ns, "db")
	})
}
