package openbaotest_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openbao/openbao/api/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
	"github.com/aetherplatform/aether/internal/openbao/server"
	"github.com/aetherplatform/aether/internal/testenv"
)

// refused is whether the server answered with this code.
func refused(err error, code int) bool {
	answer := (*api.ResponseError)(nil)
	return errors.As(err, &answer) && answer.StatusCode == code
}

// What all of the access to OpenBao rests on: a service account logs in as itself and
// reads what its role's policy names, and nothing else.
func TestAServiceAccountReadsItsOwnPathAndNoOther(t *testing.T) {
	e := testenv.Start(t)
	s := openbaotest.Start(t)
	s.TrustCluster(t, e)
	for _, name := range []string{"acme-sync", "globex-sync"} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		if err := e.Client.Create(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	}
	s.Put(t, "acme/db", map[string]any{"password": "of-acme"})
	s.Put(t, "globex/db", map[string]any{"password": "of-globex"})
	s.Write(t, "sys/policies/acl/acme", map[string]any{"policy": `path "secret/data/acme/*" { capabilities = ["read"] }`})
	s.Write(t, "auth/kubernetes/role/acme", map[string]any{
		"bound_service_account_namespaces": "default", "bound_service_account_names": "acme-sync",
		"audience": server.Audience, "token_policies": "acme", "token_ttl": "5m",
	})

	acme, err := s.Login(t, "acme", openbaotest.Token(t, e, "default", "acme-sync", server.Audience))
	if err != nil {
		t.Fatal(err)
	}
	got, err := acme.KVv2(server.Secrets).Get(t.Context(), "acme/db")
	if err != nil || got.Data["password"] != "of-acme" {
		t.Errorf("its own secret: got %v, %v", got, err)
	}
	if _, err := acme.KVv2(server.Secrets).Get(t.Context(), "globex/db"); !refused(err, http.StatusForbidden) {
		t.Errorf("another's secret: got %v, want 403", err)
	}

	for why, token := range map[string]string{
		"a token for another audience": openbaotest.Token(t, e, "default", "acme-sync", "vault"),
		"a token of another account":   openbaotest.Token(t, e, "default", "globex-sync", server.Audience),
		"no token of the cluster":      "nonsense",
	} {
		if _, err := s.Login(t, "acme", token); err == nil {
			t.Errorf("%s logs in", why)
		}
	}

	log := s.AuditLog(t)
	byAcme := func(path string) func(openbaotest.Entry) bool {
		return func(e openbaotest.Entry) bool { return e.Path == path && e.Metadata["role"] == "acme" }
	}
	if !slices.ContainsFunc(openbaotest.Served(log), byAcme("secret/data/acme/db")) {
		t.Error("the audit log does not have what was read")
	}
	if !slices.ContainsFunc(log, byAcme("secret/data/globex/db")) {
		t.Error("the audit log does not have what was tried")
	}
	if slices.ContainsFunc(openbaotest.Served(log), byAcme("secret/data/globex/db")) {
		t.Error("the audit log has what was refused as served")
	}
	for _, entry := range log {
		if strings.Contains(entry.Line, "of-acme") || strings.Contains(entry.Line, s.RootToken) {
			t.Errorf("the audit log has a secret: %s", entry.Line)
		}
	}
}

func TestSecretsOutliveEveryEndOfTheServer(t *testing.T) {
	s := openbaotest.Start(t)
	s.Put(t, "x", map[string]any{"kept": "yes"})
	for name, end := range map[string]func(testing.TB){"stopped": s.Stop, "killed": s.Kill} {
		t.Run(name, func(t *testing.T) {
			end(t)
			if _, err := s.Root.Sys().HealthWithContext(t.Context()); err == nil {
				t.Error("it still answers")
			}
			s.Restart(t)
			got, err := s.Root.KVv2(server.Secrets).Get(t.Context(), "x")
			if err != nil || got.Data["kept"] != "yes" {
				t.Errorf("after a restart: %v, %v", got, err)
			}
		})
	}
	if served := openbaotest.Served(s.AuditLog(t)); !strings.HasSuffix(served[len(served)-1].Path, "data/x") {
		t.Error("the audit log ends before the restarts")
	}
}

func TestASealedServerRefusesUntilItIsUnsealed(t *testing.T) {
	s := openbaotest.Start(t)
	s.Put(t, "x", map[string]any{"kept": "yes"})
	s.Seal(t)
	if _, err := s.Root.KVv2(server.Secrets).Get(t.Context(), "x"); !refused(err, http.StatusServiceUnavailable) {
		t.Errorf("sealed: got %v, want 503", err)
	}
	s.Unseal(t)
	if _, err := s.Root.KVv2(server.Secrets).Get(t.Context(), "x"); err != nil {
		t.Errorf("unsealed: %v", err)
	}
}

// The core would take a request for a namespace of OpenBao for one for the root.
func TestWhatTheServerWouldIgnoreItRefuses(t *testing.T) {
	s := openbaotest.Start(t)
	other := s.Client(t, s.RootToken)
	other.SetNamespace("acme")
	if _, err := other.KVv2(server.Secrets).Get(t.Context(), "x"); !refused(err, http.StatusNotImplemented) {
		t.Errorf("a namespace: got %v, want 501", err)
	}
	if _, err := s.Root.KVv2(server.Secrets).Scan(t.Context(), ""); !refused(err, http.StatusNotImplemented) {
		t.Errorf("a scan: got %v, want 501", err)
	}
	page := map[string][]string{"list": {"true"}, "limit": {"1"}}
	if _, err := s.Root.Logical().ReadWithDataWithContext(t.Context(), "secret/metadata", page); !refused(err, http.StatusNotImplemented) {
		t.Errorf("a page of a list: got %v, want 501", err)
	}
}

func TestTheRootTokenIsOnNoCommandLine(t *testing.T) {
	s := openbaotest.Start(t)
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), s.RootToken) {
			t.Errorf("%s has it", file)
		}
	}
	if said := s.Output(t); strings.Contains(said, s.RootToken) {
		t.Errorf("what the server writes has it:\n%s", said)
	}
}
