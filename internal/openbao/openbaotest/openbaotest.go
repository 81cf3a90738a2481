// Package openbaotest gives tests a server with OpenBao's API: the program that
// `make tools` built into bin/openbao (Vault 1.14 core), with TLS, KV version 2 at
// `secret` and an audit log that a test can read. It has no namespaces of OpenBao.
//
// It can be killed, stopped, sealed and started again on the same data and port, for
// tests of what happens then.
package openbaotest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openbao/openbao/api/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"

	"github.com/aetherplatform/aether/internal/openbao/server"
	"github.com/aetherplatform/aether/internal/testenv"
)

// Server is one that was started for a test.
type Server struct {
	// Address is its URL.
	Address string
	// CA is what it is trusted by, as PEM, and CAFile a file with that.
	CA     []byte
	CAFile string
	// RootToken may do everything, and RootTokenFile holds it.
	RootToken     string
	RootTokenFile string
	// Root is a client with it, which tries nothing twice.
	Root *api.Client

	options server.Options
	output  string // file that it writes what it says to
	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := prepare(t.TempDir())
	if err != nil {
		t.Fatalf("cannot prepare a server: %v", err)
	}
	t.Cleanup(func() {
		s.end(syscall.SIGKILL) // nobody reads the data again
		if t.Failed() {
			said := s.Output(t)
			t.Logf("the end of what openbao wrote:\n%s", said[max(0, len(said)-outputTail):])
		}
	})
	s.Restart(t)
	if err := server.MountSecrets(t.Context(), s.Root); err != nil {
		t.Fatal(err)
	}
	return s
}

// outputTail is how much of what it wrote is shown when a test fails, in bytes.
const outputTail = 8 << 10

// prepare writes what the server is started with.
func prepare(dir string) (*Server, error) {
	// The certificate is followed by the CA that signed it.
	pair, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, []string{"localhost"})
	if err != nil {
		return nil, err
	}
	_, ca := pem.Decode(pair)
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	s := &Server{
		Address: "https://" + port, CA: ca, CAFile: in("ca.crt"), RootToken: rand.Text(), RootTokenFile: in("root-token"),
		output: in("openbao.log"),
		options: server.Options{
			Listen: port, Data: in("data"), RootTokenFile: in("root-token"),
			Certificate: in("tls.crt"), Key: in("tls.key"), AuditLog: in("audit.log"),
		},
	}
	if s.Root, err = server.NewClient(s.Address, s.CA, s.RootToken); err != nil {
		return nil, err
	}
	return s, errors.Join(
		os.WriteFile(s.CAFile, ca, 0o600),
		os.WriteFile(s.RootTokenFile, []byte(s.RootToken+"\n"), 0o600),
		os.WriteFile(s.options.Certificate, pair, 0o600),
		os.WriteFile(s.options.Key, key, 0o600),
	)
}

// freePort is an address that nobody listens at now. Its port is not of those that
// systems give to outgoing connections: it must still be free after a restart.
func freePort() (string, error) {
	const first, last, tries = 30000, 32767, 100
	var failed error
	for range tries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+mathrand.IntN(last-first)))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return address, listener.Close()
		}
		failed = err
	}
	return "", failed
}

// Client returns a client with another token; none if it is empty.
func (s *Server) Client(t testing.TB, token string) *api.Client {
	t.Helper()
	c, err := server.NewClient(s.Address, s.CA, token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TrustCluster lets service accounts of an API server log in, by roles that the test
// makes at auth/kubernetes.
func (s *Server) TrustCluster(t testing.TB, e *testenv.Env) {
	t.Helper()
	err := server.TrustCluster(t.Context(), s.Root, server.Cluster{Host: e.Config.Host, CA: e.Config.CAData, Client: e.Client})
	if err != nil {
		t.Fatal(err)
	}
}

// AdmitOperator lets the namespace operator in, after TrustCluster.
func (s *Server) AdmitOperator(t testing.TB) {
	t.Helper()
	if err := server.AdmitOperator(t.Context(), s.Root); err != nil {
		t.Fatal(err)
	}
}

// Credential is a credential that a text holds, or one of more words that it must not
// hold; "" where there is none. It knows the root token, OpenBao's tokens and JWTs.
func (s *Server) Credential(text string, more ...string) string {
	return Credential(text, append(more, s.RootToken)...)
}

// Credential is the first word that a text holds of those it must not: a token of
// OpenBao's, a JWT, or one of more; "" where it holds none.
func Credential(text string, more ...string) string {
	for _, word := range append([]string{"hvs.", "hvb.", "eyJhbGciOi"}, more...) {
		for _, written := range []string{word, base64.StdEncoding.EncodeToString([]byte(word))} {
			if i := strings.Index(text, written); i >= 0 {
				return fmt.Sprintf("%q: …%s…", written, text[max(0, i-120):min(len(text), i+len(written)+20)])
			}
		}
	}
	return ""
}

// Token is a token of a service account, for an audience such as server.Audience.
func Token(t testing.TB, e *testenv.Env, namespace, account, audience string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	of := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := e.Client.SubResource("token").Create(t.Context(), of, request); err != nil {
		t.Fatalf("cannot make a token for ServiceAccount %s/%s: %v", namespace, account, err)
	}
	return request.Status.Token
}

// Login logs in by a role of auth/kubernetes, and returns a client with the token that
// comes of it.
func (s *Server) Login(t testing.TB, role, serviceAccountToken string) (*api.Client, error) {
	t.Helper()
	c := s.Client(t, "")
	answer, err := c.Logical().WriteWithContext(t.Context(), "auth/"+server.Auth+"/login",
		map[string]any{"role": role, "jwt": serviceAccountToken})
	if err != nil {
		return nil, err
	}
	c.SetToken(answer.Auth.ClientToken)
	return c, nil
}

// Put writes a secret below the mount `secret` and returns its version.
func (s *Server) Put(t testing.TB, path string, data map[string]any) int {
	t.Helper()
	put, err := s.Root.KVv2(server.Secrets).Put(t.Context(), path, data)
	if err != nil {
		t.Fatalf("cannot write %s: %v", path, err)
	}
	return put.VersionMetadata.Version
}

// Write writes to any path as root, such as sys/policies/acl/NAME.
func (s *Server) Write(t testing.TB, path string, data map[string]any) {
	t.Helper()
	if _, err := s.Root.Logical().WriteWithContext(t.Context(), path, data); err != nil {
		t.Fatalf("cannot write %s: %v", path, err)
	}
}

// An Entry of the audit log. A request that the server let through has two, of which
// the second, the response, has no Error.
type Entry struct {
	// Line is the entry as the server wrote it, with values hashed.
	Line string
	// Type is "request" or "response".
	Type string
	// Operation such as "read", and Path without "/v1/".
	Operation, Path string
	// Error is why it was refused, or failed.
	Error string
	// Metadata says who it was, for tokens that come of a login: "role",
	// "service_account_namespace" and others.
	Metadata map[string]string
}

// AuditLog is every request so far and every response, in order. An entry is written
// before the server answers.
func (s *Server) AuditLog(t testing.TB) []Entry {
	t.Helper()
	data, err := os.ReadFile(s.options.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for line := range strings.Lines(string(data)) {
		var read struct {
			Type string `json:"type"`
			Auth struct {
				Metadata map[string]string `json:"metadata"`
			} `json:"auth"`
			Request struct {
				Operation string `json:"operation"`
				Path      string `json:"path"`
			} `json:"request"`
			Error string `json:"error"`
		}
		if err := json.Unmarshal([]byte(line), &read); err != nil {
			t.Fatalf("cannot read the audit log: %v\n%s", err, line)
		}
		entries = append(entries, Entry{
			Line: strings.TrimSuffix(line, "\n"), Type: read.Type, Operation: read.Request.Operation, Path: read.Request.Path,
			Error: read.Error, Metadata: read.Auth.Metadata,
		})
	}
	return entries
}

// Served are the entries of requests that the server let through.
func Served(entries []Entry) []Entry {
	var served []Entry
	for _, entry := range entries {
		if entry.Type == "response" && entry.Error == "" {
			served = append(served, entry)
		}
	}
	return served
}

// Output is everything that the server wrote on its own, over all its starts.
func (s *Server) Output(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(s.output)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Stop ends the server as its administrator would.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.end(syscall.SIGTERM)
}

// Kill ends the server as a power cut would.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end(syscall.SIGKILL)
}

// Restart starts the server, after ending it if it runs, and returns when it is
// unsealed and serves.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.end(syscall.SIGTERM)
	output, err := os.OpenFile(s.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = output.Close() }()
	s.process = testenv.Command(server.Program, s.options.Args()...)
	s.process.Env = []string{"HOME=" + filepath.Dir(s.output)}
	s.process.Stdout, s.process.Stderr = output, output
	if err := s.process.Start(); err != nil {
		t.Fatalf("cannot start openbao: %v: is it built? `make tools`", err)
	}
	process, ended := s.process, make(chan struct{})
	s.ended = ended
	go func() {
		_ = process.Wait()
		close(ended)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := server.AwaitHealth(ctx, s.Root, s.runs); err != nil {
		t.Fatal(err)
	}
}

// startTimeout is generous: a busy machine of two cores runs everything at once.
const startTimeout = time.Minute

func (s *Server) runs() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// end returns when the process has ended; at once if none runs.
func (s *Server) end(signal syscall.Signal) {
	if !s.runs() {
		return
	}
	_ = s.process.Process.Signal(signal) // gone in between: as wanted
	<-s.ended
}

// Seal makes the server refuse everything until Unseal.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	if err := s.Root.Sys().SealWithContext(t.Context()); err != nil {
		t.Fatalf("cannot seal: %v", err)
	}
}

// Unseal opens a sealed server again.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(s.options.Data, "unseal-key"))
	if err != nil {
		t.Fatal(err)
	}
	status, err := s.Root.Sys().UnsealWithContext(t.Context(), strings.TrimSpace(string(key)))
	if err == nil && status.Sealed {
		err = errors.New("it stays sealed")
	}
	if err != nil {
		t.Fatalf("cannot unseal: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := server.AwaitHealth(ctx, s.Root, s.runs); err != nil {
		t.Fatal(err)
	}
}
