package fleet

import (
	"errors"
	"fmt"
	"slices"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// checked is a tenant's directory held against the platform's.
type checked struct {
	dir, platform *directory
	errs          []*Error
	warnings      []*Error
	// owner is the Tenant that the others are held against; nil where it cannot be
	// read, or where a field that they are held against may be mistyped.
	owner *Object[*v1alpha1.Tenant]
	// strays are namespaces that are not under the tenant's prefix.
	strays []*Object[*v1alpha1.TenantNamespace]
}

// tenant is what there is to say of the tenant before it is held against others.
func (c *checked) tenant() *Tenant {
	t := &Tenant{
		Name:       c.dir.name,
		Hash:       c.dir.hash,
		Namespaces: c.dir.namespaces,
		Clusters:   c.dir.clusters,
		Errors:     slices.Concat(c.dir.errs, c.errs),
		Warnings:   slices.Clone(c.warnings),
	}
	if len(c.dir.tenants) > 0 {
		t.Object = c.dir.tenants[0]
	}
	return t
}

// checker holds one tenant against the platform's profiles.
type checker struct {
	*checked
	lines    *lines
	profiles map[string]*Object[*v1alpha1.NamespaceProfile]
}

func check(tree Tree, dir, platform *directory, profiles map[string]*Object[*v1alpha1.NamespaceProfile]) *checked {
	c := &checker{checked: &checked{dir: dir, platform: platform}, lines: &lines{tree: tree}, profiles: profiles}
	if c.owner = ownerOf(dir); c.owner != nil {
		c.checkOwner()
	}
	namespaces := slices.Concat(dir.namespaces, dir.faulty.namespaces)
	for _, ns := range namespaces {
		c.checkNamespace(ns)
	}
	for _, cluster := range slices.Concat(dir.clusters, dir.faulty.clusters) {
		c.checkCluster(cluster)
	}
	if c.owner != nil {
		c.checkMount(namespaces)
		c.admit(slices.DeleteFunc(namespaces, wantsUnknown))
	}
	return c.checked
}

// wantsUnknown is whether it is not known how much a namespace wants.
func wantsUnknown(ns *Object[*v1alpha1.TenantNamespace]) bool {
	for _, field := range []string{"spec.profile", "spec.size", "spec.overrides", "spec.overrides.quota", "spec.clusters"} {
		if ns.mistyped.covers(field) {
			return true
		}
	}
	return false
}

func ownerOf(dir *directory) *Object[*v1alpha1.Tenant] {
	for _, t := range slices.Concat(dir.tenants, dir.faulty.tenants) {
		if t.mistyped == nil {
			return t
		}
	}
	return nil
}

// failing reports fields of an object, but for those that are not known.
func failing[T any](c *checker, o *Object[T]) failFunc {
	return func(field, format string, args ...any) {
		if !o.mistyped.covers(field) {
			c.fail(o.Position, o.doc, field, fmt.Sprintf(format, args...))
		}
	}
}

// fail and warn report a field of an object. Beyond MaxErrors they say no more.

func (c *checker) fail(at Position, doc int, field, message string) {
	if len(c.errs) < MaxErrors {
		c.errs = append(c.errs, c.lines.problem(c.dir.name, at, doc, field, message))
	}
}

func (c *checker) warn(at Position, doc int, field, message string) {
	if len(c.warnings) < MaxErrors {
		c.warnings = append(c.warnings, c.lines.problem(c.dir.name, at, doc, field, message))
	}
}

// lines finds the lines of fields in files that were read before. The few files
// that have something wrong are read once more: that is cheaper than to remember
// every line of every file.
type lines struct {
	tree Tree
	docs map[string][]*document
}

// problem is an error in a field of an object.
func (l *lines) problem(tenant string, at Position, doc int, field, message string) *Error {
	docs, ok := l.docs[at.File]
	if !ok {
		docs = readDocuments(at.File, l.tree[at.File].Data, func(int, string) {})
		if l.docs == nil {
			l.docs = map[string][]*document{}
		}
		l.docs[at.File] = docs
	}
	for _, d := range docs {
		if d.index == doc {
			at.Line = d.lineOf(field)
		}
	}
	return &Error{Position: at, Tenant: tenant, Message: oneLine(field + ": " + message)}
}

func (c *checker) checkOwner() {
	t := c.owner.Value
	fail := failing(c, c.owner)
	if tenancy.Reserved(t.Prefix() + "x") {
		fail("spec.namespaces.prefix", "%q is reserved for the system; choose another", t.Prefix())
	}
	for i, name := range t.Spec.Namespaces.Profiles {
		if c.platform.written[v1alpha1.KindNamespaceProfile][name] == (Position{}) {
			c.warn(c.owner.Position, c.owner.doc, fmt.Sprintf("spec.namespaces.profiles[%d]", i), fmt.Sprintf("there is no profile %q; use %s", name, c.profileNames()))
		}
	}
	for i, owner := range t.Spec.Owners {
		field := fmt.Sprintf("spec.owners[%d]", i)
		c.checkServiceAccount(fail, field, owner.Subject)
		for _, name := range t.Spec.Namespaces.Profiles {
			if p := c.profiles[name]; p != nil {
				c.checkRole(fail, field, owner.Role, p.Value)
			}
		}
	}
	for i, rule := range t.Spec.Network.Egress {
		for j, to := range rule.To {
			c.checkPeer(fail, c.owner.Position, c.owner.doc, fmt.Sprintf("spec.network.egress[%d].to[%d]", i, j), to.Tenant, to.Namespace)
		}
	}
}

type failFunc func(field, format string, args ...any)

func (c *checker) checkNamespace(ns *Object[*v1alpha1.TenantNamespace]) {
	n := ns.Value
	fail := failing(c, ns)
	for _, name := range sortedKeys(c.profiles) {
		if p := c.profiles[name].Value; n.Name == p.Spec.IngressController.Namespace {
			fail("metadata.name", "%q is where the ingress controller of profile %q runs; choose another name", n.Name, p.Name)
			break
		}
	}
	if c.owner != nil {
		if err := tenancy.CheckName(c.owner.Value, n.Name); err != nil {
			c.strays = append(c.strays, ns) // who else claims it is known later
		}
	}
	if !ns.mistyped.covers("spec.profile") {
		if profile := c.profileOf(fail, n); profile != nil {
			c.checkProfile(fail, n, profile)
		}
	}
	for i, access := range n.Spec.Access {
		c.checkServiceAccount(fail, fmt.Sprintf("spec.access[%d]", i), access.Subject)
	}
	for i, rule := range n.Spec.Network.Ingress {
		for j, from := range rule.From {
			c.checkPeer(fail, ns.Position, ns.doc, fmt.Sprintf("spec.network.ingress[%d].from[%d]", i, j), from.Tenant, from.Namespace)
		}
	}
	for i, rule := range n.Spec.Network.Egress {
		for j, to := range rule.To {
			c.checkPeer(fail, ns.Position, ns.doc, fmt.Sprintf("spec.network.egress[%d].to[%d]", i, j), to.Tenant, to.Namespace)
		}
	}
	clusters := c.dir.written[v1alpha1.KindWorkloadCluster]
	for i, name := range n.Spec.Clusters {
		if _, ok := clusters[name]; !ok {
			fail(fmt.Sprintf("spec.clusters[%d]", i), "%q is no WorkloadCluster of Tenant %q; %s", name, c.dir.name, use(name, sortedKeys(clusters), "add one"))
		}
	}
}

// profileOf is the profile of a namespace, or nil if it cannot have it.
func (c *checker) profileOf(fail failFunc, n *v1alpha1.TenantNamespace) *v1alpha1.NamespaceProfile {
	const field = "spec.profile"
	if c.owner != nil {
		if open := c.owner.Value.Spec.Namespaces.Profiles; !slices.Contains(open, n.Spec.Profile) {
			fail(field, "%q is not open to Tenant %q; use %s", n.Spec.Profile, c.dir.name, prose.Either(open))
			return nil
		}
	}
	if p := c.profiles[n.Spec.Profile]; p != nil {
		return p.Value
	}
	if at, ok := c.platform.written[v1alpha1.KindNamespaceProfile][n.Spec.Profile]; ok {
		fail(field, "profile %q has errors, see %s; it can be used when they are mended", n.Spec.Profile, at)
	} else {
		fail(field, "there is no profile %q; use %s", n.Spec.Profile, c.profileNames())
	}
	return nil
}

func (c *checker) profileNames() string {
	if len(c.profiles) == 0 {
		return fmt.Sprintf("one that %s has; it has none", v1alpha1.PlatformDirectory)
	}
	return prose.Either(sortedKeys(c.profiles))
}

// checkProfile holds a namespace against its profile.
func (c *checker) checkProfile(fail failFunc, n *v1alpha1.TenantNamespace, p *v1alpha1.NamespaceProfile) {
	for _, err := range tenancy.CheckOverrides(n, p) {
		failWith(fail, err)
	}
	checkGenerate(fail, n, p)
	for i, access := range n.Spec.Access {
		c.checkRole(fail, fmt.Sprintf("spec.access[%d]", i), access.Role, p)
	}
	for _, key := range sortedKeys(n.Spec.Labels) {
		if _, ok := p.Spec.Labels[key]; ok {
			fail(keyed("spec.labels", key), "is set by profile %q; remove it", p.Name)
		}
	}
	for _, key := range sortedKeys(n.Spec.Annotations) {
		if _, ok := p.Spec.Annotations[key]; ok {
			fail(keyed("spec.annotations", key), "is set by profile %q; remove it", p.Name)
		}
	}
}

// failWith reports what package tenancy found.
func failWith(fail failFunc, err error) {
	var e *tenancy.Error
	if errors.As(err, &e) {
		fail(e.Field, "%s", e.Message)
	}
}

func (c *checker) checkRole(fail failFunc, field string, role v1alpha1.Role, p *v1alpha1.NamespaceProfile) {
	builtin := []string{string(v1alpha1.RoleAdmin), string(v1alpha1.RoleEditor), string(v1alpha1.RoleViewer)}
	if _, ok := p.Spec.Roles[string(role)]; ok || slices.Contains(builtin, string(role)) {
		return
	}
	if len(p.Spec.Roles) == 0 {
		fail(field+".role", "%q is not a role; use %s", role, prose.Either(builtin))
		return
	}
	fail(field+".role", "%q is not a role of profile %q; use %s", role, p.Name, prose.Either(append(builtin, sortedKeys(p.Spec.Roles)...)))
}

// checkServiceAccount wants service accounts of the tenant's own namespaces: the
// owner of any other namespace could act as it.
func (c *checker) checkServiceAccount(fail failFunc, field string, s v1alpha1.Subject) {
	if s.Kind != "ServiceAccount" {
		return
	}
	namespaces := c.dir.written[v1alpha1.KindTenantNamespace]
	if _, ok := namespaces[s.Namespace]; !ok {
		fail(field+".namespace", "%q is no namespace of Tenant %q; %s", s.Namespace, c.dir.name, use(s.Namespace, sortedKeys(namespaces), "add it"))
	}
}

// checkPeer holds the namespace that a network rule names against what there is.
func (c *checker) checkPeer(fail failFunc, at Position, doc int, field, tenant, namespace string) {
	if namespace == "" || c.owner == nil {
		return
	}
	owner := c.owner.Value
	if tenant != "" && tenant != owner.Name {
		// Whether the peer has it is the peer's to say.
		if !tenancy.Names(owner, tenant) {
			fail(field+".tenant", "%q is not a peer of Tenant %q; add it to spec.network.peers", tenant, owner.Name)
		}
		return
	}
	namespaces := c.dir.written[v1alpha1.KindTenantNamespace]
	if _, ok := namespaces[namespace]; ok {
		return
	}
	field += ".namespace"
	if err := tenancy.CheckName(owner, namespace); err != nil {
		fail(field, "%q can be no namespace of Tenant %q; name the tenant that has it, as in tenant: globex", namespace, owner.Name)
		return
	}
	c.warn(at, doc, field, fmt.Sprintf("there is no namespace %q yet; %s", namespace, use(namespace, sortedKeys(namespaces), "add it")))
}

// use says what to write instead of a name that is not there.
func use(name string, names []string, otherwise string) string {
	if len(names) == 0 {
		return otherwise
	}
	if meant := nearest(name, names); meant != "" {
		return otherwise + ", or write " + meant
	}
	return otherwise + ", or use " + prose.Either(names)
}

func (c *checker) checkCluster(cluster *Object[*v1alpha1.WorkloadCluster]) {
	if c.owner == nil {
		return
	}
	if err := tenancy.CheckName(c.owner.Value, cluster.Value.Name); err != nil {
		failWith(failing(c, cluster), err)
	}
}

// admit holds the namespaces against the tenant's limits.
func (c *checker) admit(namespaces []*Object[*v1alpha1.TenantNamespace]) {
	all := make([]*v1alpha1.TenantNamespace, len(namespaces))
	for i, ns := range namespaces {
		all[i] = ns.Value
	}
	refused := tenancy.Admit(c.owner.Value, all, func(name string) *v1alpha1.NamespaceProfile {
		if p := c.profiles[name]; p != nil && slices.Contains(c.owner.Value.Spec.Namespaces.Profiles, name) {
			return p.Value
		}
		return nil
	})
	for _, ns := range namespaces {
		if err := refused[ns.Value.Name]; err != nil {
			failWith(failing(c, ns), err)
		}
	}
}
