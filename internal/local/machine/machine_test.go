//go:build node

package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test's own program is a machine's too: it is started as Machine and Within
// start theirs.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case "init":
			err = Init(os.Stdin, os.NewFile(3, "done"))
		case "exec":
			err = Exec(os.Args[2:])
		case "run":
			err = asMachine(os.Args[2:])
		case "enter":
			runtime.LockOSThread()
			err = Within{Dir: Dir(os.Args[2]), Program: os.Args[3:]}.Run(context.Background(), nil)
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func asMachine(args []string) error {
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return Machine{Name: args[0], Dir: Dir(args[1]), Bin: args[2], Address: Address(len(args[0])), Network: args[3]}.Run(ctx)
}

// world is a switch, with a folder of programs.
type world struct {
	*testing.T
	dir   string
	proxy string
}

func newWorld(t *testing.T, api string, outside ...string) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir()}
	w.proxy = filepath.Join(w.dir, "proxy.sock")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(w.bin(), 0o755), os.WriteFile(filepath.Join(w.bin(), "machine"), self, 0o755)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { ended <- Switch{API: api, Network: w.network(), Proxy: w.proxy, World: outside}.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.await("the switch", func() bool { return answers(w.proxy) })
	return w
}

func (w *world) bin() string     { return filepath.Join(w.dir, "bin") }
func (w *world) network() string { return filepath.Join(w.dir, "network") }

func (w *world) await(what string, ask func() bool) {
	w.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-deadline.C:
			w.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func answers(socket string) bool {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	response, err := client.Get("http://socket/")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// runs starts a machine. Its address is told by the length of its name.
func (w *world) runs(name string) (Dir, *exec.Cmd) {
	w.Helper()
	dir := Dir(filepath.Join(w.dir, name))
	cmd := exec.Command("/proc/self/exe", "run", name, string(dir), w.bin(), w.network())
	cmd.Stdout, cmd.Stderr = w.Output(), w.Output()
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if err := Sweep(); err != nil {
			w.Error(err)
		}
	})
	w.await("machine "+name, func() bool { return answers(dir.Socket("machine")) })
	return dir, cmd
}

// in runs a script in a machine and returns what it says.
func (w *world) in(dir Dir, script string) string {
	w.Helper()
	out, err := exec.Command("/proc/self/exe", "enter", string(dir), "/bin/bash", "-c", script).CombinedOutput()
	if err != nil {
		w.Errorf("%s: %v", script, err)
	}
	return strings.TrimSpace(string(out))
}

func TestAMachineIsOneOfItsOwn(t *testing.T) {
	w := newWorld(t, "127.0.0.1:1")
	dir, _ := w.runs("alone")
	for script, want := range map[string]string{
		"hostname":           "alone",
		"cat /proc/1/comm":   "exe",
		"ip -o link | wc -l": "2",
		"ip -4 -o address show eth0 | grep -o 'inet [^ ]*'":                                  "inet 198.18.0.15/16",
		"cut -d: -f3 /proc/self/cgroup | sort -u":                                            "/",
		"touch /root/x 2>&1 | grep -o 'Read-only file system'":                               "Read-only file system",
		"touch /etc/x 2>&1 | grep -o 'Read-only file system'":                                "Read-only file system",
		"touch /var/x && echo yes":                                                           "yes",
		"touch /run/x /tmp/x && echo yes":                                                    "yes",
		"echo 1 > /proc/sys/net/ipv4/ip_forward && echo yes":                                 "yes",
		"(echo core > /proc/sys/kernel/core_pattern) 2>&1 | grep -o 'Read-only file system'": "Read-only file system",
		"cat /proc/sys/kernel/panic":                                                         "10",
	} {
		if got := w.in(dir, script); got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir.vars(), "x")); err != nil {
		t.Errorf("what is written to /var is not in the machine's folder: %v", err)
	}
}

func TestMachinesReachOneAnotherTheAPIAndNothingElse(t *testing.T) {
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = api.Close() }()
	go func() {
		for {
			c, err := api.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintln(c, "the API")
			_ = c.Close()
		}
	}()
	w := newWorld(t, api.Addr().String(), "203.0.113.10:80")
	one, _ := w.runs("one")
	three, _ := w.runs("three")

	if got := w.in(one, "cat < /dev/tcp/"+Gateway+"/"+APIPort); got != "the API" {
		t.Errorf("the API server's address answers %q", got)
	}
	if got := w.in(one, refusal(Address(5).String(), "1")); got != "Connection refused" {
		t.Errorf("another machine: %q, want it to answer, if only that nobody listens", got)
	}
	if got := w.in(three, "exec 3<>/dev/tcp/203.0.113.10/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -1 <&3"); got != "203.0.113.10:80" {
		t.Errorf("the rest of the world answers %q", got)
	}
	// The host's own address leads nowhere, nor does anything else.
	_, port, _ := net.SplitHostPort(api.Addr().String())
	if got := w.in(one, refusal(Gateway, port)); got != "Connection refused" {
		t.Errorf("another port of the switch: %q", got)
	}

	// The way in: through the proxy, as kube-apiserver takes it.
	c, err := net.Dial("unix", w.proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(c, "CONNECT %s:%s HTTP/1.1\r\nHost: x\r\n\r\n", Gateway, APIPort)
	r := bufio.NewReader(c)
	response, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("the proxy answers %v (%v)", response, err)
	}
	if line, err := r.ReadString('\n'); line != "the API\n" {
		t.Errorf("through the proxy: %q (%v)", line, err)
	}
}

// refusal is a script that says how a connection is refused.
func refusal(host, port string) string {
	return "(exec 3<>/dev/tcp/" + host + "/" + port + ") 2>&1 | grep -o 'Connection refused' | sort -u"
}

func TestNothingOutlivesAMachineHoweverItEnds(t *testing.T) {
	for name, end := range map[string]syscall.Signal{"asked to": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "127.0.0.1:1")
			dir, cmd := w.runs("brief")
			inside := w.in(dir, "readlink /proc/self/ns/net /proc/self/ns/mnt")
			w.in(dir, "setsid sleep 600 < /dev/null > /dev/null 2>&1 & mkdir /sys/fs/cgroup/*/child; mount -t tmpfs none /mnt")
			group := groupName(cmd.Process.Pid, "brief")
			if left := groups(t, group); len(left) == 0 {
				t.Fatal("the machine has no cgroups")
			}
			if err := cmd.Process.Signal(end); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			w.await("every process to end", func() bool {
				all, _ := filepath.Glob("/proc/[0-9]*/ns/*")
				for _, link := range all {
					if target, err := os.Readlink(link); err == nil && strings.Contains(inside, target) {
						return false
					}
				}
				return true
			})
			if end == syscall.SIGKILL {
				if err := Sweep(); err != nil {
					t.Fatal(err)
				}
			}
			if left := groups(t, group); len(left) > 0 {
				t.Errorf("cgroups are left: %v", left)
			}
		})
	}
}

func groups(t *testing.T, name string) []string {
	t.Helper()
	within, err := hierarchies("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, h := range within {
		if _, err := os.Stat(filepath.Join(h.folder, name)); err == nil {
			all = append(all, h.folder)
		}
	}
	return all
}

func TestAProgramInAMachineEndsWithTheOneThatStartedIt(t *testing.T) {
	w := newWorld(t, "127.0.0.1:1")
	dir, _ := w.runs("brief")
	cmd := exec.Command("/proc/self/exe", "enter", string(dir), "/bin/sleep", "601")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.await("the program to run", func() bool { return w.in(dir, "pgrep -cx sleep || true") == "1" })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	w.await("the program to end", func() bool { return w.in(dir, "pgrep -cx sleep || true") == "0" })
}
