package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// Bounds of a credential's life.
const (
	shortest = 10 * time.Minute
	longest  = 24 * time.Hour
	// patience with cert-manager, which answers within a second or two.
	patience = 30 * time.Second
)

// AccessOptions is what `aether kubeconfig` is asked.
type AccessOptions struct {
	*cli.Env
	Place
	Name string
	// As is who the credential is of; "" is who asks.
	As     string
	Groups []string
	For    time.Duration
	Output string
}

// NewKubeconfigCommand returns `aether kubeconfig`.
func NewKubeconfigCommand(env *cli.Env) *cobra.Command {
	o := &AccessOptions{Env: env}
	cmd := &cobra.Command{
		Use:   "kubeconfig NAME",
		Short: "Get a short-lived credential of one's own for a cluster",
		Long: `Get a kubeconfig for a hosted cluster, with a credential that is of one person and ends
soon. Its key is made here and goes nowhere else: cert-manager signs a request for the
cluster's authority. Who may create CertificateRequests in the cluster's namespace can
do this, and is an admin of the cluster.

In the cluster the holder is User aether:user:<name>. The group aether:admins has the
rights of an admin, which its ClusterRoleBinding gives and takes.`,
		Example: `  aether kubeconfig acme-prod -o acme-prod.kubeconfig
  aether kubeconfig acme-prod --as ci --group acme:deployers --for 15m -o -`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return access(cmd.Context(), o)
		},
	}
	o.AddFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.As, "as", "", "`name` of the holder in the cluster, behind aether:user: (default: who asks)")
	flags.StringSliceVar(&o.Groups, "group", []string{controlplane.AccessGroup}, "`group` of the holder in the cluster; may be repeated")
	flags.DurationVar(&o.For, "for", time.Hour, "how long the credential lives, from 10m to 24h")
	flags.StringVarP(&o.Output, "output", "o", "-", "`file` to write, which its owner alone may read; - is standard output")
	return cmd
}

func access(ctx context.Context, o *AccessOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	c, err := o.Connect()
	if err != nil {
		return err
	}
	cp, err := o.Find(ctx, c, o.Name)
	if err != nil {
		return err
	}
	endpoint := cp.Endpoint()
	trust := &corev1.ConfigMap{}
	err = c.Get(ctx, client.ObjectKey{Namespace: cp.Namespace, Name: cp.Name + "-trust"}, trust)
	if apierrors.IsNotFound(err) || err == nil && endpoint.Host == "" {
		return &cli.Error{Code: cli.ExitFindings, Err: fmt.Errorf("cluster %s is not up yet", cp.Name),
			Try: fmt.Sprintf("kubectl -n %s wait aethercontrolplane/%s --for condition=Available", cp.Namespace, cp.Name)}
	}
	if err != nil {
		return cli.ClusterError(err, "read whom cluster "+cp.Name+" trusts")
	}
	asker, err := whoAsks(ctx, c)
	if err != nil {
		return err
	}
	if o.As == "" {
		o.As = asker
	}
	credential, ends, err := o.issue(ctx, c, cp, asker)
	if err != nil {
		return err
	}
	text, err := kubeconfigOf(cp.Name, "aether:user:"+o.As, endpoint, []byte(trust.Data[controlplane.TrustKey(controlplane.CA)]), credential)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Err, "aether:user:%s in %s, until %s\n", o.As, strings.Join(o.Groups, ", "), ends.UTC().Format(time.RFC3339))
	if o.Output == "-" {
		_, err = o.Out.Write(text)
		return err
	}
	return writePrivate(o.Output, text)
}

func (o *AccessOptions) check() error {
	if o.For < shortest || o.For > longest {
		return cli.Usage("--for 1h", "--for: %s is not between %s and %s", o.For, "10m", "24h")
	}
	if len(o.Groups) == 0 {
		return cli.Usage("--group "+controlplane.AccessGroup, "--group: a credential without a group cannot be revoked by one")
	}
	for _, group := range o.Groups {
		// Not the boundary, which is the right to ask cert-manager: it keeps people from
		// what nobody can revoke, such as system:masters.
		if group == "" || strings.HasPrefix(group, "system:") || strings.HasPrefix(group, "kubeadm:") {
			return cli.Usage("--group "+controlplane.AccessGroup, "--group: %q is not for people", group)
		}
	}
	return nil
}

// whoAsks is what the management cluster calls who asks.
func whoAsks(ctx context.Context, c client.Client) (string, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return "", cli.ClusterError(err, "ask who you are")
	}
	return review.Status.UserInfo.Username, nil
}

// credential is a key and its certificate, as PEM.
type credential struct{ key, cert []byte }

// Annotations of a CertificateRequest, for who reads an audit log.
const (
	annotationAsker  = "controlplane.aetherplatform.cloud/requested-by"
	annotationHolder = "controlplane.aetherplatform.cloud/requested-for"
)

// issue has cert-manager sign a request for the authority that clients are of. The
// request is deleted again: who asked for what is in the API server's audit log, and in
// an event at the control plane.
func (o *AccessOptions) issue(ctx context.Context, c client.WithWatch, cp *cpv1.AetherControlPlane, asker string) (credential, time.Time, error) {
	// A change of authorities has changed the issuer of this one as well, when it is time.
	admin := &certmanager.Certificate{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: cp.Namespace, Name: cp.Name + "-pki-" + controlplane.Admin}, admin); err != nil {
		return credential{}, time.Time{}, cli.ClusterError(err, "find the authority of cluster "+cp.Name)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return credential{}, time.Time{}, fmt.Errorf("cannot make a key: %w", err)
	}
	subject := pkix.Name{CommonName: "aether:user:" + o.As, Organization: o.Groups}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		return credential{}, time.Time{}, fmt.Errorf("cannot make a certificate request: %w", err)
	}
	request := &certmanager.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cp.Namespace, GenerateName: cp.Name + "-access-",
			Labels:      map[string]string{controlplane.LabelCluster: controlplane.ClusterName(cp)},
			Annotations: map[string]string{annotationAsker: asker, annotationHolder: subject.CommonName + " in " + strings.Join(o.Groups, ", ")},
		},
		Spec: certmanager.CertificateRequestSpec{
			Request:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}),
			IssuerRef: admin.Spec.IssuerRef, Duration: &metav1.Duration{Duration: o.For},
			Usages: []certmanager.KeyUsage{certmanager.UsageDigitalSignature, certmanager.UsageKeyEncipherment, certmanager.UsageClientAuth},
		},
	}
	if err := c.Create(ctx, request); err != nil {
		e := cli.ClusterError(err, "ask for a certificate")
		var known *cli.Error
		if apierrors.IsForbidden(err) && errors.As(e, &known) {
			known.Try = "ask the platform team for the right to create certificaterequests.cert-manager.io in namespace " + cp.Namespace
		}
		return credential{}, time.Time{}, e
	}
	defer func() {
		// Also when the person has had enough.
		_ = c.Delete(context.WithoutCancel(ctx), request)
	}()
	defer o.Waiting("Waiting for cert-manager …")()
	signed, err := awaitSigned(ctx, c, request)
	if err != nil {
		return credential{}, time.Time{}, err
	}
	cert, err := asAsked(signed, key, subject)
	if err != nil {
		return credential{}, time.Time{}, fmt.Errorf("cert-manager signed something else than it was asked for: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return credential{}, time.Time{}, fmt.Errorf("cannot encode the key: %w", err)
	}
	o.tell(ctx, c, cp, asker, cert)
	return credential{key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), cert: signed}, cert.NotAfter, nil
}

// awaitSigned returns the certificate.
func awaitSigned(ctx context.Context, c client.WithWatch, request *certmanager.CertificateRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var signed []byte
	var refused error
	err := cli.Await(ctx, c, &certmanager.CertificateRequestList{}, func(all []client.Object) bool {
		for _, o := range all {
			r, ok := o.(*certmanager.CertificateRequest)
			if !ok || r.UID != request.UID {
				continue
			}
			for _, condition := range r.Status.Conditions {
				bad := condition.Type == certmanager.CertificateRequestConditionDenied || condition.Type == certmanager.CertificateRequestConditionInvalidRequest
				failed := condition.Type == certmanager.CertificateRequestConditionReady && condition.Reason == certmanager.CertificateRequestReasonFailed
				if bad && condition.Status == cmmeta.ConditionTrue || failed {
					refused = errors.New(condition.Message)
				}
			}
			signed = r.Status.Certificate
			return len(signed) > 0 || refused != nil
		}
		return false
	}, client.InNamespace(request.Namespace), client.MatchingFields{"metadata.name": request.Name})
	switch {
	case refused != nil:
		return nil, &cli.Error{Code: cli.ExitRefused, Err: fmt.Errorf("cert-manager refuses the certificate: %w", refused), Try: "an approval policy may say who can be who; ask the platform team"}
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &cli.Error{Code: cli.ExitCluster, Err: fmt.Errorf("cert-manager has not signed within %s", patience), Try: "does cert-manager run? `kubectl get pods --all-namespaces --selector app.kubernetes.io/instance=cert-manager`"}
	case err != nil:
		return nil, cli.ClusterError(err, "wait for the certificate")
	}
	return signed, nil
}

// asAsked checks that a certificate is of the key and of whom it was asked for.
func asAsked(signed []byte, key *ecdsa.PrivateKey, subject pkix.Name) (*x509.Certificate, error) {
	block, _ := pem.Decode(signed)
	if block == nil {
		return nil, errors.New("it is no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	got, want := slices.Sorted(slices.Values(cert.Subject.Organization)), slices.Sorted(slices.Values(subject.Organization))
	if !key.PublicKey.Equal(cert.PublicKey) || cert.Subject.CommonName != subject.CommonName || !slices.Equal(got, want) {
		return nil, fmt.Errorf("it is of %q in %v", cert.Subject.CommonName, cert.Subject.Organization)
	}
	return cert, nil
}

// tell makes an event, for who looks at the control plane. Not every asker may.
func (o *AccessOptions) tell(ctx context.Context, c client.Client, cp *cpv1.AetherControlPlane, asker string, cert *x509.Certificate) {
	now := metav1.NewTime(o.Now())
	_ = c.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: cp.Namespace, GenerateName: cp.Name + "-access-"},
		InvolvedObject: corev1.ObjectReference{APIVersion: cpv1.GroupVersion.String(), Kind: cpv1.KindAetherControlPlane, Namespace: cp.Namespace, Name: cp.Name, UID: cp.UID},
		Type:           corev1.EventTypeNormal, Reason: "AccessIssued", Source: corev1.EventSource{Component: "aether-cli"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Message: fmt.Sprintf("%s got a credential of %s in %s, until %s", asker, cert.Subject.CommonName, strings.Join(cert.Subject.Organization, ", "), cert.NotAfter.UTC().Format(time.RFC3339)),
	})
}

func kubeconfigOf(cluster, user string, endpoint cpv1.APIEndpoint, ca []byte, c credential) ([]byte, error) {
	text, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{cluster: {Server: fmt.Sprintf("https://%s:%d", endpoint.Host, endpoint.Port), CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: c.cert, ClientKeyData: c.key}},
		Contexts:       map[string]*clientcmdapi.Context{cluster: {Cluster: cluster, AuthInfo: user}},
		CurrentContext: cluster,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot write a kubeconfig: %w", err)
	}
	return text, nil
}

// writePrivate writes a file that its owner alone may read, all of it or nothing.
func writePrivate(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // of mode 0600
	if err != nil {
		return cli.Usage("-o with a file in a folder that you may write to", "cannot write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return cli.Usage("-o with a file in a folder that you may write to", "cannot write %s: %w", path, err)
	}
	return nil
}
