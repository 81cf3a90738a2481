package controlplane

import "testing"

func TestAClusterGoesUpByOneMinorVersionAtATime(t *testing.T) {
	for name, test := range map[string]struct{ from, to, want string }{
		"a patch":            {"v1.36.3", "v1.36.4", ""},
		"a minor version":    {"v1.36.3", "v1.37.0", ""},
		"nothing":            {"v1.36.3", "v1.36.3", ""},
		"two minor versions": {"v1.36.3", "v1.38.0", "spec.version: the API servers run v1.36.3, which is more than one minor version before v1.38.0; write a v1.37 first"},
		"a patch back":       {"v1.36.3", "v1.36.2", "spec.version: the API servers run v1.36.3, and a cluster does not go back to v1.36.2; write v1.36.3 or later"},
		"no version":         {"v1.36.3", "latest", `spec.version: "latest" is no version; write a full one such as v1.36.3`},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := Skew(test.from, test.to); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestAnAPIServerIsTheOneThatWasAskedForWhateverItsBuilderAdds(t *testing.T) {
	for said, want := range map[string]bool{
		"v1.36.3": true, "v1.36.3+build.1": true, "v1.36.3-eks-1": true, "v1.36.30": false, "v1.36.2": false, "": false,
	} {
		if got := Same("v1.36.3", said); got != want {
			t.Errorf("%q is the same: %t, want %t", said, got, want)
		}
	}
}

func TestTheVersionOfAnImageIsItsTag(t *testing.T) {
	for image, want := range map[string]string{
		"registry.k8s.io/kube-apiserver:v1.36.3": "v1.36.3", "localhost:5000/kube-apiserver:v1.36.3": "v1.36.3",
		"localhost:5000/kube-apiserver": "", "registry.k8s.io/kube-apiserver:v1.36.3@sha256:abc": "v1.36.3",
	} {
		if got := VersionOf(image); got != want {
			t.Errorf("%s is of %q, want %q", image, got, want)
		}
	}
}
