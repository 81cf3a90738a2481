// Package convert makes Aether's secrets of what other operators keep secrets with:
// the manifests of External Secrets Operator become entries of spec.secrets, or
// SecretSyncs.
//
// It reads text and writes text, and asks neither a cluster nor OpenBao. What cannot be
// carried over is never dropped: each such field is a Problem at its line. It reads
// manifests that name secrets, and no secret.
package convert

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// File is a file of manifests.
type File struct {
	Name string
	Data []byte
}

// Options say where the secrets will be.
type Options struct {
	// StripPrefix is the tenant's path in OpenBao: paths are written below it.
	StripPrefix string
}

// Problem is one thing that is not carried over.
type Problem struct {
	File string
	Line int
	// Message says what it is, and what to do instead.
	Message string
}

// String is "file:line: message".
func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message) }

// Secret is what one ExternalSecret becomes in one namespace.
type Secret struct {
	// Namespace it is for; empty where the manifest does not say.
	Namespace string
	// SyncName is the SecretSync's name. Name is the Secret's.
	SyncName string
	v1alpha1.NamespaceSecret
	// From is the manifest, "ExternalSecret db", in File at Line.
	From string
	File string
	Line int
	// Problems of the manifest, by line.
	Problems []Problem
	// Notes are differences that need nothing done.
	Notes []string
}

// Result is what came of files.
type Result struct {
	// Secrets by namespace and name.
	Secrets []*Secret
	// Others are problems of what became no Secret.
	Others []Problem
	// Notes are for the platform team: what the stores say of OpenBao.
	Notes []string
	// Skipped are objects that are no manifests of External Secrets Operator.
	Skipped []Problem
}

// Folder is the first part of all paths; empty where they have none in common.
func (r *Result) Folder() string {
	folder := ""
	for i, s := range r.Secrets {
		first, _, ok := strings.Cut(s.Path, "/")
		if !ok || i > 0 && first != folder {
			return ""
		}
		folder = first
	}
	return folder
}

// Problems are all, by file and line.
func (r *Result) Problems() []Problem {
	all := slices.Clone(r.Others)
	for _, s := range r.Secrets {
		all = append(all, s.Problems...)
	}
	return sortedProblems(all)
}

func sortedProblems(all []Problem) []Problem {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	return slices.Compact(all)
}

// Groups of kinds.
const (
	group      = "external-secrets.io/"
	generators = "generators.external-secrets.io/"
)

// object is one manifest.
type object struct {
	*field
	kind, name, namespace string
}

func (o *object) String() string { return fmt.Sprintf("%s %s", o.kind, o.name) }

// converter holds what manifests refer to.
type converter struct {
	Options
	result     *Result
	stores     map[string]*store
	passwords  map[string]*object
	pushed     []*object
	mount      string // of the first store that is used
	mountStore string
}

// ExternalSecrets converts manifests of External Secrets Operator. The error is of
// files that cannot be read at all.
func ExternalSecrets(files []File, o Options) (*Result, error) {
	o.StripPrefix = strings.Trim(o.StripPrefix, "/")
	c := &converter{Options: o, result: &Result{}, stores: map[string]*store{}, passwords: map[string]*object{}}
	var objects []*object
	for _, f := range files {
		found, err := c.read(f)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	for _, o := range objects {
		c.note(o)
	}
	for _, o := range objects {
		c.convert(o)
	}
	for _, o := range c.pushed {
		c.push(o)
	}
	slices.SortStableFunc(c.result.Secrets, func(a, b *Secret) int { return cmp.Compare(a.Namespace, b.Namespace) })
	c.checkNames()
	return c.result, nil
}

// read takes the objects of a file, those in Lists too.
func (c *converter) read(f File) ([]*object, error) {
	var found []*object
	decoder := yaml.NewDecoder(bytes.NewReader(f.Data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not YAML: %s; of a Helm chart, convert what `helm template` prints", f.Name, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if len(doc.Content) == 0 {
			continue
		}
		found = append(found, c.take(f.Name, doc.Content[0])...)
	}
}

func (c *converter) take(file string, node *yaml.Node) []*object {
	root := &field{file: file, line: node.Line, node: resolve(node), sink: &c.result.Others}
	if root.node.Kind != yaml.MappingNode {
		return nil // nothing but comments
	}
	version, kind := root.at("apiVersion").text(), root.at("kind").text()
	if version == "v1" && kind == "List" {
		var all []*object
		for _, item := range root.at("items").items() {
			all = append(all, c.take(file, item.node)...)
		}
		return all
	}
	meta := root.at("metadata")
	o := &object{field: root, kind: kind, name: meta.at("name").text(), namespace: meta.at("namespace").text()}
	if !strings.HasPrefix(version, group) && !strings.HasPrefix(version, generators) {
		c.result.Skipped = append(c.result.Skipped, Problem{file, root.line, o.String() + " is no manifest of External Secrets Operator, and is left out"})
		return nil
	}
	root.ignore("status")
	meta.ignore("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid") // the cluster's
	return []*object{o}
}

// note keeps what others refer to.
func (c *converter) note(o *object) {
	switch o.kind {
	case "SecretStore", "ClusterSecretStore":
		c.noteStore(o)
	case "Password":
		c.passwords[key(o.kind, o.namespace, o.name)] = o
	}
}

func key(kind, namespace, name string) string {
	if strings.HasPrefix(kind, "Cluster") {
		namespace = ""
	}
	return kind + "/" + namespace + "/" + name
}

func (c *converter) convert(o *object) {
	switch o.kind {
	case "SecretStore", "ClusterSecretStore", "Password":
		// where they are referred to
	case "ExternalSecret":
		c.external(o, o.at("spec"), o.at("metadata"), o.name, []string{o.namespace})
	case "ClusterExternalSecret":
		c.cluster(o)
	case "PushSecret":
		c.pushed = append(c.pushed, o) // once all that they could be for is there
	default:
		o.at("kind").problem("%q has no counterpart; of generators, Password becomes generate: write other secrets into OpenBao by the means that you have", o.kind)
	}
}

// cluster makes one of each namespace that a ClusterExternalSecret names.
func (c *converter) cluster(o *object) {
	spec, meta := o.at("spec"), o.at("metadata")
	spec.ignore("refreshTime") // how often namespaces are looked for
	name := cmp.Or(spec.at("externalSecretName").text(), o.name)
	var namespaces []string
	for _, n := range spec.at("namespaces").items() {
		namespaces = append(namespaces, n.text())
	}
	for _, selector := range []string{"namespaceSelector", "namespaceSelectors"} {
		if s := spec.at(selector); s.there() {
			s.problem("which namespaces it selects is known to the cluster alone; put the entry into each TenantNamespace that it is for")
		}
	}
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	if m := spec.at("externalSecretMetadata"); m.there() {
		meta = m
	}
	one := spec.at("externalSecretSpec")
	spec.rest()
	c.external(o, one, meta, name, namespaces)
}

// checkNames reports two Secrets of one name in one namespace.
func (c *converter) checkNames() {
	first := map[string]*Secret{}
	c.result.Secrets = slices.DeleteFunc(c.result.Secrets, func(s *Secret) bool {
		at := s.Namespace + "/" + s.Name
		other := first[at]
		if other == nil {
			first[at] = s
			return false
		}
		c.result.Others = append(c.result.Others, s.Problems...)
		c.result.Others = append(c.result.Others, Problem{s.File, s.Line, fmt.Sprintf("metadata.name: %s makes the Secret %q, as %s at %s:%d does; keep one, or merge them by hand", s.From, s.Name, other.From, other.File, other.Line)})
		return true
	})
}
