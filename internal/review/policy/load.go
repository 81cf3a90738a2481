package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/files"
)

// directory of a fleet repository that holds its policies.
const directory = "policies"

// Bounds of what is read, those of a base.
const (
	maxFiles     = 5_000
	maxBytes     = 32 << 20
	maxFileBytes = 1 << 20
	maxDocuments = 1_000 // of one file
	maxDepth     = 32
)

const (
	admissionGroup = "admissionregistration.k8s.io"
	kindPolicy     = "ValidatingAdmissionPolicy"
	kindBinding    = "ValidatingAdmissionPolicyBinding"
)

// set is the policies of a repository, and what they need.
type set struct {
	policies []*policy
	// names of all policies and bindings, in force or not: "<kind> <name>".
	names map[string]bool
	// params are all other objects that are beside the policies.
	params []*unstructured.Unstructured
	// foreign are the policies of an engine.
	foreign []Foreign
	// notes are what is there and is not evaluated.
	notes []review.Finding
}

// inForce is whether any policy decides on anything.
func (s *set) inForce() bool { return len(s.policies) > 0 || len(s.foreign) > 0 }

// load reads the policies of a repository. A directory with a kustomization is
// what it builds; elsewhere every YAML file is read.
func load(repository fs.FS, kyverno Engine) (*set, error) {
	entry, err := files.Entry(repository, directory)
	if err != nil {
		return nil, err
	}
	l := &loader{policies: map[string]*policy{}, foreign: map[string][]string{}, kyverno: kyverno}
	if entry == nil || !entry.IsDir() {
		return l.set(), nil
	}
	if l.files, err = fs.Sub(repository, directory); err != nil {
		return nil, err
	}
	if err := l.directory(".", 0); err != nil {
		return nil, err
	}
	return l.set(), nil
}

type loader struct {
	files    fs.FS
	count    int
	bytes    int
	policies map[string]*policy
	bindings []*binding
	params   []*unstructured.Unstructured
	foreign  map[string][]string // files of policies that no engine is there for, by engine
	kyverno  Engine
	declared []Declared // for kyverno
	notes    []review.Finding
}

func (l *loader) directory(dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: is nested more than %d directories deep", path.Join(directory, dir), maxDepth)
	}
	entries, err := fs.ReadDir(l.files, dir)
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", path.Join(directory, dir), err)
	}
	if i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return isKustomization(e.Name()) }); i >= 0 {
		l.build(dir, entries[i].Name())
		return nil
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = l.directory(name, depth+1)
		case isYAML(name):
			err = l.file(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isYAML(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name))
}

func isKustomization(name string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, name)
}

// build reads what a kustomization makes.
func (l *loader) build(dir, kustomization string) {
	built, err := render.BuildLocal(l.files, dir)
	if err != nil {
		l.unread(review.Place{File: path.Join(directory, dir, kustomization)}, err)
		return
	}
	for _, b := range built {
		l.object(b.Unstructured, review.Place{File: path.Join(directory, b.File)})
	}
}

func (l *loader) file(name string) error {
	at := review.Place{File: path.Join(directory, name)}
	data, err := files.Read(l.files, name, maxFileBytes)
	if errors.Is(err, files.ErrLink) || errors.Is(err, files.ErrLarge) {
		l.unread(at, errors.New(strings.TrimPrefix(err.Error(), name+": ")))
		return nil
	}
	if err != nil {
		return err
	}
	if l.count, l.bytes = l.count+1, l.bytes+len(data); l.count > maxFiles || l.bytes > maxBytes {
		return fmt.Errorf("%s: has more than %d files or %d MiB; take out what is no policy", directory, maxFiles, maxBytes>>20)
	}
	docs := documents(data)
	if len(docs) > maxDocuments {
		l.unread(at, fmt.Errorf("it has more than %d documents; split it", maxDocuments))
		return nil
	}
	for _, d := range docs {
		at.Line = d.line
		o, err := decode(d.text)
		if err != nil {
			l.unread(at, err)
			continue
		}
		l.object(o, at)
	}
	return nil
}

// document is one of a YAML file.
type document struct {
	line int
	text []byte
}

// documents splits a file at its "---" lines, and leaves out those without content.
// Of more than maxDocuments it returns one too many.
func documents(data []byte) []document {
	var docs []document
	current, begun := document{}, false
	end := func() {
		if begun {
			docs = append(docs, current)
		}
		current, begun = document{}, false
	}
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		if len(docs) > maxDocuments {
			return docs
		}
		text := bytes.TrimSpace(line)
		if bytes.HasPrefix(line, []byte("---")) && (len(text) == 3 || text[3] == ' ' || text[3] == '\t') {
			end()
			if line = line[3:]; len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			text = bytes.TrimSpace(line)
		}
		if !begun && len(text) > 0 && text[0] != '#' {
			begun, current.line = true, i+1
		}
		if begun {
			current.text = append(current.text, line...)
		}
	}
	end()
	return docs
}

func decode(text []byte) (*unstructured.Unstructured, error) {
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, errors.New(oneLine(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")))
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, errors.New("is not an object; write apiVersion, kind and metadata")
	}
	return &unstructured.Unstructured{Object: object}, nil
}

// object files one object of the repository where it belongs.
func (l *loader) object(o *unstructured.Unstructured, at review.Place) {
	if items, ok := o.Object["items"].([]any); ok && strings.HasSuffix(o.GetKind(), "List") {
		for _, item := range items {
			if fields, ok := item.(map[string]any); ok {
				l.object(&unstructured.Unstructured{Object: fields}, at)
			}
		}
		return
	}
	gvk := o.GroupVersionKind()
	switch {
	case gvk.Group == admissionGroup && gvk.Kind == kindPolicy:
		p := &policy{place: at}
		if err := fromObject(o, &p.ValidatingAdmissionPolicy); err != nil {
			l.unread(at, err)
			return
		}
		if err := p.prepare(); err != nil {
			l.unread(at, err)
			return
		}
		l.policies[p.Name] = p
	case gvk.Group == admissionGroup && gvk.Kind == kindBinding:
		b := &binding{place: at}
		if err := fromObject(o, &b.ValidatingAdmissionPolicyBinding); err != nil {
			l.unread(at, err)
			return
		}
		if err := b.prepare(); err != nil {
			l.unread(at, err)
			return
		}
		l.bindings = append(l.bindings, b)
	default:
		engine := engineOf(gvk)
		if engine == kyvernoEngine && l.kyverno != nil {
			l.declared = append(l.declared, Declared{o, at})
			return
		}
		if engine != "" {
			l.foreign[engine] = append(l.foreign[engine], at.String())
			return
		}
		l.params = append(l.params, o)
	}
}

const kyvernoEngine = "Kyverno"

// engineOf names what would enforce a kind, where it is not this package.
func engineOf(gvk schema.GroupVersionKind) string {
	switch {
	case gvk.Group == "cli.kyverno.io":
		return "" // tests of policies
	case gvk.Group == "kyverno.io", strings.HasSuffix(gvk.Group, ".kyverno.io"):
		return kyvernoEngine
	case strings.HasSuffix(gvk.Group, ".gatekeeper.sh"):
		return "Gatekeeper"
	case gvk.Group == admissionGroup && strings.HasPrefix(gvk.Kind, "MutatingAdmissionPolicy"):
		return "MutatingAdmissionPolicy"
	case gvk.Group == admissionGroup:
		return "admission webhooks"
	}
	return ""
}

func fromObject(o *unstructured.Unstructured, into any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
		return fmt.Errorf("%s %q: %s", o.GetKind(), o.GetName(), oneLine(err.Error()))
	}
	if o.GetName() == "" {
		return fmt.Errorf("%s has no metadata.name", o.GetKind())
	}
	return nil
}

// unread notes what may hold a policy and cannot be read.
func (l *loader) unread(at review.Place, err error) {
	l.notes = append(l.notes, review.Finding{
		Risk: review.Medium, Category: NotEvaluated, Place: at,
		Title: fmt.Sprintf("Policies of %s are not evaluated: %s", at, oneLine(err.Error())),
	})
}

// mostListed bounds the details of a finding.
const mostListed = 20

func (l *loader) set() *set {
	s := &set{params: l.params, notes: l.notes, names: map[string]bool{}}
	for name := range l.policies {
		s.names[title(kindPolicy, name)] = true
	}
	for _, b := range l.bindings {
		s.names[title(kindBinding, b.Name)] = true
		if p := l.policies[b.Spec.PolicyName]; p != nil {
			p.bindings = append(p.bindings, b)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.policies)) {
		if p := l.policies[name]; len(p.bindings) > 0 {
			s.policies = append(s.policies, p)
		}
	}
	if len(l.declared) > 0 {
		var notes []review.Finding
		s.foreign, notes = l.kyverno.Load(l.declared, l.params)
		s.notes = append(s.notes, notes...)
		for _, d := range l.declared {
			s.names[title(d.GetKind(), d.GetName())] = true
		}
	}
	for _, engine := range slices.Sorted(maps.Keys(l.foreign)) {
		places := l.foreign[engine]
		slices.Sort(places)
		s.notes = append(s.notes, review.Finding{
			Risk: review.Info, Category: NotEvaluated,
			Title:   fmt.Sprintf("%d policies of %s are not evaluated by this build of aether: the cluster decides on them", len(places), engine),
			Details: atMost(places),
		})
	}
	slices.SortStableFunc(s.notes, func(a, b review.Finding) int { return cmp.Compare(a.Risk.Weight(), b.Risk.Weight()) })
	return s
}

// atMost keeps a list of a size, and says what was left out.
func atMost(lines []string) []string {
	if len(lines) <= mostListed {
		return lines
	}
	return append(slices.Clone(lines[:mostListed]), fmt.Sprintf("and %d more", len(lines)-mostListed))
}

// policy is one that is bound.
type policy struct {
	admissionv1.ValidatingAdmissionPolicy
	place       review.Place
	bindings    []*binding
	constraints *criteria
	program
}

// prepare sets the API server's defaults and what is needed to match.
func (p *policy) prepare() error {
	if p.Spec.MatchConstraints == nil {
		return fmt.Errorf("ValidatingAdmissionPolicy %q: spec.matchConstraints is missing", p.Name)
	}
	if p.Spec.FailurePolicy == nil {
		fail := admissionv1.Fail
		p.Spec.FailurePolicy = &fail
	}
	var err error
	if p.constraints, err = newCriteria(p.Spec.MatchConstraints); err != nil {
		return fmt.Errorf("ValidatingAdmissionPolicy %q: %w", p.Name, err)
	}
	return nil
}

func (p *policy) ignoresErrors() bool { return *p.Spec.FailurePolicy == admissionv1.Ignore }

// binding puts a policy in force.
type binding struct {
	admissionv1.ValidatingAdmissionPolicyBinding
	place  review.Place
	where  *criteria // nil is everywhere
	params labels.Selector
}

func (b *binding) prepare() error {
	var err error
	if b.Spec.MatchResources != nil {
		if b.where, err = newCriteria(b.Spec.MatchResources); err != nil {
			return fmt.Errorf("ValidatingAdmissionPolicyBinding %q: %w", b.Name, err)
		}
	}
	if ref := b.Spec.ParamRef; ref != nil && ref.Selector != nil {
		if b.params, err = metav1.LabelSelectorAsSelector(ref.Selector); err != nil {
			return fmt.Errorf("ValidatingAdmissionPolicyBinding %q: spec.paramRef.selector: %w", b.Name, err)
		}
	}
	return nil
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
