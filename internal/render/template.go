package render

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"weak"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render/canonical"
	"github.com/aetherplatform/aether/internal/render/expr"
	"github.com/aetherplatform/aether/internal/render/network"
)

// Template is a profile, compiled. It is immutable and safe for concurrent use.
type Template struct {
	*compiled
	profile *v1alpha1.NamespaceProfile
	values  *profileView
}

// compiled is a directory of a base, compiled. Profiles that name the same
// directory share it.
type compiled struct {
	objects []*objectTemplate
	// slots is how many expressions there are whose values are kept.
	slots         int
	servesSecrets bool
}

// objectTemplate is one object of a component.
type objectTemplate struct {
	// id is "ResourceQuota quota (namespace/quota)", for errors.
	id string
	// file is where the component has it, and name what it is called there.
	file, name string
	group      string
	kind       string
	when       *expression
	forEach    *expression
	root       object
}

// Compile builds a profile's base with Kustomize and compiles what is in it.
func Compile(profile *v1alpha1.NamespaceProfile, base Base) (*Template, error) {
	c, err := compileBase(base, profile.Spec.Base.Path)
	if err != nil {
		return nil, err
	}
	return c.with(profile)
}

// with is the compiled base for one profile.
func (c *compiled) with(profile *v1alpha1.NamespaceProfile) (*Template, error) {
	values, err := viewProfile(profile)
	if err != nil {
		return nil, err
	}
	t := &Template{compiled: c, profile: profile, values: values}
	if err := t.try(); err != nil {
		return nil, err
	}
	return t, nil
}

// isCiliumPolicy is true of what Cilium's own checks are for.
func (o *objectTemplate) isCiliumPolicy() bool {
	return o.group == ciliumGroup && o.kind == network.Kind
}

// Profile that the template is of. It must not be changed.
func (t *Template) Profile() *v1alpha1.NamespaceProfile { return t.profile }

// ServesSecrets reports whether a component of the profile reads namespace.secrets.
func (t *Template) ServesSecrets() bool { return t.servesSecrets }

// compiledBases are the directories of bases that are compiled and in use: a hundred
// repositories and their profiles need the embedded one once.
var compiledBases = map[baseKey]weak.Pointer[compiled]{}

// compileBase builds one directory of a base and compiles its objects, unless this
// program has done so for somebody who still uses it.
func compileBase(base Base, dir string) (*compiled, error) {
	building.Lock()
	defer building.Unlock()

	key := baseKey{base.Revision, dir}
	if c := compiledBases[key].Value(); c != nil {
		return c, nil
	}
	c, err := compileAnew(base, dir)
	if err == nil {
		maps.DeleteFunc(compiledBases, func(_ baseKey, p weak.Pointer[compiled]) bool { return p.Value() == nil })
		compiledBases[key] = weak.Make(c)
	}
	return c, err
}

func compileAnew(base Base, dir string) (*compiled, error) {
	sources, err := build(base, dir)
	if err != nil {
		return nil, err
	}
	env, err := newEnv()
	if err != nil {
		return nil, err
	}
	c := &compiler{env: env, expressions: map[string]*expression{}}
	out := &compiled{}
	for _, s := range sources {
		o, err := c.template(s)
		if err != nil {
			return nil, err
		}
		out.objects = append(out.objects, o)
	}
	slices.SortStableFunc(out.objects, func(a, b *objectTemplate) int {
		return cmp.Or(cmp.Compare(rank(a.group, a.kind), rank(b.group, b.kind)),
			cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
	})
	if len(out.objects) == 0 || out.objects[0].kind != "Namespace" {
		return nil, fmt.Errorf("%s: there is no Namespace among its objects; add the component namespace/namespace", dir)
	}
	out.slots = len(c.expressions)
	for _, x := range c.expressions {
		out.servesSecrets = out.servesSecrets || x.Reads("namespace.secrets")
	}
	return out, nil
}

// template compiles one object. Its errors say which component, object and field.
func (c *compiler) template(s source) (*objectTemplate, error) {
	kind, _ := s.object["kind"].(string)
	metadata, _ := s.object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	o := &objectTemplate{id: fmt.Sprintf("%s %q (%s)", kind, name, s.component), file: s.file, name: name, kind: kind}

	if err := c.fill(o, s, metadata); err != nil {
		return nil, fmt.Errorf("%s: %s %q: %w", s.file, kind, name, err)
	}
	return o, nil
}

func (c *compiler) fill(o *objectTemplate, s source, metadata map[string]any) error {
	apiVersion, _ := s.object["apiVersion"].(string)
	if err := checkKind(apiVersion, o.kind); err != nil {
		return err
	}
	o.group, _, _ = strings.Cut(apiVersion, "/")
	if apiVersion == "v1" {
		o.group = ""
	}
	if o.isCiliumPolicy() {
		if err := network.CheckFields(s.object); err != nil {
			return err
		}
	}
	if metadata["name"] == nil {
		return errors.New("metadata.name: it is not set")
	}

	annotations := stringsOf(metadata["annotations"])
	each, err := c.conditions(o, annotations)
	if err != nil {
		return err
	}
	delete(annotations, v1alpha1.AnnotationIncludeWhen)
	delete(annotations, v1alpha1.AnnotationForEach)
	annotations[v1alpha1.AnnotationComponent] = s.component

	labels := stringsOf(metadata["labels"])
	labels[v1alpha1.LabelTenant] = "${tenant.name}"
	labels[v1alpha1.LabelManagedBy] = v1alpha1.ManagedBy

	metadata["annotations"], metadata["labels"] = annotations, labels
	if o.kind != "Namespace" && metadata["namespace"] == nil {
		metadata["namespace"] = "${namespace.name}"
	}
	return c.root(o, s.object, metadata, each)
}

// conditions compiles the annotations that decide whether and how often an
// object is made. It returns the environment of a repeated object.
func (c *compiler) conditions(o *objectTemplate, annotations map[string]any) (*expr.Env, error) {
	var each *expr.Env
	if s, ok := annotations[v1alpha1.AnnotationForEach].(string); ok {
		x, err := c.single(s, nil)
		if err != nil {
			return nil, under("metadata.annotations["+v1alpha1.AnnotationForEach+"]", err)
		}
		if x.Type.Kind() != types.ListKind {
			return nil, under("metadata.annotations["+v1alpha1.AnnotationForEach+"]", fmt.Errorf("${%s}: want a list, this is a %s", x.Source, x.Type))
		}
		o.forEach = x
		if each, err = c.env.With("each", x.Type.Parameters()[0]); err != nil {
			return nil, err
		}
	}
	if s, ok := annotations[v1alpha1.AnnotationIncludeWhen].(string); ok {
		x, err := c.single(s, each)
		if err != nil {
			return nil, under("metadata.annotations["+v1alpha1.AnnotationIncludeWhen+"]", err)
		}
		if !x.Type.IsExactType(cel.BoolType) {
			return nil, under("metadata.annotations["+v1alpha1.AnnotationIncludeWhen+"]", fmt.Errorf("${%s}: want a bool, this is a %s", x.Source, x.Type))
		}
		o.when = x
	}
	return each, nil
}

// single compiles a string that has to be one expression.
func (c *compiler) single(s string, each *expr.Env) (*expression, error) {
	n, err := c.text(s, each)
	if err != nil {
		return nil, err
	}
	v, ok := n.(value)
	if !ok {
		return nil, fmt.Errorf("%q: want one expression and nothing around it: ${…}", s)
	}
	return v.expression, nil
}

// root compiles the object. Its metadata, labels and annotations are never
// shared with the template, so that whoever applies the object may add to them.
func (c *compiler) root(o *objectTemplate, whole, metadata map[string]any, each *expr.Env) error {
	labels, err := c.entries(metadata["labels"].(map[string]any), each)
	if err != nil {
		return under("metadata.labels", err)
	}
	annotations, err := c.entries(metadata["annotations"].(map[string]any), each)
	if err != nil {
		return under("metadata.annotations", err)
	}
	delete(metadata, "labels")
	delete(metadata, "annotations")
	meta, err := c.entries(metadata, each)
	if err != nil {
		return under("metadata", err)
	}
	delete(whole, "metadata")
	if o.root, err = c.entries(whole, each); err != nil {
		return err
	}

	if o.kind == "Namespace" {
		below := func(field string) *expression {
			x, e := c.expression(field, nil)
			err = cmp.Or(err, e)
			return x
		}
		meta.set("labels", merged{below("namespace.labels"), labels})
		meta.set("annotations", merged{below("namespace.annotations"), annotations})
	} else {
		meta.set("labels", labels)
		meta.set("annotations", annotations)
	}
	o.root.set("metadata", meta)
	return err
}

// set adds an entry at its place.
func (o *object) set(key string, n node) {
	i, _ := slices.BinarySearchFunc(o.entries, key, func(e entry, key string) int { return strings.Compare(e.key, key) })
	o.entries = slices.Insert(o.entries, i, entry{key, canonical.String(nil, key), n})
}

// stringsOf is a copy of labels or annotations.
func stringsOf(v any) map[string]any {
	out := map[string]any{}
	m, _ := v.(map[string]any)
	for k, v := range m {
		out[k] = v
	}
	return out
}
