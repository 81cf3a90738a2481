package controlplane

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// Use has the programs of Kubernetes be of another version than the spec asks for: during
// an upgrade, and after one that failed.
func (p *Plan) Use(version string) { p.version = version }

// Version that the programs of Kubernetes are planned with.
func (p *Plan) Version() string { return p.version }

// VersionOf is the version of an image of a program of Kubernetes.
func VersionOf(image string) string {
	tag := image[strings.LastIndexByte(image, '/')+1:]
	_, tag, _ = strings.Cut(tag, ":")
	tag, _, _ = strings.Cut(tag, "@")
	return tag
}

// Skew says why a cluster cannot go from a version to another: it goes up by one minor
// version at a time (https://kubernetes.io/releases/version-skew-policy).
func Skew(from, to string) error {
	was, err := version.ParseSemantic(from)
	if err != nil {
		return fmt.Errorf("%q is no version", from)
	}
	is, err := version.ParseSemantic(to)
	if err != nil {
		return fmt.Errorf("spec.version: %q is no version; write a full one such as v1.36.3", to)
	}
	switch {
	case is.LessThan(was):
		return fmt.Errorf("spec.version: the API servers run %s, and a cluster does not go back to %s; write %s or later", from, to, from)
	case is.Major() != was.Major() || is.Minor() > was.Minor()+1:
		return fmt.Errorf("spec.version: the API servers run %s, which is more than one minor version before %s; write a v%d.%d first", from, to, was.Major(), was.Minor()+1)
	}
	return nil
}

// Older is the older of two versions; "" is none.
func Older(a, b string) string {
	x, err := version.ParseSemantic(a)
	if err != nil {
		return b
	}
	if y, err := version.ParseSemantic(b); err == nil && y.LessThan(x) {
		return b
	}
	return a
}

// Same is whether an API server that says it is of a version is of the one that was asked
// for: who builds Kubernetes adds to its version, as in v1.36.3+build.1.
func Same(asked, said string) bool {
	rest, is := strings.CutPrefix(said, asked)
	return is && (rest == "" || rest[0] == '+' || rest[0] == '-')
}
