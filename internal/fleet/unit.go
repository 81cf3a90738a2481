package fleet

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// unit is a directory with a kustomization.yaml.
type unit struct {
	dir, file string
	doc       *document
	content   map[string]any // within the allow-list
	component bool
	twice     bool // there is another kustomization in the directory

	refs  []ref // what it names, in order; content is nil if one is in error
	named bool  // by another unit
}

// ref is one path in a kustomization.
type ref struct {
	field string // "resources[0]"
	text  string // as it is written
	file  string // what it names: a file of the tree,
	unit  *unit  // or a unit
}

// units are the units of one tenant's directory, by their own.
type units map[string]*unit

func isKustomization(base string) bool {
	return base == "kustomization.yaml" || base == "kustomization.yml" || base == "Kustomization"
}

// contain says whether a file is in a unit's directory, or below it.
func (u units) contain(file string) bool { return u.around(path.Dir(file)) != nil }

// around is the unit that a directory is in, or nil.
func (u units) around(dir string) *unit {
	for ; len(u) > 0 && dir != "."; dir = path.Dir(dir) {
		if unit := u[dir]; unit != nil {
			return unit
		}
	}
	return nil
}

// sorted are the units by directory.
func (u units) sorted() []*unit {
	var out []*unit
	for _, dir := range slices.Sorted(maps.Keys(u)) {
		out = append(out, u[dir])
	}
	return out
}

// findUnits reads the kustomizations of a directory and what they name.
func (r *reader) findUnits() units {
	found := units{}
	for _, file := range slices.Sorted(maps.Keys(r.files)) {
		if !isKustomization(path.Base(file)) || inHidden(file) {
			continue
		}
		dir := path.Dir(file)
		if other := found[dir]; other != nil {
			r.fail(file, 0, fmt.Sprintf("is a second kustomization beside %s; keep one", other.file))
			other.twice = true
			continue
		}
		found[dir] = &unit{dir: dir, file: file}
	}
	for _, u := range found.sorted() {
		if !u.twice {
			r.readUnit(u)
		}
	}
	for _, u := range found.sorted() {
		r.resolveRefs(found, u)
	}
	return found
}

// readUnit reads a kustomization within the allow-list.
func (r *reader) readUnit(u *unit) {
	docs := r.documents(u.file, r.files[u.file].Data)
	switch {
	case r.files[u.file].Refused != "" || r.files[u.file].Link != "":
		return // reported with the other files
	case len(docs) == 0:
		if len(r.errs) == 0 {
			r.fail(u.file, 0, "is empty; list resources")
		}
		return
	case len(docs) > 1:
		r.fail(u.file, docs[1].line(), "has a second document; keep one")
		return
	}
	f := &findings{reader: r, doc: docs[0], seen: map[string]bool{}}
	w := &walker{doc: docs[0], report: f.atLine, unknown: refusedField}
	content, _ := w.walk(docs[0].root, kustomizationSchema, nil).(map[string]any)
	kind, _ := content["kind"].(string)
	switch kind {
	case "Component":
		u.component = true
		f.version(content, "kustomize.config.k8s.io/v1alpha1")
	case "", "Kustomization":
		f.version(content, "kustomize.config.k8s.io/v1beta1")
	default:
		f.at("kind", fmt.Sprintf("%q is no kind of kustomization; use Kustomization or Component", shorten(kind)))
	}
	if f.count == 0 && content != nil {
		u.doc, u.content = docs[0], content
	}
}

// version wants a kustomization's apiVersion, if there is one, to be of its kind.
func (f *findings) version(content map[string]any, want string) {
	if got, ok := content["apiVersion"].(string); ok && got != want {
		f.at("apiVersion", fmt.Sprintf("%q is not of this kind; write %s", shorten(got), want))
	}
}

// The allow-list. Each field that is not here either reads from elsewhere, runs
// what is not ours, or makes kinds that no tenant may have.
var (
	texts               = &schema.Structural{Generic: schema.Generic{Type: "object"}, AdditionalProperties: &schema.StructuralOrBool{Structural: text()}}
	kustomizationSchema = object(map[string]*schema.Structural{
		"apiVersion":        text(),
		"kind":              text(),
		"metadata":          object(map[string]*schema.Structural{"name": text(), "labels": texts, "annotations": texts}),
		"resources":         list(text()),
		"components":        list(text()),
		"commonAnnotations": texts,
		"labels": list(object(map[string]*schema.Structural{
			"pairs": texts, "includeSelectors": boolean(), "includeTemplates": boolean(),
		})),
		"patches": list(object(map[string]*schema.Structural{
			"path": text(), "patch": text(),
			"options": object(map[string]*schema.Structural{"allowNameChange": boolean(), "allowKindChange": boolean()}),
			"target": object(map[string]*schema.Structural{
				"group": text(), "version": text(), "kind": text(), "name": text(), "namespace": text(),
				"labelSelector": text(), "annotationSelector": text(),
			}),
		})),
	})
)

func text() *schema.Structural { return &schema.Structural{Generic: schema.Generic{Type: "string"}} }

func boolean() *schema.Structural {
	return &schema.Structural{Generic: schema.Generic{Type: "boolean"}}
}

func list(of *schema.Structural) *schema.Structural {
	return &schema.Structural{Generic: schema.Generic{Type: "array"}, Items: of}
}

func object(fields map[string]*schema.Structural) *schema.Structural {
	s := &schema.Structural{Generic: schema.Generic{Type: "object"}, Properties: map[string]schema.Structural{}}
	for name, of := range fields {
		s.Properties[name] = *of
	}
	return s
}

// refusedField says why a field of Kustomize's is not honoured here.
func refusedField(where, name string, known []string) string {
	const use = "; use resources, components, patches, labels and commonAnnotations"
	switch {
	case where != "":
		return unknownField(where, name, known)
	case strings.HasPrefix(name, "helm"):
		return "runs Helm, which a tenant's directory cannot; commit what it makes" + use
	case slices.Contains([]string{"generators", "transformers", "validators", "configurations", "crds", "openapi"}, name):
		return "is not honoured in a tenant's directory, since it changes how others' files are built" + use
	case name == "replacements" || name == "vars":
		return "is not honoured in a tenant's directory, since copies of copies grow without bound; write the value where it is needed"
	case name == "bases":
		return "is an old name; write resources"
	case name == "patchesStrategicMerge" || name == "patchesJson6902":
		return "is an old name; write patches"
	case name == "commonLabels":
		return "is an old name; write labels"
	case name == "namePrefix" || name == "nameSuffix" || name == "namespace":
		return "is not honoured in a tenant's directory, so that each name can be searched for; write the names out"
	}
	if meant := nearest(name, known); meant != "" {
		return "no such field; write " + meant
	}
	return "is not honoured in a tenant's directory" + use
}

// resolveRefs finds what a unit names.
func (r *reader) resolveRefs(all units, u *unit) {
	if u.content == nil {
		return
	}
	f := &findings{reader: r, doc: u.doc, seen: map[string]bool{}}
	for _, name := range []string{"resources", "components"} {
		if n := len(sliceOf(u.content[name])); n > MaxBuiltObjects {
			f.at(name, fmt.Sprintf("lists %d paths; list at most %d", n, MaxBuiltObjects))
			break
		}
		for i, entry := range sliceOf(u.content[name]) {
			to := ref{field: fmt.Sprintf("%s[%d]", name, i), text: stringOf(entry)}
			message := r.resolveRef(all, u, &to)
			if message == "" {
				message = to.misplaced(name)
			}
			if message == "" && slices.ContainsFunc(u.refs, func(other ref) bool { return other.file == to.file && other.unit == to.unit }) {
				message = fmt.Sprintf("%q is listed twice; keep one", shorten(to.text))
			}
			if message != "" {
				f.at(to.field, message)
				continue
			}
			if to.unit != nil {
				to.unit.named = true
			}
			u.refs = append(u.refs, to)
		}
	}
	for i, entry := range sliceOf(u.content["patches"]) {
		patch, _ := entry.(map[string]any)
		at := fmt.Sprintf("patches[%d]", i)
		file, inline := stringOf(patch["path"]), stringOf(patch["patch"])
		switch {
		case (file == "") == (inline == ""):
			f.at(at, "names neither or both of path and patch; write one of them")
		case file != "":
			to := ref{field: at + ".path", text: file}
			message := r.resolveRef(all, u, &to)
			if message == "" && to.unit != nil {
				message = fmt.Sprintf("%q is a directory; name the patch's file", shorten(file))
			}
			f.check(to.field, message)
			u.refs = append(u.refs, to)
		}
	}
	if f.count > 0 {
		u.content = nil
	}
}

// misplaced says what is wrong with a path that can be read, in this list.
func (to *ref) misplaced(list string) string {
	switch {
	case list == "components" && to.unit == nil:
		return fmt.Sprintf("%q is a file; list it under resources", shorten(to.text))
	case list == "components" && !to.unit.component && to.unit.content != nil:
		return fmt.Sprintf("%q is no Component; list it under resources", shorten(to.text))
	case list == "resources" && to.unit != nil && to.unit.component:
		return fmt.Sprintf("%q is a Component; list it under components", shorten(to.text))
	case to.unit == nil && isKustomization(path.Base(to.file)):
		return fmt.Sprintf("%q is a kustomization; list its directory", shorten(to.text))
	}
	return ""
}

var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*:|[^/]*@[^/]*:)|::|\?`)

// resolveRef finds the file or unit that a path names. The path is only ever
// looked up in the tenant's own files; Kustomize never sees it.
func (r *reader) resolveRef(all units, u *unit, to *ref) (message string) {
	quoted := fmt.Sprintf("%q", shorten(to.text))
	switch {
	case to.text == "":
		return "is empty; name a file or a directory"
	case strings.Contains(to.text, "://") || scheme.MatchString(to.text):
		return fmt.Sprintf("%s is remote; copy it into %s and list it by its path", quoted, r.directory.name)
	case strings.HasPrefix(to.text, "/"):
		return fmt.Sprintf("%s is absolute; list paths inside %s", quoted, r.directory.name)
	}
	target := path.Join(u.dir, to.text)
	if target != r.directory.name && !strings.HasPrefix(target, r.directory.name+"/") {
		return fmt.Sprintf("%s leaves %s; list paths inside it", quoted, r.directory.name)
	}
	for at := target; at != "."; at = path.Dir(at) {
		if link := r.files[at].Link; link != "" {
			return fmt.Sprintf("%s leads through the symbolic link %s; commit the files themselves", quoted, at)
		}
	}
	file, isFile := r.files[target]
	switch {
	case isFile && file.Refused != "":
		return fmt.Sprintf("%s %s", quoted, file.Refused)
	case isFile && (hidden(target) || inHidden(target)):
		return fmt.Sprintf("%s is hidden; rename it", quoted)
	case isFile && !isText(target):
		return fmt.Sprintf("%s is not YAML; call it .yaml", quoted)
	case isFile:
		to.file = target
	case target == u.dir:
		return fmt.Sprintf("%s is the directory of this kustomization; list its files", quoted)
	case all[target] != nil:
		to.unit = all[target]
	case r.hasDirectory(target):
		return fmt.Sprintf("%s holds no kustomization.yaml; list its files", quoted)
	default:
		return fmt.Sprintf("%s is not there; name a file or directory of %s", quoted, r.directory.name)
	}
	return ""
}

// hasDirectory says whether any file is below a path.
func (r *reader) hasDirectory(dir string) bool {
	if r.dirs == nil {
		r.dirs = map[string]bool{}
		for file := range r.files {
			for dir := path.Dir(file); !r.dirs[dir]; dir = path.Dir(dir) {
				r.dirs[dir] = true
			}
		}
	}
	return r.dirs[dir]
}

func sliceOf(v any) []any   { s, _ := v.([]any); return s }
func stringOf(v any) string { s, _ := v.(string); return s }
