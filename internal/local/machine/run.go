//go:build linux

package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces that a machine has of its own.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

// A Machine is told what it is.
type Machine struct {
	// Name is its host name.
	Name string
	// Dir holds all that is written in it.
	Dir Dir
	// Bin is the folder of programs.
	Bin string
	// Address in the machines' network.
	Address netip.Addr
	// Network is the link that a Switch made.
	Network string
}

// Run runs the machine until the context ends, and then leaves nothing of it but
// its folder. It must be called on a thread that lasts as long as the program: the
// machine's end is tied to it.
func (m Machine) Run(ctx context.Context) error {
	if err := Sweep(); err != nil {
		return err
	}
	for _, dir := range []string{m.Dir.Etc(), m.Dir.vars(), filepath.Join(m.Dir.vars(), "lib"), filepath.Join(m.Dir.vars(), "log"), filepath.Join(m.Dir.vars(), "tmp")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := link("/run", filepath.Join(m.Dir.vars(), "run")); err != nil {
		return err
	}
	g, err := newGroup(groupName(os.Getpid(), m.Name))
	if err != nil {
		return errors.Join(err, g.remove())
	}
	return errors.Join(m.run(ctx, g), g.remove())
}

func (m Machine) run(ctx context.Context, g group) error {
	var first *exec.Cmd
	err := g.hold(func() (err error) {
		first, err = m.start()
		return err
	})
	if first == nil {
		return err
	}
	var end error
	ended := make(chan struct{})
	go func() { end = first.Wait(); close(ended) }()
	if err == nil {
		err = m.open(ctx, first.Process.Pid)
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case <-ended:
			return fmt.Errorf("its first process ended: %w", end)
		}
	}
	_ = first.Process.Kill()
	<-ended // and with it every other process of the machine
	return err
}

// start starts the first process and waits until the machine is furnished.
func (m Machine) start() (*exec.Cmd, error) {
	told, err := json.Marshal(inner{Name: m.Name, Bin: m.Bin, Etc: m.Dir.Etc(), Var: m.Dir.vars()})
	if err != nil {
		return nil, err
	}
	done, closes, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = done.Close() }()
	first := exec.Command("/proc/self/exe", "init") //nolint:noctx // it is ended in its own way
	first.Dir = "/"
	first.Env = []string{"PATH=" + os.Getenv("PATH")}
	first.Stdin = bytes.NewReader(told)
	first.Stdout, first.Stderr = os.Stdout, os.Stderr
	first.ExtraFiles = []*os.File{closes}
	first.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	err = first.Start()
	_ = closes.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot make namespaces: %w", err)
	}
	problem, err := io.ReadAll(done)
	if err == nil && len(problem) > 0 {
		err = errors.New(string(problem))
	}
	return first, err
}

// open connects the machine to the network and lets others in.
func (m Machine) open(ctx context.Context, pid int) error {
	between, err := openNetwork(m.Network)
	if err != nil {
		return err
	}
	defer func() { _ = between.Close() }()
	own, err := openNetwork(filepath.Join(procOf(pid), "ns", "net"))
	if err != nil {
		return err
	}
	if err := between.ip(ctx,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", m.Name, pid),
		fmt.Sprintf("link set %s master switch up", m.Name),
	); err != nil {
		return err
	}
	if err := own.ip(ctx,
		"link set lo up",
		fmt.Sprintf("address add %s/%d dev eth0", m.Address, subnet),
		"link set eth0 up",
		"route add default via "+Gateway,
	); err != nil {
		return err
	}
	if err := link(procOf(pid), m.Dir.proc()); err != nil {
		return err
	}
	return serveHealth(ctx, m.Dir.Socket("machine"), own, "")
}

// Within is a program that runs in a machine.
type Within struct {
	Dir Dir
	// Health is an address in the machine, and Socket where it is answered for.
	Health, Socket string
	// Program with its arguments. Its path is absolute, as the machine sees it.
	Program []string
}

// Run runs it until it ends, and hands signals on. It must be called on a thread
// that lasts as long as the program does: that is what the other's life is tied to.
func (w Within) Run(ctx context.Context, signals <-chan os.Signal) error {
	own, err := openNetwork(filepath.Join(w.Dir.proc(), "ns", "net"))
	if err != nil {
		return fmt.Errorf("the machine does not run: %w", err)
	}
	if w.Socket != "" {
		if err := serveHealth(ctx, w.Socket, own, w.Health); err != nil {
			return err
		}
	}
	groups, err := hierarchies(w.Dir.proc())
	if err != nil {
		return err
	}
	for _, h := range groups {
		if err := enterGroup(h.folder); err != nil {
			return err
		}
	}
	proc, err := os.Readlink(w.Dir.proc())
	if err != nil {
		return err
	}
	var pid int
	if _, err := fmt.Sscanf(proc, "/proc/%d", &pid); err != nil {
		return err
	}
	first, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	// The file system's view of a thread can only change apart from the others'.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(first, namespaces); err != nil {
		return fmt.Errorf("cannot enter the machine: %w", err)
	}
	program := exec.Command(Bin+"/machine", append([]string{"exec"}, w.Program...)...) //nolint:noctx // it is ended by a signal
	program.Dir = "/"
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := program.Start(); err != nil {
		return err
	}
	go func() {
		for s := range signals {
			_ = program.Process.Signal(s)
		}
	}()
	return program.Wait()
}

// Exec becomes the program, which ends with the program that entered the machine.
// It does what SysProcAttr.Pdeathsig would, which takes a parent in another PID
// namespace for one that has ended.
func Exec(program []string) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if os.Getppid() != 0 { // 0 is a parent outside
		return errors.New("the program that entered the machine has ended")
	}
	return unix.Exec(program[0], program, os.Environ())
}
