package attacks

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
	"github.com/aetherplatform/aether/internal/openbao/server"
	"github.com/aetherplatform/aether/internal/testenv"
)

// What a path may not be is refused where it is written, whoever writes it.
func TestTenantNamesAPathThatLeavesItsOwn(t *testing.T) {
	v := newVault(t)
	v.bao.Put(t, "globex/db", map[string]any{"password": canary})
	ns := v.place(t, "acme", "secrets", "secret/acme", "")
	v.operate(t)
	v.opened(t, ns)
	people := map[string]client.Client{
		"admin": v.as(t, tenantAdmin), "editor": v.as(t, tenantEditor), "deploy account": v.as(t, ns+":deploy"),
	}
	const plain, kv, empty = "write a plain path below the tenant's", "without the data/ or metadata/ of OpenBao's API", "should be at least 1 chars long"
	for path, want := range map[string]string{
		"../globex/db": plain, "web/../../globex/db": plain, "..": plain, ".": plain, "web/./db": plain, "web/..": plain, ".globex": plain,
		"%2e%2e/globex/db": plain, "%2E%2E%2Fglobex": plain, "..%2fglobex/db": plain, "%252e%252e/globex": plain, "web%2f..%2f..%2fglobex": plain,
		"/globex/db": plain, "//globex/db": plain, "web//db": plain, "web/": plain, "/": plain, "": empty,
		"data/globex/db": kv, "metadata/globex/db": kv, "subkeys/globex/db": kv, "delete/db": kv, "undelete/db": kv, "destroy/db": kv, "config": kv, "data": kv,
		"*": plain, "+": plain, "web/*": plain, "+/db": plain, "web*": plain,
		"web/db?version=1": plain, "web/db#x": plain, "web;db": plain, `..\globex\db`: plain, `web\..\..\globex`: plain,
		"wеb/db": plain, "ｗeb/db": plain, "web／db": plain, "web∕db": plain, "․․/globex": plain, "web/‥/‥/globex": plain, "web/db\u200b": plain, "web\u2028db": plain,
		"web/db\n": plain, "web/db\x00": plain, "web\r\ndb": plain, " web/db": plain, "web/db ": plain, "web/${data.path}": plain, "web/{{identity.entity.id}}": plain,
		strings.Repeat("a", 257): "may not be more than 256 bytes",
	} {
		t.Run(fmt.Sprintf("%.40q in spec.secrets", path), func(t *testing.T) {
			tn := &v1alpha1.TenantNamespace{ObjectMeta: metav1.ObjectMeta{Name: "acme-climbs"}}
			tn.Spec.Tenant, tn.Spec.Size = "acme", "small"
			tn.Spec.Secrets = []v1alpha1.NamespaceSecret{{Name: "db", SecretSource: v1alpha1.SecretSource{Path: path}}}
			v.refuses(t, tn, want, func(ctx context.Context) error { return v.as(t, platformUser).Create(ctx, tn.DeepCopy()) })
		})
		for who, c := range people {
			t.Run(fmt.Sprintf("%.40q by the %s", path, who), func(t *testing.T) {
				ss := ownSync(ns, "climbs", path)
				v.refuses(t, ss, want, func(ctx context.Context) error { return c.Create(ctx, ss.DeepCopy()) })
			})
		}
	}
	t.Run("a viewer makes none", func(t *testing.T) {
		ss := ownSync(ns, "viewers", "web/db")
		v.refuses(t, ss, "cannot create resource", func(ctx context.Context) error { return v.as(t, tenantViewer).Create(ctx, ss.DeepCopy()) })
	})
	t.Run("nobody makes one in another tenant's namespace", func(t *testing.T) {
		other := v.namespace(t, "globex")
		for _, c := range people {
			ss := ownSync(other.Name, "theirs", "db")
			v.refuses(t, ss, "cannot create resource", func(ctx context.Context) error { return c.Create(ctx, ss.DeepCopy()) })
		}
	})
	t.Run("a path that looks like another's is below the tenant's own", func(t *testing.T) {
		for name, path := range map[string]string{"globex": "globex/db", "whole": "secret/globex/db", "engine": "secret/data/globex/db", "mount": "cubbyhole/x", "sys": "sys/policies/acl"} {
			v.must(t, people["deploy account"].Create(t.Context(), ownSync(ns, name, path)))
			v.says(t, ns, name, v1alpha1.ReasonSecretNotFound, "OpenBao has nothing at secret/acme/"+path)
			v.holdsNone(t, ns, name)
		}
	})
	t.Run("and its own is served", func(t *testing.T) {
		v.bao.Put(t, "acme/web/db", map[string]any{"password": canary})
		for who, c := range people {
			name := strings.Fields(who)[0]
			v.allows(t, c.Create(t.Context(), ownSync(ns, name, "web/db")))
			v.holds(t, ns, name, "password", canary)
		}
	})
}

// Where in OpenBao a tenant's secrets are stands in its Tenant, which its own people may
// be who write: what is another's is not given by naming it.
func TestTenantNamesAPlaceThatIsAnothers(t *testing.T) {
	v := newVault(t)
	for _, path := range []string{"s-owner/db", "s-owner-b/db", "s-late/db", "shared/deep/owned/db"} {
		v.bao.Put(t, path, map[string]any{"password": canary + " of " + path})
	}
	testenv.Eventually(t, func(ctx context.Context) error {
		_, err := v.bao.Root.KVv2("team").Put(ctx, "s-team/db", map[string]any{"password": canary + " of team"})
		return err
	})
	v.tenant(t, "s-owner", `{}`)
	v.tenant(t, "s-deep", `{secrets: {path: shared/deep/owned}}`)
	v.tenant(t, "s-late", `{}`)
	v.tenant(t, "s-team", `{secrets: {mount: team}}`)
	v.operate(t)
	const db = `{name: db, path: db, refreshInterval: 10s}`
	owner := v.place(t, "s-owner", "secrets", "secret/s-owner", db)
	deep := v.place(t, "s-deep", "secrets", "secret/shared/deep/owned", db)
	team := v.place(t, "s-team", "secrets-mounts", "team/s-team", db)
	v.holds(t, owner, "db", "password", canary+" of s-owner/db")
	v.holds(t, deep, "db", "password", canary+" of shared/deep/owned/db")
	v.holds(t, team, "db", "password", canary+" of team")

	for what, c := range map[string]struct{ name, secrets, profile, reason, want string }{
		"OpenBao's own API":            {"s-m1", `{mount: sys}`, "secrets", v1alpha1.ReasonMountNotAllowed, `Tenant "s-m1" has its secrets in the mount "sys"`},
		"what is a token's own":        {"s-m2", `{mount: cubbyhole}`, "secrets", v1alpha1.ReasonMountNotAllowed, `the mount "cubbyhole"`},
		"who is who":                   {"s-m3", `{mount: identity}`, "secrets", v1alpha1.ReasonMountNotAllowed, `the mount "identity"`},
		"how one logs in":              {"s-m4", `{mount: auth/kubernetes}`, "secrets", v1alpha1.ReasonMountNotAllowed, `the mount "auth/kubernetes"`},
		"another tenant's mount":       {"s-m5", `{mount: team}`, "secrets", v1alpha1.ReasonMountNotAllowed, `the mount "team", which NamespaceProfile "secrets" does not list in spec.openBao.mounts`},
		"the API of its mount":         {"s-m6", `{mount: secret/data}`, "secrets", v1alpha1.ReasonMountNotAllowed, `the mount "secret/data"`},
		"another's path":               {"s-p1", `{path: s-owner}`, "secrets", v1alpha1.ReasonPathTaken, `path secret/s-owner in OpenBao is Tenant "s-owner"'s`},
		"a path below another's":       {"s-p2", `{path: s-owner/db}`, "secrets", v1alpha1.ReasonPathTaken, `path secret/s-owner/db in OpenBao is Tenant "s-owner"'s`},
		"a path around another's":      {"s-p3", `{path: shared}`, "secrets", v1alpha1.ReasonPathTaken, "path secret/shared in OpenBao has paths of tenant s-deep"},
		"a path further around":        {"s-p4", `{path: shared/deep}`, "secrets", v1alpha1.ReasonPathTaken, "path secret/shared/deep in OpenBao has paths of tenant s-deep"},
		"a path that another named":    {"s-p8", `{path: shared/deep/owned}`, "secrets", v1alpha1.ReasonPathTaken, "path secret/shared/deep/owned in OpenBao belongs to tenant s-deep"},
		"a path below such a one":      {"s-p9", `{path: shared/deep/owned/db}`, "secrets", v1alpha1.ReasonPathTaken, "is below secret/shared/deep/owned, which belongs to tenant s-deep"},
		"another's in another mount":   {"s-p5", `{mount: team, path: s-team}`, "secrets-mounts", v1alpha1.ReasonPathTaken, `path team/s-team in OpenBao is Tenant "s-team"'s`},
		"one that has not come for it": {"s-p6", `{path: s-late}`, "secrets", v1alpha1.ReasonPathTaken, `path secret/s-late in OpenBao is Tenant "s-late"'s`},
		"one below such a one":         {"s-p7", `{path: s-late/db}`, "secrets", v1alpha1.ReasonPathTaken, `is Tenant "s-late"'s`},
	} {
		t.Run(what, func(t *testing.T) {
			v.tenant(t, c.name, "secrets: "+c.secrets)
			ns := v.place(t, c.name, c.profile, "nothing", db)
			v.says(t, ns, "db", c.reason, c.want)
			v.holdsNone(t, ns, "db")
		})
	}
	t.Run("a mount or a path that is none", func(t *testing.T) {
		for _, text := range []string{
			`{mount: "../sys"}`, `{mount: /sys}`, `{mount: secret/}`, `{mount: "secret*"}`, `{mount: sеcret}`, `{path: "../s-owner"}`, `{path: "*"}`, `{path: +}`,
			`{path: "s-owner/*"}`, `{path: /s-owner}`, `{path: s-owner/}`, `{path: "%73-owner"}`, `{path: "s-оwner"}`, `{path: "{{identity.entity.name}}"}`,
		} {
			o := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "s-none"}}
			v.must(t, yaml.UnmarshalStrict([]byte("secrets: "+text), &o.Spec))
			v.refuses(t, o, "write the mount as|write a plain path", func(ctx context.Context) error { return v.as(t, platformUser).Create(ctx, o.DeepCopy()) })
		}
	})
	t.Run("a tenant whose name another's begins with", func(t *testing.T) {
		v.tenant(t, "s-owner-b", `{namespaces: {prefix: other-}}`)
		ns := v.place(t, "s-owner-b", "secrets", "secret/s-owner-b", db)
		v.holds(t, ns, "db", "password", canary+" of s-owner-b/db")
		v.holds(t, owner, "db", "password", canary+" of s-owner/db")
	})
	t.Run("and who has a name has its path", func(t *testing.T) {
		ns := v.place(t, "s-late", "secrets", "secret/s-late", db)
		v.holds(t, ns, "db", "password", canary+" of s-late/db")
	})
}

// Whatever Aether's code does: the token of a namespace, in the hands of somebody else,
// reads what is its tenant's.
func TestTokenOfANamespaceIsUsedForMore(t *testing.T) {
	v := newVault(t)
	for _, path := range []string{"acme/db", "acme-b/db", "globex/db"} {
		v.bao.Put(t, path, map[string]any{"password": canary})
	}
	ns := v.place(t, "acme", "secrets", "secret/acme", `{name: db, path: db}`)
	v.operate(t)
	v.holds(t, ns, "db", "password", canary)
	stolen, err := v.bao.Login(t, openbao.RoleName(ns), openbaotest.Token(t, v.Env, ns, v1alpha1.SecretSyncAccount, server.Audience))
	v.must(t, err)
	if _, err := stolen.Logical().ReadWithContext(t.Context(), "secret/data/acme/db"); err != nil {
		t.Errorf("the legitimate neighbour of the attack is refused: %v", err)
	}
	denied := func(t *testing.T, err error) {
		t.Helper()
		if err == nil {
			t.Error("was not refused")
		}
	}
	for _, path := range []string{
		"secret/data/globex/db", "secret/metadata/globex/db", "secret/subkeys/globex/db", "secret/data/acme-b/db", "secret/data/acme/../globex/db",
		"secret/data/acme/%2e%2e/globex/db", "secret/data/acme%2f..%2fglobex/db", "secret/data/globex%2fdb", "secret/data//globex/db", "secret/data/acme/../../metadata/globex/db",
		"secret/metadata/acme", "secret/config", "secret/subkeys/acme/db", "team/data/acme/db", "sys/policies/acl/aether-namespace-operator", "sys/mounts", "sys/auth",
		"sys/audit", "sys/raw/core/keyring", "auth/kubernetes/config", "auth/kubernetes/role/" + openbao.RoleName(ns), "auth/token/lookup-self", "identity/entity/id", "cubbyhole/x",
	} {
		t.Run("read "+path, func(t *testing.T) {
			answer, err := stolen.Logical().ReadWithContext(t.Context(), path)
			if err == nil && answer == nil {
				return // not there
			}
			denied(t, err)
		})
	}
	for _, path := range []string{"secret/metadata", "secret/metadata/acme", "secret/metadata/globex", "sys/policies/acl", "auth/kubernetes/role", "identity/entity/name"} {
		t.Run("list "+path, func(t *testing.T) {
			_, err := stolen.Logical().ListWithContext(t.Context(), path)
			denied(t, err)
		})
	}
	for path, data := range map[string]map[string]any{
		"secret/data/acme/db":       {"data": map[string]any{"password": "mine"}},
		"secret/data/acme/new":      {"data": map[string]any{"password": "mine"}},
		"secret/metadata/acme":      {"custom_metadata": map[string]any{"aether-x": "acme/1"}},
		"secret/delete/acme/db":     {"versions": []int{1}},
		"secret/destroy/acme/db":    {"versions": []int{1}},
		"sys/policies/acl/mine":     {"policy": `path "*" { capabilities = ["sudo"] }`},
		"auth/token/create":         {"policies": []string{"root"}},
		"auth/token/renew-self":     {},
		"sys/wrapping/wrap":         {"a": "b"},
		"auth/kubernetes/role/mine": {"bound_service_account_names": "*", "bound_service_account_namespaces": "*"},
	} {
		t.Run("write "+path, func(t *testing.T) {
			_, err := stolen.Logical().WriteWithContext(t.Context(), path, data)
			denied(t, err)
		})
	}
}

// Only the account aether-secret-sync of a namespace logs in, and only for that namespace.
func TestTenantLogsInToOpenBaoItself(t *testing.T) {
	v := newVault(t)
	v.bao.Put(t, "acme/db", map[string]any{"password": canary})
	v.bao.Put(t, "globex/db", map[string]any{"password": canary})
	ns := v.place(t, "acme", "secrets", "secret/acme", `{name: db, path: db}`)
	other := v.place(t, "globex", "secrets", "secret/globex", `{name: db, path: db}`)
	v.operate(t)
	v.holds(t, ns, "db", "password", canary)
	v.holds(t, other, "db", "password", canary)
	v.must(t, v.as(t, tenantAdmin).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"}}))
	for _, name := range []string{v1alpha1.SecretSyncAccount, "namespace-operator"} {
		v.must(t, client.IgnoreAlreadyExists(v.Client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "plain", Name: name}})))
	}
	refused := func(t *testing.T, role, token string) {
		t.Helper()
		answer, err := v.bao.Login(t, role, token)
		if err == nil {
			t.Errorf("it logs in: %s", answer.Address())
		}
	}
	for _, account := range []struct{ namespace, name string }{
		{ns, "default"}, {ns, "deploy"}, {ns, "mine"}, {"plain", v1alpha1.SecretSyncAccount}, {"plain", "namespace-operator"},
	} {
		token := openbaotest.Token(t, v.Env, account.namespace, account.name, server.Audience) // as a projected volume has it
		for _, role := range []string{openbao.RoleName(ns), openbao.RoleName(other), "aether-namespace-operator", "", "*"} {
			t.Run(fmt.Sprintf("%s:%s as %q", account.namespace, account.name, role), func(t *testing.T) { refused(t, role, token) })
		}
	}
	t.Run("the account of one namespace for another", func(t *testing.T) {
		token := openbaotest.Token(t, v.Env, ns, v1alpha1.SecretSyncAccount, server.Audience)
		refused(t, openbao.RoleName(other), token)
		refused(t, "aether-namespace-operator", token)
	})
	t.Run("with a token that is for the API server", func(t *testing.T) {
		refused(t, openbao.RoleName(ns), openbaotest.Token(t, v.Env, ns, v1alpha1.SecretSyncAccount, "https://kubernetes.default.svc"))
	})
	t.Run("with no token, or one of its own making", func(t *testing.T) {
		for _, token := range []string{"", "x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6eDpkZXBsb3kifQ."} {
			refused(t, openbao.RoleName(ns), token)
		}
	})
	// A role of that name which somebody made for himself is the namespace's again.
	t.Run("by a role that has the name of a namespace's", func(t *testing.T) {
		third := v.place(t, "acme", "secrets", "secret/acme", "")
		v.bao.Write(t, "auth/kubernetes/role/"+openbao.RoleName(third), map[string]any{
			"bound_service_account_names": "mine", "bound_service_account_namespaces": ns, "audience": server.Audience, "token_policies": openbao.PolicyName("globex", types.UID(v.uids["globex"])),
		})
		v.opened(t, third)
		v.must(t, v.as(t, third+":deploy").Create(t.Context(), ownSync(third, "db", "db")))
		v.holds(t, third, "db", "password", canary)
		refused(t, openbao.RoleName(third), openbaotest.Token(t, v.Env, ns, "mine", server.Audience))
	})
}

// To act as the account that fetches secrets is to have all that its tenant has.
func TestTenantTakesTheAccountThatFetchesSecrets(t *testing.T) {
	v := newVault(t)
	ns := v.place(t, "acme", "secrets", "secret/acme", "")
	stop := v.operate(t)
	v.opened(t, ns)
	stop() // none of it needs a process of ours
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: v1alpha1.SecretSyncAccount}}
	ask := func(c client.Client) error {
		return c.SubResource("token").Create(t.Context(), account.DeepCopy(), &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{server.Audience}}})
	}
	pods := func(kind string, fields ...string) *unstructured.Unstructured {
		spec := map[string]any{"serviceAccountName": v1alpha1.SecretSyncAccount, "containers": []any{map[string]any{"name": "app", "image": "registry.example.com/app:1"}}}
		o := object(corev1.SchemeGroupVersion.WithKind(kind), ns, "thief", map[string]any{})
		v.must(t, unstructured.SetNestedMap(o.Object, spec, append(fields, "spec")...))
		return o
	}
	deployment := pods("Deployment", "spec", "template")
	deployment.SetAPIVersion("apps/v1")
	v.must(t, unstructured.SetNestedStringMap(deployment.Object, map[string]string{"app": "thief"}, "spec", "selector", "matchLabels"))
	v.must(t, unstructured.SetNestedStringMap(deployment.Object, map[string]string{"app": "thief"}, "spec", "template", "metadata", "labels"))
	thief := pod(ns, "thief")
	thief.Spec.ServiceAccountName = v1alpha1.SecretSyncAccount
	token := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: v1alpha1.SecretSyncAccount}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
	bound := object(roleBindingKind, ns, "mine", map[string]any{
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": v1alpha1.SecretSyncAccount},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": tenantEditor}},
	})
	mallory := v.intrude(t, ns)
	for who, c := range map[string]client.Client{
		"admin": v.as(t, tenantAdmin), "editor": v.as(t, tenantEditor), "viewer": v.as(t, tenantViewer), "deploy account": v.as(t, ns+":deploy"), "who has every right in it": mallory,
	} {
		t.Run(who, func(t *testing.T) {
			for what, attempt := range map[string]struct {
				target client.Object
				try    func(ctx context.Context) error
			}{
				"asks for a token":     {account, func(context.Context) error { return ask(c) }},
				"has a token written":  {token, func(ctx context.Context) error { return c.Create(ctx, token.DeepCopy()) }},
				"runs a Pod as it":     {thief, func(ctx context.Context) error { return c.Create(ctx, thief.DeepCopy()) }},
				"runs a Deployment so": {deployment, func(ctx context.Context) error { return c.Create(ctx, deployment.DeepCopy()) }},
				"deletes it":           {account, func(ctx context.Context) error { return c.Delete(ctx, account.DeepCopy()) }},
			} {
				t.Run(what, func(t *testing.T) {
					v.refuses(t, attempt.target, "is Aether's|make an account of your own|is made by Aether from Git|cannot", attempt.try)
				})
			}
			if c != mallory {
				t.Run("binds its Role", func(t *testing.T) {
					v.refuses(t, bound, "cannot create resource", func(ctx context.Context) error { return c.Create(ctx, bound.DeepCopy()) })
				})
			}
		})
	}
	t.Run("acts as it", func(t *testing.T) {
		cfg := v.As(t, tenantAdmin, "acme-admins", "system:authenticated")
		cfg.Impersonate.UserName = "system:serviceaccount:" + ns + ":" + v1alpha1.SecretSyncAccount
		c, err := client.New(cfg, client.Options{Scheme: v.Scheme, Mapper: v.Client.RESTMapper()})
		v.must(t, err)
		v.refuses(t, account, "cannot impersonate", func(ctx context.Context) error { return c.List(ctx, &corev1.SecretList{}, client.InNamespace(ns)) })
	})
	t.Run("by a name that only looks like it", func(t *testing.T) {
		for _, name := range []string{"aether-secret-sync2", "aether-secret", "xaether-secret-sync"} {
			own := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
			v.allows(t, v.as(t, tenantAdmin).Create(t.Context(), own))
			if _, err := v.bao.Login(t, openbao.RoleName(ns), openbaotest.Token(t, v.Env, ns, name, server.Audience)); err == nil {
				t.Errorf("%s logs in", name)
			}
		}
	})
	v.allows(t, ask(v.operator(t)))
}
