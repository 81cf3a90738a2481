package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/go-logr/logr"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	// A cluster need not serve all of Flux's kinds.
	testenv.Main(m, &env, testenv.WithoutCRDs("source.toolkit.fluxcd.io_ocirepositories.yaml"))
}

// stage is a cluster with a fleet repository: the real API server and the real
// controller; the test plays Git and Flux.
type stage struct {
	t         *testing.T
	namespace string
	artifacts *artifacts
	calls     *calls
	stop      func()
	pushes    int
}

// newStage starts the controller in a namespace of the test's own, with a
// TenantSource "fleet" that reads a GitRepository "fleet".
func newStage(t *testing.T, opts ...func(*v1alpha1.TenantSource)) *stage {
	t.Helper()
	s := &stage{t: t, artifacts: newArtifacts(t), calls: &calls{}}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "stage-"}}
	s.must(env.Client.Create(t.Context(), ns))
	s.namespace = ns.Name
	t.Cleanup(s.clear)
	t.Cleanup(s.release())
	s.source("fleet", opts...)
	s.start("")
	return s
}

// source makes a GitRepository and a TenantSource that reads it.
func (s *stage) source(name string, opts ...func(*v1alpha1.TenantSource)) {
	s.t.Helper()
	s.must(env.Client.Create(s.t.Context(), &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec:       sourcev1.GitRepositorySpec{URL: s.artifacts.URL + "/" + name + ".git", Interval: metav1.Duration{Duration: time.Hour}},
	}))
	ts := &v1alpha1.TenantSource{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec:       v1alpha1.TenantSourceSpec{SourceRef: v1alpha1.SourceRef{Kind: "GitRepository", Name: name}},
	}
	for _, opt := range opts {
		opt(ts)
	}
	s.must(env.Client.Create(s.t.Context(), ts))
}

func pruneMax(budget string) func(*v1alpha1.TenantSource) {
	return func(ts *v1alpha1.TenantSource) {
		v := intstr.Parse(budget)
		ts.Spec.Prune.Max = &v
	}
}

// start runs the controller until the test ends or stop is called.
func (s *stage) start(cluster string) {
	s.t.Helper()
	cfg := rest.CopyConfig(env.Config)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return s.calls.count(next) })
	scheme, err := testenv.Scheme() // each process has its own
	s.must(err)
	skip := true
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
	})
	s.must(err)
	s.must(Setup(mgr, Options{Cluster: cluster, Namespace: s.namespace}))
	s.stop = testenv.Run(s.t, mgr)
}

// restart is another process in place of the one that runs.
func (s *stage) restart() {
	s.t.Helper()
	s.stop()
	before := s.reconciles("fleet")
	s.calls.reset()
	s.start("")
	s.eventually(func(context.Context) error {
		if s.reconciles("fleet") == before {
			return errors.New("the new process has not reconciled")
		}
		return nil
	})
}

// clear takes away what the test has left; cluster-scoped objects would be in
// the way of the next.
func (s *stage) clear() {
	ctx := context.Background()
	for _, o := range []client.Object{&v1alpha1.TenantNamespace{}, &v1alpha1.WorkloadCluster{}, &v1alpha1.Tenant{}, &v1alpha1.NamespaceProfile{}, &v1alpha1.TenantException{}} {
		s.must(env.Client.DeleteAllOf(ctx, o))
	}
	var left v1alpha1.TenantNamespaceList
	s.must(env.Client.List(ctx, &left))
	for i := range left.Items {
		s.must(letGo(ctx, &left.Items[i]))
	}
}

// release plays the part of controllers/namespace, which lets go of what is being
// deleted, until it is stopped.
func (s *stage) release() (stop func()) {
	s.t.Helper()
	w, err := env.Client.Watch(context.Background(), &v1alpha1.TenantNamespaceList{})
	s.must(err)
	var done sync.WaitGroup
	done.Go(func() {
		for e := range w.ResultChan() {
			if tn, ok := e.Object.(*v1alpha1.TenantNamespace); ok && tn.DeletionTimestamp != nil {
				_ = letGo(context.Background(), tn) // the test says what it waits for
			}
		}
	})
	return func() {
		w.Stop()
		done.Wait()
	}
}

func letGo(ctx context.Context, tn *v1alpha1.TenantNamespace) error {
	body := []byte(`{"metadata":{"finalizers":null}}`)
	return client.IgnoreNotFound(env.Client.Patch(ctx, tn, client.RawPatch(types.MergePatchType, body)))
}

// files of a fleet by path below tenants/.
type files map[string]string

func (f files) with(more files) files {
	all := maps.Clone(f)
	maps.Copy(all, more)
	return all
}

func (f files) without(names ...string) files {
	rest := maps.Clone(f)
	for _, name := range names {
		delete(rest, name)
	}
	return rest
}

// push makes a new revision of "fleet", as Flux would announce it.
func (s *stage) push(f files) string {
	s.t.Helper()
	s.pushes++
	return s.announce("fleet", fmt.Sprintf("main@sha1:%040d", s.pushes), f)
}

func (s *stage) announce(name, revision string, f files) string {
	s.t.Helper()
	body := archive(s.t, f)
	digest := digestOfBytes(body)
	s.artifacts.set(digest, body)
	s.announceArtifact(name, revision, digest)
	return revision
}

func (s *stage) announceArtifact(name, revision, digest string) {
	s.t.Helper()
	s.announceIn(s.namespace, name, revision, digest)
}

func (s *stage) announceIn(namespace, name, revision, digest string) {
	s.t.Helper()
	repository := &sourcev1.GitRepository{}
	s.must(env.Client.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, repository))
	repository.Status.Artifact = &meta.Artifact{
		Digest: digest, Revision: revision, Path: name, URL: s.artifacts.URL + "/" + digest, LastUpdateTime: metav1.Now(),
	}
	s.must(env.Client.Status().Update(s.t.Context(), repository))
}

// ready waits until a TenantSource has applied a revision.
func (s *stage) ready(revision string) *v1alpha1.TenantSource {
	s.t.Helper()
	return s.until("fleet", revision, metav1.ConditionTrue, v1alpha1.ReasonReconciled)
}

// failing waits until the reason is why it is not ready at a revision.
func (s *stage) failing(revision, reason string) *v1alpha1.TenantSource {
	s.t.Helper()
	return s.until("fleet", revision, metav1.ConditionFalse, reason)
}

func (s *stage) until(name, revision string, status metav1.ConditionStatus, reason string) *v1alpha1.TenantSource {
	s.t.Helper()
	ts := &v1alpha1.TenantSource{}
	s.eventually(func(ctx context.Context) error {
		if err := env.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, ts); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(ts.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Status != status || c.Reason != reason || ts.Status.LastAttemptedRevision != revision || c.ObservedGeneration != ts.Generation {
			return fmt.Errorf("at %q, want %q %s %s, have %+v", ts.Status.LastAttemptedRevision, revision, status, reason, c)
		}
		return nil
	})
	return ts
}

// has waits until an object is as the check wants it.
func has[O client.Object](s *stage, o O, name string, check func(O) error) O {
	s.t.Helper()
	s.eventually(func(ctx context.Context) error {
		if err := env.Client.Get(ctx, client.ObjectKey{Name: name}, o); err != nil {
			return err
		}
		return check(o)
	})
	return o
}

// namespaceOf is the TenantNamespace of a name; it must exist.
func (s *stage) namespaceOf(name string) *v1alpha1.TenantNamespace {
	s.t.Helper()
	o := &v1alpha1.TenantNamespace{}
	s.must(env.Client.Get(s.t.Context(), client.ObjectKey{Name: name}, o))
	return o
}

// versions are the resource versions of everything that comes from Git, by name:
// equal versions mean that nothing was written.
func (s *stage) versions() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	for _, list := range []client.ObjectList{&v1alpha1.TenantList{}, &v1alpha1.TenantNamespaceList{}, &v1alpha1.WorkloadClusterList{}, &v1alpha1.NamespaceProfileList{}, &v1alpha1.TenantExceptionList{}} {
		s.must(env.Client.List(s.t.Context(), list))
		s.must(apimeta.EachListItem(list, eachObject(func(o client.Object) { found[keyOf(o).String()] = o.GetResourceVersion() })))
	}
	return found
}

func (s *stage) reconciles(name string) uint64 {
	s.t.Helper()
	var m dto.Metric
	s.must(reconcileSeconds.WithLabelValues(s.namespace + "." + name).(interface{ Write(*dto.Metric) error }).Write(&m))
	return m.GetHistogram().GetSampleCount()
}

// notReady are the reasons that the metrics give for a TenantSource.
func (s *stage) notReady(name string) []string {
	s.t.Helper()
	families, err := metrics.Registry.Gather()
	s.must(err)
	var reasons []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range m.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			if family.GetName() == "aether_source_not_ready" && labels["source"] == s.namespace+"."+name {
				reasons = append(reasons, labels["reason"])
			}
		}
	}
	return reasons
}

// saysNotReady holds the metrics of the TenantSource to these reasons.
func (s *stage) saysNotReady(want ...string) {
	s.t.Helper()
	if got := s.notReady("fleet"); !slices.Equal(got, want) {
		s.t.Errorf("the metrics say %v, want %v", got, want)
	}
}

func (s *stage) eventually(check func(ctx context.Context) error) {
	s.t.Helper()
	testenv.Eventually(s.t, check)
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// artifacts is source-controller's file server, and a Git server beside it.
type artifacts struct {
	*httptest.Server
	root string

	mu     sync.Mutex
	bodies map[string][]byte
	served map[string]int
}

func newArtifacts(t *testing.T) *artifacts {
	a := &artifacts{root: t.TempDir(), bodies: map[string][]byte{}, served: map[string]int{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *artifacts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, ".git/") {
		a.git(w, r)
		return
	}
	a.mu.Lock()
	digest := strings.TrimPrefix(r.URL.Path, "/")
	body, ok := a.bodies[digest]
	a.served[digest]++
	a.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Write(body)
}

func (a *artifacts) set(digest string, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bodies[digest] = body
}

// git serves the repositories below root with Git's own program.
func (a *artifacts) git(w http.ResponseWriter, r *http.Request) {
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + a.root, "GIT_HTTP_EXPORT_ALL=1"},
	}).ServeHTTP(w, r)
}

// commit makes a commit with a message in the repository "fleet.git" and returns
// its revision as Flux writes it.
func (a *artifacts) commit(t *testing.T, message string) string {
	t.Helper()
	dir := filepath.Join(a.root, "fleet.git")
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(dir); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		git("init", "-q", "-b", "main")
	}
	git("commit", "-q", "--allow-empty", "-m", message)
	return "main@sha1:" + git("rev-parse", "HEAD")
}

// calls counts what the controller asks of the API server; watches, and the
// lists that begin them, aside.
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) count(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		informer := r.Method == http.MethodGet && (r.URL.Query().Get("watch") != "" || r.URL.Query().Get("resourceVersion") != "")
		discovery := r.Method == http.MethodGet && !strings.Contains(r.URL.Path, "/namespaces/") && strings.Count(r.URL.Path, "/") <= 3
		if !informer && !discovery {
			c.mu.Lock()
			c.list = append(c.list, r.Method+" "+r.URL.Path)
			c.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

func (c *calls) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = nil
}

// made are the calls since reset, events aside: they are posted behind our back.
func (c *calls) made() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.list), func(call string) bool { return strings.Contains(call, "/events") })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// archive is an artifact with files below tenants/.
func archive(t *testing.T, f files) []byte {
	t.Helper()
	return archiveBelow(t, "tenants/", f)
}

func archiveBelow(t *testing.T, dir string, f files) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if err := tw.WriteHeader(&tar.Header{Name: dir + name, Mode: 0o644, Size: int64(len(f[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(f[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func digestOfBytes(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
