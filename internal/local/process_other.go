//go:build !linux

package local

import (
	"os/exec"
	"strconv"
	"strings"
)

// spawn starts the command. Only Linux can tie its life to ours.
func spawn(cmd *exec.Cmd, _ bool) error { return cmd.Start() }

// birth is when a process was started; empty when there is none.
func birth(pid int) string {
	out, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	state, started, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if strings.HasPrefix(state, "Z") {
		return ""
	}
	return strings.TrimSpace(started)
}
