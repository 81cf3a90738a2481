//go:build node

package node

import (
	"net"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/local/machine"
)

// Default-deny denies, and what the example fleet asks for is open: each row is
// a connection that is tried, within a node and between nodes. What is refused has
// something that listens: the node itself reaches it.
func TestWhatIsNotAllowedIsRefusedAndWhatIsAllowedWorks(t *testing.T) {
	w := newWorld(t)
	serve := []string{"serve", "tcp:8443", "tcp:8080", "tcp:5432", "udp:8443"}
	pods := map[string]*corev1.Pod{}
	var all []*corev1.Pod
	for _, place := range []struct{ namespace, node string }{
		{"acme-web", "node-1"}, {"acme-payments", "node-2"}, {"acme-catalog", "node-1"}, {"globex-billing", "node-1"},
		{"globex-web", "node-2"}, {"hooli-ci", "node-1"}, {"um-portal", "node-1"}, {"um-records", "node-2"}, {"default", "node-2"},
	} {
		p := pod(place.namespace, "server", place.node, serve...)
		pods[place.namespace], all = p, append(all, p)
	}
	beside := pod("acme-web", "beside", "node-2", serve...)
	w.runs(append(all, beside)...)

	at := func(p *corev1.Pod, port string) string { return net.JoinHostPort(p.Status.PodIP, port) }
	in := func(namespace, port string) string { return at(pods[namespace], port) }
	node := func(n int, port string) string { return net.JoinHostPort(machine.Address(n).String(), port) }
	cases := []struct {
		from, to string
		open     bool
		why      string
	}{
		{"acme-web", "tcp://" + in("acme-payments", "8443"), true, "both name it, on this port"},
		{"acme-web", "tcp://" + in("acme-catalog", "8443"), true, "both name it; the same node"},
		{"acme-web", "tcp://" + in("acme-payments", "8080"), false, "another port"},
		{"acme-web", "udp://" + in("acme-payments", "8443"), false, "another protocol of the same port"},
		{"acme-payments", "tcp://" + in("acme-web", "8443"), false, "the other direction"},
		{"acme-catalog", "tcp://" + in("acme-payments", "8443"), false, "another namespace of the tenant, which nobody names"},
		{"acme-web", "tcp://" + at(beside, "8080"), true, "inside a namespace everything is open, between nodes too"},
		{"globex-billing", "tcp://" + in("acme-payments", "8443"), true, "a peer's namespace, which both sides name"},
		{"globex-web", "tcp://" + in("acme-payments", "8443"), false, "a peer's other namespace"},
		{"globex-billing", "tcp://" + in("acme-web", "8443"), false, "another namespace of the peer"},
		{"um-portal", "tcp://" + in("um-records", "5432"), true, "the restricted profile: what is named"},
		{"um-records", "tcp://" + in("um-portal", "8443"), false, "the restricted profile: the other direction"},
		{"um-portal", "tcp://" + in("acme-web", "8080"), false, "another tenant"},
		{"hooli-ci", "tcp://" + in("acme-web", "8443"), false, "another tenant, though all addresses are open to it on other ports"},
		{"hooli-ci", "tcp://" + in("default", "8443"), false, "a namespace that is nobody's"},
		{"default", "tcp://" + in("acme-web", "8443"), false, "from a namespace that is nobody's"},
		{"default", "http://" + outside["api.stripe.com"], true, "no tenant, no policy: the outside is there"},
		{"hooli-ci", "http://" + outside["elsewhere.example"], true, "0.0.0.0/0 on this port"},
		{"hooli-ci", "http://" + outside["plain.example"], false, "0.0.0.0/0, but not on this port"},
		{"acme-payments", "http://" + outside["elsewhere.example"], true, "its range is named: 203.0.113.0/24"},
		{"acme-web", "http://" + outside["elsewhere.example"], false, "an address that nobody names"},
		{"acme-payments", "http://api.stripe.com:443", true, "a name that is named"},
		{"acme-payments", "http://other.example:443", false, "a name that nobody names, though it resolves"},
		{"acme-web", "http://api.stripe.com:443", false, "a name that another namespace names"},
		{"hooli-ci", "http://" + outside["metadata-tls.example"], false, "link-local addresses stay closed, whatever a rule says"},
		{"acme-web", "http://" + outside["metadata.example"], false, "the metadata address"},
		{"acme-web", "tcp://10.96.0.1:443", false, "the API server, by its Service"},
		{"acme-web", "tcp://" + net.JoinHostPort(machine.Gateway, machine.APIPort), false, "the API server, by its address"},
		{"acme-web", "tcp://" + node(1, "10250"), false, "the kubelet of its own node"},
		{"acme-web", "tcp://" + node(2, "10250"), false, "the kubelet of another node"},
		{"hooli-ci", "tcp://" + node(2, "10250"), false, "a node, though all addresses are open to it on other ports"},
	}
	var running sync.WaitGroup
	for _, c := range cases {
		running.Go(func() {
			r := w.dials(pods[c.from], "dial", c.to)
			if r.OK != c.open || !c.open && r.Connected {
				t.Errorf("%s → %s: got %+v, want open: %t: %s", c.from, c.to, r, c.open, c.why)
			}
		})
	}
	running.Wait()
	for _, c := range cases {
		if c.open || strings.HasPrefix(c.to, "udp") {
			continue
		}
		if err := w.listens(c.to); err != nil {
			t.Errorf("nothing listens at %s, so that it was refused says nothing: %v", c.to, err)
		}
	}
}

// listens asks the nodes to open a connection: no policy holds a node back from the
// Pods that it runs itself.
func (w *world) listens(target string) error {
	_, at, _ := strings.Cut(target, "//")
	if name, _, _ := net.SplitHostPort(at); outside[name] != "" {
		at = outside[name]
	}
	var last error
	for n := range w.Nodes {
		script := "exec 3<>/dev/tcp/" + strings.Replace(at, ":", "/", 1)
		_, err := w.On(w.Context(), local.NodeName(n+1), "/usr/bin/timeout", "3", "/bin/bash", "-c", script)
		if err == nil {
			return nil
		}
		last = err
	}
	return last
}

// Names resolve from everywhere, at the cluster's DNS and nowhere else; a name
// that a namespace may reach is open and others are not.
func TestNamesAreLookedUpAtTheClustersDNSOnly(t *testing.T) {
	w := newWorld(t)
	pods := w.runs(
		pod("acme-payments", "asks", "node-1", "serve", "tcp:1"),
		pod("acme-web", "asks", "node-2", "serve", "tcp:1"),
		pod("default", "dns", "node-2", "serve", "udp:53", "tcp:53"),
	)
	for _, p := range pods[:2] {
		for _, name := range []string{"kubernetes.default.svc.cluster.local", "kube-dns.kube-system"} {
			if r := w.dials(p, "resolve", name); !r.OK || !strings.HasPrefix(r.Answer, "10.96.0.") {
				t.Errorf("%s looks up %s: got %+v", p.Namespace, name, r)
			}
		}
		if r := w.dials(p, "dial", "udp://"+net.JoinHostPort(pods[2].Status.PodIP, "53")); r.OK {
			t.Errorf("%s reaches another server on the port of DNS: %+v", p.Namespace, r)
		}
	}
}
