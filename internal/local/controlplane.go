package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/kyverno"
	"github.com/aetherplatform/aether/internal/local/machine"
)

const (
	fluxNamespace = "flux-system"
	deployAccount = "deploy" // of each namespace; the repository handed over is applied as it
)

// reviewerUser is the service account that the review server is. It has a certificate
// for a token: it starts before there is anyone to ask for one.
const reviewerUser = "system:serviceaccount:" + v1alpha1.SystemNamespace + ":review"

// serviceAccounts are the identities of the programs that start once the cluster
// knows them, as which they run in a cluster too.
var serviceAccounts = map[string]types.NamespacedName{
	"namespace-operator":   {Namespace: v1alpha1.SystemNamespace, Name: "namespace-operator"},
	"source-controller":    {Namespace: fluxNamespace, Name: "source-controller"},
	"kustomize-controller": {Namespace: fluxNamespace, Name: "kustomize-controller"},
}

// accounts are the service accounts of the programs that this platform starts.
func (p *Platform) accounts() map[string]types.NamespacedName {
	all := map[string]types.NamespacedName{}
	if !p.Chart { // Pods have their own
		maps.Copy(all, serviceAccounts)
	}
	if p.Kyverno {
		all["kyverno"] = kyverno.Account
	}
	if p.Clusters {
		all["cert-manager"] = types.NamespacedName{Namespace: "cert-manager", Name: "cert-manager"}
		if !p.Chart {
			all["cluster-controller"] = types.NamespacedName{Namespace: controlplane.SystemNamespace, Name: controlplane.ServiceAccount}
		}
	}
	return all
}

// KubeconfigOf is the kubeconfig of one of the identities: admin, namespace-operator,
// source-controller and others.
func (p *Platform) KubeconfigOf(name string) string {
	return filepath.Join(p.Dir, pkiDir, name+".kubeconfig")
}

// identities makes who is who: everything that is secret, anew for each platform.
func (p *Platform) identities(context.Context) error {
	dir, now := p.file(pkiDir), p.Now()
	etcd, err := newAuthority(dir, "etcd-ca", now)
	if err != nil {
		return err
	}
	ca, err := newAuthority(dir, "ca", now)
	if err != nil {
		return err
	}
	failed := errors.Join(
		etcd.issue("etcd", "etcd", nil, now),
		etcd.issue("etcd-client", "kube-apiserver", nil, now),
		ca.issue("kube-apiserver", "kube-apiserver", nil, now, net.ParseIP(machine.Gateway)),
		writeKeyPair(filepath.Join(dir, "service-accounts.key"), filepath.Join(dir, "service-accounts.pub")),
	)
	for name, user := range map[string]struct {
		name   string
		groups []string
	}{
		"admin":                   {"admin", []string{"system:masters"}},
		"kube-controller-manager": {"system:kube-controller-manager", nil},
		"review":                  {reviewerUser, groupsOf(reviewerUser)},
	} {
		failed = errors.Join(failed,
			ca.issue(name, user.name, user.groups, now),
			ca.writeKubeconfig(p.KubeconfigOf(name), p.apiURL(), name))
	}
	if p.OpenBao {
		failed = errors.Join(failed, ca.issue("openbao", "openbao", nil, now))
	}
	failed = errors.Join(failed, p.nodeIdentities(ca))
	if failed != nil {
		return fmt.Errorf("cannot make certificates: %w", failed)
	}
	return os.Link(p.KubeconfigOf("admin"), p.Kubeconfig())
}

// groupsOf are the groups that the API server puts a service account in.
func groupsOf(user string) []string {
	namespace := strings.Split(user, ":")[2]
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
}

// tokens gives the programs that run as service accounts a kubeconfig with a token,
// whose signature an API server checks less often than that of a certificate.
func (p *Platform) tokens(ctx context.Context) error {
	ca, err := os.ReadFile(filepath.Join(p.file(pkiDir), "ca.crt"))
	if err != nil {
		return err
	}
	for name, account := range p.accounts() {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: ptr.To(int64(lifetime.Seconds())),
		}}
		of := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}
		if err := p.Client.SubResource("token").Create(ctx, of, request); err != nil {
			return fmt.Errorf("cannot make a token for ServiceAccount %s: %w", account, err)
		}
		user := &clientcmdapi.AuthInfo{Token: request.Status.Token}
		if err := writeKubeconfig(p.KubeconfigOf(name), p.apiURL(), ca, user); err != nil {
			return err
		}
	}
	return nil
}

func (p *Platform) apiURL() string { return "https://" + loopback(p.Ports.API) }

// controlPlane starts Kubernetes.
func (p *Platform) controlPlane(ctx context.Context) error {
	if err := p.writeEgress(); err != nil {
		return err
	}
	for _, process := range []*Process{p.etcd(), p.apiServer(), p.controllerManager()} {
		if err := p.step(process.Name, func() error { return p.launch(ctx, process) }); err != nil {
			return err
		}
	}
	return p.Connect()
}

func (p *Platform) newProcess(name, path string, port int, health string, args ...string) *Process {
	return &Process{
		Name: name, Path: path, Args: args, Port: port, Health: health,
		Log: filepath.Join(p.Dir, logsDir, name+".log"),
		// What programs leave in these folders goes with the platform, and what the user
		// has in theirs changes nothing.
		Env: []string{"HOME=" + p.file(homeDir), "TMPDIR=" + p.file(temporaryDir)},
	}
}

func (p *Platform) etcd() *Process {
	pki := p.file(pkiDir)
	clients, peers := "https://"+loopback(p.Ports.Etcd), "https://"+loopback(p.Ports.EtcdPeer)
	process := p.newProcess("etcd", p.bin("etcd"), p.Ports.Etcd, clients+"/health",
		"--name=local", "--data-dir="+p.file("etcd"),
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=local="+peers,
		"--cert-file="+pki+"/etcd.crt", "--key-file="+pki+"/etcd.key", "--trusted-ca-file="+pki+"/etcd-ca.crt", "--client-cert-auth",
		"--peer-cert-file="+pki+"/etcd.crt", "--peer-key-file="+pki+"/etcd.key", "--peer-trusted-ca-file="+pki+"/etcd-ca.crt", "--peer-client-cert-auth",
		// What the machine forgets in a power cut, `up` makes again; a killed process
		// loses nothing by it.
		"--unsafe-no-fsync",
		"--quota-backend-bytes=4294967296", "--auto-compaction-retention=5m", "--log-level=warn",
	)
	process.What = "the store of Kubernetes"
	return process
}

func (p *Platform) apiServer() *Process {
	pki := p.file(pkiDir)
	process := p.newProcess("kube-apiserver", p.bin("kube-apiserver"), p.Ports.API, p.apiURL()+"/readyz",
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", p.Ports.API),
		"--etcd-servers=https://"+loopback(p.Ports.Etcd),
		"--etcd-cafile="+pki+"/etcd-ca.crt", "--etcd-certfile="+pki+"/etcd-client.crt", "--etcd-keyfile="+pki+"/etcd-client.key",
		"--tls-cert-file="+pki+"/kube-apiserver.crt", "--tls-private-key-file="+pki+"/kube-apiserver.key",
		"--client-ca-file="+pki+"/ca.crt", "--cert-dir="+pki,
		"--authorization-mode=Node,RBAC", "--anonymous-auth=false",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+pki+"/service-accounts.pub", "--service-account-signing-key-file="+pki+"/service-accounts.key",
		"--service-cluster-ip-range=10.96.0.0/16",
		// The endpoints of the Service kubernetes cannot be loopback addresses. Where there
		// are nodes, it is the platform that writes them.
		"--endpoint-reconciler-type=none",
	)
	process.Args = append(process.Args, p.apiServerNodeFlags()...)
	process.What = "the Kubernetes API"
	return process
}

func (p *Platform) controllerManager() *Process {
	pki := p.file(pkiDir)
	process := p.newProcess("kube-controller-manager", p.bin("kube-controller-manager"), p.Ports.ControllerManager,
		"https://"+loopback(p.Ports.ControllerManager)+"/healthz",
		"--kubeconfig="+p.KubeconfigOf("kube-controller-manager"),
		"--authentication-kubeconfig="+p.KubeconfigOf("kube-controller-manager"),
		"--authorization-kubeconfig="+p.KubeconfigOf("kube-controller-manager"),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", p.Ports.ControllerManager),
		"--tls-cert-file="+pki+"/kube-apiserver.crt", "--tls-private-key-file="+pki+"/kube-apiserver.key", "--cert-dir="+pki,
		"--root-ca-file="+pki+"/ca.crt", "--service-account-private-key-file="+pki+"/service-accounts.key",
		"--use-service-account-credentials", "--leader-elect=false",
		"--controllers="+p.controllers(),
	)
	process.What = "garbage collection, quotas, namespaces' ends"
	return process
}
