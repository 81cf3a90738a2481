package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/prose"
)

// originAnnotation says during a build which document an object is made from.
// Kustomize's own way costs the square of the patches.
const originAnnotation = v1alpha1.LabelPrefix + "built-from"

// kindsOf are the kinds that a directory may hold.
func kindsOf(directory string) []string {
	if directory == v1alpha1.PlatformDirectory {
		return []string{v1alpha1.KindNamespaceProfile, v1alpha1.KindTenantException}
	}
	return []string{v1alpha1.KindTenant, v1alpha1.KindTenantNamespace, v1alpha1.KindWorkloadCluster}
}

// findings are what is wrong with one document, one error a field.
type findings struct {
	*reader
	doc   *document
	seen  map[string]bool
	count int
	// unknown is how many of them are unknown fields.
	unknown int
	// mistyped fields are not judged again by what is there instead.
	mistyped mistyped
}

// at reports what is wrong with a field, at its line.
func (f *findings) at(path, message string) { f.atLine(path, f.doc.lineOf(path), message) }

func (f *findings) atLine(path string, line int, message string) {
	if path != "" && (f.seen[path] || f.mistyped.covers(path)) {
		return // the first says it best
	}
	f.seen[path] = true
	f.count++
	if path != "" {
		message = path + ": " + message
	}
	if f.doc.builtBy != "" {
		message += " (as built by " + f.doc.builtBy + ")"
	}
	f.fail(f.doc.file, line, message)
}

// object reads one document: its kind, its fields strictly, defaults, the rules
// of its schema, and the rules that one object can be checked for.
func (r *reader) object(doc *document) {
	f := &findings{reader: r, doc: doc, seen: map[string]bool{}}
	kind := f.kind()
	if kind == "" {
		return
	}
	known := schemas[kind]()
	w := &walker{doc: doc, report: f.atLine, unknown: unknownField}
	content, _ := w.walk(doc.root, known.written, nil).(map[string]any)
	if doc.builtBy != "" {
		dropOrigin(content)
	}
	if name := f.name(kind, content); name == "" || w.broken {
		return // the schema would only say it again
	}
	known.setDefaults(content)
	f.durations(kind, content) // the schema's rules would only say that CEL knows none
	for _, err := range known.validate(content) {
		f.schemaError(known, err, w.spared)
	}
	f.unknown, f.mistyped = w.unknowns, w.meant
	if f.count > f.unknown {
		return
	}
	switch kind {
	case v1alpha1.KindTenant:
		keep(f, known, content, &r.tenants, &r.faulty.tenants, &v1alpha1.Tenant{}, checkTenant)
	case v1alpha1.KindTenantNamespace:
		keep(f, known, content, &r.namespaces, &r.faulty.namespaces, &v1alpha1.TenantNamespace{}, checkNamespace)
	case v1alpha1.KindWorkloadCluster:
		keep(f, known, content, &r.clusters, &r.faulty.clusters, &v1alpha1.WorkloadCluster{}, checkCluster)
	case v1alpha1.KindNamespaceProfile:
		keep(f, known, content, &r.profiles, &r.faulty.profiles, &v1alpha1.NamespaceProfile{}, checkProfile)
	case v1alpha1.KindTenantException:
		keep(f, known, content, &r.exceptions, &r.faulty.exceptions, &v1alpha1.TenantException{}, checkException)
	}
}

// kind is the document's kind, or "" if this directory may not hold it.
func (f *findings) kind() string {
	if f.doc.root.Kind != yaml.MappingNode {
		f.at("", "is "+describe(f.doc.root)+"; write apiVersion, kind, metadata and spec")
		return ""
	}
	kind, version := f.text("kind"), f.text("apiVersion")
	allowed, group := kindsOf(f.directory.name), v1alpha1.GroupVersion.String()
	known := slices.Contains(allowed, kind)
	switch {
	case kind == "":
		f.at("kind", "is missing; write "+prose.Either(allowed))
	case !known && schemas[kind] != nil && f.directory.name == v1alpha1.PlatformDirectory:
		f.at("kind", fmt.Sprintf("%s belongs in a tenant's directory; %s holds %s", kind, v1alpha1.PlatformDirectory, prose.Either(allowed)))
	case !known && schemas[kind] != nil:
		f.at("kind", fmt.Sprintf("%s belongs in %s; a tenant's directory holds %s", kind, v1alpha1.PlatformDirectory, prose.Either(allowed)))
	case !known:
		f.at("kind", fmt.Sprintf("%q is not a kind that may be here; use %s", shorten(kind), cmp.Or(nearest(kind, allowed), prose.Either(allowed))))
	case version == "":
		f.at("apiVersion", "is missing; write "+group)
	case version != group:
		f.at("apiVersion", fmt.Sprintf("%q does not serve %s; write %s", shorten(version), kind, group))
	default:
		return kind
	}
	return ""
}

// text is a text at the top of the document, or "".
func (f *findings) text(name string) string {
	content := f.doc.root.Content
	for i := 0; i+1 < len(content); i += 2 {
		if value := resolve(content[i+1]); content[i].Value == name && value.Kind == yaml.ScalarNode && !isNull(value) {
			return value.Value
		}
	}
	return ""
}

// name is the object's name. It is noted even when the object has errors. Of two
// objects with one name the later one has the fault.
func (f *findings) name(kind string, content map[string]any) string {
	metadata, _ := content["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if name == "" {
		if !f.seen["metadata"] {
			f.at("metadata.name", "is missing; write the name of the "+kind)
		}
		return ""
	}
	if f.written[kind] == nil {
		f.written[kind] = map[string]Position{}
	}
	if first, twice := f.written[kind][name]; twice {
		f.at("metadata.name", fmt.Sprintf("%q is in %s too; keep one", name, first))
		return name
	}
	f.written[kind][name] = Position{File: f.doc.file, Line: f.doc.line()}
	return name
}

// schemaError reports what the API server would say, in its words.
func (f *findings) schemaError(known *kindSchema, err *field.Error, spared map[string]bool) {
	switch {
	case spared[err.Field]:
		return // it is there, mistyped
	case err.Type == field.ErrorTypeRequired && err.Detail == "":
		f.at(err.Field, err.ErrorBody()+": "+known.describe(err.Field))
	case err.Field == "" || err.Field == "<nil>": // a rule on the whole object
		if path, message, ok := strings.Cut(err.Detail, ": "); ok && strings.HasPrefix(path, "metadata.") {
			f.at(path, message)
			return
		}
		f.at("", err.Detail)
	default:
		f.at(err.Field, strings.ReplaceAll(err.ErrorBody(), err.Field+" in body ", ""))
	}
}

// dropOrigin takes away what only the build needed.
func dropOrigin(content map[string]any) {
	metadata, _ := content["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	delete(annotations, originAnnotation)
	if metadata != nil && len(annotations) == 0 {
		delete(metadata, "annotations")
	}
}

// keep makes an object of checked content, checks what its schema cannot, and
// adds it to those of its kind if it is without fault, or to the faulty ones if
// unknown fields are all that is wrong.
func keep[T metav1.Object](f *findings, known *kindSchema, content map[string]any, sound, faulty *[]*Object[T], value T, check func(*findings, T)) {
	if err := known.decode(content, value); err != nil {
		f.at("", "cannot be read: "+err.Error())
		return
	}
	checkMeta(f, value)
	check(f, value)
	o := &Object[T]{Value: value, Position: Position{File: f.doc.file, Line: f.doc.line()}, doc: f.doc.index, mistyped: f.mistyped}
	switch f.count {
	case 0:
		*sound = append(*sound, o)
	case f.unknown:
		*faulty = append(*faulty, o)
	}
}

// decode fills a typed object. Go types write parents that were left out
// ("etcd: {}"), in which the API server would set further defaults; so they are
// set once more.
func (k *kindSchema) decode(content map[string]any, value any) error {
	converter := runtime.DefaultUnstructuredConverter
	if err := converter.FromUnstructured(content, value); err != nil {
		return err
	}
	written, err := converter.ToUnstructured(value)
	if err != nil {
		return err
	}
	k.setDefaults(written)
	return converter.FromUnstructured(written, value)
}

func byName[T metav1.Object](list []*Object[T]) {
	slices.SortFunc(list, func(a, b *Object[T]) int { return cmp.Compare(a.Value.GetName(), b.Value.GetName()) })
}
