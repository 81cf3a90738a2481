package cli_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/testenv"
)

// withCertManager is a world with cert-manager in it and, once running, the certificates
// of cluster acme-prod.
func withCertManager(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("-short leaves out what needs an API server")
	}
	w := &world{T: t, env: testenv.Start(t)}
	w.kubeconfig = w.env.Kubeconfig(t, "ada@example.com", "system:masters")
	crds := filepath.Join(testenv.Root(), "bin", "cert-manager-crds")
	if _, err := envtest.InstallCRDs(w.env.Config, envtest.CRDInstallOptions{Paths: []string{crds}}); err != nil {
		t.Fatal(err)
	}
	if err := certmanager.AddToScheme(w.env.Scheme); err != nil {
		t.Fatal(err)
	}
	if err := cpv1.AddToScheme(w.env.Scheme); err != nil {
		t.Fatal(err)
	}
	return w
}

// cluster makes what the cluster controller would.
func (w *world) cluster(name string, change ...func(*cpv1.AetherControlPlane)) (*cpv1.AetherControlPlane, *controlplane.Plan) {
	w.Helper()
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "aether-cluster-" + name}})
	cp := &cpv1.AetherControlPlane{
		ObjectMeta: metav1.ObjectMeta{Namespace: "aether-cluster-" + name, Name: name},
		Spec: cpv1.AetherControlPlaneSpec{
			Version: "v1.36.3", Etcd: cpv1.EtcdSpec{Replicas: 1, Storage: ptr.To(resource.MustParse("1Gi"))},
			ControlPlaneEndpoint: &cpv1.APIEndpoint{Host: "203.0.113.7", Port: 6443},
		},
	}
	w.create(cp)
	for _, do := range change {
		do(cp)
	}
	w.status(cp)
	plan, err := controlplane.NewPlan(cp, controlplane.Options{})
	if err != nil {
		w.Fatal(err)
	}
	return cp, plan
}

func TestClusterCerts(t *testing.T) {
	w := withCertManager(t)
	now := time.Now().Add(10*time.Hour + 30*time.Minute) // by the clock of the command
	_, plan := w.cluster("acme-prod", func(cp *cpv1.AetherControlPlane) {
		cp.Status.Rotation = &cpv1.Rotation{
			Phase: cpv1.RotationTrusting, Generation: 2, Since: metav1.NewTime(now.Add(-3*24*time.Hour - time.Hour)),
			Message: "Waiting for 1 node to trust authority ca-2: a; give each the certificates in ConfigMap acme-prod-trust",
		}
	})
	plan = plan.At(controlplane.Place{From: 1, To: 2, Phase: cpv1.RotationTrusting})
	for _, c := range plan.Certificates() {
		w.create(c)
		at := func(d time.Duration) *metav1.Time { return ptr.To(metav1.NewTime(now.Add(d + time.Hour))) }
		c.Status.NotAfter, c.Status.RenewalTime = at(c.Spec.Duration.Duration-24*time.Hour), at(c.Spec.Duration.Duration-c.Spec.RenewBefore.Duration-24*time.Hour)
		ready := certmanager.CertificateCondition{Type: "Ready", Status: "True", Reason: "Ready", Message: "Certificate is up to date and has not expired"}
		if c.Name == "acme-prod-pki-scheduler" {
			ready.Status, ready.Reason, ready.Message = "False", "Expired", "Certificate expired on Sunday"
			c.Status.NotAfter, c.Status.RenewalTime = at(-48*time.Hour), at(-30*24*time.Hour)
		}
		c.Status.Conditions = []certmanager.CertificateCondition{ready}
		w.status(c)
	}
	w.golden(t, "certs", cli.ExitFindings, "cluster", "certs", "acme-prod")
	w.golden(t, "certs-not-found", cli.ExitNotFound, "cluster", "certs", "acme-prd")
	w.golden(t, "certs-elsewhere", cli.ExitNotFound, "cluster", "certs", "acme-prod", "--namespace", "default")
	code, out := w.run(t, w.kubeconfig, "cluster", "certs", "acme-prod", "-o", "yaml")
	for _, want := range []string{"cluster: acme-prod\n", "generation: 1\n", "phase: Trusting\n", "- issued:\n", "subject: kubernetes-admin / kubeadm:cluster-admins\n", "message: Certificate expired on Sunday\n"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("it does not say %q", want)
		}
	}
	if code != cli.ExitFindings || bytes.Contains(out, []byte("PRIVATE")) {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// The key is made here, the certificate is of who asks for it, for as long as is asked for,
// and the request is gone afterwards.
func TestKubeconfigIsOfWhoAsksForItAndEndsSoon(t *testing.T) {
	w := withCertManager(t)
	w.env.Run(t, "cert-manager", nil, "--kubeconfig="+w.env.Kubeconfig(t, "cert-manager"))
	_, plan := w.cluster("acme-prod")
	for _, i := range plan.Issuers() {
		w.create(i)
	}
	for _, c := range plan.Certificates() {
		w.create(c)
	}
	ca := &corev1.Secret{}
	testenv.Eventually(t, func(ctx context.Context) error {
		return w.env.Client.Get(ctx, client.ObjectKey{Namespace: "aether-cluster-acme-prod", Name: plan.PKI(controlplane.CA)}, ca)
	})
	w.golden(t, "kubeconfig-not-up", cli.ExitFindings, "kubeconfig", "acme-prod")
	w.create(plan.TrustMap(map[string][]byte{controlplane.CA: ca.Data[corev1.TLSCertKey]}))

	file := filepath.Join(t.TempDir(), "kubeconfig")
	for name, c := range map[string]struct {
		args          []string
		holder, group string
		life          time.Duration
	}{
		"left to itself":      {nil, "aether:user:ada@example.com", "aether:admins", time.Hour},
		"of somebody's robot": {[]string{"--as", "ci", "--group", "acme:deployers,acme:readers", "--for", "15m"}, "aether:user:ci", "acme:deployers,acme:readers", 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := w.run(t, w.kubeconfig, append([]string{"kubeconfig", "acme-prod", "-o", file}, c.args...)...)
			if code != 0 || bytes.Contains(out, []byte("PRIVATE")) {
				t.Fatalf("exit code %d:\n%s", code, out)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file is %v (%v)", info.Mode(), err)
			}
			config, err := clientcmd.BuildConfigFromFlags("", file)
			if err != nil {
				t.Fatal(err)
			}
			if config.Host != "https://203.0.113.7:6443" || !bytes.Equal(config.CAData, ca.Data[corev1.TLSCertKey]) {
				t.Errorf("it leads to %s, and trusts\n%s", config.Host, config.CAData)
			}
			cert := parse(t, config.CertData)
			if got := strings.Join(slices.Sorted(slices.Values(cert.Subject.Organization)), ","); cert.Subject.CommonName != c.holder || got != c.group {
				t.Errorf("it is of %s in %s, want %s in %s", cert.Subject.CommonName, got, c.holder, c.group)
			}
			if err := cert.CheckSignatureFrom(parse(t, config.CAData)); err != nil {
				t.Error(err)
			}
			if left := time.Until(cert.NotAfter); left > c.life || left < c.life-time.Minute || cert.IsCA {
				t.Errorf("it ends in %s, want %s", left, c.life)
			}
			var requests certmanager.CertificateRequestList
			if err := w.env.Client.List(t.Context(), &requests, client.MatchingLabels{controlplane.LabelCluster: "acme-prod"}); err != nil {
				t.Fatal(err)
			}
			for _, r := range requests.Items {
				if strings.HasPrefix(r.Name, "acme-prod-access-") {
					t.Errorf("CertificateRequest %s is left", r.Name)
				}
			}
			var events corev1.EventList
			if err := w.env.Client.List(t.Context(), &events, client.InNamespace("aether-cluster-acme-prod")); err != nil {
				t.Fatal(err)
			}
			told := false
			for _, e := range events.Items {
				told = told || e.InvolvedObject.Name == "acme-prod" && strings.HasPrefix(e.Message, "ada@example.com got a credential of "+c.holder)
			}
			if !told {
				t.Error("no event says who got it")
			}
		})
	}
	t.Run("who may not ask is told whom to ask", func(t *testing.T) {
		w.grant(t, "mallory")
		code, out := w.run(t, w.env.Kubeconfig(t, "mallory", "nobody"), "kubeconfig", "acme-prod")
		if code != cli.ExitCluster || !bytes.Contains(out, []byte("ask the platform team for the right to create certificaterequests.cert-manager.io in namespace aether-cluster-acme-prod")) {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	w.golden(t, "kubeconfig-too-long", cli.ExitUsage, "kubeconfig", "acme-prod", "--for", "48h")
	w.golden(t, "kubeconfig-system", cli.ExitUsage, "kubeconfig", "acme-prod", "--group", "system:masters")
}

// grant lets a user read what is not secret, and no more.
func (w *world) grant(t *testing.T, user string) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reads"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"cert-manager.io", "controlplane.aetherplatform.cloud"}, Resources: []string{"*"}, Verbs: []string{"get", "list"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}},
	}}
	w.create(role)
	w.create(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reads"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reads"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}})
}

func parse(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
