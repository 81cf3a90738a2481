package testenv

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel end the process when the test does, so that a
// killed test leaves nothing running.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
