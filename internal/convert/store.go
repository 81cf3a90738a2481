package convert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// store is a SecretStore or ClusterSecretStore.
type store struct {
	*object
	// provider is "vault" for what can be converted.
	provider string
	// mount is empty where keys begin with it.
	mount string
	told  bool
}

func (c *converter) noteStore(o *object) {
	s := &store{object: o, provider: strings.Join(o.at("spec").at("provider").keys(), ", ")}
	if vault := o.at("spec").at("provider").at("vault"); vault.there() {
		s.provider = "vault"
		s.mount = strings.TrimSuffix(strings.Trim(vault.at("path").text(), "/"), "/data")
	}
	c.stores[key(o.kind, o.namespace, o.name)] = s
}

// tell says, once, what of a store is for the platform team.
func (c *converter) tell(s *store) {
	if s.told {
		return
	}
	s.told = true
	spec := s.at("spec")
	// Who logs in and as whom is not a store's to say here, nor which namespaces may
	// use it: each logs in as itself, and its tenant's policy confines it.
	spec.ignore("controller", "conditions", "refreshInterval", "retrySettings")
	vault := spec.at("provider").at("vault")
	vault.ignore("auth", "checkAndSet")
	note := fmt.Sprintf("%s, %s:%d", s, s.file, s.line)
	lines := []string{note + ": its auth is not needed, since each namespace logs in as itself. What the platform team sets:"}
	if server := vault.at("server").text(); server != "" {
		lines = append(lines, "  NamespaceProfile spec.openBao.address: "+server+" (or the operator's openBao.address)")
		if !strings.HasPrefix(server, "https://") {
			vault.at("server").problem("secrets do not travel in the clear; let OpenBao serve https://")
		}
	}
	if namespace := vault.at("namespace").text(); namespace != "" {
		lines = append(lines, "  NamespaceProfile spec.openBao.namespace: "+strings.Trim(namespace, "/")+" (or the operator's openBao.namespace)")
	}
	if vault.at("caBundle").there() || vault.at("caProvider").there() {
		vault.ignore("caBundle", "caProvider")
		lines = append(lines, "  NamespaceProfile spec.openBao.caBundle: the certificates of its caBundle or caProvider (or the operator's openBao.caFile)")
	}
	if s.mount != "" {
		lines = append(lines, fmt.Sprintf("  NamespaceProfile spec.openBao.mounts: [%s], and Tenant spec.secrets.mount: %s", s.mount, s.mount))
	}
	if v := vault.at("version"); v.text() == "v1" {
		v.problem("version 1 of the KV engine has no versions; enable a KV v2 engine, and copy the secrets there")
	}
	spec.at("provider").rest()
	spec.rest()
	s.at("metadata").ignore("labels", "annotations")
	c.result.Notes = append(c.result.Notes, lines...)
}

// storeOf is the store that a reference names, or nil with a problem. Where the store
// is not among the files, it is taken for one of Vault's.
func (c *converter) storeOf(ref *field, namespace string) *store {
	kind, name := cmp.Or(ref.at("kind").text(), "SecretStore"), ref.at("name").text()
	if name == "" {
		ref.problem("it names no store; write the name of a SecretStore")
		return nil
	}
	s := c.stores[key(kind, namespace, name)]
	if s == nil && namespace == "" && kind == "SecretStore" { // a manifest without a namespace may be of any
		for _, k := range slices.Sorted(maps.Keys(c.stores)) {
			if other := c.stores[k]; other.kind == kind && other.name == name {
				s = other
			}
		}
	}
	if s == nil {
		if other := c.stores[key(kind, "", name)]; other != nil {
			s = other
		}
	}
	if s == nil {
		ref.problem("%s %q is not among the files, and is taken for a KV v2 engine of Vault or OpenBao; add its file to be told of its mount and provider", kind, name)
		return &store{object: &object{field: ref, kind: kind, name: name}, provider: "vault", told: true}
	}
	if s.provider != "vault" {
		ref.problem("%s %q is of the provider %s, and not of Vault or OpenBao; copy its secrets into OpenBao, and write the entry for where they are", kind, name, s.provider)
		return nil
	}
	c.tell(s)
	return s
}

// pathOf is the path below the tenant's place in OpenBao of a remote key, or "" with a
// problem.
func (c *converter) pathOf(remote *field, s *store) string {
	text := strings.Trim(remote.text(), "/")
	if text == "" {
		remote.problem("it names no secret; write the path of one")
		return ""
	}
	mount, path := s.mount, text
	switch {
	case mount != "":
		path = strings.TrimPrefix(path, mount+"/")
	case strings.Contains(path, "/data/"):
		mount, path, _ = strings.Cut(path, "/data/")
		path = "data/" + path
	case c.stores[key(s.kind, s.namespace, s.name)] != nil:
		// The store is known and names no mount, so that each key begins with one.
		mount, path, _ = strings.Cut(path, "/")
	default:
		mount = "secret"
		path = strings.TrimPrefix(path, mount+"/")
	}
	path = strings.TrimPrefix(path, "data/")
	switch {
	case c.mount == "":
		c.mount, c.mountStore = mount, s.String()
	case c.mount != mount:
		remote.problem("it is in the mount %s, and others are in %s (%s); a tenant has one mount: copy the secret there", mount, c.mount, c.mountStore)
		return ""
	}
	if c.StripPrefix != "" {
		below, ok := strings.CutPrefix(path, c.StripPrefix+"/")
		if !ok {
			remote.problem("%q is not below %s, the tenant's path in OpenBao, and OpenBao would refuse it; copy the secret below it", path, c.StripPrefix)
			return ""
		}
		path = below
	}
	if !plainPath.MatchString(path) || apiPath.MatchString(path) {
		remote.problem("%q is no plain path; copy the secret to one such as payments/db: letters, digits, '.', '_' and '-' between single '/'", path)
		return ""
	}
	return path
}
