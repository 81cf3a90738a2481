package controlplane

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
)

func TestObjectsTellWhereAChangeOfAuthoritiesIs(t *testing.T) {
	for name, test := range map[string]struct {
		why   string
		asked int32
		seen  Seen
		want  Place
	}{
		"nothing is there": {
			why: "a cluster is born with the generation that is asked for", asked: 3, want: Place{From: 3, To: 3}},
		"all is of the generation that is asked for": {
			why: "nothing changes", asked: 2, seen: Seen{Kept: []int32{2, 2, 2}, Issuing: []int32{2}, Trusted: []int32{2}}, want: Place{From: 2, To: 2}},
		"the next is asked for": {
			why: "it begins with trust", asked: 2, seen: Seen{Kept: []int32{1}, Issuing: []int32{1}, Trusted: []int32{1}},
			want: Place{From: 1, To: 2, Phase: cpv1.RotationTrusting}},
		"both are trusted": {
			why: "that alone begins nothing", asked: 2, seen: Seen{Kept: []int32{1, 2}, Issuing: []int32{1, 1}, Trusted: []int32{1, 2}},
			want: Place{From: 1, To: 2, Phase: cpv1.RotationTrusting}},
		"one certificate is asked of the new authority": {
			why: "a kill came between two of them", asked: 2, seen: Seen{Kept: []int32{1, 2}, Issuing: []int32{1, 2}, Trusted: []int32{1, 2}},
			want: Place{From: 1, To: 2, Phase: cpv1.RotationReissuing}},
		"all certificates are": {
			why: "the old ones are trusted until it is proven that nobody needs them", asked: 2, seen: Seen{Kept: []int32{1, 2}, Issuing: []int32{2, 2}, Trusted: []int32{1, 2}},
			want: Place{From: 1, To: 2, Phase: cpv1.RotationReissuing}},
		"the old one is not trusted any more": {
			why: "what is left of it goes", asked: 2, seen: Seen{Kept: []int32{1, 2}, Issuing: []int32{2}, Trusted: []int32{2}},
			want: Place{From: 1, To: 2, Phase: cpv1.RotationDropping}},
		"somebody took the old one out of what is trusted": {
			why: "certificates are from it, so it is put back", asked: 2, seen: Seen{Kept: []int32{1, 2}, Issuing: []int32{1}, Trusted: []int32{2}},
			want: Place{From: 1, To: 2, Phase: cpv1.RotationTrusting}},
		"somebody deleted what is trusted": {
			why: "what was proven before is proven again", asked: 2, seen: Seen{Kept: []int32{1, 2}, Issuing: []int32{2}},
			want: Place{From: 1, To: 2, Phase: cpv1.RotationReissuing}},
		"the next but one is asked for meanwhile": {
			why: "one change after the other", asked: 3, seen: Seen{Kept: []int32{1, 2}, Issuing: []int32{2}, Trusted: []int32{1, 2}},
			want: Place{From: 1, To: 2, Phase: cpv1.RotationReissuing}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := PlaceOf(test.asked, test.seen); got != test.want {
				t.Errorf("it is at %+v, want %+v: %s", got, test.want, test.why)
			}
		})
	}
}

func TestEachPhaseHasItsAuthoritiesAndItsIssuer(t *testing.T) {
	for phase, want := range map[cpv1.RotationPhase]struct {
		authorities, trusted, issuer string
	}{
		"":                     {"ca etcd-ca front-proxy-ca", "", "ca"},
		cpv1.RotationTrusting:  {"ca ca-2 etcd-ca etcd-ca-2 front-proxy-ca front-proxy-ca-2", "1,2", "ca"},
		cpv1.RotationReissuing: {"ca ca-2 etcd-ca etcd-ca-2 front-proxy-ca front-proxy-ca-2", "1,2", "ca-2"},
		cpv1.RotationDropping:  {"ca-2 etcd-ca-2 front-proxy-ca-2", "2", "ca-2"},
	} {
		t.Run(string(phase), func(t *testing.T) {
			place := Place{From: 1, To: 2, Phase: phase}
			if phase == "" {
				place.To = 1
			}
			p := planOf(t, controlPlane("acme-prod")).At(place)
			var authorities, issuers []string
			for _, c := range p.Certificates() {
				part := strings.TrimPrefix(c.Name, "acme-prod-pki-")
				if c.Spec.IsCA {
					authorities = append(authorities, part)
				} else if part == apiServer && c.Spec.IssuerRef.Name != "acme-prod-pki-"+want.issuer {
					t.Errorf("the API server is certified by %s, want %s", c.Spec.IssuerRef.Name, want.issuer)
				}
			}
			for _, i := range p.Issuers() {
				if i.Spec.CA != nil {
					issuers = append(issuers, strings.TrimPrefix(i.Name, "acme-prod-pki-"))
				}
			}
			for what, got := range map[string][]string{"certificates": authorities, "issuers": issuers} {
				slices.Sort(got)
				if text := strings.Join(got, " "); text != want.authorities {
					t.Errorf("there are %s of %s, want %s", what, text, want.authorities)
				}
			}
			if got := p.TrustMap(nil).Annotations[AnnotationAuthorities]; got != want.trusted {
				t.Errorf("what is trusted says it holds %q, want %q", got, want.trusted)
			}
			if got := TrustedOf(p.TrustMap(nil).Annotations); !slices.Equal(got, place.trusted()) {
				t.Errorf("what is trusted is read as %v, want %v", got, place.trusted())
			}
			// The key that signs for kubelets is of the authority that issues.
			for _, v := range p.ControllerManagerDeployment().Spec.Template.Spec.Volumes {
				if v.Name == "pki-ca" && v.Secret.SecretName != "acme-prod-pki-"+want.issuer {
					t.Errorf("the controller manager signs with %s, want %s", v.Secret.SecretName, want.issuer)
				}
			}
		})
	}
}

func TestNamesOfAuthoritiesAreReadAsTheyAreWritten(t *testing.T) {
	p := planOf(t, controlPlane("acme-prod"))
	for name, want := range map[string]int32{
		"acme-prod-pki-ca": 1, "acme-prod-pki-ca-2": 2, "acme-prod-pki-etcd-ca-12": 12, "acme-prod-pki-front-proxy-ca": 1,
		"acme-prod-pki-ca-1": 0, "acme-prod-pki-ca-02": 0, "acme-prod-pki-apiserver": 0, "acme-prod-pki-selfsigned": 0, "other-pki-ca-2": 0, "": 0,
	} {
		if got := p.Generation(name); got != want {
			t.Errorf("%q is of generation %d, want %d", name, got, want)
		}
	}
}

// What is named as in a steady state of the first generation is as it was before there
// were others.
func TestTheFirstGenerationHasNoNumber(t *testing.T) {
	p := planOf(t, controlPlane("acme-prod"))
	for _, c := range p.Certificates() {
		if p.Generation(c.Name) > 1 || c.Spec.IsCA && c.Spec.Subject != nil {
			t.Errorf("%s: %+v", c.Name, c.Spec.Subject)
		}
	}
	for component, pod := range pods(p) {
		for key := range pod.Annotations {
			if key != annotationTrust {
				t.Errorf("%s has the annotation %s", component, key)
			}
		}
	}
}

func TestProgramsStartAnewWhenWhatTheyReadOnceHasChanged(t *testing.T) {
	one, other := certificatePEM(t), certificatePEM(t)
	marked := func(ca, etcd, proxy, accounts []byte) map[string]corev1.PodTemplateSpec {
		p := planOf(t, controlPlane("acme-prod"))
		if err := p.Mark(map[string][]byte{CA: ca, EtcdCA: etcd, FrontProxyCA: proxy}, accounts); err != nil {
			t.Fatal(err)
		}
		return pods(p)
	}
	was := marked(one, one, one, one)
	for name, test := range map[string]struct {
		now  map[string]corev1.PodTemplateSpec
		want []string
	}{
		"nothing": {marked(one, one, one, one), nil},
		"the cluster's authority, which the controller manager hands to every namespace": {
			marked(other, one, one, one), []string{APIServer, ControllerManager, Scheduler}},
		"etcd's authority, by which members and API servers know each other": {marked(one, other, one, one), []string{APIServer, Etcd}},
		"the front proxy's authority, which is read again":                   {marked(one, one, other, one), nil},
		"the key of service accounts":                                        {marked(one, one, one, other), []string{APIServer, ControllerManager}},
	} {
		t.Run(name, func(t *testing.T) {
			var anew []string
			for component, pod := range test.now {
				if !maps.Equal(pod.Annotations, was[component].Annotations) {
					anew = append(anew, component)
				}
			}
			slices.Sort(anew)
			if !slices.Equal(anew, test.want) {
				t.Errorf("%v start anew, want %v", anew, test.want)
			}
		})
	}
}

func TestABundleIsAFileOfItsCertificates(t *testing.T) {
	one, other := certificatePEM(t), certificatePEM(t)
	got := Bundle(bytes.TrimSpace(one), other)
	if string(got) != string(one)+string(other) {
		t.Errorf("the bundle is\n%s", got)
	}
	if string(Bundle(one)) != string(one) {
		t.Error("a bundle of one is not that one")
	}
}

// kubeadm says how a cluster's authority is named to who joins it:
// openssl x509 -pubkey -in ca.crt | openssl pkey -pubin -outform der | sha256sum
func TestAnAuthorityIsNamedAsKubeadmDoes(t *testing.T) {
	got, err := Fingerprint(certificatePEM(t))
	if err != nil || !strings.HasPrefix(got, "sha256:") || len(got) != len("sha256:")+64 {
		t.Errorf("it is named %q (%v)", got, err)
	}
	for _, text := range []string{"", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := Fingerprint([]byte(text)); err == nil {
			t.Errorf("%q has a name", text)
		}
	}
}
