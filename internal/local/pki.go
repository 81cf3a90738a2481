package local

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// authority signs the certificates of one circle of programs. etcd has its own, so
// that no client of the API server gets past it.
type authority struct {
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// lifetime of certificates. A platform of one machine does not live longer.
const lifetime = 365 * 24 * time.Hour

func newAuthority(dir, name string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Aether local platform: " + name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a := &authority{dir: dir, name: name, cert: template, key: key}
	der, err := a.sign(template, &key.PublicKey, now)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.file(name+".crt"), encodePEM("CERTIFICATE", der), 0o600)
}

func (a *authority) sign(template *x509.Certificate, public *ecdsa.PublicKey, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = now.Add(-time.Hour) // clocks differ
	template.NotAfter = now.Add(lifetime)
	return x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes <name>.crt and <name>.key for a server on the loopback address, and
// these others, and a client of that user and those groups.
func (a *authority) issue(name, user string, groups []string, now time.Time, others ...net.IP) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)}, others...),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, &key.PublicKey, now)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(a.file(name+".crt"), encodePEM("CERTIFICATE", der), 0o600),
		os.WriteFile(a.file(name+".key"), encodePEM("PRIVATE KEY", private), 0o600),
	)
}

// writeKeyPair writes the key that service account tokens are signed with.
func writeKeyPair(private, public string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	open, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(private, encodePEM("EC PRIVATE KEY", secret), 0o600),
		os.WriteFile(public, encodePEM("PUBLIC KEY", open), 0o600),
	)
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// writeKubeconfig writes the kubeconfig of the user that a certificate was issued for.
func (a *authority) writeKubeconfig(path, server, certificate string) error {
	ca, err1 := os.ReadFile(a.file(a.name + ".crt"))
	cert, err2 := os.ReadFile(a.file(certificate + ".crt"))
	key, err3 := os.ReadFile(a.file(certificate + ".key"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	return writeKubeconfig(path, server, ca, &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key})
}

func writeKubeconfig(path, server string, ca []byte, user *clientcmdapi.AuthInfo) error {
	const name = "aether-local"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[name] = user
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, path) // 0600
}

// trust is what a look at the programs' health needs: both authorities, and a
// certificate that etcd accepts or the API server does.
func trust(dir string) (*tls.Config, error) {
	pool := x509.NewCertPool()
	for _, name := range []string{"ca.crt", "etcd-ca.crt"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		pool.AppendCertsFromPEM(data)
	}
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	for _, name := range []string{"admin", "etcd"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
		if err != nil {
			return nil, fmt.Errorf("cannot read a certificate: %w", err)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	return config, nil
}

// newSecret is 128 random bits, as text.
func newSecret() string {
	data := make([]byte, 16)
	_, _ = rand.Read(data) // never fails
	return hex.EncodeToString(data)
}
