package testenv

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// dieWithParent makes the kernel end the process when the test does, so that a
// killed test leaves nothing running.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// guard ends this process's children when it is killed. Package envtest starts
// them in a way that outlives a killed test. The guard is a shell that waits for
// its input to end; release sends it home with nothing done.
func guard() (release func(), err error) {
	children, err := childProcesses()
	if err != nil || len(children) == 0 {
		return func() {}, err
	}
	shell := exec.Command("/bin/sh", "-c", `read -r released || kill -9 "$@"`, "guard")
	shell.Args = append(shell.Args, children...)
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	input, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := shell.Start(); err != nil {
		return nil, fmt.Errorf("cannot guard the API server: %w", err)
	}
	return func() {
		_, _ = io.WriteString(input, "released\n")
		_ = shell.Wait()
	}, nil
}

// childProcesses are those that this process has started and that still run.
func childProcesses() ([]string, error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	var children []string
	for _, list := range lists {
		pids, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		children = append(children, strings.Fields(string(pids))...)
	}
	return children, nil
}
