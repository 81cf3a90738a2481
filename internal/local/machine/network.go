//go:build linux

package machine

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A network is a network namespace. It lives as long as a process is in it or
// holds it open.
type network struct{ *os.File }

// newNetwork makes an empty one.
func newNetwork() (network, error) {
	var ns *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot make a network namespace: %w", err)
		}
		var err error
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return network{ns}, err
}

func openNetwork(path string) (network, error) {
	ns, err := os.Open(path)
	return network{ns}, err
}

// inside runs f in the network: sockets that it makes are the network's, and stay
// so when they are used elsewhere.
func (n network) inside(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot enter a network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it: a thread that has changed its
// namespaces is of no use to others.
func onThread(f func() error) error {
	answer := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: so the thread ends
		answer <- f()
	}()
	return <-answer
}

// ip runs ip(8) once for each line, in the network.
func (n network) ip(ctx context.Context, lines ...string) error {
	return n.inside(func() error {
		for _, line := range lines {
			out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("ip %s: %w: %s", line, err, strings.TrimSpace(string(out)))
			}
		}
		return nil
	})
}

func (n network) listen(ctx context.Context, address string) (l net.Listener, err error) {
	failed := n.inside(func() error {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		return err
	})
	return l, failed
}

// dialTimeout bounds a connection's opening.
const dialTimeout = 10 * time.Second

// dial opens a connection to an address, which is not a name: the network has no
// resolver.
func (n network) dial(ctx context.Context, address string) (c net.Conn, err error) {
	failed := n.inside(func() error {
		c, err = (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
		return err
	})
	return c, failed
}
