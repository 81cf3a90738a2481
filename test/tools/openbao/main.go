// Command openbao is a server with OpenBao's API, for tests and the local platform:
// the core of Vault 1.14, the last under the licence and of the line that OpenBao
// comes from (MPL-2.0), with what Aether talks to. OpenBao's own server is not
// published as a module that can be required.
//
// It has KV, Kubernetes, JWT, AppRole and userpass authentication, and the file audit
// device. What OpenBao has since added, it would ignore: namespaces would silently
// all be the root. It answers 501 to those rather than mislead a test.
//
// Started on an empty folder it makes itself ready: it keeps the key that it unseals
// itself with beside its data. That makes it worth nothing as a safe.
package main

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	auditfile "github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// What the server can mount and enable.
var (
	secretEngines = map[string]logical.Factory{"kv": kv.Factory}
	authMethods   = map[string]logical.Factory{
		"kubernetes": kubernetes.Factory,
		"jwt":        jwt.Factory,
		"oidc":       jwt.Factory,
		"approle":    approle.Factory,
		"userpass":   userpass.Factory,
	}
	auditDevices = map[string]audit.Factory{"file": auditfile.Factory}
)

type options struct {
	listen        string
	data          string
	rootTokenFile string
	tlsCert       string
	tlsKey        string
	auditFile     string
	manualInit    bool
	logLevel      string
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8200", "address to serve at")
	flag.StringVar(&o.data, "data", "", "folder to keep everything in, with the key to it (default: memory)")
	flag.StringVar(&o.rootTokenFile, "root-token-file", "", "file with the root token to have from the first start on")
	flag.StringVar(&o.tlsCert, "tls-cert", "", "file with the certificate to serve with (default: none, and no TLS)")
	flag.StringVar(&o.tlsKey, "tls-key", "", "file with its key")
	flag.StringVar(&o.auditFile, "audit-file", "", "file to log every request to, from the first start on")
	flag.BoolVar(&o.manualInit, "manual-init", false, "leave initialising and unsealing to a client")
	flag.StringVar(&o.logLevel, "log-level", "warn", "trace, debug, info, warn or error")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "openbao:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if o.manualInit && (o.rootTokenFile != "" || o.auditFile != "") {
		return errors.New("-manual-init leaves the root token and the audit device to the client as well: leave -root-token-file and -audit-file out")
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "openbao", Level: hclog.LevelFromString(o.logLevel), Output: os.Stderr})
	core, err := newCore(o, log)
	if err != nil {
		return fmt.Errorf("cannot make the core: %w", err)
	}
	defer func() { _ = core.Shutdown() }()
	if !o.manualInit {
		if err := open(ctx, core, o); err != nil {
			return err
		}
	}
	return serve(ctx, core, o)
}

func newCore(o options, log hclog.Logger) (*vault.Core, error) {
	storage, kind, err := newStorage(o.data, log)
	if err != nil {
		return nil, err
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		StorageType:        kind,
		Logger:             log,
		LogicalBackends:    secretEngines,
		CredentialBackends: authMethods,
		AuditBackends:      auditDevices,
		BuiltinRegistry:    registry{},
		DisableMlock:       true, // needs a right that tests do not have
		DisableSSCTokens:   true, // OpenBao has none
	})
}

func newStorage(data string, log hclog.Logger) (storage physical.Backend, kind string, err error) {
	if data == "" {
		storage, err = inmem.NewInmem(nil, log)
		return storage, "inmem", err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, "", err
	}
	storage, err = file.NewFileBackend(map[string]string{"path": filepath.Join(data, "storage")}, log)
	return storage, "file", err
}

// open initialises the server unless it is, and unseals it.
func open(ctx context.Context, core *vault.Core, o options) error {
	ctx = namespace.RootContext(ctx)
	initialized, err := core.Initialized(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the storage: %w", err)
	}
	if !initialized {
		return initialize(ctx, core, o)
	}
	text, err := os.ReadFile(o.keyFile())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no key: if a client initialised it, use -manual-init; if a first start was interrupted, remove it", o.data)
	}
	if err != nil {
		return err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", o.keyFile(), err)
	}
	if _, err := core.Unseal(key); err != nil {
		return fmt.Errorf("cannot unseal: %w", err)
	}
	return nil
}

func (o options) keyFile() string { return filepath.Join(o.data, "unseal-key") }

// initialize makes the key, the root token and the audit device. The key is written
// down last, so that an interrupted start is not taken for a whole one.
func initialize(ctx context.Context, core *vault.Core, o options) error {
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}})
	if err != nil {
		return fmt.Errorf("cannot initialise: %w", err)
	}
	key := made.SecretShares[0]
	stored := slices.Clone(key) // Unseal wipes what it is given
	if _, err := core.Unseal(key); err != nil {
		return fmt.Errorf("cannot unseal: %w", err)
	}
	do := func(path string, data map[string]any) error {
		answer, err := core.HandleRequest(ctx, &logical.Request{
			Operation: logical.UpdateOperation, ClientToken: made.RootToken, Path: path, Data: data,
		})
		if err == nil && answer.IsError() {
			err = answer.Error()
		}
		if err != nil {
			return fmt.Errorf("cannot do %s: %w", path, err)
		}
		return nil
	}
	if o.auditFile != "" {
		err := do("sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": o.auditFile}})
		if err != nil {
			return err
		}
	}
	if o.rootTokenFile != "" {
		token, err := os.ReadFile(o.rootTokenFile)
		if err != nil {
			return err
		}
		if err := do("auth/token/create", map[string]any{
			"id": strings.TrimSpace(string(token)), "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
		}); err != nil {
			return err
		}
	}
	if err := do("auth/token/revoke-self", nil); err != nil { // nobody knows it
		return err
	}
	if o.data == "" {
		return nil
	}
	return os.WriteFile(o.keyFile(), []byte(hex.EncodeToString(stored)+"\n"), 0o600)
}

// Limits on a client that does not end its request, or an answer to be sent when the
// server is asked to end.
const (
	headerTimeout = 10 * time.Second
	endTimeout    = 2 * time.Second
)

func serve(ctx context.Context, core *vault.Core, o options) error {
	server := &http.Server{
		Handler: withoutTheUnknown(vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Type: "tcp", Address: o.listen},
		})),
		ReadHeaderTimeout: headerTimeout,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12},
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() {
		if o.tlsCert == "" {
			served <- server.Serve(listener)
			return
		}
		served <- server.ServeTLS(listener, o.tlsCert, o.tlsKey)
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return server.Close()
	}
	return nil
}

// withoutTheUnknown answers 501 to what OpenBao has and this core does not know of,
// and would therefore ignore.
func withoutTheUnknown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		unknown := ""
		switch {
		case r.Header.Get("X-Vault-Namespace") != "":
			unknown = "namespaces"
		case r.Method == "SCAN" || query.Has("scan"):
			unknown = "SCAN"
		case query.Has("after") || query.Has("limit"):
			unknown = "lists in pages"
		}
		if unknown == "" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = fmt.Fprintf(w, `{"errors":["this server, for tests, has no %s"]}`+"\n", unknown)
	})
}

// registry tells the core what is built in.
type registry struct{}

func (registry) factories(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeCredential:
		return authMethods
	case consts.PluginTypeSecrets:
		return secretEngines
	default:
		return nil
	}
}

// Contains implements vault.BuiltinRegistry, as do the others.
func (r registry) Contains(name string, kind consts.PluginType) bool {
	return r.factories(kind)[name] != nil
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory := r.factories(kind)[name]
	return func() (any, error) { return factory, nil }, factory != nil
}

func (r registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range r.factories(kind) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
