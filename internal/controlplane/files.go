package controlplane

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// Where files are in a Pod.
const (
	pkiDir        = "/etc/kubernetes/pki"
	trustDir      = "/etc/kubernetes/trust"
	kubeconfigDir = "/etc/kubernetes/kubeconfig"
)

// Files of a certificate in its Secret, and so in its folder.
const (
	certFile = corev1.TLSCertKey
	keyFile  = corev1.TLSPrivateKeyKey
)

// Trust names the ConfigMap of the certificates of the authorities, and its keys are
// <authority>.crt. Programs trust what is in it, so that during the change of an
// authority they can trust the old and the new one. It holds no keys.
func (p *Plan) Trust() string { return p.name("trust") }

// TrustKey is where the certificates of an authority are in Trust.
func TrustKey(authority string) string { return authority + ".crt" }

// TrustMap is the ConfigMap Trust, of bundles by authority.
func (p *Plan) TrustMap(bundles map[string][]byte) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: p.meta(p.Trust(), ""), Data: map[string]string{}}
	if text := p.place.trustedText(); text != "" {
		cm.Annotations = map[string]string{AnnotationAuthorities: text}
	}
	for _, authority := range Authorities {
		cm.Data[TrustKey(authority)] = string(bundles[authority])
	}
	return cm
}

// Kubeconfigs is the ConfigMap with the kubeconfigs of the controller manager and of the
// scheduler. They name files, so that a renewed certificate is read again by who uses it.
func (p *Plan) Kubeconfigs() *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: p.meta(p.name("kubeconfigs"), ""), Data: map[string]string{}}
	for _, component := range []string{ControllerManager, Scheduler} {
		cm.Data[component] = p.kubeconfigOf(component)
	}
	return cm
}

func (p *Plan) kubeconfigOf(component string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: cluster
  cluster:
    server: https://%s:%d
    certificate-authority: %s
users:
- name: %s
  user:
    client-certificate: %s
    client-key: %s
contexts:
- name: context
  context: {cluster: cluster, user: %s}
current-context: context
`, p.host(p.name(APIServer)), APIServerPort, trusted(CA), component, pkiFile(component, certFile), pkiFile(component, keyFile), component)
}

func pkiFile(certificate, file string) string { return path.Join(pkiDir, certificate, file) }

func trusted(authority string) string { return path.Join(trustDir, TrustKey(authority)) }

// files are the volumes of a Pod and where they are mounted.
type files struct {
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
}

func (f *files) add(v corev1.Volume, at string) {
	f.volumes = append(f.volumes, v)
	f.mounts = append(f.mounts, corev1.VolumeMount{Name: v.Name, MountPath: at, ReadOnly: true})
}

// readable by the group of the Pod alone.
const readable int32 = 0o440

// certificates with their keys.
func (f *files) certificates(p *Plan, names ...string) {
	for _, name := range names {
		secret := name
		if slices.Contains(Authorities, name) {
			secret = PartOf(name, p.place.issuing())
		}
		f.add(corev1.Volume{Name: "pki-" + name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: p.PKI(secret), DefaultMode: ptr.To(readable),
			// Not ca.crt: whom to trust is in the bundle.
			Items: []corev1.KeyToPath{{Key: certFile, Path: certFile}, {Key: keyFile, Path: keyFile}},
		}}}, path.Join(pkiDir, name))
	}
}

// trust in authorities.
func (f *files) trust(p *Plan, authorities ...string) {
	var items []corev1.KeyToPath
	for _, authority := range authorities {
		items = append(items, corev1.KeyToPath{Key: TrustKey(authority), Path: TrustKey(authority)})
	}
	f.add(corev1.Volume{Name: "trust", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: p.Trust()}, DefaultMode: ptr.To(readable), Items: items,
	}}}, trustDir)
}

// kubeconfig of a component.
func (f *files) kubeconfig(p *Plan, component string) {
	f.add(corev1.Volume{Name: "kubeconfig", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: p.name("kubeconfigs")}, DefaultMode: ptr.To(readable),
		Items: []corev1.KeyToPath{{Key: component, Path: "kubeconfig"}},
	}}}, kubeconfigDir)
}

// flags of a program, in the order in which they are written.
type flags []string

func (f *flags) set(name string, value any) { *f = append(*f, fmt.Sprintf("--%s=%v", name, value)) }
