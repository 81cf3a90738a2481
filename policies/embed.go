// Package policies carries the admission policies of Aether: what must hold in a
// cluster even while none of our processes is up, and what Kyverno holds where it runs.
//
// It decides nothing itself: the API server and Kyverno evaluate the policies.
package policies

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed admission/*/policy.yaml kyverno/*/policy.yaml
var files embed.FS

// canary is the policy that is created last. Once it refuses, all do: the API
// server learns of policies, and of bindings, in the order they were created.
const canary = "aether-system-namespaces"

// Admission returns every ValidatingAdmissionPolicy, then every binding, each by
// name with the canary last: the order to create them in.
func Admission() ([]*unstructured.Unstructured, error) {
	objects, err := read("admission")
	if err != nil {
		return nil, err
	}
	slices.SortFunc(objects, func(a, b *unstructured.Unstructured) int {
		return strings.Compare(order(a), order(b))
	})
	return objects, nil
}

// read returns the objects of a folder's policies, by folder.
func read(folder string) ([]*unstructured.Unstructured, error) {
	paths, err := fs.Glob(files, folder+"/*/policy.yaml")
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, path := range paths {
		data, err := files.ReadFile(path)
		if err != nil {
			return nil, err
		}
		decoded, err := decode(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		objects = append(objects, decoded...)
	}
	return objects, nil
}

func decode(data []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("cannot decode document %d: %w", len(objects)+1, err)
		}
		objects = append(objects, object)
	}
}

// order sorts by kind, since "…Policy" comes before "…PolicyBinding", then the
// canary last, then by name.
func order(o *unstructured.Unstructured) string {
	last := "0"
	if o.GetName() == canary {
		last = "1"
	}
	return o.GetKind() + "/" + last + "/" + o.GetName()
}
