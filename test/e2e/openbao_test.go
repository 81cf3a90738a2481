package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openbao/openbao/api/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/openbao/server"
	"github.com/aetherplatform/aether/internal/testenv"
)

// `make up OPENBAO=1` has secrets for the example fleet, which outlive the server, and
// lets the namespace operator, and nobody else, log in to hand out access to them. They
// arrive in the cluster whatever is killed, and are told nowhere else.
func TestPlatformRunsOpenBao(t *testing.T) {
	ports, err := local.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "platform")
	p, err := local.Start(t.Context(), local.Options{
		Root: testenv.Root(), Dir: dir, Ports: ports, Fleet: filepath.Join(testenv.Root(), "tenants"), OpenBao: true, Attached: true, Now: time.Now, Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", dir, err)
		}
	})
	opened, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !opened.OpenBao || !slices.ContainsFunc(opened.Running(), func(p *local.Process) bool { return p.Name == "openbao" }) {
		t.Error("what is written down of the platform has no openbao that runs")
	}
	for _, file := range []string{p.OpenBaoToken(), filepath.Join(p.Logs(), "openbao-audit.log")} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want it readable by its owner only", file, info, err)
		}
	}

	root, err := p.OpenBaoClient()
	if err != nil {
		t.Fatal(err)
	}
	secrets := func() map[string][]string {
		t.Helper()
		found := map[string][]string{}
		for _, path := range []string{"acme/web/db", "acme/web/tls-api", "globex/app"} {
			secret, err := root.KVv2(server.Secrets).Get(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			for key := range secret.Data {
				found[path] = append(found[path], key)
			}
			slices.Sort(found[path])
		}
		return found
	}
	want := map[string][]string{"acme/web/db": {"host", "password", "username"}, "acme/web/tls-api": {"key"}, "globex/app": {"password"}}
	if diff := cmp.Diff(want, secrets()); diff != "" {
		t.Errorf("keys of secrets (-want +got):\n%s", diff)
	}

	t.Run("the operator may hand out access and read nothing", func(t *testing.T) {
		operator, err := login(t, p, "namespace-operator", server.Audience)
		if err != nil {
			t.Fatal(err)
		}
		do := operator.Logical()
		for path, data := range map[string]map[string]any{
			"sys/policies/acl/aether-tenant-acme":     {"policy": `path "secret/data/acme/*" { capabilities = ["read"] }`},
			"auth/kubernetes/role/aether-ns-acme-web": {"bound_service_account_names": v1alpha1.SecretSyncAccount, "bound_service_account_namespaces": "acme-web"},
		} {
			if _, err := do.WriteWithContext(t.Context(), path, data); err != nil {
				t.Errorf("write %s: %v", path, err)
			}
		}
		for _, path := range []string{"sys/policies/acl", "auth/kubernetes/role"} {
			if _, err := do.ListWithContext(t.Context(), path); err != nil {
				t.Errorf("list %s: %v", path, err)
			}
		}
		for _, path := range []string{"sys/policies/acl/aether-tenant-acme", "auth/kubernetes/role/aether-ns-acme-web"} {
			if _, err := do.DeleteWithContext(t.Context(), path); err != nil {
				t.Errorf("delete %s: %v", path, err)
			}
		}
		for _, path := range []string{"secret/data/acme/web/db", "auth/kubernetes/config", "sys/policies/acl/aether-namespace-operator"} {
			if _, err := do.ReadWithContext(t.Context(), path); !forbidden(err) {
				t.Errorf("read %s: got %v, want 403", path, err)
			}
		}
		for _, path := range []string{"sys/policies/acl/aether-namespace-operator", "auth/kubernetes/role/aether-namespace-operator", "auth/token/create"} {
			if _, err := do.WriteWithContext(t.Context(), path, map[string]any{"policy": ""}); !forbidden(err) {
				t.Errorf("write %s: got %v, want 403", path, err)
			}
		}
	})
	t.Run("nobody else logs in as the operator", func(t *testing.T) {
		if _, err := login(t, p, "namespace-operator", "https://kubernetes.default.svc"); err == nil {
			t.Error("a token for the API server logs in")
		}
		if _, err := login(t, p, "review", server.Audience); err == nil {
			t.Error("the review server logs in")
		}
	})
	t.Run("secrets and logins outlive the server", func(t *testing.T) {
		if err := p.Kill("openbao"); err != nil {
			t.Fatal(err)
		}
		if err := p.Revive(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, secrets()); diff != "" {
			t.Errorf("keys of secrets (-want +got):\n%s", diff)
		}
		if _, err := login(t, p, "namespace-operator", server.Audience); err != nil {
			t.Error(err)
		}
	})
	w := &world{T: t, Platform: p, checkout: filepath.Join(t.TempDir(), "fleet")}
	w.clones()
	secretsArriveWhateverEnds(w, root)
}

// login logs in by the operator's role with a token of a service account.
func login(t *testing.T, p *local.Platform, account, audience string) (*api.Client, error) {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	of := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: account}}
	if err := p.Client.SubResource("token").Create(t.Context(), of, request); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(p.OpenBaoCA())
	if err != nil {
		t.Fatal(err)
	}
	c, err := server.NewClient(p.OpenBaoAddress(), ca, "")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Logical().WriteWithContext(t.Context(), "auth/kubernetes/login",
		map[string]any{"role": "aether-namespace-operator", "jwt": request.Status.Token})
	if err != nil {
		return nil, err
	}
	c.SetToken(answer.Auth.ClientToken)
	return c, nil
}

func forbidden(err error) bool {
	answer := (*api.ResponseError)(nil)
	return errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden
}
