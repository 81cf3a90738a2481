package controlplane

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
)

// AnnotationAuthorities lists the generations of authorities that the ConfigMap Trust
// holds, where that is not the first alone.
const AnnotationAuthorities = "controlplane.aetherplatform.cloud/authorities"

// Annotations of Pods, which start anew when one changes.
const (
	// annotationTrust marks the bundles that a program reads only when it starts.
	annotationTrust = "controlplane.aetherplatform.cloud/trust"
	// annotationIssuers is the generation of the authorities that a program's certificates
	// are from, where that is not the first.
	annotationIssuers = "controlplane.aetherplatform.cloud/issuers"
	// annotationTokens marks the key that signs tokens of service accounts.
	annotationTokens = "controlplane.aetherplatform.cloud/service-account-key"
)

// Place is where a control plane is on its way from one generation of authorities to the
// next.
type Place struct {
	// From and To are the same when nothing changes.
	From, To int32
	// Phase is "" when nothing changes. It is never Proving: that is the end of
	// Reissuing, and no object differs.
	Phase cpv1.RotationPhase
}

// Seen is what there is of authorities, by generation.
type Seen struct {
	// Kept are those that have an Issuer, which is made first and deleted last.
	Kept []int32
	// Issuing are those that certificates are asked of.
	Issuing []int32
	// Trusted are those in the ConfigMap Trust.
	Trusted []int32
}

// PlaceOf is where a control plane is, as its objects tell: what was written last says
// what is to be written next, whoever wrote it. A generation is left before the next but
// one is begun.
func PlaceOf(asked int32, seen Seen) Place {
	from := max(asked, 1)
	for _, g := range slices.Concat(seen.Kept, seen.Issuing, seen.Trusted) {
		from = min(from, g)
	}
	if from == max(asked, 1) {
		return Place{From: from, To: from}
	}
	p := Place{From: from, To: from + 1, Phase: cpv1.RotationTrusting}
	newer := func(g int32) bool { return g >= p.To }
	all := len(seen.Issuing) > 0 && !slices.ContainsFunc(seen.Issuing, func(g int32) bool { return !newer(g) })
	switch {
	case all && len(seen.Trusted) > 0 && !slices.Contains(seen.Trusted, from):
		p.Phase = cpv1.RotationDropping
	case slices.ContainsFunc(seen.Issuing, newer):
		p.Phase = cpv1.RotationReissuing
	}
	return p
}

// trusted are the generations that programs trust, the oldest first.
func (p Place) trusted() []int32 {
	if p.Phase == cpv1.RotationTrusting || p.Phase == cpv1.RotationReissuing {
		return []int32{p.From, p.To}
	}
	return []int32{p.To}
}

// issuing is the generation that certificates are from.
func (p Place) issuing() int32 {
	if p.Phase == cpv1.RotationTrusting {
		return p.From
	}
	return p.To
}

// At is the plan of the same control plane at another place.
func (p *Plan) At(place Place) *Plan {
	other := *p
	other.place, other.marks = place, maps.Clone(p.marks)
	return &other
}

// Place of the plan.
func (p *Plan) Place() Place { return p.place }

// Trusted are the parts of the PKI that Trust holds of an authority, the oldest first.
func (p *Plan) Trusted(authority string) []string {
	var parts []string
	for _, g := range p.place.trusted() {
		parts = append(parts, PartOf(authority, g))
	}
	return parts
}

// NewAuthority is the part of the PKI that a change of authorities leads to.
func (p *Plan) NewAuthority(authority string) string { return PartOf(authority, p.place.To) }

// PartOf is the name of an authority of a generation.
func PartOf(authority string, generation int32) string {
	if generation <= 1 {
		return authority
	}
	return fmt.Sprintf("%s-%d", authority, generation)
}

// Generation is that of an authority, by the name of its Certificate, Issuer or Secret;
// 0 when it names none.
func (p *Plan) Generation(name string) int32 {
	name, ours := strings.CutPrefix(name, p.PKI(""))
	if !ours {
		return 0
	}
	for _, authority := range Authorities {
		rest, ok := strings.CutPrefix(name, authority)
		if ok && rest == "" {
			return 1
		}
		if n, err := strconv.ParseInt(strings.TrimPrefix(rest, "-"), 10, 32); ok && err == nil && PartOf(authority, int32(n)) == name {
			return int32(n)
		}
	}
	return 0
}

// TrustedOf are the generations that a ConfigMap Trust says it holds.
func TrustedOf(annotations map[string]string) []int32 {
	var all []int32
	for _, text := range strings.Split(annotations[AnnotationAuthorities], ",") {
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			all = append(all, int32(n))
		}
	}
	if len(all) == 0 {
		return []int32{1}
	}
	return all
}

// trustedText is what TrustedOf reads; "" for the first generation alone.
func (p Place) trustedText() string {
	if slices.Equal(p.trusted(), []int32{1}) {
		return ""
	}
	var all []string
	for _, g := range p.trusted() {
		all = append(all, strconv.Itoa(int(g)))
	}
	return strings.Join(all, ",")
}

// readOnce are the bundles that programs read only when they start: whom etcd trusts
// (https://github.com/etcd-io/etcd/issues/11555), whom the API server trusts as etcd, what
// the controller manager puts into every namespace, and, before Kubernetes 1.36, whom a
// client of the API server or of a kubelet trusts. Whom an API server takes clients from, and
// all certificates with their keys, are read again when their files change.
var readOnce = map[string][]string{
	APIServer:         {CA, EtcdCA},
	Etcd:              {EtcdCA},
	ControllerManager: {CA},
	Scheduler:         {CA},
}

// signsTokens are the programs that hold the key of service accounts, which they read
// only when they start.
var signsTokens = []string{APIServer, ControllerManager}

// Mark has programs start anew when what they read only when they start has changed: the
// bundles, by authority, and the key of service accounts.
func (p *Plan) Mark(bundles map[string][]byte, serviceAccounts []byte) error {
	key, err := Fingerprint(serviceAccounts)
	if err != nil {
		return fmt.Errorf("cannot read the certificate of service accounts: %w", err)
	}
	p.marks = map[string]string{ServiceAccounts: key[len("sha256:"):][:16]}
	for authority, bundle := range bundles {
		sum := sha256.Sum256(bundle)
		p.marks[authority] = hex.EncodeToString(sum[:8])
	}
	return nil
}

// starts are the annotations of a Pod that change when it has to start anew.
func (p *Plan) starts(component string) map[string]string {
	all := map[string]string{}
	if g := p.place.issuing(); g > 1 {
		all[annotationIssuers] = strconv.Itoa(int(g))
	}
	if len(p.marks) > 0 {
		var marks []string
		for _, authority := range readOnce[component] {
			marks = append(marks, p.marks[authority])
		}
		if len(marks) > 0 {
			all[annotationTrust] = strings.Join(marks, ".")
		}
		if slices.Contains(signsTokens, component) {
			all[annotationTokens] = p.marks[ServiceAccounts]
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// Fingerprint of an authority is the hash of its public key, as kubeadm writes it: it is
// the same after its certificate was renewed.
func Fingerprint(certificate []byte) (string, error) {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return "", errors.New("it is no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Bundle joins certificates.
func Bundle(certificates ...[]byte) []byte {
	var all bytes.Buffer
	for i, c := range certificates {
		all.Write(c)
		if i < len(certificates)-1 && !bytes.HasSuffix(c, []byte("\n")) {
			all.WriteByte('\n')
		}
	}
	return all.Bytes()
}
