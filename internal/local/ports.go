package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports that the platform listens on, all on the loopback address.
type Ports struct {
	Etcd              int `json:"etcd"`
	EtcdPeer          int `json:"etcdPeer"`
	API               int `json:"api"`
	ControllerManager int `json:"controllerManager"`
	Git               int `json:"git"`
	Artifacts         int `json:"artifacts"`
	SourceHealth      int `json:"sourceHealth"`
	KustomizeHealth   int `json:"kustomizeHealth"`
	Review            int `json:"review"`
	ReviewProbes      int `json:"reviewProbes"`
	OperatorHealth    int `json:"operatorHealth"`
	OperatorMetrics   int `json:"operatorMetrics"`
	Kyverno           int `json:"kyverno"`
	KyvernoMetrics    int `json:"kyvernoMetrics"`
	OpenBao           int `json:"openBao"`
	ClusterHealth     int `json:"clusterHealth"`
	ClusterMetrics    int `json:"clusterMetrics"`
}

// DefaultPortBase is the first of the ports unless another is chosen. It is below
// the range that systems take ports from for outgoing connections.
const DefaultPortBase = 17440

// PortCount is how many ports a platform listens on.
var PortCount = len((&Ports{}).each())

// PortsFrom are PortCount ports in a row.
func PortsFrom(base int) Ports {
	var p Ports
	for i, port := range p.each() {
		*port.number = base + i
	}
	return p
}

// FreePorts are PortCount ports in a row that nobody listens on now, for tests that
// run beside one another.
func FreePorts() (Ports, error) {
	const first, last, tries = 20000, 30000, 100
	var p Ports
	var err error
	for range tries {
		p = PortsFrom(first + rand.IntN((last-first)/PortCount)*PortCount) //nolint:gosec // which ports is no secret
		if err = p.free(context.Background()); err == nil {
			return p, nil
		}
	}
	return p, fmt.Errorf("cannot find %d free ports in a row between %d and %d: %w", PortCount, first, last, err)
}

// Base is the first of the ports.
func (p *Ports) Base() int { return *p.each()[0].number }

type port struct {
	number  *int
	purpose string
}

func (p *Ports) each() []port {
	return []port{
		{&p.Etcd, "etcd"},
		{&p.EtcdPeer, "etcd's peers"},
		{&p.API, "the Kubernetes API"},
		{&p.ControllerManager, "kube-controller-manager"},
		{&p.Git, "the Git forge"},
		{&p.Artifacts, "the artifacts of Flux sources"},
		{&p.SourceHealth, "the health of source-controller"},
		{&p.KustomizeHealth, "the health of kustomize-controller"},
		{&p.Review, "the webhooks of the review server"},
		{&p.ReviewProbes, "the health of the review server"},
		{&p.OperatorHealth, "the health of the namespace operator"},
		{&p.OperatorMetrics, "the metrics of the namespace operator"},
		{&p.Kyverno, "the webhooks of Kyverno"},
		{&p.KyvernoMetrics, "the metrics of Kyverno"},
		{&p.OpenBao, "OpenBao's API"},
		{&p.ClusterHealth, "the health of the cluster controller"},
		{&p.ClusterMetrics, "the metrics of the cluster controller"},
	}
}

// free is an error that names each port that someone else listens on.
func (p *Ports) free(ctx context.Context) error {
	var taken []error
	var listen net.ListenConfig
	for _, port := range p.each() {
		if *port.number < 1 || *port.number > 65535 {
			return &PortError{Port: *port.number, Purpose: port.purpose, Err: errors.New("it is not between 1 and 65535")}
		}
		l, err := listen.Listen(ctx, "tcp", loopback(*port.number))
		if err != nil {
			taken = append(taken, &PortError{Port: *port.number, Purpose: port.purpose, Err: errors.New("another program listens on it")})
			continue
		}
		_ = l.Close()
	}
	return errors.Join(taken...)
}

// PortError is a port that cannot be used.
type PortError struct {
	Port    int
	Purpose string
	Err     error
}

// Error names the port and what it is for.
func (e *PortError) Error() string {
	return fmt.Sprintf("cannot use port %d for %s: %v", e.Port, e.Purpose, e.Err)
}

// Unwrap returns why.
func (e *PortError) Unwrap() error { return e.Err }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
