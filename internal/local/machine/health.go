//go:build linux

package machine

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"
)

// listenUnix listens on a socket that only its owner may use.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return (&net.ListenConfig{}).Listen(ctx, "unix", path)
}

// healthTimeout bounds one look.
const healthTimeout = 5 * time.Second

// serveHealth answers on a Unix socket, which can be reached from outside, what an
// address in the network answers. Without one it says that all is well.
func serveHealth(ctx context.Context, socket string, n network, url string) error {
	l, err := listenUnix(ctx, socket)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout: healthTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return n.dial(ctx, address)
			},
		},
	}
	server := &http.Server{ReadHeaderTimeout: healthTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if url == "" {
			return
		}
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, url, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		request.Header.Set("Brief", "true") // Cilium: its own health, not the cluster's
		response, err := client.Do(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_ = response.Body.Close()
		w.WriteHeader(response.StatusCode)
	})}
	go func() { _ = server.Serve(l) }() // until the program ends
	return nil
}
