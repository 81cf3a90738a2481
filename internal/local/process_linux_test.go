package local

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// listenAt is the variable that makes this test binary a server at its value.
const listenAt = "TEST_LISTEN_AT"

// init runs on the first thread, which serving ends.
func init() {
	address := os.Getenv(listenAt)
	if address == "" {
		return
	}
	runtime.LockOSThread()
	if _, err := net.Listen("tcp", address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		fmt.Println("serving")
		select {}
	}()
	// Of the thread alone. Not a raw call: Go would give nobody the processor of a thread
	// that it takes for running, and with it the server above.
	_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
}

// A process whose first thread has ended is a zombie to look at, and may listen yet:
// what was started in its place found its port taken.
func TestAProcessHasEndedOnceItsLastThreadHas(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	p := &Process{Name: "server", Path: self, Env: []string{listenAt + "=" + address}, Log: filepath.Join(t.TempDir(), "log")}
	if err := p.start(true); err != nil {
		t.Fatal(err)
	}
	// The second is what another program knows of it: `make down` of a `make up`.
	seen := map[string]*Process{"who started it": p, "another program": {Name: p.Name, PID: p.PID, Birth: p.Birth}}
	t.Cleanup(func() { p.signal(syscall.SIGKILL) })
	for deadline := time.Now().Add(startTimeout); tail(p.Log) != "serving"; <-time.After(glance) {
		if !p.alive() {
			t.Fatalf("it does not serve: %v: %s", p.ended(), tail(p.Log))
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve after %s: %s", startTimeout, tail(p.Log))
		}
	}
	for who, p := range seen {
		if !p.alive() {
			t.Errorf("%s takes it for ended while it listens", who)
		}
	}
	p.signal(syscall.SIGKILL)
	for who, p := range seen {
		if !p.ends() {
			t.Errorf("%s takes it for alive after it was killed", who)
		}
	}
	if got, want := p.ended().Error(), "it ended: signal: killed"; got != want {
		t.Errorf("it says %q, not %q", got, want)
	}
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("it has ended, and yet: %v", err)
	}
	_ = again.Close()
}
