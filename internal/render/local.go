package render

import (
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Built is an object that Kustomize built, and the file it comes from.
type Built struct {
	*unstructured.Unstructured
	// File is relative to the root of the file system it was built from.
	File string
}

// BuildLocal runs Kustomize on a directory of trusted files as on one of a base: in
// memory, with the fields that a base may use, and without a network.
func BuildLocal(files fs.FS, dir string) ([]Built, error) {
	building.Lock()
	defer building.Unlock()

	sources, err := build(Base{FS: files}, dir)
	if err != nil {
		return nil, err
	}
	objects := make([]Built, len(sources))
	for i, s := range sources {
		objects[i] = Built{&unstructured.Unstructured{Object: s.object}, s.file}
	}
	return objects, nil
}
