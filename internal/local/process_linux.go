package local

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// spawn starts the command. Attached, the kernel ends it when this program ends,
// however that happens: a killed test leaves nothing running.
func spawn(cmd *exec.Cmd, attached bool) error {
	if !attached {
		return cmd.Start()
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return onLastingThread(cmd.Start)
}

// onLastingThread runs f on a thread that lives as long as the program: the kernel
// sends the death signal when the thread that forked ends, and Go's threads come
// and go.
func onLastingThread(f func() error) error {
	answer := make(chan error)
	lastingThread() <- func() { answer <- f() }
	return <-answer
}

var lastingThread = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// birth is when a process was started, in clock ticks since boot; empty when there
// is none, or when it has ended, with all its threads, and nobody has asked how.
func birth(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses, which may hold spaces.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const state, threads, start = 0, 17, 19 // fields 3, 20 and 22 of proc_pid_stat(5)
	switch {
	case len(fields) <= start, fields[state] == "X":
		return ""
	case fields[state] == "Z":
		// With threads left, its files and ports are still held.
		if left, err := strconv.Atoi(fields[threads]); err != nil || left <= 1 {
			return ""
		}
	}
	return fields[start]
}
