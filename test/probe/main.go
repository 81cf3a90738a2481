// Command probe tells what a Pod can reach: it serves, dials and resolves, and
// reports one JSON object a line.
//
//	probe serve tcp:8443 http:8080 udp:5353   # until it is ended
//	probe dial [-timeout 2s] [-parallel 1] tcp://10.0.0.7:8443 http://10.0.0.7:8080 udp://10.0.0.7:5353
//	probe knock [-timeout 250ms] [-every 50ms] tcp://10.0.0.7:8443   # until it is ended
//	probe resolve [-timeout 2s] name...
//
// What it dials has to answer: an open connection alone proves nothing behind a
// proxy. A TCP server says who it is at once, an HTTP server and a UDP server when
// they are asked. A report says as well whether a connection was opened at all. The
// exit code is 1 when something did not answer.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Report is one line of the output.
type Report struct {
	// Target as it was named.
	Target string `json:"target"`
	// OK says that it answered.
	OK bool `json:"ok"`
	// Connected says that a connection was opened, whether something answered or not.
	Connected bool `json:"connected,omitempty"`
	// Answer of the server, or the addresses of a name.
	Answer string `json:"answer,omitempty"`
	// Result where it did not: refused, timeout, unreachable, notfound, error.
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
	// Time when it began, and how long it took.
	Time time.Time     `json:"time"`
	Took time.Duration `json:"took"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (bool, error) {
	if len(args) == 0 {
		return false, errors.New("name one of serve, dial, knock, resolve")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	timeout := flags.Duration("timeout", 2*time.Second, "how long one attempt may take")
	parallel := flags.Int("parallel", 1, "how many are tried at once; they are reported in order")
	every := flags.Duration("every", 50*time.Millisecond, "how often knock tries, at most")
	if err := flags.Parse(args[1:]); err != nil {
		return false, err
	}
	report := json.NewEncoder(out)
	ok := true
	each := func(do func(context.Context, *Report) error) error {
		slots := make(chan struct{}, max(1, *parallel))
		reports := make([]chan Report, flags.NArg())
		for i := range reports {
			reports[i] = make(chan Report, 1)
		}
		go func() {
			for i, target := range flags.Args() {
				slots <- struct{}{}
				go func() {
					reports[i] <- attempt(ctx, target, *timeout, do)
					<-slots
				}()
			}
		}()
		for _, one := range reports {
			r := <-one
			ok = ok && r.OK
			if err := report.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	switch args[0] {
	case "serve":
		return true, serve(ctx, flags.Args())
	case "dial":
		return ok, each(dial)
	case "resolve":
		return ok, each(resolve)
	case "knock":
		pace := time.NewTicker(*every)
		defer pace.Stop()
		for {
			if err := each(dial); err != nil {
				return false, err
			}
			select {
			case <-ctx.Done():
				return true, nil
			case <-pace.C:
			}
		}
	default:
		return false, fmt.Errorf("%q is none of serve, dial, knock, resolve", args[0])
	}
}

func attempt(ctx context.Context, target string, timeout time.Duration, do func(context.Context, *Report) error) Report {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r := Report{Target: target, Time: time.Now()}
	err := do(ctx, &r)
	r.Took = time.Since(r.Time)
	r.OK = err == nil
	if err != nil {
		r.Result, r.Error = result(err), err.Error()
	}
	return r
}

// result is a word for what went wrong.
func result(err error) string {
	var name *net.DNSError
	var late interface{ Timeout() bool }
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "notfound"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EPERM):
		return "unreachable"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
		return "timeout"
	default:
		return "error"
	}
}

// most that is read of an answer.
const most = 1 << 10

func dial(ctx context.Context, r *Report) error {
	to, err := url.Parse(r.Target)
	if err != nil {
		return err
	}
	network := to.Scheme
	switch network {
	case "http":
		network = "tcp"
	case "tcp", "udp":
	default:
		return fmt.Errorf("%q begins with none of tcp://, udp://, http://", r.Target)
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, network, to.Host)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	r.Connected = network == "tcp"
	deadline, _ := ctx.Deadline()
	if err := connection.SetDeadline(deadline); err != nil {
		return err
	}
	switch to.Scheme {
	case "http":
		_, err = fmt.Fprintf(connection, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", to.Host)
	case "udp":
		_, err = io.WriteString(connection, "who\n")
	}
	if err != nil {
		return err
	}
	answer := make([]byte, most)
	n, err := connection.Read(answer)
	if to.Scheme == "http" && err == nil {
		first, rest, _ := strings.Cut(string(answer[:n]), "\r\n")
		_, body, _ := strings.Cut(rest, "\r\n\r\n")
		r.Answer = strings.TrimSpace(first + " " + strings.TrimSpace(body))
		return nil
	}
	r.Answer = strings.TrimSpace(string(answer[:n]))
	return err
}

func resolve(ctx context.Context, r *Report) error {
	addresses, err := net.DefaultResolver.LookupHost(ctx, r.Target)
	r.Answer = strings.Join(addresses, " ")
	return err
}

// serve answers at each of the ports with the name of the Pod.
func serve(ctx context.Context, ports []string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	ended := make(chan error, len(ports))
	var listen net.ListenConfig
	for _, port := range ports {
		kind, number, _ := strings.Cut(port, ":")
		address := net.JoinHostPort("", number)
		switch kind {
		case "tcp", "http":
			l, err := listen.Listen(ctx, "tcp", address)
			if err != nil {
				return err
			}
			if kind == "tcp" {
				go func() { ended <- greet(l, host) }()
				continue
			}
			server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintln(w, host)
			})}
			go func() { ended <- server.Serve(l) }()
		case "udp":
			l, err := listen.ListenPacket(ctx, "udp", address)
			if err != nil {
				return err
			}
			go func() { ended <- echo(l, host) }()
		default:
			return fmt.Errorf("%q is for none of tcp, http and udp; begin it with one of them and a colon", port)
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

func greet(l net.Listener, host string) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			_, _ = fmt.Fprintln(c, host)
			_ = c.Close()
		}()
	}
}

func echo(l net.PacketConn, host string) error {
	asked := make([]byte, most)
	for {
		_, from, err := l.ReadFrom(asked)
		if err != nil {
			return err
		}
		_, _ = l.WriteTo([]byte(host+"\n"), from)
	}
}
