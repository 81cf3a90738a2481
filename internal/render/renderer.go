package render

import (
	"cmp"
	"fmt"
	"maps"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render/canonical"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// Renderer renders whole fleets, and remembers what did not change: a push to one
// of a thousand tenants costs that tenant. It is not safe for concurrent use.
type Renderer struct {
	options Options
	parser  *fleet.Parser
	// bases holds what the last Render compiled or used.
	bases map[baseKey]*compiled
	// platform is what the last good state of the platform directory gives.
	platform *platform
	tenants  map[string]*TenantResult
	// keys is what each of tenants was rendered from.
	keys map[string]string
}

// baseKey is a directory of one content of a base.
type baseKey struct{ revision, path string }

// platform is what tenants are rendered with. It is not changed: what a tenant was
// rendered from may be rendered again after the next fleet.
type platform struct {
	// profiles holds the last good template of each.
	profiles map[string]*profile
	// exceptions by the tenant that they are for, each by name.
	exceptions map[string][]*v1alpha1.TenantException
	now        time.Time
}

// profile is a profile that compiled, and a digest of all that its template
// depends on.
type profile struct {
	*Template
	digest string
}

// Options of a Renderer.
type Options struct {
	// Bases returns the base that a profile names. It is not asked for nil, which
	// stands for the embedded one. Left out: profiles can use only that.
	Bases func(*v1alpha1.BaseSourceRef) (Base, error)
	// Cluster that children are rendered for; "" is the one that the fleet is
	// reconciled in.
	Cluster string
	// Now leaves out exceptions that had ended by then, as a cluster does. Zero: none
	// are left out, and digests are the same at any time.
	Now time.Time
	// Store, where it is set, remembers across processes: what directories hold, and
	// the digests of tenants. It must be one that only this very program writes to.
	Store fleet.Store
}

// New returns a Renderer that remembers nothing yet.
func New(options Options) *Renderer {
	parser := fleet.NewParser()
	parser.Store = options.Store
	return &Renderer{
		options:  options,
		parser:   parser,
		platform: &platform{},
		bases:    map[baseKey]*compiled{},
		tenants:  map[string]*TenantResult{},
		keys:     map[string]string{},
	}
}

// Result is a rendered fleet.
type Result struct {
	Fleet *fleet.Fleet
	// Platform is the NamespaceProfiles as they are applied, by name, then the
	// TenantExceptions.
	Platform []Applied
	Tenants  []*TenantResult
	// Digest covers the digests of all tenants. Where something is written, and at
	// which revision, does not enter it.
	Digest string
}

// TenantResult is a rendered tenant. When it has errors there is nothing of it to
// apply: no objects, no children, no digest.
type TenantResult struct {
	*fleet.Tenant
	// Applied are the Tenant, its TenantNamespaces and its WorkloadClusters, in the
	// order that they are applied in.
	Applied []Applied
	// Children renders the objects of the namespaces that are placed on
	// Options.Cluster, as Template.Render does. They are not kept.
	Children func() []*unstructured.Unstructured
	// All renders all that the digest covers: Objects, then for each namespace its
	// children on each cluster that it is placed on. They are not kept. It may be
	// called concurrently, also with that of other tenants.
	All func() []Placed
	// Digest covers the objects, and the children on every cluster.
	Digest string
	// Key stands for all that the tenant was rendered from: equal keys of one
	// Renderer, equal results, positions included.
	Key string
	// Changed since the last Render: the tenant's files, its peers, a profile that it
	// uses, or a base of such.
	Changed bool
	// Errors of the directory and of the render, by position.
	Errors []*fleet.Error
}

// Applied is an object of Git that is applied. As a tree it takes ten times the
// memory, so it is made one when it is needed.
type Applied struct {
	Kind  string
	Value interface {
		metav1.Object
		runtime.Object
	}
	fleet.Position
	// Tenant that it is labelled with; "" is the platform.
	Tenant string
	// Digest of its content, as in the annotation.
	Digest string
}

// Object is the object as it is applied: labelled, with digest and path. It is
// the caller's own.
func (a *Applied) Object() *unstructured.Unstructured {
	o, err := a.content()
	if err != nil {
		panic(fmt.Sprintf("writing %s %s again: %v", a.Kind, a.Value.GetName(), err))
	}
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationDigest] = a.Digest
	annotations[v1alpha1.AnnotationPath] = a.Position.String()
	o.SetAnnotations(annotations)
	return o
}

// Labelled reports whether labels hold all that the object has.
func (a *Applied) Labelled(labels map[string]string) bool {
	for name, value := range a.Value.GetLabels() {
		if labels[name] != value && (name != v1alpha1.LabelTenant || a.Tenant == "") {
			return false
		}
	}
	return a.Tenant == "" || labels[v1alpha1.LabelTenant] == a.Tenant
}

// content is what the digest is of.
func (a *Applied) content() (*unstructured.Unstructured, error) {
	o, err := toObject(a.Value, a.Kind)
	if err != nil || a.Tenant == "" {
		return o, err
	}
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.LabelTenant] = a.Tenant
	o.SetLabels(labels)
	return o, nil
}

// Objects are those of Applied, made anew.
func (t *TenantResult) Objects() []*unstructured.Unstructured {
	var objects []*unstructured.Unstructured
	for i := range t.Applied {
		objects = append(objects, t.Applied[i].Object())
	}
	return objects
}

// Placed is an object and the cluster that it is for.
type Placed struct {
	*unstructured.Unstructured
	// Cluster is "" for the one that the fleet is reconciled in.
	Cluster string
	// At is where it, or the TenantNamespace that it is made for, is written.
	At fleet.Position
}

// Render reads and renders a tree. incumbents are the prefixes of tenants that are
// already applied; see fleet.Parser.
func (r *Renderer) Render(tree fleet.Tree, incumbents map[string]tenancy.Holding) *Result {
	read := *r.parser.Parse(tree, incumbents)
	out := &Result{Fleet: &read}

	out.Platform = platformObjects(&read)
	r.platform = r.readPlatform(&read)
	platform := r.platform

	out.Tenants = make([]*TenantResult, len(read.Tenants))
	keysOf := make([]string, len(read.Tenants))
	var work errgroup.Group
	work.SetLimit(goruntime.GOMAXPROCS(0))
	for i, t := range read.Tenants {
		work.Go(func() error {
			key := keyOf(t, platform)
			result := r.tenants[t.Name]
			if result != nil && r.keys[t.Name] == key {
				kept := *result
				kept.Tenant, kept.Changed = t, false
				result = &kept
			} else {
				result = r.tenant(t, platform, key)
				result.Key = key
			}
			out.Tenants[i], keysOf[i] = result, key
			return nil
		})
	}
	_ = work.Wait() // none fails

	r.tenants, r.keys = make(map[string]*TenantResult, len(out.Tenants)), make(map[string]string, len(out.Tenants))
	for i, t := range out.Tenants {
		r.tenants[t.Name], r.keys[t.Name] = t, keysOf[i]
	}
	out.Digest = digestOfTenants(out.Tenants)
	return out
}

// readPlatform returns what tenants are rendered with. While the platform directory
// has errors, what it granted before them stands.
func (r *Renderer) readPlatform(read *fleet.Fleet) *platform {
	broken := len(read.PlatformErrors) > 0
	p := &platform{profiles: r.compileProfiles(read), exceptions: map[string][]*v1alpha1.TenantException{}, now: r.options.Now}
	if broken && r.platform.exceptions != nil {
		p.exceptions = r.platform.exceptions
		return p
	}
	for _, name := range slices.Sorted(maps.Keys(read.Exceptions)) {
		e := read.Exceptions[name].Value
		p.exceptions[e.Spec.Tenant] = append(p.exceptions[e.Spec.Tenant], e)
	}
	return p
}

// compileProfiles returns the usable profiles by name. One that does not compile is
// an error at its place, and its last good template stays in use. While the
// platform directory has errors the profiles of its last good state do.
func (r *Renderer) compileProfiles(read *fleet.Fleet) map[string]*profile {
	broken := len(read.PlatformErrors) > 0
	read.PlatformErrors = slices.Clone(read.PlatformErrors)
	bases := map[baseKey]*compiled{}
	usable := map[string]*profile{}
	if broken {
		maps.Copy(usable, r.platform.profiles)
		bases = r.bases
	}
	for _, name := range slices.Sorted(maps.Keys(read.Profiles)) {
		if broken && usable[name] != nil {
			continue
		}
		o := read.Profiles[name]
		p, err := r.compileProfile(o.Value, bases)
		if err != nil {
			read.PlatformErrors = append(read.PlatformErrors, &fleet.Error{
				Position: o.Position,
				Tenant:   v1alpha1.PlatformDirectory,
				Message:  fmt.Sprintf("spec.base: %v", err),
			})
			p = r.platform.profiles[name]
		}
		if p != nil {
			usable[name] = p
		}
	}
	r.bases = bases
	slices.SortStableFunc(read.PlatformErrors, byPosition)
	return usable
}

func (r *Renderer) compileProfile(p *v1alpha1.NamespaceProfile, bases map[baseKey]*compiled) (*profile, error) {
	base, err := r.base(p.Spec.Base.SourceRef)
	if err != nil {
		return nil, err
	}
	key := baseKey{base.Revision, p.Spec.Base.Path}
	content, err := toObject(p, v1alpha1.KindNamespaceProfile)
	if err != nil {
		return nil, err
	}
	digest := digestOf(base.Revision, DigestOf(content))
	if last := r.platform.profiles[p.Name]; last != nil && last.digest == digest {
		bases[key] = last.compiled
		return last, nil
	}

	c := cmp.Or(bases[key], r.bases[key])
	if c == nil {
		if c, err = compileBase(base, p.Spec.Base.Path); err != nil {
			return nil, err
		}
	}
	template, err := c.with(p)
	if err != nil {
		return nil, err
	}
	bases[key] = c
	return &profile{template, digest}, nil
}

func (r *Renderer) base(ref *v1alpha1.BaseSourceRef) (Base, error) {
	switch {
	case ref == nil:
		return EmbeddedBase(), nil
	case r.options.Bases == nil:
		return Base{}, fmt.Errorf("sourceRef: %s %q cannot be read here; leave sourceRef out to use the embedded base", ref.Kind, ref.Name)
	}
	return r.options.Bases(ref)
}

// keyOf names everything that a tenant's render depends on.
func keyOf(t *fleet.Tenant, platform *platform) string {
	parts := []string{t.Hash, strings.Join(t.Peers, ",")}
	for _, e := range t.Errors {
		parts = append(parts, e.Error())
	}
	var names []string // a tenant uses few
	for _, n := range t.Namespaces {
		if name := n.Value.Spec.Profile; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		parts = append(parts, name)
		if p := platform.profiles[name]; p != nil {
			parts = append(parts, p.digest)
		}
	}
	for _, e := range platform.exceptions[t.Name] {
		parts = append(parts, "exception", e.Name, strings.Join(e.Spec.Namespaces, ","))
		parts = append(parts, granted([]*v1alpha1.ExceptionSpec{&e.Spec})...)
	}
	return digestOf(parts...)
}

// tenant renders one tenant anew. A panic is this tenant's error, and nobody
// else's: specs reach many lines of other people's code.
func (r *Renderer) tenant(t *fleet.Tenant, platform *platform, key string) (out *TenantResult) {
	empty := TenantResult{
		Tenant:   t,
		Changed:  true,
		Errors:   slices.Clone(t.Errors),
		Children: func() []*unstructured.Unstructured { return nil },
		All:      func() []Placed { return nil },
	}
	defer func() {
		if p := recover(); p != nil {
			failed := empty
			failed.Errors = append(failed.Errors, &fleet.Error{Position: fleet.Position{File: t.Name}, Tenant: t.Name,
				Message: fmt.Sprintf("cannot be rendered: %v; report this as a bug", p)})
			out = &failed
		}
	}()
	if len(t.Errors) > 0 || t.Object == nil {
		return &empty
	}

	objects, err := tenantObjects(t)
	if err != nil {
		empty.Errors = append(empty.Errors, &fleet.Error{Position: t.Object.Position, Tenant: t.Name, Message: err.Error()})
		return &empty
	}
	digest, errs := r.digest(t, objects, platform, key)
	if len(errs) > 0 {
		empty.Errors = append(empty.Errors, errs...)
		slices.SortStableFunc(empty.Errors, byPosition)
		return &empty
	}
	full := empty
	full.Applied = objects
	full.Digest = digest
	full.Children = func() []*unstructured.Unstructured { return r.children(t, platform) }
	full.All = func() []Placed { return placed(t, objects, platform) }
	return &full
}

// digest renders the children of a tenant, or takes the digest from the Store.
// What is stored was rendered without errors, from the same inputs.
func (r *Renderer) digest(t *fleet.Tenant, objects []Applied, platform *platform, key string) (string, []*fleet.Error) {
	key = "digest " + key
	store := r.options.Store
	if !r.options.Now.IsZero() {
		store = nil // the digest is that of a moment
	}
	if store != nil {
		if known := store.Get(key); known != nil {
			return string(known), nil
		}
	}
	var errs []*fleet.Error
	digests := []string{t.Name}
	for _, o := range objects {
		digests = append(digests, o.Digest)
	}
	for _, n := range t.Namespaces {
		for _, cluster := range placements(n.Value) {
			children, err := renderNamespace(t, n, platform, cluster)
			if err != nil {
				errs = append(errs, &fleet.Error{Position: n.Position, Tenant: t.Name, Message: err.Error()})
				break // the same on the next cluster
			}
			digests = append(digests, cluster)
			for _, o := range children {
				digests = append(digests, annotation(o, v1alpha1.AnnotationDigest))
			}
		}
	}
	if len(errs) > 0 {
		return "", errs
	}
	digest := digestOf(digests...)
	if store != nil {
		store.Put(key, []byte(digest))
	}
	return digest, nil
}

// placed renders what was rendered before, with the same inputs and without
// an error.
func placed(t *fleet.Tenant, applied []Applied, platform *platform) []Placed {
	all := make([]Placed, 0, len(applied)*16)
	for i := range applied {
		all = append(all, Placed{applied[i].Object(), "", applied[i].Position})
	}
	for _, n := range t.Namespaces {
		for _, cluster := range placements(n.Value) {
			children, err := renderNamespace(t, n, platform, cluster)
			if err != nil {
				panic(fmt.Sprintf("rendering %s again: %v", n.Value.Name, err))
			}
			for _, o := range children {
				all = append(all, Placed{o, cluster, n.Position})
			}
		}
	}
	return all
}

// children renders what is placed on the renderer's cluster. It was rendered
// before, with the same inputs and without an error.
func (r *Renderer) children(t *fleet.Tenant, platform *platform) []*unstructured.Unstructured {
	var all []*unstructured.Unstructured
	for _, n := range t.Namespaces {
		if slices.Contains(placements(n.Value), r.options.Cluster) {
			children, err := renderNamespace(t, n, platform, r.options.Cluster)
			if err != nil {
				panic(fmt.Sprintf("rendering %s again: %v", n.Value.Name, err))
			}
			all = append(all, children...)
		}
	}
	return all
}

func renderNamespace(t *fleet.Tenant, n *fleet.Object[*v1alpha1.TenantNamespace], platform *platform, cluster string) ([]*unstructured.Unstructured, error) {
	p := platform.profiles[n.Value.Spec.Profile]
	if p == nil {
		return nil, fmt.Errorf("spec.profile: %q cannot be used: it does not compile, see the errors of %s", n.Value.Spec.Profile, v1alpha1.PlatformDirectory)
	}
	return p.Render(Inputs{
		Tenant:     t.Object.Value,
		Namespace:  n.Value,
		Peers:      t.Peers,
		Cluster:    cluster,
		Exceptions: platform.exceptions[t.Name],
		Now:        platform.now,
		Source:     Source{Path: n.Position.String()},
	})
}

// placements are the clusters that a namespace is on.
func placements(n *v1alpha1.TenantNamespace) []string {
	if len(n.Spec.Clusters) == 0 {
		return []string{""}
	}
	return n.Spec.Clusters
}

// tenantObjects are the objects that are applied for a tenant: the Tenant, then
// the others by kind and name.
func tenantObjects(t *fleet.Tenant) ([]Applied, error) {
	objects := make([]Applied, 0, 1+len(t.Namespaces)+len(t.Clusters))
	objects = append(objects, Applied{Kind: v1alpha1.KindTenant, Value: t.Object.Value, Position: t.Object.Position})
	for _, n := range t.Namespaces {
		objects = append(objects, Applied{Kind: v1alpha1.KindTenantNamespace, Value: n.Value, Position: n.Position})
	}
	for _, c := range t.Clusters {
		objects = append(objects, Applied{Kind: v1alpha1.KindWorkloadCluster, Value: c.Value, Position: c.Position})
	}
	for i := range objects {
		objects[i].Tenant = t.Name
		if err := objects[i].sum(); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// platformObjects are those of the platform directory that could be read. One that
// cannot be written as JSON does not exist: it was read from YAML.
func platformObjects(read *fleet.Fleet) []Applied {
	var objects []Applied
	add := func(a Applied) {
		if a.sum() == nil {
			objects = append(objects, a)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(read.Profiles)) {
		p := read.Profiles[name]
		add(Applied{Kind: v1alpha1.KindNamespaceProfile, Value: p.Value, Position: p.Position})
	}
	for _, name := range slices.Sorted(maps.Keys(read.Exceptions)) {
		e := read.Exceptions[name]
		add(Applied{Kind: v1alpha1.KindTenantException, Value: e.Value, Position: e.Position})
	}
	return objects
}

// sum fills in the digest.
func (a *Applied) sum() error {
	o, err := a.content()
	if err != nil {
		return err
	}
	a.Digest = DigestOf(o)
	return nil
}

// toObject is a typed object as a tree, without what only the API server writes.
func toObject(typed runtime.Object, kind string) (*unstructured.Unstructured, error) {
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, fmt.Errorf("cannot write %s as JSON: %w", kind, err)
	}
	delete(tree, "status")
	if metadata, ok := tree["metadata"].(map[string]any); ok {
		delete(metadata, "creationTimestamp")
	}
	o := &unstructured.Unstructured{Object: tree}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	return o, nil
}

// annotation reads one without copying them all.
func annotation(o *unstructured.Unstructured, name string) string {
	metadata, _ := o.Object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	value, _ := annotations[name].(string)
	return value
}

func digestOfTenants(tenants []*TenantResult) string {
	byName := slices.SortedFunc(slices.Values(tenants), func(a, b *TenantResult) int { return strings.Compare(a.Name, b.Name) })
	var parts []string
	for _, t := range byName {
		parts = append(parts, t.Name, t.Digest)
	}
	return digestOf(parts...)
}

// digestOf is the digest of a list of words.
func digestOf(words ...string) string {
	var encoded []byte
	for _, w := range words {
		encoded = canonical.String(encoded, w)
	}
	return digest(encoded)
}

func byPosition(a, b *fleet.Error) int {
	return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Message, b.Message))
}
