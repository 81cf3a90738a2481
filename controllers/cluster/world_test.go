package cluster

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/testenv"
)

// world is an API server with cert-manager and the cluster controller. No kubelet runs
// Pods here: the test says what became of them, and what API servers answer. On a real
// node the like is proved with real Pods by test/node.
type world struct {
	*testing.T
	*testenv.Env
	wire    *wire
	members *members
	// git is who writes down what comes from it.
	git  client.Client
	stop func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel() // a test waits more than it works, and has all for itself
	w := &world{T: t, Env: testenv.Start(t), wire: &wire{}, members: &members{}}
	w.members.client = w.Client
	if err := AddToScheme(w.Scheme); err != nil {
		t.Fatal(err)
	}
	w.Install(t)
	w.git = w.ClientAs(t, "system:serviceaccount:"+v1alpha1.SystemNamespace+":namespace-operator", "system:serviceaccounts")
	return w
}

// withCertManager installs cert-manager and runs it.
func (w *world) withCertManager() {
	w.Helper()
	crds := filepath.Join(testenv.Root(), "bin", "cert-manager-crds")
	if _, err := envtest.InstallCRDs(w.Config, envtest.CRDInstallOptions{Paths: []string{crds}}); err != nil {
		w.Fatal(err)
	}
	w.Env.Run(w.T, "cert-manager", nil, "--kubeconfig="+w.Kubeconfig(w.T, "cert-manager"))
}

// operate runs the controller, with the rights it has in a cluster and no others.
func (w *world) operate() {
	w.Helper()
	cfg := w.As(w.T, "system:serviceaccount:"+controlplane.SystemNamespace+":"+controlplane.ServiceAccount, "system:serviceaccounts")
	cfg.Wrap(w.wire.over)
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: w.Scheme, Cache: CacheOptions(), Client: ClientOptions(),
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		w.Fatal(err)
	}
	applier, err := apply.New(mgr.GetConfig(), mgr.GetRESTMapper(), fieldOwner)
	if err != nil {
		w.Fatal(err)
	}
	r := &Reconciler{
		Client: mgr.GetClient(), reader: mgr.GetAPIReader(), applier: applier, recorder: mgr.GetEventRecorder("aether-cluster"),
		now: time.Now, reach: w.members.reach,
	}
	if err := errors.Join(r.setup(mgr, 4), setupWorkloads(mgr, applier)); err != nil {
		w.Fatal(err)
	}
	w.stop = testenv.Run(w.T, mgr)
}

// run is a subtest: what it does fails it, and not the test around it.
func (w *world) run(name string, do func(*world)) {
	w.Helper()
	w.T.Run(name, func(t *testing.T) {
		part := *w
		part.T = t
		do(&part)
	})
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.Client.Create(w.Context(), o); err != nil {
		w.Fatalf("cannot create %T %s: %v", o, o.GetName(), err)
	}
}

// asks for a control plane, in a namespace of its own.
func (w *world) asks(name string, change ...func(*cpv1.AetherControlPlane)) *cpv1.AetherControlPlane {
	w.Helper()
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOf(name), Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}})
	cp := &cpv1.AetherControlPlane{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name},
		Spec:       cpv1.AetherControlPlaneSpec{Version: "v1.36.3", Etcd: cpv1.EtcdSpec{Replicas: 1, Storage: ptr.To(resource.MustParse("1Gi"))}},
	}
	for _, do := range change {
		do(cp)
	}
	w.create(cp)
	return cp
}

func namespaceOf(name string) string { return "aether-cluster-" + name }

func (w *world) controlPlane(ctx context.Context, name string) (*cpv1.AetherControlPlane, error) {
	cp := &cpv1.AetherControlPlane{}
	return cp, w.Client.Get(ctx, client.ObjectKey{Namespace: namespaceOf(name), Name: name}, cp)
}

// changes a control plane, and returns what the API server says of it.
func (w *world) changes(name string, do func(*cpv1.AetherControlPlane)) error {
	w.Helper()
	cp, err := w.controlPlane(w.Context(), name)
	if err != nil {
		return err
	}
	before := cp.DeepCopy()
	do(cp)
	return w.Client.Patch(w.Context(), cp, client.MergeFrom(before))
}

// says waits until a condition has a status and a message that begins so.
func (w *world) says(name, condition string, is metav1.ConditionStatus, message string) *cpv1.AetherControlPlane {
	w.Helper()
	var cp *cpv1.AetherControlPlane
	testenv.Eventually(w.T, func(ctx context.Context) (err error) {
		if cp, err = w.controlPlane(ctx, name); err != nil {
			return err
		}
		c := meta.FindStatusCondition(cp.Status.Conditions, condition)
		if c == nil || c.Status != is || !strings.HasPrefix(c.Message, message) {
			return fmt.Errorf("%s is %+v, want %s: %s", condition, c, is, message)
		}
		return nil
	})
	return cp
}

// there waits until an object is there, and reads it.
func (w *world) there(o client.Object) {
	w.Helper()
	testenv.Eventually(w.T, func(ctx context.Context) error { return w.Client.Get(ctx, client.ObjectKeyFromObject(o), o) })
}

// missing fails if an object is there.
func (w *world) missing(o client.Object) {
	w.Helper()
	if err := testenv.Gone(w.Client.Get(w.Context(), client.ObjectKeyFromObject(o), o)); err != nil {
		w.Errorf("%T %s: %v", o, o.GetName(), err)
	}
}

// runs says of a Deployment or of a StatefulSet that its Pods are ready, as the
// controller manager would.
func (w *world) runs(o client.Object) {
	w.Helper()
	testenv.Eventually(w.T, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		runsNow(o)
		return w.Client.Status().Update(ctx, o)
	})
}

func runsNow(o client.Object) {
	switch o := o.(type) {
	case *appsv1.StatefulSet:
		n := *o.Spec.Replicas
		o.Status = appsv1.StatefulSetStatus{ObservedGeneration: o.Generation, Replicas: n, ReadyReplicas: n, AvailableReplicas: n, UpdatedReplicas: n}
	case *appsv1.Deployment:
		n := *o.Spec.Replicas
		o.Status = appsv1.DeploymentStatus{ObservedGeneration: o.Generation, Replicas: n, ReadyReplicas: n, AvailableReplicas: n, UpdatedReplicas: n}
	}
}

func etcdOf(name string) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name + "-etcd"}}
}

func deploymentOf(name, component string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name + "-" + component}}
}

// comesUp brings a control plane to Ready.
func (w *world) comesUp(name string) *cpv1.AetherControlPlane {
	w.Helper()
	w.runs(etcdOf(name))
	for _, component := range []string{"apiserver", "controller-manager", "scheduler"} {
		w.runs(deploymentOf(name, component))
	}
	return w.says(name, "Ready", metav1.ConditionTrue, "")
}

// silent waits until nothing has been written for two seconds, leases and events aside.
func (w *world) silent() {
	w.Helper()
	var since time.Time
	testenv.Eventually(w.T, func(context.Context) error {
		sent := w.wire.take()
		if len(sent) > 0 || since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return fmt.Errorf("wrote %v", sent)
		}
		return nil
	})
}

// members are the clusters behind the control planes.
type members struct {
	mu   sync.Mutex
	away bool
	// pretended is the version that all say they have; "" is that of their Deployment.
	pretended string
	client    client.Client
	prepared  []credential
	// of are the nodes of each cluster, by its name.
	of map[string][]node
	// served are the API servers that served who trusts one authority alone.
	served []credential
}

func (m *members) reach(c credential) (member, error) { return answering{m, c}, nil }

func (m *members) are(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

type answering struct {
	*members
	with credential
}

func (a answering) prepare(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return errors.New("connection refused")
	}
	a.prepared = append(a.prepared, a.with)
	return nil
}

// pretend has all API servers say that they have a version.
func (m *members) pretend(version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pretended = version
}

func (a answering) version(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return "", errors.New("connection refused")
	}
	if a.pretended != "" {
		return a.pretended, nil
	}
	d := &appsv1.Deployment{}
	at := strings.Split(a.with.endpoint.Host, ".")
	if err := a.client.Get(ctx, client.ObjectKey{Namespace: at[1], Name: at[0]}, d); err != nil {
		return "", err
	}
	return controlplane.VersionOf(d.Spec.Template.Spec.Containers[0].Image) + "+test", nil
}

func (a answering) nodes(context.Context) ([]node, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return nil, errors.New("connection refused")
	}
	return slices.Clone(a.of[strings.TrimSuffix(strings.Split(a.with.endpoint.Host, ".")[0], "-apiserver")]), nil
}

// serves does what a real API server would see to: a client is certified by whom it
// trusts.
func (a answering) serves(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.with.ca)
	block, _ := pem.Decode(a.with.cert)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return err
	}
	a.served = append(a.served, a.with)
	return nil
}

// have sets the nodes of a cluster.
func (m *members) have(name string, nodes ...node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string][]node{}
	}
	m.of[name] = nodes
}

// wire notes what is written, and can cut the controller off, as a kill would.
type wire struct {
	mu   sync.Mutex
	sent []string
	// left is how many writes there are before the process is dead; 0 is no end of
	// them. When late, the last one still reaches the API server.
	left int
	late bool
	dead bool
}

// kill has the process die with a later write.
func (w *wire) kill(writes int, late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.late, w.dead = writes, late, false
}

func (w *wire) isDead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

var errKilled = errors.New("killed")

func (w *wire) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodGet || strings.Contains(req.URL.Path, "/events") || strings.Contains(req.URL.Path, "/leases") {
			return next.RoundTrip(req)
		}
		w.mu.Lock()
		dead := w.dead
		if w.left > 0 {
			w.left--
			w.dead = w.left == 0
		}
		cut := dead || w.dead && !w.late
		if !cut {
			w.sent = append(w.sent, req.Method+" "+req.URL.Path)
		}
		lost := !dead && w.dead
		w.mu.Unlock()
		if cut {
			return nil, errKilled
		}
		res, err := next.RoundTrip(req)
		if lost && err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			return nil, errKilled
		}
		return res, err
	})
}

func (w *wire) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
