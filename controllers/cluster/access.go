package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// clusterType is the type of Secrets by which Cluster API's providers know each other
// (sigs.k8s.io/cluster-api/api/core/v1beta2, ClusterSecretType).
const clusterType corev1.SecretType = "cluster.x-k8s.io/secret"

// annotationOf marks what a Secret was made from, so that nothing secret has to be read
// to know that it is current.
const annotationOf = "controlplane.aetherplatform.cloud/made-from"

// credential is how an API server is reached.
type credential struct {
	endpoint      cpv1.APIEndpoint
	ca, cert, key []byte
	// address of one API server among all at the endpoint; "" is whichever answers.
	address string
}

func (c credential) url() string {
	return fmt.Sprintf("https://%s:%d", c.endpoint.Host, c.endpoint.Port)
}

// config of a client.
func (c credential) config() *rest.Config {
	host, name := c.url(), ""
	if c.address != "" {
		host, name = "https://"+net.JoinHostPort(c.address, strconv.Itoa(controlplane.APIServerPort)), c.endpoint.Host
	}
	return &rest.Config{Host: host, TLSClientConfig: rest.TLSClientConfig{ServerName: name, CAData: c.ca, CertData: c.cert, KeyData: c.key}}
}

// credential that cert-manager has issued.
func (r *Reconciler) credential(ctx context.Context, s *scope, name string) (credential, error) {
	secret, err := r.secret(ctx, s, name)
	if err != nil {
		return credential{}, err
	}
	trust := &corev1.ConfigMap{}
	if err := r.read(ctx, client.ObjectKey{Namespace: s.cp.Namespace, Name: s.plan.Trust()}, trust); err != nil {
		return credential{}, unseen(err, "the authorities' certificates")
	}
	return credential{
		endpoint: s.plan.Endpoint(), ca: []byte(trust.Data[controlplane.TrustKey(controlplane.CA)]),
		cert: secret.Data[corev1.TLSCertKey], key: secret.Data[corev1.TLSPrivateKeyKey],
	}, nil
}

// kubeconfig keeps the Secret <cluster>-kubeconfig that Cluster API reads, and
// <cluster>-ca, in which its bootstrap providers look up whom to trust; the key of the
// authority is in neither.
func (r *Reconciler) kubeconfig(ctx context.Context, s *scope) error {
	cluster := controlplane.ClusterName(s.cp)
	from, err := r.madeFrom(ctx, s)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{}
	switch err := r.reader.Get(ctx, client.ObjectKey{Namespace: s.cp.Namespace, Name: cluster + "-kubeconfig"}, secret); {
	case err == nil && secret.Annotations[annotationOf] == from && metav1.IsControlledBy(secret, s.cp):
		return nil
	case err == nil && !metav1.IsControlledBy(secret, s.cp):
		return &waiting{reason: cpv1.ReasonConflict, stuck: true, after: soon, message: fmt.Sprintf(
			"Secret %s is there and is not of this control plane; delete or rename it", secret.Name)}
	case client.IgnoreNotFound(err) != nil:
		return unreadable(err, cluster+"-kubeconfig")
	}
	admin, err := r.credential(ctx, s, controlplane.Admin)
	if err != nil {
		return err
	}
	text, err := kubeconfig(cluster, admin)
	if err != nil {
		return err
	}
	for name, data := range map[string]map[string][]byte{
		cluster + "-kubeconfig": {"value": text},
		cluster + "-ca":         {corev1.TLSCertKey: admin.ca},
	} {
		meta := s.plan.Meta(name)
		meta.Annotations = map[string]string{annotationOf: from}
		o := &corev1.Secret{ObjectMeta: meta, Type: clusterType, Data: data}
		u, err := encode(o, r.Scheme())
		if err != nil {
			return err
		}
		u.SetAnnotations(meta.Annotations) // and no digest of what is secret
		if _, err := r.applier.Apply(ctx, u); err != nil {
			return err
		}
		objectsApplied.Inc()
	}
	return nil
}

// madeFrom changes with the admin's certificate, the authorities and the endpoint.
func (r *Reconciler) madeFrom(ctx context.Context, s *scope) (string, error) {
	for _, c := range s.cp.Status.Certificates {
		if c.Name == controlplane.Admin && c.NotAfter != nil {
			endpoint := s.plan.Endpoint()
			trust := &corev1.ConfigMap{}
			if err := r.read(ctx, client.ObjectKey{Namespace: s.cp.Namespace, Name: s.plan.Trust()}, trust); err != nil {
				return "", unseen(err, "the authorities' certificates")
			}
			sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s %s", endpoint.Host, endpoint.Port, c.NotAfter.UTC(), trust.Data[controlplane.TrustKey(controlplane.CA)]))
			return hex.EncodeToString(sum[:16]), nil
		}
	}
	return "", &waiting{reason: cpv1.ReasonWaiting, message: "Waiting for the certificate of the admin"}
}

// kubeconfig is the text of one.
func kubeconfig(cluster string, c credential) ([]byte, error) {
	user := cluster + "-admin"
	text, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{cluster: {Server: c.url(), CertificateAuthorityData: c.ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: c.cert, ClientKeyData: c.key}},
		Contexts:       map[string]*clientcmdapi.Context{user + "@" + cluster: {Cluster: cluster, AuthInfo: user}},
		CurrentContext: user + "@" + cluster,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot write a kubeconfig: %w", err)
	}
	return text, nil
}

// greet asks an API server whether it is ready, and gives the cluster what every
// cluster has. After that, Cluster API's controllers may use the kubeconfig.
func (r *Reconciler) greet(ctx context.Context, s *scope) error {
	if r.met.knows(s.cp, s.plan.Version()) {
		// Said each time: what was to be written the first time may have been refused.
		s.cp.Status.Initialization.ControlPlaneInitialized = ptr.To(true)
		return nil
	}
	c, err := r.credential(ctx, s, controlplane.Controller)
	if err != nil {
		return err
	}
	m, err := r.reach(c)
	said := ""
	if err == nil {
		said, err = m.version(ctx)
	}
	if err == nil && controlplane.Same(s.plan.Version(), said) {
		err = m.prepare(ctx)
	}
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API servers do not take the cluster controller for who it is: %w", err)
	case err != nil:
		return &waiting{reason: cpv1.ReasonUnreachable, after: soon, message: fmt.Sprintf("The API servers do not answer at %s: %v", c.url(), err)}
	}
	if !controlplane.Same(s.plan.Version(), said) {
		return &waiting{reason: cpv1.ReasonWaiting, after: soon, message: fmt.Sprintf("The API servers answer as %s, want %s", said, s.plan.Version())}
	}
	s.cp.Status.Initialization.ControlPlaneInitialized = ptr.To(true)
	r.met.meet(s.cp, s.plan.Version())
	return nil
}
