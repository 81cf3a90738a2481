package fleet

import (
	"encoding/json"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Store keeps what was worked out of content, by a key that names the content.
// It may forget. It is used concurrently.
type Store interface {
	// Get returns what was put, or nil.
	Get(key string) []byte
	Put(key string, value []byte)
}

// stored is a directory without errors, as it is kept in a Store. Its hash and
// name are in the key.
type stored struct {
	Tenants    []storedObject[*v1alpha1.Tenant]           `json:",omitempty"`
	Namespaces []storedObject[*v1alpha1.TenantNamespace]  `json:",omitempty"`
	Clusters   []storedObject[*v1alpha1.WorkloadCluster]  `json:",omitempty"`
	Profiles   []storedObject[*v1alpha1.NamespaceProfile] `json:",omitempty"`
	Exceptions []storedObject[*v1alpha1.TenantException]  `json:",omitempty"`
	Written    map[string]map[string]Position
}

type storedObject[T any] struct {
	Value T
	At    Position
	Doc   int
}

// readDirectory reads a directory, or what the Store has of the same content. A
// directory with errors is never stored: they are found anew each time.
func (p *Parser) readDirectory(name string, files Tree, hash string) *directory {
	key := "directory " + name + " " + hash
	if p.Store != nil {
		if dir := restore(p.Store.Get(key)); dir != nil {
			dir.name, dir.hash = name, hash
			return dir
		}
	}
	dir := readDirectory(name, files)
	dir.hash = hash
	if p.Store != nil && len(dir.errs) == 0 {
		if data := dir.encode(); data != nil {
			p.Store.Put(key, data)
		}
	}
	return dir
}

func (d *directory) encode() []byte {
	data, err := json.Marshal(stored{
		Tenants:    toStored(d.tenants),
		Namespaces: toStored(d.namespaces),
		Clusters:   toStored(d.clusters),
		Profiles:   toStored(d.profiles),
		Exceptions: toStored(d.exceptions),
		Written:    d.written,
	})
	if err != nil {
		return nil // it is read anew next time
	}
	return data
}

// restore is nil for what is not there or is damaged.
func restore(data []byte) *directory {
	var s stored
	if len(data) == 0 || json.Unmarshal(data, &s) != nil || s.Written == nil {
		return nil
	}
	return &directory{
		tenants:    fromStored(s.Tenants),
		namespaces: fromStored(s.Namespaces),
		clusters:   fromStored(s.Clusters),
		profiles:   fromStored(s.Profiles),
		exceptions: fromStored(s.Exceptions),
		written:    s.Written,
	}
}

func toStored[T any](objects []*Object[T]) []storedObject[T] {
	out := make([]storedObject[T], len(objects))
	for i, o := range objects {
		out[i] = storedObject[T]{o.Value, o.Position, o.doc}
	}
	return out
}

func fromStored[T any](objects []storedObject[T]) []*Object[T] {
	var out []*Object[T]
	for _, o := range objects {
		out = append(out, &Object[T]{Value: o.Value, Position: o.At, doc: o.Doc})
	}
	return out
}
