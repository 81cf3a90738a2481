package cluster

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

func TestAControlPlane(t *testing.T) {
	w := newWorld(t)
	w.operate()
	w.asks("acme-prod")

	w.run("says that cert-manager is missing, and is closed off already", func(w *world) {
		cp := w.says("acme-prod", "CertificatesReady", metav1.ConditionFalse, "The cluster does not serve Certificate of cert-manager.io/v1; install cert-manager")
		if got := cp.Spec.ControlPlaneEndpoint; got == nil || *got != (cpv1.APIEndpoint{Host: "acme-prod-apiserver.aether-cluster-acme-prod.svc", Port: 6443}) {
			w.Errorf("its endpoint is %v", got)
		}
		w.says("acme-prod", "Stalled", metav1.ConditionTrue, "")
		w.there(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "aether-cluster-acme-prod", Name: "acme-prod-closed"}})
		w.missing(etcdOf("acme-prod"))
	})
	w.withCertManager()
	w.run("has its certificates issued, and starts etcd first", func(w *world) {
		w.says("acme-prod", "CertificatesReady", metav1.ConditionTrue, "All certificates are issued")
		w.says("acme-prod", "EtcdReady", metav1.ConditionFalse, "Waiting for etcd: 0 of 1 members are ready")
		w.missing(deploymentOf("acme-prod", "apiserver"))
	})
	w.run("starts API servers once etcd is ready", func(w *world) {
		w.runs(etcdOf("acme-prod"))
		w.says("acme-prod", "APIServerReady", metav1.ConditionFalse, "Waiting for the API servers: 0 of 2 are available")
		w.missing(deploymentOf("acme-prod", "controller-manager"))
	})
	w.run("is not initialized before an API server has answered", func(w *world) {
		w.members.are(true)
		w.runs(deploymentOf("acme-prod", "apiserver"))
		cp := w.says("acme-prod", "APIServerReady", metav1.ConditionFalse,
			"The API servers do not answer at https://acme-prod-apiserver.aether-cluster-acme-prod.svc:6443: connection refused")
		if is := cp.Status.Initialization.ControlPlaneInitialized; is != nil {
			w.Errorf("it is initialized: %v", *is)
		}
		w.members.are(false)
	})
	w.run("becomes ready", func(w *world) {
		cp := w.comesUp("acme-prod")
		if is := cp.Status.Initialization.ControlPlaneInitialized; is == nil || !*is {
			w.Errorf("it is not initialized: %+v", cp.Status)
		}
		if len(cp.Status.Versions) != 1 || cp.Status.Versions[0].Version != "v1.36.3" || *cp.Status.Versions[0].Replicas != 2 || cp.Status.Version != "v1.36.3" {
			w.Errorf("versions are %+v", cp.Status.Versions)
		}
		w.says("acme-prod", "Available", metav1.ConditionTrue, "The API servers answer")
	})
	w.run("has certificates that its programs accept", func(w *world) { w.acceptsItself("acme-prod") })
	w.run("hands out a kubeconfig of an admin", func(w *world) { w.handsOut("acme-prod") })
	w.run("is silent in a steady state", func(w *world) { w.silent() })
	w.stop()
	w.operate()
	w.run("is silent under another process as well", func(w *world) {
		<-time.After(3 * time.Second)
		if sent := w.wire.take(); len(sent) > 0 {
			w.Errorf("wrote %v", sent)
		}
	})
	w.run("undoes what somebody else changes", func(w *world) { w.undoes("acme-prod") })
	w.run("scales by the subresource scale", func(w *world) {
		cp, err := w.controlPlane(w.Context(), "acme-prod")
		if err != nil {
			w.Fatal(err)
		}
		if err := w.Client.SubResource("scale").Update(w.Context(), cp, client.WithSubResourceBody(&autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 3}})); err != nil {
			w.Fatal(err)
		}
		testenv.Eventually(w.T, func(ctx context.Context) error {
			d := deploymentOf("acme-prod", "apiserver")
			if err := w.Client.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
				return err
			}
			if *d.Spec.Replicas != 3 {
				return fmt.Errorf("%d replicas", *d.Spec.Replicas)
			}
			return nil
		})
	})
	w.run("is left alone while it is paused", func(w *world) {
		pause := func(annotations map[string]string) {
			if err := w.changes("acme-prod", func(cp *cpv1.AetherControlPlane) { cp.Annotations = annotations }); err != nil {
				w.Fatal(err)
			}
		}
		pause(map[string]string{annotationPaused: "true"})
		w.says("acme-prod", "Paused", metav1.ConditionTrue, "The annotation cluster.x-k8s.io/paused is set")
		policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "aether-cluster-acme-prod", Name: "acme-prod-dns"}}
		if err := w.Client.Delete(w.Context(), policy); err != nil {
			w.Fatal(err)
		}
		<-time.After(time.Second)
		w.missing(policy)
		pause(nil)
		w.there(policy)
	})
	w.run("does not let its address ranges or its etcd be changed", func(w *world) {
		for what, change := range map[string]func(*cpv1.AetherControlPlaneSpec){
			"the address ranges of a cluster cannot be changed": func(s *cpv1.AetherControlPlaneSpec) { s.Network.PodCIDR = "10.9.0.0/16" },
			"the number of etcd's members cannot be changed":    func(s *cpv1.AetherControlPlaneSpec) { s.Etcd.Replicas = 3 },
			"so it cannot be changed":                           func(s *cpv1.AetherControlPlaneSpec) { s.ControlPlaneEndpoint.Host = "elsewhere" },
			"write what it was":                                 func(s *cpv1.AetherControlPlaneSpec) { s.ControlPlaneEndpoint = nil },
		} {
			if err := w.changes("acme-prod", func(cp *cpv1.AetherControlPlane) { change(&cp.Spec) }); err == nil || !strings.Contains(err.Error(), what) {
				w.Errorf("the API server says %v, want %s", err, what)
			}
		}
	})
}

// acceptsItself checks what cert-manager issued as the programs would.
func (w *world) acceptsItself(name string) {
	w.Helper()
	roots := map[string]*x509.CertPool{}
	trust := &corev1.ConfigMap{}
	if err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: namespaceOf(name), Name: name + "-trust"}, trust); err != nil {
		w.Fatal(err)
	}
	for _, authority := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
		roots[authority] = x509.NewCertPool()
		if !roots[authority].AppendCertsFromPEM([]byte(trust.Data[authority+".crt"])) {
			w.Errorf("the bundle of %s holds no certificate", authority)
		}
	}
	if text := fmt.Sprint(trust.Data); strings.Contains(text, "PRIVATE") {
		w.Error("the bundle holds a key")
	}
	for leaf, want := range map[string]struct {
		authority, host, name, group string
		usage                        x509.ExtKeyUsage
	}{
		"apiserver":                {"ca", name + "-apiserver." + namespaceOf(name) + ".svc", "kube-apiserver", "", x509.ExtKeyUsageServerAuth},
		"apiserver-kubelet-client": {"ca", "", "kube-apiserver-kubelet-client", "", x509.ExtKeyUsageClientAuth},
		"controller-manager":       {"ca", "", "system:kube-controller-manager", "", x509.ExtKeyUsageClientAuth},
		"scheduler":                {"ca", "", "system:kube-scheduler", "", x509.ExtKeyUsageClientAuth},
		"admin":                    {"ca", "", "kubernetes-admin", "kubeadm:cluster-admins", x509.ExtKeyUsageClientAuth},
		"controller":               {"ca", "", "aether:cluster-controller", "system:masters", x509.ExtKeyUsageClientAuth},
		"front-proxy-client":       {"front-proxy-ca", "", "front-proxy-client", "", x509.ExtKeyUsageClientAuth},
		"apiserver-etcd-client":    {"etcd-ca", "", "kube-apiserver-etcd-client", "", x509.ExtKeyUsageClientAuth},
		"etcd-server":              {"etcd-ca", name + "-etcd." + namespaceOf(name) + ".svc", "etcd-server", "", x509.ExtKeyUsageServerAuth},
		"etcd-peer":                {"etcd-ca", name + "-etcd-0." + name + "-etcd-peers." + namespaceOf(name) + ".svc", "etcd-peer", "", x509.ExtKeyUsageClientAuth},
	} {
		c := w.certificate(name, leaf)
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots[want.authority], DNSName: want.host, KeyUsages: []x509.ExtKeyUsage{want.usage}}); err != nil {
			w.Errorf("%s is not accepted: %v", leaf, err)
		}
		for other, pool := range roots {
			if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil && other != want.authority {
				w.Errorf("%s is accepted by who trusts %s", leaf, other)
			}
		}
		if got := strings.Join(c.Subject.Organization, ","); c.Subject.CommonName != want.name || got != want.group {
			w.Errorf("%s is of %s in %q, want %s in %q", leaf, c.Subject.CommonName, got, want.name, want.group)
		}
	}
}

func (w *world) certificate(name, part string) *x509.Certificate {
	w.Helper()
	secret := &corev1.Secret{}
	if err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: namespaceOf(name), Name: name + "-pki-" + part}, secret); err != nil {
		w.Fatal(err)
	}
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		w.Fatalf("%s holds no certificate", secret.Name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// handsOut checks the Secrets that Cluster API's contract asks for, and that the
// kubeconfig follows the certificate that it was made from.
func (w *world) handsOut(name string) {
	w.Helper()
	read := func(ctx context.Context, name string) (*corev1.Secret, error) {
		secret := &corev1.Secret{}
		return secret, w.Client.Get(ctx, client.ObjectKey{Namespace: namespaceOf("acme-prod"), Name: name}, secret)
	}
	secret, err := read(w.Context(), name+"-kubeconfig")
	if err != nil {
		w.Fatal(err)
	}
	if secret.Type != "cluster.x-k8s.io/secret" || secret.Labels["cluster.x-k8s.io/cluster-name"] != name || secret.Annotations[annotationDigest] != "" {
		w.Errorf("the Secret is of type %s, with labels %v and annotations %v", secret.Type, secret.Labels, secret.Annotations)
	}
	holds := func(secret *corev1.Secret) string {
		config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["value"])
		if err != nil {
			w.Fatal(err)
		}
		if config.Host != "https://acme-prod-apiserver.aether-cluster-acme-prod.svc:6443" {
			w.Errorf("the kubeconfig leads to %s", config.Host)
		}
		return string(config.CertData)
	}
	was := holds(secret)
	if ca, err := read(w.Context(), name+"-ca"); err != nil || len(ca.Data[corev1.TLSCertKey]) == 0 || len(ca.Data[corev1.TLSPrivateKeyKey]) > 0 {
		w.Errorf("Secret %s-ca holds %d and, of a key, %d bytes (%v), want a certificate alone", name, len(ca.Data[corev1.TLSCertKey]), len(ca.Data[corev1.TLSPrivateKeyKey]), err)
	}

	// A certificate of another second, so that its end is another.
	<-time.After(time.Second)
	certificate := &certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name + "-pki-admin"}}
	w.there(certificate)
	certificate.Status.Conditions = append(certificate.Status.Conditions, certmanager.CertificateCondition{
		Type: certmanager.CertificateConditionIssuing, Status: "True", Reason: "ManuallyTriggered", Message: "renewed by the test",
	})
	if err := w.Client.Status().Update(w.Context(), certificate); err != nil {
		w.Fatal(err)
	}
	testenv.Eventually(w.T, func(ctx context.Context) error {
		secret, err := read(ctx, name+"-kubeconfig")
		if err != nil {
			return err
		}
		if holds(secret) == was {
			return fmt.Errorf("the kubeconfig holds the certificate of before")
		}
		return nil
	})
}

// undoes changes objects of the control plane as others might.
func (w *world) undoes(name string) {
	w.Helper()
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name + "-apiserver"}}
	for what, change := range map[string]func(){
		"a rule more":      func() { policy.Spec.Egress = append(policy.Spec.Egress, networkingv1.NetworkPolicyEgressRule{}) },
		"a direction less": func() { policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress} },
		"a rule less":      func() { policy.Spec.Ingress = nil },
	} {
		w.there(policy)
		want := policy.Spec.DeepCopy()
		change()
		if err := w.Client.Update(w.Context(), policy); err != nil {
			w.Fatal(err)
		}
		testenv.Eventually(w.T, func(ctx context.Context) error {
			if err := w.Client.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
				return err
			}
			if diff := cmp.Diff(*want, policy.Spec); diff != "" {
				return fmt.Errorf("%s is still so (-want +got):\n%s", what, diff)
			}
			return nil
		})
	}
	if err := w.Client.Delete(w.Context(), policy); err != nil {
		w.Fatal(err)
	}
	w.there(policy)
}

func TestAWorkloadCluster(t *testing.T) {
	w := newWorld(t)
	// It ends namespaces; whether Pods run is for the test to say.
	w.Env.Run(t, "kube-controller-manager", nil, "--kubeconfig="+w.Kubeconfig(t, "system:kube-controller-manager", "system:masters"),
		"--leader-elect=false", "--secure-port=0", "--controllers=namespace-controller,garbage-collector-controller")
	w.withCertManager()
	w.operate()
	cluster := func(name string, change ...func(*v1alpha1.WorkloadCluster)) *v1alpha1.WorkloadCluster {
		wc := &v1alpha1.WorkloadCluster{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelSource: "aether-system.fleet"}},
			Spec:       v1alpha1.WorkloadClusterSpec{Tenant: "acme", Region: "dk-1", Version: "v1.36.3"},
		}
		for _, do := range change {
			do(wc)
		}
		if err := w.git.Create(t.Context(), wc); err != nil {
			t.Fatal(err)
		}
		return wc
	}

	w.run("becomes a namespace of its own with a control plane", func(w *world) {
		cluster("acme-prod", func(wc *v1alpha1.WorkloadCluster) {
			wc.Spec.ControlPlane.Replicas = 1
			wc.Spec.ControlPlane.Etcd.Replicas = 1
		})
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "aether-cluster-acme-prod"}}
		w.there(ns)
		if ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
			w.Errorf("its namespace has labels %v", ns.Labels)
		}
		w.says("acme-prod", "CertificatesReady", metav1.ConditionTrue, "")
		cp, err := w.controlPlane(w.Context(), "acme-prod")
		if err != nil {
			w.Fatal(err)
		}
		if cp.Spec.Version != "v1.36.3" || *cp.Spec.Replicas != 1 || cp.Spec.Etcd.Replicas != 1 || cp.Spec.Etcd.Storage.String() != "8Gi" {
			w.Errorf("the control plane is %+v", cp.Spec)
		}
		wc := w.told("acme-prod", "Waiting for etcd: 0 of 1 members are ready")
		if got := wc.Status.ControlPlane; got == nil || got.Endpoint != "https://acme-prod-apiserver.aether-cluster-acme-prod.svc:6443" {
			w.Errorf("its control plane is said to be %+v", got)
		}
	})
	w.run("follows what Git changes", func(w *world) {
		w.asked("acme-prod", func(wc *v1alpha1.WorkloadCluster) { wc.Spec.Version = "v1.36.4" })
		testenv.Eventually(w.T, func(ctx context.Context) error {
			cp, err := w.controlPlane(ctx, "acme-prod")
			if err == nil && cp.Spec.Version != "v1.36.4" {
				err = fmt.Errorf("its version is %s", cp.Spec.Version)
			}
			return err
		})
		w.silent()
	})
	w.run("does not go back, nor up by two", func(w *world) {
		for _, version := range []string{"v1.36.3", "v1.35.9", "v1.38.0", "v2.0.0"} {
			wc := &v1alpha1.WorkloadCluster{ObjectMeta: metav1.ObjectMeta{Name: "acme-prod"}}
			w.there(wc)
			before := wc.DeepCopy()
			wc.Spec.Version = version
			err := w.Client.Patch(w.Context(), wc, client.MergeFrom(before), client.DryRunAll)
			if err == nil || !strings.Contains(err.Error(), "a cluster goes up by one minor version at a time, and never back") && !strings.Contains(err.Error(), "write a full version") {
				w.Errorf("to %s: the API server says %v", version, err)
			}
		}
	})
	w.run("says what nothing makes yet", func(w *world) {
		cluster("acme-wide", func(wc *v1alpha1.WorkloadCluster) {
			wc.Spec.ControlPlane.Etcd.Replicas = 1
			wc.Spec.ControlPlane.Replicas = 1
			wc.Spec.NodePools = []v1alpha1.NodePool{{Name: "a", Replicas: 2, Machine: v1alpha1.Machine{Type: "small"}}}
			wc.Spec.Endpoint.Public.Enabled = true
		})
		w.says("acme-wide", "CertificatesReady", metav1.ConditionTrue, "")
		w.comesUp("acme-wide")
		w.told("acme-wide", "The control plane is ready; this release does not make spec.nodePools and spec.endpoint.public")
	})
	w.run("does not take a namespace that is somebody else's", func(w *world) {
		w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "aether-cluster-acme-taken", Labels: map[string]string{"mine": "yes", "pod-security.kubernetes.io/enforce": "restricted"}}})
		cluster("acme-taken")
		w.told("acme-taken", "Namespace aether-cluster-acme-taken is there and is not this cluster's; delete it, or name the cluster otherwise")
		w.missing(&cpv1.AetherControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: "aether-cluster-acme-taken", Name: "acme-taken"}})
	})
	w.run("leaves no key behind when its control plane alone is deleted, and takes none of a neighbour", func(w *world) {
		w.asks("acme-alone")
		w.says("acme-alone", "CertificatesReady", metav1.ConditionTrue, "")
		other := &cpv1.AetherControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf("acme-alone"), Name: "acme-beside"}}
		cp, err := w.controlPlane(w.Context(), "acme-alone")
		if err != nil {
			w.Fatal(err)
		}
		other.Spec = *cp.Spec.DeepCopy()
		other.Spec.ControlPlaneEndpoint = nil
		w.create(other)
		keys := func(ctx context.Context) (mine, theirs []string) {
			var secrets corev1.SecretList
			if err := w.Client.List(ctx, &secrets, client.InNamespace(cp.Namespace)); err != nil {
				w.Fatal(err)
			}
			for _, s := range secrets.Items {
				if strings.HasPrefix(s.Name, "acme-beside") {
					theirs = append(theirs, s.Name)
				} else {
					mine = append(mine, s.Name)
				}
			}
			return mine, theirs
		}
		const all = 14 // certificates
		testenv.Eventually(w.T, func(ctx context.Context) error {
			if mine, theirs := keys(ctx); len(mine) < all || len(theirs) < all {
				return fmt.Errorf("there are Secrets %v and %v", mine, theirs)
			}
			return nil
		})
		if err := w.Client.Delete(w.Context(), cp); err != nil {
			w.Fatal(err)
		}
		testenv.Eventually(w.T, func(ctx context.Context) error {
			if mine, _ := keys(ctx); len(mine) > 0 {
				return fmt.Errorf("there still are Secrets %v", mine)
			}
			return testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(cp), cp))
		})
		<-time.After(2 * time.Second) // cert-manager issues none anew
		if mine, theirs := keys(w.Context()); len(mine) > 0 || len(theirs) < all {
			w.Errorf("there are Secrets %v, and of its neighbour %v", mine, theirs)
		}
		if err := w.Client.Delete(w.Context(), other); err != nil {
			w.Fatal(err)
		}
	})
	w.run("runs on when its file is gone, and keeps its data while Git asks for it", func(w *world) {
		wc := &v1alpha1.WorkloadCluster{ObjectMeta: metav1.ObjectMeta{Name: "acme-prod"}}
		if err := w.Client.Delete(w.Context(), wc); err != nil {
			w.Fatal(err)
		}
		w.told("acme-prod", "It is being deleted while Git asks for it, so its control plane is kept: remove its file from the fleet repository")
		w.there(etcdOf("acme-prod"))
	})
	w.run("is deleted once Git has let go of it, and its neighbour is not", func(w *world) {
		w.asked("acme-prod", func(wc *v1alpha1.WorkloadCluster) {
			metav1.SetMetaDataAnnotation(&wc.ObjectMeta, v1alpha1.AnnotationRemovedAt, "2026-11-27T12:00:00Z")
		})
		testenv.Eventually(w.T, func(ctx context.Context) error {
			return testenv.Gone(w.Client.Get(ctx, client.ObjectKey{Name: "acme-prod"}, &v1alpha1.WorkloadCluster{}))
		})
		w.missing(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "aether-cluster-acme-prod"}})
		w.there(etcdOf("acme-wide"))
	})
}

// Killed at any of its writes, with the API server's answer lost or the request, the
// controller that comes after it brings the control plane up, and leaves what one that
// nobody disturbed has left.
func TestAControllerThatIsKilledLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	w.operate()
	w.asks("calm")
	w.comesUp("calm")
	w.silent()
	w.stop()
	want := w.holds("calm")
	const writes = 35 // and no fewer does it take
	for round := range 4 {
		name := fmt.Sprintf("killed-%d", round)
		at, late := 1+rand.IntN(writes), round%2 == 0
		w.run(fmt.Sprintf("at write %d, late %t", at, late), func(w *world) {
			w.wire.kill(at, late)
			w.operate()
			w.asks(name)
			go w.playsAlong(name)
			testenv.Eventually(w.T, func(context.Context) error {
				if !w.wire.isDead() {
					return fmt.Errorf("it lives on after %d writes", len(w.wire.take()))
				}
				return nil
			})
			w.stop()
			w.wire.kill(0, false)
			w.operate()
			defer w.stop()
			w.comesUp(name)
			w.silent()
			if diff := cmp.Diff(want, w.holds(name)); diff != "" {
				w.Errorf("it holds not what an undisturbed one holds (-want +got):\n%s", diff)
			}
		})
	}
}

// playsAlong says of Pods that they are ready as soon as they are asked for, for as long
// as the test goes on.
func (w *world) playsAlong(name string) {
	for w.Context().Err() == nil {
		for _, o := range []client.Object{etcdOf(name), deploymentOf(name, "apiserver"), deploymentOf(name, "controller-manager"), deploymentOf(name, "scheduler")} {
			if w.Client.Get(w.Context(), client.ObjectKeyFromObject(o), o) == nil {
				runsNow(o)
				_ = w.Client.Status().Update(w.Context(), o) // or the next time
			}
		}
		<-time.After(50 * time.Millisecond)
	}
}

// holds lists what there is of a control plane, under a name that all share.
func (w *world) holds(name string) []string {
	w.Helper()
	var all []string
	for _, kind := range slices.Concat(ownKinds, certManagerKinds, []schema.GroupVersionKind{corev1.SchemeGroupVersion.WithKind("Secret")}) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		if err := w.Client.List(w.Context(), list, client.InNamespace(namespaceOf(name))); err != nil {
			w.Fatal(err)
		}
		for _, o := range list.Items {
			all = append(all, kind.Kind+"/"+strings.ReplaceAll(o.GetName(), name, "NAME"))
		}
	}
	slices.Sort(all)
	return all
}

// told waits until Ready of a WorkloadCluster has a message that begins so.
func (w *world) told(name, message string) *v1alpha1.WorkloadCluster {
	w.Helper()
	wc := &v1alpha1.WorkloadCluster{}
	testenv.Eventually(w.T, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKey{Name: name}, wc); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(wc.Status.Conditions, "Ready"); c == nil || !strings.HasPrefix(c.Message, message) {
			return fmt.Errorf("Ready is %+v, want %s", c, message)
		}
		return nil
	})
	return wc
}

// asked changes a WorkloadCluster, as a push would.
func (w *world) asked(name string, change func(*v1alpha1.WorkloadCluster)) {
	w.Helper()
	wc := &v1alpha1.WorkloadCluster{ObjectMeta: metav1.ObjectMeta{Name: name}}
	w.there(wc)
	before := wc.DeepCopy()
	change(wc)
	if err := w.git.Patch(w.Context(), wc, client.MergeFrom(before)); err != nil {
		w.Fatal(err)
	}
}
