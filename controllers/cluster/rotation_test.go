package cluster

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/testenv"
)

// No node that is ready is cut off by a change of authorities: each phase waits for all of
// them, and says for which and what to do.
func TestAChangeOfAuthorities(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	w.operate()
	w.asks("acme-prod")
	go w.playsAlong("acme-prod")
	w.says("acme-prod", "Ready", metav1.ConditionTrue, "")
	w.hasAPIServers("acme-prod", "192.0.2.1", "192.0.2.2")
	was := w.trusted("acme-prod", controlplane.CA)

	nodes := []node{{name: "a", ready: true}, {name: "b", ready: true}, {name: "c", ready: true}, {name: "d", ready: true}, {name: "away"}}
	set := func(change func(*node)) {
		for i := range nodes {
			if nodes[i].ready {
				change(&nodes[i])
			}
		}
		w.members.have("acme-prod", nodes...)
	}
	set(func(*node) {})

	w.run("goes up by one generation, and never back", func(w *world) {
		for generation, want := range map[int32]string{3: "authorities are changed one generation at a time, and never back; write what it was plus one"} {
			err := w.changes("acme-prod", func(cp *cpv1.AetherControlPlane) { cp.Spec.PKI.Generation = generation })
			if err == nil || !strings.Contains(err.Error(), want) {
				w.Errorf("to %d: the API server says %v, want %s", generation, err, want)
			}
		}
	})
	w.run("waits until every node trusts the new authority, and issues nothing by it", func(w *world) {
		w.rotatesTo("acme-prod", 2)
		cp := w.says("acme-prod", "AuthoritiesCurrent", metav1.ConditionFalse, "Waiting for 4 nodes to trust authority ca-2: a, b, c and 1 more; give each the certificates in ConfigMap acme-prod-trust, then annotate it with controlplane.aetherplatform.cloud/trusts=sha256:")
		if got := cp.Status.Rotation; got == nil || got.Phase != cpv1.RotationTrusting || got.Generation != 2 || got.Since.IsZero() ||
			got.Authority != w.named("acme-prod", "ca-2") || !strings.HasSuffix(got.Message, got.Authority) {
			w.Errorf("its rotation is %+v", got)
		}
		w.says("acme-prod", "Ready", metav1.ConditionFalse, "Waiting for 4 nodes")
		w.says("acme-prod", "Available", metav1.ConditionTrue, "The API servers answer; Waiting for 4 nodes")
		for _, authority := range controlplane.Authorities {
			if n := bytes.Count(w.trusted("acme-prod", authority), []byte("BEGIN CERTIFICATE")); n != 2 {
				w.Errorf("%d certificates of %s are trusted, want 2", n, authority)
			}
		}
		w.acceptsItself("acme-prod")
		w.issuedBy("acme-prod", "ca", "etcd-ca", "front-proxy-ca")
		w.silent()
	})
	w.run("issues all certificates anew then, and drops nothing before each node has one", func(w *world) {
		hash := w.named("acme-prod", "ca-2")
		set(func(n *node) { n.trusts = []string{"sha256:another", hash} })
		cp := w.says("acme-prod", "AuthoritiesCurrent", metav1.ConditionFalse, "Waiting for 4 nodes to hold a certificate of authority ca-2: a, b, c and 1 more; renew the kubelet's certificate on each, then annotate it with controlplane.aetherplatform.cloud/credential-from="+hash)
		if cp.Status.Rotation.Phase != cpv1.RotationProving {
			w.Errorf("its rotation is %+v", cp.Status.Rotation)
		}
		w.acceptsItself("acme-prod")
		w.issuedBy("acme-prod", "ca-2", "etcd-ca-2", "front-proxy-ca-2")
		if !bytes.Contains(w.trusted("acme-prod", controlplane.CA), bytes.TrimSpace(was)) {
			w.Error("the old authority is not trusted any more")
		}
		w.provesEach("192.0.2.1", "192.0.2.2")
		w.there(&certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf("acme-prod"), Name: "acme-prod-pki-ca"}})
		w.silent()
	})
	w.run("drops the old authorities when nobody needs them", func(w *world) {
		hash := w.named("acme-prod", "ca-2")
		set(func(n *node) { n.from = hash })
		cp := w.says("acme-prod", "Ready", metav1.ConditionTrue, "")
		if cp.Status.Rotation != nil {
			w.Errorf("its rotation is %+v", cp.Status.Rotation)
		}
		w.says("acme-prod", "AuthoritiesCurrent", metav1.ConditionTrue, "All that is trusted is of the generation that is asked for")
		w.acceptsItself("acme-prod")
		w.onlyOf("acme-prod", 2)
		w.silent()
	})
	w.run("is done again", func(w *world) {
		set(func(n *node) { n.ready = false }) // none holds it up
		w.rotatesTo("acme-prod", 3)
		w.hasRotated("acme-prod")
		w.onlyOf("acme-prod", 3)
	})
}

// Killed at any of its writes in a change of authorities, the controller that comes after
// it ends the change, and nothing of the old authorities is left.
func TestAChangeOfAuthoritiesOutlivesItsController(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	w.operate()
	changed := func(w *world, name string) {
		w.asks(name)
		go w.playsAlong(name)
		w.says(name, "Ready", metav1.ConditionTrue, "")
		w.hasAPIServers(name, "192.0.2.1")
		w.silent()
	}
	done := func(w *world, name string) {
		w.hasRotated(name)
		w.onlyOf(name, 2)
	}
	changed(w, "calm")
	w.rotatesTo("calm", 2)
	done(w, "calm")
	want := w.holds("calm")
	w.stop()
	const writes = 45 // and no fewer does it take
	for round := range 4 {
		name := fmt.Sprintf("killed-%d", round)
		at, late := 1+rand.IntN(writes), round%2 == 0
		w.run(fmt.Sprintf("at write %d, late %t", at, late), func(w *world) {
			w.operate()
			changed(w, name)
			w.wire.kill(at, late)
			w.rotatesTo(name, 2)
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
			done(w, name)
			if diff := cmp.Diff(want, w.holds(name)); diff != "" {
				w.Errorf("it holds not what an undisturbed one holds (-want +got):\n%s", diff)
			}
		})
	}
}

// hasRotated waits until the control plane is all that is asked for, and then silent.
func (w *world) hasRotated(name string) {
	w.Helper()
	testenv.Eventually(w.T, func(ctx context.Context) error {
		cp, err := w.controlPlane(ctx, name)
		if err == nil && (cp.Status.Rotation != nil || !meta.IsStatusConditionTrue(cp.Status.Conditions, "Ready") || cp.Status.ObservedGeneration != cp.Generation) {
			err = fmt.Errorf("it is at %+v", cp.Status.Rotation)
		}
		return err
	})
	w.silent()
}

// rotatesTo asks for a generation of authorities.
func (w *world) rotatesTo(name string, generation int32) {
	w.Helper()
	if err := w.changes(name, func(cp *cpv1.AetherControlPlane) { cp.Spec.PKI.Generation = generation }); err != nil {
		w.Fatal(err)
	}
}

// hasAPIServers makes Pods of them, as a Deployment's controller and a kubelet would.
func (w *world) hasAPIServers(name string, addresses ...string) {
	w.Helper()
	d := deploymentOf(name, "apiserver")
	w.there(d)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "default"}}
	if err := client.IgnoreAlreadyExists(w.Client.Create(w.Context(), account)); err != nil {
		w.Fatal(err)
	}
	for i, address := range addresses {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: fmt.Sprintf("%s-%d", d.Name, i), Labels: d.Spec.Template.Labels},
			Spec:       d.Spec.Template.Spec,
		}
		w.create(pod)
		pod.Status.PodIP, pod.Status.PodIPs = address, []corev1.PodIP{{IP: address}}
		if err := w.Client.Status().Update(w.Context(), pod); err != nil {
			w.Fatal(err)
		}
	}
}

// trusted is the bundle of an authority.
func (w *world) trusted(name, authority string) []byte {
	w.Helper()
	trust := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name + "-trust"}}
	w.there(trust)
	return []byte(trust.Data[controlplane.TrustKey(authority)])
}

// named is how nodes name an authority.
func (w *world) named(name, part string) string {
	w.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name + "-pki-" + part}}
	w.there(secret)
	hash, err := controlplane.Fingerprint(secret.Data[corev1.TLSCertKey])
	if err != nil {
		w.Fatal(err)
	}
	return hash
}

// issuedBy checks who vouches for one certificate of each authority.
func (w *world) issuedBy(name string, authorities ...string) {
	w.Helper()
	for i, leaf := range []string{"apiserver", "etcd-server", "front-proxy-client"} {
		if err := w.certificate(name, leaf).CheckSignatureFrom(w.certificate(name, authorities[i])); err != nil {
			w.Errorf("%s is not from %s: %v", leaf, authorities[i], err)
		}
	}
}

// provesEach checks that each API server was asked by who trusts the new authority alone.
func (w *world) provesEach(addresses ...string) {
	w.Helper()
	w.members.mu.Lock()
	defer w.members.mu.Unlock()
	for _, address := range addresses {
		asked := false
		for _, c := range w.members.served {
			asked = asked || c.address == address && bytes.Count(c.ca, []byte("BEGIN CERTIFICATE")) == 1
		}
		if !asked {
			w.Errorf("the API server at %s was not asked by who trusts the new authority alone", address)
		}
	}
}

// onlyOf checks that authorities of one generation are left, and are all that is trusted
// and handed out.
func (w *world) onlyOf(name string, generation int32) {
	w.Helper()
	for _, authority := range controlplane.Authorities {
		part := controlplane.PartOf(authority, generation)
		if w.trusted(name, authority) == nil || !bytes.Equal(w.trusted(name, authority), w.pem(name, part)) {
			w.Errorf("not %s alone is trusted:\n%s", part, w.trusted(name, authority))
		}
		for old := range generation - 1 {
			meta := metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name + "-pki-" + controlplane.PartOf(authority, old+1)}
			w.missing(&certmanager.Certificate{ObjectMeta: meta})
			w.missing(&certmanager.Issuer{ObjectMeta: meta})
			w.missing(&corev1.Secret{ObjectMeta: meta})
		}
	}
	for _, handed := range []string{"-kubeconfig", "-ca"} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(name), Name: name + handed}}
		w.there(secret)
		ca := w.pem(name, controlplane.PartOf(controlplane.CA, generation))
		text := string(secret.Data[corev1.TLSCertKey])
		if handed == "-kubeconfig" {
			text = configOf(w.T, secret.Data["value"])
		}
		if text != string(ca) {
			w.Errorf("%s has its holder trust\n%s", secret.Name, text)
		}
	}
}

func (w *world) pem(name, part string) []byte {
	w.Helper()
	secret := &corev1.Secret{}
	if err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: namespaceOf(name), Name: name + "-pki-" + part}, secret); err != nil {
		w.Fatal(err)
	}
	return secret.Data[corev1.TLSCertKey]
}

// configOf is whom a kubeconfig trusts.
func configOf(t *testing.T, text []byte) string {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(config.CAData)
}
