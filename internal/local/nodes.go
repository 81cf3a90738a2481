package local

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/local/machine"
)

// Nodes are real: containerd, kubelet and Cilium, each node on a machine that is
// made of namespaces. Package machine says what that is.

//go:embed nodes
var nodeFiles embed.FS

// Below Options.Dir.
const (
	nodesDir      = "nodes"
	switchNetwork = "switch"
	switchProxy   = "switch.sock"
	egressFile    = "egress.yaml"
)

// podNetwork is what nodes take the addresses of Pods from.
const podNetwork = "10.244.0.0/16"

// nodeImages are imported into every node, from bin/images.
var nodeImages = []string{"pause", "coredns", "probe"}

// NodeName is the name of the nth node, from 1.
func NodeName(n int) string { return fmt.Sprintf("node-%d", n) }

// machine is the folder of a node's machine.
func (p *Platform) machine(node string) machine.Dir {
	return machine.Dir(p.file(filepath.Join(nodesDir, node)))
}

func (p *Platform) eachNode(do func(n int, name string) error) error {
	for n := range p.Nodes {
		if err := do(n+1, NodeName(n+1)); err != nil {
			return err
		}
	}
	return nil
}

// nodeIdentities makes who is who on the nodes.
func (p *Platform) nodeIdentities(ca *authority) error {
	if p.Nodes == 0 {
		return nil
	}
	api := "https://" + net.JoinHostPort(machine.Gateway, machine.APIPort)
	users := []struct {
		name, user, server string
		groups             []string
		address            net.IP
	}{
		{name: "kubelet-client", user: "kube-apiserver-kubelet-client", server: p.apiURL()},
		{name: "kube-scheduler", user: "system:kube-scheduler", server: p.apiURL()},
		{name: "cilium", user: ciliumUser, groups: groupsOf(ciliumUser), server: api},
		{name: "cilium-operator", user: ciliumOperatorUser, groups: groupsOf(ciliumOperatorUser), server: api},
	}
	for n := range p.Nodes {
		name := NodeName(n + 1)
		users = append(users, struct {
			name, user, server string
			groups             []string
			address            net.IP
		}{name, "system:node:" + name, api, []string{"system:nodes"}, machine.Address(n + 1).AsSlice()})
	}
	for _, u := range users {
		var addresses []net.IP
		if u.address != nil {
			addresses = append(addresses, u.address)
		}
		if err := errors.Join(
			ca.issue(u.name, u.user, u.groups, p.Now(), addresses...),
			ca.writeKubeconfig(p.KubeconfigOf(u.name), u.server, u.name),
		); err != nil {
			return err
		}
	}
	return nil
}

const (
	ciliumUser         = "system:serviceaccount:kube-system:cilium"
	ciliumOperatorUser = "system:serviceaccount:kube-system:cilium-operator"
)

// controllers of kube-controller-manager. There is no cloud.
func (p *Platform) controllers() string {
	without := "*,-node-ipam-controller,-node-route-controller,-service-lb-controller,-cloud-node-lifecycle-controller,-attachdetach"
	if p.Nodes == 0 {
		without += ",-nodelifecycle"
	}
	return without
}

// apiServerNodeFlags are for a kube-apiserver that reaches nodes.
func (p *Platform) apiServerNodeFlags() []string {
	if p.Nodes == 0 {
		return nil
	}
	pki := p.file(pkiDir)
	return []string{
		"--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate=" + pki + "/kubelet-client.crt", "--kubelet-client-key=" + pki + "/kubelet-client.key",
		"--kubelet-certificate-authority=" + pki + "/ca.crt", "--kubelet-preferred-address-types=InternalIP",
		"--egress-selector-config-file=" + p.file(egressFile),
	}
}

// writeEgress says that nodes are reached through the switch.
func (p *Platform) writeEgress() error {
	if p.Nodes == 0 {
		return nil
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.k8s.io/v1beta1",
		"kind":       "EgressSelectorConfiguration",
		"egressSelections": []any{map[string]any{
			"name": "cluster",
			"connection": map[string]any{
				"proxyProtocol": "HTTPConnect",
				"transport":     map[string]any{"uds": map[string]any{"udsName": p.file(switchProxy)}},
			},
		}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(p.file(egressFile), data, 0o600)
}

// nodes starts them, and returns when Pods can run.
func (p *Platform) nodes(ctx context.Context) error {
	if p.Nodes == 0 {
		return nil
	}
	for _, process := range []*Process{p.scheduler(), p.nodeSwitch()} {
		if err := p.step(process.Name, func() error { return p.launch(ctx, process) }); err != nil {
			return err
		}
	}
	for _, file := range []string{"cluster.yaml", "cilium.yaml"} {
		if err := p.applyNodeFile(ctx, file); err != nil {
			return err
		}
	}
	err := p.eachNode(func(n int, name string) error {
		return p.step(name+": machine, containerd, images, kubelet", func() error { return p.node(ctx, n, name) })
	})
	if err != nil {
		return err
	}
	if err := p.step("cilium", func() error { return p.cilium(ctx) }); err != nil {
		return err
	}
	return p.step("nodes ready, with coredns", func() error { return p.awaitNodes(ctx) })
}

func (p *Platform) scheduler() *Process {
	process := p.newProcess("kube-scheduler", p.bin("kube-scheduler"), 0, "",
		"--kubeconfig="+p.KubeconfigOf("kube-scheduler"), "--authentication-kubeconfig="+p.KubeconfigOf("kube-scheduler"),
		"--authorization-kubeconfig="+p.KubeconfigOf("kube-scheduler"), "--leader-elect=false",
		"--secure-port=0") // nobody asks it anything
	process.What = "puts Pods on nodes"
	return process
}

func (p *Platform) nodeSwitch() *Process {
	process := p.newProcess("switch", p.bin("machine"), 0, "http://switch/",
		"switch", "--api="+loopback(p.Ports.API), "--network="+p.file(switchNetwork), "--proxy="+p.file(switchProxy),
		"--world="+strings.Join(slices.Sorted(maps.Values(p.World)), ","))
	if p.Chart {
		receiver := net.JoinHostPort(machine.Address(1).String(), reviewNodePort)
		process.Args = append(process.Args, "--forge="+loopback(p.Ports.Git), "--hooks="+loopback(p.Ports.Review), "--receiver="+receiver)
	}
	process.Socket = p.file(switchProxy)
	process.What = "what nodes are plugged into, " + machine.Gateway
	return process
}

// node starts a machine with what makes it a node. It is not ready: it has no
// network for Pods.
func (p *Platform) node(ctx context.Context, n int, name string) error {
	dir := p.machine(name)
	if err := p.furnish(dir, name); err != nil {
		return err
	}
	m := p.newProcess(name, p.bin("machine"), 0, "http://machine/", "run", "--name="+name, "--dir="+string(dir),
		"--bin="+p.bin(""), "--address="+machine.Address(n).String(), "--network="+p.file(switchNetwork))
	m.Socket, m.What = dir.Socket("machine"), "the machine of a node, "+machine.Address(n).String()
	if err := p.launch(ctx, m); err != nil {
		return err
	}
	containerd := p.within(name, "containerd", "http://127.0.0.1:1338/v1/metrics", "--config="+machine.Etc+"/containerd.toml")
	containerd.What = "runs containers on " + name
	if err := p.launch(ctx, containerd); err != nil {
		return err
	}
	for _, image := range nodeImages {
		if err := p.Import(ctx, name, image); err != nil {
			return err
		}
	}
	kubelet := p.within(name, "kubelet", "http://127.0.0.1:10248/healthz",
		"--config="+machine.Etc+"/kubelet.yaml", "--kubeconfig="+machine.Etc+"/kubelet.kubeconfig",
		"--hostname-override="+name, "--node-ip="+machine.Address(n).String(), "--root-dir=/var/lib/kubelet")
	kubelet.What = "runs Pods on " + name
	return p.launch(ctx, kubelet)
}

// furnish writes what a node is told.
func (p *Platform) furnish(dir machine.Dir, name string) error {
	etc := dir.Etc()
	for _, folder := range []string{"cni/bin", "cni/net.d", "bin"} {
		if err := os.MkdirAll(filepath.Join(etc, folder), 0o700); err != nil {
			return err
		}
	}
	for _, file := range []string{"kubelet.yaml", "containerd.toml"} {
		data, err := nodeFiles.ReadFile("nodes/" + file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(etc, file), data, 0o600); err != nil {
			return err
		}
	}
	for to, from := range map[string]string{
		"ca.crt": "ca.crt", "node.crt": name + ".crt", "node.key": name + ".key", "kubelet.kubeconfig": name + ".kubeconfig",
		"cilium.kubeconfig": "cilium.kubeconfig", "cilium-operator.kubeconfig": "cilium-operator.kubeconfig",
	} {
		data, err := os.ReadFile(filepath.Join(p.file(pkiDir), from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(etc, to), data, 0o600); err != nil { //nolint:gosec // names of the list above
			return err
		}
	}
	links := map[string]string{
		"cni/bin/loopback":   machine.Bin + "/cni-loopback",
		"cni/bin/cilium-cni": machine.Bin + "/cilium-cni",
	}
	for name, candidates := range compilers {
		path, err := lookAny(candidates)
		if err != nil {
			return err
		}
		links["bin/"+name] = path
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(etc, name)); err != nil {
			return err
		}
	}
	return os.CopyFS(filepath.Join(string(dir), "var", "lib", "cilium", "bpf"), os.DirFS(p.bin("cilium-bpf")))
}

// within is a program of bin/ that runs on a node.
func (p *Platform) within(node, name, health string, args ...string) *Process {
	dir := p.machine(node)
	enter := []string{"enter", "--dir=" + string(dir)}
	if health != "" {
		enter = append(enter, "--health="+health, "--socket="+dir.Socket(name))
	}
	process := p.newProcess(node+"-"+name, p.bin("machine"), 0, "",
		append(append(enter, "--", machine.Bin+"/"+name), args...)...)
	if health != "" {
		process.Health, process.Socket = "http://"+name+"/", dir.Socket(name)
	}
	process.Env = []string{"PATH=" + machine.Etc + "/bin:" + machine.Bin + ":" + os.Getenv("PATH"), "HOME=/tmp", "TMPDIR=/tmp"}
	return process
}

// On runs a program on a node, and returns what it prints.
func (p *Platform) On(ctx context.Context, node string, program ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.bin("machine"), append([]string{"enter", "--dir=" + string(p.machine(node)), "--"}, program...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("cannot run %s on %s: %w: %s", filepath.Base(program[0]), node, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Import brings an image of bin/images to a node.
func (p *Platform) Import(ctx context.Context, node, image string) error {
	_, err := p.On(ctx, node, machine.Bin+"/ctr", "--namespace=k8s.io", "images", "import", machine.Bin+"/images/"+image+".tar")
	return err
}

// cilium starts it on every node, and lets the nodes have Pods.
func (p *Platform) cilium(ctx context.Context) error {
	operator := p.within(NodeName(1), "cilium-operator", "http://127.0.0.1:9234/healthz",
		"--k8s-kubeconfig-path="+machine.Etc+"/cilium-operator.kubeconfig", "--operator-api-serve-addr=127.0.0.1:9234",
		"--enable-ipv4", "--enable-ipv6=false", "--ipam=cluster-pool",
		"--cluster-pool-ipv4-cidr="+podNetwork, "--cluster-pool-ipv4-mask-size=24",
		"--identity-allocation-mode=crd", "--enable-metrics=false")
	operator.What = "addresses for Cilium's nodes, and its CRDs"
	operator.Env = append(operator.Env, "K8S_NODE_NAME="+NodeName(1), "CILIUM_K8S_NAMESPACE=kube-system")
	if err := p.launch(ctx, operator); err != nil {
		return err
	}
	if err := p.awaitCRD(ctx, "ciliumnodes.cilium.io"); err != nil {
		return err
	}
	return p.eachNode(func(_ int, name string) error {
		agent := p.within(name, "cilium-agent", "http://127.0.0.1:9879/healthz",
			"--k8s-kubeconfig-path="+machine.Etc+"/cilium.kubeconfig",
			"--state-dir=/run/cilium", "--lib-dir=/var/lib/cilium", "--bpf-root=/sys/fs/bpf",
			"--cgroup-root="+ciliumCgroup(), "--devices=eth0",
			"--enable-ipv4", "--enable-ipv6=false", "--ipam=cluster-pool", "--identity-allocation-mode=crd",
			"--routing-mode=native", "--ipv4-native-routing-cidr="+podNetwork, "--auto-direct-node-routes",
			"--kube-proxy-replacement=true",
			// For rules with names: the agent's own DNS proxy. Envoy is not there.
			"--enable-l7-proxy=true", "--external-envoy-proxy=true", "--enable-envoy-config=false",
			"--enable-hubble=false", "--enable-health-checking=false", "--enable-endpoint-health-checking=false",
			"--cni-exclusive=false", "--enable-dynamic-config=false", "--agent-health-port=9879")
		agent.What = "the network of Pods on " + name
		agent.Env = append(agent.Env, "K8S_NODE_NAME="+name, "CILIUM_K8S_NAMESPACE=kube-system")
		if err := p.launch(ctx, agent); err != nil {
			return err
		}
		// Written here, once the agent can serve it, and in place: containerd misses the
		// rename with which the agent would put it there.
		config, err := nodeFiles.ReadFile("nodes/cni.json")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(p.machine(name).Etc(), "cni", "net.d", "05-cilium.conflist"), config, 0o600)
	})
}

// ciliumCgroup is the unified hierarchy of a machine, as it sees it.
func ciliumCgroup() string {
	if _, err := os.Stat(machine.Cgroups + "/cgroup.controllers"); err == nil {
		return machine.Cgroups
	}
	return machine.Cgroups + "/unified"
}

func (p *Platform) awaitCRD(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("CRD %s is not there after %s", name, startTimeout))
	defer cancel()
	return poll(ctx, func() (bool, error) {
		var crd apiextensionsv1.CustomResourceDefinition
		err := p.Client.Get(ctx, client.ObjectKey{Name: name}, &crd)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && established(crd), err
	})
}

// awaitNodes returns once every node takes Pods and names can be looked up on them.
func (p *Platform) awaitNodes(ctx context.Context) error {
	if err := p.coreDNS(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("the nodes are not ready after %s", startTimeout))
	defer cancel()
	return poll(ctx, func() (bool, error) {
		var nodes corev1.NodeList
		if err := p.Client.List(ctx, &nodes); err != nil {
			return false, err
		}
		var dns appsv1.Deployment
		if err := p.Client.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: "coredns"}, &dns); err != nil {
			return false, err
		}
		ready := slices.DeleteFunc(nodes.Items, func(n corev1.Node) bool { return !takesPods(n) })
		return len(ready) == p.Nodes && dns.Status.AvailableReplicas > 0, nil
	})
}

func takesPods(n corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// coreDNS applies the cluster's DNS. It knows the names of World as well.
func (p *Platform) coreDNS(ctx context.Context) error {
	var hosts strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.World)) {
		host, _, err := net.SplitHostPort(p.World[name])
		if err != nil {
			return err
		}
		fmt.Fprintf(&hosts, "        %s %s\n", host, name)
	}
	config := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "coredns"},
		Data: map[string]string{"Corefile": `.:53 {
    errors
    ready
    hosts {
` + hosts.String() + `        fallthrough
    }
    kubernetes cluster.local in-addr.arpa {
        pods insecure
    }
}
`},
	}
	if err := p.Client.Create(ctx, config); err != nil {
		return fmt.Errorf("cannot create ConfigMap kube-system/coredns: %w", err)
	}
	return p.applyNodeFile(ctx, "coredns.yaml")
}

func (p *Platform) applyNodeFile(ctx context.Context, name string) error {
	data, err := nodeFiles.ReadFile("nodes/" + name)
	if err != nil {
		return err
	}
	return p.apply(ctx, name, data)
}

// Programs in bin/ that a node cannot be without, beside the platform's own.
var nodePrograms = []string{
	"kubelet", "kube-scheduler", "runc", "containerd", "containerd-shim-runc-v2", "ctr", "cni-loopback",
	"cilium-agent", "cilium-operator", "cilium-cni", "cilium-bpf/Makefile.bpf", "machine",
	"images/pause.tar", "images/coredns.tar", "images/probe.tar",
}

// compilers that Cilium calls, by the names that it calls them, and what they may
// be called here.
var compilers = map[string][]string{
	"clang": {"clang-19", "clang"},
	"llc":   {"llc-19", "llc"},
}

func lookAny(names []string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.EvalSymlinks(path)
		}
	}
	return "", fmt.Errorf("%s is not on the PATH", names[0])
}

// nodePrerequisites finds all that is missing for nodes.
func (p *Platform) nodePrerequisites() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return &MissingError{"a node needs root on Linux", "without --nodes the platform needs neither; Pods then stay Pending"}
	}
	var missing []string
	for _, names := range [][]string{compilers["clang"], compilers["llc"], {"ip"}, {"iptables"}, {"ipset"}} {
		if _, err := lookAny(names); err != nil {
			missing = append(missing, names[0])
		}
	}
	if len(missing) > 0 {
		return &MissingError{
			fmt.Sprintf("not on the PATH, and a node needs it: %s", strings.Join(missing, ", ")),
			"make node-deps: it installs what Debian provides",
		}
	}
	needed := slices.Clone(nodePrograms)
	if p.Chart {
		for _, name := range p.chartImages() {
			needed = append(needed, "images/"+name+".tar")
		}
	}
	for _, name := range needed {
		if _, err := os.Stat(p.bin(name)); err != nil {
			missing = append(missing, filepath.Join("bin", name))
		}
	}
	if len(missing) > 0 {
		return &MissingError{
			fmt.Sprintf("%s is missing in %s", strings.Join(missing, ", "), p.Root),
			"make node: it makes them from their Go modules, once",
		}
	}
	return nil
}
