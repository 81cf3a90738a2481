package controlplane

import (
	"slices"
	"strconv"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Certificates of a control plane, and the Secrets that cert-manager keeps them in, are
// named <control plane>-pki-<one of these>.
const (
	CA           = "ca"
	FrontProxyCA = "front-proxy-ca"
	EtcdCA       = "etcd-ca"
	// ServiceAccounts holds the key that signs the tokens of service accounts. Its
	// certificate is a way to hand the public key to the API server, which reads
	// public keys from certificates as well.
	ServiceAccounts = "service-accounts"
	// Admin is the credential of the kubeconfig that Cluster API asks for, and
	// Controller that of the cluster controller.
	Admin      = "admin"
	Controller = "controller"

	apiServer         = "apiserver"
	kubeletClient     = "apiserver-kubelet-client"
	etcdClient        = "apiserver-etcd-client"
	frontProxyClient  = "front-proxy-client"
	etcdServer        = "etcd-server"
	etcdPeer          = "etcd-peer"
	controllerManager = "controller-manager"
	scheduler         = "scheduler"

	// selfSigned issues authorities, and nothing else.
	selfSigned = "selfsigned"
)

// Authorities of a control plane.
var Authorities = []string{CA, EtcdCA, FrontProxyCA}

// Lives of certificates. Authorities outlive what they issue by far; leaves are renewed
// a third of their life before they end, which is longer than a long outage of
// cert-manager.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	leafRenewal   = 30 * 24 * time.Hour
)

// certificate is a leaf, as kubeadm has it (k8s.io/kubernetes,
// cmd/kubeadm/app/phases/certs).
type certificate struct {
	name, authority string
	// commonName and group are who a client is.
	commonName, group string
	client, server    bool
	names, addresses  []string
}

// Issuers of a control plane: one that signs the authorities, and one of each.
func (p *Plan) Issuers() []*certmanager.Issuer {
	issuers := []*certmanager.Issuer{{
		ObjectMeta: p.meta(p.PKI(selfSigned), ""),
		Spec:       certmanager.IssuerSpec{IssuerConfig: certmanager.IssuerConfig{SelfSigned: &certmanager.SelfSignedIssuer{}}},
	}}
	for _, generation := range p.place.trusted() {
		for _, authority := range Authorities {
			name := p.PKI(PartOf(authority, generation))
			issuers = append(issuers, &certmanager.Issuer{
				ObjectMeta: p.meta(name, ""),
				Spec:       certmanager.IssuerSpec{IssuerConfig: certmanager.IssuerConfig{CA: &certmanager.CAIssuer{SecretName: name}}},
			})
		}
	}
	return issuers
}

// Certificates of a control plane, authorities first.
func (p *Plan) Certificates() []*certmanager.Certificate {
	var all []*certmanager.Certificate
	for _, generation := range p.place.trusted() {
		for _, authority := range Authorities {
			c := p.certificate(PartOf(authority, generation), selfSigned, p.cp.Name+" "+authority, authorityLife, authorityLife/10)
			c.Spec.IsCA = true
			if generation > 1 { // another name than the one before
				c.Spec.Subject = &certmanager.X509Subject{SerialNumber: strconv.Itoa(int(generation))}
			}
			// Renewed with the same key, an authority's certificate still vouches for what
			// it issued before: cert-manager does not issue leaves anew with it.
			c.Spec.PrivateKey.RotationPolicy = certmanager.RotationPolicyNever
			c.Spec.Usages = []certmanager.KeyUsage{certmanager.UsageDigitalSignature, certmanager.UsageKeyEncipherment, certmanager.UsageCertSign}
			all = append(all, c)
		}
	}
	sa := p.certificate(ServiceAccounts, selfSigned, p.cp.Name+" sa", authorityLife, authorityLife/10)
	sa.Spec.PrivateKey = &certmanager.CertificatePrivateKey{
		Algorithm: certmanager.RSAKeyAlgorithm, Size: 2048, Encoding: certmanager.PKCS1,
		RotationPolicy: certmanager.RotationPolicyNever, // another key ends every token
	}
	sa.Spec.Usages = []certmanager.KeyUsage{certmanager.UsageDigitalSignature}
	all = append(all, sa)

	for _, leaf := range p.leaves() {
		c := p.certificate(leaf.name, PartOf(leaf.authority, p.place.issuing()), leaf.commonName, leafLife, leafRenewal)
		c.Spec.PrivateKey.RotationPolicy = certmanager.RotationPolicyAlways
		c.Spec.DNSNames, c.Spec.IPAddresses = leaf.names, leaf.addresses
		c.Spec.Usages = []certmanager.KeyUsage{certmanager.UsageDigitalSignature, certmanager.UsageKeyEncipherment}
		if leaf.server {
			c.Spec.Usages = append(c.Spec.Usages, certmanager.UsageServerAuth)
		}
		if leaf.client {
			c.Spec.Usages = append(c.Spec.Usages, certmanager.UsageClientAuth)
		}
		if leaf.group != "" {
			c.Spec.Subject = &certmanager.X509Subject{Organizations: []string{leaf.group}}
		}
		all = append(all, c)
	}
	return all
}

func (p *Plan) leaves() []certificate {
	service := p.name(APIServer)
	domain := p.cp.Spec.Network.Domain
	apiNames := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain,
		service, service + "." + p.cp.Namespace, p.host(service), "localhost",
	}
	apiAddresses := []string{p.kubernetes.String(), "127.0.0.1", "::1"}
	switch host := p.Endpoint().Host; {
	case isAddress(host):
		apiAddresses = appendNew(apiAddresses, host)
	default:
		apiNames = appendNew(apiNames, host)
	}
	loopback := []string{"127.0.0.1", "::1"}
	leaves := []certificate{
		{name: apiServer, authority: CA, commonName: "kube-apiserver", server: true, names: apiNames, addresses: apiAddresses},
		// Without a group: the right to reach kubelets is bound to the name.
		{name: kubeletClient, authority: CA, commonName: "kube-apiserver-kubelet-client", client: true},
		{name: controllerManager, authority: CA, commonName: "system:kube-controller-manager", client: true},
		{name: scheduler, authority: CA, commonName: "system:kube-scheduler", client: true},
		{name: Admin, authority: CA, commonName: "kubernetes-admin", group: AdminGroup, client: true},
		{name: Controller, authority: CA, commonName: "aether:cluster-controller", group: "system:masters", client: true},
		{name: frontProxyClient, authority: FrontProxyCA, commonName: "front-proxy-client", client: true},
		{name: etcdClient, authority: EtcdCA, commonName: "kube-apiserver-etcd-client", client: true},
		{name: etcdServer, authority: EtcdCA, commonName: "etcd-server", server: true, client: true,
			names: append(p.members(), p.host(p.name(Etcd)), "localhost"), addresses: loopback},
		// Each member by its name, without a wildcard: etcd looks a peer's names up
		// and compares, and a wildcard it could only look up backwards.
		{name: etcdPeer, authority: EtcdCA, commonName: "etcd-peer", server: true, client: true, names: append(p.members(), "localhost"), addresses: loopback},
	}
	if p.cp.Spec.Etcd.Snapshots != nil {
		leaves = append(leaves, certificate{name: etcdBackup, authority: EtcdCA, commonName: "aether-etcd-backup", client: true})
	}
	return leaves
}

// AdminGroup is the group of who holds the admin's kubeconfig. Unlike system:masters it
// has its rights from a ClusterRoleBinding, which can be taken away.
const AdminGroup = "kubeadm:cluster-admins"

func (p *Plan) certificate(name, issuer, commonName string, life, renewal time.Duration) *certmanager.Certificate {
	labels := p.meta("", "").Labels
	return &certmanager.Certificate{
		ObjectMeta: p.meta(p.PKI(name), ""),
		Spec: certmanager.CertificateSpec{
			SecretName:     p.PKI(name),
			SecretTemplate: &certmanager.CertificateSecretTemplate{Labels: labels},
			CommonName:     commonName,
			Duration:       &metav1.Duration{Duration: life},
			RenewBefore:    &metav1.Duration{Duration: renewal},
			PrivateKey:     &certmanager.CertificatePrivateKey{Algorithm: certmanager.ECDSAKeyAlgorithm, Size: 256},
			IssuerRef:      cmmeta.IssuerReference{Name: p.PKI(issuer), Kind: certmanager.IssuerKind, Group: certmanager.SchemeGroupVersion.Group},
		},
	}
}

// PKI names the Certificate, the Issuer and the Secret of a part of the PKI.
func (p *Plan) PKI(part string) string { return p.name("pki-" + part) }

func appendNew(all []string, s string) []string {
	if slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}
