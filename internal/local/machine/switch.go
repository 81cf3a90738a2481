//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// A Switch is what machines are plugged into, in a network namespace of its own.
// It has no interface in the host's network. Streams of TCP pass between the two
// through this program alone: machines reach the API server and, where there is one
// for them, the forge at Gateway; the API server reaches machines through a Unix
// socket, and the forge what its webhooks are for through Hooks.
type Switch struct {
	// API is the address of kube-apiserver on the host.
	API string
	// Forge is the address of the Git forge on the host, for Pods that fetch from it;
	// empty where none do.
	Forge string
	// Hooks is an address on the host that leads to Receiver, an address on a machine;
	// empty where nothing of the host's calls a Pod.
	Hooks, Receiver string
	// Network is a link that is made to the network namespace.
	Network string
	// Proxy is the Unix socket on which CONNECT leads to the machines.
	Proxy string
	// World are addresses such as 203.0.113.10:443 that stand for the rest of the
	// world: something listens there, so that what is refused is refused by a policy.
	World []string
}

// Run serves until the context ends.
func (s Switch) Run(ctx context.Context) error {
	n, err := newNetwork()
	if err != nil {
		return err
	}
	defer func() { _ = n.Close() }()
	err = n.ip(ctx,
		"link set lo up",
		"link add switch type bridge",
		fmt.Sprintf("address add %s/%d dev switch", Gateway, subnet),
		"link set switch up")
	if err != nil {
		return err
	}
	api, err := n.listen(ctx, net.JoinHostPort(Gateway, APIPort))
	if err != nil {
		return err
	}
	var forge net.Listener
	if s.Forge != "" {
		if forge, err = n.listen(ctx, net.JoinHostPort(Gateway, ForgePort)); err != nil {
			return err
		}
	}
	var hooks net.Listener
	if s.Hooks != "" {
		if hooks, err = (&net.ListenConfig{}).Listen(ctx, "tcp", s.Hooks); err != nil {
			return err
		}
	}
	world, err := s.world(ctx, n)
	if err != nil {
		return err
	}
	if err := link(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.Fd()), s.Network); err != nil {
		return err
	}
	// Last, since it says that all is ready.
	proxy, err := listenUnix(ctx, s.Proxy)
	if err != nil {
		return err
	}

	ended := make(chan error, 4)
	host := func(ctx context.Context, address string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
	}
	go func() { ended <- forward(ctx, api, s.API, host) }()
	if forge != nil {
		go func() { ended <- forward(ctx, forge, s.Forge, host) }()
	}
	if hooks != nil {
		go func() { ended <- forward(ctx, hooks, s.Receiver, n.dial) }()
	}
	server := &http.Server{Handler: connect(n), ReadHeaderTimeout: dialTimeout}
	go func() { ended <- server.Serve(proxy) }()
	outside := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: dialTimeout}
	for _, l := range world {
		go func() { ended <- outside.Serve(l) }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// world listens at the addresses that stand for the rest of it.
func (s Switch) world(ctx context.Context, n network) ([]net.Listener, error) {
	var all []net.Listener
	for _, address := range s.World {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if err := n.ip(ctx, "address replace "+host+"/32 dev lo"); err != nil {
			return nil, err
		}
		l, err := n.listen(ctx, address)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// answer tells which address was reached.
func answer(w http.ResponseWriter, r *http.Request) {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		_, _ = fmt.Fprintln(w, local)
	}
}

// forward joins each connection with one of its own to the address.
func forward(ctx context.Context, l net.Listener, address string, dial func(context.Context, string) (net.Conn, error)) error {
	for {
		from, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			to, err := dial(ctx, address)
			if err != nil {
				_ = from.Close() // the server does not run: what its client would see as well
				return
			}
			join(from, to)
		}()
	}
}

// connect is a proxy into the network, as kube-apiserver takes one for what it
// has to say to nodes.
func connect(n network) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusOK) // a look at whether it serves
			return
		}
		to, err := n.dial(r.Context(), r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		from, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = to.Close()
			return
		}
		// The server set a deadline for the head of the request.
		if err := errors.Join(from.SetDeadline(time.Time{}), flush(buffered, "HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
			_, _ = from.Close(), to.Close()
			return
		}
		join(from, to)
	})
}

type flusher interface {
	io.Writer
	Flush() error
}

func flush(w flusher, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return w.Flush()
}

// join copies both ways until both have ended.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			if half, ok := pair[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
	_, _ = a.Close(), b.Close()
}
