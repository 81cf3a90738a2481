package access

import (
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
)

// What the shipped policy lets the operator do is in every other test: they run with
// it. This is what it must not let it do.
func TestTheOperatorsPolicyLetsItDoNothingElse(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "acme")
	w.reads(w.subject("acme-web", "acme"), "db")
	jwt, err := w.requestToken(t.Context(), v1alpha1.SystemNamespace, "namespace-operator", openbao.DefaultAudience, accountTTL)
	if err != nil {
		t.Fatal(err)
	}
	operator, err := w.bao.Login(t, "aether-namespace-operator", jwt)
	if err != nil {
		t.Fatal(err)
	}
	do := operator.Logical()
	refused := func(what string, err error) {
		t.Helper()
		var answer *api.ResponseError
		if !errors.As(err, &answer) || answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s: got %v, want 403", what, err)
		}
	}

	for _, path := range []string{
		"secret/data/acme/db", "secret/data/acme", "secret/subkeys/acme/db", "secret/config", "auth/kubernetes/config",
		"sys/policies/acl/aether-namespace-operator", "auth/kubernetes/role/aether-namespace-operator", "sys/mounts", "sys/auth", "sys/audit",
	} {
		_, err := do.ReadWithContext(t.Context(), path)
		refused("read "+path, err)
	}
	for _, path := range []string{"secret/metadata", "secret/metadata/acme", "sys/policies/password", "auth/token/accessors", "identity/entity/id"} {
		_, err := do.ListWithContext(t.Context(), path)
		refused("list "+path, err)
	}
	for _, path := range []string{
		"secret/metadata/acme/db", "secret/metadata/acme", "secret/data/acme/db", "auth/kubernetes/role/aether-namespace-operator",
		"sys/policies/acl/aether-namespace-operator", "sys/mounts/secret", "sys/auth/kubernetes",
	} {
		_, err := do.DeleteWithContext(t.Context(), path)
		refused("delete "+path, err)
	}
	role := func(changes map[string]any) map[string]any {
		all := map[string]any{"bound_service_account_names": v1alpha1.SecretSyncAccount, "bound_service_account_namespaces": "acme-web", "token_policies": "aether-tenant-x", "token_type": "batch"}
		maps.Copy(all, changes)
		return all
	}
	if _, err := do.WriteWithContext(t.Context(), "auth/kubernetes/role/aether-ns-x", role(nil)); err != nil {
		t.Errorf("a role that changes nothing of this: %v", err)
	}
	for path, bodies := range map[string][]map[string]any{
		"secret/data/acme/db":                            {{"data": secret("x")}},
		"secret/data/acme/new":                           {{"data": secret("x")}},
		"secret/undelete/acme/db":                        {{"versions": []int{1}}},
		"secret/destroy/acme/db":                         {{"versions": []int{1}}},
		"secret/config":                                  {{"max_versions": 1}},
		"secret/metadata/acme/db":                        {{"custom_metadata": map[string]any{"replaced": "all"}}, {"max_versions": 1}},
		"secret/metadata/acme/new":                       {{"max_versions": 1}, {"delete_version_after": "1s"}, {"cas_required": true}, {"custom_metadata": map[string]any{}, "max_versions": 1}},
		"sys/policies/acl/acme":                          {{"policy": `path "secret/*" { capabilities = ["read"] }`}},
		"sys/policies/acl/aether":                        {{"policy": ""}},
		"sys/policy/aether-tenant-x":                     {{"policy": ""}},
		"auth/kubernetes/config":                         {{"kubernetes_host": "https://elsewhere.example.com"}},
		"auth/kubernetes/role/another":                   {role(nil)},
		"auth/kubernetes/role/aether-namespace-operator": {role(nil)},
		"auth/kubernetes/role/aether-ns-y": {
			role(map[string]any{"bound_service_account_names": "*"}), role(map[string]any{"bound_service_account_names": "default"}),
			role(map[string]any{"bound_service_account_names": []string{"default"}}), role(map[string]any{"token_policies": "aether-namespace-operator"}),
			role(map[string]any{"token_policies": []string{"root"}}), role(map[string]any{"policies": "root"}), role(map[string]any{"token_type": "service"}),
			role(map[string]any{"token_no_default_policy": false}), role(map[string]any{"alias_name_source": "serviceaccount_name"}),
			role(map[string]any{"bound_service_account_namespace_selector": "{}"}),
		},
		"auth/token/create":   {{"policies": []string{"default"}}},
		"sys/auth/another":    {{"type": "userpass"}},
		"sys/mounts/another":  {{"type": "kv"}},
		"sys/audit/another":   {{"type": "file"}},
		"sys/seal":            {nil},
		"identity/entity":     {{"name": "x", "policies": []string{"root"}}},
		"sys/leases/revoke/x": {nil},
	} {
		for _, body := range bodies {
			_, err := do.WriteWithContext(t.Context(), path, body)
			refused("write "+path, err)
		}
	}
	for _, body := range []map[string]any{{"max_versions": 1}, {"delete_version_after": "1s"}, {"cas_required": true}, {"custom_metadata": map[string]any{"a": "b"}, "max_versions": 1}} {
		_, err := do.JSONMergePatch(t.Context(), "secret/metadata/acme/db", body)
		refused("patch secret/metadata/acme/db", err)
	}
	_, err = do.JSONMergePatch(t.Context(), "secret/data/acme/db", map[string]any{"data": secret("x")})
	refused("patch secret/data/acme/db", err)
}

func TestATokenFileIsReadAnewWithoutARestart(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	file := filepath.Join(t.TempDir(), "token")
	issue := func() string {
		t.Helper()
		answer, err := w.bao.Root.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{"aether-namespace-operator"}, NoParent: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(answer.Auth.ClientToken+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return answer.Auth.ClientToken
	}
	revoke := func(token string) {
		t.Helper()
		if err := w.bao.Root.Auth().Token().RevokeTreeWithContext(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}

	first := issue()
	w.access = w.newAccess(func(o *Options) { o.Operator = TokenFile{File: file} })
	acme := w.subject("acme-web", "acme")
	w.reads(acme, "db")

	second := issue() // changed
	revoke(first)
	w.pass(5 * time.Minute)
	w.reads(acme, "db")

	revoke(second) // refused, and nothing new yet
	w.pass(5 * time.Minute)
	_, err := w.access.Session(t.Context(), acme)
	w.isKind(err, openbao.Denied)
	if strings.Contains(err.Error(), second) {
		t.Error("the error has the token")
	}
	issue()
	w.reads(acme, "db")

	for why, text := range map[string]string{"empty": " \n", "binary": "\x00\x01" + canary} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Minute)
		_, err := w.access.Session(t.Context(), acme)
		w.silent(err)
		if err == nil || !strings.HasPrefix(err.Error(), file+": it is ") {
			t.Errorf("%s: got %v", why, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := w.access.Session(t.Context(), acme); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
}

func TestASecretIDIsReadAnewWithoutARestart(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	w.bao.Write(t, "sys/auth/approle", map[string]any{"type": "approle"})
	w.bao.Write(t, "auth/approle/role/aether", map[string]any{"token_policies": "aether-namespace-operator", "token_ttl": "30m"})
	answer, err := w.bao.Root.Logical().ReadWithContext(t.Context(), "auth/approle/role/aether/role-id")
	if err != nil {
		t.Fatal(err)
	}
	roleID, _ := answer.Data["role_id"].(string)
	file := filepath.Join(t.TempDir(), "secret-id")
	issue := func() string {
		t.Helper()
		answer, err := w.bao.Root.Logical().WriteWithContext(t.Context(), "auth/approle/role/aether/secret-id", nil)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := answer.Data["secret_id"].(string)
		if err := os.WriteFile(file, []byte(id), 0o600); err != nil {
			t.Fatal(err)
		}
		return id
	}
	logins := func(mark int) int {
		return len(slices.DeleteFunc(w.served(mark), func(e string) bool { return e != "update auth/approle/login" }))
	}

	first := issue()
	w.access = w.newAccess(func(o *Options) { o.Operator = AppRole{RoleID: roleID, SecretIDFile: file} })
	acme := w.subject("acme-web", "acme")
	mark := w.mark()
	w.reads(acme, "db")
	w.pass(5 * time.Minute)
	w.reads(acme, "db")
	if got := logins(mark); got != 1 {
		t.Errorf("the operator logged in %d times, want 1", got)
	}

	issue() // changed: the old one is used no more
	w.bao.Write(t, "auth/approle/role/aether/secret-id/destroy", map[string]any{"secret_id": first})
	w.pass(5 * time.Minute)
	mark = w.mark()
	w.reads(acme, "db")
	if got := logins(mark); got != 1 {
		t.Errorf("after a rotation the operator logged in %d times, want 1", got)
	}

	w.pass(20 * time.Minute) // two thirds of the token's life
	mark = w.mark()
	w.reads(acme, "db")
	if got := logins(mark); got != 1 {
		t.Errorf("after 20 of 30 minutes the operator logged in %d times, want 1", got)
	}
}

func TestTheOperatorLogsInAnewWhereItsTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	acme := w.subject("acme-web", "acme")
	w.reads(acme, "db")
	w.bao.Write(t, "sys/leases/revoke-prefix/auth/kubernetes/login", nil)
	w.pass(5 * time.Minute)
	w.reads(acme, "db")
}
