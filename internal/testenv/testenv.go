// Package testenv gives tests a real API server: etcd and kube-apiserver as
// `make tools` built them, with the CRDs of Aether, Flux and Cilium in it.
//
// No controller manager runs beside it unless a test asks for one: namespaces
// do not terminate and quotas are not counted without.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apiruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Env is a running API server.
type Env struct {
	// Config is a cluster admin's, without client-side throttling.
	Config *rest.Config
	// Client is a cluster admin's, uncached.
	Client client.WithWatch
	// Scheme knows Kubernetes, Aether, Flux and CRDs.
	Scheme *apiruntime.Scheme

	control *envtest.Environment
	manager *exec.Cmd
	release func()
}

// Option changes the API server before it starts.
type Option func(*envtest.Environment)

// WithFlag sets a flag of kube-apiserver.
func WithFlag(name string, values ...string) Option {
	return func(e *envtest.Environment) {
		e.ControlPlane.GetAPIServer().Configure().Set(name, values...)
	}
}

// WithoutCRDs leaves the CRDs in files of these names out, such as
// "ciliumnetworkpolicies.yaml".
func WithoutCRDs(files ...string) Option {
	return func(e *envtest.Environment) {
		e.CRDInstallOptions.Paths = slices.DeleteFunc(e.CRDInstallOptions.Paths, func(path string) bool {
			return slices.Contains(files, filepath.Base(path))
		})
	}
}

// Start starts an API server that stops with the test.
func Start(t testing.TB, opts ...Option) *Env {
	t.Helper()
	env, err := start(opts)
	if err != nil {
		t.Fatalf("cannot start an API server: %v", err)
	}
	t.Cleanup(func() {
		if err := env.stop(); err != nil {
			t.Errorf("cannot stop the API server: %v", err)
		}
	})
	return env
}

// Main runs the tests of a package against one API server, for TestMain.
func Main(m *testing.M, env **Env, opts ...Option) {
	e, err := start(opts)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot start an API server: %v\n", err)
		os.Exit(1)
	}
	*env = e
	code := m.Run()
	if err := e.stop(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot stop the API server: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// As is the configuration of a user with a client certificate of its own.
func (e *Env) As(t testing.TB, user string, groups ...string) *rest.Config {
	t.Helper()
	added, err := e.control.AddUser(envtest.User{Name: user, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatalf("cannot add user %q: %v", user, err)
	}
	return added.Config()
}

// ClientAs is a client of a user, as by As.
func (e *Env) ClientAs(t testing.TB, user string, groups ...string) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(e.As(t, user, groups...), client.Options{Scheme: e.Scheme})
	if err != nil {
		t.Fatalf("cannot make a client for %q: %v", user, err)
	}
	return c
}

// Kubeconfig writes the kubeconfig of a user to a file of the test and returns
// its path. Without groups it is that of a cluster admin.
func (e *Env) Kubeconfig(t testing.TB, user string, groups ...string) string {
	t.Helper()
	if len(groups) == 0 {
		groups = []string{"system:masters"}
	}
	added, err := e.control.AddUser(envtest.User{Name: user, Groups: groups}, nil)
	if err != nil {
		t.Fatalf("cannot add user %q: %v", user, err)
	}
	data, err := added.KubeConfig()
	if err != nil {
		t.Fatalf("cannot write a kubeconfig for %q: %v", user, err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// StartControllerManager runs kube-controller-manager against the API server,
// so that namespaces terminate, quotas are counted and garbage is collected.
// It stops with the API server.
func (e *Env) StartControllerManager(t testing.TB) {
	t.Helper()
	if e.manager != nil {
		return
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "kube-controller-manager.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := Command("kube-controller-manager",
		"--kubeconfig="+e.Kubeconfig(t, "system:kube-controller-manager", "system:masters"),
		"--leader-elect=false", "--secure-port=0", "--concurrent-namespace-syncs=20",
		"--controllers=*,-nodelifecycle,-node-ipam-controller,-service-lb-controller,-cloud-node-lifecycle-controller")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start kube-controller-manager: %v", err)
	}
	e.manager = cmd
}

// Run runs a program of bin/ until the test ends. It returns what ends it before, as a
// power cut would. Where the test fails, the end of what it wrote is shown.
func (e *Env) Run(t testing.TB, program string, environment []string, args ...string) (kill func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), program+".log")
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := Command(program, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, environment...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", program, err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	t.Cleanup(func() {
		kill()
		if data, err := os.ReadFile(path); t.Failed() && err == nil {
			t.Logf("the end of what %s wrote:\n%s", program, data[max(0, len(data)-programTail):])
		}
	})
	return kill
}

// Command is a program of bin/ that the kernel ends when the test is killed.
func Command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(Root(), "bin", program), args...)
	dieWithParent(cmd)
	return cmd
}

// programTail is how much of a program's log is shown, in bytes.
const programTail = 8 << 10

// Root is the root directory of the checkout.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Scheme is what Env.Scheme is, for tests that need no API server.
func Scheme() (*apiruntime.Scheme, error) {
	s := apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{
		scheme.AddToScheme, v1alpha1.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme, apiextensionsv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func start(opts []Option) (*Env, error) {
	s, err := Scheme()
	if err != nil {
		return nil, err
	}
	crds, err := crdFiles()
	if err != nil {
		return nil, err
	}
	control := &envtest.Environment{
		BinaryAssetsDirectory:    filepath.Join(Root(), "bin"),
		ControlPlaneStartTimeout: 2 * time.Minute,
		ControlPlaneStopTimeout:  30 * time.Second,
		CRDInstallOptions:        envtest.CRDInstallOptions{Scheme: s, Paths: crds, MaxTime: time.Minute},
	}
	// Tests need no durability, and a slow disk must not slow them down.
	control.ControlPlane.Etcd = &envtest.Etcd{}
	control.ControlPlane.Etcd.Configure().Append("unsafe-no-fsync", "true")
	control.ControlPlane.GetAPIServer().Configure().Set("max-requests-inflight", "0").Set("max-mutating-requests-inflight", "0").
		Set("enable-priority-and-fairness", "false")
	for _, opt := range opts {
		opt(control)
	}

	config, err := control.Start()
	if err != nil {
		return nil, errors.Join(err, control.Stop())
	}
	config.QPS = -1
	c, err := client.NewWithWatch(config, client.Options{Scheme: s})
	if err != nil {
		return nil, errors.Join(err, control.Stop())
	}
	release, err := guard()
	if err != nil {
		return nil, errors.Join(err, control.Stop())
	}
	return &Env{Config: config, Client: c, Scheme: s, control: control, release: release}, nil
}

func (e *Env) stop() error {
	if e.manager != nil {
		_ = e.manager.Process.Kill()
		_ = e.manager.Wait()
	}
	err := e.control.Stop()
	e.release()
	return err
}

func crdFiles() ([]string, error) {
	var files []string
	for _, pattern := range []string{"config/crd/*.yaml", "bin/crds/*.yaml"} {
		found, err := filepath.Glob(filepath.Join(Root(), pattern))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("no CRDs at %s: run `make tools`", pattern)
		}
		files = append(files, found...)
	}
	return files, nil
}

// Eventually polls until check returns nil, and fails the test with its last
// error after a minute.
func Eventually(t testing.TB, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if last == nil || !errors.Is(err, context.DeadlineExceeded) { // that only says that time ran out
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still not so after a minute: %v", last)
		case <-tick.C:
		}
	}
}

// Gone is nil once an object is not found.
func Gone(err error) error {
	switch {
	case err == nil:
		return errors.New("object is still there")
	case client.IgnoreNotFound(err) == nil || meta.IsNoMatchError(err):
		return nil
	default:
		return err
	}
}
