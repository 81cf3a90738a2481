// Package portforward opens connections to the Pods behind Services of a cluster from
// outside of it, through the API server, as `kubectl port-forward` does. It takes the
// rights to get services, to list endpointslices and pods, and to create and get
// pods/portforward.
package portforward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/utils/ptr"
)

// Forwarder opens connections through one API server.
type Forwarder struct {
	config *rest.Config
	client kubernetes.Interface
}

// New returns one for a cluster.
func New(config *rest.Config) (*Forwarder, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	return &Forwarder{config: config, client: client}, nil
}

// Dial opens a connection to one of the ready Pods of a Service, by an address such as
// api.acme-web.svc:6443 with a port of the Service's, or to a Pod by its own address and
// port.
func (f *Forwarder) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("cannot tell host and port: %w", err)
	}
	port, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%s: the port is no number", address)
	}
	if net.ParseIP(host) != nil {
		namespace, pod, err := f.at(ctx, host)
		if err != nil {
			return nil, err
		}
		return f.tunnel(ctx, namespace, pod, int32(port))
	}
	parts := strings.Split(host, ".")
	if len(parts) < 3 || parts[2] != "svc" {
		return nil, fmt.Errorf("%s is no Service; write one such as api.acme-web.svc", host)
	}
	pod, target, err := f.ready(ctx, parts[1], parts[0], int32(port))
	if err != nil {
		return nil, err
	}
	return f.tunnel(ctx, parts[1], pod, target)
}

// at is the Pod that has an address.
func (f *Forwarder) at(ctx context.Context, address string) (namespace, pod string, err error) {
	pods, err := f.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.podIP=" + address})
	if err != nil {
		return "", "", fmt.Errorf("cannot look for the Pod at %s: %w", address, err)
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil && !p.Spec.HostNetwork {
			return p.Namespace, p.Name, nil
		}
	}
	return "", "", fmt.Errorf("no Pod has the address %s", address)
}

// ready is a Pod that a Service leads to, and the port there.
func (f *Forwarder) ready(ctx context.Context, namespace, service string, port int32) (pod string, target int32, err error) {
	s, err := f.client.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return "", 0, fmt.Errorf("cannot get Service %s/%s: %w", namespace, service, err)
	}
	named := ""
	for _, p := range s.Spec.Ports {
		if p.Port == port {
			named, target = p.Name, -1
		}
	}
	if target == 0 {
		return "", 0, fmt.Errorf("Service %s/%s has no port %d", namespace, service, port) //nolint:staticcheck // the kind's name
	}
	slices, err := f.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return "", 0, fmt.Errorf("cannot list the endpoints of Service %s/%s: %w", namespace, service, err)
	}
	for _, slice := range slices.Items {
		for _, p := range slice.Ports {
			if ptr.Deref(p.Name, "") != named || p.Port == nil {
				continue
			}
			for _, e := range slice.Endpoints {
				if ptr.Deref(e.Conditions.Ready, true) && e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
					return e.TargetRef.Name, *p.Port, nil
				}
			}
		}
	}
	return "", 0, fmt.Errorf("no Pod of Service %s/%s is ready", namespace, service)
}

// tunnel connects to a port of a Pod. The connection lives until either side closes it.
func (f *Forwarder) tunnel(ctx context.Context, namespace, pod string, port int32) (net.Conn, error) {
	url := f.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, f.config)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare a connection to Pod %s/%s: %w", namespace, pod, err)
	}
	connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to Pod %s/%s: %w", namespace, pod, err)
	}
	t := &tunnel{connection: connection}
	if err := t.open(port); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot connect to port %d of Pod %s/%s: %w", port, namespace, pod, err), connection.Close())
	}
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), connection.Close())
	}
	near, far := net.Pipe()
	go t.carry(far)
	return near, nil
}

// tunnel is a connection with the two streams of one forwarded port.
type tunnel struct {
	connection httpstream.Connection
	data       httpstream.Stream
	problems   httpstream.Stream
}

// open makes both streams: first that of problems, as the protocol wants it.
func (t *tunnel) open(port int32) (err error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	if t.problems, err = t.connection.CreateStream(headers); err != nil {
		return err
	}
	if err := t.problems.Close(); err != nil { // nothing is written to it
		return err
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	t.data, err = t.connection.CreateStream(headers)
	return err
}

// carry copies in both directions until one has ended, and then ends all.
func (t *tunnel) carry(far net.Conn) {
	ended := make(chan struct{}, 3)
	for _, way := range []func(){
		func() { _, _ = io.Copy(far, t.data) },
		func() { _, _ = io.Copy(t.data, far) },
		func() {
			// What is said there says that the Pod refused; an end of it says nothing.
			if said, err := io.ReadAll(t.problems); err == nil && len(said) == 0 {
				<-t.connection.CloseChan()
			}
		},
	} {
		go func() {
			way()
			ended <- struct{}{}
		}()
	}
	<-ended
	_ = t.data.Reset()
	_ = t.connection.Close()
	_ = far.Close()
}
