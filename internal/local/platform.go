// Package local runs the whole platform on one machine: a Kubernetes API server
// with its etcd and controller manager, Gitea with the fleet repository, Flux's
// source-controller and kustomize-controller, the review server and the namespace
// operator, each a process of its own on the loopback address. All are the programs
// that run in a cluster. With nodes, Flux's controllers, the review server and the
// operator can be Pods instead, by Aether's Helm chart.
//
// Without nodes it needs no root. It touches nothing outside its folder, and stops
// only processes that it started.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/kyverno"
	"github.com/aetherplatform/aether/internal/local/machine"
	"github.com/aetherplatform/aether/internal/openbao/server"
)

// Options of a Platform.
type Options struct {
	// Root is a checkout of Aether: its bin/ has the programs, its CRDs, policies and
	// roles are installed.
	Root string
	// Dir is made for the platform and removed with it.
	Dir string
	// Ports to listen on.
	Ports Ports
	// Fleet is the folder that the repository's tenants/ is made from. Empty: the
	// repository stays empty.
	Fleet string
	// Nodes is how many nodes there are to be. They need root, Linux, and what
	// `make node-deps` installs.
	Nodes int
	// Kyverno runs Kyverno with the policies below policies/kyverno.
	Kyverno bool
	// OpenBao runs a server with OpenBao's API and the secrets of the example fleet.
	OpenBao bool
	// Chart installs Aether by its Helm chart, and Flux beside it, as Pods on the nodes,
	// instead of running them as processes.
	Chart bool
	// Clusters runs what makes the fleet's clusters, whose control planes are Pods on the
	// nodes: cert-manager, and the cluster controller.
	Clusters bool
	// World has names that Pods on the nodes may look up, and for each the address and
	// port at which something answers that is not part of the cluster: the rest of the
	// world.
	World map[string]string
	// Sample opens a pull request on the repository, where the fleet is the example
	// fleet.
	Sample bool
	// Attached ties the processes to the life of this one, for tests.
	Attached bool
	// Progress gets a line as each step begins, ended with the seconds it took.
	Progress io.Writer
	// Now is the clock.
	Now func() time.Time
}

// Platform is a platform that has been started.
type Platform struct {
	Options
	// Processes in the order they were started.
	Processes []*Process
	// Config is a cluster administrator's, without client-side throttling.
	Config *rest.Config
	// Client is one too, uncached.
	Client client.WithWatch
	// Opened is the sample pull request; nil where there is none.
	Opened *Pull

	// mu guards Processes and the file that they are written down in.
	mu sync.Mutex
}

// state is what is written down, so that another program can stop the platform.
type state struct {
	Root      string     `json:"root"`
	Ports     Ports      `json:"ports"`
	Fleet     string     `json:"fleet"`
	Nodes     int        `json:"nodes,omitempty"`
	Kyverno   bool       `json:"kyverno,omitempty"`
	OpenBao   bool       `json:"openBao,omitempty"`
	Chart     bool       `json:"chart,omitempty"`
	Clusters  bool       `json:"clusters,omitempty"`
	Opened    *Pull      `json:"opened,omitempty"`
	Processes []*Process `json:"processes"`
}

// Files below Options.Dir.
const (
	stateFile       = "state.json"
	kubeconfigFile  = "kubeconfig"
	credentialsFile = "git-credentials"
	pkiDir          = "pki"
	logsDir         = "logs"
	homeDir         = "home"
	temporaryDir    = "tmp"
)

// Start starts a platform and returns when it is ready to take a push; with a
// fleet, once that has been pushed. It fails with nothing left running.
func Start(ctx context.Context, o Options) (*Platform, error) {
	programs, folders := programs, folders
	if o.Kyverno {
		programs, folders = slices.Concat(programs, kyverno.Programs), slices.Concat(folders, kyverno.Folders)
	}
	if o.OpenBao {
		programs = slices.Concat(programs, []string{server.Program})
	}
	if o.Clusters {
		programs, folders = slices.Concat(programs, clusterPrograms), slices.Concat(folders, clusterFolders)
	}
	return o.begin(ctx, programs, folders, (*Platform).start)
}

// StartForge starts only the forge, with nothing in it but its administrator, for
// tests of what talks to one.
func StartForge(ctx context.Context, o Options) (*Platform, error) {
	return o.begin(ctx, []string{gitea}, []string{giteaStatic}, func(p *Platform, ctx context.Context) error {
		if err := p.identities(ctx); err != nil {
			return err
		}
		return p.gitea(ctx)
	})
}

// begin makes the folder, and starts what the platform is to have in it.
func (o Options) begin(ctx context.Context, programs, folders []string, start func(*Platform, context.Context) error) (*Platform, error) {
	for _, path := range []*string{&o.Root, &o.Dir, &o.Fleet} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = absolute
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	p := &Platform{Options: o}
	if err := p.prerequisites(programs, folders); err != nil {
		return nil, err
	}
	if err := p.makeDir(ctx); err != nil {
		return nil, err
	}
	if err := start(p, ctx); err != nil {
		return nil, errors.Join(err, p.Halt())
	}
	return p, nil
}

// start brings up the forge beside Kubernetes, since neither needs the other, and
// then what needs both.
func (p *Platform) start(ctx context.Context) error {
	if err := p.identities(ctx); err != nil { // authorities, certificates, kubeconfigs
		return err
	}
	both, bothCtx := errgroup.WithContext(ctx)
	forged := make(chan error, 1)
	both.Go(func() error {
		err := p.forge(bothCtx) // Gitea, the fleet's repository, and the review server if it is a process
		forged <- err
		return err
	})
	both.Go(func() error {
		if err := p.controlPlane(bothCtx); err != nil { // etcd, kube-apiserver, kube-controller-manager
			return err
		}
		if err := p.install(bothCtx); err != nil { // CRDs, policies, roles
			return err
		}
		return p.step("gitea, with the fleet repository", func() error { return <-forged })
	})
	if err := both.Wait(); err != nil {
		return err
	}
	if err := p.kyverno(ctx); err != nil { // where it is asked for
		return err
	}
	if err := p.openBao(ctx); err != nil { // as well
		return err
	}
	if err := p.nodes(ctx); err != nil { // real ones, where any are asked for
		return err
	}
	services := p.services // Flux, the operator
	if p.Chart {
		services = p.pods // the same, in the cluster
	}
	if err := services(ctx); err != nil {
		return err
	}
	if err := p.clusters(ctx); err != nil { // where they are asked for
		return err
	}
	return p.source(ctx) // the GitRepository and the TenantSource
}

// Open finds the platform of a folder, whether it runs or not. The error is
// fs.ErrNotExist when there is none.
func Open(dir string) (*Platform, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	var written state
	if err := json.Unmarshal(data, &written); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(dir, stateFile), err)
	}
	return &Platform{
		Options: Options{
			Dir: dir, Root: written.Root, Ports: written.Ports, Fleet: written.Fleet, Nodes: written.Nodes,
			Kyverno: written.Kyverno, OpenBao: written.OpenBao, Chart: written.Chart, Clusters: written.Clusters,
			Progress: io.Discard, Now: time.Now,
		},
		Processes: written.Processes, Opened: written.Opened,
	}, nil
}

// Connect makes the clients of a platform that was opened.
func (p *Platform) Connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig())
	if err != nil {
		return err
	}
	config.QPS = -1 // the server's own fairness is enough on one machine
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	p.Config, p.Client = config, c
	return nil
}

// Scheme knows Kubernetes, Aether and Flux.
func (p *Platform) Scheme() *runtime.Scheme { return p.Client.Scheme() }

// Kubeconfig is the administrator's.
func (p *Platform) Kubeconfig() string { return p.file(kubeconfigFile) }

// Credentials is the file that Git reads the forge's password from.
func (p *Platform) Credentials() string { return p.file(credentialsFile) }

// Logs is the folder that every process writes its log to.
func (p *Platform) Logs() string { return p.file(logsDir) }

// Running are the processes that run.
func (p *Platform) Running() []*Process {
	return slices.DeleteFunc(slices.Clone(p.Processes), func(p *Process) bool { return !p.alive() })
}

// Stop ends every process and removes the folder.
func (p *Platform) Stop() error {
	if err := p.Halt(); err != nil {
		return err
	}
	return os.RemoveAll(p.Dir)
}

// Halt ends every process, last started first, and leaves the logs.
func (p *Platform) Halt() error {
	var failed error
	for _, process := range slices.Backward(p.Processes) {
		failed = errors.Join(failed, process.stop())
	}
	if p.Nodes > 0 {
		failed = errors.Join(failed, machine.Sweep())
	}
	return errors.Join(failed, p.dropScratch())
}

// Kill ends one process as a power cut would, for tests.
func (p *Platform) Kill(name string) error {
	process, err := p.process(name)
	if err != nil {
		return err
	}
	process.signal(syscall.SIGKILL)
	if !process.ends() {
		return fmt.Errorf("cannot kill %s, process %d", name, process.PID)
	}
	return nil
}

// Add runs one more program, which the platform ends with its own, for tests.
// KubeconfigOf has the identities that it may have.
func (p *Platform) Add(ctx context.Context, name, program string, port int, health string, args ...string) error {
	return p.launch(ctx, p.newProcess(name, p.bin(program), port, health, args...))
}

// Retire ends one process as a node that is drained would, for tests. It is not
// started again.
func (p *Platform) Retire(name string) error {
	process, err := p.process(name)
	if err != nil {
		return err
	}
	if err := process.stop(); err != nil {
		return err
	}
	p.Processes = slices.DeleteFunc(p.Processes, func(other *Process) bool { return other == process })
	return p.save()
}

// Revive starts every process again that has ended, and returns when all are
// healthy.
func (p *Platform) Revive(ctx context.Context) error {
	for _, process := range p.Processes {
		if process.alive() {
			continue
		}
		if err := p.launch(ctx, process); err != nil {
			return err
		}
	}
	return nil
}

// Blame makes an error one process's, so that its log is read.
func (p *Platform) Blame(name string, err error) error {
	process, unknown := p.process(name)
	if unknown != nil {
		return err
	}
	return process.failed(err)
}

// Tail is the end of a process's log.
func (p *Platform) Tail(name string) string { return tail(filepath.Join(p.Logs(), name+".log")) }

func (p *Platform) process(name string) (*Process, error) {
	for _, process := range p.Processes {
		if process.Name == name {
			return process, nil
		}
	}
	return nil, fmt.Errorf("no process is called %q", name)
}

// launch starts a process, writes down that it runs, and waits until it serves.
func (p *Platform) launch(ctx context.Context, process *Process) error {
	p.mu.Lock()
	err := process.start(p.Attached)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if err := p.started(process); err != nil {
		return err
	}
	trusted, err := trust(p.file(pkiDir))
	if err != nil {
		return err
	}
	return process.awaitHealth(ctx, trusted)
}

// started writes down that a process runs.
func (p *Platform) started(process *Process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.Processes, process) {
		p.Processes = append(p.Processes, process)
	}
	return p.save()
}

// save writes the state down, whole or not at all.
func (p *Platform) save() error {
	data, err := json.MarshalIndent(state{p.Root, p.Ports, p.Fleet, p.Nodes, p.Kyverno, p.OpenBao, p.Chart, p.Clusters, p.Opened, p.Processes}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.file(stateFile+".next"), data, 0o600); err != nil {
		return err
	}
	return os.Rename(p.file(stateFile+".next"), p.file(stateFile))
}

func (p *Platform) file(name string) string { return filepath.Join(p.Dir, name) }

// makeDir makes the folder, in place of what an earlier platform left in it.
func (p *Platform) makeDir(ctx context.Context) error {
	earlier, err := Open(p.Dir)
	switch {
	case err == nil:
		if running := earlier.Running(); len(running) > 0 {
			return &RunningError{Dir: p.Dir, Running: len(running), All: len(earlier.Processes)}
		}
		if err := os.RemoveAll(p.Dir); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := p.Ports.free(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.Dir), 0o700); err != nil {
		return err
	}
	err = os.Mkdir(p.Dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return &OccupiedError{Dir: p.Dir}
	}
	if err != nil {
		return fmt.Errorf("cannot make a folder for the platform: %w", err)
	}
	for _, sub := range []string{pkiDir, logsDir, homeDir, temporaryDir} {
		if err := os.Mkdir(p.file(sub), 0o700); err != nil {
			return err
		}
	}
	return p.save()
}

// OccupiedError is a folder that was to be a platform's and holds something else: what
// is not ours, or what was left by one that was killed before it had begun.
type OccupiedError struct{ Dir string }

// Error names the folder.
func (e *OccupiedError) Error() string {
	return e.Dir + " is there and holds no platform"
}

// Is makes errors.Is(err, fs.ErrExist) work.
func (e *OccupiedError) Is(target error) bool { return target == fs.ErrExist }

// RunningError is a platform that is up already.
type RunningError struct {
	Dir          string
	Running, All int
}

// Error says how much of it runs.
func (e *RunningError) Error() string {
	if e.Running < e.All {
		return fmt.Sprintf("a platform was started in %s before, and %d of its %d processes still run", e.Dir, e.Running, e.All)
	}
	return fmt.Sprintf("the platform in %s is up already", e.Dir)
}

// step tells of a step and how long it took.
func (p *Platform) step(what string, do func() error) error {
	_, _ = fmt.Fprintf(p.Progress, "  %-42s", what+" …")
	begun := p.Now()
	if err := do(); err != nil {
		if errors.Is(err, context.Canceled) { // of an interrupt, or of something else that failed
			_, _ = fmt.Fprintln(p.Progress, " cut short")
		} else {
			_, _ = fmt.Fprintln(p.Progress, " failed")
		}
		return err
	}
	_, _ = fmt.Fprintf(p.Progress, " %5.1f s\n", p.Now().Sub(begun).Seconds())
	return nil
}
