package secret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	sigsyaml "sigs.k8s.io/yaml"

	"log/slog"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/controllers/namespace"
	"github.com/aetherplatform/aether/controllers/secret"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
	"github.com/aetherplatform/aether/internal/openbao/server"
	"github.com/aetherplatform/aether/internal/testenv"
)

// canary is in every value that the tests write, and must be nowhere but in Secrets.
const canary = "c4n4ry"

const operatorUser = "system:serviceaccount:aether-system:namespace-operator"

// world is a cluster with Aether in it, and an OpenBao.
type world struct {
	*testenv.Env
	bao *openbaotest.Server
	// git writes what comes from Git, as the operator does.
	git client.WithWatch
	// log is what the operator said, and wire what it wrote.
	log  *testenv.Log
	wire *wire
}

// start makes a world with the profile default and the tenants acme and globex.
func start(t *testing.T) *world {
	t.Helper()
	w := &world{Env: testenv.Start(t), bao: openbaotest.Start(t), log: &testenv.Log{}, wire: &wire{}}
	w.StartControllerManager(t)
	w.bao.TrustCluster(t, w.Env)
	w.bao.AdmitOperator(t)
	w.Install(t)
	t.Cleanup(func() { w.explain(t) })
	w.git = w.ClientAs(t, operatorUser, "system:masters") // policies refuse everyone else
	for _, text := range []string{
		`{apiVersion: aetherplatform.cloud/v1alpha1, kind: NamespaceProfile, metadata: {name: default}, spec: {base: {path: profiles/default}, sizes: {small: {quota: {pods: "20"}}, few: {quota: {count/secretsyncs.aetherplatform.cloud: "2"}}}, openBao: {generate: true}}}`,
		`{apiVersion: aetherplatform.cloud/v1alpha1, kind: Tenant, metadata: {name: acme}, spec: {namespaces: {max: 100}}}`,
		`{apiVersion: aetherplatform.cloud/v1alpha1, kind: Tenant, metadata: {name: globex}, spec: {}}`,
	} {
		w.create(t, text)
	}
	return w
}

// explain tells what a failed test would like to know.
func (w *world) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	var namespaces v1alpha1.TenantNamespaceList
	var syncs v1alpha1.SecretSyncList
	ctx := context.Background()
	if err := errors.Join(w.Client.List(ctx, &namespaces), w.Client.List(ctx, &syncs)); err != nil {
		t.Log(err)
	}
	for _, tn := range namespaces.Items {
		t.Logf("TenantNamespace %s: %+v", tn.Name, tn.Status.Conditions)
	}
	for _, ss := range syncs.Items {
		t.Logf("SecretSync %s/%s: %+v", ss.Namespace, ss.Name, ss.Status)
	}
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, `"error"`) || strings.Contains(line, `"ERROR"`) {
			t.Log(line)
		}
	}
}

// operate runs the operator's controllers, with its identity and rights, until stopped.
func (w *world) operate(t *testing.T, change ...func(*secret.Options)) (stop func()) {
	t.Helper()
	cfg := rest.CopyConfig(w.As(t, operatorUser, "system:serviceaccounts", "system:serviceaccounts:"+v1alpha1.SystemNamespace, "system:authenticated"))
	cfg.QPS = -1
	cfg.Wrap(w.wire.over)
	skip := true
	log := logr.FromSlogHandler(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: w.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
		Cache: cache.Options{DefaultTransform: cache.TransformStripManagedFields()}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	opts := secret.Options{
		Connection:    openbao.Connection{Address: w.bao.Address, CA: string(w.bao.CA), AuthMount: server.Auth},
		CheckInterval: 2 * time.Second,
	}
	for _, c := range change {
		c(&opts)
	}
	if err := errors.Join(namespace.Setup(mgr, namespace.Options{}), secret.Setup(t.Context(), mgr, opts)); err != nil {
		t.Fatal(err)
	}
	return testenv.Run(t, mgr)
}

// create makes an object as Git would.
func (w *world) create(t testing.TB, text string) {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := sigsyaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	if err := w.git.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// namespaceOf makes a TenantNamespace with secrets, in YAML.
func (w *world) namespaceOf(t testing.TB, name, secrets string) {
	t.Helper()
	owner, _, _ := strings.Cut(name, "-")
	w.create(t, fmt.Sprintf(`{apiVersion: aetherplatform.cloud/v1alpha1, kind: TenantNamespace, metadata: {name: %s, finalizers: [aetherplatform.cloud/namespace]}, spec: {tenant: %s, size: small, secrets: [%s]}}`, name, owner, secrets))
}

// change changes an object as Git would.
func change[T client.Object](t testing.TB, w *world, o T, namespace, name string, do func(T)) {
	t.Helper()
	testenv.Eventually(t, func(ctx context.Context) error {
		if err := w.git.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
			return err
		}
		do(o)
		return w.git.Update(ctx, o)
	})
}

// syncs is the SecretSync of a name, as soon as its Ready has a reason.
func (w *world) says(t testing.TB, namespace, name, reason, message string) *v1alpha1.SecretSync {
	t.Helper()
	ss := &v1alpha1.SecretSync{}
	w.eventually(t, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, ss); err != nil {
			return err
		}
		c := meta.FindStatusCondition(ss.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || ss.Status.ObservedGeneration != ss.Generation || c.Reason != reason || !strings.Contains(c.Message, message) {
			return fmt.Errorf("SecretSync %s says %+v, want %s: %s", name, c, reason, message)
		}
		return nil
	})
	return ss
}

// holds waits for a Secret that holds just these.
func (w *world) holds(t testing.TB, namespace, name string, want map[string]string) *corev1.Secret {
	t.Helper()
	o := &corev1.Secret{}
	w.eventually(t, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
			return err
		}
		if len(o.Data) != len(want) {
			return fmt.Errorf("Secret %s has %d keys, want %d", name, len(o.Data), len(want))
		}
		for key, value := range want {
			if string(o.Data[key]) != value {
				return fmt.Errorf("Secret %s holds %q at %s, want %q", name, o.Data[key], key, value)
			}
		}
		return nil
	})
	return o
}

// gone waits for an object not to be there.
func (w *world) gone(t testing.TB, o client.Object, namespace, name string) {
	t.Helper()
	w.eventually(t, func(ctx context.Context) error {
		err := w.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("%T %s is still there: %w", o, name, err)
	})
}

// ask has OpenBao asked at once.
func (w *world) ask(t testing.TB, namespace, name string) {
	t.Helper()
	change(t, w, &v1alpha1.SecretSync{}, namespace, name, func(ss *v1alpha1.SecretSync) {
		if ss.Annotations == nil {
			ss.Annotations = map[string]string{}
		}
		ss.Annotations["reconcile.fluxcd.io/requestedAt"] = time.Now().String()
	})
}

func (w *world) eventually(t testing.TB, check func(ctx context.Context) error) {
	t.Helper()
	var last error
	testenv.Eventually(t, func(ctx context.Context) error {
		err := check(ctx)
		if ctx.Err() != nil {
			return last
		}
		last = err
		return err
	})
}

// wire is what a process writes to the API server.
type wire struct {
	mu   sync.Mutex
	sent []string
	// bodies of all but Secrets.
	bodies bytes.Buffer
}

// writes are those since the last call.
func (w *wire) writes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

func (w *wire) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodGet {
			return next.RoundTrip(req)
		}
		var body []byte
		if req.Body != nil {
			var err error
			if body, err = io.ReadAll(req.Body); err != nil {
				return nil, err
			}
			req.Body = io.NopCloser(bytes.NewReader(body))
		}
		w.mu.Lock()
		w.sent = append(w.sent, req.Method+" "+req.URL.Path)
		if !strings.HasSuffix(req.URL.Path, "/secrets") && !strings.Contains(req.URL.Path, "/secrets/") {
			w.bodies.Write(body)
			w.bodies.WriteByte('\n')
		}
		w.mu.Unlock()
		return next.RoundTrip(req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
