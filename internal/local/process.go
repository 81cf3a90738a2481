package local

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A Process is a program of the platform, and how to start it again.
type Process struct {
	// Name of the program, and of its log.
	Name string `json:"name"`
	// What it is, for people: "the Kubernetes API".
	What string `json:"what,omitempty"`
	// Path, Args and Env it is started with; secrets are in files.
	Path string   `json:"path"`
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"`
	// Secrets are variables of its environment whose values are in files.
	Secrets map[string]string `json:"secrets,omitempty"`
	// Log is the file that it writes to.
	Log string `json:"log"`
	// Port that it serves on.
	Port int `json:"port,omitempty"`
	// Health answers 200 when it is ready to serve.
	Health string `json:"health,omitempty"`
	// Socket is the Unix socket that Health is asked at, where no port of this machine
	// leads to it.
	Socket string `json:"socket,omitempty"`

	// PID of the running process. Birth is when it was started, as the kernel tells
	// it: a process of the same PID and another birth is a stranger.
	PID   int    `json:"pid,omitempty"`
	Birth string `json:"birth,omitempty"`

	// end is of a process that this program started.
	end *end
}

// An end is when and how a process of this program's ended.
type end struct {
	reached chan struct{} // closed when it has ended, all its threads and files with it
	how     error         // nil: with exit status 0
}

// start runs the program in a session of its own, so that Ctrl-C in a terminal
// reaches only who started it.
func (p *Process) start(attached bool) error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.Path, p.Args...) //nolint:noctx // it outlives whoever started it
	cmd.Dir = filepath.Dir(p.Log)
	cmd.Env = p.environment()
	for name, file := range p.Secrets {
		value, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("cannot start %s: %w", p.Name, err)
		}
		cmd.Env = append(cmd.Env, name+"="+string(value))
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := spawn(cmd, attached); err != nil {
		return fmt.Errorf("cannot start %s: %w", p.Name, err)
	}
	p.PID = cmd.Process.Pid
	p.Birth = birth(p.PID)
	p.end = &end{reached: make(chan struct{})}
	go func(end *end) {
		end.how = cmd.Wait()
		close(end.reached)
	}(p.end)
	return nil
}

// environment is what the program finds, secrets aside. Variables of the user's
// such as ETCD_NAME must not change what runs.
func (p *Process) environment() []string {
	return append([]string{"PATH=" + os.Getenv("PATH")}, p.Env...)
}

// alive is whether the process that was started still runs.
func (p *Process) alive() bool {
	if p.end != nil {
		select {
		case <-p.end.reached:
			return false
		default:
			return true
		}
	}
	if p.PID == 0 {
		return false
	}
	born := birth(p.PID)
	return born != "" && born == p.Birth
}

// ended is an error that says how the process ended, as far as this program knows.
func (p *Process) ended() error {
	switch {
	case p.end == nil:
		return errors.New("it ended")
	case p.end.how == nil:
		return errors.New("it ended by itself, with exit status 0")
	}
	return fmt.Errorf("it ended: %w", p.end.how)
}

// signal sends a signal, never to a stranger.
func (p *Process) signal(s syscall.Signal) {
	if p.alive() {
		_ = syscall.Kill(p.PID, s) // gone in between: as wanted
	}
}

// How long a program may take to end when asked to, and how often it is looked at.
const (
	endGrace = 5 * time.Second
	glance   = 20 * time.Millisecond
)

// stop ends the process, by force when it takes long.
func (p *Process) stop() error {
	p.signal(syscall.SIGTERM)
	if p.ends() {
		return nil
	}
	p.signal(syscall.SIGKILL)
	if p.ends() {
		return nil
	}
	return fmt.Errorf("cannot end %s, process %d", p.Name, p.PID)
}

// ends is whether it ends before long.
func (p *Process) ends() bool {
	deadline := time.NewTimer(endGrace)
	defer deadline.Stop()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for p.alive() {
		select {
		case <-deadline.C:
			return !p.alive()
		case <-tick.C:
		}
	}
	return true
}

// startTimeout is generous: a busy machine of two cores runs everything at once.
const startTimeout = 2 * time.Minute

// awaitHealth returns once the process is ready to serve.
func (p *Process) awaitHealth(ctx context.Context, trust *tls.Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not healthy after %s", startTimeout))
	defer cancel()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	var last error
	for {
		if !p.alive() {
			return p.failed(p.ended())
		}
		if last = p.healthy(ctx, trust); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if errors.Is(cause, context.Canceled) {
				return cause
			}
			return p.failed(fmt.Errorf("%w: %w", cause, last))
		case <-tick.C:
		}
	}
}

// healthTimeout bounds one look.
const healthTimeout = 5 * time.Second

// healthy is nil when the process says that it is ready.
func (p *Process) healthy(ctx context.Context, trust *tls.Config) error {
	if p.Health == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Health, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}
	if p.Socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", p.Socket)
		}
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", p.Health, response.Status)
	}
	return nil
}

// failed is an error of the process, with what its log says now.
func (p *Process) failed(err error) *ProcessError {
	return &ProcessError{Name: p.Name, Log: p.Log, End: tail(p.Log), Err: err}
}

// ProcessError is a program that did not do its part.
type ProcessError struct {
	Name string
	Log  string
	// End is the last lines of the log, before the program was ended.
	End string
	Err error
}

// Error names the program and its log.
func (e *ProcessError) Error() string {
	return fmt.Sprintf("%s did not become ready: %v; its log is %s", e.Name, e.Err, e.Log)
}

// Unwrap returns why.
func (e *ProcessError) Unwrap() error { return e.Err }

// What is read of the end of a log, and what is shown of it.
const (
	tailBytes = 64 << 10
	tailLines = 20
)

// tail is the last lines of a file; it is empty where there is none.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = file.Seek(-tailBytes, io.SeekEnd) // the whole file is as good
	}
	data, err := io.ReadAll(io.LimitReader(file, tailBytes))
	if err != nil {
		return ""
	}
	all := strings.Split(string(bytes.TrimSpace(data)), "\n")
	return strings.Join(all[max(0, len(all)-tailLines):], "\n")
}
